//! The pipeline's numbers as Prometheus shows them. All names and help texts of this crate's pipeline stand here.

use std::sync::atomic::{AtomicI64, Ordering};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, MetricFamily, MetricType};

use super::histogram::Histogram;
use super::{Accounting, IngestMetrics, SparkplugCounts, State, WaitingCount, WaitingCounts};

/// A family with its labels: name, help, type.
type Family = (&'static str, &'static str, MetricType);

const RECEIVED: Family =
    ("tidemill_ingest_messages_received_total", "Messages taken from sources, by QoS.", MetricType::COUNTER);
const STORED: Family =
    ("tidemill_ingest_messages_stored_total", "Messages made durable.", MetricType::COUNTER);
const DUPLICATE: Family = (
    "tidemill_ingest_messages_duplicate_total",
    "Messages sent again before they were acknowledged, and known: they are not stored again.",
    MetricType::COUNTER,
);
const DEAD_LETTERED: Family = (
    "tidemill_ingest_messages_dead_lettered_total",
    "Messages that could not be understood or taken, kept durably.",
    MetricType::COUNTER,
);
const QUARANTINED: Family = (
    "tidemill_ingest_messages_quarantined_total",
    "Messages that policy does not take, kept durably.",
    MetricType::COUNTER,
);
const REJECTED: Family = (
    "tidemill_ingest_messages_rejected_total",
    "Dead-lettered and quarantined messages by reason.",
    MetricType::COUNTER,
);
const NOT_KEPT: Family = (
    "tidemill_ingest_rejects_not_kept_total",
    "Of the rejected messages those that were only counted, because too many were kept already, by reason.",
    MetricType::COUNTER,
);
const WAITED: Family = (
    "tidemill_ingest_messages_waited_total",
    "Quarantined messages that were taken when the birth or the eras they waited for were known; they count as received \
     once more then.",
    MetricType::COUNTER,
);
const WAITING_MESSAGES: Family = (
    "tidemill_ingest_waiting_messages",
    "Messages that are kept until what they need comes by itself: a Sparkplug birth, the eras.",
    MetricType::GAUGE,
);
const WAITING_BYTES: Family =
    ("tidemill_ingest_waiting_bytes", "Bytes of messages that wait.", MetricType::GAUGE);
const SHED: Family =
    ("tidemill_ingest_messages_shed_total", "QoS 0 messages dropped for want of room.", MetricType::COUNTER);
const IN_FLIGHT: Family =
    ("tidemill_ingest_messages_in_flight", "Messages taken and not yet settled.", MetricType::GAUGE);
const SAMPLES_RECEIVED: Family =
    ("tidemill_ingest_samples_received_total", "Samples in understood messages.", MetricType::COUNTER);
const SAMPLES_STORED: Family =
    ("tidemill_ingest_samples_stored_total", "Samples made durable.", MetricType::COUNTER);
const SAMPLES_DUPLICATE: Family = (
    "tidemill_ingest_samples_duplicate_total",
    "Samples recognised on arrival as stored before.",
    MetricType::COUNTER,
);
const SAMPLES_DEAD_LETTERED: Family = (
    "tidemill_ingest_samples_dead_lettered_total",
    "Samples that limits of the store do not take, kept durably.",
    MetricType::COUNTER,
);
const SAMPLES_QUARANTINED: Family =
    ("tidemill_ingest_samples_quarantined_total", "Samples of quarantined messages.", MetricType::COUNTER);
const SAMPLES_IN_FLIGHT: Family =
    ("tidemill_ingest_samples_in_flight", "Samples decoded and not yet settled.", MetricType::GAUGE);
