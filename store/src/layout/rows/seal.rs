//! Rows of `seals`: which grind of a bucket is in force, and which segments it covers.
//!
//! ```text
//! covered  [[writer, through_seq, catalog_n], …]     of each writer the segments 0..=through_seq; -1 where none
//! summary  {"samples":…,…}                           what the grind found and wrote
//! ```
//!
//! Both are JSON text, readable in any shell. The checksum is CRC-32 over the other cells as text.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::{Parts, shard_datum};
use crate::layout::tables::SEALS;
use crate::layout::{Bucket, BucketWidth, Period};
use crate::model::{CatalogN, Generation, SealVersion, Seq, Shard, Timestamp, WriterId};
use crate::wide::{Bounds, Datum, Expected, Key, ReadError, Row};

/// What a seal covers of one writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Covered {
    /// How many segments, all from seq 0 on without a hole.
    pub segments: u32,
    /// How many of the writer's catalog rows a reader of the blocks and frames needs.
    pub catalog: CatalogN,
}

impl Covered {
    /// Whether the segment `seq` is covered.
    pub const fn contains(self, seq: Seq) -> bool {
        seq.get() < self.segments
    }
}

/// What a grind found and wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SealSummary {
    /// Samples in the blocks.
    pub samples: u64,
    /// Samples that repeated another's time and value, over all grinds of the bucket.
    pub duplicates: u64,
    /// Samples that replaced another value of the same time, over all grinds of the bucket.
    pub corrections: u64,
    /// Sources in the blocks.
    pub sources: u64,
    /// Bytes of block bodies.
    pub block_bytes: u64,
    /// Bytes of frame bodies.
    pub frame_bytes: u64,
    /// Bytes of the segments that were ground, over all grinds of the bucket.
    pub segment_bytes: u64,
    /// Bytes that grinds wrote, over all grinds of the bucket.
    pub written_bytes: u64,
    /// The coarsest resolution, in seconds, whose frames have every series of the blocks; 0 where none does. Who
    /// does not find a series there knows that it has no samples in the bucket, without looking into blocks.
    pub framed_seconds: u64,
    /// Bytes of segments and of earlier generations that this seal replaced and that are not deleted yet.
    pub garbage_bytes: u64,
}

impl SealSummary {
    fn fields(&mut self) -> [(&'static str, &mut u64); 10] {
        [
            ("samples", &mut self.samples),
            ("duplicates", &mut self.duplicates),
            ("corrections", &mut self.corrections),
            ("sources", &mut self.sources),
            ("block_bytes", &mut self.block_bytes),
            ("frame_bytes", &mut self.frame_bytes),
            ("segment_bytes", &mut self.segment_bytes),
            ("written_bytes", &mut self.written_bytes),
            ("framed_seconds", &mut self.framed_seconds),
            ("garbage_bytes", &mut self.garbage_bytes),
        ]
    }

    fn to_text(mut self) -> String {
        let fields = self.fields().map(|(name, value)| (name.to_owned(), Json::from(*value)));
        Json::Object(fields.into_iter().collect()).to_string()
    }

    /// Fields that it does not know are passed over, so that later versions may add some.
    fn parse(text: &str) -> Option<Self> {
        let json: Json = serde_json::from_str(text).ok()?;
        let mut summary = Self::default();
        for (name, value) in summary.fields() {
            *value = json.as_object()?.get(name)?.as_u64()?;
        }
        Some(summary)
    }
}

/// A row of `seals`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealRow {
    /// The bucket.
    pub bucket: Bucket,
    /// Grows by one with every change.
    pub version: SealVersion,
    /// Whose blocks and frames are in force.
    pub generation: Generation,
    /// When this version was put in force, by the mill's clock.
    pub sealed_at: Timestamp,
    /// Which segments the generation holds.
    pub covered: BTreeMap<WriterId, Covered>,
    /// What was found and written.
    pub summary: SealSummary,
}

impl SealRow {
    /// The partition of a shard's seals in a period.
    pub fn partition(shard: Shard, period: Period) -> Key {
        Key::from([shard_datum(shard), Datum::Instant(period.start_millis())])
    }

    /// The clustering key of a bucket's seal.
    pub fn key(bucket: Bucket) -> Key {
        Key::from([Datum::Instant(bucket.start_millis())])
    }

    /// The seals of the buckets from `first` to `last`, both included.
    pub fn between(first: Bucket, last: Bucket) -> Bounds {
        Bounds {
            start: std::ops::Bound::Included(Self::key(first)),
            end: std::ops::Bound::Included(Self::key(last)),
        }
    }

    /// What a compare-and-set that follows `version` expects; `None`: there is no seal yet.
    pub fn expected(version: Option<SealVersion>) -> Expected {
        version.map_or(Expected::Absent, |version| {
            Expected::Cell("version", Datum::Int(i64::from(version.get())))
        })
    }

    /// Whether the segment `seq` of `writer` is covered.
    pub fn covers(&self, writer: WriterId, seq: Seq) -> bool {
        self.covered.get(&writer).is_some_and(|covered| covered.contains(seq))
    }

