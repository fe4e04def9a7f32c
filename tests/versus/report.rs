//! Results as a table and as JSON. Pure.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};

use crate::data::Fleet;
use crate::load::Loaded;
use crate::queries::{Line, Timing};
use crate::rivals::Kind;

/// All results.
#[derive(Debug)]
pub(crate) struct Report {
    fleet: Fleet,
    loaded: Vec<Loaded>,
    rows: Vec<Row>,
}

/// The results of one query.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    query: &'static str,
    results: BTreeMap<Kind, Outcome>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Outcome {
    Timed(Timing),
    Failed { failed: String },
}

impl Report {
    pub(crate) fn new(fleet: Fleet) -> Self {
        Self { fleet, loaded: Vec::new(), rows: Vec::new() }
    }

    pub(crate) fn loaded(&mut self, loaded: Loaded) {
        self.loaded.push(loaded);
    }

    pub(crate) fn asked(&mut self, line: &Line, kind: Kind, timing: Result<Timing>) {
        let outcome = match timing {
            Ok(timing) => Outcome::Timed(timing),
            Err(error) => Outcome::Failed { failed: format!("{error:#}") },
        };
        if let Some(row) = self.rows.iter_mut().find(|row| row.name == line.name) {
            row.results.insert(kind, outcome);
        } else {
            self.rows.push(Row {
                name: line.name.clone(),
                query: line.query,
                results: [(kind, outcome)].into(),
            });
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({"fleet": self.fleet, "samples": self.fleet.samples(), "loaded": self.loaded, "queries": self.rows})
    }

    fn write_loaded(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fleet { devices, hours, step_seconds, jitter_ms } = self.fleet;
        let samples = self.fleet.samples();
        let jitter = if jitter_ms > 0 { format!(" + 0 to {jitter_ms} ms") } else { String::new() };
        writeln!(
            f,
            "{devices} devices × 5 metrics × {hours} h at {step_seconds} s{jitter} = {samples} samples\n"
        )?;
        writeln!(f, "{:<12} {:>10} {:>16} {:>12}", "", "loading s", "bytes a sample", "memory MB")?;
        for loaded in &self.loaded {
            let seconds = loaded.seconds.map_or_else(|| "–".to_owned(), |seconds| format!("{seconds:.0}"));
            let bytes = loaded.disk_bytes.map(|bytes| double(bytes) / double(samples.max(1)));
            let bytes = bytes.map_or_else(|| "–".to_owned(), |bytes| format!("{bytes:.2}"));
            let memory = double(loaded.resident_bytes) / 1e6;
            writeln!(f, "{:<12} {seconds:>10} {bytes:>16} {memory:>12.0}", loaded.kind)?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_loaded(f)?;
        writeln!(
            f,
            "\nmilliseconds, p50 / p99; × is how many times as long as tidemill (above 1: tidemill is faster)\n"
        )?;
        write!(f, "{:<36}", "")?;
        for loaded in &self.loaded {
            write!(f, " {:>26}", loaded.kind)?;
        }
        writeln!(f)?;
        for row in &self.rows {
            write!(f, "{:<36}", row.name)?;
            let own = row.results.get(&Kind::Tidemill);
            for loaded in &self.loaded {
                let cell = row.results.get(&loaded.kind).map(|outcome| outcome.cell(own)).unwrap_or_default();
                write!(f, " {cell:>26}")?;
            }
            writeln!(f)?;
        }
        self.rows.iter().try_for_each(|row| row.write_notes(f))
    }
}

impl Row {
    /// What failed, and who answered something else than tidemill.
    fn write_notes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.results.get(&Kind::Tidemill).and_then(Outcome::timing);
        for (kind, outcome) in &self.results {
            match (outcome, own) {
                (Outcome::Failed { failed }, _) => writeln!(f, "{}: {kind} failed: {failed}", self.name)?,
                (Outcome::Timed(timing), Some(own)) if !timing.agrees(own) => writeln!(
                    f,
                    "{}: {kind} gave {} series, {} points, sum {}; tidemill {}, {}, {}",
                    self.name, timing.series, timing.points, timing.sum, own.series, own.points, own.sum
                )?,
                (Outcome::Timed(_), _) => {}
            }
        }
        Ok(())
    }
}

impl Outcome {
    fn timing(&self) -> Option<&Timing> {
        match self {
            Self::Timed(timing) => Some(timing),
            Self::Failed { .. } => None,
        }
    }

    fn cell(&self, own: Option<&Self>) -> String {
        let Some(timing) = self.timing() else { return "failed".to_owned() };
        let times = format!("{:.2} / {:.2}", timing.p50_ms, timing.p99_ms);
        match own.and_then(Self::timing).filter(|own| own.p50_ms > 0.0 && !std::ptr::eq(*own, timing)) {
            Some(own) => format!("{times} {:>7}", format!("×{:.1}", timing.p50_ms / own.p50_ms)),
            None => times,
        }
    }
}

impl Timing {
    fn agrees(&self, other: &Self) -> bool {
        let scale = self.sum.abs().max(other.sum.abs()).max(1.0);
        (self.series, self.points) == (other.series, other.points)
            && (self.sum - other.sum).abs() <= 1e-9 * scale
    }
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "shown with three digits")]
fn double(number: u64) -> f64 {
    number as f64
}
