//! `tidemill demo`: everything in one process on the embedded store, with a simulated fleet over real MQTT, and an
//! account of every message at the end.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use prometheus::Registry;
use tidemill_ingest::metrics::Accounting;
use tidemill_store::model::{Clock, Metric, TimeRange, Timestamp};
use tidemill_store::read::Selector;
use tidemill_store::wide::Wide;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::{Outcome, print};
use crate::cli::{DemoArgs, Role};
use crate::clock::SystemClock;
use crate::config::{Config, RawConfig};
use crate::fleet::{Fleet, FleetOptions, FleetReport, METRICS};
use crate::service::Service;
use crate::shutdown::StopSignals;
use crate::storage;

/// How often the status line is written.
const STATUS_EVERY: Duration = Duration::from_secs(2);
/// Devices measure in milliseconds, so one has at most this many messages a second.
const DEVICE_RATE_MAX: u64 = 1_000;
/// Samples read back at once.
const READ_BACK_CHUNK: u64 = 1_000_000;

/// Runs the demo. `raw` gives what the command line does not.
pub(crate) async fn demo(args: &DemoArgs, mut raw: RawConfig) -> anyhow::Result<Outcome> {
    ensure!(
        args.devices == 0 || u64::from(args.rate) <= u64::from(args.devices) * DEVICE_RATE_MAX,
        "--rate {} is more than {DEVICE_RATE_MAX} a second for each of {} devices; raise --devices",
        args.rate,
        args.devices
    );
    raw.store.embedded.directory = args.data_dir.to_str().context("--data-dir must be UTF-8")?.to_owned();
    raw.ingest.listener.bind = args.mqtt.to_string();
    raw.http.bind = args.http.to_string();
    let config = Config::check(&raw)?;
    let crate::config::Backend::Embedded(options) = config.backend() else {
        anyhow::bail!("the demo runs on the embedded store")
    };
    let stop = StopSignals::install()?;
    let registry = Registry::new();
    let store = storage::open_embedded(options.clone(), &registry).await?;
    let outcome =
        show(storage::decorate(Arc::clone(&store), &registry)?, args, &config, registry, stop).await;
    let closed = store.close().await;
    let outcome = outcome?;
    closed?;
    Ok(outcome)
}

async fn show<W: Wide>(
    wide: Arc<W>,
    args: &DemoArgs,
    config: &Config,
    registry: Registry,
    mut stop: StopSignals,
) -> anyhow::Result<Outcome> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let started_at = clock.now().floor_to_millis();
    let service = Service::start(wide, config, &[Role::Ingest, Role::Mill, Role::Query], registry).await?;
    print(&introduction(args, &service)?)?;
    let (stop_fleet, fleet_stops) = watch::channel(false);
    let fleet = match service.mqtt_address() {
        Some(address) if args.devices > 0 => {
            let options = FleetOptions { address, devices: args.devices, rate: args.rate };
            Some(Fleet::start(options, &clock, &fleet_stops))
        }
        Some(_) | None => None,
    };
    tokio::select! {
        biased;
        _ = stop.next() => {}
        failure = service.failed() => return Err(failure),
        () = sleep_for(args.duration.map(|span| span.0)) => {}
        never = tell_status(&service) => never?,
    }
    stop_fleet.send_replace(true);
    let mut verdict = Ok(());
    if let Some(fleet) = fleet {
        let report = fleet.finish().await;
        verdict = account(&service, &report, started_at, clock.now()).await;
    }
    let accounting = service.accounting();
    let outcome = service.stop().await;
    if let Some(accounting) = accounting {
        print(&conservation(&accounting))?;
    }
    verdict.map(|()| outcome)
}

/// Resolves after `duration`; never where there is none.
async fn sleep_for(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}

