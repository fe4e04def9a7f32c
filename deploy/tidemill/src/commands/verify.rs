//! `tidemill verify`: rollups computed again from samples, and compared, bucket by bucket.
//!
//! With a checkpoint file a run that was cut short goes on where it stopped. Differences end it with exit code 1, once
//! all of them are reported.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use tidemill_analytics::moment::{self, Utc};
use tidemill_store::layout::{Eras, Place, Resolution, load_eras};
use tidemill_store::mill::{Checked, Difference, Mill};
use tidemill_store::model::{Clock, Shard, Source, SourceId, TimeRange, Timestamp};
use tidemill_store::wide::Wide;

use super::Outcome;
use super::on_store::{OnStore, mill, on_store};
use crate::cli::VerifyArgs;
use crate::clock::SystemClock;
use crate::config::Config;

/// Verifies, and prints a line for each bucket.
pub(crate) async fn verify(config: &Config, args: &VerifyArgs) -> anyhow::Result<Outcome> {
    let range =
        args.range.as_deref().map_or(Ok(TimeRange::ALL), |text| parse_range(text, SystemClock.now()))?;
    let range_text = args.range.clone().unwrap_or_else(|| "..".to_owned());
    on_store(config, Verify { range, range_text, checkpoint: args.checkpoint.clone() }).await?;
    Ok(Outcome::Complete)
}

struct Verify {
    range: TimeRange,
    /// As it was asked for: a checkpoint is of one range.
    range_text: String,
    checkpoint: Option<PathBuf>,
}

/// What was found so far, by runs that were cut short, too.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Totals {
    buckets: u64,
    samples: u64,
    windows: u64,
    differences: usize,
}

/// How far a run came.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Checkpoint {
    range: String,
    shard: u16,
    bucket_start_ns: i64,
    totals: Totals,
}

/// The names of sources.
type Names = BTreeMap<SourceId, Arc<Source>>;