const RECOVERED: Family = (
    "tidemill_ingest_messages_recovered_total",
    "Messages that an earlier process left in the spool.",
    MetricType::COUNTER,
);
const SPOOLED: Family = (
    "tidemill_ingest_messages_spooled",
    "Messages durable in the spool that the store does not have yet.",
    MetricType::GAUGE,
);
const SET_ASIDE: Family = (
    "tidemill_ingest_messages_set_aside_total",
    "Messages in records of the spool that cannot be read any more.",
    MetricType::COUNTER,
);
const SAMPLES_RECOVERED: Family = (
    "tidemill_ingest_samples_recovered_total",
    "Samples that an earlier process left in the spool.",
    MetricType::COUNTER,
);
const SAMPLES_SPOOLED: Family = (
    "tidemill_ingest_samples_spooled",
    "Samples durable in the spool that the store does not have yet.",
    MetricType::GAUGE,
);
const SAMPLES_SET_ASIDE: Family = (
    "tidemill_ingest_samples_set_aside_total",
    "Samples in records of the spool that cannot be read any more.",
    MetricType::COUNTER,
);
const VIOLATIONS: Family = (
    "tidemill_accounting_violations_total",
    "Times the numbers of messages or samples did not add up; anything but 0 is a defect.",
    MetricType::COUNTER,
);
const BYTES_IN_FLIGHT: Family = (
    "tidemill_ingest_in_flight_bytes",
    "Bytes of messages taken and not yet settled, as counted against their limit.",
    MetricType::GAUGE,
);
const QUEUED_MESSAGES: Family = (
    "tidemill_ingest_queue_messages",
    "Messages decoded and waiting for the write before them.",
    MetricType::GAUGE,
);
const QUEUED_BYTES: Family = (
    "tidemill_ingest_queue_bytes",
    "Bytes of messages waiting for the write before them.",
    MetricType::GAUGE,
);
const SHARDS: Family =
    ("tidemill_ingest_shards", "Shards that this process has written to.", MetricType::GAUGE);
const ACK_LATENCY: Family = (
    "tidemill_ingest_ack_latency_seconds",
    "From a message being taken to its being settled.",
    MetricType::HISTOGRAM,
);
const SKEW: Family = (
    "tidemill_ingest_time_skew_seconds",
    "From the newest time in a message to its receipt: clocks that are off, and messages that come late.",
    MetricType::HISTOGRAM,
);
const PLAN_MESSAGES: Family =
    ("tidemill_ingest_plan_messages", "Messages made durable by one write plan.", MetricType::HISTOGRAM);
const PLAN_SAMPLES: Family =
    ("tidemill_ingest_plan_samples", "Samples made durable by one write plan.", MetricType::HISTOGRAM);

const SPARKPLUG_BIRTHS: Family =
    ("tidemill_sparkplug_births_total", "Births of edge nodes and devices.", MetricType::COUNTER);
const SPARKPLUG_DEATHS: Family =
    ("tidemill_sparkplug_deaths_total", "Deaths of edge nodes and devices.", MetricType::COUNTER);
const SPARKPLUG_GAPS: Family = (
    "tidemill_sparkplug_sequence_gaps_total",
    "Places where sequence numbers of a node do not follow each other.",
    MetricType::COUNTER,
);
const SPARKPLUG_HISTORICAL: Family = (
    "tidemill_sparkplug_historical_total",
    "Values of the past, which edge nodes had stored while they were offline.",
    MetricType::COUNTER,
);
const SPARKPLUG_PASSED_OVER: Family = (
    "tidemill_sparkplug_metrics_passed_over_total",
    "Metrics that no series holds: data sets, templates, bytes, files, arrays, and values beyond what is stored. Their messages are kept as rejects.",
    MetricType::COUNTER,
);
const SPARKPLUG_REBIRTHS: Family = (
    "tidemill_sparkplug_rebirths_requested_total",
    "Requests to edge nodes to publish their births again.",
    MetricType::COUNTER,
);

const FAMILIES: [Family; 38] = [
    RECOVERED,
    SPOOLED,
    SET_ASIDE,
    SAMPLES_RECOVERED,
    SAMPLES_SPOOLED,
    SAMPLES_SET_ASIDE,
    VIOLATIONS,
    RECEIVED,
    STORED,
    DUPLICATE,
    DEAD_LETTERED,
    QUARANTINED,
    REJECTED,
    NOT_KEPT,
    WAITED,
    WAITING_MESSAGES,
    WAITING_BYTES,
    SHED,
    IN_FLIGHT,
    SAMPLES_RECEIVED,
    SAMPLES_STORED,
    SAMPLES_DUPLICATE,
    SAMPLES_DEAD_LETTERED,
    SAMPLES_QUARANTINED,
    SAMPLES_IN_FLIGHT,
    BYTES_IN_FLIGHT,
    QUEUED_MESSAGES,
    QUEUED_BYTES,
    ACK_LATENCY,
    SKEW,
    PLAN_MESSAGES,
    PLAN_SAMPLES,
    SPARKPLUG_BIRTHS,
    SPARKPLUG_DEATHS,
    SPARKPLUG_GAPS,
    SPARKPLUG_HISTORICAL,
    SPARKPLUG_PASSED_OVER,
    SPARKPLUG_REBIRTHS,
];

/// How a registry tells one collector from another. The names above change only together with dashboards.
pub(super) struct Described(Vec<Desc>);

