//! The commands that people try first: `tidemill demo` and `tidemill replay`.

mod demo;
mod replay;

use std::process::ExitCode;
use std::time::Duration;

use tidemill_tests::real::{
    self,
    Requirement::{MosquittoClients, SharedData, Tidemill},
    trial,
};

const SOON: Duration = Duration::from_mins(1);

fn main() -> ExitCode {
    real::run(vec![
        trial("a_demo_for_a_while_loses_nothing_and_says_so", &[Tidemill], demo::for_a_while),
        trial("a_demo_goes_on_with_the_data_of_the_one_before", &[Tidemill], demo::twice),
        trial(
            "a_demo_without_devices_serves_until_it_is_told_to_stop",
            &[Tidemill, MosquittoClients],
            demo::without_devices,
        ),
        trial("a_demo_that_is_told_to_stop_accounts_for_everything", &[Tidemill], demo::stopped),
        trial("an_interrupted_replay_goes_on_where_it_stopped", &[Tidemill, SharedData], replay::interrupted),
        trial("a_replay_outlives_kills_of_what_it_publishes_to", &[Tidemill, SharedData], replay::kills),
        trial("a_replay_publishes_the_chosen_columns_exactly", &[Tidemill], replay::columns),
        trial("a_replay_says_what_is_wrong_with_its_input", &[Tidemill], replay::mistakes),
    ])
}
