//! Takes rejects again: a pipeline with the configuration as of now reads them at the time of their receipt.
//!
//! A reject is deleted only after what it became is durable, and what it becomes is the same every time. So a replay that
//! is cut short is run again and has been done once (I5), and nothing is lost (I1). The pipeline keeps no rejects of its
//! own here: what is refused again stays where it is.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use prometheus::Registry;
use serde::{Deserialize, Serialize};
use tidemill_ingest::config::IngestConfig;
use tidemill_ingest::metrics::IngestMetrics;
use tidemill_ingest::pipeline::{Pipeline, PipelineIntake, PipelineParts, Replayed, StillRefused};
use tidemill_ingest::reject_gate::RejectRates;
use tidemill_ingest::rejects::{is_cut, replayed_at};
use tidemill_ingest::source::{Completion, Publish, Qos};
use tidemill_store::append::AppendMetrics;
use tidemill_store::layout::{BucketWidth, KnownEras, RejectRow, ShardCount, install_eras};
use tidemill_store::model::Clock;
use tidemill_store::rejects::{self, Listed, RejectPlace};
use tidemill_store::wide::Wide;
use tokio::time::Instant;

use super::delete;
use crate::clock::{SystemClock, fresh_writer};
use crate::config::Config;

/// How rejects are read now.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    ingest: IngestConfig,
    shards: ShardCount,
    bucket_width: BucketWidth,
    /// How long the end of a replay may take.
    timeout: Duration,
}

impl Terms {
    /// Those of `config`, for a pipeline that only counts what it refuses.
    pub(crate) fn of(config: &Config) -> Self {
        let mut ingest = config.ingest().clone();
        ingest.rejects.takes_waiting = false;
        ingest.rejects.rates = RejectRates { device_bytes_per_day_max: 0, bytes_per_day_max: 0 };
        let era = config.first_era();
        let timeout = config.shutdown_timeout();
        Self { ingest, shards: era.shards, bucket_width: era.bucket_width, timeout }
    }
}

/// What became of rejects.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Taken {
    /// Those that are stored, and deleted.
    pub(super) stored: usize,
    /// Those that cannot be taken because they were cut.
    pub(super) cut: usize,
    pub(super) refused: Vec<RefusedAgain>,
}

/// A reject that stays one.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RefusedAgain {
    pub(super) id: String,
    pub(super) reason: String,
    pub(super) detail: String,
}

/// What takes rejects again.
pub(super) struct Replay<W> {
    wide: Arc<W>,
    pipeline: Pipeline,
    intake: PipelineIntake,
    metrics: IngestMetrics,
    timeout: Duration,
    taken: Taken,
}

impl<W: Wide> Replay<W> {
    pub(super) async fn start(wide: Arc<W>, terms: &Terms) -> anyhow::Result<Self> {
        let metrics = IngestMetrics::default();
        let read_at = SystemClock.now();
        let eras = install_eras(&*wide, terms.shards, terms.bucket_width).await?;
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
        let pipeline = Pipeline::start(parts, terms.ingest.clone())?;
        let (intake, timeout) = (pipeline.intake(), terms.timeout);
        Ok(Self { wide, pipeline, intake, metrics, timeout, taken: Taken::default() })
    }

    /// Takes the rejects of a page, and deletes those that are durable as what they say.
    pub(super) async fn take(&mut self, page: &[Listed]) -> anyhow::Result<Taken> {
        self.page(page).await?;
        Ok(std::mem::take(&mut self.taken))
    }

    /// Ends in order.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        let drained = self.pipeline.drain(Instant::now() + self.timeout).await;
        ensure!(drained.left == 0, "{} messages were not settled; run it again", drained.left);
        Ok(())
    }

    /// Takes a page at once; one after another where some of it is refused by the writer, which says only how many.
    async fn page(&mut self, page: &[Listed]) -> anyhow::Result<()> {
        let places: Vec<RejectPlace> = page.iter().map(|listed| listed.place).collect();
        let refused = self.refused();
        let taken = self.submit(&places).await?;
        if self.refused() == refused {
            return self.delete(&taken).await;
        }
        for place in taken {
            let refused = self.refused();
            let taken = self.submit(&[place]).await?;
            if self.refused() == refused {
                self.delete(&taken).await?;
            } else {
                let detail = "some of it is beyond the limits of sources, metrics or buckets".to_owned();
                self.note(&place, StillRefused { reason: "limits", detail });
            }
        }
        Ok(())
    }

    /// Takes rejects, and gives those of which all is durable now as far as the pipeline knows.
    async fn submit(&mut self, places: &[RejectPlace]) -> anyhow::Result<Vec<RejectPlace>> {
        let mut taken: Vec<(RejectPlace, Completion, Option<StillRefused>)> = Vec::new();
        for place in places {
            let Some(row) = rejects::get(&*self.wide, place).await? else { continue };
            if is_cut(&row) {
                self.taken.cut += 1;
                continue;
            }
            let received_at = replayed_at(&row);
            match self.intake.replay(publish(row), received_at).await? {
                Replayed::Taken { completion, in_part } => taken.push((*place, completion, in_part)),
                Replayed::Refused(refused) => self.note(place, refused),
            }
        }
        let mut whole = Vec::with_capacity(taken.len());
        for (place, completion, in_part) in taken {
            completion.await?;
            match in_part {
                None => whole.push(place),
                Some(refused) => self.note(&place, refused),
            }
        }
        Ok(whole)
    }

    async fn delete(&mut self, places: &[RejectPlace]) -> anyhow::Result<()> {
        for place in places {
            delete(&*self.wide, place).await?;
            self.taken.stored += 1;
        }
        Ok(())
    }

    fn note(&mut self, place: &RejectPlace, StillRefused { reason, detail }: StillRefused) {
        self.taken.refused.push(RefusedAgain { id: place.to_string(), reason: reason.to_owned(), detail });
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
