//! `ingest.topics` and `[[ingest.templates]]`: which topics are taken, and how their payloads are read.

use std::time::Duration;

use anyhow::{Context, ensure};
use tidemill_ingest::decode::{CsvLayout, Format, Reading, TimeUnit};
use tidemill_ingest::policy::{TimeBasis, TimePolicy, TimeRule};
use tidemill_ingest::topic::{Rules, TopicTemplates};
use tidemill_store::model::Metric;

use super::raw::{RawFormat, RawIngest, RawTemplate, RawTimeBasis, RawTimeUnit};

/// Templates with rules of their own first, then those of the plain list. None takes what is older than what is `kept`.
pub(super) fn templates(raw: &RawIngest, kept: Option<Duration>) -> anyhow::Result<TopicTemplates> {
    let mut all = Vec::new();
    for template in &raw.templates {
        let key = || format!("the template {:?} of ingest.templates", template.topic);
        all.push((template.topic.clone(), rules(raw, template, kept).with_context(key)?));
    }
    let plain = rules(raw, &RawTemplate::default(), kept)?;
    all.extend(raw.topics.iter().map(|topic| (topic.clone(), plain.clone())));
    TopicTemplates::with_rules(all).context("ingest.templates and ingest.topics")
}

fn rules(raw: &RawIngest, template: &RawTemplate, kept: Option<Duration>) -> anyhow::Result<Rules> {
    let format = format(template)?;
    let basis = match template.time {
        RawTimeBasis::Payload => TimeBasis::Payload,
        RawTimeBasis::Receive => TimeBasis::Receipt,
        RawTimeBasis::PayloadElseReceive => TimeBasis::PayloadElseReceipt,
    };
    let metric = template.metric.as_deref().map(Metric::new).transpose().context("metric")?;
    ensure!(
        metric.is_none() || format.takes_metric_from_topic(),
        "metric means something for the formats scalar and auto only: others name their metrics"
    );
    let unit = match (template.time_unit, &format) {
        (Some(unit), _) => time_unit(unit),
        (None, Format::LineProtocol) => TimeUnit::Nanoseconds,
        (None, _) => time_unit(raw.time_unit),
    };
    let accepted = TimePolicy {
        past_max: template.past_max.unwrap_or(raw.past_max).0.min(kept.unwrap_or(Duration::MAX)),
        future_max: template.future_max.unwrap_or(raw.future_max).0,
    };
    let read = |unit| (basis != TimeBasis::Receipt).then_some(unit);
    let unit_of_lines = read(template.time_unit.map_or(TimeUnit::Nanoseconds, time_unit));
    let reading = Reading { format, unit: read(unit), unit_of_lines };
    Ok(Rules { reading, times: TimeRule { basis, accepted }, metric })
}

fn format(template: &RawTemplate) -> anyhow::Result<Format> {
    let default = RawTemplate::default();
    let of_csv = |template: &RawTemplate| {
        (template.columns.clone(), template.time_column.clone(), template.delimiter.clone())
    };
    ensure!(
        template.format == RawFormat::Csv || of_csv(template) == of_csv(&default),
        "columns, time_column and delimiter mean something for the format csv only"
    );
    Ok(match template.format {
        RawFormat::Json => Format::Json,
        RawFormat::SenmlJson => Format::SenmlJson,
        RawFormat::SenmlCbor => Format::SenmlCbor,
        RawFormat::LineProtocol => Format::LineProtocol,
        RawFormat::Cbor => Format::Cbor,
        RawFormat::Msgpack => Format::MessagePack,
        RawFormat::Scalar => Format::Scalar,
        RawFormat::Sparkplug => Format::Sparkplug,
        RawFormat::Auto => Format::Auto,
        RawFormat::Csv => {
            let mut delimiter = template.delimiter.chars();
            let (Some(character), None) = (delimiter.next(), delimiter.next()) else {
                anyhow::bail!("delimiter {:?} must be one character", template.delimiter);
            };
            Format::Csv(CsvLayout::new(&template.columns, &template.time_column, character)?)
        }
    })
}

const fn time_unit(raw: RawTimeUnit) -> TimeUnit {
    match raw {
        RawTimeUnit::Seconds => TimeUnit::Seconds,
        RawTimeUnit::Millis => TimeUnit::Milliseconds,
        RawTimeUnit::Micros => TimeUnit::Microseconds,
        RawTimeUnit::Nanos => TimeUnit::Nanoseconds,
        RawTimeUnit::Auto => TimeUnit::Magnitude,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<TopicTemplates> {
        templates(&toml::from_str(text)?, None)
    }

    #[test]
    fn templates_come_before_the_plain_list_and_may_have_rules_of_their_own() {
        let all = read(
            r#"
            topics = ["devices/{device}/telemetry"]
            time_unit = "s"
            [[templates]]
            topic = "senml/{device}"
            format = "senml_json"
            [[templates]]
            topic = "tele/{device}/{metric*}"
            format = "scalar"
            time = "receive"
            future_max = "1h"
            [[templates]]
            topic = "influx/{device}"
            format = "line_protocol"
            [[templates]]
            topic = "csv/{device}"
            format = "csv"
            columns = ["ts", "temperature"]
            delimiter = ";"
            time_unit = "auto"
            [[templates]]
            topic = "any/{device}"
            format = "auto"
            [[templates]]
            topic = "any/seconds/{device}"
            format = "auto"
            time_unit = "s"
            "#,
        )
        .unwrap();
        let rules: Vec<&Rules> = all.rules().collect();
        let names: Vec<_> = rules.iter().map(|rules| rules.reading.format.name()).collect();
        assert_eq!(names, ["senml_json", "scalar", "line_protocol", "csv", "auto", "auto", "json"]);
        let units: Vec<_> =
            rules.iter().map(|rules| rules.reading.unit.map_or("none", TimeUnit::name)).collect();
        assert_eq!(units, ["s", "none", "ns", "auto", "s", "s", "s"]);
        let of_lines = |at: usize| rules[at].reading.unit_of_lines.map(TimeUnit::name);
        assert_eq!((of_lines(4), of_lines(5)), (Some("ns"), Some("s")));
        assert_eq!(rules[1].times.accepted.future_max.as_secs(), 3600);
        assert_eq!(rules[1].times.accepted.past_max, RawIngest::default().past_max.0);
        assert_eq!(all.subscriptions().first().map(String::as_str), Some("senml/+"));
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_template() {
        let refused = |keys: &str| {
            format!("{:#}", read(&format!("[[templates]]\ntopic = \"x/{{device}}\"\n{keys}")).unwrap_err())
        };
        assert!(refused("format = \"xml\"").contains("senml_json"), "{}", refused("format = \"xml\""));
        assert!(refused("fromat = \"json\"").contains("fromat"));
        assert!(refused("metric = \"m\"").contains("\"x/{device}\""));
        assert!(refused("columns = [\"a\"]").contains("csv only"));
        assert!(refused("format = \"csv\"\ndelimiter = \"ab\"").contains("one character"));
        assert!(refused("format = \"csv\"\ncolumns = [\"ts\"]").contains("no column is a metric"));
        assert!(refused("format = \"sparkplug\"").contains("spBv1.0/{group}"));
        assert!(refused("format = \"scalar\"").contains("{metric}"));
        assert!(refused("format = \"scalar\"\nmetric = \"m\"\ntime = \"payload\"").contains("no time"));
    }
}
