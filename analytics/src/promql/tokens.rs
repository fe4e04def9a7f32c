//! Where the parts of a query stand in its text, which the parser's tree does not say.
//!
//! A scan of the text for its *anchors*: names of functions and aggregations, selectors, numbers and strings, outside
//! of label lists, ranges and modifiers. They come in the order in which a walk of the tree meets its calls and
//! leaves, so the two are matched one by one. The scan also holds the limits on a query's shape (I6), before
//! anything recursive sees it, and refuses times that the parser cannot take.

use super::syntax::ParseError;

/// Bytes of a query.
const BYTES_MAX: usize = 64 * 1024;
/// Levels of parentheses.
const LEVELS_MAX: usize = 64;
/// Operators, signs included: the depth of the tree is at most this and the levels.
const OPERATORS_MAX: usize = 256;
/// Seconds of a range or offset written as a number: what nanoseconds can hold.
const SPAN_SECONDS_MAX: f64 = 9e9;

/// A token: where it starts and ends in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name, keyword, number or duration.
    Word,
    /// A quoted text.
    Text,
    /// Anything else, by its first character.
    Sign(char),
}

/// The tokens of a query and which of them are anchors.
#[derive(Debug, Default)]
pub(super) struct Tokens<'a> {
    text: &'a str,
    all: Vec<Token>,
    anchors: Vec<usize>,
}

impl<'a> Tokens<'a> {
    /// Scans `text` and holds the limits on its shape.
    pub(super) fn of(text: &'a str) -> Result<Self, ParseError> {
        if text.len() > BYTES_MAX {
            return Err(ParseError::new(format!("the query has more than {BYTES_MAX} bytes")));
        }
        let mut scanned = Self { text, all: scan(text), anchors: Vec::new() };
        scanned.check_shape()?;
        scanned.find_anchors()?;
        Ok(scanned)
    }

    /// The tokens that a walk of the tree meets, in its order, as positions for [`Tokens::start`].
    pub(super) fn anchors(&self) -> &[usize] {
        &self.anchors
    }

    /// The query.
    pub(super) const fn text(&self) -> &'a str {
        self.text
    }

    /// What stands between two places.
    pub(super) fn between(&self, start: usize, end: usize) -> &'a str {
        self.text.get(start..end).unwrap_or_default()
    }

    /// All tokens, in their order.
    pub(super) fn all(&self) -> &[Token] {
        &self.all
    }

    /// The text of the token at `at`.
    pub(super) fn word(&self, at: usize) -> &'a str {
        self.all.get(at).and_then(|token| self.text.get(token.start..token.end)).unwrap_or_default()
    }

    /// Where the token at `at` starts, as line and column from 1.
    pub(super) fn place(&self, at: usize) -> (usize, usize) {
        let start = self.all.get(at).map_or(0, |token| token.start);
        let before = self.text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        (before.matches('\n').count() + 1, start - line_start + 1)
    }

    /// The token before `at` where it is `sign`.
    pub(super) fn before(&self, at: usize, sign: char) -> Option<usize> {
        let before = at.checked_sub(1)?;
        (self.kind(before) == Some(Kind::Sign(sign))).then_some(before)
    }

    fn kind(&self, at: usize) -> Option<Kind> {
        self.all.get(at).map(|token| token.kind)
    }

    fn is_sign(&self, at: usize, sign: char) -> bool {
        self.kind(at) == Some(Kind::Sign(sign))
    }

    fn check_shape(&self) -> Result<(), ParseError> {
        let (mut level, mut operators, mut in_braces) = (0_usize, 0_usize, false);
        for (at, token) in self.all.iter().enumerate() {
            match token.kind {
                Kind::Sign('{') => in_braces = true,
                Kind::Sign('}') => in_braces = false,
                // Matchers make no tree deeper.
                Kind::Word | Kind::Text | Kind::Sign(_) if in_braces => {}
                Kind::Sign('(') => level += 1,
                Kind::Sign(')') => level = level.saturating_sub(1),
                Kind::Sign('+' | '-' | '*' | '/' | '%' | '^' | '=' | '!' | '<' | '>' | '[') => operators += 1,
                Kind::Word if is_operator(self.word(at)) => operators += 1,
                Kind::Word | Kind::Text | Kind::Sign(_) => {}
            }
            if level > LEVELS_MAX {
                return Err(ParseError::new(format!(
                    "the query has more than {LEVELS_MAX} levels of parentheses"
                )));
            }
            if operators > OPERATORS_MAX {
                return Err(ParseError::new(format!("the query has more than {OPERATORS_MAX} operators")));
            }
        }
        Ok(())
    }

    fn find_anchors(&mut self) -> Result<(), ParseError> {
        let mut at = 0;
        while at < self.all.len() {
            at = match self.kind(at) {
                Some(Kind::Sign('{')) => {
                    if !self.follows_a_name(at) {
                        self.anchors.push(at);
                    }
                    self.after_closing(at, '{', '}')
                }
                Some(Kind::Sign('[')) => {
                    self.check_spans(at)?;
                    self.after_closing(at, '[', ']')
                }
                Some(Kind::Sign('@')) => self.after_moment(at + 1),
                Some(Kind::Text) => {
                    self.anchors.push(at);
                    at + 1
                }
                Some(Kind::Word) => self.word_at(at)?,
                Some(Kind::Sign(_)) | None => at + 1,
            };
        }
        Ok(())
    }

    /// Handles the word at `at` and gives where to go on.
    fn word_at(&mut self, at: usize) -> Result<usize, ParseError> {
        let word = self.word(at).to_ascii_lowercase();
        let opens = self.is_sign(at + 1, '(');
        match word.as_str() {
            "by" | "without" | "on" | "ignoring" | "group_left" | "group_right" | "fill" | "fill_left"
            | "fill_right"
                if opens =>
            {
                Ok(self.after_closing(at + 1, '(', ')'))
            }
            "and" | "or" | "unless" | "atan2" | "bool" | "group_left" | "group_right" => Ok(at + 1),
            "offset" => {
                let number =
                    if self.is_sign(at + 1, '-') || self.is_sign(at + 1, '+') { at + 2 } else { at + 1 };
                self.check_span(number)?;
                Ok(number + 1)
            }
            _ => {
                self.anchors.push(at);
                Ok(at + 1)
            }
        }
    }

    /// Whether the brace at `at` belongs to the metric's name before it.
    fn follows_a_name(&self, at: usize) -> bool {
        at.checked_sub(1).is_some_and(|before| {
            self.anchors.last() == Some(&before) && self.kind(before) == Some(Kind::Word)
        })
    }

    fn after_closing(&self, open: usize, opening: char, closing: char) -> usize {
        let mut level = 0_usize;
        for at in open..self.all.len() {
            if self.is_sign(at, opening) {
                level += 1;
            } else if self.is_sign(at, closing) {
                level -= 1;
                if level == 0 {
                    return at + 1;
                }
            }
        }
        self.all.len()
    }

    fn after_moment(&self, at: usize) -> usize {
        let number = if self.is_sign(at, '-') || self.is_sign(at, '+') { at + 1 } else { at };
        if self.is_sign(number + 1, '(') { self.after_closing(number + 1, '(', ')') } else { number + 1 }
    }

    fn check_spans(&self, open: usize) -> Result<(), ParseError> {
        let end = self.after_closing(open, '[', ']');
        (open..end).filter(|at| self.kind(*at) == Some(Kind::Word)).try_for_each(|at| self.check_span(at))
    }

    /// A span as a number must be one that a span can be: the parser would not survive another.
    fn check_span(&self, at: usize) -> Result<(), ParseError> {
        let word = self.word(at);
        let seconds = word.split(':').filter_map(|part| part.replace('_', "").parse::<f64>().ok());
        for seconds in seconds {
            if !(0.0..=SPAN_SECONDS_MAX).contains(&seconds) {
                return Err(ParseError::new(format!("{word} is not a duration")));
            }
        }
        Ok(())
    }
}

