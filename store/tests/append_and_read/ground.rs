//! The same with mills that grind, collect and delete meanwhile: answers do not change, whoever asks whenever (I4), and
//! readers that break the order of reading, or trust a seal for too long, are caught.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidemill_store::append::RetryPolicy;
use tidemill_store::codec::block::PackLimits;
use tidemill_store::layout::tables::{MARKS, SEALS};
use tidemill_store::layout::{Eras, MarkRow, Period, Place, Resolution, SealRow};
use tidemill_store::mill::{GrindTimes, Mill, MillMetrics, MillOptions};
use tidemill_store::model::{Clock, Shard, TimeRange, Timestamp};
use tidemill_store::read::{Explain, ReadLimits, ReadOptions, Reader};
use tidemill_store::rollup::Fields;
use tidemill_store::wide::{
    FaultRates, Key, Layer, Order, Page, PageToken, ReadError, Row, Scan, Table, Wide,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::random::{Random, seconds};
use crate::world::{Store, World};
use crate::writer::Wall;
use crate::{check_at_rest, insist};

/// Each takes some 200 ms.
const RUNS: u64 = 30;

/// The mill keeps what a seal does not name for so long.
const GRACE: Duration = Duration::from_secs(2);

/// Longer than any write takes here, faults and repetitions included.
const SETTLE: Duration = Duration::from_secs(1);

struct Right(Instant);

impl Clock for Right {
    fn now(&self) -> Timestamp {
        Wall::True(self.0).now()
    }
}

fn resolutions() -> Vec<Resolution> {
    [10, 60, 600, 3600].into_iter().filter_map(Resolution::from_seconds).collect()
}

fn mill(world: &mut World, start: Instant) -> Arc<Mill<Store>> {
    let random = &mut world.random;
    let options = MillOptions {
        resolutions: resolutions(),
        frame_samples_min: random.pick(&[0, 2, 20]).try_into().unwrap(),
        sketches_from: random.one_in(2).then(|| Resolution::from_seconds(600).unwrap()),
        times: GrindTimes {
            settle: SETTLE,
            late_quiet: Duration::from_millis(300),
            late_wait_max: Duration::from_secs(1),
            tail_bytes_min: 1,
            over_soon: Duration::ZERO,
            grace: GRACE,
            ..GrindTimes::default()
        },
        survey_every: Duration::from_millis(200),
        packs: PackLimits { target_bytes: 200, body_bytes_max: 600, ..PackLimits::DEFAULT },
        cpu_share: 1.0,
        retry: RetryPolicy::default(),
        ..MillOptions::default()
    };
    let metrics = MillMetrics::register(&prometheus::Registry::new()).unwrap();
    let name = format!("mill-{}", random.next());
    let (store, eras) = (Arc::clone(&world.store), Arc::clone(&world.eras));
    Arc::new(Mill::new(store, eras, name, options, Arc::new(Right(start)), metrics))
}

/// Every place that a writer may write to.
fn places(eras: &Eras) -> Vec<Place> {
    let mut places = Vec::new();
    for time in [-61, -60, -1, 0, 59, 60, 3598, 3600, 7200] {
        let era = eras.at(seconds(time));
        let bucket = era.bucket(seconds(time));
        places.extend((0..era.shards.get()).map(|shard| Place { shard: Shard::new(shard), bucket }));
    }
    places.dedup();
    places
}

/// Grinds any bucket at any time.
async fn grind_at_random(mill: Arc<Mill<Store>>, eras: Arc<Eras>, mut random: Random) {
    let places = places(&eras);
    loop {
        let place = random.pick(&places);
        // Losing against another attempt, or a store that fails, is part of it.
        let _lost = mill.grind_bucket(place).await;
        tokio::time::sleep(Duration::from_millis(random.below(40))).await;
    }
}

fn reader<W: Wide>(wide: Arc<W>, random: &mut Random, trusted: Duration) -> Reader<W> {
    let limits = ReadLimits {
        head_bytes_max: random.pick(&[0, 2_000, 1 << 20]),
        folded_from: random.pick(&[1, 3, 64]),
        lasts_bytes_max: random.pick(&[0, 4_000, 1 << 20]),
        packs_bytes_max: random.pick(&[0, 4_000, 1 << 20]),
        presence_bytes_max: random.pick(&[0, 1 << 20]),
        seals_trusted_for: trusted,
        ..ReadLimits::default()
    };
    Reader::with(wide, limits, ReadOptions { resolutions: resolutions(), ..ReadOptions::default() })
}

/// Tasks that end with it.
struct Works(Vec<JoinHandle<()>>);

impl Drop for Works {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

fn writers(world: &mut World, start: Instant) -> [JoinHandle<()>; 2] {
    [world.writer(), world.writer()].map(|writer| tokio::spawn(writer.with_true_clock(start).run(16)))
}

fn work(world: &mut World, start: Instant) -> (Works, watch::Sender<bool>) {
    let (stop, stopped) = watch::channel(false);
    let mills = [mill(world, start), mill(world, start)];
    let by_hand = grind_at_random(Arc::clone(&mills[0]), Arc::clone(&world.eras), world.random.clone());
    let of = |mill: Arc<Mill<Store>>| {
        let stopped = stopped.clone();
        tokio::spawn(async move { mill.run(stopped).await })
    };
    let [one, other] = mills;
    (Works(vec![tokio::spawn(by_hand), of(one), of(other)]), stop)
}

/// What readers did wrong while `writers` wrote and mills ground.
async fn watch_answers<W: Wide>(
    world: &mut World,
    reader: &Reader<W>,
    writers: &[JoinHandle<()>],
) -> (Vec<String>, Explain) {
    let (mut wrong, mut retries) = (Vec::new(), 0);
    while !writers.iter().all(JoinHandle::is_finished) {
        let (selector, range) = world.query();
        let acked = world.model.lock().unwrap().acked();
        let runs = insist(async || reader.runs(&selector, range).await).await;
        retries += runs.explain.retries;
        let answer: Vec<_> = runs.answer.into_iter().map(Into::into).collect();
        wrong.extend(world.model.lock().unwrap().mistakes(&acked, &answer, &selector, range));
        let acked = world.model.lock().unwrap().acked();
        let latest = insist(async || reader.latest(&selector).await).await;
        retries += latest.explain.retries;
        wrong.extend(world.model.lock().unwrap().latest_mistakes(&acked, &latest.answer, &selector));
        wrong.extend(fold_mistakes(world, reader, &mut retries).await);
        tokio::time::sleep(Duration::from_millis(world.random.below(50))).await;
    }
    (wrong, Explain { retries, ..Explain::default() })
}

/// How many samples folds count, while more come: no fewer than were acknowledged before, no more than were sent.
async fn fold_mistakes<W: Wide>(world: &mut World, reader: &Reader<W>, retries: &mut usize) -> Vec<String> {
    let (selector, _) = world.query();
    let (cuts, _) = crate::folds::question(&mut world.random);
    let before = crate::folds::expected(&world.model.lock().unwrap().acked(), &selector, &cuts);
    let folds = insist(async || reader.folds(&selector, &cuts, Fields::COUNT).await).await;
    *retries += folds.explain.retries;
    let counted: u64 =
        folds.answer.iter().flat_map(|series| &series.cells).map(|(_, state)| state.count()).sum();
    let least: u64 = before.values().map(tidemill_store::rollup::WindowState::count).sum();
    let most = world.model.lock().unwrap().sent.len();
    let is_right = least <= counted && counted <= u64::try_from(most).unwrap();
    if is_right { Vec::new() } else { vec![format!("{counted} samples, of {least} acknowledged: {cuts:?}")] }
}

async fn run(seed: u64) -> Explain {
    let mut world = World::new(seed).await;
    let trusted = world.random.pick(&[Duration::ZERO, GRACE / 2]);
    let old = reader(Arc::clone(&world.store), &mut world.random, trusted);
    let start = Instant::now();
    let told = world.told_writer(&old).with_true_clock(start).run(16);
    let other = world.writer().with_true_clock(start).run(16);
    let writers = [tokio::spawn(told), tokio::spawn(other)];
    let (works, _stop) = work(&mut world, start);
    let (wrong, mut explain) = watch_answers(&mut world, &old, &writers).await;
    assert_eq!(wrong, Vec::<String>::new());
    for writer in writers {
        writer.await.unwrap();
    }
    let fresh = |world: &mut World| reader(Arc::clone(&world.store), &mut world.random, trusted);
    check_at_rest(&mut world, &old).await;
    let new = fresh(&mut world);
    check_at_rest(&mut world, &new).await;
    // Long enough for everything to be ground and for what was replaced to be deleted.
    tokio::time::sleep(Duration::from_mins(2)).await;
    drop(works);
    world.faults.set_rates(FaultRates::default());
    for reader in [&old, &new, &fresh(&mut world)] {
        check_at_rest(&mut world, reader).await;
    }
    let cuts = [seconds(3600), seconds(7200)];
    let whole = old.folds(&crate::Selector::default(), &cuts, Fields::SUM).await.unwrap().explain;
    explain.resolutions = whole.resolutions;
    explain.raw = whole.raw;
    explain
}

#[tokio::test(start_paused = true)]
async fn grinding_changes_no_answer_before_during_or_after() {
    let (mut retries, mut whole_hours) = (0, 0);
    for seed in 0..RUNS {
        println!("seed {seed}");
        let explain = run(seed).await;
        retries += explain.retries;
        let hour = Resolution::from_seconds(3600).unwrap();
        whole_hours += u64::from(explain.resolutions.contains(&hour));
    }
    assert!(retries > 0, "no bucket was ever ground anew while it was read");
    assert!(whole_hours > RUNS / 2, "frames answered only {whole_hours} of {RUNS} times");
}

/// Sabotage: answers for seals are those from before the marks were read.
struct SealsFirst<W> {
    inner: Arc<W>,
    eras: Arc<Eras>,
    seals: Mutex<BTreeMap<Key, Vec<Row>>>,
}

impl<W: Wide> SealsFirst<W> {
    async fn remember(&self, shard: Shard) -> Result<(), ReadError> {
        for time in [-61, 0, 3599, 3600, 7200] {
            let era = self.eras.at(seconds(time));
            let period = Period::of_seal(era.bucket(seconds(time)), era.bucket_width);
            let partition = SealRow::partition(shard, period);
            let page = self.inner().scan(&Scan::partition(&SEALS, partition.clone()), None).await?;
            self.seals.lock().unwrap().insert(partition, page.rows);
        }
        Ok(())
    }

    fn remembered(&self, partition: &Key) -> Option<Vec<Row>> {
        self.seals.lock().unwrap().get(partition).cloned()
    }
}

impl<W: Wide> Layer for SealsFirst<W> {
    type Inner = W;

    fn inner(&self) -> &W {
        &self.inner
    }

    async fn get(
        &self,
        table: &'static Table,
        partition: &Key,
        clustering: &Key,
    ) -> Result<Option<Row>, ReadError> {
        match self.remembered(partition).filter(|_| *table == SEALS) {
            Some(rows) => Ok(rows.into_iter().find(|row| row.clustering == *clustering)),
            None => self.inner().get(table, partition, clustering).await,
        }
    }

    async fn scan(&self, scan: &Scan, from: Option<PageToken>) -> Result<Page, ReadError> {
        if *scan.table == MARKS && from.is_none() {
            let shards = (0..4).map(Shard::new).filter(|shard| MarkRow::partition(*shard) == scan.partition);
            for shard in shards {
                self.remember(shard).await?;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        match self.remembered(&scan.partition).filter(|_| *scan.table == SEALS) {
            Some(rows) => {
                assert_eq!(scan.order, Order::Ascending);
                let rows = rows.into_iter().filter(|row| scan.bounds.contains(&row.clustering)).collect();
                Ok(Page { rows, next: None })
            }
            None => self.inner().scan(scan, from).await,
        }
    }
}

/// How many of some runs are wrong for a reader over what `sabotage` makes of the store.
async fn caught<W: Wide>(trusted: Duration, sabotage: impl Fn(&World) -> Arc<W>) -> u64 {
    let mut caught = 0;
    for seed in 0..15 {
        let mut world = World::new(seed).await;
        let store = sabotage(&world);
        let reader = reader(store, &mut world.random, trusted);
        let start = Instant::now();
        let writers = writers(&mut world, start);
        let (_works, _stop) = work(&mut world, start);
        let (selector, range) =
            (crate::Selector::default(), TimeRange::new(seconds(-100), seconds(7300)).unwrap());
        let mut is_wrong = false;
        while !writers.iter().all(JoinHandle::is_finished) {
            let acked = world.model.lock().unwrap().acked();
            let wrong = match reader.samples(&selector, range).await {
                Ok(answer) => world.model.lock().unwrap().mistakes(&acked, &answer, &selector, range),
                Err(failure) if failure.is_transient() => Vec::new(),
                Err(failure) => vec![failure.to_string()],
            };
            is_wrong |= !wrong.is_empty();
        }
        caught += u64::from(is_wrong);
    }
    caught
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_reads_seals_before_marks_is_caught() {
    let honest = caught(Duration::ZERO, |world| Arc::clone(&world.store)).await;
    assert_eq!(honest, 0);
    let caught = caught(Duration::ZERO, |world| {
        let (inner, eras) = (Arc::clone(&world.store), Arc::clone(&world.eras));
        Arc::new(SealsFirst { inner, eras, seals: Mutex::default() })
    });
    let caught = caught.await;
    assert!(caught >= 3, "only {caught} of 15 sabotaged runs were caught");
}
