//! Which connections are open and which client id each holds: for taking over a client id, and for stopping all. And what
//! connections that ended left in flight, for when their clients come back: so much of a session as it takes to know a
//! message that is sent again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hashbrown::HashMap;
use tokio::sync::oneshot;

use crate::source::window::Window;

/// Numbers the connections of one listener; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Serial(pub(super) u64);

/// Messages of clients that are away that are remembered, of all of them: some 10 MiB. Beyond it, those who left first are
/// forgotten, and what they send again is stored again.
const REMEMBERED_MAX: usize = 200_000;
/// A client that is away costs as much as so many messages.
const CLIENT_COST: usize = 16;

fn cost(window: &Window) -> usize {
    CLIENT_COST + window.remembered()
}

/// The connection that comes after: it goes on when this is dropped.
#[derive(Debug)]
pub(super) struct Successor(
    #[expect(dead_code, reason = "dropping it says all there is to say")] oneshot::Sender<()>,
);

/// Why a connection should end.
#[derive(Debug)]
pub(super) enum Stop {
    /// Its client connected again: at once.
    TakenOver(Successor),
    /// The listener stops: once all that was taken is settled.
    ShuttingDown,
}

/// All open connections.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    stops: BTreeMap<Serial, oneshot::Sender<Stop>>,
    clients: HashMap<Bytes, Serial>,
    away: Away,
}

/// What clients left that are away.
#[derive(Debug, Default)]
struct Away {
    windows: HashMap<Bytes, (u64, Window)>,
    /// Who left, in order.
    order: BTreeMap<u64, Bytes>,
    next: u64,
    cost: usize,
}

impl Away {
    fn take(&mut self, client_id: &[u8]) -> Option<Window> {
        let (turn, window) = self.windows.remove(client_id)?;
        self.order.remove(&turn);
        self.cost -= cost(&window);
        Some(window)
    }

    /// Gives how many messages were forgotten for it.
    fn keep(&mut self, client_id: Bytes, window: Window) -> usize {
        self.take(&client_id);
        self.cost += cost(&window);
        self.order.insert(self.next, client_id.clone());
        self.windows.insert(client_id, (self.next, window));
        self.next += 1;
        let mut forgotten = 0;
        while self.cost > REMEMBERED_MAX
            && let Some((_, first)) = self.order.pop_first()
        {
            forgotten += self.take(&first).map_or(0, |window| window.remembered());
        }
        forgotten
    }
}

impl Connections {
    /// Adds a connection; what is returned tells it to stop.
    pub(super) fn open(&self, serial: Serial) -> oneshot::Receiver<Stop> {
        let (stop, stopped) = oneshot::channel();
        self.lock().stops.insert(serial, stop);
        stopped
    }

    /// Gives a client id to a connection, and stops the connection that held it: what is returned resolves when it has
    /// left what it had in flight.
    pub(super) fn claim(&self, serial: Serial, client_id: Bytes) -> Option<oneshot::Receiver<()>> {
        let mut open = self.lock();
        let before = open.clients.insert(client_id, serial);
        let stop = before.and_then(|before| open.stops.remove(&before))?;
        let (successor, left) = oneshot::channel();
        // It may be ending by itself.
        let _ = stop.send(Stop::TakenOver(Successor(successor)));
        Some(left)
    }

    /// Keeps what a connection left in flight for the next one of its client. Gives how many messages of clients that are
    /// away for longer were forgotten for it.
    pub(super) fn leave(&self, client_id: Bytes, window: Window) -> usize {
        self.lock().away.keep(client_id, window)
    }

    /// What the former connection of a client left in flight.
    pub(super) fn left_by(&self, client_id: &[u8]) -> Option<Window> {
        self.lock().away.take(client_id)
    }

    /// Forgets a connection, and its client id unless another connection has taken it.
    pub(super) fn close(&self, serial: Serial, client_id: Option<&[u8]>) {
        let mut open = self.lock();
        open.stops.remove(&serial);
        if let Some(id) = client_id.filter(|id| open.clients.get(*id) == Some(&serial)) {
            open.clients.remove(id);
        }
    }

    /// Asks every connection to stop.
    pub(super) fn stop_all(&self) {
        for stop in std::mem::take(&mut self.lock().stops).into_values() {
            let _ = stop.send(Stop::ShuttingDown);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // Every change is one call on a map: a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use prometheus::IntGauge;
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;
    use crate::source::earlier::Print;
    use crate::source::window::{InFlightGauges, Weight, WindowLimits};
    use crate::source::{Completion, Publish, Qos};

    #[test]
    fn a_client_id_is_taken_over_and_not_freed_by_its_former_holder() {
        let connections = Connections::default();
        let id = Bytes::from_static(b"d1");
        let mut first = connections.open(Serial(1));
        let mut second = connections.open(Serial(2));
        assert!(connections.claim(Serial(1), id.clone()).is_none());
        let mut left = connections.claim(Serial(2), id.clone()).unwrap();
        let Ok(Stop::TakenOver(successor)) = first.try_recv() else { panic!("the first goes on") };
        assert_eq!(left.try_recv(), Err(TryRecvError::Empty));
        drop(successor);
        assert_eq!(left.try_recv(), Err(TryRecvError::Closed), "the second need not wait any more");
        connections.close(Serial(1), Some(&id));
        let _third = connections.open(Serial(3));
        let _ = connections.claim(Serial(3), id);
        assert!(matches!(second.try_recv(), Ok(Stop::TakenOver(_))), "the id still belonged to the second");
    }

    /// A window that remembers so many messages.
    fn window(remembers: u16) -> Window {
        let gauge = || IntGauge::new("in_flight", "help").unwrap();
        let gauges = InFlightGauges { messages: gauge(), bytes: gauge() };
        let mut window = Window::new(WindowLimits { acks_max: 60_000, bytes_max: 1 << 30 }, gauges);
        let (mut weight, (_, completion)) = (Weight::default(), Completion::pair());
        let publish =
            Publish { topic: Bytes::new(), payload: Bytes::new(), qos: Qos::AtLeastOnce, retained: false };
        (1..=remembers).for_each(|id| weight.add(window.admit(Some((id, Print::of(&publish))), 1)));
        window.push(completion, weight);
        window.leave().unwrap()
    }

    #[test]
    fn what_clients_left_is_theirs_once_and_those_who_left_first_are_forgotten_first() {
        let connections = Connections::default();
        let id = |number: u8| Bytes::copy_from_slice(&[number]);
        assert_eq!(connections.leave(id(1), window(7)), 0);
        assert!(connections.left_by(&id(2)).is_none());
        assert_eq!(connections.left_by(&id(1)).unwrap().remembered(), 7);
        assert!(connections.left_by(&id(1)).is_none());
        let forgotten: Vec<_> = (0..4).map(|number| connections.leave(id(number), window(60_000))).collect();
        assert_eq!(forgotten, [0, 0, 0, 60_000]);
        assert_eq!(connections.leave(id(3), window(5)), 0);
        assert!(connections.left_by(&id(0)).is_none());
        assert_eq!(connections.left_by(&id(3)).unwrap().remembered(), 5, "what was left last counts");
        assert_eq!(connections.lock().away.cost, 2 * (60_000 + CLIENT_COST));
    }

    #[test]
    fn everybody_is_asked_to_stop() {
        let connections = Connections::default();
        let mut first = connections.open(Serial(1));
        connections.stop_all();
        assert!(matches!(first.try_recv(), Ok(Stop::ShuttingDown)));
    }
}
