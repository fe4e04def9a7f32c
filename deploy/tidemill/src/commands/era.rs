//! `tidemill era`: how many shards there are and how wide a bucket is, from a time on.

use std::fmt::Write as _;
use std::sync::Arc;

use tidemill_analytics::moment::{self, Utc};
use tidemill_store::layout::{BucketWidth, Era, Eras, Measured, ShardCount, add_era, load_eras, suggest_era};
use tidemill_store::model::{Clock, Timestamp};
use tidemill_store::wide::Wide;

use super::on_store::{OnStore, mill, on_store};
use crate::cli::{EraAction, EraAddArgs};
use crate::clock::SystemClock;
use crate::config::{Config, Span};

/// Lists, adds or suggests.
pub(crate) async fn era(config: &Config, action: &EraAction) -> anyhow::Result<()> {
    match action {
        EraAction::List(_) => on_store(config, List).await,
        EraAction::Add(args) => on_store(config, Add::parse(args)?).await,
        EraAction::Suggest(_) => on_store(config, Suggest).await,
    }
}

struct List;

impl OnStore for List {
    async fn run<W: Wide>(self, wide: Arc<W>, _: &Config) -> anyhow::Result<()> {
        super::print(&lines(&load_eras(&*wide).await?))
    }
}

struct Add {
    starts_at: Timestamp,
    shards: ShardCount,
    bucket_width: BucketWidth,
}

impl Add {
    fn parse(args: &EraAddArgs) -> anyhow::Result<Self> {
        Ok(Self {
            starts_at: moment::parse(&args.from, SystemClock.now())?,
            shards: ShardCount::new(args.shards)?,
            bucket_width: BucketWidth::new(args.bucket_width.0)?,
        })
    }
}

impl OnStore for Add {
    async fn run<W: Wide>(self, wide: Arc<W>, _: &Config) -> anyhow::Result<()> {
        let now = SystemClock.now();
        let eras = add_era(&*wide, self.starts_at, self.shards, self.bucket_width, now).await?;
        super::print(&lines(&eras))
    }
}

struct Suggest;

impl OnStore for Suggest {
    async fn run<W: Wide>(self, wide: Arc<W>, config: &Config) -> anyhow::Result<()> {
        let eras = load_eras(&*wide).await?;
        let present = eras.at(SystemClock.now());
        let measured = mill(wide, config).await?.measure(&present).await?;
        super::print(&advice(&present, &measured))
    }
}

fn advice(present: &Era, measured: &Measured) -> String {
    let mut text = format!("present: {}\n", line(present));
    _ = writeln!(
        text,
        "measured: {:.0} samples/s, {} sources, a (shard, bucket) has {:.0} bytes (99th percentile), {:.0} at most",
        measured.samples_per_second,
        measured.sources,
        measured.partition_bytes_p99,
        measured.partition_bytes_max
    );
    match suggest_era(present, measured) {
        None => text.push_str("the present era does well enough\n"),
        Some(next) => {
            let (shards, width) = (next.shards.get(), Span::from(next.bucket_width.get()));
            for reason in &next.reasons {
                _ = writeln!(text, "because {reason}");
            }
            _ = writeln!(text, "tidemill era add --from 1d --shards {shards} --bucket-width {width}");
        }
    }
    text
}

fn lines(eras: &Eras) -> String {
    eras.iter().fold(String::new(), |text, era| text + &line(era) + "\n")
}

fn line(era: &Era) -> String {
    let start = if era.starts_at == Timestamp::MIN {
        "the beginning of time".to_owned()
    } else {
        Utc(era.starts_at).to_string()
    };
    let width = Span::from(era.bucket_width.get());
    format!("from {start}: {} shards, buckets of {width}", era.shards.get())
}
