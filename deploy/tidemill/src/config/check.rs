//! From what operators wrote to what the libraries take, with the rules that span several keys.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tidemill_analytics::api::{ApiLimits, PromqlLimits};
use tidemill_analytics::server::ServerLimits;
use tidemill_ingest::config::{BatchPace, IngestConfig};
use tidemill_ingest::decode::DecodeLimits;
use tidemill_ingest::reject_gate::RejectRates;
use tidemill_ingest::source::listener::{Limits, ListenerConfig, bind_is_allowed};
use tidemill_ingest::source::mqtt::MqttConfig;
use tidemill_store::layout::{BucketWidth, RetentionTimes, ShardCount};
use tidemill_store::mill::MillOptions;
use tidemill_store::read::ReadLimits;
use tidemill_store::wide::Expiry;
use tidemill_store::wide::cql::{Consistency, CqlOptions, Credentials, Keyspace};
use tidemill_store::wide::lsm::LsmOptions;

use super::brokers::brokers;
use super::mill::{mill, retention};
use super::raw::{
    RawBackend, RawCassandra, RawConfig, RawConsistency, RawHttp, RawIngest, RawListener, RawQuery,
};
use super::spool::{SpoolConfig, spool};
use super::templates::templates;
use crate::eras_file::ErasFile;

/// Configuration that can be acted on.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    backend: Backend,
    rejects_retention: Duration,
    first_era: FirstEra,
    ingest: IngestConfig,
    spool: Option<SpoolConfig>,
    listener: Option<ListenerConfig>,
    mqtt: Option<MqttConfig>,
    mill: MillOptions,
    reads: ReadLimits,
    api: ApiLimits,
    http: HttpConfig,
    shutdown_timeout: Duration,
}

/// Which store, with its options.
#[derive(Debug, Clone)]
pub(crate) enum Backend {
    /// In this process.
    Embedded(LsmOptions),
    /// A cluster.
    Cassandra {
        /// How to reach it.
        options: Box<CqlOptions>,
        /// Whether starting up may create or migrate its schema.
        apply_schema: bool,
    },
}

/// How the fleet and time are cut where nothing is installed yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FirstEra {
    /// How many shards.
    pub(crate) shards: ShardCount,
    /// How wide buckets are.
    pub(crate) bucket_width: BucketWidth,
}

/// The HTTP server.
#[derive(Debug, Clone)]
pub(crate) struct HttpConfig {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// What bounds its connections.
    pub(crate) limits: ServerLimits,
}

impl Config {
    /// Judges `raw`; the error names the key and says what it must be.
    pub(crate) fn check(raw: &RawConfig) -> anyhow::Result<Self> {
        let shutdown_timeout = raw.shutdown_timeout.0;
        let retention = retention(&raw.store.retention).context("[store.retention]")?;
        let mut ingest = ingest(&raw.ingest, retention.raw)?;
        ingest.pace.beat = raw.ingest.beat.map_or_else(|| beat(raw.store.backend), |beat| beat.0);
        let mqtt = brokers(&raw.ingest.mqtt, ingest.templates.subscriptions(), shutdown_timeout);
        let listener = listener(&raw.ingest.listener, shutdown_timeout)?;
        let packet_bytes_max = listener.as_ref().map_or(0, |listener| listener.limits.packet_bytes_max);
        ingest.memory.payload_bytes_max =
            packet_bytes_max.max(count("ingest.mqtt.packet_bytes_max", raw.ingest.mqtt.packet_bytes_max)?);
        ensure!(
            ingest.memory.in_flight_bytes_max >= 2 * packet_bytes_max,
            "ingest.memory_bytes_max ({}) must be at least twice ingest.listener.packet_bytes_max ({packet_bytes_max})",
            ingest.memory.in_flight_bytes_max
        );
        ensure!(!raw.store.rejects_retention.0.is_zero(), "store.rejects_retention must be above 0");
        Ok(Self {
            backend: backend(raw, &retention)?,
            rejects_retention: raw.store.rejects_retention.0,
            first_era: first_era(raw)?,
            ingest,
            spool: spool(&raw.ingest)?,
            listener,
            mqtt: mqtt.context("[ingest.mqtt]")?,
            mill: mill(&raw.mill, retention, raw.query.timeout.0).context("[mill]")?,
            reads: reads(&raw.query)?,
            api: api(&raw.query)?,
            http: http(&raw.http, shutdown_timeout)?,
            shutdown_timeout,
        })
    }

