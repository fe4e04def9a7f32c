//! Takes rejects again: a pipeline with the configuration as of now reads them at the time of their receipt.
//!
//! A reject is deleted only after what it became is durable, and what it becomes is the same every time. So a replay that
//! is cut short is run again and has been done once (I5), and nothing is lost (I1). The pipeline keeps no rejects of its
//! own here: what is refused again stays where it is.

use std::sync::Arc;

use anyhow::ensure;
use prometheus::Registry;
use tidemill_ingest::config::IngestConfig;
use tidemill_ingest::metrics::IngestMetrics;
use tidemill_ingest::pipeline::{Pipeline, PipelineIntake, PipelineParts, Replayed, StillRefused};
use tidemill_ingest::reject_gate::RejectRates;
use tidemill_ingest::rejects::{is_cut, replayed_at};
use tidemill_ingest::source::{Completion, Publish, Qos};
use tidemill_store::append::AppendMetrics;
use tidemill_store::layout::{KnownEras, RejectRow, install_eras};
use tidemill_store::model::Clock;
use tidemill_store::rejects::{self, Listed, RejectPlace};
use tidemill_store::wide::Wide;
use tokio::time::Instant;

use super::{Pages, delete};
use crate::cli::RejectFilterArgs;
use crate::clock::{SystemClock, fresh_writer};
use crate::commands::print;
use crate::config::Config;

/// What a replay has done.
#[derive(Debug, Default)]
struct Report {
    stored: usize,
    refused: usize,
    cut: usize,
}

/// What takes rejects again.
struct Replay<W> {
    wide: Arc<W>,
    intake: PipelineIntake,
    metrics: IngestMetrics,
    report: Report,
}

/// Takes the rejects again that `args` mean.
pub(super) async fn replay<W: Wide>(
    wide: Arc<W>,
    config: &Config,
    args: &RejectFilterArgs,
) -> anyhow::Result<()> {
    let era = config.first_era();
    let metrics = IngestMetrics::default();
    let read_at = SystemClock.now();
    let eras = install_eras(&*wide, era.shards, era.bucket_width).await?;
    let parts = PipelineParts {
        wide: Arc::clone(&wide),
        eras: KnownEras::read_at(Arc::new(eras), read_at),
        writer: fresh_writer()?,
        clock: Arc::new(SystemClock),
        metrics: metrics.clone(),
        append_metrics: AppendMetrics::register(&Registry::new())?,
        // What comes back goes to the store or nowhere.
        spool: None,
    };
    let pipeline = Pipeline::start(parts, keeping_nothing(config.ingest()))?;
    let mut replay =
        Replay { wide: Arc::clone(&wide), intake: pipeline.intake(), metrics, report: Report::default() };
    let mut pages = Pages::new(args)?;
    while let Some(page) = pages.next(&*wide).await? {
        replay.page(&page).await?;
    }
    let drained = pipeline.drain(Instant::now() + config.shutdown_timeout()).await;
    ensure!(drained.left == 0, "{} messages were not settled; run it again", drained.left);
    let Report { stored, refused, cut } = replay.report;
    print(&format!(
        "{stored} stored, {refused} still refused, {cut} cannot be replayed because they were cut\n"
    ))
}

/// `config` of a pipeline that only counts what it refuses.
fn keeping_nothing(config: &IngestConfig) -> IngestConfig {
    let mut config = config.clone();
    config.rejects.takes_waiting = false;
    config.rejects.rates = RejectRates { device_bytes_per_day_max: 0, bytes_per_day_max: 0 };
    config
}

impl<W: Wide> Replay<W> {
    /// Takes a page at once; one after another where some of it is refused by the writer, which says only how many.
    async fn page(&mut self, page: &[Listed]) -> anyhow::Result<()> {
        let places: Vec<RejectPlace> = page.iter().map(|listed| listed.place).collect();
        let refused = self.refused();
        let taken = self.take(&places).await?;
        if self.refused() == refused {
            return self.delete(&taken).await;
        }
        for place in taken {
            let refused = self.refused();
            let taken = self.take(&[place]).await?;
            if self.refused() == refused {
                self.delete(&taken).await?;
            } else {
                self.note(
                    &place,
                    "limits",
                    "some of it is beyond the limits of sources, metrics or buckets",
                )?;
            }
        }
        Ok(())
    }

    /// Takes rejects, and gives those of which all is durable now as far as the pipeline knows.
    async fn take(&mut self, places: &[RejectPlace]) -> anyhow::Result<Vec<RejectPlace>> {
        let mut taken: Vec<(RejectPlace, Completion, Option<StillRefused>)> = Vec::new();
        for place in places {
            let Some(row) = rejects::get(&*self.wide, place).await? else { continue };
            if is_cut(&row) {
                self.report.cut += 1;
                continue;
            }
            let received_at = replayed_at(&row);
            match self.intake.replay(publish(row), received_at).await? {
                Replayed::Taken { completion, in_part } => taken.push((*place, completion, in_part)),
                Replayed::Refused(StillRefused { reason, detail }) => self.note(place, reason, &detail)?,
            }
        }
        let mut whole = Vec::with_capacity(taken.len());
        for (place, completion, in_part) in taken {
            completion.await?;
            match in_part {
                None => whole.push(place),
                Some(StillRefused { reason, detail }) => self.note(&place, reason, &detail)?,
            }
        }
        Ok(whole)
    }

    async fn delete(&mut self, places: &[RejectPlace]) -> anyhow::Result<()> {
        for place in places {
            delete(&*self.wide, place).await?;
            self.report.stored += 1;
        }
        Ok(())
    }

    fn note(&mut self, place: &RejectPlace, reason: &str, detail: &str) -> anyhow::Result<()> {
        self.report.refused += 1;
        print(&format!("{place}  still refused  {reason}  {detail}\n"))
    }

    fn refused(&self) -> u64 {
        let messages = self.metrics.messages();
        messages.dead_lettered + messages.quarantined
    }
}

fn publish(row: RejectRow) -> Publish {
    let topic = bytes::Bytes::from(row.topic);
    Publish { topic, payload: row.payload, qos: Qos::AtLeastOnce, retained: false }
}
