//! Two writers, faults, interruptions and readers, interleaved at random: what was acknowledged is in every answer
//! that is asked for afterwards (I3), nothing is invented, corrections win in their order (I4), and rows take effect
//! in the order that all this rests on. Sabotage shows that the judges judge.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected shall fail"
)]

mod expired;
mod folds;
mod ground;
mod model;
mod order;
mod random;
mod world;
mod writer;

use std::num::NonZeroU64;
use std::time::Duration;

use tidemill_store::layout::tables::{CATALOG, MARKS, SEGMENTS};
use tidemill_store::model::{TimeRange, Timestamp};
use tidemill_store::read::{Order, ReadFailure, Reader, Sample, Selector, Series};
use tidemill_store::wide::{FaultRates, Table, Wide};
use tokio::task::JoinHandle;

use model::{Fold, SeriesName, expected, named, named_latest};
use order::Effect;
use random::seconds;
use world::World;

/// Each run takes some 20 ms.
const RUNS: u64 = 150;

/// A query whose store fails now and then is asked again.
pub(crate) async fn insist<T>(mut ask: impl AsyncFnMut() -> Result<T, ReadFailure>) -> T {
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(failure) => assert!(failure.is_transient(), "{failure:?}"),
        }
    }
}

async fn read_while_written(mut world: World, writers: Vec<JoinHandle<()>>) -> World {
    let reader = world.reader();
    while !writers.iter().all(JoinHandle::is_finished) {
        let (selector, range) = world.query();
        let acked = world.model.lock().unwrap().acked();
        let answer = insist(async || reader.samples(&selector, range).await).await;
        let mistakes = world.model.lock().unwrap().mistakes(&acked, &answer, &selector, range);
        assert_eq!(mistakes, Vec::<String>::new());
        let acked = world.model.lock().unwrap().acked();
        let latest = insist(async || reader.latest(&selector).await).await.answer;
        let mistakes = world.model.lock().unwrap().latest_mistakes(&acked, &latest, &selector);
        assert_eq!(mistakes, Vec::<String>::new());
        tokio::time::sleep(Duration::from_millis(world.random.below(50))).await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    world
}

pub(crate) async fn check_at_rest<W: Wide>(world: &mut World, reader: &Reader<W>) {
    let fold = world.model.lock().unwrap().acked();
    for _ in 0..4 {
        let (selector, range) = world.query();
        let answer = insist(async || reader.samples(&selector, range).await).await;
        assert_eq!(named(&answer), expected(&fold, &selector, range));
        let latest = insist(async || reader.latest(&selector).await).await.answer;
        let mut all = expected(&fold, &selector, TimeRange::ALL);
        for (_, samples) in &mut all {
            samples.drain(..samples.len() - 1);
        }
        assert_eq!(named_latest(&latest), all);
        check_latest_within(world, reader, &fold, &selector).await;
        let (cuts, fields) = folds::question(&mut world.random);
        let folds = insist(async || reader.folds(&selector, &cuts, fields).await).await;
        folds::check(&folds.answer, &folds::expected(&fold, &selector, &cuts), fields);
        check_slices(reader, &selector, range, &answer).await;
    }
}

/// The latest samples of the buckets that a range touches, also of ranges that end before the latest of all.
async fn check_latest_within<W: Wide>(
    world: &mut World,
    reader: &Reader<W>,
    fold: &Fold,
    selector: &Selector,
) {
    let (start, end) =
        world.random.pick(&[(-100, -90), (-30, 0), (0, 59), (30, 61), (59, 3599), (3000, 3601)]);
    let range = TimeRange::new(seconds(start), seconds(end)).unwrap();
    let latest = insist(async || reader.latest_within(selector, range).await).await.answer;
    let is_touched = |time: Timestamp| {
        let bucket = world.eras.at(time).bucket(time);
        bucket.start() < range.end() && range.start() < bucket.end()
    };
    let mut all = expected(fold, selector, TimeRange::ALL);
    for (_, samples) in &mut all {
        samples.retain(|sample| is_touched(sample.time));
        samples.drain(..samples.len().saturating_sub(1));
    }
    all.retain(|(_, samples)| !samples.is_empty());
    assert_eq!(named_latest(&latest), all, "{range:?}");
}

async fn check_slices<W: Wide>(reader: &Reader<W>, selector: &Selector, range: TimeRange, answer: &[Series]) {
    let slices = insist(async || reader.slices(selector, range, Order::Ascending).await).await;
    assert!(slices.is_sorted_by(|a, b| a.end() <= b.start()), "{slices:?}");
    let mut backwards = insist(async || reader.slices(selector, range, Order::Descending).await).await;
    backwards.reverse();
    assert_eq!(slices, backwards);
    let mut parts = Vec::new();
    for slice in slices {
        assert!(!slice.is_empty() && range.intersection(&slice) == Some(slice));
        parts.extend(named(&insist(async || reader.samples(selector, slice).await).await));
    }
    let flat = |list: &[(SeriesName, Vec<_>)]| {
        let mut flat: Vec<_> = list
            .iter()
            .flat_map(|(name, samples)| samples.iter().map(|s: &Sample| (name.clone(), s.time)))
            .collect();
        flat.sort();
        flat
    };
    assert_eq!(flat(&parts), flat(&named(answer)));
}

async fn run(seed: u64) -> World {
    let mut world = World::new(seed).await;
    let writers = [world.writer(), world.writer()];
    let writers = writers.map(|writer| tokio::spawn(writer.run(12))).into();
    let mut world = read_while_written(world, writers).await;
    let old = world.reader();
    check_at_rest(&mut world, &old).await;
    let new = world.reader();
    check_at_rest(&mut world, &new).await;
    check_at_rest(&mut world, &old).await;
    world
}

#[tokio::test(start_paused = true)]
async fn any_interleaving_gives_what_was_acknowledged_in_correction_order() {
    let mut faults = 0;
    for seed in 0..RUNS {
        println!("seed {seed}");
        let world = run(seed).await;
        assert_eq!(order::mistakes(&world.spy.effects(), &world.eras), Vec::<String>::new());
        faults += world.faults.counts().writes;
    }
    assert!(faults > RUNS, "hardly anything went wrong: {faults}");
}

/// The first segment, with its mark and the first catalog row of its writer and shard, by their positions.
fn first_chain(effects: &[Effect]) -> [usize; 3] {
    let find = |table: &'static Table, fits: &dyn Fn(&Effect) -> bool| {
        effects.iter().position(|effect| effect.table == table && fits(effect)).unwrap()
    };
    let at = find(&SEGMENTS, &|_| true);
    let (partition, row) = (effects[at].partition.parts(), effects[at].row.clustering.parts());
    let (shard, bucket, writer) = (&partition[..1], &partition[1], &row[0]);
    let mark = find(&MARKS, &|mark| {
        mark.partition.parts() == shard && mark.row.clustering.parts() == [bucket.clone(), writer.clone()]
    });
    let catalog = find(&CATALOG, &|catalog| {
        catalog.partition.parts() == shard && catalog.row.clustering.part(0) == Some(writer)
    });
    [catalog, mark, at]
}

