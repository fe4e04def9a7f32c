//! Conditions on sources by their labels: which values a label may have, listed or told by a test. Pure.

use std::fmt;
use std::sync::Arc;

use crate::model::Source;

/// Says yes or no to a `T`; a name for it is the text that it was made from.
pub struct Test<T: ?Sized>(Arc<dyn Fn(&T) -> bool + Send + Sync>);

impl<T: ?Sized> Test<T> {
    /// A test by a function.
    pub fn new(test: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(test))
    }

    /// Whether `value` passes.
    pub fn passes(&self, value: &T) -> bool {
        (self.0)(value)
    }
}

impl<T: ?Sized> Clone for Test<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The same function, not one that says the same.
impl<T: ?Sized> PartialEq for Test<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T: ?Sized> Eq for Test<T> {}

impl<T: ?Sized> fmt::Debug for Test<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Test")
    }
}

/// Which values are allowed. A label that is not there has the empty value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// These.
    Listed(Vec<String>),
    /// Those that pass.
    Tested(Test<str>),
}

impl Allowed {
    /// Whether `value` is allowed.
    pub fn has(&self, value: &str) -> bool {
        match self {
            Self::Listed(values) => values.iter().any(|allowed| allowed == value),
            Self::Tested(test) => test.passes(value),
        }
    }
}

/// A condition that a source must fulfil.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// On its tenant.
    Tenant(Allowed),
    /// On its device.
    Device(Allowed),
    /// On the names of metrics: only these are meant.
    Metric(Allowed),
    /// On the tag of this key.
    Tag(String, Allowed),
    /// On the whole source; looked at last.
    Source(Test<Source>),
    /// Only metrics that are not text alone.
    Numeric,
}

/// A label, to list its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Label {
    /// The tenant.
    Tenant,
    /// The device.
    Device,
    /// The names of metrics.
    Metric,
    /// The tag of this key.
    Tag(String),
}
