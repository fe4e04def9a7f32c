//! What a run consists of: a store with faults, writers and readers over it, and what they must agree on.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidemill_store::layout::tables::ERAS;
use tidemill_store::layout::{BucketWidth, Era, EraRow, Eras, ShardCount, install_eras, load_eras};
use tidemill_store::model::{Device, Metric, Tenant, TimeRange};
use tidemill_store::read::{ReadLimits, Reader, Selector, Told};
use tidemill_store::wide::{Expected, FaultRates, Faults, Faulty, Memory, Wide};

use crate::model::Model;
use crate::order::Spy;
use crate::random::{Random, seconds};
use crate::writer::Writer;

pub(crate) type Store = Faulty<Spy<Memory>>;

pub(crate) struct World {
    pub(crate) store: Arc<Store>,
    pub(crate) spy: Spy<Memory>,
    pub(crate) eras: Arc<Eras>,
    pub(crate) model: Arc<Mutex<Model>>,
    pub(crate) faults: Faults,
    pub(crate) random: Random,
}

impl World {
    pub(crate) async fn new(seed: u64) -> Self {
        let spy = Spy::new(Memory::new());
        let faults = Faults::new(seed);
        let store = Arc::new(Faulty::new(spy.clone(), faults.clone()));
        let eras = Arc::new(install_two_eras(&*store).await);
        let mut random = Random::new(seed);
        faults.set_rates(FaultRates {
            not_applied: 50,
            unknown_applied: 50,
            unknown_lost: 50,
            unknown_late: 50,
            read_unavailable: 30,
            delayed: 300,
            delay_max: Duration::from_millis(1 + random.below(100)),
            lose_one_in: None,
        });
        Self { store, spy, eras, model: Arc::default(), faults, random }
    }

    pub(crate) fn writer(&mut self) -> Writer<Store> {
        let (store, model) = (Arc::clone(&self.store), Arc::clone(&self.model));
        Writer::new(self.random.next(), store, Arc::clone(&self.eras), model)
    }

    /// A writer in the process of `reader`.
    pub(crate) fn told_writer<W: Wide>(&mut self, reader: &Reader<W>) -> Writer<Told<Store>> {
        let told = Arc::new(Told::new(Arc::clone(&self.store), reader.follow(Arc::clone(&self.eras))));
        Writer::new(self.random.next(), told, Arc::clone(&self.eras), Arc::clone(&self.model))
    }

    pub(crate) fn reader(&mut self) -> Reader<Store> {
        // A head that forgets now and then.
        let head_bytes_max = self.random.pick(&[0, 2_000, 1 << 20]);
        let folded_from = self.random.pick(&[1, 3, 64]);
        let lasts_bytes_max = self.random.pick(&[0, 20_000, 1 << 20]);
        let limits = ReadLimits { head_bytes_max, folded_from, lasts_bytes_max, ..ReadLimits::default() };
        Reader::new(Arc::clone(&self.store), limits)
    }

    pub(crate) fn query(&mut self) -> (Selector, TimeRange) {
        let random = &mut self.random;
        let (start, end) = (random.pick(&[-100, -60, 0, 60, 3599]), random.pick(&[3600, 3601, 8000]));
        let selector = Selector {
            tenant: random.one_in(2).then(|| Tenant::new("t").unwrap()),
            devices: if random.one_in(2) {
                vec![Device::new("a").unwrap(), Device::new("b").unwrap()]
            } else {
                vec![]
            },
            metrics: if random.one_in(3) { vec![Metric::new("x").unwrap()] } else { vec![] },
            conditions: Vec::new(),
        };
        (selector, TimeRange::new(seconds(start), seconds(end)).unwrap())
    }
}

/// Two eras: minutes in two shards up to 1970-01-01T01:00:00Z, then hours in three.
async fn install_two_eras<W: Wide>(wide: &W) -> Eras {
    let width = |minutes| BucketWidth::new(Duration::from_mins(minutes)).unwrap();
    install_eras(wide, ShardCount::new(2).unwrap(), width(1)).await.unwrap();
    let second =
        Era { starts_at: seconds(3600), shards: ShardCount::new(3).unwrap(), bucket_width: width(60) };
    wide.compare_and_set(&ERAS, &EraRow::partition(), &Expected::Absent, &EraRow(second).to_row())
        .await
        .unwrap();
    load_eras(wide).await.unwrap()
}
