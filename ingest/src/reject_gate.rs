//! How many rejects are kept: a flood of garbage, from one device or from all, must not fill the disk (I6, I7).
//!
//! Bytes a day, for each sender and for all together, each as a vessel that leaks evenly over a day. Beyond them a reject
//! is counted and not kept, except the first of each reason of a sender, for which there is a little more room: what is
//! wrong can always be seen. Pure: the time is an argument. A clock that goes back only delays the leak.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use hashbrown::HashMap;
use tidemill_store::model::Timestamp;

/// What a row costs beyond topic and payload: its key, reason and detail.
pub(crate) const ROW_OVERHEAD: usize = 256;
/// Senders whose use is known; above it all are forgotten, and the bound on all together still holds.
const SENDERS_MAX: usize = 10_000;
/// Reasons of a sender that are told apart of what was kept before; there are some thirty.
const REASONS_MAX: usize = 64;
const DAY_NANOS: u128 = Duration::from_hours(24).as_nanos();

/// How many bytes of rejects are kept a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RejectRates {
    /// Of one device; of one topic where it names none.
    pub device_bytes_per_day_max: u64,
    /// Of all.
    pub bytes_per_day_max: u64,
}

impl Default for RejectRates {
    /// With thirty days of retention some eight gigabytes at most; a device may have a sixteenth of it.
    fn default() -> Self {
        Self { device_bytes_per_day_max: 16 << 20, bytes_per_day_max: 256 << 20 }
    }
}

/// Whether a reject is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// It is to be written.
    Kept,
    /// It is counted.
    Counted,
}

/// A reject as far as its keeping depends on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    /// Whose it is.
    pub(crate) sender: u64,
    pub(crate) reason: &'static str,
    pub(crate) bytes: u64,
}

/// What was kept lately.
#[derive(Debug)]
pub(crate) struct RejectGate {
    rates: RejectRates,
    all: Vessel,
    /// For the first of each reason of a sender.
    firsts: Vessel,
    senders: HashMap<u64, Sender>,
}

#[derive(Debug)]
struct Sender {
    vessel: Vessel,
    reasons: Vec<Cow<'static, str>>,
}

/// A vessel that takes a day to leak empty.
#[derive(Debug)]
struct Vessel {
    capacity: u64,
    level: u64,
    /// Up to when it has leaked.
    leaked_to: Timestamp,
}

/// What was kept in the last day, by processes that came before.
#[derive(Debug, Default)]
pub(crate) struct KeptBefore {
    bytes: u64,
    senders: BTreeMap<u64, (u64, Vec<Cow<'static, str>>)>,
}

impl KeptBefore {
    /// Adds a reject of `sender`.
    pub(crate) fn add(&mut self, sender: u64, reason: &str, bytes: u64) {
        self.bytes += bytes;
        if self.senders.len() >= SENDERS_MAX && !self.senders.contains_key(&sender) {
            return;
        }
        let (of_sender, reasons) = self.senders.entry(sender).or_default();
        *of_sender += bytes;
        if !reasons.iter().any(|known| known == reason) && reasons.len() < REASONS_MAX {
            reasons.push(Cow::Owned(reason.to_owned()));
        }
    }
}

impl RejectGate {
    /// Counts what was kept in the last day before this process began, as if it had come at `now`: limits go on over a
    /// restart.
    pub(crate) fn kept_before(&mut self, kept: &KeptBefore, now: Timestamp) {
        self.all.add(kept.bytes, now);
        for (&sender, (bytes, reasons)) in &kept.senders {
            let sender = self::sender(&mut self.senders, &self.rates, sender);
            sender.vessel.add(*bytes, now);
            sender.reasons.extend(reasons.iter().cloned());
        }
    }

    pub(crate) fn new(rates: RejectRates) -> Self {
        Self {
            rates,
            all: Vessel::new(rates.bytes_per_day_max),
            firsts: Vessel::new(rates.bytes_per_day_max / 8),
            senders: HashMap::new(),
        }
    }

    /// Whether the reject that `claim` describes is kept, at `now`.
    pub(crate) fn judge(&mut self, claim: &Claim, now: Timestamp) -> Keeping {
        if self.senders.len() >= SENDERS_MAX && !self.senders.contains_key(&claim.sender) {
            self.senders.clear();
        }
        let Self { rates, all, firsts, senders } = self;
        let sender = sender(senders, rates, claim.sender);
        let is_first = !sender.reasons.iter().any(|reason| reason == claim.reason);
        let has_room = sender.vessel.has_room(claim.bytes, now) && all.has_room(claim.bytes, now);
        if has_room {
            sender.vessel.level += claim.bytes;
            all.level += claim.bytes;
        } else if is_first && firsts.has_room(claim.bytes, now) {
            firsts.level += claim.bytes;
        } else {
            return Keeping::Counted;
        }
        if is_first {
            sender.reasons.push(Cow::Borrowed(claim.reason));
        }
        Keeping::Kept
    }
}

/// What is known of the sender `id`, which may be nothing yet.
fn sender<'s>(senders: &'s mut HashMap<u64, Sender>, rates: &RejectRates, id: u64) -> &'s mut Sender {
    let capacity = rates.device_bytes_per_day_max;
    senders.entry(id).or_insert_with(|| Sender { vessel: Vessel::new(capacity), reasons: Vec::new() })
}

