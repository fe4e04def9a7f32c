//! Chance that can be repeated: a generator whose seed is printed, and given with `TIDEMILL_SEED`.

use std::time::Duration;

use anyhow::Result;

use crate::environment;
use crate::oracle::mix;

/// A generator of numbers.
#[derive(Debug, Clone)]
pub struct Random {
    seed: u64,
    drawn: u64,
}

impl Random {
    /// A generator with a fresh seed, or that of the environment; `name` says in the output whose
    /// seed it is.
    pub fn new(name: &str) -> Result<Self> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes)?;
        let seed = environment::seed().unwrap_or(u64::from_ne_bytes(bytes) >> 32);
        eprintln!("{name}: TIDEMILL_SEED={seed}");
        Ok(Self { seed, drawn: 0 })
    }

    /// The generator of `seed`.
    pub const fn of(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    /// From 0 to below `bound`, which is at least 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.drawn += 1;
        mix(self.seed ^ mix(self.drawn)) % bound.max(1)
    }

    /// A span from nothing to below `bound`, in milliseconds.
    pub fn span_below(&mut self, bound: Duration) -> Duration {
        Duration::from_millis(self.below(u64::try_from(bound.as_millis()).unwrap_or(u64::MAX)))
    }
}