fn introduction<W: Wide>(args: &DemoArgs, service: &Service<W>) -> anyhow::Result<String> {
    let http = service.http_address();
    let mqtt = service.mqtt_address().context("the demo listens for devices")?;
    let data = std::path::absolute(&args.data_dir)?;
    let mut text = format!("data   {}\nMQTT   {mqtt}\nHTTP   http://{http}/\n", data.display());
    let device = if args.devices == 0 { "d1" } else { "sensor-00000" };
    write!(
        text,
        "try    curl -s 'http://{http}/v1/latest?device={device}'\n       \
         curl -s 'http://{http}/v1/windows?metric=temperature&device={device}&window=10s&start=-1m'\n       \
         curl -s 'http://{http}/v1/devices?limit=3'\n       \
         mosquitto_pub -p {} -q 1 -t devices/d1/telemetry -m '{{\"temperature\": 21.5}}'\n",
        mqtt.port()
    )?;
    Ok(text)
}

/// Writes a line with rates every now and then.
async fn tell_status<W: Wide>(service: &Service<W>) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(STATUS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let started = Instant::now();
    let (mut before, mut before_at) = (service.accounting().unwrap_or_default(), started);
    loop {
        ticks.tick().await;
        let (now, now_at) = (service.accounting().unwrap_or_default(), Instant::now());
        let millis = u64::try_from((now_at - before_at).as_millis()).unwrap_or(1).max(1);
        let rate = |now: u64, before: u64| (now - before) * 1_000 / millis;
        print(&format!(
            "{:>5} s  received {:>7} msg/s  stored {:>7} msg/s  in flight {:>5}  rejected {}  shed {}\n",
            started.elapsed().as_secs(),
            rate(now.received, before.received),
            rate(now.stored, before.stored),
            now.in_flight,
            now.dead_lettered + now.quarantined,
            now.shed,
        ))?;
        (before, before_at) = (now, now_at);
    }
}

/// Reads back what the fleet was promised and says whether all of it is there.
async fn account<W: Wide>(
    service: &Service<W>,
    fleet: &FleetReport,
    started_at: Timestamp,
    now: Timestamp,
) -> anyhow::Result<()> {
    let promised = fleet.acknowledged * METRICS;
    let end = now.saturating_add(Duration::from_mins(1));
    let found = count_samples(service, TimeRange::new(started_at, end)?, promised).await?;
    let lost = promised.saturating_sub(found);
    print(&format!(
        "fleet: published {}, acknowledged {}, connections lost {}\nread back {found} of {promised} acknowledged \
         samples: {lost} lost\n",
        fleet.published, fleet.acknowledged, fleet.disconnects
    ))?;
    ensure!(lost == 0, "{lost} acknowledged samples cannot be read back");
    Ok(())
}

/// Counts the samples of the fleet's metrics in `range`, a part of it at a time.
async fn count_samples<W: Wide>(
    service: &Service<W>,
    range: TimeRange,
    expected: u64,
) -> anyhow::Result<u64> {
    let reader = service.reader().context("the demo answers queries")?;
    let selector = Selector {
        metrics: ["temperature", "humidity", "pressure", "pulses", "door_open"]
            .into_iter()
            .map(Metric::new)
            .collect::<Result<_, _>>()?,
        ..Selector::default()
    };
    let parts = u32::try_from(expected / READ_BACK_CHUNK + 1).unwrap_or(u32::MAX);
    let step = range.end().saturating_since(range.start()) / parts + Duration::from_nanos(1);
    let (mut start, mut found) = (range.start(), 0);
    while start < range.end() {
        let end = start.saturating_add(step).min(range.end());
        let series = reader.samples(&selector, TimeRange::new(start, end)?).await?;
        let fleet = series.iter().filter(|series| series.source.device().as_str().starts_with("sensor-"));
        found += fleet.map(|series| u64::try_from(series.samples.len()).unwrap_or(u64::MAX)).sum::<u64>();
        start = end;
    }
    Ok(found)
}

fn conservation(accounting: &Accounting) -> String {
    // There is no spool in a demonstration.
    let Accounting { received, stored, duplicate, quarantined, dead_lettered, shed, in_flight, .. } =
        accounting;
    format!(
        "received {received} = stored {stored} + duplicate {duplicate} + quarantined {quarantined} + dead-lettered \
         {dead_lettered} + shed {shed} + in flight {in_flight}\n"
    )
}