impl Described {
    fn all() -> Result<Self, prometheus::Error> {
        let describe = |(name, help, _): &Family| {
            Desc::new((*name).to_owned(), (*help).to_owned(), labels(name), std::collections::HashMap::new())
        };
        FAMILIES.iter().chain([&SHARDS]).map(describe).collect::<Result<Vec<_>, _>>().map(Self)
    }
}

fn labels(name: &str) -> Vec<String> {
    let labels: &[&str] = match name {
        "tidemill_ingest_messages_received_total" => &["qos"],
        "tidemill_ingest_messages_rejected_total" => &["kind", "reason"],
        "tidemill_ingest_rejects_not_kept_total"
        | "tidemill_ingest_waiting_messages"
        | "tidemill_ingest_waiting_bytes" => &["reason"],
        _ => &[],
    };
    labels.iter().map(|&label| label.to_owned()).collect()
}

/// What a registry holds: the metrics and their descriptions.
struct Exported {
    metrics: IngestMetrics,
    described: Described,
}

impl IngestMetrics {
    /// Shows these metrics in `registry`. Fails where it shows those of another pipeline already.
    pub fn register(&self, registry: &prometheus::Registry) -> Result<(), prometheus::Error> {
        let exported = Exported { metrics: self.clone(), described: Described::all()? };
        registry.register(Box::new(exported))
    }
}

impl Collector for Exported {
    fn desc(&self) -> Vec<&Desc> {
        self.described.0.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let gauge = |number: &AtomicI64| u64::try_from(number.load(Ordering::Relaxed)).unwrap_or(0);
        let inner = &self.metrics.0;
        let mut families = vec![
            plain(QUEUED_MESSAGES, gauge(&inner.queued_messages)),
            plain(QUEUED_BYTES, gauge(&inner.queued_bytes)),
            plain(SHARDS, gauge(&inner.shards)),
        ];
        families.extend(waiting(&self.metrics.waiting()));
        let state = self.metrics.state();
        families.extend(messages(&state));
        families.extend(samples(&state.samples.shown()));
        families.extend([
            plain(VIOLATIONS, state.violations),
            plain(BYTES_IN_FLIGHT, state.bytes_in_flight),
            family(ACK_LATENCY, vec![histogram(&state.ack_latency)]),
            family(SKEW, vec![histogram(&state.skew)]),
            family(PLAN_MESSAGES, vec![histogram(&state.plan_messages)]),
            family(PLAN_SAMPLES, vec![histogram(&state.plan_samples)]),
        ]);
        let SparkplugCounts { noted, rebirths_asked } = state.sparkplug;
        families.extend([
            plain(SPARKPLUG_BIRTHS, noted.births),
            plain(SPARKPLUG_DEATHS, noted.deaths),
            plain(SPARKPLUG_GAPS, noted.gaps),
            plain(SPARKPLUG_HISTORICAL, noted.historical),
            plain(SPARKPLUG_PASSED_OVER, noted.passed_over),
            plain(SPARKPLUG_REBIRTHS, rebirths_asked),
            plain(WAITED, state.waited),
        ]);
        families
    }
}

fn messages(state: &State) -> Vec<MetricFamily> {
    let [qos0, qos1] = state.by_qos;
    let received = [("0", qos0), ("1", qos1)].map(|(qos, count)| {
        let mut metric = value(RECEIVED.2, count);
        metric.set_label(vec![label("qos", qos)]);
        metric
    });
    let rejected = state.rejected.iter().map(|(&(kind, reason), &count)| {
        let mut metric = value(REJECTED.2, count);
        metric.set_label(vec![label("kind", kind), label("reason", reason)]);
        metric
    });
    let not_kept = state.not_kept.iter().map(|(&reason, &count)| {
        let mut metric = value(NOT_KEPT.2, count);
        metric.set_label(vec![label("reason", reason)]);
        metric
    });
    let of = state.messages.shown();
    vec![
        family(NOT_KEPT, not_kept.collect()),
        family(RECEIVED, received.into()),
        family(REJECTED, rejected.collect()),
        plain(STORED, of.stored),
        plain(DUPLICATE, of.duplicate),
        plain(DEAD_LETTERED, of.dead_lettered),
        plain(QUARANTINED, of.quarantined),
        plain(SHED, of.shed),
        plain(RECOVERED, of.recovered),
        plain(SPOOLED, of.spooled),
        plain(SET_ASIDE, of.set_aside),
        plain(IN_FLIGHT, of.in_flight),
    ]
}

