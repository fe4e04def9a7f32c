//! `label_replace` and `label_join`. Both see names that are to be dropped, and setting a name keeps it.

use regex::Captures;

use super::super::eval::{EvalError, joined};
use super::super::expr::Text;
use super::super::labels::NAME;
use super::super::matcher::whole_value;
use super::super::value::Row;
use super::Arguments;

fn destination<'a>(function: &str, name: &'a Text) -> Result<&'a str, EvalError> {
    let invalid =
        |shown: &str| EvalError::invalid(format!("invalid destination label name in {function}(): {shown}"));
    match &name.not_utf8 {
        Some(shown) => Err(invalid(shown)),
        None if name.text.is_empty() => Err(invalid("")),
        None => Ok(&name.text),
    }
}

fn set(row: &mut Row, name: &str, value: &str) {
    row.labels = row.labels.with(name, value);
    if name == NAME {
        row.drop_name = false;
    }
}

pub(super) fn replace(mut rows: Vec<Row>, args: &Arguments<'_>) -> Result<Vec<Row>, EvalError> {
    let (template, source) = (&args.text(2)?.text, &args.text(3)?.text);
    let pattern = &args.text(4)?.text;
    let regex = whole_value(pattern).map_err(|_| {
        EvalError::invalid(format!("invalid regular expression in label_replace(): {pattern}"))
    })?;
    let name = destination("label_replace", args.text(1)?)?;
    for row in &mut rows {
        let value = regex.captures(row.labels.get(source)).map(|found| expand(template, &found));
        if let Some(value) = value {
            set(row, name, &value);
        }
    }
    joined(rows)
}

/// `$1`, `$name` and `${name}` replaced by what was captured; `$$` is a dollar. Names are as long as possible.
fn expand(template: &str, found: &Captures<'_>) -> String {
    let mut expanded = String::new();
    found.expand(template, &mut expanded);
    expanded
}

pub(super) fn join(mut rows: Vec<Row>, args: &Arguments<'_>) -> Result<Vec<Row>, EvalError> {
    let name = destination("label_join", args.text(1)?)?;
    let separator = &args.text(2)?.text;
    let sources: Vec<&str> =
        args.from(3).iter().filter_map(|node| node.text().map(|text| text.text.as_str())).collect();
    for row in &mut rows {
        let values: Vec<&str> = sources.iter().map(|source| row.labels.get(source)).collect();
        let value = values.join(separator);
        set(row, name, &value);
    }
    joined(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_take_what_was_captured() {
        let regex = whole_value("(?P<a>.*)-(.*)").unwrap();
        let found = regex.captures("x-y").unwrap();
        assert_eq!(expand("$2/${a}/$1_/$$", &found), "y/x//$");
    }
}