    /// As stored.
    pub fn to_row(&self) -> Row {
        let (covered, summary) = (self.covered_text(), self.summary.to_text());
        let checksum = self.checksum(&covered, &summary);
        Row {
            clustering: Self::key(self.bucket),
            cells: vec![
                Datum::Int(i64::from(self.version.get())),
                Datum::Int(i64::from(self.generation.version.get())),
                Datum::Int(self.generation.attempt),
                Datum::Int(self.sealed_at.nanos()),
                Datum::Text(covered),
                Datum::Text(summary),
                Datum::Int(i64::from(checksum)),
            ],
        }
    }

    /// From what is stored; `width` is that of the bucket's era.
    pub fn from_row(row: &Row, width: BucketWidth) -> Result<Self, ReadError> {
        let parts = Parts::new(&SEALS, row);
        let bucket = parts.fit("bucket", parts.key("bucket")?, |datum| {
            Bucket::from_start_millis(datum.as_instant()?, width)
        })?;
        let (covered, summary) = (parts.text("covered")?, parts.text("summary")?);
        let seal = Self {
            bucket,
            version: SealVersion::new(parts.u32("version")?),
            generation: Generation {
                version: SealVersion::new(parts.u32("generation_version")?),
                attempt: parts.int("generation_attempt")?,
            },
            sealed_at: parts.time("sealed_at")?,
            covered: parse_covered(covered).ok_or_else(|| parts.corrupt("covered", covered))?,
            summary: SealSummary::parse(summary).ok_or_else(|| parts.corrupt("summary", summary))?,
        };
        let (stored, computed) = (parts.u32("checksum")?, seal.checksum(covered, summary));
        if stored != computed {
            return Err(
                parts.corrupt("checksum", format_args!("{stored:08x}, the cells give {computed:08x}"))
            );
        }
        Ok(seal)
    }

    fn covered_text(&self) -> String {
        let of_writer = |(writer, covered): (&WriterId, &Covered)| {
            json!([writer.get(), i64::from(covered.segments) - 1, covered.catalog.get()])
        };
        Json::Array(self.covered.iter().map(of_writer).collect()).to_string()
    }

    fn checksum(&self, covered: &str, summary: &str) -> u32 {
        let text = format!(
            "{} {} {} {} {} {covered} {summary}",
            self.bucket.start_millis(),
            self.version,
            self.generation.version,
            self.generation.attempt,
            self.sealed_at.nanos(),
        );
        crc32fast::hash(text.as_bytes())
    }
}

fn parse_covered(text: &str) -> Option<BTreeMap<WriterId, Covered>> {
    let json: Json = serde_json::from_str(text).ok()?;
    let of_writer = |entry: &Json| {
        let [writer, through, catalog] = entry.as_array()?.as_slice() else { return None };
        let segments = u32::try_from(through.as_i64()?.checked_add(1)?).ok()?;
        let catalog = CatalogN::new(u32::try_from(catalog.as_u64()?).ok()?);
        Some((WriterId::from_stored(writer.as_i64()?)?, Covered { segments, catalog }))
    };
    json.as_array()?.iter().map(of_writer).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::{damaged, is_corrupt};
    use super::*;

    fn width() -> BucketWidth {
        BucketWidth::new(Duration::from_hours(1)).unwrap()
    }

    fn seal() -> SealRow {
        let covered = |segments, catalog| Covered { segments, catalog: CatalogN::new(catalog) };
        SealRow {
            bucket: Bucket::at(Timestamp::EPOCH, width()),
            version: SealVersion::new(4),
            generation: Generation { version: SealVersion::new(3), attempt: 1 << 40 },
            sealed_at: Timestamp::from_nanos(99).unwrap(),
            covered: BTreeMap::from([
                (WriterId::from_random(2), covered(0, 4)),
                (WriterId::from_random(u64::MAX), covered(7, 0)),
            ]),
            summary: SealSummary { samples: 10, written_bytes: 3, ..SealSummary::default() },
        }
    }

    #[test]
    fn a_seal_comes_back_as_written() {
        SEALS.assert_row(&seal().to_row());
        SEALS.assert_partition(&SealRow::partition(Shard::new(1), Period::of_seal(seal().bucket, width())));
        assert_eq!(SealRow::from_row(&seal().to_row(), width()).unwrap(), seal());
    }

    #[test]
    fn a_seal_covers_the_dense_beginning_of_each_writer() {
        let (none, seven) = (WriterId::from_random(2), WriterId::from_random(u64::MAX));
        assert!(!seal().covers(none, Seq::new(0)));
        assert!(seal().covers(seven, Seq::new(6)) && !seal().covers(seven, Seq::new(7)));
        assert!(!seal().covers(WriterId::from_random(99), Seq::new(0)));
    }

    #[test]
    fn a_damaged_seal_is_corrupt() {
        for row in damaged(&seal().to_row()) {
            assert!(is_corrupt(&SealRow::from_row(&row, width())), "{row:?}");
        }
    }

    #[test]
    fn a_seal_follows_the_version_that_it_was_made_from() {
        let row = seal().to_row();
        assert!(SealRow::expected(Some(SealVersion::new(4))).is_met_by(&SEALS, Some(&row)));
        assert!(!SealRow::expected(Some(SealVersion::new(3))).is_met_by(&SEALS, Some(&row)));
        assert!(SealRow::expected(None).is_met_by(&SEALS, None));
    }
}
