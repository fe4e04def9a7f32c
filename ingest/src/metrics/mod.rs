//! What the pipeline counts, and the identity I2: received + recovered = stored + duplicate + quarantined
//! + dead-lettered + shed + spooled + set aside + in flight, at every moment.
//!
//! The numbers of the identity change together, under one lock, once a group: a scrape can never see them out of
//! balance. `in_flight` is counted by itself and not derived, so the identity can fail; it is checked with every
//! change. Besides, what the tasks of shards say that they wrote of a group must be what the group brought.

mod accounting;
mod export;
mod histogram;
mod waiting;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidemill_store::layout::RejectKind;
use tidemill_store::model::Source;

pub use accounting::Accounting;
use histogram::Histogram;
pub use waiting::{WaitingCount, WaitingCounts};

use crate::skews::{DeviceSkews, SkewCell};
use crate::spool::Tally;

/// What a group brought when it was taken.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Arrival<'a> {
    pub(crate) qos0: u64,
    pub(crate) qos1: u64,
    /// Of `qos0`.
    pub(crate) shed: u64,
    pub(crate) samples: u64,
    pub(crate) bytes: u64,
    /// For each message with a time of its own: seconds from its newest time to the time of receipt.
    pub(crate) skews: &'a [f64],
}

/// How a group ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settled<'a> {
    pub(crate) messages: u64,
    pub(crate) samples: u64,
    pub(crate) bytes: u64,
    pub(crate) rejected: &'a [Rejected],
    /// What the tasks of shards say of its messages.
    pub(crate) written: Written,
    pub(crate) latency: Duration,
}

/// What became durable of the messages of a group, as those who wrote it count: those that are kept apart are in
/// neither number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// In the store or in the spool.
    pub(crate) messages: u64,
    /// Of these, in the spool.
    pub(crate) spooled_messages: u64,
    pub(crate) spooled_samples: u64,
}

/// A message of a group that was kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rejected {
    /// Its position in its group.
    pub(crate) message: usize,
    pub(crate) kind: RejectKind,
    pub(crate) reason: &'static str,
    /// Samples that were decoded and are not stored because of it.
    pub(crate) samples: u64,
    /// Whether it is written, or there are too many and it is only counted.
    pub(crate) is_kept: bool,
}

/// What a message of a Sparkplug node was, besides its samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SparkplugNoted {
    pub(crate) births: u64,
    pub(crate) deaths: u64,
    /// Places in the order of messages where some are missing.
    pub(crate) gaps: u64,
    /// Values of the past, which their sender had stored.
    pub(crate) historical: u64,
    /// Metrics of types that cannot be stored.
    pub(crate) passed_over: u64,
}

/// The pipeline's metrics. Clones share their numbers; register one with a registry to show them.
#[derive(Debug, Clone)]
pub struct IngestMetrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    queued_messages: AtomicI64,
    queued_bytes: AtomicI64,
    shards: AtomicI64,
    skews: DeviceSkews,
    waiting: Mutex<WaitingCounts>,
}

/// Counts of Sparkplug messages.
#[derive(Debug, Clone, Copy, Default)]
struct SparkplugCounts {
    noted: SparkplugNoted,
    rebirths_asked: u64,
}

#[derive(Debug)]
struct State {
    sparkplug: SparkplugCounts,
    messages: Accounting,
    samples: Accounting,
    by_qos: [u64; 2],
    rejected: BTreeMap<(&'static str, &'static str), u64>,
    /// Of the rejected ones those that were not written, by reason.
    not_kept: BTreeMap<&'static str, u64>,
    /// Messages that were taken after they had waited.
    waited: u64,
    bytes_in_flight: u64,
    violations: u64,
    ack_latency: Histogram,
    skew: Histogram,
    plan_messages: Histogram,
    plan_samples: Histogram,
}

/// Seconds: from a local fsync to a store that is down.
const LATENCY_BOUNDS: &[f64] =
    &[0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];
