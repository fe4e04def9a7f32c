//! From a query's text to [`Node`]: the `promql-parser` crate's tree, checked and lowered.
//!
//! The crate has no places, misreads or refuses some texts, and takes some syntax that Prometheus does not have (`or`
//! within braces, an empty range); what it lacks is done here, in `tokens` and in `plain`.

use std::panic::catch_unwind;
use std::time::{Duration, SystemTime};

use promql_parser::label::{Labels, MatchOp as ParsedOp, Matcher as ParsedMatcher};
use promql_parser::parser as parsed;
use promql_parser::parser::value::ValueType;

use super::expr::{
    Aggregate, Arithmetic, At, Binary, BinaryOp, Call, Cardinality, Comparison, Expr, Grouping, MatchLabels,
    Matching, Node, RangeSelector, Selector, SetOp, Shift, Subquery, Text,
};
use super::function::{Aggregation, Function};
use super::labels::NAME;
use super::matcher::{MatchOp, Matcher, Pattern};
use super::plain::Plain;
use super::quoted::unquote;
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
    let plain = Plain::of(&tokens)?;
    let tree = parse_tree(&plain)?;
    let mut lowering = Lowering { tokens: &tokens, plain: &plain, next_anchor: 0, slots: 0 };
    let (root, _) = lowering.node(&tree)?;
    if lowering.next_anchor != tokens.anchors().len() {
        // The scan and the parser disagree about what is where: then nothing has a place.
        let nothing = Tokens::default();
        let mut lowering = Lowering { tokens: &nothing, plain: &plain, next_anchor: 0, slots: 0 };
        let (root, _) = lowering.node(&tree)?;
        return Ok(Parsed { root, slots: lowering.slots });
    }
    Ok(Parsed { root, slots: lowering.slots })
}

/// The query in the parser's canonical form, broken into lines where it is long.
pub fn format(text: &str) -> Result<String, ParseError> {
    parse(text)?;
    let plain = Plain::of(&Tokens::of(text)?)?;
    Ok(plain.restored(parse_tree(&plain)?.prettify()))
}

/// The query's tree as the parser has it, in the form in which Prometheus shows trees.
pub fn tree(text: &str) -> Result<serde_json::Value, ParseError> {
    parse(text)?;
    let plain = Plain::of(&Tokens::of(text)?)?;
    let tree = serde_json::to_value(parse_tree(&plain)?);
    let mut tree = tree.map_err(|error| ParseError::new(error.to_string()))?;
    plain.restore(&mut tree);
    Ok(tree)
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
fn parse_tree(plain: &Plain) -> Result<parsed::Expr, ParseError> {
    match catch_unwind(|| parsed::parse(plain.text())) {
        Ok(tree) => tree.map_err(|why| ParseError::new(plain.restored(why))),
        Err(_panic) => Err(ParseError::new("the query cannot be read")),
    }
}

struct Lowering<'a> {
    tokens: &'a Tokens<'a>,
    plain: &'a Plain,
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
                let range = RangeSelector { selector, range: longer_than_none(range.range)? };
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
        let name = selector.name.as_deref().map(|name| Matcher::equal(NAME, self.plain.real(name)));
        let others = selector.matchers.matchers.iter().map(|parsed| self.matcher(parsed));
        let matchers = name.into_iter().map(Ok).chain(others).collect::<Result<Vec<_>, _>>()?;
        if matchers.iter().all(|matcher| matcher.fits("")) {
            return Err(ParseError::new("vector selector must contain at least one non-empty matcher"));
        }
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
            range: longer_than_none(subquery.range)?,
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
        let matching = self.matching(binary.modifier.as_ref())?;
        Ok(self.at(token, Expr::Binary(Box::new(Binary { op, left, right, as_bool, matching }))))
    }

    fn aggregate(&mut self, aggregate: &parsed::AggregateExpr) -> Result<Lowered, ParseError> {
        let token = self.anchor();
        let op = Aggregation::named(&aggregate.op.to_string())
            .ok_or_else(|| ParseError::new(format!("{} is not supported", aggregate.op)))?;
        if let (Aggregation::Limitk | Aggregation::LimitRatio, Some(limit)) = (op, &aggregate.param) {
            expect_type(ValueType::Scalar, limit, "aggregation expression")?;
        }
        let parameter = aggregate.param.as_deref().map(|tree| self.node(tree)).transpose()?;
        let (inner, _) = self.node(&aggregate.expr)?;
        let grouping = match &aggregate.modifier {
            None => Grouping::By(Vec::new()),
            Some(parsed::LabelModifier::Include(labels)) => Grouping::By(self.names(labels)),
            Some(parsed::LabelModifier::Exclude(labels)) => Grouping::Without(self.names(labels)),
        };
        let parameter = parameter.map(|(node, _)| node);
        Ok(self.at(token, Expr::Aggregate(Box::new(Aggregate { op, grouping, parameter, inner }))))
    }

    fn call(&mut self, call: &parsed::Call) -> Result<Lowered, ParseError> {
        let token = self.anchor();
        let function = Function::named(call.func.name)
            .ok_or_else(|| ParseError::new(format!("the function {} is not supported", call.func.name)))?;
        // The crate takes some numbers for vectors.
        let types = call.func.arg_types.iter().chain(call.func.arg_types.last().into_iter().cycle());
        for (wanted, arg) in types.zip(&call.args.args) {
            expect_type(*wanted, arg, &format!("call to function {:?}", call.func.name))?;
        }
        let args = call.args.args.iter().map(|arg| Ok(self.node(arg)?.0)).collect::<Result<_, _>>()?;
        Ok(self.at(token, Expr::Call(Box::new(Call { function, args }))))
    }

    fn matcher(&self, parsed: &ParsedMatcher) -> Result<Matcher, ParseError> {
        let value = self.plain.real(&parsed.value);
        let pattern = || Pattern::new(value).map_err(|error| ParseError::new(error.to_string()));
        let op = match &parsed.op {
            ParsedOp::Equal => MatchOp::Equal,
            ParsedOp::NotEqual => MatchOp::NotEqual,
            ParsedOp::Re(_) => MatchOp::Matches(pattern()?),
            ParsedOp::NotRe(_) => MatchOp::DiffersFrom(pattern()?),
        };
        Ok(Matcher { name: parsed.name.clone(), op, value: value.to_owned() })
    }

    fn names(&self, labels: &Labels) -> Vec<String> {
        labels.labels.iter().map(|name| self.plain.real(name).to_owned()).collect()
    }

    fn matching(&self, modifier: Option<&parsed::BinModifier>) -> Result<Matching, ParseError> {
        use parsed::VectorMatchCardinality as Card;
        let Some(modifier) = modifier else { return Ok(Matching::default()) };
        if modifier.fill_values.lhs.is_some() || modifier.fill_values.rhs.is_some() {
            return Err(ParseError::new("fill modifiers are not supported"));
        }
        let labels = match &modifier.matching {
            None => MatchLabels::default(),
            Some(parsed::LabelModifier::Include(labels)) => MatchLabels::On(self.names(labels)),
            Some(parsed::LabelModifier::Exclude(labels)) => MatchLabels::Ignoring(self.names(labels)),
        };
        let cardinality = match &modifier.card {
            Card::OneToOne | Card::ManyToMany => Cardinality::OneToOne,
            Card::ManyToOne(include) => Cardinality::ManyToOne(self.names(include)),
            Card::OneToMany(include) => Cardinality::OneToMany(self.names(include)),
        };
        Ok(Matching { labels, cardinality })
    }
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

