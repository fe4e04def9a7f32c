//! What a run consists of, and how it goes: writers, mills that crash, readers that judge; then quiet, until all is
//! ground and collected; then the last judgement.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering as Atomic};
use std::sync::{Arc, Mutex};
use std::task::{Poll, ready};
use std::time::Duration;

use tidemill_store::layout::tables::{BLOCKS, MARKS, SEGMENTS};
use tidemill_store::layout::{
    BlockRow, Bucket, Eras, MarkRow, Period, Place, Resolution, SealRow, SegmentRow, ShardCount, install_eras,
};
use tidemill_store::mill::{GrindTimes, LeaseTimes, Mill, MillMetrics, MillOptions};
use tidemill_store::model::{Clock, Shard, TimeRange, Timestamp};
use tidemill_store::wide::{FaultRates, Faults, Faulty, Scan, Wide};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep};

use super::FINISH_MAX;
use super::judge::{Answer, Judge};
use super::plain::{Order, Pace, Plain};
use super::production::Production;
use super::sabotage::{Sabotage, Sabotaged};
use super::spy::Spy;
use super::writers::Writer;
use crate::bench::{HOUR, hour, rows, seconds};
use crate::random::Random;

/// When a run begins: the first bucket is over, the second ends soon.
const START: i64 = 7_100;
const SHARDS: u16 = 2;
/// Longer than any read of a plain reader.
const GRACE: Duration = Duration::from_secs(10);

/// What mills may do wrong.
const MILLS: [Sabotage; 7] = [
    Sabotage::SameGeneration,
    Sabotage::NoCompareAndSet,
    Sabotage::NoNewVersion,
    Sabotage::DeleteBeforeSeal,
    Sabotage::ClearOpenMark,
    Sabotage::DeleteNewerMark,
    Sabotage::SealWithoutCatalog,
];

type Store = Faulty<Spy>;
type Seen = Sabotaged<Store>;

/// A clock that goes right and shows the wrong time.
#[derive(Debug, Clone)]
pub(crate) struct SkewedClock {
    began: Instant,
    shown: Timestamp,
}

impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        self.shown.saturating_add(self.began.elapsed())
    }
}

pub(crate) struct World {
    spy: Spy,
    store: Arc<Store>,
    faults: Faults,
    eras: Arc<Eras>,
    judge: Arc<Mutex<Judge>>,
    random: Random,
    sabotage: Option<Sabotage>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    mistakes: Mutex<Vec<String>>,
    is_quiet: AtomicBool,
    crashes: AtomicU64,
}

/// How a run went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) mistakes: Vec<String>,
    pub(crate) digest: u64,
    pub(crate) seals: u64,
    pub(crate) faults: u64,
    pub(crate) crashes: u64,
}

impl World {
    pub(crate) async fn new(seed: u64, sabotage: Option<Sabotage>) -> Self {
        let (spy, faults, mut random) = (Spy::default(), Faults::new(seed), Random::new(seed));
        let eras = install_eras(&spy, ShardCount::new(SHARDS.into()).unwrap(), hour()).await.unwrap();
        let store = Arc::new(Faulty::new(spy.clone(), faults.clone()));
        faults.set_rates(FaultRates {
            not_applied: 30,
            unknown_applied: 30,
            unknown_lost: 30,
            unknown_late: 30,
            read_unavailable: 20,
            delayed: 300,
            delay_max: Duration::from_millis(1 + random.below(100)),
            lose_one_in: None,
        });
        let (eras, judge, state) = (Arc::new(eras), Arc::default(), Arc::default());
        Self { spy, store, faults, eras, judge, random, sabotage, state }
    }

    pub(crate) async fn run(mut self) -> Verdict {
        let writers = [["a", "b", "both"], ["c", "d", "both"]].map(|devices| self.writer(devices));
        let (stop, stopped) = watch::channel(false);
        let mills = [0, 1].map(|n| self.mill(n, stopped.clone()));
        let readers = [0, 1].map(|_| self.reader());
        let production = self.production();
        let operator = self.operator();
        let mut panics = 0;
        for writer in writers {
            panics += usize::from(writer.await.is_err());
        }
        self.faults.set_rates(FaultRates::default());
        self.state.is_quiet.store(true, Atomic::Relaxed);
        panics += usize::from(operator.await.is_err());
        let mut old_readers = Vec::new();
        for reader in readers {
            match reader.await {
                Ok(reader) => old_readers.push(reader),
                Err(_panicked) => panics += 1,
            }
        }
        let production = production.await.ok();
        panics += usize::from(production.is_none());
        self.finish(&mills).await;
        for reader in &mut old_readers {
            self.judge_at_rest(reader).await;
        }
        if let Some(production) = production {
            self.judge_production_at_rest(&production).await;
        }
        self.verify().await;
        // In which order those who are told to stop hear of it is not for the seed to say.
        let digest = self.spy.digest();
        stop.send(true).unwrap();
        for mill in mills {
            panics += usize::from(mill.await.is_err());
        }
        let mut mistakes = std::mem::take(&mut *self.state.mistakes.lock().unwrap());
        mistakes.extend((panics > 0).then(|| format!("{panics} tasks panicked")));
        let crashes = self.state.crashes.load(Atomic::Relaxed);
        let faults = self.faults.counts().writes;
        Verdict { mistakes, digest, seals: self.spy.seals(), faults, crashes }
    }

