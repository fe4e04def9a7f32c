//! Which server it is, and what of the schema it can take.
//!
//! Pure: reads the names and versions that servers report, and that operators type.

use std::fmt;
use std::str::FromStr;

/// A server's version, as far as the schema depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
}

/// A kind of server and its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// Apache Cassandra, or a managed service made of it.
    Cassandra(Version),
    /// ScyllaDB: versions 4 to 6, or a year since 2019.
    ScyllaDb(Version),
}

/// Why a server's description was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// It is not a description.
    #[error(
        "{0:?} is no server; write cassandra-5.0, cassandra-4.1, scylladb-6.2, scylladb-2025.1 or the like"
    )]
    Unknown(String),
    /// The version is too old.
    #[error("{0} is too old; Cassandra 4.0 or ScyllaDB 5.0 is the earliest that can be used")]
    TooOld(Server),
}

impl Version {
    /// From `major.minor`, whatever follows.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(['.', '-', '~', '+']);
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next()?.parse().ok()?;
        Some(Self { major, minor })
    }
}

impl Server {
    /// Cassandra as its `release_version` says.
    pub fn cassandra(release: &str) -> Result<Self, ServerError> {
        let version = Version::parse(release).ok_or_else(|| ServerError::Unknown(release.to_owned()))?;
        Self::Cassandra(version).not_too_old()
    }

    /// ScyllaDB as its `system.versions` says.
    pub fn scylladb(release: &str) -> Result<Self, ServerError> {
        let version = Version::parse(release).ok_or_else(|| ServerError::Unknown(release.to_owned()))?;
        Self::ScyllaDb(version).not_too_old()
    }

    fn not_too_old(self) -> Result<Self, ServerError> {
        match self {
            Self::Cassandra(version) if version.major < 4 => Err(ServerError::TooOld(self)),
            Self::ScyllaDb(version) if version.major < 5 => Err(ServerError::TooOld(self)),
            Self::Cassandra(_) | Self::ScyllaDb(_) => Ok(self),
        }
    }

    /// The compaction strategy for rows that are merged or deleted.
    pub(super) const fn merging_compaction(self) -> &'static str {
        match self {
            Self::Cassandra(version) if version.major >= 5 => "UnifiedCompactionStrategy",
            // Versions named by years have it, those before did not in the open edition.
            Self::ScyllaDb(version) if version.major >= 2020 => "IncrementalCompactionStrategy",
            Self::Cassandra(_) | Self::ScyllaDb(_) => "SizeTieredCompactionStrategy",
        }
    }

    /// Whether a keyspace must say that it does without tablets, over which most versions that have them cannot
    /// exchange (leases and seals need it).
    pub(super) const fn must_decline_tablets(self) -> bool {
        matches!(self, Self::ScyllaDb(version) if version.major >= 6)
    }

    /// What makes time-window compaction take expired rows out of single files; servers do not by default.
    pub(super) const fn single_file_purge(self) -> &'static str {
        match self {
            Self::Cassandra(_) => {
                ", 'tombstone_threshold': '0.2', 'tombstone_compaction_interval': '86400', \
                 'unchecked_tombstone_compaction': 'true'"
            }
            Self::ScyllaDb(_) => ", 'tombstone_threshold': '0.2', 'tombstone_compaction_interval': '86400'",
        }
    }

    /// How a table's compression is named.
    pub(super) const fn compression_key(self) -> &'static str {
        match self {
            Self::Cassandra(_) => "class",
            Self::ScyllaDb(_) => "sstable_compression",
        }
    }

    /// A table without compression.
    pub(super) const fn no_compression(self) -> &'static str {
        match self {
            Self::Cassandra(_) => "{'enabled': 'false'}",
            Self::ScyllaDb(_) => "{'sstable_compression': ''}",
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cassandra(Version { major, minor }) => write!(f, "cassandra-{major}.{minor}"),
            Self::ScyllaDb(Version { major, minor }) => write!(f, "scylladb-{major}.{minor}"),
        }
    }
}

impl FromStr for Server {
    type Err = ServerError;

    fn from_str(text: &str) -> Result<Self, ServerError> {
        match text.to_ascii_lowercase().split_once('-') {
            Some(("cassandra", version)) => Self::cassandra(version),
            Some(("scylladb" | "scylla", version)) => Self::scylladb(version),
            _ => Err(ServerError::Unknown(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_read_as_it_is_written() {
        for name in ["cassandra-5.0", "cassandra-4.1", "scylladb-6.2", "scylladb-2025.4"] {
            assert_eq!(name.parse::<Server>().unwrap().to_string(), name);
        }
        assert_eq!("Scylla-6.2".parse::<Server>().unwrap().to_string(), "scylladb-6.2");
    }

    #[test]
    fn releases_with_more_than_two_numbers_are_understood() {
        let five = Server::Cassandra(Version { major: 5, minor: 0 });
        assert_eq!(Server::cassandra("5.0.6"), Ok(five));
        assert_eq!(Server::cassandra("5.0-rc1"), Ok(five));
        assert_eq!(Server::cassandra("5.0~beta1"), Ok(five));
        assert!(matches!(Server::scylladb("6.2.3-0.20250119"), Ok(Server::ScyllaDb(_))));
    }

    #[test]
    fn what_is_unknown_or_too_old_is_refused() {
        assert!(matches!("mysql-8.0".parse::<Server>(), Err(ServerError::Unknown(_))));
        assert!(matches!("cassandra".parse::<Server>(), Err(ServerError::Unknown(_))));
        assert!(matches!(Server::cassandra("3.11.4"), Err(ServerError::TooOld(_))));
        assert!(matches!(Server::scylladb("4.6.0"), Err(ServerError::TooOld(_))));
    }
}
