//! Which rejects a command is about, as it is asked on a terminal or over HTTP, and the pages of them.

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tidemill_analytics::moment::{Utc, parse};
use tidemill_store::layout::RejectKind;
use tidemill_store::model::{TimeRange, Timestamp};
use tidemill_store::rejects::{self, Listed, RejectFilter, RejectPage, RejectPlace};
use tidemill_store::wide::Wide;

use crate::cli::RejectFilterArgs;

/// Rejects that are looked at together.
pub(super) const PAGE: usize = 100;

/// Which rejects are meant.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    /// Received from then on.
    pub(super) since: String,
    /// Received before then.
    pub(super) until: String,
    pub(super) kind: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) device: Option<String>,
    pub(super) topic: Option<String>,
    /// At most so many.
    pub(super) limit: Option<usize>,
    /// The id of the one before the first.
    pub(super) after: Option<String>,
    /// Whether they are deleted, rather than counted, where deleting is asked for.
    #[serde(default)]
    pub(super) yes: bool,
}

impl From<&RejectFilterArgs> for Question {
    fn from(args: &RejectFilterArgs) -> Self {
        Self {
            since: args.since.clone(),
            until: args.until.clone(),
            kind: args.kind.clone(),
            reason: args.reason.clone(),
            device: args.device.clone(),
            topic: args.topic.clone(),
            limit: args.limit,
            after: None,
            yes: false,
        }
    }
}

impl Question {
    /// The same with times that mean the same later: relative ones count from `now`.
    pub(super) fn at(self, now: Timestamp) -> anyhow::Result<Self> {
        let range = self.range(now)?;
        let (since, until) = (Utc(range.start()).to_string(), Utc(range.end()).to_string());
        Ok(Self { since, until, ..self })
    }

    fn range(&self, now: Timestamp) -> anyhow::Result<TimeRange> {
        let time = |text: &str| parse(text, now).with_context(|| format!("{text:?}"));
        TimeRange::new(time(&self.since)?, time(&self.until)?).context("--since lies behind --until")
    }

    pub(super) fn filter(&self, now: Timestamp) -> anyhow::Result<RejectFilter> {
        let kind = match self.kind.as_deref() {
            None => None,
            Some("dead_letter") => Some(RejectKind::DeadLetter),
            Some("quarantine") => Some(RejectKind::Quarantine),
            Some(other) => bail!("--kind {other:?} must be dead_letter or quarantine"),
        };
        let (reason, device, topic) = (self.reason.clone(), self.device.clone(), self.topic.clone());
        Ok(RejectFilter { range: self.range(now)?, kind, reason, device, topic })
    }
}

/// The rejects that are meant, page by page.
pub(super) struct Pages {
    filter: RejectFilter,
    after: Option<RejectPlace>,
    left: usize,
    over: bool,
}

impl Pages {
    pub(super) fn new(question: &Question, now: Timestamp) -> anyhow::Result<Self> {
        let left = question.limit.unwrap_or(usize::MAX);
        let after =
            question.after.as_deref().map(|id| id.parse::<RejectPlace>().with_context(|| format!("{id:?}")));
        Ok(Self { filter: question.filter(now)?, after: after.transpose()?, left, over: left == 0 })
    }

    /// The next page; deleting what it holds disturbs nothing.
    pub(super) async fn next<W: Wide>(&mut self, wide: &W) -> anyhow::Result<Option<Vec<Listed>>> {
        if self.over {
            return Ok(None);
        }
        let RejectPage { rejects, more } =
            rejects::list(wide, &self.filter, self.after, PAGE.min(self.left)).await?;
        self.left -= rejects.len();
        self.after = rejects.last().map(|listed| listed.place).or(self.after);
        self.over = !more || self.left == 0;
        Ok(Some(rejects))
    }

    /// Where the next page begins, where there is one.
    pub(super) fn position(&self) -> Option<RejectPlace> {
        self.after.filter(|_| !self.over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_about_relative_times_means_the_same_later() {
        let now = Timestamp::from_millis(1_700_000_000_000).unwrap();
        let text = r#"{"since": "-1h", "until": "now", "reason": "topic", "limit": 5}"#;
        let question: Question = serde_json::from_str(text).unwrap();
        let later = now.saturating_add(std::time::Duration::from_hours(9));
        let range = question.clone().at(now).unwrap().filter(later).unwrap().range;
        assert_eq!((range.start().millis_floor(), range.end()), (1_699_996_400_000, now));
        assert!(Question { since: "now".into(), until: "-1h".into(), ..question.clone() }.at(now).is_err());
        assert!(Question { kind: Some("odd".into()), ..question }.filter(now).is_err());
        assert!(
            serde_json::from_str::<Question>(r#"{"since": "-1h", "until": "now", "colour": 1}"#).is_err()
        );
    }
}
