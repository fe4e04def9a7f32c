//! What a run found: as JSON, and as a table for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::goals::Outcome;
use super::load::LatencySummary;
use super::queries::QueryReport;
use super::system::{ProcessReport, float};

/// All runs of one call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Report {
    /// The version of the program.
    pub(super) version: String,
    /// Processors of the machine.
    pub(super) processors: usize,
    /// One for each scenario.
    pub(super) runs: Vec<RunReport>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RunReport {
    /// Its scenario.
    pub(super) scenario: String,
    /// What was sent, in words.
    pub(super) load: BTreeMap<String, String>,
    /// Ctrl-C ended it early.
    pub(super) interrupted: bool,
    /// How long it was measured.
    pub(super) seconds: f64,
    /// Messages that became durable while it was measured.
    pub(super) messages: u64,
    /// The same each second.
    pub(super) messages_per_second: f64,
    /// Samples each second.
    pub(super) samples_per_second: f64,
    /// From being due to being acknowledged; nothing with QoS 0.
    pub(super) acknowledged: LatencySummary,
    /// What each process used.
    pub(super) processes: Vec<ProcessReport>,
    /// What the system counted while it was measured.
    pub(super) counted: BTreeMap<String, f64>,
    /// Syncs of the embedded store while it was measured; absent where the store is elsewhere.
    pub(super) fsyncs: Option<f64>,
    /// Requests to Cassandra while it was measured, repeats among them; absent where the store is another.
    pub(super) cql_requests: Option<f64>,
    /// Bytes of the embedded store when everything was settled, and for each sample in it.
    pub(super) stored_bytes: u64,
    /// Absent where the store is elsewhere.
    pub(super) stored_bytes_per_sample: Option<f64>,
    /// How far the mill was behind at the end; absent where none ran.
    pub(super) mill_lag_seconds: Option<f64>,
    /// Queries beside the load.
    pub(super) queries: Vec<QueryReport>,
    /// What became of every message of the whole run.
    pub(super) account: Account,
    /// How it did by the goals that are about it.
    pub(super) goals: Vec<Outcome>,
}

/// What became of every message, from connecting to the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) published: u64,
    pub(super) acknowledged: u64,
    /// Refused by their acknowledgement.
    pub(super) refused: u64,
    /// What the system says is stored; absent where it was not asked.
    pub(super) stored: Option<u64>,
    /// What the system says it keeps apart.
    pub(super) rejected: Option<u64>,
}

impl Account {
    /// Acknowledged messages that the system does not have.
    pub(super) fn lost(&self) -> Option<u64> {
        let kept = self.stored? + self.rejected.unwrap_or(0);
        Some(self.acknowledged.saturating_sub(kept))
    }
}

/// Counters worth a line: a name and what it is called.
const COUNTED: [(&str, &str); 7] = [
    ("tidemill_store_write_seconds_count", "writes of the store"),
    ("tidemill_append_segments_total", "segments"),
    ("tidemill_append_segment_bytes_total", "bytes of segments"),
    ("tidemill_ingest_plan_messages_count", "write plans"),
    ("tidemill_listener_read_pauses_total", "pauses in reading"),
    ("tidemill_mill_grind_seconds_count", "grinds"),
    ("tidemill_mill_segment_bytes_total", "bytes of segments ground"),
];

