//! The value of a sample: f64, i64 (exact), bool or string.

use std::sync::Arc;

/// A measured value. Kinds do not convert into each other on the way: an integer comes back as sent.
///
/// Laid out in words, so that a copy is one of words whatever the kind.
#[derive(Debug, Clone)]
#[repr(u64)]
pub enum Value {
    /// A double; NaN and infinities are kept, bit for bit.
    F64(f64),
    /// An exact integer.
    I64(i64),
    /// A boolean.
    Bool(bool),
    /// Text; its length is bounded where it is decoded.
    Text(Arc<str>),
}

/// Which kind of [`Value`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ValueKind {
    /// [`Value::F64`].
    F64,
    /// [`Value::I64`].
    I64,
    /// [`Value::Bool`].
    Bool,
    /// [`Value::Text`].
    Text,
}

impl Value {
    /// The kind of this value.
    pub const fn kind(&self) -> ValueKind {
        match self {
            Self::F64(_) => ValueKind::F64,
            Self::I64(_) => ValueKind::I64,
            Self::Bool(_) => ValueKind::Bool,
            Self::Text(_) => ValueKind::Text,
        }
    }
}

/// Values are the same when their kind and their bits are: NaN equals itself, and 0.0 is not -0.0. It is the
/// equality that tells a duplicate from a correction (design: same series, same time twice).
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::F64(a), Self::F64(b)) => a.to_bits() == b.to_bits(),
            (Self::I64(a), Self::I64(b)) => a == b,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::F64(_) | Self::I64(_) | Self::Bool(_) | Self::Text(_), _) => false,
        }
    }
}

impl Eq for Value {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_is_by_kind_and_bits() {
        assert_eq!(Value::F64(f64::NAN), Value::F64(f64::NAN));
        assert_ne!(Value::F64(0.0), Value::F64(-0.0));
        assert_ne!(Value::F64(1.0), Value::I64(1));
    }
}
