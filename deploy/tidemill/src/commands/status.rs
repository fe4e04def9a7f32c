//! `tidemill status`: per shard what waits for the mill, and how many bytes are stored in which form.
//!
//! An embedded store that is in use by its service is asked through the service.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value as Json;
use tidemill_analytics::api::{SPOOL_PATH, STATUS_PATH};
use tidemill_analytics::moment;
use tidemill_store::model::{Clock, Timestamp};
use tidemill_store::wide::Wide;

use super::on_store::{OnStore, is_in_use, mill, on_store};
use crate::cli::StatusArgs;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::status::{gather, waiting_messages};
use crate::waiting;

/// Every segment that is not ground is looked at.
const ANSWER_WITHIN: Duration = Duration::from_mins(2);
/// What the spool holds is known at once.
const SPOOL_WITHIN: Duration = Duration::from_secs(5);

/// The columns of the table: key in JSON, and heading.
const COLUMNS: [(&str, &str); 11] = [
    ("shard", "shard"),
    ("open", "open"),
    ("closed_unground", "unground"),
    ("dirty", "dirty"),
    ("oldest_unground", "oldest unground"),
    ("sealed", "ground"),
    ("samples", "samples"),
    ("segment_bytes", "segments B"),
    ("block_bytes", "blocks B"),
    ("frame_bytes", "frames B"),
    ("garbage_bytes", "replaced B"),
];

/// Prints the status.
pub(crate) async fn status(config: &Config, args: &StatusArgs) -> anyhow::Result<()> {
    let show = Show { json: args.json };
    match on_store(config, show).await {
        Err(error) if is_in_use(&error) => {
            let address = config.http().address;
            let asked = tokio::task::spawn_blocking(move || ask(address, STATUS_PATH, ANSWER_WITHIN)).await?;
            show.print(
                &asked.with_context(|| format!("{error:#}; the service at {address} gives no status"))?,
            )
        }
        Ok(()) if config.spool().is_some() && !args.json => {
            let address = config.http().address;
            let asked = tokio::task::spawn_blocking(move || ask(address, SPOOL_PATH, SPOOL_WITHIN)).await?;
            match asked {
                Ok(spool) => super::print(&spool_line(&spool)),
                Err(error) => {
                    super::print(&format!("spool: the service at {address} gives no answer: {error:#}\n"))
                }
            }
        }
        done => done,
    }
}

/// What waits in the spool, where there is one.
fn spool_line(spool: &Json) -> String {
    let number = |key| cell(spool.get(key));
    if spool.is_null() {
        return String::new();
    }
    format!(
        "spool: {} messages in {} records wait, {} of {} bytes used, oldest {} s\n",
        number("messages"),
        number("records"),
        number("bytes"),
        number("bytes_max"),
        number("oldest_age_seconds")
    )
}

/// What is kept as rejects until something comes by itself.
fn waiting_line(waiting: &Json) -> String {
    let cell = |key| cell(waiting.get(key));
    format!("rejects: {} messages in {} bytes wait ({})\n", cell("messages"), cell("bytes"), cell("reason"))
}

fn ask(address: SocketAddr, path: &str, within: Duration) -> anyhow::Result<Json> {
    let config = ureq::Agent::config_builder().timeout_global(Some(within)).build();
    let mut answer = ureq::Agent::from(config).get(format!("http://{address}{path}")).call()?;
    Ok(answer.body_mut().read_json()?)
}

#[derive(Clone, Copy)]
struct Show {
    json: bool,
}

impl OnStore for Show {
    async fn run<W: Wide>(self, wide: Arc<W>, config: &Config) -> anyhow::Result<()> {
        let mut status = gather(&mill(Arc::clone(&wide), config).await?).await?;
        let counts = waiting::count(&*wide, config.rejects_retention(), SystemClock.now()).await?;
        if let Some(status) = status.as_object_mut() {
            status.insert("waiting".to_owned(), waiting_messages(&counts));
        }
        self.print(&status)
    }
}

