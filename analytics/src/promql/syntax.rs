//! From a query's text to [`Node`]: the `promql-parser` crate's tree, checked and lowered.
//!
//! The crate has no places, reads `\x` escapes as characters, and takes some syntax that Prometheus does not have
//! (`or` within braces); what it lacks is done here and in `tokens`.

use std::panic::catch_unwind;
use std::time::{Duration, SystemTime};

use promql_parser::label::{MatchOp as ParsedOp, Matcher as ParsedMatcher};
use promql_parser::parser as parsed;

use super::expr::{
    Aggregate, Arithmetic, At, Binary, BinaryOp, Call, Cardinality, Comparison, Expr, Grouping, MatchLabels,
    Matching, Node, RangeSelector, Selector, SetOp, Shift, Subquery, Text,
};
use super::function::{Aggregation, Function};
use super::labels::NAME;
use super::matcher::{MatchOp, Matcher, Pattern};
use super::tokens::Tokens;

/// A text that is no query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("parse error: {0}")]
pub struct ParseError(String);

impl ParseError {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// A query's tree and how many selectors it has.
#[derive(Debug, Clone)]
pub(super) struct Parsed {
    pub(super) root: Node,
    pub(super) slots: usize,
}

/// Reads a query.
pub(super) fn parse(text: &str) -> Result<Parsed, ParseError> {
    let tokens = Tokens::of(text)?;
    let tree = parse_tree(text)?;
    let mut lowering = Lowering { tokens: &tokens, next_anchor: 0, slots: 0 };
    let (root, _) = lowering.node(&tree)?;
    if lowering.next_anchor != tokens.anchors().len() {
        // The scan and the parser disagree about what is where: then nothing has a place.
        let nothing = Tokens::default();
        let mut lowering = Lowering { tokens: &nothing, next_anchor: 0, slots: 0 };
        let (root, _) = lowering.node(&tree)?;
        return Ok(Parsed { root, slots: lowering.slots });
    }
    Ok(Parsed { root, slots: lowering.slots })
}

/// The query in the parser's canonical form, broken into lines where it is long.
pub fn format(text: &str) -> Result<String, ParseError> {
    Tokens::of(text)?;
    Ok(parse_tree(text)?.prettify())
}

/// The query's tree as the parser has it, in the form in which Prometheus shows trees.
pub fn tree(text: &str) -> Result<serde_json::Value, ParseError> {
    parse(text)?;
    serde_json::to_value(parse_tree(text)?).map_err(|error| ParseError::new(error.to_string()))
}

/// Matchers in braces, with or without a metric's name: a `match[]` parameter.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let plain = Shift::default();
    let parsed = parse(text)?;
    let selector = parsed.root.selector().filter(|selector| selector.shift == plain);
    let matchers = selector.map(|selector| selector.matchers.clone());
    matchers.ok_or_else(|| ParseError::new("a series selector is wanted, such as up{job=\"a\"}"))
}

/// The crate's parser; should it panic on some text, that text is no query.
fn parse_tree(text: &str) -> Result<parsed::Expr, ParseError> {
    match catch_unwind(|| parsed::parse(text)) {
        Ok(tree) => tree.map_err(ParseError::new),
        Err(_panic) => Err(ParseError::new("the query cannot be read")),
    }
}

struct Lowering<'a> {
    tokens: &'a Tokens<'a>,
    next_anchor: usize,
    slots: usize,
}

/// A node and the token that it starts with.
type Lowered = (Node, usize);

