//! Annotations: warnings and infos that an answer carries, with the place in the query that they are about.
//!
//! Their words are what clients show and tests look for. Each is kept once; how many are kept is bounded (I6).

use super::expr::Place;

/// Most warnings, and most infos, of an answer.
const NOTES_MAX: usize = 10;

/// Warnings and infos, each once, in the order of their coming.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// What makes the answer doubtful.
    pub warnings: Vec<String>,
    /// What the user may want to know.
    pub infos: Vec<String>,
}

/// What there is to say.
#[derive(Debug, Clone, Copy)]
pub(super) enum Note<'a> {
    /// A quantile outside of 0 to 1.
    InvalidQuantile(f64),
    /// A ratio outside of −1 to 1.
    InvalidRatio(f64),
    /// A bucket without a proper upper bound: metric and bound.
    BadBucketLabel(&'a str, &'a str),
    /// Sorting where the order cannot be kept.
    SortIneffective,
    /// A metric whose name is not that of a counter.
    PossibleNonCounter(&'a str),
    /// Bucket counts that fell towards higher bounds: the metric.
    NotMonotonic(&'a str),
}

impl Notes {
    pub(super) fn add(&mut self, note: Note<'_>, place: Place) {
        let text = note.text();
        let (kind, list) = match note {
            Note::InvalidQuantile(_)
            | Note::InvalidRatio(_)
            | Note::BadBucketLabel(..)
            | Note::SortIneffective => ("warning", &mut self.warnings),
            Note::PossibleNonCounter(_) | Note::NotMonotonic(_) => ("info", &mut self.infos),
        };
        let text = format!("PromQL {kind}: {text} ({}:{})", place.0, place.1);
        push(list, text);
    }

    /// Adds a warning that is not about a place in the query.
    pub fn warn(&mut self, text: String) {
        push(&mut self.warnings, text);
    }
}

fn push(list: &mut Vec<String>, text: String) {
    if list.len() < NOTES_MAX && !list.contains(&text) {
        list.push(text);
    }
}

impl Note<'_> {
    fn text(self) -> String {
        match self {
            Self::InvalidQuantile(q) => format!("quantile value should be between 0 and 1, got {}", plain(q)),
            Self::InvalidRatio(ratio) => {
                let cap = if ratio < 0.0 { -1 } else { 1 };
                format!("ratio value should be between -1 and 1, got {}, capping to {cap}", plain(ratio))
            }
            Self::BadBucketLabel(metric, value) => {
                format!("bucket label \"le\" is missing or has a malformed value of {value:?}{}", of(metric))
            }
            Self::SortIneffective => {
                "sort is ineffective for range queries since results are always ordered by labels".to_owned()
            }
            Self::PossibleNonCounter(metric) => {
                format!(
                    "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {metric:?}"
                )
            }
            Self::NotMonotonic(metric) => format!(
                "input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){}",
                of(metric)
            ),
        }
    }
}

fn of(metric: &str) -> String {
    if metric.is_empty() { String::new() } else { format!(" for metric name {metric:?}") }
}

fn plain(value: f64) -> String {
    if value.is_nan() { "NaN".to_owned() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_kept_once_and_bounded() {
        let mut notes = Notes::default();
        notes.add(Note::InvalidQuantile(f64::NAN), (1, 10));
        notes.add(Note::InvalidQuantile(f64::NAN), (1, 10));
        for column in 0..50 {
            notes.add(Note::NotMonotonic("x"), (1, column));
        }
        assert_eq!(
            notes.warnings,
            ["PromQL warning: quantile value should be between 0 and 1, got NaN (1:10)"]
        );
        assert_eq!(notes.infos.len(), NOTES_MAX);
    }
}