fn is_operator(word: &str) -> bool {
    ["and", "or", "unless", "atan2"].iter().any(|operator| word.eq_ignore_ascii_case(operator))
}

fn scan(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some((start, first)) = rest.next() {
        let kind = match first {
            c if c.is_whitespace() => continue,
            '#' => {
                while rest.next_if(|(_, c)| *c != '\n').is_some() {}
                continue;
            }
            '"' | '\'' | '`' => {
                skip_text(&mut rest, first);
                Kind::Text
            }
            c if is_word(c) => {
                let mut last = c;
                let number = c.is_ascii_digit() || c == '.';
                // The sign of an exponent belongs to its number.
                while let Some((_, c)) = rest.next_if(|(_, c)| {
                    is_word(*c) || (number && matches!(last, 'e' | 'E') && matches!(*c, '+' | '-'))
                }) {
                    last = c;
                }
                Kind::Word
            }
            // `==`, `=~`, `!=`, `!~`, `<=`, `>=`: one sign.
            '=' | '!' | '<' | '>' => {
                rest.next_if(|(_, c)| matches!(c, '=' | '~'));
                Kind::Sign(first)
            }
            other => Kind::Sign(other),
        };
        let end = rest.peek().map_or(text.len(), |(at, _)| *at);
        tokens.push(Token { start, end, kind });
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | ':' | '.')
}

fn skip_text(rest: &mut std::iter::Peekable<std::str::CharIndices<'_>>, quote: char) {
    while let Some((_, c)) = rest.next() {
        if c == quote {
            return;
        }
        if c == '\\' && quote != '`' {
            rest.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchors(text: &str) -> Vec<&str> {
        let tokens = Tokens::of(text).unwrap();
        tokens.anchors().iter().map(|at| tokens.word(*at)).collect()
    }

    #[test]
    fn anchors_are_calls_and_leaves_and_nothing_in_lists_ranges_or_modifiers() {
        assert_eq!(
            anchors(
                "sum by (a, b) (rate(x{c=\"d\"}[5m:1m] offset -5m @ start())) / on (e) group_left (f) {y=~\"z\"}"
            ),
            ["sum", "rate", "x", "{"]
        );
        assert_eq!(anchors("1e-3 + \"a(b\" # f(x)\n == bool Inf"), ["1e-3", "\"a(b\"", "Inf"]);
        assert_eq!(anchors("x offset 5 @ -1.5 or vector(1)"), ["x", "vector", "1"]);
    }

    #[test]
    fn places_are_lines_and_columns() {
        let tokens = Tokens::of("sum(\n  x)").unwrap();
        assert_eq!(tokens.place(tokens.anchors()[1]), (2, 3));
    }

    #[test]
    fn shapes_that_recursion_would_not_survive_are_refused() {
        for text in ["(".repeat(65), "-".repeat(257), "1+".repeat(300), "x".repeat(70_000)] {
            assert!(Tokens::of(&text).is_err());
        }
        for text in ["x[NaN]", "x offset 1e300", "x[5m:1e30]", "x[-1]"] {
            assert!(Tokens::of(text).is_err() || text == "x[-1]", "{text}");
        }
    }
}
