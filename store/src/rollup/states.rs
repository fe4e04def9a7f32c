//! How often and how long a boolean or a text held each of its states.
//!
//! A state is held until the next sample, of whatever kind. At most [`STATES_MAX`] are told apart (I6): beyond that
//! nothing is kept but that there were too many, whatever the order of samples and merges.

use std::sync::Arc;
use std::time::Duration;

use crate::model::Value;

/// Most states that a fold tells apart.
pub const STATES_MAX: usize = 16;

/// A value that is a state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Off or on.
    Bool(bool),
    /// Named.
    Text(Arc<str>),
}

impl State {
    /// The state that `value` is; numbers are none.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(truth) => Some(Self::Bool(*truth)),
            Value::Text(text) => Some(Self::Text(Arc::clone(text))),
            Value::F64(_) | Value::I64(_) => None,
        }
    }

    /// How many bytes its text has.
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Self::Bool(_) => 0,
            Self::Text(text) => text.len(),
        }
    }
}

/// What is known of one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateSpan {
    /// Which.
    pub state: State,
    /// How many samples have it.
    pub count: u64,
    /// How long it was held, from a sample with it to the next sample.
    pub held: Duration,
}

/// More states than are told apart: ask the samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {STATES_MAX} states")]
pub struct TooManyStates;

/// The states of a fold, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct States(Result<Vec<StateSpan>, TooManyStates>);

impl States {
    pub(crate) const NONE: Self = Self(Ok(Vec::new()));
    pub(crate) const TOO_MANY: Self = Self(Err(TooManyStates));

    /// Of spans that ascend by their state; `None` where they do not, or are too many.
    pub(crate) fn new(spans: Vec<StateSpan>) -> Option<Self> {
        let ascending = spans.is_sorted_by(|a, b| a.state < b.state);
        (ascending && spans.len() <= STATES_MAX).then_some(Self(Ok(spans)))
    }

    pub(crate) fn spans(&self) -> Result<&[StateSpan], TooManyStates> {
        self.0.as_deref().map_err(|error| *error)
    }

    /// Adds samples with a state, and time for which it was held.
    pub(crate) fn add(&mut self, state: &State, count: u64, held: Duration) {
        let Ok(spans) = &mut self.0 else { return };
        match spans.binary_search_by(|span| span.state.cmp(state)) {
            Ok(at) => {
                if let Some(span) = spans.get_mut(at) {
                    span.count += count;
                    span.held += held;
                }
            }
            Err(_) if spans.len() == STATES_MAX => *self = Self::TOO_MANY,
            Err(at) => spans.insert(at, StateSpan { state: state.clone(), count, held }),
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        match &other.0 {
            Ok(spans) => spans.iter().for_each(|span| self.add(&span.state, span.count, span.held)),
            Err(TooManyStates) => *self = Self::TOO_MANY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str) -> State {
        State::Text(Arc::from(name))
    }

    #[test]
    fn the_seventeenth_state_makes_too_many_and_nothing_takes_that_back() {
        let mut states = States::NONE;
        for n in 0..STATES_MAX {
            states.add(&text(&n.to_string()), 1, Duration::from_secs(1));
        }
        states.add(&text("0"), 1, Duration::ZERO);
        assert_eq!(states.spans().map(<[_]>::len), Ok(STATES_MAX));
        states.add(&State::Bool(true), 1, Duration::ZERO);
        states.merge(&States::NONE);
        assert_eq!(states.spans(), Err(TooManyStates));
        let mut other = States::NONE;
        other.merge(&states);
        assert_eq!(other, States::TOO_MANY);
    }

    #[test]
    fn spans_are_only_taken_in_order() {
        let span = |state| StateSpan { state, count: 1, held: Duration::ZERO };
        assert!(States::new(vec![span(State::Bool(true)), span(text("a"))]).is_some());
        assert!(States::new(vec![span(text("a")), span(text("a"))]).is_none());
    }
}