#[tokio::test(start_paused = true)]
async fn the_judge_of_order_catches_a_sabotaged_order() {
    let world = run(7).await;
    let effects = order::without_repeats(&world.spy.effects());
    let judge = |effects: &[Effect]| order::mistakes(effects, &world.eras);
    let moved = |from: usize, behind: usize| {
        let mut effects = effects.clone();
        let effect = effects.remove(from);
        effects.insert(behind, effect);
        effects
    };
    let without = |at: usize| {
        let mut effects = effects.clone();
        effects.remove(at);
        effects
    };
    assert_eq!(judge(&effects), Vec::<String>::new());
    let [catalog, mark, segment] = first_chain(&effects);
    assert!(!judge(&moved(mark, segment)).is_empty(), "a mark after its segment was not noticed");
    assert!(!judge(&moved(catalog, mark)).is_empty(), "a catalog row after its mark was not noticed");
    assert!(!judge(&without(segment)).is_empty(), "a hole in the seqs was not noticed");
    assert!(!judge(&without(mark)).is_empty(), "a missing mark was not noticed");
    assert!(!judge(&without(catalog)).is_empty(), "a missing catalog row was not noticed");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_loses_writes_is_caught() {
    let mut caught = 0;
    for seed in 0..20 {
        let mut world = World::new(seed).await;
        let rates = FaultRates { lose_one_in: NonZeroU64::new(10), ..FaultRates::default() };
        world.faults.set_rates(rates);
        let writer = world.writer();
        tokio::spawn(writer.run(12)).await.unwrap();
        world.faults.set_rates(FaultRates::default());
        let (reader, all) = (world.reader(), Selector::default());
        let range = TimeRange::ALL;
        let fold = world.model.lock().unwrap().acked();
        let is_wrong = match reader.samples(&all, range).await {
            Ok(answer) => {
                let model = world.model.lock().unwrap();
                named(&answer) != expected(&fold, &all, range)
                    && !model.mistakes(&fold, &answer, &all, range).is_empty()
            }
            Err(failure) => !failure.is_transient(),
        };
        caught += u64::from(is_wrong);
    }
    assert!(caught >= 15, "only {caught} of 20 sabotaged runs were caught");
}
