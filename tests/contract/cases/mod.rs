//! The list of cases, and what makes trials of them.

mod concurrent;
mod deletes;
mod exchanges;
mod expiry;
mod keys;
mod random;
mod scans;
mod writes;

use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context as _, Result};
use libtest_mimic::Trial;
use tidemill_store::wide::Wide;
use tidemill_tests::real::trial;
use tokio::runtime::Runtime;

use crate::backend::{Backend, Opened};
use crate::fixture::Fixture;

/// A case that hangs is a failure.
const DEADLINE: Duration = Duration::from_mins(2);

/// One for all trials: a client that they share lives on it.
static RUNTIME: LazyLock<std::io::Result<Runtime>> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build());

macro_rules! cases {
    ($($module:ident: $($case:ident),+;)+) => {
        /// Every case on `B`.
        pub(crate) fn trials<B: Backend>() -> Vec<Trial> {
            let mut trials = vec![$($(trial(&format!("{}::{}", B::NAME, stringify!($case)), B::NEEDS, || {
                run(B::open(), async |opened| $module::$case(&Fixture::new(opened)).await)
            }),)+)+];
            trials.extend(of_backend::<B>());
            trials
        }
    };
}

/// Cases that ask the backend for more than a store.
fn of_backend<B: Backend>() -> Vec<Trial> {
    macro_rules! trials {
        ($($case:ident),+ $(,)?) => {
            vec![$(trial(&format!("{}::{}", B::NAME, stringify!($case)), B::NEEDS, || {
                run(B::open(), async |opened| expiry::$case::<B>(&Fixture::new(opened)).await)
            })),+]
        };
    }
    trials![
        what_has_expired_goes_and_the_rest_stays,
        a_row_that_was_written_late_lives_no_longer,
        expiring_again_spares_what_came_later,
    ]
}

cases! {
    writes:
        what_was_put_comes_back,
        what_was_never_put_is_absent,
        putting_no_rows_does_nothing,
        putting_again_changes_nothing,
        the_highest_write_time_wins_whatever_arrives_last,
        equal_writes_at_equal_times_are_one,
        bodies_may_be_large_and_cells_empty,
        another_handle_sees_what_was_acknowledged,
        tables_are_apart,
        neighbouring_partitions_are_apart;
    scans:
        both_orders_give_every_row,
        bounds_cut_exactly,
        pages_of_every_size_add_up,
        a_scan_of_nothing_ends,
        more_rows_than_a_page_come_in_order,
        a_page_is_bounded_by_what_was_asked_for,
        pages_of_several_partitions_are_those_of_as_many_scans,
        rows_that_stay_are_seen_once_while_others_come_and_go;
    keys:
        extreme_numbers_keep_their_order,
        texts_order_by_their_bytes,
        a_text_is_not_taken_for_a_longer_one,
        instants_before_the_epoch_come_first,
        uuids_keep_their_order;
    deletes:
        deleting_a_row_spares_newer_writes,
        deleting_a_range_spares_newer_writes,
        deleting_a_range_keeps_to_its_bounds,
        deleting_long_ranges_removes_all_of_them,
        deleting_nothing_is_no_error,
        what_is_put_after_a_delete_is_there;
    exchanges:
        an_absent_row_can_be_made_once,
        a_row_changes_only_from_what_was_expected,
        a_refusal_shows_what_is_there,
        what_is_acknowledged_is_a_new_revision,
        rows_without_a_clustering_key_work,
        one_of_many_exchanges_wins,
        exchanges_never_lose_an_increment;
    concurrent:
        concurrent_writes_all_arrive,
        concurrent_versions_leave_the_highest,
        dropped_writes_leave_whole_rows_or_none;
    random:
        random_operations_agree_with_the_model;
}

/// Opens a store, in its own time, and runs a case on it.
fn run<W: Wide>(
    open: impl Future<Output = Result<Opened<W>>>,
    case: impl AsyncFnOnce(Opened<W>) -> Result<()>,
) -> Result<()> {
    let runtime = RUNTIME.as_ref().map_err(|error| anyhow::anyhow!("no runtime: {error}"))?;
    runtime.block_on(async {
        let opened = open.await?;
        tokio::time::timeout(DEADLINE, case(opened)).await.context("the case hangs")?
    })
}
