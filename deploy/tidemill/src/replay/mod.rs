//! Publishing the rows of a CSV file over MQTT at QoS 1, with progress, resumable.
//!
//! Rows are acknowledged in order; how many, is kept in a small file beside the CSV, so that a replay that was
//! interrupted goes on with the first row that is not known to be durable. Repeating a row is harmless (I5).

mod checkpoint;
mod rows;

use std::time::Duration;

use anyhow::{Context, bail};
use rumqttc::MqttOptions;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::cli::ReplayArgs;
use crate::publisher::{Progress, Publisher};
use crate::shutdown::StopSignals;
use checkpoint::Checkpoint;
use rows::{Columns, RowReader};

/// Default port of MQTT, where the address names none.
const MQTT_PORT: u16 = 1883;
/// How often progress is told and kept.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Without a single acknowledgement for this long the replay gives up; it can be run again later.
const STALL_TIMEOUT: Duration = Duration::from_mins(1);

/// `tidemill replay`
pub(crate) async fn replay(args: &ReplayArgs, password: Option<String>) -> anyhow::Result<()> {
    let mut rows = RowReader::open(&args.file, &Columns::of(args))?;
    let mut checkpoint = Checkpoint::open(args)?;
    if args.restart {
        checkpoint.reset()?;
    }
    let resumed_at = checkpoint.acknowledged();
    rows.skip(resumed_at)?;
    if resumed_at > 0 {
        tracing::info!(row = resumed_at, "going on where the last replay stopped; --restart starts over");
    }
    let publisher = Publisher::start(mqtt_options(args, password)?);
    let progress = publisher.progress();
    let mut stop = StopSignals::install()?;
    let outcome = tokio::select! {
        biased;
        signal = stop.next() => Err(anyhow::anyhow!("stopped by {signal}; run the same command again to go on")),
        result = publish(args, &mut rows, &publisher) => result,
        result = report(progress.clone(), &mut checkpoint) => result,
    };
    checkpoint.advance(resumed_at + progress.borrow().acknowledged)?;
    publisher.disconnect().await;
    let rows_sent = outcome?;
    tracing::info!(rows = rows_sent, resumed_at, skipped_cells = rows.empty_cells(), "replay complete");
    checkpoint.finish()
}

fn mqtt_options(args: &ReplayArgs, password: Option<String>) -> anyhow::Result<MqttOptions> {
    let (host, port) = match args.broker.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().with_context(|| format!("--broker {:?}", args.broker))?),
        None => (args.broker.as_str(), MQTT_PORT),
    };
    let mut options = MqttOptions::new(format!("tidemill-replay-{}", std::process::id()), host, port);
    if let Some(user) = &args.username {
        options.set_credentials(user, password.unwrap_or_default());
    }
    Ok(options)
}

/// Publishes every row that is left and waits for the last acknowledgement.
async fn publish(args: &ReplayArgs, rows: &mut RowReader, publisher: &Publisher) -> anyhow::Result<u64> {
    let topic = args.topic.replace("{device}", &args.device);
    if topic.contains(['{', '}', '+', '#']) {
        bail!("--topic {:?} must be a topic, with {{device}} as its only placeholder", args.topic);
    }
    let mut pace = args.rate.map(|rate| {
        let mut pace = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        pace
    });
    let mut rows_sent = 0;
    while let Some(payload) = rows.next_payload()? {
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        publisher.publish(&topic, payload).await?;
        rows_sent += 1;
    }
    publisher.acknowledged(rows_sent).await?;
    Ok(rows_sent)
}

/// Tells and keeps the progress; ends only when nothing moves any more.
async fn report(mut progress: watch::Receiver<Progress>, checkpoint: &mut Checkpoint) -> anyhow::Result<u64> {
    let base = checkpoint.acknowledged();
    let (mut last, mut last_move) = (0, Instant::now());
    loop {
        tokio::time::sleep(REPORT_EVERY).await;
        let now = progress.borrow_and_update().clone();
        if now.acknowledged > last {
            (last, last_move) = (now.acknowledged, Instant::now());
            checkpoint.advance(base + last)?;
            tracing::info!(rows = base + last, disconnects = now.disconnects, "acknowledged");
        } else if last_move.elapsed() > STALL_TIMEOUT {
            let reason =
                now.last_error.unwrap_or_else(|| "connected, but nothing is acknowledged".to_owned());
            bail!("no acknowledgement for {STALL_TIMEOUT:?}: {reason}; run the same command again to go on");
        }
    }
}
