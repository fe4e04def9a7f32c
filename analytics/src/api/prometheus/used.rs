//! What each selector of a query was answered from, for `stats=all`, and what could not be given. Pure.

use std::sync::{Mutex, PoisonError};

use serde_json::{Value as Json, json};
use tidemill_store::model::Timestamp;
use tidemill_store::read::Explain;

use super::super::explain;
use crate::moment::Utc;
use crate::promql::{Demand, MatchOp, Matcher, NAME};

/// Where the answer to a selector came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// Samples, all of them.
    Samples,
    /// Rollups, and samples at the edges.
    Rollups,
    /// The newest samples, which are kept.
    Latest,
}

/// What one selector took.
#[derive(Debug, Clone)]
pub(super) struct Used {
    pub(super) selector: String,
    pub(super) from: From,
    pub(super) explain: Explain,
    /// Samples that were read one by one.
    pub(super) samples_read: usize,
    /// Samples that were counted by their folds alone.
    pub(super) samples_folded: u64,
    pub(super) series: usize,
}

/// What a query's selectors took.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Vec<(usize, Used)>>);

impl Ledger {
    pub(super) fn enter(&self, demand: &Demand, used: Used) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((demand.slot, used));
    }

    /// All entries, in the order of the query's selectors.
    pub(super) fn into_used(self) -> Vec<Used> {
        let mut used = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        used.sort_by_key(|(slot, _)| *slot);
        used.into_iter().map(|(_, used)| used).collect()
    }
}

impl Used {
    /// How many samples its answer was made of.
    pub(super) fn samples(&self) -> u64 {
        u64::try_from(self.samples_read).unwrap_or(u64::MAX).saturating_add(self.samples_folded)
    }

    pub(super) fn to_json(&self) -> Json {
        let from = match self.from {
            From::Samples => "samples",
            From::Rollups => "rollups",
            From::Latest => "latest",
        };
        let mut object = json!({
            "selector": self.selector,
            "answeredFrom": from,
            "series": self.series,
            "samplesRead": self.samples_read,
            "samplesFolded": self.samples_folded,
        });
        if let (Json::Object(all), Json::Object(more)) = (&mut object, explain::object(&self.explain)) {
            all.extend(more);
        }
        object
    }
}

/// What there is to warn of: samples that have expired are not in the answer.
pub(super) fn expired(used: &[Used]) -> Option<String> {
    let before: Timestamp = used.iter().filter_map(|used| used.explain.expired_before).max()?;
    Some(format!("samples before {} have expired and are not in the answer", Utc(before)))
}

/// A selector as one would write it.
pub(super) fn shown(matchers: &[Matcher]) -> String {
    let one = |matcher: &Matcher| {
        let op = match matcher.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Matches(_) => "=~",
            MatchOp::DiffersFrom(_) => "!~",
        };
        format!("{}{op}{:?}", matcher.name, matcher.value)
    };
    let is_plain = |matcher: &&Matcher| matcher.name == NAME && matches!(matcher.op, MatchOp::Equal);
    let name = matchers.iter().find(is_plain);
    let others = matchers.iter().filter(|matcher| name.is_none_or(|name| !std::ptr::eq(name, *matcher)));
    let others: Vec<String> = others.map(one).collect();
    let name = name.map_or("", |name| &name.value);
    if others.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", others.join(",")) }
}