    /// How long rejects are kept.
    pub(crate) const fn rejects_retention(&self) -> Duration {
        self.rejects_retention
    }

    /// Which store.
    pub(crate) const fn backend(&self) -> &Backend {
        &self.backend
    }

    /// The first era.
    pub(crate) const fn first_era(&self) -> FirstEra {
        self.first_era
    }

    /// The pipeline.
    pub(crate) const fn ingest(&self) -> &IngestConfig {
        &self.ingest
    }

    /// The spool, where there is one.
    pub(crate) const fn spool(&self) -> Option<&SpoolConfig> {
        self.spool.as_ref()
    }

    /// Where the eras are remembered, where there is a spool.
    pub(crate) fn eras_file(&self) -> Option<ErasFile> {
        let store = match &self.backend {
            Backend::Embedded(options) => format!("embedded {}", options.dir.display()),
            Backend::Cassandra { options, .. } => format!("cassandra {}", options.keyspace.as_str()),
        };
        self.spool.as_ref().map(|spool| ErasFile::new(&spool.directory, store))
    }

    /// The brokers to consume from, where there are any.
    pub(crate) const fn mqtt(&self) -> Option<&MqttConfig> {
        self.mqtt.as_ref()
    }

    /// How what came in is ground, and how long everything is kept.
    pub(crate) const fn mill(&self) -> &MillOptions {
        &self.mill
    }

    /// How much a query may take.
    pub(crate) const fn reads(&self) -> ReadLimits {
        self.reads
    }

    /// How much an answer may hold, and how many are made at once.
    pub(crate) fn api(&self) -> ApiLimits {
        self.api.clone()
    }

    /// The direct listener, where devices may connect.
    pub(crate) const fn listener(&self) -> Option<&ListenerConfig> {
        self.listener.as_ref()
    }

    /// The HTTP server.
    pub(crate) const fn http(&self) -> &HttpConfig {
        &self.http
    }

    /// How long a shutdown may take.
    pub(crate) const fn shutdown_timeout(&self) -> Duration {
        self.shutdown_timeout
    }
}

fn backend(raw: &RawConfig, retention: &RetentionTimes) -> anyhow::Result<Backend> {
    match raw.store.backend {
        RawBackend::Embedded => {
            let directory = &raw.store.embedded.directory;
            ensure!(!directory.is_empty(), "store.embedded.directory is empty; name a directory");
            let mut options = LsmOptions::new(directory);
            options.cache_bytes = raw.store.embedded.cache_bytes_max;
            options.expiry =
                Expiry { ground: retention.clone(), rejects: Some(raw.store.rejects_retention.0) };
            Ok(Backend::Embedded(options))
        }
        RawBackend::Cassandra => {
            let apply_schema = raw.store.cassandra.apply_schema;
            Ok(Backend::Cassandra { options: Box::new(schema_options(raw)?), apply_schema })
        }
    }
}

/// The cluster, whichever backend is chosen.
pub(crate) fn schema_options(raw: &RawConfig) -> anyhow::Result<CqlOptions> {
    let mut options = cassandra(&raw.store.cassandra).context("[store.cassandra]")?;
    options.rejects_retention = raw.store.rejects_retention.0;
    options.retention = retention(&raw.store.retention).context("[store.retention]")?;
    options.check().context("[store.cassandra]")?;
    Ok(options)
}

