//! Messages that wait for something that comes by itself, and when they are taken again: data of a Sparkplug node that
//! waits for its birth, samples of times for which the eras are not known yet.
//!
//! They lie in the store as rejects, so they survive restarts; what is known of them here only says when it is worth
//! looking. A look goes through all of them from the oldest on, in the order of their receipt, and takes each with the
//! configuration and the births of now, under the time of its receipt: twice is once (I5). One that is taken is deleted
//! after what it says is durable (I1), one that is refused stays. Bounded by what is kept of rejects (I6).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hashbrown::HashSet;
use tidemill_store::layout::RejectRow;
use tidemill_store::model::{TimeRange, Timestamp, WriterId};
use tidemill_store::rejects::{RejectPlace, WaitingPages, delete, delete_time};
use tidemill_store::wide::{ReadError, Wide, WriteError};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::PipelineFailure;
use super::intake::{PipelineIntake, Replayed};
use super::shared::{Shared, stopped};
use crate::decode::NO_BIRTH;
use crate::metrics::{IngestMetrics, WaitingCounts};
use crate::policy::ERAS_UNKNOWN;
use crate::reject_gate::Claim;
use crate::rejects::{is_cut, kept_bytes, replayed_at};
use crate::source::{Closed, Completion, Publish, Qos};
use crate::spool::Spool;

/// How often it is asked whether it is time for a look.
const TICK: Duration = Duration::from_secs(1);
/// How long after a birth the first look is: what came just before it is stored by then.
const AFTER_BIRTH: Duration = Duration::from_secs(1);
/// How long after a look the next one is, where there is more to come.
const AGAIN: Duration = Duration::from_secs(30);
/// How long after a look the next one is in any case: others may have left something.
const SURVEY: Duration = Duration::from_hours(1);
/// Looks that a birth brings: one at once, one for what was still on its way.
const LOOKS: u8 = 2;
/// Nodes that are told apart; where more wait, every birth brings a look.
const NODES_MAX: usize = 100_000;
/// How far back looks go: what has expired by then is gone.
const PAST: Duration = Duration::from_hours(24 * 400);

/// What is known of that which waits.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    state: Mutex<State>,
    /// Where it is shown how much it is.
    metrics: IngestMetrics,
}

#[derive(Debug, Default)]
struct State {
    found: Found,
    /// How much this process has kept of it.
    own: WaitingCounts,
    /// How much there was of others when all of it was looked at last.
    others: WaitingCounts,
    /// Counts what has come.
    arrivals: u64,
    /// When the next look is; not known before the first, which is at once.
    due: Option<Instant>,
    looks_left: u8,
}

/// What there is.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Found {
    /// What the oldest of it was received at.
    since: Option<Timestamp>,
    /// Nodes with data that waits for their births.
    nodes: HashSet<Arc<str>>,
    /// There are more nodes than are told apart.
    other_nodes: bool,
    /// Something waits for the eras.
    eras: bool,
}

/// What a look has left.
#[derive(Debug, Default)]
struct Left {
    found: Found,
    own: WaitingCounts,
    others: WaitingCounts,
}

/// A look that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    /// From where on.
    since: Timestamp,
    /// Whether it goes through all there is.
    is_survey: bool,
    arrivals: u64,
}

impl Waiting {
    pub(super) fn new(metrics: IngestMetrics) -> Self {
        Self { state: Mutex::default(), metrics }
    }

    /// Whether a message may wait whatever its sender has used up: always for the eras, as the spool bounds what comes
    /// while they are not known; for a birth as long as less than `bytes_max` waits.
    pub(super) fn has_room(&self, claim: &Claim, bytes_max: u64) -> bool {
        let waiting = || self.state().counts().all().bytes.saturating_add(claim.bytes);
        claim.reason == ERAS_UNKNOWN || waiting() <= bytes_max
    }

    /// Counts a message that is being kept.
    pub(super) fn kept(&self, claim: &Claim) {
        let mut state = self.state();
        state.own.add(claim.reason, claim.bytes);
        self.metrics.show_waiting(state.counts());
    }

