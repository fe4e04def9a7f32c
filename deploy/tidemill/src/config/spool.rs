//! `[ingest.spool]` and `ingest.durability`: from what operators wrote to what a spool takes.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use tidemill_ingest::spool::{Keys, LogLimits, SpoolOptions, Work};

use super::raw::{RawDurability, RawIngest};

/// Below this a few records of large batches fill it.
const BYTES_MIN: u64 = 16 << 20;
/// Files of this size are removed one by one while a backlog is forwarded.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A spool, as configured.
#[derive(Debug, Clone)]
pub(crate) struct SpoolConfig {
    /// Where it is.
    pub(crate) directory: PathBuf,
    /// How it works.
    pub(crate) options: SpoolOptions,
    /// What it encrypts with.
    pub(crate) keys: Keys,
}

/// The spool, where one is configured.
pub(super) fn spool(raw: &RawIngest) -> anyhow::Result<Option<SpoolConfig>> {
    let always = raw.durability == RawDurability::Spool;
    let raw = &raw.spool;
    let Some(directory) = raw.directory.as_ref().filter(|directory| !directory.is_empty()) else {
        ensure!(!always, "ingest.durability = \"spool\" needs a directory: set ingest.spool.directory");
        ensure!(raw.key_file.is_none(), "ingest.spool.key_file is given without ingest.spool.directory");
        return Ok(None);
    };
    let bytes_max = raw.bytes_max;
    ensure!(bytes_max >= BYTES_MIN, "ingest.spool.bytes_max ({bytes_max}) must be at least {BYTES_MIN}");
    ensure!(!raw.store_deadline.0.is_zero(), "ingest.spool.store_deadline must be above 0");
    ensure!(raw.forward_bytes_per_second > 0, "ingest.spool.forward_bytes_per_second must be at least 1");
    let keys = match &raw.key_file {
        None => Keys::default(),
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("ingest.spool.key_file {file:?} cannot be read"))?;
            Keys::parse(&text).with_context(|| format!("ingest.spool.key_file {file:?}"))?
        }
    };
    let options = SpoolOptions {
        limits: LogLimits { bytes_max, file_bytes_max: FILE_BYTES_MAX.min(bytes_max / 4) },
        store_deadline: raw.store_deadline.0,
        forward_bytes_per_second: raw.forward_bytes_per_second,
        always,
        work: Work::Aside,
    };
    Ok(Some(SpoolConfig { directory: directory.into(), options, keys }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(durability: RawDurability, directory: Option<&str>) -> RawIngest {
        let mut raw = RawIngest { durability, ..RawIngest::default() };
        raw.spool.directory = directory.map(str::to_owned);
        raw
    }

    #[test]
    fn there_is_a_spool_where_a_directory_is_given_and_durability_spool_asks_for_one() {
        assert!(spool(&raw(RawDurability::Store, None)).unwrap().is_none());
        let refused = spool(&raw(RawDurability::Spool, None)).unwrap_err().to_string();
        assert!(refused.contains("ingest.spool.directory"), "{refused}");
        assert!(!spool(&raw(RawDurability::Store, Some("s"))).unwrap().unwrap().options.always);
        assert!(spool(&raw(RawDurability::Spool, Some("s"))).unwrap().unwrap().options.always);
    }

    #[test]
    fn limits_that_let_nothing_through_and_keys_that_are_none_are_refused_by_name() {
        let refused = |change: fn(&mut RawIngest)| {
            let mut raw = raw(RawDurability::Store, Some("s"));
            change(&mut raw);
            format!("{:#}", spool(&raw).unwrap_err())
        };
        assert!(refused(|raw| raw.spool.bytes_max = 1).contains("ingest.spool.bytes_max (1)"));
        assert!(refused(|raw| raw.spool.forward_bytes_per_second = 0).contains("at least 1"));
        assert!(refused(|raw| raw.spool.key_file = Some("/nowhere".to_owned())).contains("key_file"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "1:no key\n").unwrap();
        let mut raw = raw(RawDurability::Store, Some("s"));
        raw.spool.key_file = Some(file.path().display().to_string());
        assert!(format!("{:#}", spool(&raw).unwrap_err()).contains("line 1"));
    }
}
