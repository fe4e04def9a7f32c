//! Per shard what waits for the mill and how much is stored in which form: as JSON, and on HTTP for those who cannot
//! open the store because this process has it.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value as Json, json};
use tidemill_analytics::moment::Utc;
use tidemill_store::mill::{Mill, MillFailure, ShardStatus};
use tidemill_store::wide::Wide;
use tokio::sync::Mutex;

/// Where it is answered.
pub(crate) const PATH: &str = "/v1/status";

/// The route; answers one at a time, because each looks at everything that is not ground.
pub(crate) fn routes<W: Wide>(mill: Arc<Mill<W>>) -> Router {
    let one_at_a_time = Arc::new(Mutex::new(()));
    let answer = async move || {
        let _turn = one_at_a_time.lock().await;
        match gather(&mill).await {
            Ok(status) => axum::Json(status).into_response(),
            Err(failure) => refuse(&failure),
        }
    };
    Router::new().route(PATH, get(answer))
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