fn cassandra(raw: &RawCassandra) -> anyhow::Result<CqlOptions> {
    let keyspace = Keyspace::new(&raw.keyspace)?;
    let mut options = CqlOptions::new(raw.contact_points.clone(), keyspace, &raw.local_datacenter, 1);
    if !raw.replication.is_empty() {
        options.replication.clone_from(&raw.replication);
    }
    options.credentials = match (&raw.username, &raw.password) {
        (Some(username), Some(password)) => {
            Some(Credentials { username: username.clone(), password: password.clone() })
        }
        (None, None) => None,
        (Some(_), None) => bail!("username is given without password"),
        (None, Some(_)) => bail!("password is given without username"),
    };
    let consistency = match raw.consistency {
        RawConsistency::LocalOne => Consistency::LocalOne,
        RawConsistency::LocalQuorum => Consistency::LocalQuorum,
        RawConsistency::Quorum => Consistency::Quorum,
    };
    options.write_consistency = consistency;
    options.read_consistency = consistency;
    options.connections_per_host =
        NonZeroU16::new(raw.connections_per_host).context("connections_per_host must be at least 1")?;
    options.in_flight_max = NonZeroU16::new(raw.in_flight_max).context("in_flight_max must be at least 1")?;
    options.connect_timeout = raw.connect_timeout.0;
    options.request_timeout = raw.request_timeout.0;
    Ok(options)
}

fn first_era(raw: &RawConfig) -> anyhow::Result<FirstEra> {
    let era = &raw.store.first_era;
    Ok(FirstEra {
        shards: ShardCount::new(era.shards).context("store.first_era.shards")?,
        bucket_width: BucketWidth::new(era.bucket_width.0).context("store.first_era.bucket_width")?,
    })
}

/// How long busy shards let messages collect where nothing else is said: a write costs Cassandra half a millisecond of
/// a processor whatever is in it, which is as much as a few hundred messages.
const fn beat(backend: RawBackend) -> Duration {
    match backend {
        RawBackend::Embedded => BatchPace::BEAT_DEFAULT,
        RawBackend::Cassandra => Duration::from_millis(20),
    }
}

/// Raw samples are `kept` for so long: what would be gone at once is not taken.
fn ingest(raw: &RawIngest, kept: Option<Duration>) -> anyhow::Result<IngestConfig> {
    let mut config = IngestConfig::new(templates(raw, kept)?);
    config.memory.in_flight_bytes_max = count("ingest.memory_bytes_max", raw.memory_bytes_max)?;
    config.rejects.payload_bytes_max =
        count("ingest.reject_payload_bytes_max", raw.reject_payload_bytes_max)?;
    config.append.idle_max = raw.bucket_idle.0;
    config.rejects.rates = RejectRates {
        device_bytes_per_day_max: raw.reject_device_bytes_per_day_max,
        bytes_per_day_max: raw.reject_bytes_per_day_max,
    };
    config.rejects.waiting_bytes_max = raw.reject_waiting_bytes_max;
    config.append.catalog.sources_max = count("ingest.sources_per_shard_max", raw.sources_per_shard_max)?;
    config.decode = DecodeLimits {
        depth_max: count("ingest.message.depth_max", raw.message.depth_max)?,
        metrics_max: count("ingest.message.metrics_max", raw.message.metrics_max)?,
        elements_max: count("ingest.message.points_max", raw.message.points_max)?,
        text_bytes_max: count("ingest.message.text_bytes_max", raw.message.text_bytes_max)?,
        ..DecodeLimits::default()
    };
    config.check().context("[ingest]")?;
    Ok(config)
}

fn reads(raw: &RawQuery) -> anyhow::Result<ReadLimits> {
    let defaults = ReadLimits::default();
    Ok(ReadLimits {
        samples_max: count("query.samples_max", raw.samples_max)?,
        // Time and value of each.
        bytes_max: count("query.samples_max", raw.samples_max.saturating_mul(16))?.max(defaults.bytes_max),
        head_bytes_max: count("query.head_bytes_max", raw.head_bytes_max)?,
        ..defaults
    })
}