impl Lowering<'_> {
    fn anchor(&mut self) -> usize {
        let at = self.tokens.anchors().get(self.next_anchor).copied().unwrap_or_default();
        self.next_anchor += 1;
        at
    }

    fn at(&self, token: usize, expr: Expr) -> Lowered {
        (Node { place: self.tokens.place(token), expr }, token)
    }

    fn node(&mut self, tree: &parsed::Expr) -> Result<Lowered, ParseError> {
        match tree {
            parsed::Expr::NumberLiteral(number) => {
                let anchor = self.anchor();
                let token = Some(anchor).filter(|_| number.val.is_sign_negative());
                let token = token.and_then(|at| self.tokens.before(at, '-')).unwrap_or(anchor);
                Ok(self.at(token, Expr::Number(number.val)))
            }
            parsed::Expr::StringLiteral(literal) => {
                let token = self.anchor();
                let written = self.tokens.word(token);
                let text = if written.starts_with(['"', '\'', '`']) {
                    unquote(written)
                } else {
                    Text { text: literal.val.clone(), not_utf8: None }
                };
                Ok(self.at(token, Expr::Text(text)))
            }
            parsed::Expr::VectorSelector(selector) => {
                let token = self.anchor();
                let selector = self.selector(selector)?;
                Ok(self.at(token, Expr::Selector(Box::new(selector))))
            }
            parsed::Expr::MatrixSelector(range) => {
                let token = self.anchor();
                let selector = self.selector(&range.vs)?;
                let range = RangeSelector { selector, range: nanos(range.range)? };
                Ok(self.at(token, Expr::Range(Box::new(range))))
            }
            parsed::Expr::Paren(paren) => {
                let (mut node, token) = self.node(&paren.expr)?;
                let token = self.tokens.before(token, '(').unwrap_or(token);
                node.place = self.tokens.place(token);
                Ok((node, token))
            }
            parsed::Expr::Unary(unary) => {
                let (inner, token) = self.node(&unary.expr)?;
                let token = self.tokens.before(token, '-').unwrap_or(token);
                Ok(self.at(token, Expr::Negate(Box::new(inner))))
            }
            parsed::Expr::Subquery(subquery) => self.subquery(subquery),
            parsed::Expr::Binary(binary) => self.binary(binary),
            parsed::Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            parsed::Expr::Call(call) => self.call(call),
            parsed::Expr::Extension(_) => Err(ParseError::new("this expression is not supported")),
        }
    }

    fn selector(&mut self, selector: &parsed::VectorSelector) -> Result<Selector, ParseError> {
        if !selector.matchers.or_matchers.is_empty() {
            return Err(ParseError::new("`or` between matchers is not supported"));
        }
        let name = selector.name.as_deref().map(|name| Matcher::equal(NAME, name));
        let others = selector.matchers.matchers.iter().map(matcher);
        let matchers = name.into_iter().map(Ok).chain(others).collect::<Result<_, _>>()?;
        let shift = shift(selector.at.as_ref(), selector.offset.as_ref())?;
        let slot = self.slots;
        self.slots += 1;
        Ok(Selector { slot, matchers, shift })
    }

    fn subquery(&mut self, subquery: &parsed::SubqueryExpr) -> Result<Lowered, ParseError> {
        let (inner, token) = self.node(&subquery.expr)?;
        let step = subquery.step.map(nanos).transpose()?;
        if step == Some(0) {
            return Err(ParseError::new("the step of a subquery must not be zero"));
        }
        let lowered = Subquery {
            inner,
            range: nanos(subquery.range)?,
            step,
            shift: shift(subquery.at.as_ref(), subquery.offset.as_ref())?,
        };
        Ok(self.at(token, Expr::Subquery(Box::new(lowered))))
    }

    fn binary(&mut self, binary: &parsed::BinaryExpr) -> Result<Lowered, ParseError> {
        let (left, token) = self.node(&binary.lhs)?;
        let (right, _) = self.node(&binary.rhs)?;
        let op = binary_op(&binary.op.to_string())
            .ok_or_else(|| ParseError::new(format!("{} is not an operator", binary.op)))?;
        let as_bool = binary.modifier.as_ref().is_some_and(|modifier| modifier.return_bool);
        let matching = matching(binary.modifier.as_ref())?;
        Ok(self.at(token, Expr::Binary(Box::new(Binary { op, left, right, as_bool, matching }))))
    }

    fn aggregate(&mut self, aggregate: &parsed::AggregateExpr) -> Result<Lowered, ParseError> {
        let token = self.anchor();
        let op = Aggregation::named(&aggregate.op.to_string())
            .ok_or_else(|| ParseError::new(format!("{} is not supported", aggregate.op)))?;
        let parameter = aggregate.param.as_deref().map(|tree| self.node(tree)).transpose()?;
        let (inner, _) = self.node(&aggregate.expr)?;
        let grouping = match &aggregate.modifier {
            None => Grouping::By(Vec::new()),
            Some(parsed::LabelModifier::Include(labels)) => Grouping::By(labels.labels.clone()),
            Some(parsed::LabelModifier::Exclude(labels)) => Grouping::Without(labels.labels.clone()),
        };
        let parameter = parameter.map(|(node, _)| node);
        Ok(self.at(token, Expr::Aggregate(Box::new(Aggregate { op, grouping, parameter, inner }))))
    }

    fn call(&mut self, call: &parsed::Call) -> Result<Lowered, ParseError> {
        let token = self.anchor();
        let function = Function::named(call.func.name)
            .ok_or_else(|| ParseError::new(format!("the function {} is not supported", call.func.name)))?;
        let args = call.args.args.iter().map(|arg| Ok(self.node(arg)?.0)).collect::<Result<_, _>>()?;
        Ok(self.at(token, Expr::Call(Box::new(Call { function, args }))))
    }
}

