//! The CQL backend against a real Cassandra: its schema, its options and its errors.
//!
//! What every backend must do is in the contract suite; here is what only this one has: tables that operators look
//! at, versions of them, and a cluster that can be away, misconfigured or busy.

mod disk;
mod errors;
mod fixture;
mod rows;
mod schema;

use std::process::ExitCode;

use fixture::on_shared;
use tidemill_tests::real::{self, Requirement, trial};

fn main() -> ExitCode {
    real::run(vec![
        on_shared("applying_a_schema_twice_changes_nothing", schema::applying_twice),
        on_shared("two_processes_may_apply_a_schema_at_once", schema::applying_at_once),
        on_shared("an_apply_that_was_cut_short_is_completed_by_the_next", schema::completing),
        on_shared("a_keyspace_of_the_first_version_is_brought_up_to_date", schema::upgrading),
        on_shared("a_keyspace_of_a_newer_version_is_left_alone", schema::newer),
        on_shared("tables_are_compacted_compressed_and_expired_as_they_are_used", schema::table_options),
        on_shared("a_changed_retention_is_applied_to_the_table", schema::retention),
        on_shared("rows_live_until_the_retention_of_their_class_ends", schema::lifetimes),
        on_shared("a_missing_column_is_named_before_anything_is_written", schema::missing_column),
        on_shared("a_missing_keyspace_says_which_command_creates_it", schema::missing_keyspace),
        on_shared("a_wrong_data_centre_is_answered_with_those_that_exist", schema::wrong_datacenter),
        on_shared("keys_and_cells_read_well_in_a_shell", rows::readable),
        on_shared("every_form_of_bounds_selects_what_the_model_selects", rows::bounds),
        on_shared("a_range_delete_removes_what_the_model_removes", rows::range_deletes),
        on_shared("a_page_of_large_bodies_is_bounded_in_bytes", rows::large_bodies),
        on_shared("a_put_larger_than_a_batch_is_written_whole", rows::large_put),
        on_shared("exchanges_of_many_at_once_let_one_win", rows::exchanges),
        on_shared("too_few_replicas_mean_that_a_write_was_not_applied", errors::too_few_replicas),
        on_shared("a_table_that_is_gone_refuses_writes_for_good", errors::missing_table),
        trial("every_unreachable_host_is_named_with_its_reason", &[], errors::unreachable_hosts),
        trial(
            "logins_permissions_and_a_frozen_node_give_the_right_errors",
            &[Requirement::Cassandra],
            errors::faults,
        ),
        trial("what_has_expired_gives_its_bytes_back_to_the_disk", &[Requirement::Cassandra], disk::windows),
        trial(
            "a_data_centre_serves_itself_and_loses_nothing_with_a_node",
            &[Requirement::Cassandra],
            errors::data_centres,
        ),
    ])
}