impl OnStore for Verify {
    async fn run<W: Wide>(self, wide: Arc<W>, config: &Config) -> anyhow::Result<()> {
        let eras = load_eras(&*wide).await?;
        let before = self.checkpoint.as_deref().map_or(Ok(None), |path| load(path, &self.range_text))?;
        let after = before.as_ref().map(|before| before.place(&eras)).transpose()?;
        if let Some(place) = after {
            super::print(&format!("going on after {}\n", name(place)))?;
        }
        let mill = mill(wide, config).await?;
        let mut verification = mill.verify(self.range, after);
        let mut totals = before.map(|before| before.totals).unwrap_or_default();
        while let Some(checked) = verification.next().await? {
            totals.add(&checked);
            super::print(&lines(&checked, &names(&mill, &checked).await?))?;
            if let Some(path) = &self.checkpoint {
                save(path, &Checkpoint::of(&self.range_text, checked.place, totals))?;
            }
        }
        let expired = verification.expired();
        if expired > 0 {
            super::print(&format!("{expired} buckets passed over: their raw samples have expired\n"))?;
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
            bail!(
                "{differences} differences; rollups are made anew from blocks by `tidemill grind --bucket TIME --again`, \
                 blocks that cannot be read come back from a replica or a backup alone"
            );
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

impl Checkpoint {
    fn of(range: &str, place: Place, totals: Totals) -> Self {
        let bucket_start_ns = place.bucket.start().nanos();
        Self { range: range.to_owned(), shard: place.shard.get(), bucket_start_ns, totals }
    }

    fn place(&self, eras: &Eras) -> anyhow::Result<Place> {
        let start = Timestamp::from_nanos(self.bucket_start_ns)?;
        Ok(Place { shard: Shard::new(self.shard), bucket: eras.at(start).bucket(start) })
    }
}

/// The names of the sources that differ.
async fn names<W: Wide>(mill: &Mill<W>, checked: &Checked) -> anyhow::Result<Names> {
    let sources: BTreeSet<SourceId> = checked.differences.iter().filter_map(Difference::source).collect();
    if sources.is_empty() {
        return Ok(Names::new());
    }
    Ok(mill.names(checked.place.shard, &sources).await?)
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

fn lines(checked: &Checked, names: &Names) -> String {
    let found = checked.differences.len();
    let mut text = format!(
        "{}: {} samples, {} windows, {found} differences\n",
        name(checked.place),
        checked.samples,
        checked.windows
    );
    for difference in &checked.differences {
        _ = writeln!(text, "  {}", describe(difference, checked.place, names));
    }
    text
}

fn describe(difference: &Difference, place: Place, names: &Names) -> String {
    match difference {
        Difference::Samples { sealed, found } => {
            format!("the seal counts {sealed} samples, the blocks hold {found}")
        }
        Difference::Block { first_source, error } => {
            format!("the block that begins with {} cannot be read: {error}", source(*first_source, names))
        }
        Difference::Frame { resolution, metric, error } => {
            format!("a frame of {} at {} s cannot be read: {error}", metric.as_str(), resolution.seconds())
        }
        Difference::Window { source: of, metric, resolution, window, what } => format!(
            "{}, {}, window of {} s from {}: differs in {what}",
            source(*of, names),
            metric.as_str(),
            resolution.seconds(),
            Utc(start_of(place, *resolution, *window))
        ),
        Difference::Missing { resolution, series, framed } => {
            format!("frames of {} s hold {framed} series, the blocks {series}", resolution.seconds())
        }
    }
}

fn start_of(place: Place, resolution: Resolution, window: u32) -> Timestamp {
    let since = Duration::from_secs(u64::from(resolution.seconds()) * u64::from(window));
    place.bucket.start().saturating_add(since)
}

/// Tenant, device and tags; the number where nobody knows them any more.
fn source(id: SourceId, names: &Names) -> String {
    let Some(source) = names.get(&id) else { return format!("source {:032x}", id.get()) };
    let tags = source.tags().iter().map(|(key, value)| format!(" {}={}", key.as_str(), value.as_str()));
    let tags: String = tags.collect();
    format!("device {} of {}{tags}", source.device().as_str(), source.tenant().as_str())
}

fn load(path: &Path, range: &str) -> anyhow::Result<Option<Checkpoint>> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.with_context(|| format!("reading {}", path.display()))?,
    };
    let checkpoint: Checkpoint = serde_json::from_str(&text)
        .with_context(|| format!("{} is no checkpoint of verify; remove it to start over", path.display()))?;
    ensure!(
        checkpoint.range == range,
        "{} is of a run over {}, not over {range}; remove it to start over",
        path.display(),
        checkpoint.range
    );
    Ok(Some(checkpoint))
}

/// Whole or not at all: under another name first.
fn save(path: &Path, checkpoint: &Checkpoint) -> anyhow::Result<()> {
    let json = serde_json::to_string(checkpoint)?;
    let unfinished = path.with_extension("new");
    let saved = std::fs::write(&unfinished, json).and_then(|()| std::fs::rename(&unfinished, path));
    saved.with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use tidemill_store::layout::{BucketWidth, ShardCount};
    use tidemill_store::model::{Device, Metric, TagKey, TagValue, Tags, Tenant};

    use super::*;

    fn place() -> Place {
        let eras =
            Eras::single(ShardCount::new(4).unwrap(), BucketWidth::new(Duration::from_hours(1)).unwrap());
        let bucket = eras.at(Timestamp::EPOCH).bucket(Timestamp::from_millis(7_200_000).unwrap());
        Place { shard: Shard::new(3), bucket }
    }

    #[test]
    fn a_checkpoint_comes_back_with_what_was_found_and_nonsense_or_another_range_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("verify.json");
        assert_eq!(load(&path, "..").unwrap(), None);
        let totals = Totals { buckets: 7, samples: 8, windows: 9, differences: 1 };
        let checkpoint = Checkpoint::of("..", place(), totals);
        save(&path, &checkpoint).unwrap();
        let loaded = load(&path, "..").unwrap().unwrap();
        assert_eq!(loaded, checkpoint);
        let width = BucketWidth::new(Duration::from_hours(1)).unwrap();
        let eras = Eras::single(ShardCount::new(4).unwrap(), width);
        assert_eq!(loaded.place(&eras).unwrap(), place());
        assert!(load(&path, "2026-01-01..").unwrap_err().to_string().contains("remove it to start over"));
        std::fs::write(&path, "{}").unwrap();
        assert!(load(&path, "..").is_err());
    }

    #[test]
    fn every_difference_is_told_with_names_and_times() {
        let tag = (TagKey::new("site").unwrap(), TagValue::new("north").unwrap());
        let tags = Tags::new(vec![tag]).unwrap();
        let of = Source::new(Tenant::new("t").unwrap(), Device::new("pump-7").unwrap(), tags);
        let names = Names::from([(of.id(), Arc::new(of.clone()))]);
        let window = |window| Difference::Window {
            source: of.id(),
            metric: Metric::new("load").unwrap(),
            resolution: Resolution::from_seconds(60).unwrap(),
            window,
            what: "its sum",
        };
        let differences: Vec<Difference> = (0..50).map(window).collect();
        let checked = Checked { place: place(), samples: 1, windows: 50, differences };
        let text = lines(&checked, &names);
        assert_eq!(text.lines().count(), 51, "none is left out");
        let last = "  device pump-7 of t site=north, load, window of 60 s from 1970-01-01T02:49:00Z: differs in its sum";
        assert_eq!(text.lines().last(), Some(last));
        assert!(lines(&checked, &Names::new()).contains(&format!("source {:032x}", of.id().get())));
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
