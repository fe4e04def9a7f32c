//! The fault matrix: real processes, one fault a row, and what an oracle finds afterwards, as a table at the end.
//!
//! What is random comes from `TIDEMILL_SEED`. The usual run takes a few minutes; `TIDEMILL_FAULTS=full` kills a hundred
//! times and more. After each fault nothing acknowledged is lost (I1, I2), nothing is there twice (I5), and a fresh
//! message is taken within a minute.

mod broker;
mod ingester;
mod judge;
mod store;
mod table;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::Trial;
use tidemill_tests::oracle::Plan;
use tidemill_tests::real::{
    self,
    Requirement::{self, Cassandra, Mosquitto, Tidemill},
};

use table::Findings;

const SOON: Duration = Duration::from_mins(1);
/// Crosses a day.
const PLAN: Plan = Plan { devices: 8, start_ms: 1_700_000_000_000, step_ms: 30_000, seed: 23 };

fn main() -> ExitCode {
    let one = &[Tidemill];
    let brokered = &[Tidemill, Mosquitto];
    let code = real::run(vec![
        row("ingester killed at random", one, || ingester::killed(None)),
        row("ingester killed, durability = spool", one, || ingester::killed(Some("spool"))),
        row("ingester frozen", one, ingester::frozen),
        row("connections half open, then cut", one, ingester::half_open),
        row("broker frozen", brokered, broker::frozen),
        row("broker restarted, with persistence", brokered, broker::restarted),
        row("broker killed, without persistence", brokered, broker::killed),
        // One node for all of them: starting it takes longer than the rows.
        real::trial("store", &[Tidemill, Cassandra, Mosquitto], store::rows),
    ]);
    // After everything else that is printed.
    let _ = write!(std::io::stdout(), "{}", table::table());
    code
}

fn row(
    name: &'static str,
    needs: &'static [Requirement],
    body: impl FnOnce() -> anyhow::Result<Findings> + Send + 'static,
) -> Trial {
    real::trial(&name.replace(' ', "_"), needs, move || table::judge(name, body()))
}
