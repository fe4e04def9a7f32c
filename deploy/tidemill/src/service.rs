//! The parts of a running process: how they are put together, and in which order they end.
//!
//! From the store up: eras, pipeline, the sources that feed it, the mill, the HTTP server. They end the other way
//! round but for HTTP, which stays to the last so that the end can be watched: sources stop taking and acknowledge
//! what becomes durable, then the pipeline is drained (I1), then the mill gives its shards back, then HTTP closes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::Router;
use prometheus::Registry;
use prometheus::process_collector::ProcessCollector;
use tidemill_analytics::api::{ApiState, operator_router, rejects_router, router};
use tidemill_analytics::server::{Drained, Server};
use tidemill_ingest::metrics::{Accounting, IngestMetrics};
use tidemill_ingest::pipeline::{Pipeline, PipelineParts};
use tidemill_ingest::source::listener::{AllowAll, Listener, ListenerMetrics, ListenerReport};
use tidemill_ingest::source::mqtt::{MqttMetrics, MqttReport, MqttSource};
use tidemill_ingest::spool::Spool;
use tidemill_store::append::AppendMetrics;
use tidemill_store::layout::{Eras, KnownEras, install_eras};
use tidemill_store::mill::{Mill, MillMetrics};
use tidemill_store::model::{Clock, Timestamp};
use tidemill_store::read::{ReadOptions, Reader, Told};
use tidemill_store::wide::{Retrying, Wide};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::cli::Role;
use crate::clock::{SystemClock, fresh_writer, random_bits};
use crate::commands::{Outcome, rejects};
use crate::config::Config;
use crate::eras_file::ErasFile;
use crate::health::Health;
use crate::query_threads::QueryThreads;
use crate::status;
use crate::storage;
use crate::waiting;

/// Time that is kept back from the shutdown for the pipeline's own end, after its sources ended.
const DRAIN_RESERVE: Duration = Duration::from_secs(1);

/// The store as queries see it.
type Patient<W> = Retrying<Arc<W>>;

/// A running process.
pub(crate) struct Service<W> {
    ingest: Option<Ingest>,
    mill: Option<Part<()>>,
    query: Option<Arc<Reader<Patient<W>>>>,
    http: Http,
    watchdogs: Vec<JoinHandle<()>>,
    rejects: Arc<rejects::Desk<W>>,
    shutdown_timeout: Duration,
}

/// Pipeline and sources.
struct Ingest {
    pipeline: Arc<Pipeline>,
    remembering: Option<JoinHandle<()>>,
    metrics: IngestMetrics,
    listener: Option<Part<ListenerReport>>,
    listener_address: Option<SocketAddr>,
    mqtt: Option<Part<MqttReport>>,
}

/// The HTTP server.
struct Http {
    address: SocketAddr,
    part: Part<Drained>,
    /// What keeps the reader up to date between queries.
    following: Option<JoinHandle<()>>,
    /// Where both run; last, so that they end before it.
    _threads: QueryThreads,
}

/// A task that ends when it is told to.
struct Part<T> {
    stop: watch::Sender<bool>,
    task: JoinHandle<T>,
}

impl<T: Send + 'static> Part<T> {
    /// Starts what `run` makes of the future that resolves when the part shall end.
    fn start<F: Future<Output = T> + Send + 'static>(run: impl FnOnce(StopSignal) -> F) -> Self {
        Self::start_on(&Handle::current(), run)
    }

    /// The same on other threads.
    fn start_on<F: Future<Output = T> + Send + 'static>(
        threads: &Handle,
        run: impl FnOnce(StopSignal) -> F,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        Self { stop, task: threads.spawn(run(StopSignal(stopped))) }
    }

    /// Tells the part to end and waits for its report.
    async fn end(self) -> anyhow::Result<T> {
        self.stop.send_replace(true);
        Ok(self.task.await?)
    }
}

/// Tells a part when to end.
struct StopSignal(watch::Receiver<bool>);

