//! `tidemill era`: how many shards there are and how wide a bucket is, from a time on.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tidemill_analytics::moment::{self, Utc};
use tidemill_store::layout::{
    ANNOUNCED_AHEAD, AddEraError, BucketWidth, Era, Eras, Measured, ShardCount, add_era, load_eras,
    suggest_era,
};
use tidemill_store::mill::Basis;
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

/// From when on an era is asked for.
enum From {
    /// From this moment.
    Exactly(Timestamp),
    /// From the first boundary of buckets after this moment.
    After(Timestamp),
}

struct Add {
    from: From,
    shards: ShardCount,
    bucket_width: BucketWidth,
}

impl Add {
    fn parse(args: &EraAddArgs) -> anyhow::Result<Self> {
        Ok(Self {
            from: parse_from(&args.from, SystemClock.now())?,
            shards: ShardCount::new(args.shards)?,
            bucket_width: BucketWidth::new(args.bucket_width.0)?,
        })
    }
}

impl OnStore for Add {
    async fn run<W: Wide>(self, wide: Arc<W>, _: &Config) -> anyhow::Result<()> {
        let now = SystemClock.now();
        let add = async |starts_at| add_era(&*wide, starts_at, self.shards, self.bucket_width, now).await;
        let eras = match self.from {
            From::Exactly(starts_at) => add(starts_at).await.map_err(|refusal| told(refusal, now))?,
            From::After(moment) => match add(moment).await {
                Err(AddEraError::Boundary { suggested, .. } | AddEraError::TooNear { suggested, .. }) => {
                    add(suggested).await.map_err(|refusal| told(refusal, now))?
                }
                done => done.map_err(|refusal| told(refusal, now))?,
            },
        };
        super::print(&lines(&eras))
    }
}

/// A refusal with times as operators write them.
fn told(refusal: AddEraError, now: Timestamp) -> anyhow::Error {
    match refusal {
        AddEraError::TooNear { starts_at, suggested } => {
            let ahead = Span::from(ANNOUNCED_AHEAD);
            let why = if starts_at <= now { "is past" } else { "is too near" };
            anyhow!(
                "{} {why}: buckets keep the era that they were begun in, and every process must know an era {ahead} \
                 ahead; the next good start is {}",
                Utc(starts_at),
                Utc(suggested)
            )
        }
        AddEraError::Boundary { starts_at, suggested } => anyhow!(
            "{} lies inside of a bucket; the next boundary of both widths is {}",
            Utc(starts_at),
            Utc(suggested)
        ),
        AddEraError::NotLast(starts_at) => {
            anyhow!("there is an era from {} on already; a new one must start after it", Utc(starts_at))
        }
        AddEraError::NoBoundary { .. }
        | AddEraError::Unchanged
        | AddEraError::Raced
        | AddEraError::Eras(_) => refusal.into(),
    }
}

/// A span such as `1d` counts from `now`.
fn parse_from(text: &str, now: Timestamp) -> anyhow::Result<From> {
    match text.parse::<Span>() {
        Ok(span) => Ok(From::After(now.saturating_add(span.0))),
        Err(_) => Ok(From::Exactly(moment::parse(text, now).with_context(|| format!("--from {text:?}"))?)),
    }
}

struct Suggest;

impl OnStore for Suggest {
    async fn run<W: Wide>(self, wide: Arc<W>, config: &Config) -> anyhow::Result<()> {
        let eras = load_eras(&*wide).await?;
        let present = eras.at(SystemClock.now());
        let (measured, basis) = mill(wide, config).await?.measure(&present).await?;
        super::print(&advice(&present, &measured, basis))
    }
}

fn advice(present: &Era, measured: &Measured, basis: Basis) -> String {
    let mut text = format!("present: {}\n", line(present));
    let of = match basis {
        Basis::Nothing => {
            text.push_str("nothing is measured: no samples of this era are stored yet\n");
            return text;
        }
        Basis::Over(buckets) => format!("the latest buckets of time that are over, {buckets} of them"),
        Basis::Open(since) => format!(
            "the present bucket scaled up from {}; none is over yet",
            Span::from(Duration::from_secs(since.as_secs()))
        ),
    };
    _ = writeln!(
        text,
        "measured ({of}): {:.1} samples/s, {} sources, a (shard, bucket) has {:.0} bytes (99th percentile), {:.0} at \
         most",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_says_what_it_was_measured_from() {
        let era =
            Eras::single(ShardCount::new(8).unwrap(), BucketWidth::new(Duration::from_hours(24)).unwrap());
        let present = era.at(Timestamp::EPOCH);
        let measured = Measured {
            samples_per_second: 50_000.0,
            partition_bytes_p99: 4e8,
            partition_bytes_max: 5e8,
            sources: 10_000,
        };
        assert!(advice(&present, &measured, Basis::Nothing).contains("nothing is measured"));
        let open = advice(&present, &measured, Basis::Open(Duration::from_secs(90)));
        assert!(
            open.contains("scaled up from 1m 30s") && open.contains("tidemill era add --from 1d --shards")
        );
        assert!(advice(&present, &measured, Basis::Over(3)).contains("3 of them"));
    }

    #[test]
    fn a_past_start_is_refused_as_one_with_the_next_good_one() {
        let at = |hours: i64| Timestamp::from_millis(hours * 3_600_000).unwrap();
        let refused =
            |starts_at| told(AddEraError::TooNear { starts_at, suggested: at(14) }, at(12)).to_string();
        assert!(refused(at(2)).starts_with("1970-01-01T02:00:00Z is past"));
        assert!(refused(at(13)).starts_with("1970-01-01T13:00:00Z is too near"));
        assert!(refused(at(13)).ends_with("the next good start is 1970-01-01T14:00:00Z"));
    }

    #[test]
    fn a_start_is_a_moment_or_a_span_from_now() {
        let from = |text| parse_from(text, Timestamp::EPOCH);
        assert!(matches!(from("1d").unwrap(), From::After(at) if at.millis_floor() == 86_400_000));
        assert!(
            matches!(from("1970-01-02T00:00:00Z").unwrap(), From::Exactly(at) if at.millis_floor() == 86_400_000)
        );
        assert!(format!("{:#}", from("soon").err().unwrap()).contains("soon"));
    }
}
