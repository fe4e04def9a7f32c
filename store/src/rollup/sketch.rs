//! Quantiles within 1 %: a `DDSketch` (Masson, Rim, Lee: "`DDSketch`: A fast and fully-mergeable quantile sketch with
//! relative-error guarantees", VLDB 2019).
//!
//! A bin counts the numbers of about one magnitude; merging adds bins, so it is exact and its order does not matter.
//! Magnitudes come from the bits of a double and a cubic in place of the logarithm, the same on every machine. The
//! bins of each sign span [`BINS_MAX`] magnitudes at most (I6): those further below the largest fall into the last
//! of them, which is 17 decimal orders down.

use super::number::nearest;

/// Magnitudes that the bins of one sign span at most.
pub(crate) const BINS_MAX: usize = 2048;

/// Bins for each doubling: 7 / (10 ln γ) for γ = 1.01 / 0.99, because the cubic rises by 10/7 at least where the
/// natural logarithm rises by 1.
const BINS_PER_OCTAVE: f64 = 34.998_833_302_220_75;

/// The cubic c(s) with c(0) = 0, c(1) = 1 that stays closest to log2(1 + s).
const CUBIC: [f64; 3] = [6.0 / 35.0, -3.0 / 5.0, 10.0 / 7.0];

/// How many numbers of which magnitude. NaN is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sketch {
    pub(crate) negative: Bins,
    /// Also what is too small for a normal double.
    pub(crate) zeros: u64,
    pub(crate) positive: Bins,
    /// Below all numbers, and above.
    pub(crate) infinite: [u64; 2],
}

/// Counts of consecutive magnitudes; the first and the last one are not 0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Bins {
    first: i32,
    counts: Vec<u64>,
}

impl Bins {
    /// From stored counts; `None` where they are no sketch's.
    pub(crate) fn new(first: i32, counts: Vec<u64>) -> Option<Self> {
        let ends_count = counts.first() != Some(&0) && counts.last() != Some(&0);
        let is_in_range = first.unsigned_abs() < 1 << 20 && counts.len() <= BINS_MAX;
        (ends_count && is_in_range).then_some(Self { first, counts })
    }

    /// The magnitude of the first count.
    pub(crate) const fn first(&self) -> i32 {
        self.first
    }

    /// The counts from the first on.
    pub(crate) fn counts(&self) -> &[u64] {
        &self.counts
    }

    fn add(&mut self, magnitude: i32, count: u64) {
        if self.counts.is_empty() {
            self.first = magnitude;
        }
        let last = self.first.saturating_add(span(self.counts.len().saturating_sub(1)));
        let floor = magnitude.max(last).saturating_sub(span(BINS_MAX - 1));
        self.raise(floor);
        let magnitude = magnitude.max(floor);
        if magnitude < self.first {
            let missing = usize::try_from(self.first - magnitude).unwrap_or(0);
            self.counts.splice(..0, std::iter::repeat_n(0, missing));
            self.first = magnitude;
        }
        let at = usize::try_from(magnitude - self.first).unwrap_or(0);
        if at >= self.counts.len() {
            self.counts.resize(at + 1, 0);
        }
        self.counts.get_mut(at).into_iter().for_each(|bin| *bin = bin.saturating_add(count));
    }

    /// Adds one to each of `magnitudes`, with room for all of them made at once.
    fn take(&mut self, magnitudes: &[i32]) {
        let (Some(&least), Some(&greatest)) = (magnitudes.iter().min(), magnitudes.iter().max()) else {
            return;
        };
        self.add(greatest, 0);
        self.add(least, 0);
        for magnitude in magnitudes {
            let at = usize::try_from(magnitude.saturating_sub(self.first)).unwrap_or(0);
            if let Some(bin) = self.counts.get_mut(at) {
                *bin += 1;
            }
        }
    }

    /// Moves what lies below `floor` there.
    fn raise(&mut self, floor: i32) {
        if self.first >= floor {
            return;
        }
        let below = usize::try_from(floor - self.first).unwrap_or(0).min(self.counts.len());
        let moved = self.counts.drain(..below).fold(0_u64, u64::saturating_add);
        self.first = floor;
        match self.counts.first_mut() {
            Some(bin) => *bin = bin.saturating_add(moved),
            None => self.counts.push(moved),
        }
    }

