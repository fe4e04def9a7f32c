//! What is asked of a CQL cluster: where it is, how data is replicated, how much may be in flight.
//!
//! Plain values with defaults and one check; nothing here talks to a cluster or reads configuration. The bounds
//! are what keeps I6 for this backend, the consistency levels what keeps I1 and I3.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use crate::layout::RetentionTimes;
use crate::wide::Expiry;

/// Why options were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// No host is named.
    #[error("no contact point is given; name at least one host of the cluster as host:port")]
    NoContactPoint,
    /// The keyspace name is not one.
    #[error(
        "{0:?} is not a keyspace name; use 1 to 48 of a-z, 0-9 and _, beginning with a letter, and no reserved name"
    )]
    Keyspace(String),
    /// A data centre's name is not one.
    #[error("{0:?} is not a data centre name; use 1 to 64 of letters, digits, space and . _ -")]
    Datacenter(String),
    /// The local data centre keeps no replica.
    #[error(
        "the replication names no replicas in the local data centre {0:?}; add it with its replication factor"
    )]
    LocalWithoutReplicas(String),
    /// A replication factor is out of bounds.
    #[error("a replication factor of {factor} in data centre {datacenter:?}; it must be between 1 and 9")]
    ReplicationFactor {
        /// The data centre.
        datacenter: String,
        /// What was given.
        factor: u8,
    },
    /// A retention is out of bounds.
    #[error("{class} are to be kept for {given:?}; the retention must be between 1 hour and 20 years")]
    Retention {
        /// Of what.
        class: &'static str,
        /// What was given.
        given: Duration,
    },
    /// A deadline is out of bounds.
    #[error("{name} is {given:?}; it must be between 10 ms and 10 minutes")]
    Deadline {
        /// Which.
        name: &'static str,
        /// What was given.
        given: Duration,
    },
}

/// A keyspace's name: lower case, so that it reads the same quoted and unquoted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyspace(String);

impl Keyspace {
    const LENGTH_MAX: usize = 48;

    /// From a name.
    pub fn new(name: &str) -> Result<Self, OptionsError> {
        let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
        let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        let taken = name == "system" || name.starts_with("system_");
        if begins && plain && !taken && name.len() <= Self::LENGTH_MAX {
            Ok(Self(name.to_owned()))
        } else {
            Err(OptionsError::Keyspace(name.to_owned()))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Keyspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How many replicas must take part before an operation counts. Writes and reads must overlap in a replica for I3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// One replica of the local data centre. Gives up I1 (a single fault loses what was acknowledged) and I3:
    /// only by explicit choice.
    LocalOne,
    /// A majority of the replicas of the local data centre.
    LocalQuorum,
    /// A majority of all replicas in all data centres: survives the loss of a data centre, at its distance.
    Quorum,
}

/// How to log in.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The role.
    pub username: String,
    /// Its password; never shown.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// How to encrypt connections.
///
/// Not compiled in yet: the driver's rustls support brings `aws-lc` with it, which needs more than a C compiler to
/// build. Options that ask for TLS are refused when connecting, never ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// Certificates that the servers' must descend from; the system's where `None`.
    pub ca_file: Option<PathBuf>,
}

/// Everything that is needed to reach a cluster and keep Tidemill's tables in it.
#[derive(Debug, Clone)]
pub struct CqlOptions {
    /// Hosts to begin with, as `host:port`; the others are learnt from them.
    pub contact_points: Vec<String>,
    /// The keyspace of all tables.
    pub keyspace: Keyspace,
    /// The data centre this process runs in. Requests go to its nodes alone: there is no failover to another, whose
    /// replicas could not form a local quorum that later reads here overlap with.
    pub local_datacenter: String,
    /// Replicas per data centre, for when the keyspace is created.
    pub replication: BTreeMap<String, u8>,
    /// The login, where the cluster asks for one.
    pub credentials: Option<Credentials>,
    /// Encryption, where asked for.
    pub tls: Option<TlsOptions>,
    /// How many replicas a write must reach.
    pub write_consistency: Consistency,
    /// How many replicas a read must ask.
    pub read_consistency: Consistency,
    /// Connections to each node of the local data centre.
    pub connections_per_host: NonZeroU16,
    /// Most requests that may await an answer at once, for writes and for reads each; more wait their turn within
    /// their own deadline.
    pub in_flight_max: NonZeroU16,
    /// How long an operation may take in all, waiting for its turn included.
    pub request_timeout: Duration,
    /// How long making one connection may take.
    pub connect_timeout: Duration,
    /// How long rejects are kept.
    pub rejects_retention: Duration,
    /// How long what is ground is kept.
    pub retention: RetentionTimes,
}

impl CqlOptions {
    /// Measured against one node: large bodies gain nothing from more, small ones some from a second; a node that
    /// dies takes its connections' requests with it, so not many.
    pub const CONNECTIONS_DEFAULT: NonZeroU16 = NonZeroU16::new(2).unwrap();
    /// A node was busy with 64 in flight; this leaves room for several nodes.
    pub const IN_FLIGHT_DEFAULT: NonZeroU16 = NonZeroU16::new(256).unwrap();
    /// More than a server's own limits (2 s for writes, 5 s for reads): its verdict, which tells more than silence,
    /// comes first.
    pub const REQUEST_TIMEOUT_DEFAULT: Duration = Duration::from_secs(6);
    /// A handshake over a continent takes well under a second.
    pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
    /// Long enough to notice and replay.
    pub const REJECTS_RETENTION_DEFAULT: Duration = Duration::from_hours(30 * 24);

