//! A store that remembers in which order rows took effect, and a judge of that order: what design §6 says of
//! catalog rows, marks, segments and their numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use tidemill_store::layout::tables::{CATALOG, MARKS, SEGMENTS};
use tidemill_store::layout::{Eras, MarkRow, MarkState, SegmentRow};
use tidemill_store::model::{Seq, Timestamp};
use tidemill_store::wide::{Datum, Key, Layer, Row, Table, Wide, WriteError, WriteTime};

/// One row that took effect.
#[derive(Debug, Clone)]
pub(crate) struct Effect {
    pub(crate) table: &'static Table,
    pub(crate) partition: Key,
    pub(crate) row: Row,
    pub(crate) at: WriteTime,
}

/// Remembers what `W` took. Clones share their memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spy<W> {
    inner: W,
    effects: Arc<Mutex<Vec<Effect>>>,
}

impl<W> Spy<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self { inner, effects: Arc::default() }
    }

    pub(crate) fn effects(&self) -> Vec<Effect> {
        self.effects.lock().unwrap().clone()
    }
}

impl<W: Wide> Layer for Spy<W> {
    type Inner = W;

    fn inner(&self) -> &W {
        &self.inner
    }

    async fn put(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[Row],
        at: WriteTime,
    ) -> Result<(), WriteError> {
        self.inner().put(table, partition, rows, at).await?;
        let effect = |row: &Row| Effect { table, partition: partition.clone(), row: row.clone(), at };
        self.effects.lock().unwrap().extend(rows.iter().map(effect));
        Ok(())
    }
}

type OfWriter = (Key, i64);

/// What is durable at a point of the run.
#[derive(Default)]
struct Durable {
    /// The catalog's n by (shard, writer).
    catalog: BTreeMap<OfWriter, BTreeSet<i64>>,
    /// The mark in force by (shard, bucket, writer).
    marks: BTreeMap<(Key, i64, i64), MarkRow>,
    /// The seqs by (shard and bucket, writer).
    segments: BTreeMap<OfWriter, BTreeSet<u32>>,
}

/// The effects without those that repeat an earlier one.
pub(crate) fn without_repeats(effects: &[Effect]) -> Vec<Effect> {
    let mut seen = BTreeSet::new();
    let key = |effect: &Effect| {
        (effect.table.name, effect.partition.clone(), effect.row.clustering.clone(), effect.at)
    };
    effects.iter().filter(|effect| seen.insert(key(effect))).cloned().collect()
}

/// What is wrong with the order of `effects`. A row that repeats an earlier one is passed over.
pub(crate) fn mistakes(effects: &[Effect], eras: &Eras) -> Vec<String> {
    let mut durable = Durable::default();
    without_repeats(effects).iter().flat_map(|effect| durable.take(effect, eras)).collect()
}

impl Durable {
    fn take(&mut self, effect: &Effect, eras: &Eras) -> Vec<String> {
        match effect.table.name {
            name if name == CATALOG.name => self.take_catalog(effect),
            name if name == MARKS.name => self.take_mark(effect, eras),
            name if name == SEGMENTS.name => self.take_segment(effect),
            name => vec![format!("a write to {name}")],
        }
    }

    fn take_catalog(&mut self, effect: &Effect) -> Vec<String> {
        let (writer, n) = two_ints(&effect.row.clustering);
        self.catalog.entry((effect.partition.clone(), writer)).or_default().insert(n);
        Vec::new()
    }

    fn take_mark(&mut self, effect: &Effect, eras: &Eras) -> Vec<String> {
        let (start, writer) = (effect.row.clustering.part(0), effect.row.clustering.part(1));
        let (start, writer) = (start.unwrap().as_instant().unwrap(), writer.unwrap().as_int().unwrap());
        let era = eras.at(Timestamp::from_millis(start).unwrap());
        let mark = MarkRow::from_row(&effect.row, era.bucket_width).unwrap();
        let mut mistakes = Vec::new();
        if !self.knows(&effect.partition, writer, mark.catalog.get()) {
            mistakes.push(format!("a mark before its catalog rows: {mark:?}"));
        }
        if mark.written_at != effect.at {
            mistakes.push(format!("a mark written at another time than it says: {mark:?}"));
        }
        if let MarkState::Closed(through) = mark.state {
            let last = self.last_seq(&effect.partition, start, writer);
            if last != Some(through.get()) {
                mistakes.push(format!("closed through {through:?}, the last segment is {last:?}"));
            }
        }
        let key = (effect.partition.clone(), start, writer);
        if self.marks.get(&key).is_none_or(|before| before.written_at < mark.written_at) {
            self.marks.insert(key, mark);
        }
        mistakes
    }

    fn take_segment(&mut self, effect: &Effect) -> Vec<String> {
        let segment = SegmentRow::from_row(&effect.row).unwrap();
        let (shard, start) = (effect.partition.part(0).unwrap(), effect.partition.part(1).unwrap());
        let shard = Key::from([shard.clone()]);
        let writer = segment.writer.get();
        let mut mistakes = Vec::new();
        if !self.knows(&shard, writer, segment.catalog.get()) {
            mistakes.push(format!("a segment before its catalog rows: {:?}", segment.seq));
        }
        match self.marks.get(&(shard, start.as_instant().unwrap(), writer)) {
            Some(mark) if mark.state == MarkState::Open && mark.catalog >= segment.catalog => {}
            mark => mistakes.push(format!("a segment under {mark:?}: {:?}", segment.seq)),
        }
        let seqs = self.segments.entry((effect.partition.clone(), writer)).or_default();
        if segment.seq != Seq::new(u32::try_from(seqs.len()).unwrap()) {
            mistakes.push(format!("{:?} after {seqs:?}", segment.seq));
        }
        seqs.insert(segment.seq.get());
        mistakes
    }

    fn knows(&self, shard: &Key, writer: i64, count: u32) -> bool {
        let rows = self.catalog.get(&(shard.clone(), writer));
        (0..i64::from(count)).all(|n| rows.is_some_and(|rows| rows.contains(&n)))
    }

    fn last_seq(&self, shard: &Key, start: i64, writer: i64) -> Option<u32> {
        let mut parts = shard.parts().to_vec();
        parts.push(Datum::Instant(start));
        self.segments.get(&(Key::new(parts), writer))?.last().copied()
    }
}

fn two_ints(key: &Key) -> (i64, i64) {
    (key.part(0).unwrap().as_int().unwrap(), key.part(1).unwrap().as_int().unwrap())
}