    /// Counts the message of `row` no more, which this process kept or another.
    fn gone(&self, row: &RejectRow, is_own: bool) {
        let mut state = self.state();
        let counts = if is_own { &mut state.own } else { &mut state.others };
        counts.remove(&row.reason, kept_bytes(row));
        self.metrics.show_waiting(state.counts());
    }

    /// Notes that a message is being kept that was received at `at`: one of `node`, or else of times to come.
    pub(super) fn add(&self, node: Option<Arc<str>>, at: Timestamp) {
        let mut state = self.state();
        state.arrivals += 1;
        state.found.add(node, at);
    }

    /// Notes the birth of a node.
    pub(super) fn born(&self, node: &str) {
        let mut state = self.state();
        if state.found.nodes.contains(node) || state.found.other_nodes {
            state.looks_left = LOOKS;
            let soon = Instant::now() + AFTER_BIRTH;
            state.due = state.due.map(|due| due.min(soon));
        }
    }

    /// The look that is due at `now`; `eras_known` where they are for what comes now.
    fn begin(&self, now: Instant, at: Timestamp, eras_known: bool) -> Option<Look> {
        let mut state = self.state();
        let due = *state.due.get_or_insert(now);
        let State { found, arrivals, .. } = &*state;
        let eras_due = found.eras && eras_known && due > now + AGAIN;
        if due > now && !eras_due {
            return None;
        }
        let is_survey = state.looks_left == 0;
        let all = at.saturating_sub(PAST);
        let since = if is_survey { all } else { found.since.unwrap_or(all) };
        Some(Look { since, is_survey, arrivals: *arrivals })
    }

    /// Notes what a look has left; `more` where more may come from elsewhere.
    fn end(&self, look: Look, left: Option<Left>, now: Instant, more: bool) {
        let mut state = self.state();
        state.looks_left = state.looks_left.saturating_sub(1);
        let is_whole = left.is_some();
        if let Some(Left { found, own, others }) = left {
            let is_all = state.arrivals == look.arrivals;
            if is_all {
                state.found = found;
            } else {
                state.found.merge(found);
            }
            if look.is_survey {
                state.others = others;
            }
            // What is still in the spool was not seen.
            if look.is_survey && is_all && !more {
                state.own = own;
            }
            self.metrics.show_waiting(state.counts());
        }
        let goes_on = state.looks_left > 0 || more || !is_whole || state.found.eras;
        state.due = Some(now + if goes_on { AGAIN } else { SURVEY });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn counts(&self) -> WaitingCounts {
        self.own.and(&self.others)
    }
}

impl Left {
    fn count(&mut self, row: &RejectRow, is_own: bool) {
        let counts = if is_own { &mut self.own } else { &mut self.others };
        counts.add(&row.reason, kept_bytes(row));
    }
}

impl Found {
    fn add(&mut self, node: Option<Arc<str>>, at: Timestamp) {
        self.since = Some(self.since.map_or(at, |since| since.min(at)));
        match node {
            None => self.eras = true,
            Some(node) if self.nodes.contains(&node) => {}
            Some(node) if self.nodes.len() < NODES_MAX => drop(self.nodes.insert(node)),
            Some(_) => self.other_nodes = true,
        }
    }

