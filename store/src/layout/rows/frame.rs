//! Rows of `frames`: windows of one metric and one bucket, of consecutive sources, in one resolution.

use std::ops::Bound;

use bytes::Bytes;

use super::{Parts, generation_data, shard_datum, source_datum};
use crate::layout::tables::FRAMES;
use crate::layout::{Bucket, BucketWidth, Period, Resolution};
use crate::model::{Generation, Metric, Shard, SourceId, Timestamp};
use crate::wide::{Bounds, Datum, Key, ReadError, Row};

/// A row of `frames`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameRow {
    /// The bucket.
    pub bucket: Bucket,
    /// The grind that made it.
    pub generation: Generation,
    /// The metric.
    pub metric: Metric,
    /// The first source in it.
    pub first_source: SourceId,
    /// The last source in it.
    pub last_source: SourceId,
    /// How many windows are in it, over all its sources.
    pub windows: u32,
    /// The bucket's end.
    pub ends_at: Timestamp,
    /// The frame.
    pub body: Bytes,
}

impl FrameRow {
    /// The partition of a shard's frames in a resolution.
    pub fn partition(shard: Shard, resolution: Resolution, period: Period) -> Key {
        let seconds = Datum::Int(i64::from(resolution.seconds()));
        Key::from([seconds, shard_datum(shard), Datum::Instant(period.start_millis())])
    }

    /// All frames of a bucket's generation.
    pub fn of(bucket: Bucket, generation: Generation) -> Bounds {
        Bounds::prefix(Key::from(generation_key(bucket, generation)))
    }

    /// All frames of a metric in a bucket's generation.
    pub fn of_metric(bucket: Bucket, generation: Generation, metric: &Metric) -> Bounds {
        Bounds::prefix(Key::from(metric_key(bucket, generation, metric)))
    }

    /// The frames of a metric whose first source is at most `source`: scanned in descending order, what may hold
    /// `source` comes first.
    pub fn up_to(bucket: Bucket, generation: Generation, metric: &Metric, source: SourceId) -> Bounds {
        let start = metric_key(bucket, generation, metric);
        let mut end = start.to_vec();
        end.push(source_datum(source));
        Bounds { start: Bound::Included(Key::from(start)), end: Bound::Included(Key::new(end)) }
    }

    /// All rows of a bucket's generations before `generation`.
    pub fn before(bucket: Bucket, generation: Generation) -> Bounds {
        let start = Key::from([Datum::Instant(bucket.start_millis())]);
        let end = Key::from(generation_key(bucket, generation));
        Bounds { start: Bound::Included(start), end: Bound::Excluded(end) }
    }

    /// All rows of a bucket's generations after `generation`, up to those of its version.
    pub fn after_in_version(bucket: Bucket, generation: Generation) -> Bounds {
        let [bucket_start, version, attempt] = generation_key(bucket, generation);
        Bounds {
            start: Bound::Excluded(Key::from([bucket_start.clone(), version.clone(), attempt])),
            end: Bound::Included(Key::from([bucket_start, version])),
        }
    }

    /// As stored.
    pub fn to_row(&self) -> Row {
        let [bucket, version, attempt, metric] = metric_key(self.bucket, self.generation, &self.metric);
        Row {
            clustering: Key::from([bucket, version, attempt, metric, source_datum(self.first_source)]),
            cells: vec![
                source_datum(self.last_source),
                Datum::Int(i64::from(self.windows)),
                Datum::Instant(self.ends_at.millis_floor()),
                Datum::Blob(self.body.clone()),
            ],
        }
    }

    /// From what is stored; `width` is that of the bucket's era.
    pub fn from_row(row: &Row, width: BucketWidth) -> Result<Self, ReadError> {
        let parts = Parts::new(&FRAMES, row);
        let bucket = parts.fit("bucket", parts.key("bucket")?, |datum| {
            Bucket::from_start_millis(datum.as_instant()?, width)
        })?;
        let metric = parts.fit("metric", parts.key("metric")?, |datum| Metric::new(datum.as_text()?).ok())?;
        Ok(Self {
            bucket,
            generation: parts.generation_key()?,
            metric,
            first_source: parts.source_key("first_source")?,
            last_source: parts.source_cell("last_source")?,
            windows: parts.u32("windows")?,
            ends_at: parts.moment("ends_at")?,
            body: parts.blob("body")?,
        })
    }
}

fn generation_key(bucket: Bucket, generation: Generation) -> [Datum; 3] {
    let [version, attempt] = generation_data(generation);
    [Datum::Instant(bucket.start_millis()), version, attempt]
}

fn metric_key(bucket: Bucket, generation: Generation, metric: &Metric) -> [Datum; 4] {
    let [bucket, version, attempt] = generation_key(bucket, generation);
    [bucket, version, attempt, Datum::Text(metric.as_str().into())]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::{damaged, is_corrupt};
    use super::*;
    use crate::model::SealVersion;

    fn width() -> BucketWidth {
        BucketWidth::new(Duration::from_hours(1)).unwrap()
    }

    fn bucket() -> Bucket {
        Bucket::at(Timestamp::EPOCH, width())
    }

    fn generation(version: u32, attempt: i64) -> Generation {
        Generation { version: SealVersion::new(version), attempt }
    }

    fn frame(generation: Generation) -> FrameRow {
        FrameRow {
            bucket: bucket(),
            generation,
            metric: Metric::new("temperature").unwrap(),
            first_source: SourceId::new(7),
            last_source: SourceId::new(70),
            windows: 48,
            ends_at: bucket().end(),
            body: Bytes::from_static(b"frame"),
        }
    }

    #[test]
    fn a_frame_comes_back_as_written() {
        let frame = frame(generation(1, 2));
        FRAMES.assert_row(&frame.to_row());
        let hour = Resolution::from_seconds(3600).unwrap();
        FRAMES.assert_partition(&FrameRow::partition(
            Shard::new(3),
            hour,
            Period::of_frames(bucket(), width(), hour),
        ));
        assert_eq!(FrameRow::from_row(&frame.to_row(), width()).unwrap(), frame);
    }

    #[test]
    fn a_damaged_frame_is_corrupt_or_says_something_else() {
        let good = frame(generation(1, 2));
        for row in damaged(&good.to_row()) {
            let read = FrameRow::from_row(&row, width());
            assert!(is_corrupt(&read) || read.is_ok_and(|read| read != good), "{row:?}");
        }
    }

    #[test]
    fn bounds_hold_the_rows_that_they_name() {
        let key = |version, attempt| frame(generation(version, attempt)).to_row().clustering;
        let (this, metric) = (generation(3, 9), Metric::new("temperature").unwrap());
        assert!(FrameRow::of(bucket(), this).contains(&key(3, 9)));
        assert!(FrameRow::of_metric(bucket(), this, &metric).contains(&key(3, 9)));
        assert!(!FrameRow::of_metric(bucket(), this, &Metric::new("t").unwrap()).contains(&key(3, 9)));
        assert!(FrameRow::up_to(bucket(), this, &metric, SourceId::new(9)).contains(&key(3, 9)));
        assert!(!FrameRow::up_to(bucket(), this, &metric, SourceId::new(1)).contains(&key(3, 9)));
        let (before, after) = (FrameRow::before(bucket(), this), FrameRow::after_in_version(bucket(), this));
        assert!(before.contains(&key(2, 99)) && before.contains(&key(3, 8)) && !before.contains(&key(3, 9)));
        assert!(after.contains(&key(3, 10)) && !after.contains(&key(3, 9)) && !after.contains(&key(4, 0)));
    }
}