impl StopSignal {
    async fn stopped(mut self) {
        // A sender that is gone means that nobody waits for the part any more.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

impl<W: Wide> Service<W> {
    /// Starts the parts that `roles` name on an opened store.
    pub(crate) async fn start(
        wide: Arc<W>,
        config: &Config,
        roles: &[Role],
        registry: Registry,
    ) -> anyhow::Result<Self> {
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let (known, store) = known_eras(&*wide, config, roles).await?;
        let (eras, health) = (Arc::clone(&known.eras), Health::new(store));
        let patient = Arc::new(storage::patient(Arc::clone(&wide), &registry)?);
        let options = ReadOptions {
            resolutions: config.mill().resolutions.clone(),
            retention: config.mill().retention.clone(),
            clock: Some(Arc::new(SystemClock)),
        };
        let reader = Arc::new(Reader::with(Arc::clone(&patient), config.reads(), options));
        let mill = Arc::new(new_mill(Arc::clone(&wide), Arc::clone(&eras), config, &registry)?);
        let (counts, spool) = (IngestMetrics::default(), config.spool());
        let spool = match spool.filter(|_| roles.contains(&Role::Ingest)) {
            Some(spool) => Some(storage::open_spool(spool, &registry, &counts).await?),
            None => None,
        };
        let rejects = Arc::new(rejects::Desk::new(Arc::clone(&wide), rejects::Terms::of(config)));
        let routes = status::routes(Arc::clone(&mill), spool.clone(), counts.clone());
        let routes = routes.merge(rejects::routes(&rejects));
        let shown = (&registry, &health, &counts, spool.clone());
        let serve_http = Http::bind((Arc::clone(&reader), patient), routes, config, roles, shown).await?;
        let ingest = match (roles.contains(&Role::Ingest), roles.contains(&Role::Query)) {
            (true, true) => {
                // Queries of this process are told of every segment, so that they need not look for it.
                let told = Arc::new(Told::new(Arc::clone(&wide), reader.follow(Arc::clone(&eras))));
                Some(Ingest::start((told, known), config, (&registry, counts.clone()), spool.clone()).await?)
            }
            (true, false) => Some(
                Ingest::start((Arc::clone(&wide), known), config, (&registry, counts.clone()), spool.clone())
                    .await?,
            ),
            (false, _) => None,
        };
        let mut watchdogs = vec![health.watch(Arc::clone(&wide))];
        if ingest.is_none() {
            watchdogs.push(waiting::watch(wide, config.rejects_retention(), counts.clone()));
        }
        let mill =
            roles.contains(&Role::Mill).then(|| Part::start(|stop| async move { mill.run(stop.0).await }));
        Ok(Self {
            ingest,
            mill,
            query: roles.contains(&Role::Query).then_some(reader),
            // Last: who is told that it is ready can connect devices.
            http: serve_http(),
            watchdogs,
            rejects,
            shutdown_timeout: config.shutdown_timeout(),
        })
    }

    /// Where devices connect, if they do.
    pub(crate) fn mqtt_address(&self) -> Option<SocketAddr> {
        self.ingest.as_ref().and_then(|ingest| ingest.listener_address)
    }

    /// Where HTTP is served.
    pub(crate) const fn http_address(&self) -> SocketAddr {
        self.http.address
    }

    /// What queries read through.
    pub(crate) const fn reader(&self) -> Option<&Arc<Reader<Patient<W>>>> {
        self.query.as_ref()
    }

    /// What became of all messages so far.
    pub(crate) fn accounting(&self) -> Option<Accounting> {
        self.ingest.as_ref().map(|ingest| ingest.metrics.messages())
    }

    /// Resolves when the service can go on no more. Cancel safe.
    pub(crate) async fn failed(&self) -> anyhow::Error {
        match &self.ingest {
            Some(ingest) => anyhow::Error::new(ingest.pipeline.failed().await).context("ingest cannot go on"),
            None => std::future::pending().await,
        }
    }

    /// Stops in order, within the configured time.
    pub(crate) async fn stop(self) -> Outcome {
        let deadline = Instant::now() + self.shutdown_timeout + DRAIN_RESERVE;
        let outcome = match self.ingest {
            Some(ingest) => ingest.stop(deadline).await,
            None => Outcome::Complete,
        };
        if let Some(mill) = self.mill
            && let Err(error) = mill.end().await
        {
            tracing::error!(%error, "the mill failed");
        }
        self.watchdogs.iter().for_each(JoinHandle::abort);
        if let Some(following) = self.http.following {
            following.abort();
        }
        match self.http.part.end().await {
            Ok(Drained { cut: 0 }) => {}
            Ok(Drained { cut }) => tracing::warn!(cut, "requests were cut because they did not end in time"),
            Err(error) => tracing::error!(%error, "the HTTP server failed"),
        }
        self.rejects.close().await;
        outcome
    }
}

/// The eras of the store; as they were known last where the store is out of reach, which is also given, and there is a
/// spool that remembers.
async fn known_eras<W: Wide>(
    wide: &W,
    config: &Config,
    roles: &[Role],
) -> anyhow::Result<(KnownEras, Result<(), String>)> {
    let (era, read_at) = (config.first_era(), SystemClock.now());
    let failure = match install_eras(wide, era.shards, era.bucket_width).await {
        Ok(eras) => return Ok((KnownEras::read_at(Arc::new(eras), read_at), Ok(()))),
        Err(failure) => failure,
    };
    let file = config.eras_file().filter(|_| failure.is_transient() && roles.contains(&Role::Ingest));
    let Some(known) = file.and_then(|file| file.read()) else { return Err(failure.into()) };
    tracing::warn!(until = ?known.complete_until, "the store is out of reach: eras are those of an earlier start");
    Ok((known, Err(failure.to_string())))
}

/// How often it is looked whether eras are known further ahead.
const REMEMBER_EVERY: Duration = Duration::from_secs(10);

/// Remembers the eras for a start without the store, until aborted.
async fn remember_eras(file: ErasFile, pipeline: Arc<Pipeline>) {
    let mut until: Option<Timestamp> = None;
    loop {
        let known = pipeline.eras();
        if until != Some(known.complete_until) {
            let (file, written) = (file.clone(), known.clone());
            match tokio::task::spawn_blocking(move || file.write(&written)).await {
                Ok(Ok(())) => until = Some(known.complete_until),
                Ok(Err(error)) => tracing::warn!(%error, "the eras were not noted beside the spool"),
                Err(_) => return,
            }
        }
        tokio::time::sleep(REMEMBER_EVERY).await;
    }
}

/// The mill of this process; it does nothing until it runs.
fn new_mill<W: Wide>(
    wide: Arc<W>,
    eras: Arc<Eras>,
    config: &Config,
    registry: &Registry,
) -> anyhow::Result<Mill<W>> {
    let metrics = MillMetrics::register(registry)?;
    let name = format!("mill-{:016x}", random_bits()?);
    Ok(Mill::new(wide, eras, name, config.mill().clone(), Arc::new(SystemClock), metrics))
}

impl Http {
    /// Takes the address; what is returned starts to answer on it, `more` beside the API.
    async fn bind<W: Wide>(
        (reader, store): (Arc<Reader<W>>, Arc<W>),
        more: Router,
        config: &Config,
        roles: &[Role],
        (registry, health, counts, spool): (&Registry, &Health, &IngestMetrics, Option<Spool>),
    ) -> anyhow::Result<impl FnOnce() -> Self> {
        let follow = roles.contains(&Role::Query).then(|| Arc::clone(&reader));
        let state = ApiState::new(
            reader,
            Arc::new(SystemClock),
            config.api(),
            registry,
            health.probe(spool.clone()),
        )?;
        let skews = counts.clone();
        state.tell_skews(Arc::new(move |source| skews.device_skew(source)));
        let http = config.http();
        let threads = QueryThreads::start().context("cannot start threads for queries")?;
        let (limits, metrics, bind) = (http.limits.clone(), state.metrics(), http.address);
        // Where it is bound, there it is served.
        let server = threads.handle().spawn(async move { Server::bind(bind, limits, metrics).await });
        let server = server.await??;
        let address = server.local_addr();
        let routes = if roles.contains(&Role::Query) {
            router(state.clone()).merge(rejects_router(state, store))
        } else {
            operator_router(state)
        };
        let routes = status::naming_what_waits(routes.merge(more), spool, counts.clone());
        Ok(move || {
            tracing::info!(%address, "listening for HTTP");
            let handle = threads.handle();
            let following = follow.map(|reader| handle.spawn(async move { reader.keep_up().await }));
            let part = Part::start_on(&handle, |stop| server.run(routes, stop.stopped()));
            Self { address, part, following, _threads: threads }
        })
    }
}

impl Ingest {
    async fn start<W: Wide>(
        (wide, eras): (Arc<W>, KnownEras),
        config: &Config,
        (registry, metrics): (&Registry, IngestMetrics),
        spool: Option<Spool>,
    ) -> anyhow::Result<Self> {
        ensure!(
            config.listener().is_some() || config.mqtt().is_some(),
            "ingest has no source: set ingest.listener.enabled = true or name ingest.mqtt.brokers"
        );
        metrics.register(registry)?;
        let parts = PipelineParts {
            wide,
            eras,
            writer: fresh_writer()?,
            clock: Arc::new(SystemClock),
            metrics: metrics.clone(),
            append_metrics: AppendMetrics::register(registry)?,
            spool,
        };
        let pipeline = Arc::new(Pipeline::start(parts, config.ingest().clone())?);
        let remembering =
            config.eras_file().map(|file| tokio::spawn(remember_eras(file, Arc::clone(&pipeline))));
        let mut ingest =
            Self { pipeline, remembering, metrics, listener: None, listener_address: None, mqtt: None };
        if let Some(listener) = config.listener() {
            let listener = Listener::bind(listener.clone(), ListenerMetrics::register(registry)?).await?;
            ingest.listener_address = Some(listener.local_addr());
            let intake = ingest.pipeline.intake();
            ingest.listener = Some(Part::start(|stop| listener.run(intake, AllowAll, stop.stopped())));
        }
        if let Some(mqtt) = config.mqtt() {
            let source =
                MqttSource::new(mqtt.clone(), MqttMetrics::register(registry)?).context("[ingest.mqtt]")?;
            let source = source.publishing(ingest.pipeline.commands());
            let intake = ingest.pipeline.intake();
            ingest.mqtt = Some(Part::start(|stop| source.run(intake, stop.stopped())));
        }
        Ok(ingest)
    }

    /// Both sources at once, then the pipeline.
    async fn stop(self, deadline: Instant) -> Outcome {
        let (listener, mqtt) = tokio::join!(end(self.listener), end(self.mqtt));
        let unacknowledged = listener.map_or(0, |report| report.unacknowledged)
            + mqtt.map_or(0, |report| report.unacknowledged);
        if let Some(remembering) = self.remembering {
            remembering.abort();
        }
        let drained = self.pipeline.drain(deadline).await;
        if unacknowledged == 0 && drained.left == 0 {
            tracing::info!("stopped; everything that was taken is durable and acknowledged");
            return Outcome::Complete;
        }
        tracing::warn!(
            unacknowledged,
            left = drained.left,
            "stopped with messages left; their senders repeat them"
        );
        Outcome::LeftUnacknowledged
    }
}

/// Ends a part if there is one; a part that failed has no report.
async fn end<T: Send + 'static>(part: Option<Part<T>>) -> Option<T> {
    match part?.end().await {
        Ok(report) => Some(report),
        Err(error) => {
            tracing::error!(%error, "a source failed");
            None
        }
    }
}