/// The length of a range.
fn longer_than_none(span: Duration) -> Result<i64, ParseError> {
    match nanos(span)? {
        0 => Err(ParseError::new("duration must be greater than 0")),
        span => Ok(span),
    }
}

fn expect_type(wanted: ValueType, of: &parsed::Expr, place: &str) -> Result<(), ParseError> {
    let found = of.value_type();
    if found == wanted {
        return Ok(());
    }
    Err(ParseError::new(format!("expected type {} in {place}, got {}", kind(wanted), kind(found))))
}

/// What Prometheus calls a type.
const fn kind(of: ValueType) -> &'static str {
    match of {
        ValueType::Vector => "instant vector",
        ValueType::Matrix => "range vector",
        ValueType::Scalar => "scalar",
        ValueType::String => "string",
    }
}

fn unix_nanos(time: SystemTime) -> Result<i64, ParseError> {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => nanos(after),
        Err(before) => Ok(-nanos(before.duration())?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let plain = Plain::of(&tokens).unwrap();
            let tree = parse_tree(&plain).unwrap_or_else(|error| panic!("{text}: {error}"));
            let mut lowering = Lowering { tokens: &tokens, plain: &plain, next_anchor: 0, slots: 0 };
            lowering.node(&tree).unwrap();
            assert_eq!(lowering.next_anchor, tokens.anchors().len(), "{text}");
        }
    }

    #[test]
    fn patterns_between_backticks_are_as_they_stand() {
        let of = |text: &str| {
            let parsed = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            parsed.root.selector().unwrap().matchers.clone()
        };
        for text in [r"x{a=~`d\d`}", r#"x{a=~"d\\d"}"#, r"x{a=~'\x64\\d'}"] {
            let matchers = of(text);
            assert_eq!(matchers[1].value, r"d\d", "{text}");
            assert!(matchers[1].fits("d1") && !matchers[1].fits("dd"), "{text}");
        }
        assert_eq!(of(r#"smoothed{or ="\xc3\xa9"}"#)[0].value, "smoothed");
        assert_eq!((&*of(r#"{or ="\xc3\xa9"}"#)[0].name, &*of(r#"{or ="\xc3\xa9"}"#)[0].value), ("or", "é"));
        let shown = format(r"sum by(anchored)(x{a=~`d\d`})").unwrap();
        assert_eq!(shown, r#"sum by (anchored) (x{a=~"d\\d"})"#);
        assert_eq!(tree(r"x{a=~`d\d`}").unwrap()["matchers"][0]["value"], r"d\d");
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
            "x[0]",
            "x[0:1m]",
            "ln(0)",
            "exp(NaN)",
            "limitk(x, x)",
            "{a=~\"b*\"}",
            "{a=~\"b**\"}",
            "{a=~\"b)|(c\"}",
            "smoothed anchored",
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with("parse error: ") && error.len() > 15, "{text}: {error}");
        }
    }
}