    fn merge(&mut self, other: Self) {
        let Self { since, nodes, other_nodes, eras } = other;
        self.since = [self.since, since].into_iter().flatten().min();
        self.other_nodes |= other_nodes || self.nodes.len() + nodes.len() > NODES_MAX;
        if self.nodes.len() + nodes.len() <= NODES_MAX {
            self.nodes.extend(nodes);
        }
        self.eras |= eras;
    }
}

/// Takes what waits when its time has come, for as long as the pipeline runs.
pub(super) struct Taker<W> {
    pub(super) wide: Arc<W>,
    pub(super) shared: Weak<Shared>,
    pub(super) spool: Option<Spool>,
    /// Who keeps what this process leaves.
    pub(super) writer: WriterId,
    pub(super) stop: watch::Receiver<bool>,
}

/// Why a look ended early. What it left is looked at again.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error("what waits cannot be read")]
    Read(#[from] ReadError),
    #[error("what was taken cannot be deleted")]
    Delete(#[from] WriteError),
    #[error("the pipeline takes no more")]
    Closed(#[from] Closed),
    #[error("what was taken did not become durable")]
    Abandoned(#[from] crate::source::Abandoned),
}

impl<W: Wide> Taker<W> {
    /// Runs until told to stop, or until nobody is left.
    pub(super) async fn run(self) -> Result<(), PipelineFailure> {
        tokio::select! {
            biased;
            () = stopped(self.stop.clone()) => {}
            () = self.look_and_look_again() => {}
        }
        Ok(())
    }

    async fn look_and_look_again(&self) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let Some(shared) = self.shared.upgrade() else { return };
            let now = shared.clock.now();
            shared.ask_what_is_due(now);
            let eras_known = shared.eras.current().complete_until > now;
            let Some(look) = shared.waiting.begin(Instant::now(), now, eras_known) else { continue };
            // What is in the spool is not in the store yet.
            let more = self.spool.as_ref().is_some_and(|spool| spool.depth().records > 0);
            let left = match self.look(&shared, look).await {
                Ok(left) => Some(left),
                Err(Stopped::Closed(Closed)) => return,
                Err(error) => {
                    tracing::warn!(%error, "messages that wait were not all looked at; it is tried again");
                    None
                }
            };
            shared.waiting.end(look, left, Instant::now(), more);
        }
    }

    /// Takes all that can be taken from the moment of `look` on; gives what is left.
    async fn look(&self, shared: &Arc<Shared>, look: Look) -> Result<Left, Stopped> {
        let end = shared.clock.now().saturating_add(Duration::from_hours(1));
        let Ok(range) = TimeRange::new(look.since.min(end), end) else { return Ok(Left::default()) };
        let (mut pages, mut left, mut taken) = (WaitingPages::received_in(range), Left::default(), 0);
        let mut intake = PipelineIntake::new(Arc::clone(shared));
        while let Some(page) = pages.next(&*self.wide).await? {
            taken += self.page(page, (shared, &mut intake), &mut left).await?;
        }
        if taken > 0 {
            tracing::info!(messages = taken, "messages were taken that had waited for a birth or for eras");
        }
        Ok(left)
    }

    async fn page(
        &self,
        page: Vec<(RejectPlace, RejectRow)>,
        (shared, intake): (&Shared, &mut PipelineIntake),
        left: &mut Left,
    ) -> Result<u64, Stopped> {
        let mut settling: Vec<(RejectPlace, RejectRow, Completion)> = Vec::with_capacity(page.len());
        for (place, row) in page {
            let (received_at, is_own) = (row.received_at, row.writer == self.writer);
            if is_cut(&row) {
                left.count(&row, is_own);
                continue;
            }
            let (publish, at) = (publish(row.topic.clone(), &row), replayed_at(&row));
            let node = intake.node_to_know(&publish);
            if let Replayed::Taken { completion, .. } = intake.take_waiting(publish, at).await? {
                settling.push((place, row, completion));
                continue;
            }
            left.count(&row, is_own);
            match row.reason.as_str() {
                ERAS_UNKNOWN => left.found.add(None, received_at),
                NO_BIRTH if node.is_some() => left.found.add(node, received_at),
                // Its template is gone, or says something else now: an operator may replay it one day.
                _ => {}
            }
        }
        let mut taken = 0;
        for (place, row, completion) in settling {
            completion.await?;
            delete(&*self.wide, &place, delete_time(&place, intake.now())).await?;
            shared.waiting.gone(&row, row.writer == self.writer);
            taken += 1;
        }
        intake.count_taken(taken);
        Ok(taken)
    }
}

fn publish(topic: String, row: &RejectRow) -> Publish {
    let payload = bytes::Bytes::clone(&row.payload);
    Publish { topic: topic.into(), payload, qos: Qos::AtLeastOnce, retained: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    const EDGE: &str = "plant/edge";

    /// The looks that were due at each of these seconds, with what they left.
    fn looks(waiting: &Waiting, start: Instant, seconds: std::ops::Range<u64>, left: &Found) -> Vec<u64> {
        let mut looks = Vec::new();
        for second in seconds {
            let now = start + Duration::from_secs(second);
            if let Some(look) = waiting.begin(now, at(0), true) {
                waiting.end(look, Some(Left { found: left.clone(), ..Left::default() }), now, false);
                looks.push(second);
            }
        }
        looks
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_a_look_at_the_start_after_births_that_are_waited_for_and_once_an_hour() {
        let (waiting, start) = (Waiting::default(), Instant::now());
        assert_eq!(looks(&waiting, start, 0..3_700, &Found::default()), [0, 3_600]);
        let (waiting, start) = (Waiting::default(), Instant::now());
        let mut left = Found::default();
        left.add(Some(EDGE.into()), at(5));
        assert_eq!(looks(&waiting, start, 0..10, &left), [0]);
        waiting.born("plant/other");
        assert!(looks(&waiting, start, 10..100, &left).is_empty(), "nobody waits for it");
        waiting.born(EDGE);
        assert_eq!(looks(&waiting, start, 100..1_000, &left), [100, 130], "and no more: it was in vain");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_during_a_look_is_not_forgotten_with_it() {
        let waiting = Waiting::default();
        let now = Instant::now();
        let look = waiting.begin(now, at(0), true).unwrap();
        waiting.add(Some(EDGE.into()), at(7));
        waiting.end(look, Some(Left::default()), now, false);
        assert!(waiting.state().found.nodes.contains(EDGE));
        waiting.born(EDGE);
        let look = waiting.begin(now + AFTER_BIRTH, at(0), true).unwrap();
        assert_eq!(look.since, at(7));
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_eras_is_looked_at_again_and_again_until_it_is_taken() {
        let (waiting, start) = (Waiting::default(), Instant::now());
        assert_eq!(looks(&waiting, start, 0..1, &Found::default()), [0]);
        waiting.add(None, at(9));
        let now = start + Duration::from_secs(1);
        assert!(waiting.begin(now, at(0), false).is_none(), "the eras are not known yet");
        let look = waiting.begin(now, at(0), true).unwrap();
        waiting.end(look, Some(Left::default()), now, false);
        let mut left = Found::default();
        left.add(None, at(9));
        waiting.add(None, at(9));
        assert_eq!(looks(&waiting, start, 2..70, &left), [2, 32, 62]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_counted_as_it_comes_and_goes_and_by_what_a_survey_finds() {
        let (waiting, now) = (Waiting::default(), Instant::now());
        let claim = |reason, bytes| Claim { sender: 1, reason, bytes };
        let shown = || waiting.metrics.waiting().all();
        waiting.kept(&claim(NO_BIRTH, 300));
        waiting.kept(&claim(ERAS_UNKNOWN, 500));
        assert_eq!((shown().messages, shown().bytes), (2, 800));
        assert!(
            waiting.has_room(&claim(NO_BIRTH, 200), 1_000) && !waiting.has_room(&claim(NO_BIRTH, 201), 1_000)
        );
        assert!(waiting.has_room(&claim(ERAS_UNKNOWN, 9_999), 1_000), "the spool bounds it");
        let survey = waiting.begin(now, at(0), true).unwrap();
        assert!(survey.is_survey);
        let mut left = Left::default();
        left.others.add(NO_BIRTH, 70);
        left.own.add(NO_BIRTH, 300);
        waiting.end(survey, Some(left), now, false);
        assert_eq!((shown().messages, shown().bytes), (2, 370), "somebody purged what waited for eras");
        waiting.add(Some(EDGE.into()), at(5));
        waiting.born(EDGE);
        let look = waiting.begin(now + AFTER_BIRTH, at(0), true).unwrap();
        assert!(!look.is_survey);
        waiting.end(look, Some(Left::default()), now, false);
        assert_eq!(shown().messages, 2, "a look at some of it counts nothing anew");
    }
}