fn matcher(parsed: &ParsedMatcher) -> Result<Matcher, ParseError> {
    // The crate has made the expression one that compiles; keep what it made of it.
    let inner = |compiled: &regex::Regex| {
        let made = compiled.as_str();
        let made = made.strip_prefix("^(?:").and_then(|rest| rest.strip_suffix(")$")).unwrap_or(made);
        Pattern::new(made).map_err(|error| ParseError::new(error.to_string()))
    };
    let op = match &parsed.op {
        ParsedOp::Equal => MatchOp::Equal,
        ParsedOp::NotEqual => MatchOp::NotEqual,
        ParsedOp::Re(compiled) => MatchOp::Matches(inner(compiled)?),
        ParsedOp::NotRe(compiled) => MatchOp::DiffersFrom(inner(compiled)?),
    };
    Ok(Matcher { name: parsed.name.clone(), op, value: parsed.value.clone() })
}

fn matching(modifier: Option<&parsed::BinModifier>) -> Result<Matching, ParseError> {
    use parsed::VectorMatchCardinality as Card;
    let Some(modifier) = modifier else { return Ok(Matching::default()) };
    if modifier.fill_values.lhs.is_some() || modifier.fill_values.rhs.is_some() {
        return Err(ParseError::new("fill modifiers are not supported"));
    }
    let labels = match &modifier.matching {
        None => MatchLabels::default(),
        Some(parsed::LabelModifier::Include(labels)) => MatchLabels::On(labels.labels.clone()),
        Some(parsed::LabelModifier::Exclude(labels)) => MatchLabels::Ignoring(labels.labels.clone()),
    };
    let cardinality = match &modifier.card {
        Card::OneToOne | Card::ManyToMany => Cardinality::OneToOne,
        Card::ManyToOne(include) => Cardinality::ManyToOne(include.labels.clone()),
        Card::OneToMany(include) => Cardinality::OneToMany(include.labels.clone()),
    };
    Ok(Matching { labels, cardinality })
}

fn binary_op(op: &str) -> Option<BinaryOp> {
    use BinaryOp as B;
    Some(match op {
        "+" => B::Arithmetic(Arithmetic::Add),
        "-" => B::Arithmetic(Arithmetic::Subtract),
        "*" => B::Arithmetic(Arithmetic::Multiply),
        "/" => B::Arithmetic(Arithmetic::Divide),
        "%" => B::Arithmetic(Arithmetic::Modulo),
        "^" => B::Arithmetic(Arithmetic::Power),
        "atan2" => B::Arithmetic(Arithmetic::Atan2),
        "==" => B::Comparison(Comparison::Equal),
        "!=" => B::Comparison(Comparison::NotEqual),
        ">" => B::Comparison(Comparison::Greater),
        ">=" => B::Comparison(Comparison::GreaterOrEqual),
        "<" => B::Comparison(Comparison::Less),
        "<=" => B::Comparison(Comparison::LessOrEqual),
        "and" => B::Set(SetOp::And),
        "or" => B::Set(SetOp::Or),
        "unless" => B::Set(SetOp::Unless),
        _ => return None,
    })
}

fn shift(at: Option<&parsed::AtModifier>, offset: Option<&parsed::Offset>) -> Result<Shift, ParseError> {
    let at = match at {
        None => None,
        Some(parsed::AtModifier::Start) => Some(At::Start),
        Some(parsed::AtModifier::End) => Some(At::End),
        Some(parsed::AtModifier::At(time)) => Some(At::Time(unix_nanos(*time)?)),
    };
    let offset = match offset {
        None => 0,
        Some(parsed::Offset::Pos(span)) => nanos(*span)?,
        Some(parsed::Offset::Neg(span)) => -nanos(*span)?,
    };
    Ok(Shift { at, offset })
}

fn nanos(span: Duration) -> Result<i64, ParseError> {
    i64::try_from(span.as_nanos()).map_err(|_| ParseError::new("a duration is longer than 292 years"))
}

fn unix_nanos(time: SystemTime) -> Result<i64, ParseError> {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => nanos(after),
        Err(before) => Ok(-nanos(before.duration())?),
    }
}

/// A quoted text as Go reads it: `\x` and octal escapes are bytes, so that it may not be UTF-8.
fn unquote(quoted: &str) -> Text {
    let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    if quoted.starts_with('`') {
        return Text { text: inner.to_owned(), not_utf8: None };
    }
    let bytes = unescape(inner);
    match String::from_utf8(bytes) {
        Ok(text) => Text { text, not_utf8: None },
        Err(error) => Text {
            text: String::from_utf8_lossy(error.as_bytes()).into_owned(),
            not_utf8: Some(inner.to_owned()),
        },
    }
}

