//! The decoded values of a column: a vector of their kind.

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
}
