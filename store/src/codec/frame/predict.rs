//! What the integrals of a window would be if its samples came at equal distances: most do, nearly, so that little is
//! left to store. Pure; from what the other side decodes first, and by the same operations.

use crate::model::Sample;
use crate::rollup::{Fold, Number, nearest};

/// From one sample to the next in seconds, with the first and the last number.
fn regular(fold: &Fold) -> Option<(f64, f64, f64)> {
    let (first, last) = (fold.first()?, fold.last()?);
    let gaps = fold.counts.all().checked_sub(1).filter(|gaps| *gaps > 0)?;
    let lasts = i128::from(last.time.nanos()) - i128::from(first.time.nanos());
    let number = |sample: &Sample| Number::of(&sample.value).map_or(0.0, Number::nearest);
    Some((nearest(lasts) / 1e9 / nearest(gaps.into()), number(first), number(last)))
}

/// Each number but the last one, held for as long.
pub(super) fn step(fold: &Fold) -> f64 {
    let sum = nearest(fold.sum.integers) + fold.sum.floats.parts().high;
    regular(fold).map_or(0.0, |(gap, _, last)| (sum - last) * gap)
}

/// Besides the step integral, which is known, half a step between the first and the last number.
pub(super) fn linear(fold: &Fold) -> f64 {
    let step = fold.integrals.step.parts().high;
    regular(fold).map_or(0.0, |(gap, first, last)| step + (last - first) * gap / 2.0)
}