    fn merge(&mut self, other: &Self) {
        // The last one first, so that the floor is known at once.
        let bins = other.counts.iter().zip(other.first..).filter(|(count, _)| **count > 0);
        let last = other.first.saturating_add(span(other.counts.len().saturating_sub(1)));
        other.counts.last().into_iter().for_each(|count| self.add(last, *count));
        bins.filter(|(_, magnitude)| *magnitude < last).for_each(|(count, at)| self.add(at, *count));
    }

    fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The magnitude of the number at `rank`, counted from the smallest magnitude.
    fn at_rank(&self, rank: u64) -> Option<i32> {
        let mut passed = 0_u64;
        self.counts.iter().zip(self.first..).find_map(|(count, magnitude)| {
            passed = passed.saturating_add(*count);
            (passed > rank).then_some(magnitude)
        })
    }
}

fn span(bins: usize) -> i32 {
    i32::try_from(bins).unwrap_or(i32::MAX)
}

impl Sketch {
    /// Takes a number.
    pub fn add(&mut self, number: f64) {
        if number.is_infinite() {
            let [below, above] = &mut self.infinite;
            *if number < 0.0 { below } else { above } += 1;
        } else if number.abs() < f64::MIN_POSITIVE {
            self.zeros += 1;
        } else if number > 0.0 {
            self.positive.add(magnitude(number), 1);
        } else if number < 0.0 {
            self.negative.add(magnitude(-number), 1);
        }
    }

    /// Takes many numbers.
    pub fn extend(&mut self, numbers: impl Iterator<Item = f64>) {
        let (mut negative, mut positive) = (Vec::new(), Vec::new());
        for number in numbers {
            if !number.is_normal() {
                self.add(number);
            } else if number < 0.0 {
                negative.push(magnitude(-number));
            } else {
                positive.push(magnitude(number));
            }
        }
        self.negative.take(&negative);
        self.positive.take(&positive);
    }

    /// Takes all numbers of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.negative.merge(&other.negative);
        self.positive.merge(&other.positive);
        self.zeros += other.zeros;
        self.infinite.iter_mut().zip(other.infinite).for_each(|(count, more)| *count += more);
    }

    /// How many bins it has.
    pub(crate) fn bins(&self) -> usize {
        self.negative.counts.len() + self.positive.counts.len()
    }

    /// How many numbers it has.
    pub fn count(&self) -> u64 {
        let parts = [self.negative.total(), self.zeros, self.positive.total()];
        parts.iter().chain(&self.infinite).fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// A number within 1 % of the one at rank ⌊`q` (count - 1)⌋, `q` held within 0 and 1; `None` where there are
    /// none, or `q` is NaN.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let last = self.count().checked_sub(1).filter(|_| !q.is_nan())?;
        let rank = rank_of(q.clamp(0.0, 1.0), last);
        let (negative, [below, _]) = (self.negative.total(), self.infinite);
        let Some(rank) = rank.checked_sub(below) else { return Some(f64::NEG_INFINITY) };
        let Some(rank) = rank.checked_sub(negative) else {
            return self.negative.at_rank(negative - 1 - rank).map(|magnitude| -middle(magnitude));
        };
        match rank.checked_sub(self.zeros) {
            None => Some(0.0),
            Some(rank) => Some(self.positive.at_rank(rank).map_or(f64::INFINITY, middle)),
        }
    }
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative; as saturates, and the rank is held below the count"
)]
fn rank_of(q: f64, last: u64) -> u64 {
    ((q * nearest(i128::from(last))) as u64).min(last)
}

/// The bin of a positive normal double.
fn magnitude(number: f64) -> i32 {
    let bits = number.to_bits();
    let exponent = i32::try_from(bits >> 52).unwrap_or(0) - 1023;
    let rest = f64::from_bits((bits & ((1 << 52) - 1)) | 1.0_f64.to_bits()) - 1.0;
    #[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "at most 35 × 1024")]
    let magnitude = ((f64::from(exponent) + cubic(rest)) * BINS_PER_OCTAVE).floor() as i32;
    magnitude
}

