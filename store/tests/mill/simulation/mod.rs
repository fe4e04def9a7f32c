//! Two mills, two writers and readers over a store with faults: clocks that are minutes apart, mills and writers that
//! crash at any await, everything from one seed. What was acknowledged is in every answer that is asked for
//! afterwards, nothing is invented, nothing older comes back, and in the end all is ground, collected and equal for
//! every reader. Sabotage of each rule of the design's §7 is caught.

mod judge;
pub(crate) mod plain;
mod production;
mod sabotage;
mod spy;
mod world;
mod writers;

use std::panic::catch_unwind;
use std::time::Duration;

use sabotage::Sabotage;
use tokio::runtime::Builder;
use world::{Verdict, World};

/// Each run takes some 300 ms.
const RUNS: u64 = 40;
/// Runs in which a sabotage must be caught at least once.
const SABOTAGED_RUNS: u64 = 80;

/// A run from `seed`, in a runtime of its own: its clock then begins at the same place of a millisecond each time.
fn run(seed: u64, sabotage: Option<Sabotage>) -> Verdict {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { World::new(seed, sabotage).await.run().await })
}

#[test]
fn any_interleaving_of_writers_mills_readers_faults_and_crashes_loses_and_invents_nothing() {
    let (mut seals, mut crashes, mut faults) = (0, 0, 0);
    for seed in 0..RUNS {
        let verdict = run(seed, None);
        println!("seed {seed}: {verdict:?}");
        assert_eq!(verdict.mistakes, Vec::<String>::new(), "seed {seed}");
        seals += verdict.seals;
        crashes += verdict.crashes;
        faults += verdict.faults;
    }
    assert!(seals > RUNS * 10, "hardly anything was ground: {seals} seals");
    assert!(
        crashes > RUNS && faults > RUNS * 10,
        "hardly anything went wrong: {crashes} crashes, {faults} faults"
    );
}

#[test]
fn one_seed_gives_one_run() {
    for seed in [3, 4, 5] {
        let (first, second) = (run(seed, None), run(seed, None));
        assert_eq!(first, second, "seed {seed}");
    }
}

fn is_caught(sabotage: Sabotage) -> Option<(u64, String)> {
    (0..SABOTAGED_RUNS).find_map(|seed| {
        let Ok(verdict) = catch_unwind(|| run(seed, Some(sabotage))) else {
            return Some((seed, "an assertion failed".into()));
        };
        Some((seed, verdict.mistakes.first()?.clone()))
    })
}

macro_rules! sabotages {
    ($($name:ident: $sabotage:ident;)*) => {
        $(
            #[test]
            fn $name() {
                let caught = is_caught(Sabotage::$sabotage);
                println!("{:?}: {caught:?}", Sabotage::$sabotage);
                assert!(caught.is_some(), "{:?} was not caught", Sabotage::$sabotage);
            }
        )*
    };
}

sabotages! {
    one_generation_for_two_attempts_is_caught: SameGeneration;
    a_seal_without_compare_and_set_is_caught: NoCompareAndSet;
    collecting_without_a_grace_is_caught: NoGrace;
    collecting_without_a_new_version_is_caught: NoNewVersion;
    deleting_segments_before_the_seal_is_caught: DeleteBeforeSeal;
    clearing_an_open_mark_is_caught: ClearOpenMark;
    deleting_a_newer_mark_is_caught: DeleteNewerMark;
    reading_the_seal_before_the_marks_is_caught: ReadSealFirst;
    a_segment_before_its_catalog_row_is_caught: CatalogAfterSegment;
    catalog_rows_without_a_new_mark_are_caught: CatalogWithoutMark;
    a_seal_without_catalog_positions_is_caught: SealWithoutCatalog;
}

/// How long the mills may take to finish everything once all is quiet: old marks have to age.
const FINISH_MAX: Duration = Duration::from_mins(40);