    /// Waits until everything is ground and collected.
    async fn finish(&mut self, mills: &[JoinHandle<()>]) {
        let began = Instant::now();
        loop {
            let left = self.left().await;
            if left.is_empty() || mills.iter().any(JoinHandle::is_finished) {
                return;
            }
            // Once something is wrong it is of no use to wait.
            if began.elapsed() > FINISH_MAX || !self.state.mistakes.lock().unwrap().is_empty() {
                self.state.mistakes.lock().unwrap().push(format!("not live: {left:?}"));
                return;
            }
            sleep(Duration::from_secs(20)).await;
        }
    }

    /// What is not ground or not collected.
    async fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for shard in (0..SHARDS).map(Shard::new) {
            let marks = rows(&self.spy, Scan::partition(&MARKS, MarkRow::partition(shard))).await;
            left.extend(marks.iter().map(|mark| format!("{mark:?}")));
        }
        for place in places() {
            let segments = rows(&self.spy, Scan::partition(&SEGMENTS, SegmentRow::partition(place))).await;
            left.extend((!segments.is_empty()).then(|| format!("{} segments of {place:?}", segments.len())));
            let seal = self.seal(place).await;
            left.extend(
                seal.iter().filter(|seal| seal.summary.garbage_bytes > 0).map(|seal| format!("{seal:?}")),
            );
            let blocks = rows(&self.spy, Scan::partition(&BLOCKS, BlockRow::partition(place))).await;
            for row in blocks {
                let generation = BlockRow::from_row(&row).unwrap().generation;
                // An attempt that was paused may come after the collection; only the next one finds it.
                let is_older = seal.as_ref().is_some_and(|seal| generation.version < seal.generation.version);
                left.extend(is_older.then(|| format!("{generation:?} of {place:?}")));
            }
        }
        left
    }

    async fn seal(&self, place: Place) -> Option<SealRow> {
        let partition = SealRow::partition(place.shard, Period::of_seal(place.bucket, hour()));
        let key = SealRow::key(place.bucket);
        let row = self.spy.get(&tidemill_store::layout::tables::SEALS, &partition, &key).await.unwrap();
        row.map(|row| SealRow::from_row(&row, hour()).unwrap())
    }

    /// An old reader and a new one give the same, and it is what was acknowledged.
    async fn judge_at_rest(&mut self, old: &mut Plain<Store>) {
        let mut new = Plain::new(Arc::clone(&self.store), Order::MarksFirst, 0);
        for place in places() {
            let acked = self.judge.lock().unwrap().acked();
            let answers = (old.read(place, Pace::Fast).await, new.read(place, Pace::Fast).await);
            let mut mistakes = self.state.mistakes.lock().unwrap();
            mistakes.extend((answers.0 != answers.1).then(|| format!("readers differ at {place:?}")));
            let judge = self.judge.lock().unwrap();
            mistakes.extend(judged(&judge, &acked, answers.1, place, &self.eras));
        }
    }

    /// The product's reader gives what a plain one gives, and its rollups count as many.
    async fn judge_production_at_rest(&mut self, production: &Production<Store>) {
        let mut plain = Plain::new(Arc::clone(&self.store), Order::MarksFirst, 0);
        for range in hours() {
            let mut expected = Answer::new();
            for place in places().filter(|place| place.bucket.start() == range.start()) {
                expected.extend(plain.read(place, Pace::Fast).await.unwrap_or_default());
            }
            let answer = production.read(range).await;
            let count = production.count(range).await;
            let is_counted = count.as_ref().ok() == u64::try_from(expected.len()).ok().as_ref();
            let mut mistakes = self.state.mistakes.lock().unwrap();
            mistakes.extend((!is_counted).then(|| format!("{count:?} in rollups of {}", expected.len())));
            mistakes.extend(
                (answer != Ok(expected)).then(|| format!("the product's reader differs in {range:?}")),
            );
        }
    }

    /// All frames say what their samples say.
    async fn verify(&mut self) {
        let metrics = MillMetrics::register(&prometheus::Registry::new()).unwrap();
        let (options, clock) = (self.options(), Arc::new(self.clock()));
        let (store, eras) = (Arc::clone(&self.store), Arc::clone(&self.eras));
        let mill = Mill::new(store, eras, "verifier".into(), options, clock, metrics);
        let mut run = mill.verify(TimeRange::ALL, None);
        while let Some(checked) = run.next().await.unwrap() {
            let differences = checked.differences.iter().map(|difference| format!("{difference:?}"));
            self.state.mistakes.lock().unwrap().extend(differences);
        }
    }

    fn clock(&mut self) -> SkewedClock {
        let skew = i64::try_from(self.random.below(240)).unwrap() - 120;
        SkewedClock { began: Instant::now(), shown: seconds(START + skew) }
    }

    /// The store as those see it who break the rule.
    fn seen(&self, breakers: &[Sabotage]) -> Arc<Seen> {
        let sabotage = self.sabotage.filter(|sabotage| breakers.contains(sabotage));
        Arc::new(Sabotaged::new(Arc::clone(&self.store), sabotage))
    }

    fn writer(&mut self, devices: [&'static str; 3]) -> JoinHandle<()> {
        let store = self.seen(&[Sabotage::CatalogAfterSegment, Sabotage::CatalogWithoutMark]);
        let (clock, seed) = (self.clock(), self.random.next());
        let (eras, judge) = (Arc::clone(&self.eras), Arc::clone(&self.judge));
        tokio::spawn(Writer::new(store, eras, judge, clock, (seed, devices)).run(40))
    }

    fn reader(&mut self) -> JoinHandle<Plain<Store>> {
        let order =
            if self.sabotage == Some(Sabotage::ReadSealFirst) { Order::SealFirst } else { Order::MarksFirst };
        let mut reader = Plain::new(Arc::clone(&self.store), order, self.random.next());
        let (judge, state, eras) = (Arc::clone(&self.judge), Arc::clone(&self.state), Arc::clone(&self.eras));
        let mut random = Random::new(self.random.next());
        tokio::spawn(async move {
            let places: Vec<Place> = places().collect();
            while !state.is_quiet.load(Atomic::Relaxed) {
                let place = random.pick(&places);
                let acked = judge.lock().unwrap().acked();
                let answer = reader.read(place, Pace::Slow).await;
                let found = judged(&judge.lock().unwrap(), &acked, answer, place, &eras);
                state.mistakes.lock().unwrap().extend(found);
                sleep(Duration::from_millis(random.below(200))).await;
            }
            reader
        })
    }

    /// The product's reader, which is asked for whole hours.
    fn production(&mut self) -> JoinHandle<Production<Store>> {
        let mut random = Random::new(self.random.next());
        let production = Production::new(Arc::clone(&self.store), &mut random);
        let (judge, state) = (Arc::clone(&self.judge), Arc::clone(&self.state));
        tokio::spawn(async move {
            let hours: Vec<TimeRange> = hours().collect();
            while !state.is_quiet.load(Atomic::Relaxed) {
                let range = random.pick(&hours);
                let acked = judge.lock().unwrap().acked();
                let answer = production.read(range).await;
                let found =
                    judge.lock().unwrap().judged(&acked, answer, |(_, _, time)| range.contains(*time));
                state.mistakes.lock().unwrap().extend(found);
                sleep(Duration::from_millis(random.below(400))).await;
            }
            production
        })
    }

    /// One who grinds by hand, whoever has the leases.
    fn operator(&mut self) -> JoinHandle<()> {
        let (store, options, clock) = (self.seen(&MILLS), self.options(), self.clock());
        let (eras, state) = (Arc::clone(&self.eras), Arc::clone(&self.state));
        let mut random = Random::new(self.random.next());
        tokio::spawn(async move {
            let metrics = MillMetrics::register(&prometheus::Registry::new()).unwrap();
            let mill = Mill::new(store, eras, "operator".into(), options, Arc::new(clock), metrics);
            let places: Vec<Place> = places().collect();
            while !state.is_quiet.load(Atomic::Relaxed) {
                sleep(Duration::from_millis(random.below(6_000))).await;
                let fate = Fate { polls: 1 + random.below(300), random: Some(Random::new(random.next())) };
                // What goes wrong here is for the mills to mend.
                drop(fate.befall(mill.grind_bucket(random.pick(&places))).await);
            }
        })
    }

    /// A mill that crashes now and then, and starts again under another name, until all is quiet.
    fn mill(&mut self, n: u64, stopped: watch::Receiver<bool>) -> JoinHandle<()> {
        let store = self.seen(&MILLS);
        let (options, clock) = (self.options(), self.clock());
        let (eras, state) = (Arc::clone(&self.eras), Arc::clone(&self.state));
        let mut random = Random::new(self.random.next());
        tokio::spawn(async move {
            for life in 0.. {
                let name = format!("mill {n} in life {life}");
                let metrics = MillMetrics::register(&prometheus::Registry::new()).unwrap();
                let (store, eras, clock) = (Arc::clone(&store), Arc::clone(&eras), Arc::new(clock.clone()));
                let mill = Mill::new(store, eras, name, options.clone(), clock, metrics);
                let fate = if state.is_quiet.load(Atomic::Relaxed) {
                    Fate { polls: u64::MAX, random: None }
                } else {
                    Fate { polls: 1 + random.below(1_200), random: Some(Random::new(random.next())) }
                };
                if fate.befall(mill.run(stopped.clone())).await.is_some() {
                    return;
                }
                state.crashes.fetch_add(1, Atomic::Relaxed);
                sleep(Duration::from_millis(random.below(3_000))).await;
            }
        })
    }

    fn options(&mut self) -> MillOptions {
        let grace = if self.sabotage == Some(Sabotage::NoGrace) { Duration::ZERO } else { GRACE };
        let resolutions = [60, 3_600].into_iter().filter_map(Resolution::from_seconds).collect();
        MillOptions {
            resolutions,
            frame_samples_min: 2,
            times: GrindTimes {
                settle: Duration::from_secs(2),
                late_quiet: Duration::from_secs(3),
                late_wait_max: Duration::from_secs(8),
                tail_bytes_min: 150,
                over_soon: self.random.pick(&[Duration::ZERO, Duration::from_secs(20)]),
                mark_age_max: Duration::from_mins(10),
                grace,
            },
            leases: LeaseTimes { beat_every: Duration::from_secs(1), takeover_after: Duration::from_secs(4) },
            survey_every: Duration::from_millis(700),
            memory_bytes_max: self.random.pick(&[1_000, 1 << 20]),
            write_bytes_max: self.random.pick(&[1, 100_000]),
            grinds_in_flight_max: self.random.pick(&[1, 3]),
            catalog_rows_max: self.random.pick(&[0, 1_000]),
            ..MillOptions::default()
        }
    }
}

