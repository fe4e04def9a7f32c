//! Rows of `catalog`: one source, and metrics that it has. Tags and metrics are JSON text, readable in any shell.
//!
//! ```text
//! tags     {"site":"north","unit":"3"}                          keys in byte order
//! metrics  [{"name":"temperature","kind":"f64","unit":"Cel"}]   unit only where known; a name once for each kind
//! ```
//!
//! A row need not repeat what earlier rows of its source said: readers merge by union.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value as Json;

use super::{Parts, count_datum};
use crate::layout::tables::CATALOG;
use crate::model::{
    CatalogN, Device, Metric, Shard, Source, TagKey, TagValue, Tags, Tenant, Unit, ValueKind, WriterId,
};
use crate::wide::{Bounds, Datum, Key, ReadError, Row};

/// A source has this metric, with values of this kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricFact {
    /// The metric.
    pub metric: Metric,
    /// One kind of its values.
    pub kind: ValueKind,
    /// Its unit, where known.
    pub unit: Option<Unit>,
}

/// A row of `catalog`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogRow {
    /// Who wrote it.
    pub writer: WriterId,
    /// Its position among the writer's rows of the shard.
    pub n: CatalogN,
    /// The source.
    pub source: Arc<Source>,
    /// Metrics that it has.
    pub metrics: Vec<MetricFact>,
}

impl CatalogRow {
    /// The partition of a shard's catalog.
    pub fn partition(shard: Shard) -> Key {
        Key::from([Datum::Int(i64::from(shard.get()))])
    }

    /// The rows of `writer` from `start` to before `end`.
    pub fn between(writer: WriterId, start: CatalogN, end: CatalogN) -> Bounds {
        let at = |n| Key::from([Datum::Int(writer.get()), count_datum(n)]);
        Bounds { start: std::ops::Bound::Included(at(start)), end: std::ops::Bound::Excluded(at(end)) }
    }

    /// As stored.
    pub fn to_row(&self) -> Row {
        let source = &self.source;
        Row {
            clustering: Key::from([Datum::Int(self.writer.get()), count_datum(self.n)]),
            cells: vec![
                Datum::Uuid(source.id().get()),
                Datum::Text(source.tenant().as_str().into()),
                Datum::Text(source.device().as_str().into()),
                Datum::Text(tags_text(source.tags())),
                Datum::Text(metrics_text(&self.metrics)),
            ],
        }
    }

    /// From what is stored. The names must give the stored source id.
    pub fn from_row(row: &Row) -> Result<Self, ReadError> {
        let parts = Parts::new(&CATALOG, row);
        let id = parts.fit("source", parts.cell("source")?, Datum::as_uuid)?;
        let tenant = Tenant::new(parts.text("tenant")?).map_err(|error| parts.corrupt("tenant", error))?;
        let device = Device::new(parts.text("device")?).map_err(|error| parts.corrupt("device", error))?;
        let tags = parts.text("tags")?;
        let tags = parse_tags(tags).ok_or_else(|| parts.corrupt("tags", tags))?;
        let metrics = parts.text("metrics")?;
        let metrics = parse_metrics(metrics).ok_or_else(|| parts.corrupt("metrics", metrics))?;
        let source = Source::new(tenant, device, tags);
        if source.id().get() != id {
            return Err(parts.corrupt("source", format_args!("{id:032x} is not {:?}", source.id())));
        }
        let n = CatalogN::new(parts.u32_key("n")?);
        Ok(Self { writer: parts.writer_key()?, n, source: Arc::new(source), metrics })
    }
}

fn kind_text(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::F64 => "f64",
        ValueKind::I64 => "i64",
        ValueKind::Bool => "bool",
        ValueKind::Text => "text",
    }
}

fn parse_kind(text: &str) -> Option<ValueKind> {
    let kinds = [ValueKind::F64, ValueKind::I64, ValueKind::Bool, ValueKind::Text];
    kinds.into_iter().find(|&kind| kind_text(kind) == text)
}

fn tags_text(tags: &Tags) -> String {
    let mut text = String::from("{");
    for (at, (key, value)) in tags.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(text, "{comma}{}:{}", Quoted(key.as_str()), Quoted(value.as_str()));
    }
    text.push('}');
    text
}

fn metrics_text(metrics: &[MetricFact]) -> String {
    let mut text = String::from("[");
    for (at, fact) in metrics.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let (name, kind) = (Quoted(fact.metric.as_str()), kind_text(fact.kind));
        let _ = write!(text, "{comma}{{\"name\":{name},\"kind\":\"{kind}\"");
        if let Some(unit) = &fact.unit {
            let _ = write!(text, ",\"unit\":{}", Quoted(unit.as_str()));
        }
        text.push('}');
    }
    text.push(']');
    text
}

