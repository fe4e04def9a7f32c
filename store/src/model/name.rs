//! Names that devices and operators choose: tenant, device, metric, tag key, tag value, unit.
//!
//! Each is a newtype over a shared string, validated once at the edge: a length limit in bytes, no control
//! characters (so no NUL), and no `+`, `#` or `/` where the name is a level of an MQTT topic.

use std::fmt;
use std::sync::Arc;

/// Which name was refused; used in messages to the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    /// A tenant.
    Tenant,
    /// A device.
    Device,
    /// A metric.
    Metric,
    /// The key of a tag.
    TagKey,
    /// The value of a tag.
    TagValue,
    /// A unit of measurement.
    Unit,
}

impl fmt::Display for NameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tenant => "tenant",
            Self::Device => "device",
            Self::Metric => "metric",
            Self::TagKey => "tag key",
            Self::TagValue => "tag value",
            Self::Unit => "unit",
        })
    }
}

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no characters.
    #[error("the {0} is empty")]
    Empty(NameKind),
    /// The name is longer than its limit.
    #[error("the {kind} has {bytes} bytes, the limit is {limit}")]
    TooLong {
        /// Which name.
        kind: NameKind,
        /// Its length in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The name holds a character that it may not hold.
    #[error("the {kind} holds {character:?} at byte {at}, which is not allowed")]
    Character {
        /// Which name.
        kind: NameKind,
        /// The character.
        character: char,
        /// Its offset in bytes.
        at: usize,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Alphabet {
    /// Anything but control characters.
    Text,
    /// Text that can stand as one level of an MQTT topic: no `+`, `#`, `/` either.
    TopicLevel,
}

fn check(kind: NameKind, text: &str, limit: usize, alphabet: Alphabet) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty(kind));
    }
    if text.len() > limit {
        return Err(NameError::TooLong { kind, bytes: text.len(), limit });
    }
    let refused =
        |c: char| c.is_control() || (alphabet == Alphabet::TopicLevel && matches!(c, '+' | '#' | '/'));
    match text.char_indices().find(|&(_, c)| refused(c)) {
        Some((at, character)) => Err(NameError::Character { kind, character, at }),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $limit:literal, $alphabet:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The longest allowed, in bytes.
            pub const BYTES_MAX: usize = $limit;

            /// Validates and takes a copy of `text`.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check(NameKind::$name, text, Self::BYTES_MAX, Alphabet::$alphabet)?;
                Ok(Self(Arc::from(text)))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

name!(
    /// Who owns a device: the outermost name, at most 64 bytes, one topic level.
    Tenant, 64, TopicLevel
);
name!(
    /// What publishes: at most 256 bytes, one topic level.
    Device, 256, TopicLevel
);
name!(
    /// What is measured, such as `temperature` or `motor.current`: at most 256 bytes of UTF-8.
    Metric, 256, Text
);
name!(
    /// The key of a tag: at most 64 bytes.
    TagKey, 64, Text
);
name!(
    /// The value of a tag: at most 256 bytes.
    TagValue, 256, Text
);
name!(
    /// The unit of a metric, such as `Cel` or `kWh`: at most 64 bytes.
    Unit, 64, Text
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_wildcards_separators_and_controls_are_refused_in_a_device() {
        for bad in ["a/b", "+", "a#", "a\0b", "line\nbreak", "\u{85}"] {
            assert!(matches!(Device::new(bad), Err(NameError::Character { .. })), "{bad:?}");
        }
        assert_eq!(Device::new("pump-7 (north)").unwrap().as_str(), "pump-7 (north)");
    }

    #[test]
    fn length_is_counted_in_bytes_up_to_the_limit() {
        assert!(Tenant::new(&"x".repeat(64)).is_ok());
        assert_eq!(
            Tenant::new(&"é".repeat(33)).unwrap_err().to_string(),
            "the tenant has 66 bytes, the limit is 64"
        );
        assert_eq!(Tenant::new(""), Err(NameError::Empty(NameKind::Tenant)));
    }

    #[test]
    fn a_metric_may_hold_what_a_topic_level_may_not() {
        assert!(Metric::new("disk/sda1 #reads").is_ok());
        assert!(Metric::new("tab\t").is_err());
    }
}