impl RunReport {
    /// For people.
    pub(super) fn table(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        let interrupted = if self.interrupted { "  (interrupted)" } else { "" };
        writeln!(out, "\n{}{interrupted}", self.scenario)?;
        let load: Vec<String> = self.load.iter().map(|(name, value)| format!("{name} {value}")).collect();
        writeln!(out, "  {}", load.join(", "))?;
        writeln!(
            out,
            "  {:.0} msg/s, {:.0} samples/s over {:.1} s: {} messages",
            self.messages_per_second, self.samples_per_second, self.seconds, self.messages
        )?;
        self.write_processes(&mut out)?;
        if self.acknowledged.count > 0 {
            write_latency(&mut out, "acknowledged", &self.acknowledged, 0)?;
        }
        for QueryReport { name, failed, latency } in &self.queries {
            write_latency(&mut out, name, latency, *failed)?;
        }
        let counted = COUNTED.iter().map(|(counter, name)| (*name, self.counted.get(*counter).copied()));
        let requests = [("fsyncs", self.fsyncs), ("CQL requests", self.cql_requests)];
        for (name, count) in requests.into_iter().chain(counted) {
            if let Some(count) = count.filter(|count| *count > 0.0) {
                let each = float(self.messages) / count;
                writeln!(out, "  {name:<28}{count:>14.0}   {each:.3} messages for each")?;
            }
        }
        if let Some(each) = self.stored_bytes_per_sample {
            writeln!(out, "  {:<28}{:>14}   {each:.2} for each sample", "bytes stored", self.stored_bytes)?;
        }
        if let Some(lag) = self.mill_lag_seconds {
            writeln!(out, "  {:<28}{lag:>14.0}   seconds", "lag of the mill")?;
        }
        self.write_account(&mut out)?;
        Ok(out)
    }

    fn write_processes(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "  {:<12}{:>12}{:>18}{:>12}{:>12}{:>16}",
            "process", "CPU s", "CPU s/M messages", "RSS MiB", "most MiB", "written MiB"
        )?;
        for process in &self.processes {
            let each = process.cpu_seconds_per_million.map_or("-".to_owned(), |each| format!("{each:.3}"));
            writeln!(
                out,
                "  {:<12}{:>12.2}{each:>18}{:>12.1}{:>12.1}{:>16.1}",
                process.name,
                process.cpu_seconds,
                process.rss_mib,
                process.rss_max_mib,
                float(process.written_bytes) / f64::from(1 << 20),
            )?;
        }
        Ok(())
    }

    fn write_account(&self, out: &mut String) -> std::fmt::Result {
        let Account { published, acknowledged, refused, stored, rejected } = self.account;
        write!(out, "  published {published}, acknowledged {acknowledged}")?;
        if refused > 0 {
            write!(out, ", refused {refused}")?;
        }
        if let (Some(stored), Some(rejected)) = (stored, rejected) {
            write!(out, ", stored {stored}, kept apart {rejected}")?;
        }
        match self.account.lost() {
            Some(lost) => writeln!(out, ", lost {lost}"),
            None => writeln!(out),
        }
    }
}

fn write_latency(out: &mut String, name: &str, latency: &LatencySummary, failed: u64) -> std::fmt::Result {
    let LatencySummary { count, p50_ms, p90_ms, p99_ms, p999_ms, max_ms, .. } = latency;
    write!(
        out,
        "  {name:<24}{count:>10}   ms: p50 {p50_ms:.2}  p90 {p90_ms:.2}  p99 {p99_ms:.2}  p99.9 {p999_ms:.2}  max {max_ms:.2}"
    )?;
    if failed > 0 { writeln!(out, "  failed {failed}") } else { writeln!(out) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::load::Latencies;
    use super::*;

    /// A run of `scenario` that found nothing.
    pub(in crate::bench) fn run(scenario: &str) -> RunReport {
        RunReport {
            scenario: scenario.to_owned(),
            load: BTreeMap::new(),
            interrupted: false,
            seconds: 1.0,
            messages: 0,
            messages_per_second: 0.0,
            samples_per_second: 0.0,
            acknowledged: Latencies::new().unwrap().summary(),
            processes: Vec::new(),
            counted: BTreeMap::new(),
            fsyncs: None,
            cql_requests: None,
            stored_bytes: 0,
            stored_bytes_per_sample: None,
            mill_lag_seconds: None,
            queries: Vec::new(),
            account: Account::default(),
            goals: Vec::new(),
        }
    }

    #[test]
    fn a_message_that_nobody_has_is_lost_and_one_kept_apart_is_not() {
        let account = Account { acknowledged: 10, stored: Some(7), rejected: Some(2), ..Account::default() };
        assert_eq!(account.lost(), Some(1));
        assert_eq!(Account { stored: None, ..account }.lost(), None);
    }
}
