//! What lines of separated values mean, by example, and what the lines of another writer mean.

use proptest::prelude::*;
use tidemill_store::model::Value;

use super::super::testing::{Said, at, decode_as, fault, pairs, tags};
use super::super::{DecodeError, Format};
use super::*;

fn layout(columns: &[&str]) -> Format {
    let columns: Vec<String> = columns.iter().map(|&name| name.to_owned()).collect();
    Format::Csv(CsvLayout::new(&columns, "ts", ',').unwrap())
}

fn decode(format: &Format, text: &str) -> Result<Vec<Said>, DecodeError> {
    decode_as(format, text.as_bytes())
}

#[test]
fn columns_are_named_by_configuration_or_by_the_first_line() {
    let expected = [
        Said {
            time: Some(at(1_700_000_000_250)),
            tags: tags(&[("site", "north")]),
            values: pairs(&[("temp", Value::F64(21.5)), ("state", Value::Text("on".into()))]),
        },
        Said { time: None, tags: vec![], values: pairs(&[("temp", Value::I64(-3))]) },
    ];
    let lines = "1700000000250,north,21.5,x,on\n,, -3 ,x,\r\n";
    let configured = layout(&["ts", "tag:site", "temp", "", "state"]);
    assert_eq!(decode(&configured, lines).unwrap(), expected);
    let headed = format!("ts,tag:site,temp,,\"state\"\r\n{lines}");
    assert_eq!(decode(&layout(&[]), &headed).unwrap(), expected);
}

#[test]
fn a_delimiter_and_a_column_of_the_time_can_be_chosen() {
    let format = Format::Csv(CsvLayout::new(&["when".into(), "v".into()], "when", ';').unwrap());
    let said = decode(&format, "2023-11-14T22:13:20Z;1,5").unwrap().remove(0);
    assert_eq!(
        (said.time, said.values),
        (Some(at(1_700_000_000_000)), pairs(&[("v", Value::Text("1,5".into()))]))
    );
}

#[test]
fn quotes_hold_separators_line_ends_and_quotes() {
    let said = decode(&layout(&["a", "b"]), "\"x, \"\"y\"\"\nz\",\"7\"\n").unwrap().remove(0);
    assert_eq!(said.values, pairs(&[("a", Value::Text("x, \"y\"\nz".into())), ("b", Value::I64(7))]));
}

#[test]
fn what_does_not_fit_the_columns_is_refused_with_its_line() {
    let two = layout(&["ts", "v"]);
    let text = |text: &str| fault(&two, text.as_bytes()).1;
    assert_eq!(text("1,2\n1,2,3"), "at line 2 (byte 9): the line has 3 fields where there are 2 columns");
    assert_eq!(text("1\n2,3"), "at line 1 (byte 1): the line has 1 fields where there are 2 columns");
    assert_eq!(text("1,2\r\n3\r\n"), "at line 2 (byte 7): the line has 1 fields where there are 2 columns");
    assert!(text("1,\"x").ends_with("not CSV: the quotes do not end"));
    assert!(text("1,\"x\"y").ends_with("not CSV: something follows the closing quotes"));
    assert!(text("yesterday,1").contains("the time is not RFC 3339"));
    assert!(text("").ends_with("the payload is empty"));
    assert!(text("\n\n").ends_with("there is no value to store"));
    assert_eq!(fault(&layout(&[]), b"ts,v\n").0, "no_samples");
    assert_eq!(fault(&layout(&[]), b"v,v\n1,2\n").0, "duplicate_member");
    assert_eq!(fault(&layout(&[]), "x,".repeat(2000).as_bytes()).0, "limit");
    assert_eq!(fault(&two, b"1,\xff").0, "syntax");
}

#[test]
fn layouts_that_cannot_work_are_refused() {
    use CsvLayoutError as E;
    let new = |columns: &[&str], delimiter| {
        let columns: Vec<String> = columns.iter().map(|&name| name.to_owned()).collect();
        CsvLayout::new(&columns, "ts", delimiter)
    };
    assert!(matches!(new(&["v", "v"], ','), Err(E::Twice(_))));
    assert!(matches!(new(&["v\n"], ','), Err(E::Name { .. })));
    assert!(matches!(new(&["v", "tag:"], ','), Err(E::Name { .. })));
    assert_eq!(new(&["ts", "tag:a", ""], ','), Err(E::NoMetric));
    for delimiter in ['"', 'x', '\n', '€', ' '] {
        assert_eq!(new(&["v"], delimiter), Err(E::Delimiter), "{delimiter:?}");
    }
    assert!(new(&["", "", "v"], '\t').is_ok());
}

proptest! {
    #[test]
    fn what_another_writer_wrote_is_read(
        rows in prop::collection::vec(("[a-z\",\n\r; ]{0,6}[a-z]", any::<i64>(), any::<f64>(), any::<bool>()), 1..6)
    ) {
        let mut writer = ::csv::WriterBuilder::new().from_writer(Vec::new());
        writer.write_record(["text", "integer", "double", "bool"]).unwrap();
        for (text, integer, double, bool) in &rows {
            writer.write_record([text, &integer.to_string(), &format!("{double:?}"), &bool.to_string()]).unwrap();
        }
        let written = writer.into_inner().unwrap();
        let expected: Vec<_> = rows
            .into_iter()
            .map(|(text, integer, double, bool)| {
                pairs(&[
                    ("text", Value::Text(text.as_str().into())),
                    ("integer", Value::I64(integer)),
                    ("double", Value::F64(double)),
                    ("bool", Value::Bool(bool)),
                ])
            })
            .collect();
        // A word that reads as a number or a boolean is one.
        prop_assume!(expected.iter().all(|row| matches!(&row[0].1, Value::Text(text) if untyped(text.trim()).is_none())));
        let read: Vec<_> =
            decode_as(&layout(&[]), &written).unwrap().into_iter().map(|said| said.values).collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn any_text_gives_points_or_an_error_within_it(text in "[a1,\"\n\r. -]{0,40}") {
        if let Err(error) = decode(&layout(&["a", "b"]), &text) {
            prop_assert!(error.offset <= text.len());
        }
        let _ = decode(&layout(&[]), &text);
    }
}