/// A JSON string. Names hold no control characters, so only two characters need an escape.
struct Quoted<'a>(&'a str);

impl std::fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_char('"')?;
        for piece in self.0.split_inclusive(['"', '\\']) {
            match piece.strip_suffix(['"', '\\']) {
                Some(clean) => {
                    let special = if piece.ends_with('"') { "\\\"" } else { "\\\\" };
                    write!(f, "{clean}{special}")?;
                }
                None => f.write_str(piece)?,
            }
        }
        f.write_char('"')
    }
}

fn parse_tags(text: &str) -> Option<Tags> {
    let Json::Object(map) = serde_json::from_str(text).ok()? else { return None };
    let pair =
        |(key, value): (&String, &Json)| Some((TagKey::new(key).ok()?, TagValue::new(value.as_str()?).ok()?));
    Tags::new(map.iter().map(pair).collect::<Option<_>>()?).ok()
}

fn parse_metrics(text: &str) -> Option<Vec<MetricFact>> {
    let Json::Array(facts) = serde_json::from_str(text).ok()? else { return None };
    facts.iter().map(parse_fact).collect()
}

fn parse_fact(fact: &Json) -> Option<MetricFact> {
    let unit = match fact.get("unit") {
        Some(unit) => Some(Unit::new(unit.as_str()?).ok()?),
        None => None,
    };
    Some(MetricFact {
        metric: Metric::new(fact.get("name")?.as_str()?).ok()?,
        kind: parse_kind(fact.get("kind")?.as_str()?)?,
        unit,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{damaged, is_corrupt, name};
    use super::*;

    fn source(device: &str, tags: &[(String, String)]) -> Arc<Source> {
        let pair = |(k, v): &(String, String)| (TagKey::new(k).unwrap(), TagValue::new(v).unwrap());
        let tags = Tags::new(tags.iter().map(pair).collect()).unwrap();
        Arc::new(Source::new(Tenant::new("t").unwrap(), Device::new(device).unwrap(), tags))
    }

    fn kind() -> impl Strategy<Value = ValueKind> {
        prop::sample::select(vec![ValueKind::F64, ValueKind::I64, ValueKind::Bool, ValueKind::Text])
    }

    fn fact() -> impl Strategy<Value = MetricFact> {
        (name(), kind(), prop::option::of(name())).prop_map(|(name, kind, unit)| MetricFact {
            metric: Metric::new(&name).unwrap(),
            kind,
            unit: unit.map(|unit| Unit::new(&unit).unwrap()),
        })
    }

    proptest! {
        #[test]
        fn a_row_comes_back_as_written(
            device in name(),
            tags in prop::collection::btree_map(name(), name(), 0..4),
            metrics in prop::collection::vec(fact(), 0..4),
            (writer, n) in any::<(u64, u32)>(),
        ) {
            let tags: Vec<_> = tags.into_iter().collect();
            let row = CatalogRow {
                writer: WriterId::from_random(writer),
                n: CatalogN::new(n),
                source: source(&device, &tags),
                metrics,
            };
            CATALOG.assert_row(&row.to_row());
            prop_assert_eq!(CatalogRow::from_row(&row.to_row()).unwrap(), row);
        }
    }

    fn example() -> CatalogRow {
        let metric = |name: &str, kind, unit: Option<&str>| MetricFact {
            metric: Metric::new(name).unwrap(),
            kind,
            unit: unit.map(|unit| Unit::new(unit).unwrap()),
        };
        CatalogRow {
            writer: WriterId::from_random(1),
            n: CatalogN::new(0),
            source: source("pump-7", &[("site".into(), "no\"rth".into()), ("a\\".into(), "é".into())]),
            metrics: vec![
                metric("temperature", ValueKind::F64, Some("Cel")),
                metric("state", ValueKind::Text, None),
            ],
        }
    }

    #[test]
    fn the_text_is_json_that_a_person_can_read() {
        let cells = example().to_row().cells;
        assert_eq!(cells[3].as_text(), Some(r#"{"a\\":"é","site":"no\"rth"}"#));
        assert_eq!(
            cells[4].as_text(),
            Some(r#"[{"name":"temperature","kind":"f64","unit":"Cel"},{"name":"state","kind":"text"}]"#)
        );
    }

    #[test]
    fn a_damaged_row_is_corrupt() {
        for row in damaged(&example().to_row()) {
            assert!(is_corrupt(&CatalogRow::from_row(&row)), "{row:?}");
        }
    }

    #[test]
    fn a_row_whose_id_is_not_that_of_its_names_is_corrupt() {
        let mut row = example().to_row();
        row.cells[2] = Datum::Text("pump-8".into());
        assert!(is_corrupt(&CatalogRow::from_row(&row)));
    }
}
