//! `tidemill grind`: buckets that are ground now, by hand.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use tidemill_analytics::moment::{self, Utc};
use tidemill_store::layout::{Eras, Place, load_eras};
use tidemill_store::mill::{GrindOutcome, Ground, Mill};
use tidemill_store::model::{Clock, Shard, Timestamp};
use tidemill_store::wide::Wide;

use super::on_store::{OnStore, mill, on_store};
use crate::cli::GrindArgs;
use crate::clock::SystemClock;
use crate::config::{Backend, Config};

/// Grinds, and prints a line for each bucket.
pub(crate) async fn grind(config: &Config, args: &GrindArgs) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let time = |text: &String| moment::parse(text, now).with_context(|| format!("--bucket {text:?}"));
    let times: anyhow::Result<Vec<Timestamp>> = args.bucket.iter().map(time).collect();
    let shards = args.shard.iter().copied().map(Shard::new).collect();
    let times = if args.all { None } else { Some(times?) };
    on_store(config, Grind { times, shards, is_again: args.again }).await
}

/// Which buckets.
struct Grind {
    /// Those that hold these times; `None`: all that have something to grind.
    times: Option<Vec<Timestamp>>,
    /// Of these shards; of all where empty.
    shards: Vec<Shard>,
    /// Those that have nothing new, too.
    is_again: bool,
}

impl OnStore for Grind {
    async fn run<W: Wide>(self, wide: Arc<W>, config: &Config) -> anyhow::Result<()> {
        let eras = load_eras(&*wide).await?;
        let shards = eras.shards_max();
        let unknown = self.shards.iter().find(|shard| shard.get() >= shards);
        ensure!(
            unknown.is_none(),
            "--shard {}: there are {shards} shards, from 0 on",
            unknown.map_or(0, |shard| shard.get())
        );
        let mill = mill(wide, config).await?;
        let places = match &self.times {
            Some(times) => places(&eras, times),
            None => mill.waiting().await?,
        };
        let places: Vec<Place> = places.into_iter().filter(|place| self.wants(place.shard)).collect();
        let (count, mut ground_count) = (places.len(), 0);
        for (place, number) in places.into_iter().zip(1..) {
            let ground =
                if self.is_again { mill.grind_again(place).await? } else { mill.grind_bucket(place).await? };
            ground_count += usize::from(ground.outcome != GrindOutcome::Nothing);
            super::print(&line(place, &ground, (number, count)))?;
        }
        super::print(&last_line(ground_count, count, config.mill().times.settle))?;
        // No other process has the embedded store open; elsewhere queries may still read what was replaced.
        if matches!(config.backend(), Backend::Embedded(_)) {
            self.collect(&mill, shards).await?;
        }
        Ok(())
    }
}

impl Grind {
    /// Deletes what was replaced, now or before.
    async fn collect<W: Wide>(&self, mill: &Mill<W>, shards: u16) -> anyhow::Result<()> {
        let mut bytes = 0;
        for shard in (0..shards).map(Shard::new).filter(|shard| self.wants(*shard)) {
            bytes += mill.collect_now(shard).await?;
        }
        super::print(&format!("{bytes} bytes that were replaced are deleted\n"))
    }

    fn wants(&self, shard: Shard) -> bool {
        self.shards.is_empty() || self.shards.contains(&shard)
    }
}

/// The buckets of all shards that hold `times`, each once.
fn places(eras: &Eras, times: &[Timestamp]) -> Vec<Place> {
    let of_time = |&time: &Timestamp| {
        let era = eras.at(time);
        era.shards.shards().map(move |shard| Place { shard, bucket: era.bucket(time) })
    };
    let mut places: Vec<Place> = times.iter().flat_map(of_time).collect();
    places.sort_unstable_by_key(|place| (place.bucket, place.shard));
    places.dedup();
    places
}

/// How many buckets were ground, and why others were not.
fn last_line(ground: usize, count: usize, settle: Duration) -> String {
    let left = count - ground;
    if left == 0 {
        return format!("{ground} buckets ground\n");
    }
    format!(
        "{ground} buckets ground, {left} had nothing to grind; what came in less than {settle:?} ago (mill.settle) is left \
         alone, because not all that came before it may be stored: run this again when it has settled\n"
    )
}

fn line(place: Place, ground: &Ground, (number, count): (usize, usize)) -> String {
    let what = match ground.outcome {
        GrindOutcome::Nothing => "nothing to grind".to_owned(),
        GrindOutcome::Unmarked => format!("nothing new, marks deleted: {}", ground.marks_deleted),
        GrindOutcome::Ground => format!(
            "{} samples from {} new segments, {} bytes written, {} duplicates, {} corrections",
            ground.samples, ground.segments, ground.written_bytes, ground.duplicates, ground.corrections
        ),
        GrindOutcome::Quarantined => {
            format!("{} segments came after the raw samples expired; kept as rejects", ground.set_aside)
        }
    };
    let bucket = Utc(place.bucket.start());
    format!("[{number}/{count}] shard {} bucket {bucket}: {what}\n", place.shard)
}

#[cfg(test)]
mod tests {
    use tidemill_store::layout::{BucketWidth, ShardCount};

    use super::*;

    #[test]
    fn what_was_not_ground_says_why_and_what_to_do() {
        assert_eq!(last_line(3, 3, Duration::from_secs(10)), "3 buckets ground\n");
        let some = last_line(0, 2, Duration::from_secs(10));
        assert!(
            some.starts_with("0 buckets ground, 2 had nothing") && some.contains("10s ago (mill.settle)")
        );
    }

    #[test]
    fn times_of_one_bucket_mean_it_once_in_each_shard() {
        let width = BucketWidth::new(Duration::from_hours(1)).unwrap();
        let eras = Eras::single(ShardCount::new(2).unwrap(), width);
        let at = |minutes: i64| Timestamp::from_millis(minutes * 60_000).unwrap();
        let places = places(&eras, &[at(5), at(61), at(0)]);
        let found: Vec<(u16, i64)> =
            places.iter().map(|place| (place.shard.get(), place.bucket.start_millis() / 3_600_000)).collect();
        assert_eq!(found, [(0, 0), (1, 0), (0, 1), (1, 1)]);
    }
}
