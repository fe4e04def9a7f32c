//! The query as the parser can read it, which refuses some texts that Prometheus reads and misreads others. Pure.
//!
//! Each token stays one token in its place. Where no other spelling helps, a plain name stands in, and is taken for
//! what it stands for where the parser's tree is read: [`Plain::real`].

use super::quoted::{Reading, quote, reading, unquote};
use super::syntax::ParseError;
use super::tokens::{Kind, Tokens};

/// Words that the parser keeps for modifiers which it does not know; Prometheus takes them for names, too.
const KEPT: [&str; 2] = ["anchored", "smoothed"];

/// A query's text, rewritten.
#[derive(Debug, Default)]
pub(super) struct Plain {
    text: String,
    /// What the names begin with that stand in: nothing else in the query does.
    prefix: String,
    stand_ins: Vec<StandIn>,
}

#[derive(Debug)]
struct StandIn {
    name: String,
    real: String,
}

impl Plain {
    /// Rewrites the query.
    pub(super) fn of(tokens: &Tokens<'_>) -> Result<Self, ParseError> {
        let mut plain = Self { prefix: "stand_in_".to_owned(), ..Self::default() };
        while tokens.text().contains(&plain.prefix) {
            plain.prefix.push('_');
        }
        let (mut copied, mut in_braces) = (0, false);
        for (at, token) in tokens.all().iter().enumerate() {
            let word = tokens.word(at);
            let other = match token.kind {
                Kind::Sign(sign) => {
                    in_braces = sign == '{' || (in_braces && sign != '}');
                    None
                }
                Kind::Text => {
                    let operator = at.checked_sub(1).map_or("", |before| tokens.word(before));
                    plain.quoted(word, in_braces && operator.ends_with('~'))
                }
                Kind::Word if in_braces => {
                    // `or` is a label's name only right before its operator.
                    let operator =
                        tokens.all().get(at + 1).filter(|next| matches!(next.kind, Kind::Sign('=' | '!')));
                    if let Some(operator) = operator {
                        plain.text.push_str(tokens.between(copied, token.end));
                        copied = operator.start;
                    }
                    None
                }
                Kind::Word if KEPT.iter().any(|kept| word.eq_ignore_ascii_case(kept)) => {
                    Some(plain.stand_in(word, word.len()))
                }
                Kind::Word => number(word)?,
            };
            if let Some(other) = other {
                plain.text.push_str(tokens.between(copied, token.start));
                plain.text.push_str(&other);
                copied = token.end;
            }
        }
        plain.text.push_str(tokens.between(copied, tokens.text().len()));
        Ok(plain)
    }

    /// What the parser shall read.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What a name or a pattern of the parser's tree is in the query.
    pub(super) fn real<'a>(&'a self, name: &'a str) -> &'a str {
        self.stand_ins.iter().find(|stand_in| stand_in.name == name).map_or(name, |stand_in| &stand_in.real)
    }

    /// Puts what the names stand for back into a text of the parser.
    pub(super) fn restored(&self, mut text: String) -> String {
        for StandIn { name, real } in &self.stand_ins {
            let quoted = quote(real);
            let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
            text = text.replace(name, inner);
        }
        text
    }

    /// The same in a tree of the parser.
    pub(super) fn restore(&self, tree: &mut serde_json::Value) {
        match tree {
            serde_json::Value::String(text) => *text = self.real(text).to_owned(),
            serde_json::Value::Array(all) => all.iter_mut().for_each(|one| self.restore(one)),
            serde_json::Value::Object(all) => all.values_mut().for_each(|one| self.restore(one)),
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
        }
    }

    fn quoted(&mut self, quoted: &str, is_pattern: bool) -> Option<String> {
        let reading = reading(quoted);
        let text = unquote(quoted);
        if reading == Reading::Wrong || text.not_utf8.is_some() {
            return None;
        }
        // The parser compiles patterns by rules that are not those of Prometheus.
        if is_pattern && text.text.contains(['\\', '[', '{', '*', '+', '?', ')']) {
            return Some(quote(&self.stand_in(&text.text, quoted.len().saturating_sub(2))));
        }
        (reading == Reading::Other).then(|| quote(&text.text))
    }

    /// A name that the query does not have, as long as what it stands for if that is longer.
    fn stand_in(&mut self, real: &str, length: usize) -> String {
        let name = format!("{:_<length$}", format!("{}{}_", self.prefix, self.stand_ins.len()));
        self.stand_ins.push(StandIn { name: name.clone(), real: real.to_owned() });
        name
    }
}

/// A number without the underscores between its digits, and one that starts with 0 and has an exponent so that it is
/// not taken for octal. `None` where it is well as it is, or no number.
fn number(word: &str) -> Result<Option<String>, ParseError> {
    if !word.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Ok(None);
    }
    let is_hex = word.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"));
    let is_digit = |c: char| c.is_ascii_digit() || (is_hex && c.is_ascii_hexdigit());
    let mut plain = String::with_capacity(word.len() + 2);
    let mut before = None;
    let mut chars = word.chars().peekable();
    while let Some(c) = chars.next() {
        let divides = before.is_some_and(|before| is_digit(before) || matches!(before, 'x' | 'X'))
            && chars.peek().copied().is_some_and(is_digit);
        match c {
            '_' if divides => {}
            '_' => return Err(ParseError::new(format!("bad number or duration syntax: {word:?}"))),
            other => plain.push(other),
        }
        before = Some(c);
    }
    let exponent =
        plain.find(['e', 'E']).filter(|_| !is_hex && plain.starts_with('0') && !plain.contains('.'));
    if let Some(exponent) = exponent {
        plain.insert(exponent, '.');
    }
    Ok(Some(plain).filter(|plain| plain != word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Plain {
        Plain::of(&Tokens::of(text).unwrap()).unwrap()
    }

    #[test]
    fn what_the_parser_reads_well_stays_as_it_is() {
        for text in [
            "sum by (a) (rate(x{b=\"c\\n\",d=~\"e|f\",or=\"1\"}[5m] offset -1h30m)) # c\n > 0x1F + 017 - 1e-3",
            r#"{a="\q", b=~"\d"}"#,
            "x{a=",
        ] {
            assert_eq!(plain(text).text(), text);
        }
    }

    #[test]
    fn what_it_misreads_is_written_otherwise() {
        for (text, other) in [
            (r"f(`a\d`, '\xc3\xa9')", r#"f("a\\d", "é")"#),
            ("{or = \"x\", a != \"y\"}", "{or= \"x\", a!= \"y\"}"),
            ("1_000.5_1 + 0x_f_f * 0e5", "1000.51 + 0xff * 0.e5"),
            ("x[1_0:5m]", "x[10:5m]"),
        ] {
            assert_eq!(plain(text).text(), other);
        }
        for wrong in ["1__0", "1_", "1_e5", "._5"] {
            assert!(Plain::of(&Tokens::of(wrong).unwrap()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_stand_in_for_patterns_and_kept_words() {
        let plain = plain(r#"Anchored{a=~`\d+`,b="stand_in_"} / on (smoothed) x{smoothed!~"a.*"}"#);
        let expected = r#"stand_in__0_{a=~"stand_in__1_",b="stand_in_"} / on (stand_in__2_) x{smoothed!~"stand_in__3_"}"#;
        assert_eq!(plain.text(), expected);
        assert_eq!((plain.real("stand_in__1_"), plain.real("x")), (r"\d+", "x"));
        let restored = r#"Anchored{a=~"\\d+",b="stand_in_"} / on (smoothed) x{smoothed!~"a.*"}"#;
        assert_eq!(plain.restored(plain.text().to_owned()), restored);
    }
}