    /// Schema changes wait for every node and may take many seconds.
    pub(super) const SCHEMA_TIMEOUT: Duration = Duration::from_secs(30);

    const DEADLINE_MIN: Duration = Duration::from_millis(10);
    const DEADLINE_MAX: Duration = Duration::from_mins(10);
    const RETENTION_MIN: Duration = Duration::from_hours(1);
    /// The longest time to live that servers accept.
    const RETENTION_MAX: Duration = Duration::from_hours(20 * 365 * 24);

    /// Options with every default; replicas only in the local data centre.
    pub fn new(
        contact_points: Vec<String>,
        keyspace: Keyspace,
        local_datacenter: &str,
        replication_factor: u8,
    ) -> Self {
        Self {
            contact_points,
            keyspace,
            local_datacenter: local_datacenter.to_owned(),
            replication: BTreeMap::from([(local_datacenter.to_owned(), replication_factor)]),
            credentials: None,
            tls: None,
            write_consistency: Consistency::LocalQuorum,
            read_consistency: Consistency::LocalQuorum,
            connections_per_host: Self::CONNECTIONS_DEFAULT,
            in_flight_max: Self::IN_FLIGHT_DEFAULT,
            request_timeout: Self::REQUEST_TIMEOUT_DEFAULT,
            connect_timeout: Self::CONNECT_TIMEOUT_DEFAULT,
            rejects_retention: Self::REJECTS_RETENTION_DEFAULT,
            retention: RetentionTimes::FOREVER,
        }
    }

    /// What expires when, by these options.
    pub(super) fn expiry(&self) -> Expiry {
        Expiry { ground: self.retention.clone(), rejects: Some(self.rejects_retention) }
    }

    /// Whether the options make sense together.
    pub fn check(&self) -> Result<(), OptionsError> {
        if self.contact_points.is_empty() {
            return Err(OptionsError::NoContactPoint);
        }
        for (datacenter, &factor) in &self.replication {
            check_datacenter(datacenter)?;
            if !(1..=9).contains(&factor) {
                return Err(OptionsError::ReplicationFactor { datacenter: datacenter.clone(), factor });
            }
        }
        if !self.replication.contains_key(&self.local_datacenter) {
            return Err(OptionsError::LocalWithoutReplicas(self.local_datacenter.clone()));
        }
        let raw = self.retention.raw.iter().map(|&given| ("raw samples", given));
        let frames = self.retention.frames.values().map(|&given| ("rollups", given));
        for (class, given) in raw.chain(frames).chain([("rejects", self.rejects_retention)]) {
            if !(Self::RETENTION_MIN..=Self::RETENTION_MAX).contains(&given) {
                return Err(OptionsError::Retention { class, given });
            }
        }
        for (name, given) in
            [("request_timeout", self.request_timeout), ("connect_timeout", self.connect_timeout)]
        {
            if !(Self::DEADLINE_MIN..=Self::DEADLINE_MAX).contains(&given) {
                return Err(OptionsError::Deadline { name, given });
            }
        }
        Ok(())
    }
}

fn check_datacenter(name: &str) -> Result<(), OptionsError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '.' | '_' | '-');
    if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
        return Err(OptionsError::Datacenter(name.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> CqlOptions {
        CqlOptions::new(vec!["db1:9042".to_owned()], Keyspace::new("tidemill").unwrap(), "dc1", 3)
    }

    #[test]
    fn a_keyspace_name_reads_the_same_quoted_and_unquoted() {
        assert!(Keyspace::new("tidemill_2").is_ok());
        for name in ["", "Tidemill", "2mill", "a-b", "a\"b", "system", "system_auth", &"a".repeat(49)] {
            assert_eq!(Keyspace::new(name), Err(OptionsError::Keyspace(name.to_owned())));
        }
    }

    #[test]
    fn options_that_cannot_work_are_refused_before_anything_is_contacted() {
        assert_eq!(options().check(), Ok(()));
        let mut elsewhere = options();
        elsewhere.local_datacenter = "dc2".to_owned();
        assert_eq!(elsewhere.check(), Err(OptionsError::LocalWithoutReplicas("dc2".to_owned())));
        let mut quoted = options();
        quoted.replication.insert("a'b".to_owned(), 1);
        assert_eq!(quoted.check(), Err(OptionsError::Datacenter("a'b".to_owned())));
        let mut none = options();
        none.replication.insert("dc1".to_owned(), 0);
        assert!(matches!(none.check(), Err(OptionsError::ReplicationFactor { factor: 0, .. })));
        let mut brief = options();
        brief.rejects_retention = Duration::from_secs(1);
        assert!(matches!(brief.check(), Err(OptionsError::Retention { class: "rejects", .. })));
        let mut long = options();
        long.retention.raw = Some(Duration::from_hours(21 * 365 * 24));
        assert!(matches!(long.check(), Err(OptionsError::Retention { class: "raw samples", .. })));
        let mut patient = options();
        patient.request_timeout = Duration::MAX;
        assert!(matches!(patient.check(), Err(OptionsError::Deadline { name: "request_timeout", .. })));
    }

    #[test]
    fn a_password_is_never_shown() {
        let mut secret = options();
        secret.credentials =
            Some(Credentials { username: "mill".to_owned(), password: "hunter2".to_owned() });
        let shown = format!("{secret:?}");
        assert!(shown.contains("mill") && !shown.contains("hunter2"), "{shown}");
    }
}
