//! Which connections are open and which client id each holds: for taking over a client id, and for stopping all.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hashbrown::HashMap;
use tokio::sync::oneshot;

/// Numbers the connections of one listener; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Serial(pub(super) u64);

/// Why a connection should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Its client connected again: at once.
    TakenOver,
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
}

impl Connections {
    /// Adds a connection; what is returned tells it to stop.
    pub(super) fn open(&self, serial: Serial) -> oneshot::Receiver<Stop> {
        let (stop, stopped) = oneshot::channel();
        self.lock().stops.insert(serial, stop);
        stopped
    }

    /// Gives a client id to a connection, and stops the connection that held it.
    pub(super) fn claim(&self, serial: Serial, client_id: Bytes) {
        let mut open = self.lock();
        let before = open.clients.insert(client_id, serial);
        if let Some(stop) = before.and_then(|before| open.stops.remove(&before)) {
            // It may be ending by itself.
            let _ = stop.send(Stop::TakenOver);
        }
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
    use super::*;

    #[test]
    fn a_client_id_is_taken_over_and_not_freed_by_its_former_holder() {
        let connections = Connections::default();
        let id = Bytes::from_static(b"d1");
        let mut first = connections.open(Serial(1));
        let mut second = connections.open(Serial(2));
        connections.claim(Serial(1), id.clone());
        connections.claim(Serial(2), id.clone());
        assert_eq!(first.try_recv(), Ok(Stop::TakenOver));
        connections.close(Serial(1), Some(&id));
        let _third = connections.open(Serial(3));
        connections.claim(Serial(3), id);
        assert_eq!(second.try_recv(), Ok(Stop::TakenOver), "the id still belonged to the second");
    }

    #[test]
    fn everybody_is_asked_to_stop() {
        let connections = Connections::default();
        let mut first = connections.open(Serial(1));
        connections.stop_all();
        assert_eq!(first.try_recv(), Ok(Stop::ShuttingDown));
    }
}
