//! The decoded values of a column: a vector of their kind.

use std::ops::Range;
use std::sync::Arc;

use crate::model::Value;

/// Decoded values, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// All are integers.
    I64(Vec<i64>),
    /// All are doubles, with the very bits that were encoded.
    F64(Vec<f64>),
    /// All are booleans.
    Bool(Vec<bool>),
    /// All are texts; equal ones may share their memory.
    Text(Vec<Arc<str>>),
    /// Of several kinds.
    Mixed(Vec<Value>),
}

impl Values {
    /// No values.
    pub const EMPTY: Self = Self::Mixed(Vec::new());

    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::I64(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::Bool(values) => values.len(),
            Self::Text(values) => values.len(),
            Self::Mixed(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value at `index`.
    #[inline]
    pub fn get(&self, index: usize) -> Option<Value> {
        match self {
            Self::I64(values) => values.get(index).map(|&value| Value::I64(value)),
            Self::F64(values) => values.get(index).map(|&value| Value::F64(value)),
            Self::Bool(values) => values.get(index).map(|&value| Value::Bool(value)),
            Self::Text(values) => values.get(index).map(|value| Value::Text(Arc::clone(value))),
            Self::Mixed(values) => values.get(index).cloned(),
        }
    }

    /// All values in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Value> {
        (0..self.len()).map(|index| self.get(index).unwrap_or(Value::Bool(false)))
    }

    /// Adds a value at the end. Where it is of another kind than those before it, all become [`Values::Mixed`].
    pub fn push(&mut self, value: Value) {
        match (&mut *self, value) {
            (Self::I64(values), Value::I64(value)) => values.push(value),
            (Self::F64(values), Value::F64(value)) => values.push(value),
            (Self::Bool(values), Value::Bool(value)) => values.push(value),
            (Self::Text(values), Value::Text(value)) => values.push(value),
            (Self::Mixed(values), value) if !values.is_empty() => values.push(value),
            (values, value) if values.is_empty() => *values = Self::of(value),
            (values, value) => *values = Self::Mixed(values.iter().chain([value]).collect()),
        }
    }

    /// One value.
    fn of(value: Value) -> Self {
        match value {
            Value::I64(value) => Self::I64(vec![value]),
            Value::F64(value) => Self::F64(vec![value]),
            Value::Bool(value) => Self::Bool(vec![value]),
            Value::Text(value) => Self::Text(vec![value]),
        }
    }

    /// Keeps the first `len` values.
    pub fn truncate(&mut self, len: usize) {
        match self {
            Self::I64(values) => values.truncate(len),
            Self::F64(values) => values.truncate(len),
            Self::Bool(values) => values.truncate(len),
            Self::Text(values) => values.truncate(len),
            Self::Mixed(values) => values.truncate(len),
        }
    }

    /// A copy of the values at `range`, of which those past the end are missing.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        fn part<T: Clone>(values: &[T], range: Range<usize>) -> Vec<T> {
            let end = range.end.min(values.len());
            values.get(range.start.min(end)..end).unwrap_or_default().to_vec()
        }
        match self {
            Self::I64(values) => Self::I64(part(values, range)),
            Self::F64(values) => Self::F64(part(values, range)),
            Self::Bool(values) => Self::Bool(part(values, range)),
            Self::Text(values) => Self::Text(part(values, range)),
            Self::Mixed(values) => Self::Mixed(part(values, range)),
        }
    }
}
