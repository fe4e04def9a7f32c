//! `tidemill verify`: rollups computed again from samples, and compared, bucket by bucket.
//!
//! With a checkpoint file a run that was cut short goes on where it stopped. Differences end it with exit code 1, once
//! all of them are reported.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use serde_json::{Value as Json, json};
use tidemill_analytics::moment::{self, Utc};
use tidemill_store::layout::{Eras, Place, load_eras};
use tidemill_store::mill::{Checked, Difference};
use tidemill_store::model::{Clock, Shard, TimeRange, Timestamp};
use tidemill_store::wide::Wide;

use super::Outcome;
use super::on_store::{OnStore, mill, on_store};
use crate::cli::VerifyArgs;
use crate::clock::SystemClock;
use crate::config::Config;

/// Differences of one bucket that are spelled out; the rest are counted.
const SHOWN_MAX: usize = 20;

/// Verifies, and prints a line for each bucket.
pub(crate) async fn verify(config: &Config, args: &VerifyArgs) -> anyhow::Result<Outcome> {
    let range =
        args.range.as_deref().map_or(Ok(TimeRange::ALL), |text| parse_range(text, SystemClock.now()))?;
    on_store(config, Verify { range, checkpoint: args.checkpoint.clone() }).await?;
    Ok(Outcome::Complete)
}

struct Verify {
    range: TimeRange,
    checkpoint: Option<PathBuf>,
}

/// What was found so far.
#[derive(Default)]
struct Totals {
    buckets: u64,
    samples: u64,
    windows: u64,
    differences: usize,
}

impl OnStore for Verify {
    async fn run<W: Wide>(self, wide: Arc<W>, config: &Config) -> anyhow::Result<()> {
        let eras = load_eras(&*wide).await?;
        let after = self.checkpoint.as_deref().map_or(Ok(None), |path| load(path, &eras))?;
        if let Some(place) = after {
            super::print(&format!("going on after {}\n", name(place)))?;
        }
        let mill = mill(wide, config).await?;
        let mut verification = mill.verify(self.range, after);
        let mut totals = Totals::default();
        while let Some(checked) = verification.next().await? {
            totals.add(&checked);
            super::print(&line(&checked))?;
            if let Some(path) = &self.checkpoint {
                save(path, checked.place)?;
            }
        }
        // All was seen: the next run starts over.
        if let Some(path) = self.checkpoint.filter(|path| path.exists()) {
            std::fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
        let Totals { buckets, samples, windows, differences } = totals;
        super::print(&format!(
            "{buckets} buckets, {samples} samples, {windows} windows: {differences} differences\n"
        ))?;
        if differences > 0 {
            bail!("{differences} differences; grind the buckets again (`tidemill grind --bucket TIME`)");
        }
        Ok(())
    }
}

impl Totals {
    fn add(&mut self, checked: &Checked) {
        self.buckets += 1;
        self.samples += checked.samples;
        self.windows += checked.windows;
        self.differences += checked.differences.len();
    }
}

/// `START..END`, either of which may be missing.
fn parse_range(text: &str, now: Timestamp) -> anyhow::Result<TimeRange> {
    let (start, end) = text.split_once("..").context("a range is START..END; either may be missing")?;
    let at = |text: &str, missing| {
        if text.is_empty() {
            Ok(missing)
        } else {
            moment::parse(text, now).with_context(|| format!("--range {text:?}"))
        }
    };
    Ok(TimeRange::new(at(start, Timestamp::MIN)?, at(end, Timestamp::MAX)?)?)
}

fn name(place: Place) -> String {
    format!("shard {} bucket {}", place.shard, Utc(place.bucket.start()))
}

fn line(checked: &Checked) -> String {
    let found = checked.differences.len();
    let mut text = format!(
        "{}: {} samples, {} windows, {found} differences\n",
        name(checked.place),
        checked.samples,
        checked.windows
    );
    for difference in checked.differences.iter().take(SHOWN_MAX) {
        _ = writeln!(text, "  {}", describe(difference));
    }
    if found > SHOWN_MAX {
        _ = writeln!(text, "  and {} more", found - SHOWN_MAX);
    }
    text
}

fn describe(difference: &Difference) -> String {
    match difference {
        Difference::Samples { sealed, found } => {
            format!("the seal counts {sealed} samples, the blocks hold {found}")
        }
        Difference::Frame { resolution, metric, error } => {
            format!("a frame of {} at {} s cannot be read: {error}", metric.as_str(), resolution.seconds())
        }
        Difference::Window { source, metric, resolution, window, what } => format!(
            "{what} of {} differs in window {window} of {} s, source {:032x}",
            metric.as_str(),
            resolution.seconds(),
            source.get()
        ),
        Difference::Missing { resolution, series, framed } => {
            format!("frames of {} s hold {framed} series, the blocks {series}", resolution.seconds())
        }
    }
}

fn load(path: &Path, eras: &Eras) -> anyhow::Result<Option<Place>> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.with_context(|| format!("reading {}", path.display()))?,
    };
    let place = parse_checkpoint(&text, eras);
    Ok(Some(place.with_context(|| {
        format!("{} is no checkpoint of verify; remove it to start over", path.display())
    })?))
}

fn parse_checkpoint(text: &str, eras: &Eras) -> Option<Place> {
    let json: Json = serde_json::from_str(text).ok()?;
    let shard = Shard::new(u16::try_from(json.get("shard")?.as_u64()?).ok()?);
    let start = Timestamp::from_nanos(json.get("bucket_start_ns")?.as_i64()?).ok()?;
    Some(Place { shard, bucket: eras.at(start).bucket(start) })
}

/// Whole or not at all: under another name first.
fn save(path: &Path, place: Place) -> anyhow::Result<()> {
    let json = json!({ "shard": place.shard.get(), "bucket_start_ns": place.bucket.start().nanos() });
    let unfinished = path.with_extension("new");
    let saved =
        std::fs::write(&unfinished, json.to_string()).and_then(|()| std::fs::rename(&unfinished, path));
    saved.with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidemill_store::layout::{BucketWidth, ShardCount};

    use super::*;

    #[test]
    fn a_checkpoint_comes_back_and_nonsense_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("verify.json");
        let width = BucketWidth::new(Duration::from_hours(1)).unwrap();
        let eras = Eras::single(ShardCount::new(4).unwrap(), width);
        assert_eq!(load(&path, &eras).unwrap(), None);
        let bucket = eras.at(Timestamp::EPOCH).bucket(Timestamp::from_millis(7_200_000).unwrap());
        let place = Place { shard: Shard::new(3), bucket };
        save(&path, place).unwrap();
        assert_eq!(load(&path, &eras).unwrap(), Some(place));
        std::fs::write(&path, "{}").unwrap();
        assert!(load(&path, &eras).is_err());
    }

    #[test]
    fn a_range_may_be_open_on_either_side() {
        let range = |text| parse_range(text, Timestamp::EPOCH);
        assert_eq!(range("..").unwrap(), TimeRange::ALL);
        let day = range("1970-01-01T00:00:00Z..1970-01-02T00:00:00Z").unwrap();
        assert_eq!(range("1970-01-01..1970-01-02").unwrap(), day);
        assert_eq!(day.end().millis_floor() - day.start().millis_floor(), 86_400_000);
        assert!(
            range("1970-01-01T00:00:00Z").is_err()
                && range("1970-01-02T00:00:00Z..1970-01-01T00:00:00Z").is_err()
        );
    }
}