impl Vessel {
    fn new(capacity: u64) -> Self {
        Self { capacity, level: 0, leaked_to: Timestamp::MIN }
    }

    /// Adds what was let in elsewhere; not above the brim.
    fn add(&mut self, bytes: u64, now: Timestamp) {
        self.has_room(0, now);
        self.level = self.level.saturating_add(bytes).min(self.capacity);
    }

    fn has_room(&mut self, bytes: u64, now: Timestamp) -> bool {
        let elapsed = now.saturating_since(self.leaked_to).as_nanos();
        let leaked = u64::try_from(elapsed * u128::from(self.capacity) / DAY_NANOS).unwrap_or(u64::MAX);
        if leaked >= self.level {
            (self.level, self.leaked_to) = (0, now.max(self.leaked_to));
        } else {
            self.level -= leaked;
            // Whole bytes leak; the time of what is less than one is left for later.
            let spent = u128::from(leaked) * DAY_NANOS / u128::from(self.capacity.max(1));
            let spent = Duration::from_nanos(u64::try_from(spent).unwrap_or(u64::MAX));
            self.leaked_to = self.leaked_to.saturating_add(spent);
        }
        self.level.saturating_add(bytes) <= self.capacity
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATES: RejectRates = RejectRates { device_bytes_per_day_max: 1_000, bytes_per_day_max: 8_000 };
    const DAY_MILLIS: i64 = 86_400_000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    fn kept(gate: &mut RejectGate, sender: u64, reason: &'static str, millis: i64) -> bool {
        gate.judge(&Claim { sender, reason, bytes: 100 }, at(millis)) == Keeping::Kept
    }

    #[test]
    fn a_sender_has_its_share_of_a_day_and_then_a_steady_trickle() {
        let mut gate = RejectGate::new(RATES);
        let at_once = (0..50).filter(|_| kept(&mut gate, 1, "syntax", 0)).count();
        assert_eq!(at_once, 10);
        assert!(!kept(&mut gate, 1, "syntax", DAY_MILLIS / 11));
        assert!(kept(&mut gate, 1, "syntax", DAY_MILLIS / 10 + 1));
        assert!(kept(&mut gate, 2, "syntax", 0), "others have theirs");
    }

    #[test]
    fn the_first_of_each_reason_is_kept_even_then() {
        let mut gate = RejectGate::new(RATES);
        while kept(&mut gate, 1, "syntax", 0) {}
        assert!(kept(&mut gate, 1, "shape", 0));
        assert!(!kept(&mut gate, 1, "shape", 0));
    }

    #[test]
    fn what_was_kept_before_a_restart_counts_and_leaks() {
        let (mut gate, mut before) = (RejectGate::new(RATES), KeptBefore::default());
        (0..8).for_each(|_| before.add(1, "syntax", 100));
        (0..20).for_each(|_| before.add(2, "syntax", 100));
        gate.kept_before(&before, at(0));
        assert!(kept(&mut gate, 1, "syntax", 0) && kept(&mut gate, 2, "shape", 0), "a first of its reason");
        assert!(!kept(&mut gate, 2, "syntax", 0));
        assert!(kept(&mut gate, 2, "syntax", DAY_MILLIS / 10 + 1));
    }

    #[test]
    fn all_together_have_a_bound_and_firsts_too() {
        let mut gate = RejectGate::new(RATES);
        let total = (0..20_000_u64).filter(|sender| kept(&mut gate, *sender, "syntax", 0)).count();
        assert_eq!(total, 80 + 10);
        let next_day =
            (0..20_000_u64).filter(|sender| kept(&mut gate, *sender, "syntax", DAY_MILLIS)).count();
        assert_eq!(next_day, 80 + 10);
    }

    proptest! {
        #[test]
        fn what_is_kept_in_a_day_is_bounded_whatever_comes(
            claims in prop::collection::vec((0_u64..4, 0_usize..3, 1_u64..400, 0_i64..1_000_000), 0..300)
        ) {
            let (mut gate, mut now, mut bytes) = (RejectGate::new(RATES), 0_i64, 0);
            for (sender, reason, size, pause) in claims {
                now = (now + pause).min(DAY_MILLIS);
                let claim = Claim { sender, reason: ["a", "b", "c"][reason], bytes: size };
                if gate.judge(&claim, at(now)) == Keeping::Kept {
                    bytes += size;
                }
            }
            // What was full at the start and what leaked since, for all and for firsts.
            prop_assert!(bytes <= 2 * (8_000 + 1_000));
        }
    }
}
