//! Rollups: what the samples of a window say, so that answers need not read the samples. Pure.
//!
//! [`Fold`] is everything that is known of a run of samples, mergeable in the order of time; [`WindowState`] is a
//! window's fold with the sample at its start apart; [`fold_run`] cuts a run into windows. Knows nothing of
//! series, sources or storage: `codec::frame` gives windows their bytes. Keeps I4: a merge of parts says what the
//! samples say.

mod columns;
mod deviations;
mod fields;
mod floats;
mod fold;
mod lanes;
mod neighbours;
mod number;
mod sketch;
mod states;
mod sum;
mod window;

pub use fields::Fields;
pub use fold::{Counts, Fold};
pub(crate) use fold::{Ends, Extremes, Integrals, NumberSum};
pub use number::{Number, Total, halves, nearest, quotient};
pub(crate) use sketch::Bins;
pub use sketch::Sketch;
pub(crate) use states::States;
pub use states::{STATES_MAX, State, StateSpan, TooManyStates};
pub use sum::Sum;
pub(crate) use sum::SumParts;
pub use window::{WindowState, fold_run, fold_run_with_sketches};

#[cfg(test)]
mod tests;
