//! Quoted texts as Go reads and Prometheus writes them. Pure.

use super::expr::Text;

/// A quoted text as Go reads it: `\x` and octal escapes are bytes, so that it may not be UTF-8.
pub(super) fn unquote(quoted: &str) -> Text {
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

/// How the parser reads a quoted text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// As Go does.
    Same,
    /// It looks for escapes between backticks, and takes codes of bytes for characters.
    Other,
    /// It has an escape that there is not, which the parser says.
    Wrong,
}

/// How the parser would read the text.
pub(super) fn reading(quoted: &str) -> Reading {
    if quoted.starts_with('`') {
        return if quoted.contains('\\') { Reading::Other } else { Reading::Same };
    }
    let quote = quoted.chars().next().unwrap_or('"');
    let (mut rest, mut reading) = (quoted, Reading::Same);
    while let Some((_, escape)) = rest.split_once('\\') {
        let Some(kind) = escape.chars().next() else { return Reading::Wrong };
        let codes = |from: usize, to: usize, radix: u32| {
            escape.get(from..to).is_some_and(|code| code.chars().all(|digit| digit.is_digit(radix)))
        };
        match kind {
            'x' if codes(1, 3, 16) => reading = Reading::Other,
            '0'..='3' if codes(0, 3, 8) => reading = Reading::Other,
            'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' | 'u' | 'U' => {}
            other if other == quote => {}
            _ => return Reading::Wrong,
        }
        rest = escape.get(kind.len_utf8()..).unwrap_or_default();
    }
    reading
}

/// In double quotes, for a reader that knows `\n`, `\r`, `\t`, `\\` and `\"`.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\\' | '"' => quoted.extend(['\\', c]),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
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
    fn what_the_parser_misreads_is_told() {
        for (reading, texts) in [
            (Reading::Other, [r"`a\d`", r#""\xc3\xa9""#, r"'\101'"]),
            (Reading::Same, [r#""a\n\u00e9\\d""#, "`a`", r#""a'b""#]),
            (Reading::Wrong, [r#""\q\x41""#, r#""\x4""#, r#""a\'b""#]),
        ] {
            assert_eq!(texts.map(super::reading), [reading; 3], "{texts:?}");
        }
    }

    #[test]
    fn what_is_quoted_reads_back() {
        for text in ["", "a\"b\\d\n\r\t'`ü"] {
            assert_eq!(unquote(&quote(text)), Text { text: text.into(), not_utf8: None });
        }
    }
}