fn unescape(inner: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        let (plain, escape) = rest.split_at(at);
        bytes.extend_from_slice(plain.as_bytes());
        rest = one_escape(escape, &mut bytes);
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// Reads the escape that `text` starts with and gives what follows it.
fn one_escape<'a>(text: &'a str, bytes: &mut Vec<u8>) -> &'a str {
    let mut chars = text.chars();
    chars.next();
    let Some(kind) = chars.next() else { return "" };
    let after = chars.as_str();
    let mut code = |digits: &'a str, rest: &'a str, radix: u32| {
        let Ok(code) = u32::from_str_radix(digits, radix) else { return rest };
        match u8::try_from(code) {
            Ok(byte) if !matches!(kind, 'u' | 'U') => bytes.push(byte),
            Ok(_) | Err(_) => {
                let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        rest
    };
    let digits = |n: usize| after.split_at_checked(n).unwrap_or((after, ""));
    match kind {
        'x' => code(digits(2).0, digits(2).1, 16),
        'u' => code(digits(4).0, digits(4).1, 16),
        'U' => code(digits(8).0, digits(8).1, 16),
        '0'..='7' => {
            let octal = text.get(1..).unwrap_or_default().split_at_checked(3).unwrap_or(("", ""));
            code(octal.0, octal.1, 8)
        }
        other => {
            let plain = match other {
                'a' => '\u{7}',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\u{b}',
                same => same,
            };
            bytes.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes());
            after
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_bytes_and_need_not_be_utf8() {
        assert_eq!(unquote(r#""a\n\x41\u00e9\101""#).text, "a\nAéA");
        assert_eq!(unquote(r#""\xc3\xa9""#), Text { text: "é".into(), not_utf8: None });
        assert_eq!(unquote(r#""a\xc5z""#).not_utf8.as_deref(), Some(r"a\xc5z"));
        assert_eq!(unquote(r"`a\n`").text, r"a\n");
    }

    #[test]
    fn nodes_know_their_places() {
        let parsed = parse("sum(-(a)) + 2 * histogram_quantile(-0.1, b)").unwrap();
        let mut places = Vec::new();
        parsed.root.walk(&mut |node| {
            places.push(node.place.1);
            true
        });
        assert_eq!(places, [1, 1, 5, 6, 13, 13, 17, 36, 42]);
    }

    #[test]
    fn what_the_scan_takes_for_calls_and_leaves_is_what_the_parser_does() {
        for text in [
            "sum(x) by (a, on) / on () group_left () avg by (b,) (y)",
            "foo{a=\"b\",} offset -1h30m @ end() or max_over_time(bar:baz[5m:] @ -1.5e3)",
            "count_values without (a) ('v', {\"wärme\"}) * -+-1 atan2 0x1F",
            "label_replace(up, 'a', `$1`, \"b\", '(.*)') # x(y)\n and on(a) vector(5m)",
            "max_over_time(rate({__name__=~\".+\"}[1m])[1h:5m] offset 5) > bool .5",
            "start() + end() - step() * range() % time()",
            "topk by (x) (scalar(y), z @ start())",
        ] {
            let tokens = Tokens::of(text).unwrap();
            let tree = parse_tree(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let mut lowering = Lowering { tokens: &tokens, next_anchor: 0, slots: 0 };
            lowering.node(&tree).unwrap();
            assert_eq!(lowering.next_anchor, tokens.anchors().len(), "{text}");
        }
    }

    #[test]
    fn names_may_hold_any_characters() {
        let parsed = parse(r#"sum by ("a b") ({"wärme.kW", "c d"="e"})"#).unwrap();
        let Expr::Aggregate(sum) = parsed.root.expr else { panic!("no aggregation") };
        assert_eq!(sum.grouping, Grouping::By(vec!["a b".into()]));
        let Expr::Selector(selector) = sum.inner.expr else { panic!("no selector") };
        let names: Vec<_> = selector.matchers.iter().map(|m| (m.name.as_str(), m.value.as_str())).collect();
        assert_eq!(names, [("__name__", "wärme.kW"), ("c d", "e")]);
    }

    #[test]
    fn what_is_no_query_is_refused_with_a_reason() {
        for text in [
            "",
            "a[",
            "sum(",
            "x[NaN]",
            "foo[5m:0]",
            "{a=~\"(\"}",
            "1 == 1",
            "{a=\"b\" or c=\"d\"}",
            "x offset",
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with("parse error: ") && error.len() > 15, "{text}: {error}");
        }
    }
}
