//! The reader of the product, beside the plain one: it keeps what it learns (seals for a while, catalog, segments,
//! last samples) between queries, chooses blocks, frames and segments by itself, and must say the same.

use std::sync::Arc;
use std::time::Duration;

use tidemill_store::model::{TimeRange, Timestamp, Value};
use tidemill_store::read::{ReadFailure, ReadLimits, Reader, Selector, Series};
use tidemill_store::rollup::Fields;
use tidemill_store::wide::Wide;
use tokio::time::{Instant, sleep};

use super::judge::Answer;
use crate::random::Random;

/// Far below the grace of collections, by which a query may take long.
const TRUST: Duration = Duration::from_secs(2);

/// What fails for longer will not be mended by asking again.
const PATIENCE: Duration = Duration::from_mins(5);

const MINUTE: Duration = Duration::from_mins(1);

pub(crate) struct Production<W> {
    reader: Reader<W>,
}

impl<W: Wide> Production<W> {
    /// Over `wide`, with a head that forgets now and then.
    pub(crate) fn new(wide: Arc<W>, random: &mut Random) -> Self {
        let limits = ReadLimits {
            seals_trusted_for: TRUST,
            head_bytes_max: random.pick(&[0, 2_000, 1 << 20]),
            folded_from: random.pick(&[1, 3, 64]),
            lasts_bytes_max: random.pick(&[0, 20_000, 1 << 20]),
            ..ReadLimits::default()
        };
        Self { reader: Reader::new(wide, limits) }
    }

    /// All samples of a range.
    pub(crate) async fn read(&self, range: TimeRange) -> Result<Answer, String> {
        let asked = Instant::now();
        loop {
            match self.reader.samples(&Selector::default(), range).await {
                Ok(series) => return Ok(series.into_iter().flat_map(spots).collect()),
                Err(failure) => again_after(failure, asked).await?,
            }
        }
    }

    /// How many samples there are in a range, as rollups of each minute say.
    pub(crate) async fn count(&self, range: TimeRange) -> Result<u64, String> {
        let starts = std::iter::successors(Some(range.start()), |time| Some(time.saturating_add(MINUTE)));
        let cuts: Vec<Timestamp> = starts.take_while(|time| *time <= range.end()).collect();
        let asked = Instant::now();
        loop {
            match self.reader.folds(&Selector::default(), &cuts, Fields::COUNT).await {
                Ok(folds) => {
                    let cells = folds.answer.iter().flat_map(|series| &series.cells);
                    return Ok(cells.map(|(_, state)| state.count()).sum());
                }
                Err(failure) => again_after(failure, asked).await?,
            }
        }
    }
}

/// Waits where the same question may be answered later.
async fn again_after(failure: ReadFailure, asked: Instant) -> Result<(), String> {
    if failure.is_transient() && asked.elapsed() < PATIENCE {
        sleep(Duration::from_millis(50)).await;
        return Ok(());
    }
    Err(format!("the reader fails: {failure}"))
}

fn spots(series: Series) -> impl Iterator<Item = ((String, String, Timestamp), Value)> {
    let (device, metric) = (series.source.device().to_string(), series.metric.to_string());
    series
        .samples
        .into_iter()
        .map(move |sample| ((device.clone(), metric.clone(), sample.time), sample.value))
}