/// Seconds, below zero where a device is ahead of us: from the noise of a network over clocks that drift to histories.
const SKEW_BOUNDS: &[f64] = &[
    -86_400.0,
    -3_600.0,
    -300.0,
    -60.0,
    -10.0,
    -1.0,
    -0.1,
    0.0,
    0.1,
    1.0,
    10.0,
    60.0,
    300.0,
    3_600.0,
    86_400.0,
    2_592_000.0,
];
const COUNT_BOUNDS: &[f64] =
    &[1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0, 30_000.0, 100_000.0];

impl Default for IngestMetrics {
    fn default() -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                sparkplug: SparkplugCounts::default(),
                messages: Accounting::default(),
                samples: Accounting::default(),
                by_qos: [0; 2],
                rejected: BTreeMap::new(),
                not_kept: BTreeMap::new(),
                waited: 0,
                bytes_in_flight: 0,
                violations: 0,
                ack_latency: Histogram::new(LATENCY_BOUNDS),
                skew: Histogram::new(SKEW_BOUNDS),
                plan_messages: Histogram::new(COUNT_BOUNDS),
                plan_samples: Histogram::new(COUNT_BOUNDS),
            }),
            queued_messages: AtomicI64::new(0),
            queued_bytes: AtomicI64::new(0),
            shards: AtomicI64::new(0),
            skews: DeviceSkews::default(),
            waiting: Mutex::default(),
        }))
    }
}

impl IngestMetrics {
    /// Where all messages are.
    pub fn messages(&self) -> Accounting {
        self.state().messages.shown()
    }

    /// Where all samples of understood messages are.
    pub fn samples(&self) -> Accounting {
        self.state().samples.shown()
    }

    pub(crate) fn arrived(&self, arrival: &Arrival<'_>) {
        let mut state = self.state();
        let [qos0, qos1] = &mut state.by_qos;
        *qos0 += arrival.qos0;
        *qos1 += arrival.qos1;
        let messages = &mut state.messages;
        messages.received += arrival.qos0 + arrival.qos1;
        messages.shed += arrival.shed;
        messages.in_flight = messages.in_flight.wrapping_add(arrival.qos0 + arrival.qos1 - arrival.shed);
        state.samples.received += arrival.samples;
        state.samples.in_flight = state.samples.in_flight.wrapping_add(arrival.samples);
        state.bytes_in_flight += arrival.bytes;
        state.check();
        arrival.skews.iter().for_each(|&seconds| state.skew.observe(seconds, 1));
    }

    pub(crate) fn settled(&self, settled: Settled<'_>) {
        let mut state = self.state();
        let (mut messages, mut samples) = (settled.messages, settled.samples);
        for reject in settled.rejected {
            *state.rejected.entry((reject.kind.as_str(), reject.reason)).or_default() += 1;
            if !reject.is_kept {
                *state.not_kept.entry(reject.reason).or_default() += 1;
            }
            messages -= 1;
            samples -= reject.samples;
            match reject.kind {
                RejectKind::DeadLetter => {
                    state.messages.dead_lettered += 1;
                    state.samples.dead_lettered += reject.samples;
                }
                RejectKind::Quarantine => {
                    state.messages.quarantined += 1;
                    state.samples.quarantined += reject.samples;
                }
            }
        }
        // What went to the spool left what is in flight when it became durable there.
        let spooled = settled.written;
        state.messages.stored += messages - spooled.spooled_messages;
        let left = settled.messages - spooled.spooled_messages;
        state.messages.in_flight = state.messages.in_flight.wrapping_sub(left);
        state.samples.stored += samples - spooled.spooled_samples;
        let left = settled.samples - spooled.spooled_samples;
        state.samples.in_flight = state.samples.in_flight.wrapping_sub(left);
        state.bytes_in_flight -= settled.bytes;
        state.check();
        state.ack_latency.observe(settled.latency.as_secs_f64(), settled.messages);
    }

    /// So many messages were taken that had waited.
    pub(crate) fn waited(&self, messages: u64) {
        self.state().waited += messages;
    }

