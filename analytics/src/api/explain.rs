//! `explain=true`: how an answer came about, as an object beside it. Pure.

use serde_json::{Value as Json, json};
use tidemill_store::layout::Resolution;
use tidemill_store::read::Explain;

use super::params::Params;
use super::problem::Problem;
use crate::moment::Utc;

/// Whether the request asks for it.
pub(super) fn wanted(params: &Params) -> Result<bool, Problem> {
    params.word("explain", [("true", true), ("false", false)], false)
}

/// The fields that an answer ends with: the explanation where it was asked for, and in any case where something is
/// missing because it has expired, or because it was not looked for any further back.
pub(super) fn fields(explain: &Explain, is_wanted: bool) -> Vec<(&'static str, Json)> {
    let mut fields = Vec::new();
    if let Some(before) = explain.expired_before {
        fields.push(("expired_before", Json::from(Utc(before).to_string())));
    }
    if explain.series_silent > 0 {
        fields.push(("series_silent", Json::from(explain.series_silent)));
    }
    if is_wanted {
        fields.push(("explain", object(explain)));
    }
    fields
}

/// The explanation as an object.
pub(super) fn object(explain: &Explain) -> Json {
    let names: Vec<String> = explain.resolutions.iter().rev().map(|resolution| name(*resolution)).collect();
    json!({
        "resolution": names.first().map_or("raw", String::as_str),
        "resolutions": names,
        "raw": explain.raw,
        "buckets": explain.buckets,
        "segments_merged": explain.segments_merged,
        "block_rows": explain.block_rows,
        "frame_rows": explain.frame_rows,
        "rows_read": explain.rows_read(),
        "bytes_read": explain.bytes_read,
        "retries": explain.retries,
        "series_silent": explain.series_silent,
    })
}

/// `1h`, `90s`: in the largest unit that fits.
fn name(resolution: Resolution) -> String {
    let seconds = resolution.seconds();
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    let fitting = units.into_iter().find(|(unit, _)| seconds.is_multiple_of(*unit));
    fitting.map_or_else(|| format!("{seconds}s"), |(unit, name)| format!("{}{name}", seconds / unit))
}

#[cfg(test)]
mod tests {
    use tidemill_store::model::Timestamp;

    use super::*;

    #[test]
    fn an_explanation_names_the_coarsest_resolution_and_what_has_expired() {
        let resolutions = [60, 3_600, 90].into_iter().filter_map(Resolution::from_seconds).collect();
        let expired_before = Some(Timestamp::EPOCH);
        let explain =
            Explain { resolutions, frame_rows: 3, block_rows: 1, expired_before, ..Explain::default() };
        let shown = fields(&explain, true);
        assert_eq!(shown[0], ("expired_before", Json::from("1970-01-01T00:00:00Z")));
        assert_eq!(
            (&shown[1].1["resolution"], &shown[1].1["rows_read"]),
            (&Json::from("1h"), &Json::from(4))
        );
        assert_eq!(shown[1].1["resolutions"], json!(["1h", "90s", "1m"]));
        assert_eq!(fields(&Explain::default(), false), []);
        let silent = Explain { series_silent: 2, ..Explain::default() };
        assert_eq!(fields(&silent, false), [("series_silent", Json::from(2))], "whatever was asked for");
        assert_eq!(fields(&Explain::default(), true)[0].1["resolution"], "raw");
    }
}