fn waiting(counts: &WaitingCounts) -> [MetricFamily; 2] {
    let of = |family_of: Family, number: fn(WaitingCount) -> u64| {
        let metrics = counts.by_reason().map(|(reason, count)| {
            let mut metric = value(family_of.2, number(count));
            metric.set_label(vec![label("reason", reason)]);
            metric
        });
        family(family_of, metrics.into())
    };
    [of(WAITING_MESSAGES, |count| count.messages), of(WAITING_BYTES, |count| count.bytes)]
}

fn samples(of: &Accounting) -> Vec<MetricFamily> {
    vec![
        plain(SAMPLES_RECEIVED, of.received),
        plain(SAMPLES_STORED, of.stored),
        plain(SAMPLES_DUPLICATE, of.duplicate),
        plain(SAMPLES_DEAD_LETTERED, of.dead_lettered),
        plain(SAMPLES_QUARANTINED, of.quarantined),
        plain(SAMPLES_IN_FLIGHT, of.in_flight),
        plain(SAMPLES_RECOVERED, of.recovered),
        plain(SAMPLES_SPOOLED, of.spooled),
        plain(SAMPLES_SET_ASIDE, of.set_aside),
    ]
}

fn plain(of: Family, number: u64) -> MetricFamily {
    family(of, vec![value(of.2, number)])
}

fn family((name, help, kind): Family, metrics: Vec<proto::Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn value(kind: MetricType, number: u64) -> proto::Metric {
    let (mut metric, number) = (proto::Metric::default(), double(number));
    if kind == MetricType::COUNTER {
        let mut counter = proto::Counter::default();
        counter.set_value(number);
        metric.set_counter(counter);
    } else {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(number);
        metric.set_gauge(gauge);
    }
    metric
}

fn histogram(of: &Histogram) -> proto::Metric {
    let bucket = |(bound, count)| {
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(count);
        bucket
    };
    let mut histogram = proto::Histogram::default();
    histogram.set_sample_count(of.count());
    histogram.set_sample_sum(of.sum());
    histogram.set_bucket(of.cumulative().map(bucket).collect());
    let mut metric = proto::Metric::default();
    metric.set_histogram(histogram);
    metric
}

fn label(name: &str, value: &str) -> proto::LabelPair {
    let mut label = proto::LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    label
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a scrape has doubles; 2^53 messages are far"
)]
fn double(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus::{Registry, TextEncoder};
    use tidemill_store::layout::RejectKind;

    use super::super::{Arrival, Rejected, Settled};
    use super::*;

    #[test]
    fn a_scrape_shows_every_family_and_the_identity_adds_up() {
        let metrics = IngestMetrics::default();
        let registry = Registry::new();
        metrics.register(&registry).unwrap();
        assert!(metrics.register(&registry).is_err(), "a second pipeline must not hide behind the first");
        metrics.arrived(&Arrival { qos0: 2, qos1: 5, shed: 1, samples: 9, bytes: 10, skews: &[-0.5, 2.0] });
        metrics.settled(Settled {
            messages: 3,
            samples: 4,
            bytes: 5,
            rejected: &[Rejected {
                message: 0,
                kind: RejectKind::DeadLetter,
                reason: "syntax",
                samples: 0,
                is_kept: false,
            }],
            written: super::super::Written::default(),
            latency: Duration::from_millis(3),
        });
        metrics.planned(3, 4);
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let number = |name: &str| -> u64 {
            let line =
                text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
            line.unwrap_or_else(|| panic!("{name} in\n{text}")).rsplit(' ').next().unwrap().parse().unwrap()
        };
        let messages = |what: &str| number(&format!("tidemill_ingest_messages_{what}"));
        let received = messages("received_total{qos=\"0\"}") + messages("received_total{qos=\"1\"}");
        let settled: u64 = ["stored", "duplicate", "quarantined", "dead_lettered", "shed"]
            .map(|what| messages(&format!("{what}_total")))
            .iter()
            .sum();
        assert_eq!(received, settled + messages("in_flight"));
        assert_eq!(messages("rejected_total{kind=\"dead_letter\",reason=\"syntax\"}"), 1);
        assert_eq!(number("tidemill_ingest_ack_latency_seconds_bucket{le=\"0.005\"}"), 3);
        assert_eq!(number("tidemill_ingest_ack_latency_seconds_bucket{le=\"0.002\"}"), 0);
        assert_eq!(number("tidemill_ingest_time_skew_seconds_bucket{le=\"-0.1\"}"), 1);
        for (name, ..) in FAMILIES.iter().chain([&SHARDS]) {
            assert!(text.contains(&format!("# TYPE {name} ")), "{name} is missing");
        }
    }
}