    pub(crate) fn sparkplug(&self, noted: &SparkplugNoted, is_rebirth_asked: bool) {
        let counts = &mut self.state().sparkplug;
        counts.noted.births += noted.births;
        counts.noted.deaths += noted.deaths;
        counts.noted.gaps += noted.gaps;
        counts.noted.historical += noted.historical;
        counts.noted.passed_over += noted.passed_over;
        counts.rebirths_asked += u64::from(is_rebirth_asked);
    }

    /// How many seconds the newest time in the last message of the device of `source` lay before its receipt: below zero
    /// where its clock is ahead. Known of devices that sent to this process, as long as there are not too many.
    pub fn device_skew(&self, source: &Source) -> Option<f64> {
        self.0.skews.seconds(source)
    }

    /// Where the skew of the device of `source` is noted.
    pub(crate) fn skew_cell(&self, source: &Source) -> SkewCell {
        self.0.skews.cell(source)
    }

    /// An earlier process left so much in the spool.
    pub(crate) fn recovered(&self, messages: u64, samples: u64) {
        let mut state = self.state();
        for (of, number) in state.both(messages, samples) {
            of.recovered += number;
            of.spooled += number;
        }
        state.check();
    }

    /// So many messages of QoS 1 came again over a new connection, and are known.
    pub(crate) fn duplicates(&self, messages: u64) {
        let mut state = self.state();
        let [_, qos1] = &mut state.by_qos;
        *qos1 += messages;
        state.messages.received += messages;
        state.messages.duplicate += messages;
        state.check();
    }

    /// So much became durable in the spool.
    pub(crate) fn spooled(&self, tally: Tally) {
        let mut state = self.state();
        for (of, number) in state.both(tally.messages.into(), tally.samples.into()) {
            of.in_flight = of.in_flight.wrapping_sub(number);
            of.spooled += number;
        }
        state.check();
    }

    /// The store took so much from the spool.
    pub(crate) fn forwarded(&self, tally: Tally) {
        let mut state = self.state();
        for (of, number) in state.both(tally.messages.into(), tally.samples.into()) {
            of.spooled -= number;
            of.stored += number;
        }
        state.check();
    }

    /// So much of what was in the spool cannot be read any more.
    pub(crate) fn set_aside(&self, messages: u64, samples: u64) {
        let mut state = self.state();
        for (of, number) in state.both(messages, samples) {
            of.spooled -= number;
            of.set_aside += number;
        }
        state.check();
    }

    /// Notes that numbers which must be equal are not: something vanished, or came out of nothing (I2).
    pub(crate) fn violated(&self, what: &'static str, counted: u64, expected: u64) {
        self.state().violations += 1;
        tracing::error!(what, counted, expected, "the accounting does not add up");
    }

    /// How often numbers did not add up; anything but 0 is a defect.
    pub fn violations(&self) -> u64 {
        self.state().violations
    }

    pub(crate) fn planned(&self, messages: usize, samples: usize) {
        let mut state = self.state();
        state.plan_messages.observe(count(messages), 1);
        state.plan_samples.observe(count(samples), 1);
    }

    pub(crate) fn queued(&self, messages: usize, bytes: usize) {
        self.0.queued_messages.fetch_add(signed(messages), Ordering::Relaxed);
        self.0.queued_bytes.fetch_add(signed(bytes), Ordering::Relaxed);
    }

    pub(crate) fn unqueued(&self, messages: usize, bytes: usize) {
        self.0.queued_messages.fetch_sub(signed(messages), Ordering::Relaxed);
        self.0.queued_bytes.fetch_sub(signed(bytes), Ordering::Relaxed);
    }

