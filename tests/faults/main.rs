//! The fault matrix: real processes, one fault a row, and what an oracle finds afterwards, as a table at the end.
//!
//! What is random comes from `TIDEMILL_SEED`. The usual run takes a few minutes; `TIDEMILL_FAULTS=full` kills a hundred
//! times and more. After each fault nothing acknowledged is lost (I1, I2), nothing is there twice (I5), and a fresh
//! message is taken within a minute.

mod broker;
mod ingester;
mod judge;
mod machine;
mod network;
mod overload;
mod replicas;
mod store;
mod table;
mod wire;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::Trial;
use tidemill_tests::oracle::Plan;
use tidemill_tests::real::{
    self,
    Requirement::{self, Cassandra, Mosquitto, Tidemill},
};

use broker::Forgetful;
use ingester::Durability;
use table::Findings;

const SOON: Duration = Duration::from_mins(1);
/// Crosses a day.
const PLAN: Plan = Plan { devices: 8, start_ms: 1_700_000_000_000, step_ms: 30_000, seed: 23 };
/// What is read of one plan holds nothing of the next.
const PLANS_APART_MS: i64 = 400 * 86_400_000;

/// The plan, some ages later: for rows that share an ingester.
fn later(ages: i64) -> Plan {
    Plan { start_ms: PLAN.start_ms - ages * PLANS_APART_MS, ..PLAN }
}

/// Rows mostly wait: more of them than the machine has processors.
const ROWS_AT_ONCE: usize = 4;

fn main() -> ExitCode {
    const STORE: &[Requirement] = &[Tidemill, Cassandra, Mosquitto];
    let mut trials = vec![
        // One cluster for all of their rows, since starting one takes longer than a row: the longest first.
        real::trial("store", STORE, store::rows),
        real::trial("store_behind_something", STORE, wire::rows),
        real::trial("three_replicas", STORE, replicas::rows),
    ];
    trials.extend(rows_of_one_process());
    trials.extend(rows_with_a_broker());
    let code = real::run_at_once(ROWS_AT_ONCE, trials);
    // After everything else that is printed.
    let _ = write!(std::io::stdout(), "{}", table::table());
    code
}

fn rows_of_one_process() -> Vec<Trial> {
    let one = &[Tidemill];
    vec![
        row("ingester killed at random", one, || ingester::killed(Durability::Store)),
        row("ingester killed at random, spool first", one, || ingester::killed(Durability::Spool)),
        row("ingester killed at each step", one, || ingester::killed_at_steps(Durability::Store)),
        row("ingester killed at each step, spool first", one, || {
            ingester::killed_at_steps(Durability::Spool)
        }),
        row("ingester frozen", one, ingester::frozen),
        row("devices: connections half open, then cut", one, network::half_open),
        row("devices: connections half open for good", one, network::silent),
        row("devices: all reconnect at once", one, network::storm),
        row("clock jumps by days", one, machine::clock_jumps),
        row("memory short, flood", one, machine::memory_short),
        row("memory exhausted", one, machine::memory_exhausted),
        row("twice the sustainable rate", one, overload::twice_the_rate),
    ]
}

fn rows_with_a_broker() -> Vec<Trial> {
    let brokered = &[Tidemill, Mosquitto];
    vec![
        row("broker frozen", brokered, broker::frozen),
        row("broker restarted, with persistence", brokered, broker::restarted),
        row("broker restarted, without persistence", brokered, || broker::forgets(Forgetful::Restarted)),
        row("broker killed, with persistence", brokered, || {
            broker::forgets(Forgetful::KilledWithPersistence)
        }),
        row("broker killed, without persistence", brokered, || broker::forgets(Forgetful::Killed)),
        row("broker slow, and cut off", brokered, broker::slow),
        row("broker: connection half open", brokered, broker::half_open),
        row("broker: session lost", brokered, broker::session_lost),
        row("broker: all reconnect at once", brokered, broker::storm),
    ]
}

fn row(
    name: &'static str,
    needs: &'static [Requirement],
    body: impl FnOnce() -> anyhow::Result<Findings> + Send + 'static,
) -> Trial {
    real::trial(&name.replace(' ', "_"), needs, move || table::judge(name, body()))
}
