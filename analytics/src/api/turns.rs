//! Turns: so many at once, and a queue for each client, from which they are served in rounds. Bounded (I6).

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Who asks: what is told apart by fairness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client(Option<IpAddr>);

impl Client {
    /// Of whom nothing is known.
    pub(super) const UNKNOWN: Self = Self(None);

    /// The client at this address.
    pub(crate) const fn at(address: IpAddr) -> Self {
        Self(Some(address))
    }

    /// The client whose request is being answered.
    pub(super) fn current() -> Self {
        CURRENT.try_with(|client| *client).unwrap_or(Self::UNKNOWN)
    }
}

/// Whether the client whose request is being answered is on this machine, as far as its address tells.
pub fn is_asked_from_this_machine() -> bool {
    Client::current().0.is_some_and(|address| address.to_canonical().is_loopback())
}

tokio::task_local! {
    /// The client whose request is being answered.
    pub(crate) static CURRENT: Client;
}

/// Turns for those that run and places for those that wait.
#[derive(Debug)]
pub(super) struct Turns {
    state: Mutex<State>,
    running_max: usize,
    waiting_max: usize,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    waiting: usize,
    next: u64,
    /// Those that wait, by client; the client at the front is the next.
    clients: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    client: Client,
    queue: VecDeque<(u64, oneshot::Sender<Turn>)>,
}

/// The right to run, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn(Arc<Turns>);

/// A place in the queue, given back when it is dropped.
struct Place<'a> {
    turns: &'a Turns,
    client: Client,
    number: u64,
}

impl Turns {
    pub(super) fn new(running_max: usize, waiting_max: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), running_max, waiting_max })
    }

    /// Waits for a turn; `None` where too many wait, also later, where others wait less than this client. Dropping
    /// the future gives the place back.
    pub(super) async fn turn(self: &Arc<Self>, client: Client) -> Option<Turn> {
        let (place, turn) = {
            let mut state = self.state();
            if state.running < self.running_max {
                state.running += 1;
                return Some(Turn(Arc::clone(self)));
            }
            if state.waiting >= self.waiting_max && !state.make_place(client) {
                return None;
            }
            let (sender, turn) = oneshot::channel();
            let number = state.enqueue(client, sender);
            (Place { turns: self, client, number }, turn)
        };
        let turn = turn.await.ok();
        drop(place);
        turn
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enqueue(&mut self, client: Client, sender: oneshot::Sender<Turn>) -> u64 {
        let number = self.next;
        (self.next, self.waiting) = (number + 1, self.waiting + 1);
        match self.clients.iter_mut().find(|waiting| waiting.client == client) {
            Some(waiting) => waiting.queue.push_back((number, sender)),
            None => self.clients.push_back(Waiting { client, queue: [(number, sender)].into() }),
        }
        number
    }

    /// Sends away the last in the longest queue, where it is longer than that of `client` will be.
    fn make_place(&mut self, client: Client) -> bool {
        let own =
            self.clients.iter().find(|waiting| waiting.client == client).map_or(0, |own| own.queue.len());
        let longest = self.clients.iter_mut().max_by_key(|waiting| waiting.queue.len());
        let Some(longest) = longest.filter(|longest| longest.queue.len() > own + 1) else { return false };
        longest.queue.pop_back();
        self.waiting -= 1;
        true
    }

    /// The next in turn, one of each client in rounds.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let mut waiting = self.clients.pop_front()?;
        let next = waiting.queue.pop_front();
        self.waiting -= usize::from(next.is_some());
        if !waiting.queue.is_empty() {
            self.clients.push_back(waiting);
        }
        next.map(|(_, sender)| sender)
    }

    fn leave(&mut self, client: Client, number: u64) {
        let Some(at) = self.clients.iter().position(|waiting| waiting.client == client) else { return };
        let Some(waiting) = self.clients.get_mut(at) else { return };
        let before = waiting.queue.len();
        waiting.queue.retain(|(other, _)| *other != number);
        self.waiting -= before - waiting.queue.len();
        if waiting.queue.is_empty() {
            self.clients.remove(at);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.turns.state().leave(self.client, self.number);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = {
            let mut state = self.0.state();
            let next = state.next();
            state.running -= usize::from(next.is_none());
            next
        };
        // One that has left meanwhile drops the turn, which then goes on to the next.
        if let Some(next) = next {
            drop(next.send(Self(Arc::clone(&self.0))));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;

    use futures_util::poll;

    use super::*;

    fn client(n: u8) -> Client {
        Client::at(IpAddr::from([10, 0, 0, n]))
    }

    type Asked = Pin<Box<dyn Future<Output = Option<Turn>>>>;

    async fn ask(turns: &Arc<Turns>, n: u8) -> Asked {
        let turns = Arc::clone(turns);
        let mut asked: Asked = Box::pin(async move { turns.turn(client(n)).await });
        assert!(poll!(&mut asked).is_pending());
        asked
    }

    #[tokio::test]
    async fn a_client_that_asks_much_delays_itself() {
        let turns = Turns::new(1, 10);
        let first = turns.turn(client(1)).await.unwrap();
        let mut greedy = Vec::new();
        for _ in 0..4 {
            greedy.push(ask(&turns, 1).await);
        }
        let modest = ask(&turns, 2).await;
        drop(first);
        let turn = greedy.remove(0).await.unwrap();
        drop(turn);
        // The second client comes after one turn of the first, not after four.
        let turn = modest.await.unwrap();
        assert!(poll!(&mut greedy[0]).is_pending());
        drop(turn);
        assert!(greedy.remove(0).await.is_some());
    }

    #[tokio::test]
    async fn where_no_place_is_left_the_longest_queue_gives_one() {
        let turns = Turns::new(1, 3);
        let first = turns.turn(client(1)).await.unwrap();
        let mut greedy = Vec::new();
        for _ in 0..3 {
            greedy.push(ask(&turns, 1).await);
        }
        assert!(turns.turn(client(1)).await.is_none());
        let modest = ask(&turns, 2).await;
        assert!(greedy.pop().unwrap().await.is_none(), "the last of the longest queue was sent away");
        drop(first);
        drop(greedy.remove(0).await.unwrap());
        assert!(modest.await.is_some());
    }

    #[tokio::test]
    async fn whoever_leaves_gives_place_and_turn_back() {
        let turns = Turns::new(1, 2);
        let first = turns.turn(client(1)).await.unwrap();
        let (leaving, staying) = (ask(&turns, 1).await, ask(&turns, 1).await);
        drop(leaving);
        let given = ask(&turns, 1).await;
        drop(first);
        let turn = staying.await.unwrap();
        drop(turn);
        // This one was given the turn and left without looking.
        drop(given);
        assert!(poll!(Box::pin(turns.turn(client(3)))).is_ready());
    }
}
