//! Mosquitto → `tidemill` → Cassandra, as in production but small: real input, processes that die,
//! roles apart, a store and a broker that go away and come back.

mod broker;
mod crash;
mod faults;
mod rejects;
mod roles;
mod schema;
mod sensors;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use libtest_mimic::Trial;
use tidemill_tests::cassandra::{Keyspace, shared};
use tidemill_tests::oracle::Plan;
use tidemill_tests::real::{
    self,
    Requirement::{self, Cassandra, Mosquitto, SharedCassandra, SharedData, Tidemill},
    trial,
};

/// A busy machine takes its time to start a process and to connect it to Cassandra.
const SOON: Duration = Duration::from_mins(1);
/// Crosses a day.
const PLAN: Plan = Plan { devices: 8, start_ms: 1_700_000_000_000, step_ms: 30_000, seed: 11 };

fn main() -> ExitCode {
    const STORE: &[Requirement] = &[Tidemill, SharedCassandra];
    const ALL: &[Requirement] = &[Tidemill, SharedCassandra, Mosquitto];
    const INPUT: &[Requirement] = &[Tidemill, SharedCassandra, Mosquitto, SharedData];
    real::run(vec![
        on_keyspace("hourly_windows_of_replayed_files_equal_those_of_the_files", INPUT, sensors::files),
        on_keyspace("twenty_kills_during_a_replay_lose_and_double_nothing", INPUT, crash::kills),
        on_keyspace("one_process_ingests_and_another_answers", STORE, roles::split),
        on_keyspace("two_ingesters_share_a_broker_and_one_may_die", ALL, roles::group),
        on_keyspace("poison_from_a_broker_is_kept_and_acknowledged", ALL, broker::poison),
        on_keyspace("a_restarted_broker_loses_nothing_of_a_plain_subscription", ALL, broker::restart),
        on_keyspace("a_shared_subscription_is_made_again_after_a_restart", ALL, broker::restart_of_group),
        on_keyspace("a_consumer_speaks_mqtt_311_where_told_to", ALL, broker::version_311),
        on_keyspace("rejects_are_listed_shown_replayed_once_and_purged", STORE, rejects::commands),
        on_keyspace("an_ingester_starts_without_its_store_and_forwards_later", STORE, rejects::without_store),
        on_keyspace("the_schema_is_printed_applied_and_checked", STORE, schema::commands),
        on_keyspace("a_printed_schema_is_one_that_check_accepts", STORE, schema::printed),
        trial(
            "acknowledgements_wait_while_the_store_is_frozen",
            &[Tidemill, Cassandra],
            faults::frozen_store,
        ),
    ])
}

/// A trial with a keyspace of its own on the shared node.
fn on_keyspace(
    name: &'static str,
    needs: &'static [Requirement],
    body: fn(&Keyspace) -> Result<()>,
) -> Trial {
    trial(name, needs, move || {
        let node = shared()?;
        body(&Keyspace::new(node.contact_point(), node.datacenter(), "e2e"))
    })
}