    pub(crate) fn shard_started(&self) {
        self.0.shards.fetch_add(1, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in this module panics between two changes that belong together.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The accounts of messages and of samples, with a number for each.
    fn both(&mut self, messages: u64, samples: u64) -> [(&mut Accounting, u64); 2] {
        [(&mut self.messages, messages), (&mut self.samples, samples)]
    }

    /// Checks the identity after a change.
    fn check(&mut self) {
        if !(self.messages.balanced() && self.samples.balanced()) {
            self.violations += 1;
        }
    }
}

fn signed(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A count as a double; counts of one plan are far below 2^32.
fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::from(u32::MAX), f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_moves_from_in_flight_to_where_its_messages_ended() {
        let metrics = IngestMetrics::default();
        metrics.arrived(&Arrival { qos0: 3, qos1: 4, shed: 2, samples: 50, bytes: 700, skews: &[] });
        let before = metrics.messages();
        assert!(before.balanced());
        assert_eq!((before.received, before.shed, before.in_flight), (7, 2, 5));
        let reject = |message, kind, samples| Rejected { message, kind, reason: "x", samples, is_kept: true };
        metrics.settled(Settled {
            messages: 5,
            samples: 50,
            bytes: 700,
            rejected: &[reject(0, RejectKind::DeadLetter, 0), reject(3, RejectKind::Quarantine, 10)],
            written: Written { messages: 3, ..Written::default() },
            latency: Duration::from_millis(3),
        });
        let after = metrics.messages();
        assert!(after.balanced());
        assert_eq!((after.stored, after.dead_lettered, after.quarantined), (3, 1, 1));
        let samples = metrics.samples();
        assert!(samples.balanced());
        assert_eq!((samples.stored, samples.quarantined, samples.in_flight), (40, 10, 0));
    }

    #[test]
    fn what_is_spooled_is_told_apart_until_it_is_stored_and_all_of_it_adds_up() {
        let metrics = IngestMetrics::default();
        metrics.recovered(2, 20);
        metrics.arrived(&Arrival { qos1: 4, samples: 8, bytes: 10, ..Arrival::default() });
        metrics.spooled(Tally { messages: 3, samples: 6 });
        metrics.forwarded(Tally { messages: 1, samples: 2 });
        metrics.set_aside(1, 10);
        metrics.settled(Settled {
            messages: 4,
            samples: 8,
            bytes: 10,
            rejected: &[],
            written: Written { messages: 4, spooled_messages: 3, spooled_samples: 6 },
            latency: Duration::ZERO,
        });
        let (messages, samples) = (metrics.messages(), metrics.samples());
        assert!(messages.balanced() && samples.balanced());
        assert_eq!((messages.spooled, messages.stored, messages.set_aside, messages.in_flight), (3, 2, 1, 0));
        assert_eq!((samples.spooled, samples.stored, samples.set_aside), (14, 4, 10));
        assert_eq!(metrics.violations(), 0);
    }

    #[test]
    fn what_is_spooled_and_even_forwarded_before_its_group_is_counted_adds_up_at_every_moment() {
        let metrics = IngestMetrics::default();
        metrics.spooled(Tally { messages: 3, samples: 6 });
        assert_eq!(metrics.messages(), Accounting::default());
        metrics.forwarded(Tally { messages: 2, samples: 4 });
        assert!(metrics.messages().balanced() && metrics.samples().balanced());
        assert_eq!(metrics.messages(), Accounting::default());
        metrics.arrived(&Arrival { qos1: 5, samples: 10, ..Arrival::default() });
        let messages = metrics.messages();
        assert_eq!((messages.stored, messages.spooled, messages.in_flight), (2, 1, 2));
        assert!(messages.balanced());
        assert_eq!(metrics.violations(), 0);
    }

    #[test]
    fn numbers_that_do_not_add_up_are_counted_as_violations() {
        let metrics = IngestMetrics::default();
        metrics.arrived(&Arrival { qos1: 4, ..Arrival::default() });
        metrics.state().messages.in_flight -= 1;
        metrics.arrived(&Arrival::default());
        assert_eq!(metrics.violations(), 1);
    }

    #[test]
    fn a_lost_message_breaks_the_balance() {
        let lost = Accounting { received: 3, stored: 1, in_flight: 1, ..Accounting::default() };
        assert!(!lost.balanced());
    }
}
