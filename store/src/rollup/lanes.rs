//! Compensated sums of many terms at once: independent lanes, which a processor adds side by side.
//!
//! Each lane is exact in what it keeps (Knuth's two-sum, free of branches); together they give a [`Sum`].

use super::Sum;

/// How many lanes: two registers of the least processor that this runs on.
pub(super) const LANES: usize = 4;

/// A sum in lanes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lanes {
    high: [f64; LANES],
    low: [f64; LANES],
}

impl Lanes {
    /// Adds a term to each lane.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the caller's loop keeps the lanes in registers")]
    pub(super) fn add(&mut self, terms: [f64; LANES]) {
        for ((high, low), term) in self.high.iter_mut().zip(&mut self.low).zip(terms) {
            let total = *high + term;
            let taken = total - *high;
            *low += (*high - (total - taken)) + (term - taken);
            *high = total;
        }
    }

    /// The sum of all lanes; `None` where it is not finite, so that the terms must be added with care.
    pub(super) fn sum(&self) -> Option<Sum> {
        let mut sum = Sum::ZERO;
        for part in self.high.iter().chain(&self.low) {
            sum.add(*part);
        }
        sum.is_plain().then_some(sum)
    }
}
