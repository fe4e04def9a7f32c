//! PromQL with its real clients: promtool, Prometheus as a scraper and as the reference, and dashboards as Grafana
//! asks for them. Each trial runs a `tidemill` of its own; it knows nothing but HTTP and files that operators get.

#![expect(clippy::indexing_slicing, reason = "a choice that is not there shall fail, with a trace")]

mod dashboard;
mod dashboards;
mod grafana;
mod promtool;
mod reference;
mod rules;
mod scraped;
mod slow;

use std::process::ExitCode;
use std::time::Duration;

use tidemill_tests::real::{
    self,
    Requirement::{Prometheus, Tidemill},
    trial,
};

/// A busy machine takes its time.
const SOON: Duration = Duration::from_mins(1);

fn main() -> ExitCode {
    let both = &[Tidemill, Prometheus];
    real::run(vec![
        trial("promtool_accepts_the_configuration_and_the_rules", &[Prometheus], rules::accepted),
        trial("every_alert_has_a_unit_test_that_fires_it", &[Prometheus], rules::tested),
        trial("dashboards_and_their_provisioning_are_well_formed", &[], dashboards::well_formed),
        trial("every_query_of_the_fleet_and_device_dashboards_has_data", &[Tidemill], dashboards::devices),
        trial("every_query_of_the_pipeline_dashboard_has_data", both, dashboards::pipeline),
        trial(
            "names_and_labels_in_dashboards_and_rules_are_those_of_a_scrape",
            &[Tidemill],
            scraped::names_and_labels,
        ),
        trial("promtool_reads_instants_ranges_series_and_labels", both, promtool::queries),
        trial("values_of_slow_metrics_stay_current_for_longer", &[Tidemill], slow::metrics),
        trial("a_difference_between_two_answers_is_noticed", &[], reference::notices),
        trial("hundreds_of_queries_are_answered_as_prometheus_answers_them", both, reference::compare),
    ])
}
