//! What stands in windows that hold no sample.

use tidemill_store::model::{TimeRange, Timestamp};

use tidemill_store::rollup::nearest;

use super::{Aggregate, Answer, Row};

/// How empty windows are answered. A filled window counts 0, whatever its other answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// Not at all: they do not appear.
    None,
    /// With nulls.
    Null,
    /// With each answer of the last window before that holds samples; null before the first.
    Previous,
    /// With each number on the straight line between its neighbours, by the windows' starts; null at the ends.
    Linear,
}

impl Fill {
    /// All of them, in the order in which they are listed to users.
    pub const ALL: [Self; 4] = [Self::None, Self::Null, Self::Previous, Self::Linear];

    /// Its name in requests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Null => "null",
            Self::Previous => "previous",
            Self::Linear => "linear",
        }
    }
}

/// A row for each of `windows`: the known one, or one made up by `fill`. Both are in time order; known rows that
/// lie beyond the last window still serve as neighbours.
pub(super) fn filled(
    fill: Fill,
    windows: impl Iterator<Item = TimeRange>,
    known: &[Row],
    aggregates: &[Aggregate],
) -> Vec<Row> {
    let mut passed: Option<&Row> = None;
    let mut ahead = known.iter().peekable();
    windows
        .filter_map(|window| {
            if let Some(row) = ahead.next_if(|row| row.window == window) {
                passed = Some(row);
                return Some(row.clone());
            }
            let neighbours = Neighbours { before: passed, after: ahead.peek().copied() };
            let answer = |(at, aggregate): (usize, &Aggregate)| {
                let counts = *aggregate == Aggregate::Count;
                if counts { Answer::Integer(0) } else { neighbours.answer(fill, at, window.start()) }
            };
            let answers = || aggregates.iter().enumerate().map(answer).collect();
            (fill != Fill::None).then(|| Row { window, answers: answers() })
        })
        .collect()
}

struct Neighbours<'a> {
    before: Option<&'a Row>,
    after: Option<&'a Row>,
}

impl Neighbours<'_> {
    fn answer(&self, fill: Fill, column: usize, at: Timestamp) -> Answer {
        let of = |row: Option<&Row>| row.and_then(|row| row.answers.get(column)).cloned();
        match fill {
            Fill::None | Fill::Null => Answer::Null,
            Fill::Previous => of(self.before).unwrap_or(Answer::Null),
            Fill::Linear => self.between(of(self.before), of(self.after), at).unwrap_or(Answer::Null),
        }
    }

    fn between(&self, before: Option<Answer>, after: Option<Answer>, at: Timestamp) -> Option<Answer> {
        let (from, to) = (float(&before?)?, float(&after?)?);
        let (start, end) = (self.before?.window.start(), self.after?.window.start());
        let part = at.saturating_since(start).as_secs_f64() / end.saturating_since(start).as_secs_f64();
        Some(Answer::Float(from + (to - from) * part))
    }
}

fn float(answer: &Answer) -> Option<f64> {
    match answer {
        Answer::Integer(integer) => Some(nearest(*integer)),
        Answer::Float(float) => Some(*float),
        Answer::Null | Answer::Bool(_) | Answer::Text(_) | Answer::Durations(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(index: i64) -> TimeRange {
        let at = |index: i64| Timestamp::from_nanos(index * 10).unwrap();
        TimeRange::new(at(index), at(index + 1)).unwrap()
    }

    fn rows(fill: Fill, known: &[(i64, Answer)], windows: std::ops::Range<i64>) -> Vec<String> {
        let known: Vec<Row> = known
            .iter()
            .map(|(at, answer)| Row {
                window: window(*at),
                answers: vec![answer.clone(), Answer::Integer(3)],
            })
            .collect();
        filled(fill, windows.map(window), &known, &[Aggregate::Last, Aggregate::Count])
            .iter()
            .map(|row| format!("{} {:?}", row.window.start().nanos() / 10, row.answers))
            .collect()
    }

    #[test]
    fn empty_windows_appear_only_with_fill() {
        let known = [(1, Answer::Float(1.0)), (3, Answer::Integer(4))];
        assert_eq!(
            rows(Fill::None, &known, 0..5),
            ["1 [Float(1.0), Integer(3)]", "3 [Integer(4), Integer(3)]"]
        );
        assert_eq!(rows(Fill::Null, &known, 2..3), ["2 [Null, Integer(0)]"]);
    }

    #[test]
    fn previous_carries_any_value_and_linear_only_numbers_between_two() {
        let known = [(1, Answer::Integer(1)), (5, Answer::Float(3.0))];
        assert_eq!(
            rows(Fill::Previous, &known, 0..7)[..4],
            [
                "0 [Null, Integer(0)]",
                "1 [Integer(1), Integer(3)]",
                "2 [Integer(1), Integer(0)]",
                "3 [Integer(1), Integer(0)]"
            ]
        );
        assert_eq!(
            rows(Fill::Linear, &known, 0..7),
            [
                "0 [Null, Integer(0)]",
                "1 [Integer(1), Integer(3)]",
                "2 [Float(1.5), Integer(0)]",
                "3 [Float(2.0), Integer(0)]",
                "4 [Float(2.5), Integer(0)]",
                "5 [Float(3.0), Integer(3)]",
                "6 [Null, Integer(0)]"
            ]
        );
        let words = [(0, Answer::Text("a".into())), (2, Answer::Bool(true))];
        assert_eq!(rows(Fill::Linear, &words, 0..2)[1], "1 [Null, Integer(0)]");
        assert_eq!(rows(Fill::Previous, &words, 0..2)[1], "1 [Text(\"a\"), Integer(0)]");
    }

    #[test]
    fn a_known_row_beyond_the_last_window_still_is_a_neighbour() {
        let known = [(0, Answer::Float(0.0)), (4, Answer::Float(4.0))];
        assert_eq!(
            rows(Fill::Linear, &known, 0..3)[1..],
            ["1 [Float(1.0), Integer(0)]", "2 [Float(2.0), Integer(0)]"]
        );
    }
}
