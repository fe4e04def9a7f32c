//! Label matchers.

use regex::Regex;

use super::dialect::{NoExpression, translated};
use super::labels::{Labels, NAME};

/// How a label's value is compared.
#[derive(Debug, Clone)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, the whole value.
    Matches(Pattern),
    /// `!~`, the whole value.
    DiffersFrom(Pattern),
}

/// A regular expression over whole values. Plain alternatives, which dashboards make of lists, are not compiled.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// One of these values, which ascend.
    OneOf(Vec<String>),
    /// What this matches.
    Expression(Regex),
}

impl Pattern {
    /// From its text.
    pub fn new(pattern: &str) -> Result<Self, NoExpression> {
        if pattern.contains(is_special) {
            return whole_value(pattern).map(Self::Expression);
        }
        let mut values: Vec<String> = pattern.split('|').map(str::to_owned).collect();
        values.sort_unstable();
        Ok(Self::OneOf(values))
    }

    /// Whether a value matches.
    pub fn is_match(&self, value: &str) -> bool {
        match self {
            Self::OneOf(values) => values.binary_search_by(|one| one.as_str().cmp(value)).is_ok(),
            Self::Expression(expression) => expression.is_match(value),
        }
    }
}

/// A condition on one label. A label that a series does not have reads as empty.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// The label.
    pub name: String,
    /// How it is compared.
    pub op: MatchOp,
    /// With what: the text as written, also of a regular expression.
    pub value: String,
}

/// A regular expression over whole values, as Prometheus writes it, `.` matching everything.
pub fn whole_value(pattern: &str) -> Result<Regex, NoExpression> {
    let translated = translated(pattern)?;
    Regex::new(&format!("^(?s:{translated})$")).map_err(|error| NoExpression::compiling(pattern, &error))
}

impl Matcher {
    /// `name="value"`.
    pub fn equal(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), op: MatchOp::Equal, value: value.to_owned() }
    }

    /// Whether a value fits.
    pub fn fits(&self, value: &str) -> bool {
        match &self.op {
            MatchOp::Equal => value == self.value,
            MatchOp::NotEqual => value != self.value,
            MatchOp::Matches(pattern) => pattern.is_match(value),
            MatchOp::DiffersFrom(pattern) => !pattern.is_match(value),
        }
    }

    /// The only values that fit, where they can be told: of `=`, and of `=~` with plain alternatives.
    pub fn values(&self) -> Option<Vec<&str>> {
        match &self.op {
            MatchOp::Equal => Some(vec![&self.value]),
            MatchOp::Matches(Pattern::OneOf(values)) => Some(values.iter().map(String::as_str).collect()),
            MatchOp::NotEqual | MatchOp::Matches(_) | MatchOp::DiffersFrom(_) => None,
        }
    }
}

fn is_special(c: char) -> bool {
    "\\.+*?()[]{}^$".contains(c)
}

/// Whether a series fits all matchers.
pub fn fit_all(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.fits(labels.get(&matcher.name)))
}

/// The metric that `matchers` name, where they name one.
pub fn metric_of(matchers: &[Matcher]) -> Option<&str> {
    let named = |m: &&Matcher| m.name == NAME && matches!(m.op, MatchOp::Equal);
    matchers.iter().find(named).map(|m| m.value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_matches_whole_values_with_line_ends() {
        assert!(whole_value("a.*|b").unwrap().is_match("a\nx"));
        assert!(!whole_value("a|b").unwrap().is_match("ab"));
    }

    #[test]
    fn plain_alternatives_are_a_list_of_values() {
        let regex = |value: &str| Matcher {
            name: "device".into(),
            op: MatchOp::Matches(Pattern::new(value).unwrap()),
            value: value.into(),
        };
        assert_eq!(regex("a|b-1").values(), Some(vec!["a", "b-1"]));
        assert_eq!(regex("a.*").values(), None);
        let fits = |value| (regex("b|a|").fits(value), regex("b|a|()").fits(value));
        for (value, expected) in [("a", true), ("b", true), ("", true), ("ab", false), ("a|b", false)] {
            assert_eq!(fits(value), (expected, expected), "{value}");
        }
        assert_eq!(Matcher::equal("a", "x.y").values(), Some(vec!["x.y"]));
    }
}
