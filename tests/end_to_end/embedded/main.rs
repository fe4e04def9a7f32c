//! One process, nothing else: devices connect to the listener, the embedded store keeps what they
//! send, HTTP answers. Each trial runs a `tidemill` of its own.

mod answers;
mod brokered;
mod configuration;
mod formats;
mod listener;
mod problems;
mod protocol;
mod raw;
mod rejects;
mod replays;
mod restarts;
mod sparkplug;

use std::process::ExitCode;
use std::time::Duration;

use tidemill_tests::mqtt::Protocol::{V5, V311};
use tidemill_tests::oracle::Plan;
use tidemill_tests::real::{
    self,
    Requirement::{Mosquitto, MosquittoClients, Tidemill},
    trial,
};

const SOON: Duration = Duration::from_secs(30);
/// Crosses a day, so that every test reads more than one bucket.
const PLAN: Plan = Plan { devices: 8, start_ms: 1_700_000_000_000, step_ms: 30_000, seed: 3 };

fn main() -> ExitCode {
    let one = &[Tidemill];
    real::run(vec![
        trial("acknowledged_is_answered_at_once_over_mqtt_311", one, || answers::at_once(V311)),
        trial("acknowledged_is_answered_at_once_over_mqtt_5", one, || answers::at_once(V5)),
        trial(
            "what_mosquitto_pub_sends_is_answered_at_once",
            &[Tidemill, MosquittoClients],
            answers::mosquitto_pub,
        ),
        trial("pages_of_samples_hold_every_sample_once", one, answers::pages),
        trial("windows_equal_those_computed_from_the_samples", one, answers::windows),
        trial("devices_and_metrics_are_listed", one, answers::lists),
        trial("bad_requests_say_what_to_change", one, problems::bad_requests),
        trial("every_documented_path_is_served", one, problems::documented),
        trial("poison_is_kept_and_counted_and_stops_nobody", one, rejects::poison),
        trial("a_wildcard_in_a_topic_ends_only_its_connection", one, rejects::wildcard),
        trial("nothing_vanishes_from_the_metrics_at_any_moment", one, rejects::accounting),
        trial("a_replay_that_is_killed_and_run_again_has_been_done_once", one, replays::killed),
        trial("rejects_of_a_store_in_use_are_listed_and_left_alone", one, replays::in_use),
        trial("a_flood_of_garbage_fills_no_disk_and_slows_nobody", one, replays::flood),
        trial("sparkplug_survives_a_kill_and_asks_for_births", &[Tidemill, Mosquitto], sparkplug::births),
        trial(
            "topic_aliases_and_user_properties_are_understood_directly_and_over_a_broker",
            &[Tidemill, Mosquitto],
            protocol::aliases_and_properties,
        ),
        trial("the_listener_announces_its_limits_and_keeps_to_them", one, listener::announced),
        trial("who_breaks_a_rule_of_the_protocol_is_told_which_and_hurts_nobody", one, listener::reasons),
        trial("who_sends_too_much_garbage_is_told_so", one, listener::quota),
        trial("what_is_sent_again_is_there_once", one, listener::repeated),
        trial("what_is_sent_again_without_a_time_is_there_once", one, listener::sent_again),
        trial("retained_messages_are_taken_or_ignored", &[Tidemill, Mosquitto], brokered::retained),
        trial("oversize_packets_stop_nothing", &[Tidemill, Mosquitto], brokered::oversize),
        trial("a_broker_is_told_how_much_is_taken", &[Tidemill, Mosquitto], brokered::asked),
        trial("odd_payloads_are_stored_or_refused_with_their_place", one, formats::odd),
        trial("a_wrong_word_is_refused_with_those_there_are", one, configuration::wrong_word),
        trial("an_unknown_key_is_refused_with_the_closest_one", one, configuration::unknown_key),
        trial("addresses_that_others_reach_are_refused", one, configuration::remote_addresses),
        trial("a_second_process_leaves_the_data_directory_alone", one, configuration::second_process),
        trial("a_terminated_process_has_settled_everything", one, restarts::terminate),
        trial("a_killed_process_has_lost_nothing_acknowledged", one, restarts::kill),
    ])
}
