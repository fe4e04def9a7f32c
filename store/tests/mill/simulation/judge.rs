//! What was sent and acknowledged, and what any answer must therefore hold: a fold that knows nothing of shards,
//! buckets, segments, blocks or catalogs.
//!
//! Through one writer the order of corrections is the order of sending. Across writers the later arrival wins, and
//! clocks may be apart: there an answer may be any writer's, but not one older than that writer's own last.

use std::collections::BTreeMap;

use tidemill_store::model::{Timestamp, Value};

/// Device, metric and time.
pub(crate) type Spot = (String, String, Timestamp);

/// What an answer says.
pub(crate) type Answer = BTreeMap<Spot, Value>;

/// For each spot, of each writer, which of its sendings was acknowledged last.
pub(crate) type Acked = BTreeMap<Spot, BTreeMap<u64, usize>>;

#[derive(Debug, Clone)]
struct Sent {
    writer: u64,
    order: usize,
    value: Value,
    is_acked: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Judge {
    sent: BTreeMap<Spot, Vec<Sent>>,
    count: usize,
}

impl Judge {
    /// Takes in what is about to be sent; gives the number by which it is acknowledged.
    pub(crate) fn send(&mut self, writer: u64, spot: &Spot, value: &Value) -> (Spot, usize) {
        self.count += 1;
        let sent = Sent { writer, order: self.count, value: value.clone(), is_acked: false };
        self.sent.entry(spot.clone()).or_default().push(sent);
        (spot.clone(), self.count)
    }

    pub(crate) fn acknowledge(&mut self, sent: &[(Spot, usize)]) {
        for (spot, order) in sent {
            let all = self.sent.get_mut(spot).into_iter().flatten();
            all.filter(|sent| sent.order == *order).for_each(|sent| sent.is_acked = true);
        }
    }

    /// What is acknowledged now.
    pub(crate) fn acked(&self) -> Acked {
        let mut acked = Acked::new();
        for (spot, all) in &self.sent {
            for sent in all.iter().filter(|sent| sent.is_acked) {
                let last = acked.entry(spot.clone()).or_default().entry(sent.writer).or_default();
                *last = sent.order.max(*last);
            }
        }
        acked
    }

    /// What is wrong with what a reader gives, where it is not already a mistake of its own.
    pub(crate) fn judged(
        &self,
        acked: &Acked,
        answer: Result<Answer, String>,
        covers: impl Fn(&Spot) -> bool,
    ) -> Vec<String> {
        match answer {
            Ok(answer) => self.mistakes(acked, &answer, covers),
            Err(mistake) => vec![mistake],
        }
    }

    /// What is wrong with an answer over the spots that `covers` says, asked for when `acked` was acknowledged.
    pub(crate) fn mistakes(
        &self,
        acked: &Acked,
        answer: &Answer,
        covers: impl Fn(&Spot) -> bool,
    ) -> Vec<String> {
        let mut mistakes = Vec::new();
        for (spot, of_writers) in acked.iter().filter(|(spot, _)| covers(spot)) {
            let Some(value) = answer.get(spot) else {
                mistakes.push(format!("lost: {spot:?}"));
                continue;
            };
            let is_new_enough = |sent: &Sent| {
                sent.value == *value && of_writers.get(&sent.writer).is_none_or(|last| *last <= sent.order)
            };
            if !self.sent.get(spot).into_iter().flatten().any(is_new_enough) {
                mistakes.push(format!("older than what was acknowledged: {spot:?} {value:?}"));
            }
        }
        for (spot, value) in answer {
            if !self.sent.get(spot).into_iter().flatten().any(|sent| sent.value == *value) {
                mistakes.push(format!("invented: {spot:?} {value:?}"));
            }
        }
        mistakes
    }
}