fn api(raw: &RawQuery) -> anyhow::Result<ApiLimits> {
    ensure!(!raw.timeout.0.is_zero(), "query.timeout must be positive");
    ensure!(!raw.lookback_delta.0.is_zero(), "query.lookback_delta must be positive");
    if let Some((metric, _)) = raw.intervals.iter().find(|(_, interval)| interval.0.is_zero()) {
        bail!("query.intervals: the interval of {metric:?} must be positive");
    }
    let promql = PromqlLimits {
        lookback_delta: raw.lookback_delta.0,
        intervals: raw.intervals.iter().map(|(metric, interval)| (metric.clone(), interval.0)).collect(),
        // What evaluation makes of samples counts like samples.
        samples_max: count("query.samples_max", raw.samples_max.saturating_mul(2))?,
        points_max: count("query.points_max", raw.points_max)?,
    };
    Ok(ApiLimits {
        queries_max: count("query.concurrency_max", raw.concurrency_max)?,
        queue_max: usize::try_from(raw.queue_max).context("query.queue_max is too large")?,
        queue_wait_max: raw.queue_wait.0,
        query_timeout: raw.timeout.0,
        response_bytes_max: count("query.response_bytes_max", raw.response_bytes_max)?,
        series_max: count("query.series_max", raw.series_max)?,
        promql,
        ..ApiLimits::default()
    })
}

fn listener(raw: &RawListener, drain_timeout: Duration) -> anyhow::Result<Option<ListenerConfig>> {
    if !raw.enabled {
        return Ok(None);
    }
    let address = bind_address("ingest.listener", &raw.bind, raw.insecure_allow_remote)?;
    let limits = Limits {
        connections_max: count("ingest.listener.connections_max", raw.connections_max)?,
        packet_bytes_max: count("ingest.listener.packet_bytes_max", raw.packet_bytes_max)?,
        in_flight_messages_max: in_flight("ingest.listener.in_flight_max", raw.in_flight_max)?,
        in_flight_bytes_max: count("ingest.listener.in_flight_bytes_max", raw.in_flight_bytes_max)?,
        connect_timeout: raw.connect_timeout.0,
        idle_timeout: raw.idle_timeout.0,
        drain_timeout,
        ..Limits::default()
    };
    ensure!(
        limits.in_flight_bytes_max >= limits.packet_bytes_max,
        "ingest.listener.in_flight_bytes_max ({}) must be at least ingest.listener.packet_bytes_max ({})",
        limits.in_flight_bytes_max,
        limits.packet_bytes_max
    );
    Ok(Some(ListenerConfig { address, limits }))
}

fn http(raw: &RawHttp, drain_timeout: Duration) -> anyhow::Result<HttpConfig> {
    let address = bind_address("http", &raw.bind, raw.insecure_allow_remote)?;
    let limits = ServerLimits {
        connections_max: count("http.connections_max", raw.connections_max)?,
        head_timeout: raw.header_timeout.0,
        body_bytes_max: raw.body_bytes_max,
        drain_timeout,
        ..ServerLimits::default()
    };
    Ok(HttpConfig { address, limits })
}

/// An address to listen on. Without authentication only this machine may reach it, unless said otherwise.
fn bind_address(section: &str, text: &str, insecure_allow_remote: bool) -> anyhow::Result<SocketAddr> {
    let address: SocketAddr = text
        .parse()
        .with_context(|| format!("{section}.bind {text:?} is not an address such as 127.0.0.1:9470"))?;
    ensure!(
        bind_is_allowed(address, insecure_allow_remote),
        "{section}.bind {address} can be reached by other machines and there is no authentication; bind a loopback \
         address, or set {section}.insecure_allow_remote = true where the network is trusted"
    );
    Ok(address)
}

/// A limit that must let something through.
pub(super) fn count(key: &str, number: u64) -> anyhow::Result<usize> {
    ensure!(number > 0, "{key} must be at least 1");
    usize::try_from(number).with_context(|| format!("{key} is too large"))
}

/// A receive maximum of MQTT.
pub(super) fn in_flight(key: &str, number: u64) -> anyhow::Result<NonZeroU16> {
    let number = u16::try_from(number).ok().and_then(NonZeroU16::new);
    number.with_context(|| format!("{key} must be between 1 and 65535"))
}