fn cubic(s: f64) -> f64 {
    let [a, b, c] = CUBIC;
    ((a * s + b) * s + c) * s
}

/// The number that is at the same relative distance from both ends of a bin.
fn middle(magnitude: i32) -> f64 {
    let low = edge(magnitude);
    let high = edge(magnitude.saturating_add(1)).min(f64::MAX);
    // 2 / (1 / low + 1 / high), without leaving the range of doubles.
    2.0 * low / (1.0 + low / high)
}

/// The lower edge of a bin: what [`magnitude`] is the inverse of.
fn edge(magnitude: i32) -> f64 {
    let [a, b, c] = CUBIC;
    let octaves = f64::from(magnitude) / BINS_PER_OCTAVE;
    let whole = octaves.floor();
    let rest = octaves - whole;
    let improved = |s: f64| s - (cubic(s) - rest) / ((3.0 * a * s + 2.0 * b) * s + c);
    let s = (0..6).fold(rest, |s, _| improved(s));
    (1.0 + s) * whole.exp2()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sketch(numbers: &[f64]) -> Sketch {
        let mut sketch = Sketch::default();
        for number in numbers {
            sketch.add(*number);
        }
        sketch
    }

    fn numbers() -> impl Strategy<Value = Vec<f64>> {
        let number = prop_oneof![
            any::<f64>(),
            -100.0..100.0_f64,
            Just(0.0),
            Just(1e-300),
            Just(f64::INFINITY),
            (-300..300_i32).prop_map(|e| 10.0_f64.powi(e)),
        ];
        prop::collection::vec(number.prop_filter("not NaN", |n| !n.is_nan()), 1..200)
    }

    proptest! {
        #[test]
        fn quantiles_are_within_one_percent_of_the_number_at_their_rank(
            numbers in prop::collection::vec(prop_oneof![
                -1e6..1e6_f64, 1e-6..1.0_f64, Just(0.0), Just(f64::INFINITY), Just(f64::NEG_INFINITY)
            ], 1..200),
            q in 0.0..=1.0_f64,
        ) {
            let mut sorted = numbers.clone();
            sorted.sort_by(f64::total_cmp);
            let exact = sorted[usize::try_from(rank_of(q, u64::try_from(sorted.len() - 1).unwrap())).unwrap()];
            let answer = sketch(&numbers).quantile(q).unwrap();
            let is_right = answer.to_bits() == exact.to_bits() || (answer - exact).abs() <= exact.abs() * 0.010_000_001;
            prop_assert!(is_right, "{answer} for {exact}");
        }

        #[test]
        fn merging_in_any_order_is_as_taking_all(numbers in numbers(), cut: prop::sample::Index) {
            let (some_numbers, more_numbers) = numbers.split_at(cut.index(numbers.len()));
            let [some, more] = [some_numbers, more_numbers].map(sketch);
            let (mut forth, mut back) = (some.clone(), more.clone());
            forth.merge(&more);
            back.merge(&some);
            prop_assert_eq!(&forth, &sketch(&numbers));
            let mut extended = sketch(some_numbers);
            extended.extend(more_numbers.iter().copied());
            prop_assert_eq!(&extended, &forth);
            prop_assert_eq!(&back, &forth);
            prop_assert_eq!(forth.count(), u64::try_from(numbers.len()).unwrap());
            prop_assert!(Bins::new(forth.positive.first(), forth.positive.counts().to_vec()).is_some());
        }

        #[test]
        fn every_number_lies_in_its_bin(number in f64::MIN_POSITIVE..f64::MAX) {
            let at = magnitude(number);
            let (low, high) = (edge(at), edge(at + 1));
            prop_assert!(low <= number * 1.000_000_000_001 && number <= high * 1.000_000_000_001, "{low} {number} {high}");
            prop_assert!(high / low <= 1.01 / 0.99 * 1.000_000_000_001 || high.is_infinite());
        }
    }

    #[test]
    fn nothing_and_nan_have_no_quantile() {
        assert_eq!(sketch(&[f64::NAN]).quantile(0.5), None);
        assert_eq!(sketch(&[1.0]).quantile(f64::NAN), None);
    }
}
