//! Per shard what waits for the mill and how much is stored in which form: as JSON, and on HTTP for those who cannot
//! open the store because this process has it.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value as Json, json};
use tidemill_analytics::api::{SPOOL_PATH, STATUS_PATH, without_parameters};
use tidemill_analytics::moment::Utc;
use tidemill_ingest::metrics::{IngestMetrics, WaitingCount, WaitingCounts};
use tidemill_ingest::spool::Spool;
use tidemill_store::mill::{Mill, MillFailure, ShardStatus};
use tidemill_store::wide::Wide;
use tokio::sync::Mutex;

/// In every answer while samples wait in the spool of this process: how many messages queries cannot see yet (I3).
const PENDING_HEADER: HeaderName = HeaderName::from_static("tidemill-spool-pending");

/// The same for messages that are kept as rejects until what they need comes by itself: a birth, the eras.
const WAITING_HEADER: HeaderName = HeaderName::from_static("tidemill-waiting");

/// The routes. The status is given to one at a time, because each looks at everything that is not ground.
pub(crate) fn routes<W: Wide>(mill: Arc<Mill<W>>, spool: Option<Spool>, counts: IngestMetrics) -> Router {
    let one_at_a_time = Arc::new(Mutex::new(()));
    let waiting = spool.clone();
    let answer = async move |uri: Uri| {
        if let Err(problem) = without_parameters(&uri) {
            return problem.into_response();
        }
        let _turn = one_at_a_time.lock().await;
        match gather(&mill).await {
            Ok(mut status) => {
                if let Some(status) = status.as_object_mut() {
                    status.insert("spool".to_owned(), spooled(waiting.as_ref()));
                    status.insert("waiting".to_owned(), waiting_messages(&counts.waiting()));
                }
                axum::Json(status).into_response()
            }
            Err(failure) => refuse(&failure),
        }
    };
    let spool = async move |uri: Uri| without_parameters(&uri).map(|()| axum::Json(spooled(spool.as_ref())));
    Router::new().route(STATUS_PATH, get(answer)).route(SPOOL_PATH, get(spool))
}

/// What waits in the spool; null where there is none.
fn spooled(spool: Option<&Spool>) -> Json {
    let Some(spool) = spool else { return Json::Null };
    let depth = spool.depth();
    json!({
        "records": depth.records,
        "messages": depth.messages,
        "samples": depth.samples,
        "bytes": depth.bytes,
        "bytes_max": spool.options().limits.bytes_max,
        "oldest_age_seconds": spool.oldest_age().map(|age| age.as_secs_f64()),
    })
}

/// What is kept until something comes by itself, by its reason.
pub(crate) fn waiting_messages(counts: &WaitingCounts) -> Json {
    let of = |(reason, WaitingCount { messages, bytes })| json!({"reason": reason, "messages": messages, "bytes": bytes});
    counts.by_reason().into_iter().filter(|(_, count)| count.messages > 0).map(of).collect()
}

/// `routes`, whose answers say when there are acknowledged messages that they do not show.
pub(crate) fn naming_what_waits(routes: Router, spool: Option<Spool>, counts: IngestMetrics) -> Router {
    routes.layer(axum::middleware::map_response(move |mut response: Response| {
        let spooled = spool.as_ref().map_or(0, |spool| spool.depth().messages);
        let waiting = counts.waiting().all().messages;
        for (name, messages) in [(PENDING_HEADER, spooled), (WAITING_HEADER, waiting)] {
            if messages > 0 {
                response.headers_mut().insert(name, HeaderValue::from(messages));
            }
        }
        std::future::ready(response)
    }))
}

fn refuse(failure: &MillFailure) -> Response {
    let error: &dyn std::error::Error = failure;
    tracing::warn!(error, "the status could not be read");
    let problem = json!({
        "type": "urn:tidemill:problem:store-unavailable",
        "title": "Store unavailable",
        "status": 503,
        "detail": "the store cannot be read now; try again",
    });
    (StatusCode::SERVICE_UNAVAILABLE, [("content-type", "application/problem+json")], problem.to_string())
        .into_response()
}

/// The status of every shard.
pub(crate) async fn gather<W: Wide>(mill: &Mill<W>) -> Result<Json, MillFailure> {
    let shards: Vec<Json> = mill.status().await?.iter().map(shard).collect();
    Ok(json!({ "shards": shards }))
}

fn shard(status: &ShardStatus) -> Json {
    json!({
        "shard": status.shard.get(),
        "open": status.open,
        "closed_unground": status.closed_unground,
        "dirty": status.dirty,
        "oldest_unground": status.oldest_unground.map(|time| Utc(time).to_string()),
        "sealed": status.sealed,
        "samples": status.samples,
        "segment_bytes": status.segment_bytes,
        "block_bytes": status.block_bytes,
        "frame_bytes": status.frame_bytes,
        "garbage_bytes": status.garbage_bytes,
    })
}
