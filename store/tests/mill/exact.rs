//! Grinding changes no answer: random samples through writers whose clocks are minutes apart, with duplicates,
//! corrections of each other and holes, ground bit by bit at random moments. After each grind every reader says what
//! it said before, and in the end what a fold over all samples in the order of corrections says.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_store::codec::segment::{Limits, Segment};
use tidemill_store::layout::SegmentRow;
use tidemill_store::layout::tables::SEGMENTS;
use tidemill_store::mill::{GrindOutcome, MillOptions};
use tidemill_store::model::Value;
use tidemill_store::wide::{Deletion, Memory, Wide, WriteTime};

use crate::bench::{HandClock, Writer, marks, mill, place, segments};
use crate::random::Random;
use crate::simulation::plain::{Order, Pace, Plain};

const RUNS: u64 = 150;

fn draw(random: &mut Random) -> (&'static str, &'static str, i64, Value) {
    let (device, metric) = (random.pick(&["a", "b", "c"]), random.pick(&["x", "y"]));
    let value = match random.below(8) {
        0 => Value::F64(f64::NAN),
        1 => Value::Text("s".into()),
        _ => Value::I64(i64::try_from(random.below(3)).unwrap()),
    };
    (device, metric, random.pick(&[0, 1, 2, 59, 60, 3_599]), value)
}

/// One segment may be away for a while, as one whose write is still on its way.
struct Hole(Option<SegmentRow>);

impl Hole {
    async fn change(&mut self, wide: &Memory, random: &mut Random) {
        let partition = SegmentRow::partition(place(0));
        if let Some(row) = self.0.take() {
            let at = WriteTime::from_micros(row.received_at.micros_floor());
            wide.put(&SEGMENTS, &partition, &[row.to_row()], at).await.unwrap();
            return;
        }
        let all = segments(wide, place(0)).await;
        if all.is_empty() || !random.one_in(3) {
            return;
        }
        let seal = crate::bench::seal(wide, place(0)).await;
        let row = all[usize::try_from(random.below(u64::try_from(all.len()).unwrap())).unwrap()].clone();
        if seal.is_none_or(|seal| !seal.covers(row.writer, row.seq)) {
            let deletion = Deletion::Row(row.to_row().clustering);
            // Below its own write time, it would stay; at it, it may be written again in this store.
            let at = WriteTime::from_micros(row.received_at.micros_floor());
            wide.delete(&SEGMENTS, &partition, &deletion, at).await.unwrap();
            self.0 = Some(row);
        }
    }
}

async fn run(seed: u64) -> u64 {
    let (wide, mut random) = (Arc::new(Memory::new()), Random::new(seed));
    let clock = HandClock::at(1_000);
    let memory_bytes_max = random.pick(&[200, 1 << 20]);
    let mill = mill(&wide, &clock, MillOptions { memory_bytes_max, ..MillOptions::default() }).await;
    let mut writers = [Writer::new(&wide, 1).await, Writer::new(&wide, 2).await, Writer::new(&wide, 3).await];
    let (mut plain, mut hole, mut ground) =
        (Plain::new(Arc::clone(&wide), Order::MarksFirst, 0), Hole(None), 0);
    for step in 0..40 {
        let (now, at) = (1_000 + step * 7, usize::try_from(random.below(3)).unwrap());
        clock.set(now);
        let skewed = now + [0, -150, 40][at];
        let samples: Vec<_> = (0..=random.below(3)).map(|_| draw(&mut random)).collect();
        if hole.0.is_none() {
            writers[at].send(skewed, &samples).await;
        }
        if random.one_in(5) {
            hole.change(&wide, &mut random).await;
        }
        if random.one_in(3) {
            let before = plain.read(place(0), Pace::Fast).await.unwrap();
            ground += u64::from(mill.grind_bucket(place(0)).await.unwrap().outcome == GrindOutcome::Ground);
            let after = plain.read(place(0), Pace::Fast).await.unwrap();
            assert_eq!(before, after, "seed {seed}, step {step}");
        }
    }
    while hole.0.is_some() {
        hole.change(&wide, &mut random).await;
    }
    for writer in &mut writers {
        writer.close(2_000).await;
    }
    clock.set(3_000);
    let before = plain.read(place(0), Pace::Fast).await.unwrap();
    mill.grind_bucket(place(0)).await.unwrap();
    let mut new = Plain::new(Arc::clone(&wide), Order::MarksFirst, 0);
    assert_eq!(before, new.read(place(0), Pace::Fast).await.unwrap(), "seed {seed}, at the end");
    assert_eq!(marks(&*wide).await, [], "seed {seed}: all is covered");
    ground
}

#[tokio::test]
async fn no_grind_changes_an_answer() {
    let mut ground = 0;
    for seed in 0..RUNS {
        ground += run(seed).await;
    }
    assert!(ground > RUNS * 4, "hardly anything was ground: {ground}");
}

#[tokio::test]
async fn one_grind_of_everything_is_a_fold_in_the_order_of_corrections() {
    for seed in 0..RUNS {
        let (wide, mut random) = (Arc::new(Memory::new()), Random::new(seed));
        let clock = HandClock::at(5_000);
        let mill = mill(&wide, &clock, MillOptions::default()).await;
        let mut writers = [Writer::new(&wide, 1).await, Writer::new(&wide, 2).await];
        for step in 0..30 {
            let at = usize::try_from(random.below(2)).unwrap();
            let samples: Vec<_> = (0..=random.below(4)).map(|_| draw(&mut random)).collect();
            writers[at].send(1_000 + step + i64::try_from(random.below(100)).unwrap(), &samples).await;
        }
        let (fold, all) = fold(&wide).await;
        let done = mill.grind_bucket(place(0)).await.unwrap();
        assert_eq!(
            done.samples + done.duplicates + done.corrections,
            all,
            "seed {seed}: every sample is counted"
        );
        let mut plain = Plain::new(Arc::clone(&wide), Order::MarksFirst, 0);
        let answer = plain.read(place(0), Pace::Fast).await.unwrap();
        let values: Vec<&Value> = answer.values().collect();
        assert_eq!(values, fold.values().collect::<Vec<_>>(), "seed {seed}");
    }
}

/// What all segments say in the order of corrections, by device, metric and time, and how many samples they hold.
async fn fold(wide: &Memory) -> (BTreeMap<(String, String, i64), Value>, u64) {
    let mut rows = segments(wide, place(0)).await;
    rows.sort_by_key(|row| (row.received_at, row.writer, row.seq));
    let (mut fold, mut all) = (BTreeMap::new(), 0);
    for row in rows {
        let names = crate::bench::devices(wide, row.writer).await;
        let segment = Segment::decode(row.body, Limits::DEFAULT).unwrap();
        for sample in segment.samples_at(segment.all()).unwrap() {
            let device = names[usize::try_from(sample.source.get()).unwrap()].clone();
            let metric = segment.metrics()[sample.metric.index()].to_string();
            fold.insert((device, metric, sample.time.nanos()), sample.value);
            all += 1;
        }
    }
    (fold, all)
}
