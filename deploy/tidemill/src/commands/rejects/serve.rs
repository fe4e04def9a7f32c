//! What the process that has a store does about its rejects when it is asked over HTTP: it takes a page of them again, or
//! deletes it. For clients on the same machine only, which send JSON: no page of a browser can ask for it.
//!
//! Pages of a replay go through one pipeline, which ends with the last page, or with the process. One replay at a time.

use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::{Deserialize, Serialize};
use tidemill_analytics::api::{PURGE_PATH, Problem, ProblemKind, REPLAY_PATH, is_asked_from_this_machine};
use tidemill_store::model::Clock;
use tidemill_store::wide::Wide;
use tokio::sync::Mutex;

use super::delete;
use super::question::{Pages, Question};
use super::replay::{Replay, Taken, Terms};
use crate::clock::SystemClock;

/// What became of a page of a replay.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Replayed {
    pub(super) found: usize,
    #[serde(flatten)]
    pub(super) taken: Taken,
    /// What comes after it, where there is more.
    pub(super) next: Option<String>,
}

/// What became of a page that was to be deleted.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Purged {
    pub(super) found: usize,
    pub(super) next: Option<String>,
}

/// Takes and deletes the rejects of a store.
pub(crate) struct Desk<W> {
    wide: Arc<W>,
    terms: Terms,
    replay: Mutex<Option<Replay<W>>>,
}

impl<W: Wide> Desk<W> {
    /// For the rejects in `wide`, which are read by `terms`.
    pub(crate) fn new(wide: Arc<W>, terms: Terms) -> Self {
        Self { wide, terms, replay: Mutex::new(None) }
    }

    /// Ends what is under way.
    pub(crate) async fn close(&self) {
        if let Some(replay) = self.replay.lock().await.take()
            && let Err(error) = replay.end().await
        {
            tracing::warn!(%error, "a replay of rejects did not end in order; nothing of it is lost");
        }
    }

    async fn replay(&self, question: &Question) -> anyhow::Result<Replayed> {
        let mut turn = self.replay.lock().await;
        let mut pages = Pages::new(question, SystemClock.now())?;
        let page = pages.next(&*self.wide).await?.unwrap_or_default();
        // Out of its place while it works: one that failed is not used again.
        let mut replay = match turn.take() {
            Some(replay) => replay,
            None => Replay::start(Arc::clone(&self.wide), &self.terms).await?,
        };
        let taken = replay.take(&page).await?;
        let next = pages.position().map(|place| place.to_string());
        if next.is_some() {
            *turn = Some(replay);
        } else {
            replay.end().await?;
        }
        Ok(Replayed { found: page.len(), taken, next })
    }

    async fn purge(&self, question: &Question) -> anyhow::Result<Purged> {
        let mut pages = Pages::new(question, SystemClock.now())?;
        let page = pages.next(&*self.wide).await?.unwrap_or_default();
        for listed in page.iter().filter(|_| question.yes) {
            delete(&*self.wide, &listed.place).await?;
        }
        Ok(Purged { found: page.len(), next: pages.position().map(|place| place.to_string()) })
    }
}

/// The routes.
pub(crate) fn routes<W: Wide>(desk: &Arc<Desk<W>>) -> Router {
    let (replays, purges) = (Arc::clone(desk), Arc::clone(desk));
    let replay = async move |headers: HeaderMap, body: Bytes| match question(&headers, &body) {
        Ok(question) => answer(replays.replay(&question).await),
        Err(problem) => problem.into_response(),
    };
    let purge = async move |headers: HeaderMap, body: Bytes| match question(&headers, &body) {
        Ok(question) => answer(purges.purge(&question).await),
        Err(problem) => problem.into_response(),
    };
    Router::new()
        .route(REPLAY_PATH, post(replay).fallback(only_post))
        .route(PURGE_PATH, post(purge).fallback(only_post))
}

async fn only_post() -> Problem {
    Problem::new(
        ProblemKind::MethodNotAllowed,
        "it answers POST, with JSON that says which rejects are meant",
    )
}

/// What is asked, where the one who asks may.
fn question(headers: &HeaderMap, body: &[u8]) -> Result<Question, Problem> {
    if !is_asked_from_this_machine() {
        let detail = "rejects are replayed and purged from the machine only that this process runs on";
        return Err(Problem::new(ProblemKind::Forbidden, detail));
    }
    let is_json = |kind: &[u8]| kind.starts_with(b"application/json");
    if !headers.get(CONTENT_TYPE).is_some_and(|kind| is_json(kind.as_bytes())) {
        let detail = "send JSON, with content-type: application/json";
        return Err(Problem::new(ProblemKind::InvalidRequest, detail));
    }
    let invalid = |error: anyhow::Error| Problem::new(ProblemKind::InvalidRequest, format!("{error:#}"));
    let question: Question = serde_json::from_slice(body).context("the body").map_err(invalid)?;
    Pages::new(&question, SystemClock.now()).map_err(invalid)?;
    Ok(question)
}

fn answer<T: Serialize>(done: anyhow::Result<T>) -> Response {
    match done {
        Ok(done) => axum::Json(done).into_response(),
        Err(error) => {
            tracing::warn!(error = format!("{error:#}"), "rejects were not all taken or deleted");
            let detail = format!("{error:#}; what was not taken or deleted is still a reject");
            Problem::new(ProblemKind::StoreUnavailable, detail).into_response()
        }
    }
}
