//! Keys whose value is one of a few words. Another word is refused with those that there are.

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
        #[serde(try_from = "String", into = "&'static str")]
        pub(crate) enum $name {
            $($(#[$word_doc])* $variant,)*
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(word: String) -> Result<Self, Self::Error> {
                match word.as_str() {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(format!("{word:?} is none of {}", [$($word),*].join(", "))),
                }
            }
        }

        impl From<$name> for &'static str {
            fn from(word: $name) -> Self {
                match word {
                    $($name::$variant => $word,)*
                }
            }
        }
    };
}

words! {
    /// Which store.
    RawBackend {
        /// The LSM tree in this process.
        Embedded = "embedded",
        /// Apache Cassandra, ScyllaDB or what speaks their protocol.
        Cassandra = "cassandra",
    }
}

words! {
    /// How many replicas must take a write or answer a read.
    RawConsistency {
        /// One replica of the local data centre. An acknowledged sample may be lost with it.
        LocalOne = "local_one",
        /// A majority of the local data centre.
        LocalQuorum = "local_quorum",
        /// A majority of all replicas: survives the loss of a data centre, at its distance.
        Quorum = "quorum",
    }
}

words! {
    /// The unit of numeric `ts`.
    RawTimeUnit {
        /// Seconds.
        Seconds = "s",
        /// Milliseconds.
        Millis = "ms",
        /// Microseconds.
        Micros = "us",
        /// Nanoseconds.
        Nanos = "ns",
        /// By the number of digits.
        Auto = "auto",
    }
}

words! {
    /// The format of payloads.
    RawFormat {
        /// JSON points.
        Json = "json",
        /// SenML in JSON.
        SenmlJson = "senml_json",
        /// SenML in CBOR.
        SenmlCbor = "senml_cbor",
        /// Influx line protocol.
        LineProtocol = "line_protocol",
        /// CBOR points.
        Cbor = "cbor",
        /// MessagePack points.
        Msgpack = "msgpack",
        /// One value.
        Scalar = "scalar",
        /// Lines of separated values.
        Csv = "csv",
        /// Sparkplug B.
        Sparkplug = "sparkplug",
        /// Told from each payload.
        Auto = "auto",
    }
}

words! {
    /// Where times come from.
    RawTimeBasis {
        /// From the payload alone.
        Payload = "payload",
        /// From our clock alone.
        Receive = "receive",
        /// From the payload, where it has one.
        PayloadElseReceive = "payload_else_receive",
    }
}

words! {
    /// What an acknowledgement waits for.
    RawDurability {
        /// The store; where there is a spool and the store is down or late, the spool.
        Store = "store",
        /// The spool, always; the store gets everything from there.
        Spool = "spool",
    }
}

words! {
    /// MQTT version.
    RawMqttVersion {
        /// 3.1.1.
        V311 = "3.1.1",
        /// 5.
        V5 = "5",
    }
}

words! {
    /// What becomes of retained messages.
    RawRetained {
        /// They are taken.
        Take = "take",
        /// They are acknowledged and dropped.
        Ignore = "ignore",
    }
}

words! {
    /// How log lines look.
    RawLogFormat {
        /// For people.
        Text = "text",
        /// For machines.
        Json = "json",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_comes_back_as_it_was_written_and_another_is_refused_with_those_there_are() {
        for word in ["s", "ms", "us", "ns", "auto"] {
            let unit = RawTimeUnit::try_from(word.to_owned()).unwrap();
            assert_eq!(<&str>::from(unit), word);
        }
        let refused = RawTimeUnit::try_from("sec".to_owned()).unwrap_err();
        assert_eq!(refused, "\"sec\" is none of s, ms, us, ns, auto");
    }
}