/// What is wrong with an answer over one bucket.
fn judged(
    judge: &Judge,
    acked: &super::judge::Acked,
    answer: Result<Answer, String>,
    place: Place,
    eras: &Eras,
) -> Vec<String> {
    let covers =
        |(device, _, time): &super::judge::Spot| eras.place(&crate::bench::source(device), *time) == place;
    judge.judged(acked, answer, covers)
}

fn hours() -> impl Iterator<Item = TimeRange> {
    (0..3).map(|n| TimeRange::new(seconds(n * HOUR), seconds((n + 1) * HOUR)).unwrap())
}

fn places() -> impl Iterator<Item = Place> {
    (0..SHARDS).flat_map(|shard| {
        (0..3).map(move |hours| Place {
            shard: Shard::new(shard),
            bucket: Bucket::at(seconds(hours * HOUR), hour()),
        })
    })
}

/// What happens to a process.
struct Fate {
    /// Polls after which it crashes, wherever it waits.
    polls: u64,
    /// Decides when it stands still for a while, which may be longer than the grace.
    random: Option<Random>,
}

impl Fate {
    /// What `future` gives; `None` after a crash.
    async fn befall<F: Future>(mut self, future: F) -> Option<F::Output> {
        let mut future = Box::pin(future);
        let mut standstill: Option<Pin<Box<Sleep>>> = None;
        poll_fn(|context| {
            if let Some(sleep) = &mut standstill {
                ready!(sleep.as_mut().poll(context));
                standstill = None;
            }
            if self.polls == 0 {
                return Poll::Ready(None);
            }
            self.polls -= 1;
            let random = self.random.as_mut();
            let pause = random.and_then(|random| random.one_in(100).then(|| random.below(25_000)));
            if let Some(millis) = pause {
                let mut sleep = Box::pin(sleep(Duration::from_millis(millis)));
                if sleep.as_mut().poll(context).is_pending() {
                    standstill = Some(sleep);
                    return Poll::Pending;
                }
            }
            future.as_mut().poll(context).map(Some)
        })
        .await
    }
}
