//! Queries that were read lately: a dashboard asks the same again and again, and reading a query takes longer than
//! finding the newest value of a device.
//!
//! Two generations: the older goes when the younger is full, and what is asked for again moves to the younger. Only
//! short texts without compiled expressions are kept, so that some hundreds of KiB bound it (I6).

use std::mem::take;
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;

use super::{MatchOp, ParseError, Pattern, Query};

/// Bytes of the text of a query that is kept.
const TEXT_BYTES_MAX: usize = 512;
/// Queries in a generation.
const QUERIES_MAX: usize = 256;

/// What was read lately.
#[derive(Debug, Default)]
pub struct RecentQueries(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    younger: HashMap<String, Arc<Query>>,
    older: HashMap<String, Arc<Query>>,
}

impl RecentQueries {
    /// Reads a query, unless the same text was read lately.
    pub fn parse(&self, text: &str) -> Result<Arc<Query>, ParseError> {
        if let Some(known) = self.lock().get(text) {
            return Ok(known);
        }
        let query = Arc::new(Query::parse(text)?);
        if text.len() <= TEXT_BYTES_MAX && is_small(&query) {
            self.lock().put(text, &query);
        }
        Ok(query)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn get(&mut self, text: &str) -> Option<Arc<Query>> {
        if let Some(known) = self.younger.get(text) {
            return Some(Arc::clone(known));
        }
        let known = self.older.remove(text)?;
        self.put(text, &known);
        Some(known)
    }

    fn put(&mut self, text: &str, query: &Arc<Query>) {
        if self.younger.len() >= QUERIES_MAX {
            self.older = take(&mut self.younger);
        }
        self.younger.insert(text.to_owned(), Arc::clone(query));
    }
}

/// Whether no matcher has an expression that is compiled: that may take megabytes, however short it is.
fn is_small(query: &Query) -> bool {
    let mut is_small = true;
    query.0.root.walk(&mut |node| {
        is_small &= node.matchers().unwrap_or_default().iter().all(|matcher| match &matcher.op {
            MatchOp::Equal | MatchOp::NotEqual => true,
            MatchOp::Matches(pattern) | MatchOp::DiffersFrom(pattern) => {
                matches!(pattern, Pattern::OneOf(_))
            }
        });
        true
    });
    is_small
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_is_read_once_as_long_as_it_is_asked_for() {
        let recent = RecentQueries::default();
        let parse = |text: &str| recent.parse(text).unwrap();
        let first = parse("up{a=~\"b|c\"}");
        for other in 0..QUERIES_MAX * 3 {
            parse(&format!("up + {other}"));
            assert!(Arc::ptr_eq(&first, &parse("up{a=~\"b|c\"}")));
        }
        let kept = recent.lock();
        assert!(kept.younger.len() <= QUERIES_MAX && kept.older.len() <= QUERIES_MAX);
        assert!(!kept.older.contains_key("up + 1") && !kept.younger.contains_key("up + 1"), "let go");
    }

    #[test]
    fn what_may_be_large_is_not_kept() {
        let recent = RecentQueries::default();
        for text in ["sum(rate(up{a=~\"b.*\"}[5m]))", "a{b!~\"c+\"}", &format!("up{}", " + 1".repeat(150))] {
            assert!(!Arc::ptr_eq(&recent.parse(text).unwrap(), &recent.parse(text).unwrap()), "{text}");
        }
        assert!(recent.parse("up{").is_err());
        assert!(recent.lock().younger.is_empty());
    }
}