impl Show {
    fn print(self, status: &Json) -> anyhow::Result<()> {
        let text = if self.json { format!("{status}\n") } else { table(status)? };
        super::print(&text)
    }
}

/// One line a shard and one for all of them, in columns.
fn table(status: &Json) -> anyhow::Result<String> {
    let shards = status.get("shards").and_then(Json::as_array).context("a status without shards")?;
    ensure!(shards.iter().all(Json::is_object), "a status without shards");
    let of_shard = |shard: &Json| COLUMNS.map(|(key, _)| cell(shard.get(key)));
    let mut rows = vec![COLUMNS.map(|(_, heading)| heading.to_owned())];
    rows.extend(shards.iter().map(of_shard));
    rows.push(COLUMNS.map(|(key, _)| total(key, shards)));
    let mut widths = [0; COLUMNS.len()];
    for row in &rows {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = cell.len().max(*width));
    }
    let mut text = String::new();
    for row in &rows {
        for (cell, (width, at)) in row.iter().zip(widths.into_iter().zip(0..)) {
            _ = write!(text, "{}{cell:>width$}", if at == 0 { "" } else { "  " });
        }
        text.push('\n');
    }
    text.push_str(&status.get("spool").map(spool_line).unwrap_or_default());
    let waiting = status.get("waiting").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    text.extend(waiting.iter().map(waiting_line));
    Ok(text)
}

/// What a column says of all shards together.
fn total(key: &str, shards: &[Json]) -> String {
    let of_shards = shards.iter().filter_map(|shard| shard.get(key));
    match key {
        "shard" => "all".to_owned(),
        "oldest_unground" => {
            let texts = of_shards.filter_map(Json::as_str);
            let oldest =
                texts.min_by_key(|text| moment::parse(text, Timestamp::MAX).unwrap_or(Timestamp::MAX));
            oldest.unwrap_or("-").to_owned()
        }
        _ => of_shards.filter_map(Json::as_u64).sum::<u64>().to_string(),
    }
}

fn cell(value: Option<&Json>) -> String {
    match value {
        None | Some(Json::Null) => "-".to_owned(),
        Some(Json::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_shard_and_one_for_all() {
        let shard = |shard: u16, oldest: Option<&str>| {
            json!({"shard": shard, "open": 1, "closed_unground": 2, "dirty": 3, "oldest_unground": oldest,
                   "sealed": 4, "samples": 5, "segment_bytes": 6, "block_bytes": 7, "frame_bytes": 8, "garbage_bytes": 9})
        };
        let (early, late) = (Some("2026-01-01T00:00:00Z"), Some("2026-01-01T00:00:00.5Z"));
        let status = json!({"shards": [shard(0, None), shard(1, late), shard(2, early)]});
        let text = table(&status).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[1][..5], ["0", "1", "2", "3", "-"]);
        assert_eq!(
            lines[4],
            ["all", "3", "6", "9", "2026-01-01T00:00:00Z", "12", "15", "18", "21", "24", "27"]
        );
        assert!(table(&json!({})).is_err());
        let spool =
            json!({"messages": 7, "records": 2, "bytes": 3, "bytes_max": 9, "oldest_age_seconds": 1.5});
        let text = table(&json!({"shards": [], "spool": spool})).unwrap();
        assert!(
            text.ends_with("spool: 7 messages in 2 records wait, 3 of 9 bytes used, oldest 1.5 s\n"),
            "{text}"
        );
        let waiting = json!([{"reason": "no_birth", "messages": 2, "bytes": 600}]);
        let text = table(&json!({"shards": [], "spool": null, "waiting": waiting})).unwrap();
        assert!(text.ends_with("rejects: 2 messages in 600 bytes wait (no_birth)\n"), "{text}");
        assert!(!table(&json!({"shards": [], "spool": null})).unwrap().contains("spool"));
    }
}
