//! Regular expressions: from the dialect of Prometheus (Go's RE2 syntax) to that of the `regex` crate. Pure.
//!
//! They differ in a few places only: classes such as `\d` are ASCII there, `\Q…\E` and octal codes are known, braces
//! that repeat nothing and `&&` or `[` within a class are characters, and nested repetitions are refused.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

/// Why a text is no regular expression there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {0}")]
pub struct NoExpression(String);

impl NoExpression {
    /// What the `regex` crate says, in its last line, of an expression that was translated.
    pub(super) fn compiling(pattern: &str, error: &regex::Error) -> Self {
        let told = error.to_string();
        let last = told.lines().next_back().unwrap_or_default();
        Self::new(last.strip_prefix("error: ").unwrap_or(last), pattern)
    }

    fn new(why: &str, part: &str) -> Self {
        Self(format!("{why}: `{part}`"))
    }
}

/// The same expression for the `regex` crate, which still may find mistakes that are the same in both.
pub(super) fn translated(pattern: &str) -> Result<String, NoExpression> {
    let mut translation =
        Translation { rest: pattern.chars().peekable(), done: String::new(), open: 0, repeated: false };
    while let Some(c) = translation.rest.next() {
        translation.one(c, pattern)?;
    }
    Ok(translation.done)
}

struct Translation<'a> {
    rest: Peekable<Chars<'a>>,
    done: String,
    /// Parentheses that are open.
    open: usize,
    /// Whether what came last is a repetition.
    repeated: bool,
}

/// What stands for a class in brackets: ASCII alone.
const fn ascii(class: char) -> Option<&'static str> {
    Some(match class {
        'd' | 'D' => "0-9",
        'w' | 'W' => "0-9A-Za-z_",
        's' | 'S' => r"\t\n\x0C\r ",
        _ => return None,
    })
}

impl Translation<'_> {
    fn one(&mut self, c: char, pattern: &str) -> Result<(), NoExpression> {
        let repeated = std::mem::take(&mut self.repeated);
        match c {
            '*' | '+' | '?' => {
                self.done.push(c);
                return self.repetition(repeated, pattern);
            }
            '{' => {
                let Some(times) = self.times() else {
                    self.done.push_str(r"\{");
                    return Ok(());
                };
                self.done.push_str(&times);
                return self.repetition(repeated, pattern);
            }
            '(' => {
                self.open += 1;
                self.done.push('(');
                return self.flags();
            }
            ')' => {
                self.open =
                    self.open.checked_sub(1).ok_or_else(|| NoExpression::new("unexpected )", pattern))?;
                self.done.push(')');
            }
            '[' => return self.class(pattern),
            '\\' => return self.escape(),
            other => self.done.push(other),
        }
        Ok(())
    }

    /// Behind an operator that repeats.
    fn repetition(&mut self, repeated: bool, pattern: &str) -> Result<(), NoExpression> {
        if repeated {
            return Err(NoExpression::new("invalid nested repetition operator", pattern));
        }
        self.done.extend(self.rest.next_if_eq(&'?'));
        self.repeated = true;
        Ok(())
    }

    /// `{n}`, `{n,}` or `{n,m}` whole, where the brace opens one.
    fn times(&mut self) -> Option<String> {
        let inner: String = self.rest.clone().take_while(|c| *c != '}').collect();
        let after = self.rest.clone().nth(inner.chars().count())?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let (from, to) = inner.split_once(',').unwrap_or((&inner, ""));
        if after != '}' || !is_number(from) || !(to.is_empty() || is_number(to)) {
            return None;
        }
        for _ in 0..=inner.len() {
            self.rest.next();
        }
        Some(format!("{{{inner}}}"))
    }

    /// Refuses flags that only the `regex` crate has.
    fn flags(&mut self) -> Result<(), NoExpression> {
        let mut ahead = self.rest.clone();
        if ahead.next() != Some('?') {
            return Ok(());
        }
        let flags: String = ahead.take_while(|c| c.is_ascii_alphabetic() || *c == '-').collect();
        if flags.chars().any(|flag| !"imsUP-".contains(flag)) {
            return Err(NoExpression::new("invalid or unsupported Perl syntax", &format!("(?{flags}")));
        }
        // The question mark repeats nothing here.
        self.done.extend(self.rest.next());
        Ok(())
    }

    /// What follows a backslash, outside of brackets.
    fn escape(&mut self) -> Result<(), NoExpression> {
        match self.rest.next() {
            Some('Q') => self.literal(),
            Some('b') => self.done.push_str(r"(?-u:\b)"),
            Some(kept @ ('A' | 'B' | 'z')) => self.done.extend(['\\', kept]),
            Some(class) if ascii(class).is_some() => self.ascii_class(class),
            other => return self.character(other),
        }
        Ok(())
    }

    /// Up to `\E`, every character stands for itself.
    fn literal(&mut self) {
        let mut text = String::new();
        while let Some(c) = self.rest.next() {
            if c == '\\' && self.rest.next_if_eq(&'E').is_some() {
                break;
            }
            text.push(c);
        }
        self.done.push_str(&regex::escape(&text));
    }

    fn ascii_class(&mut self, class: char) {
        let not = if class.is_ascii_uppercase() { "^" } else { "" };
        self.done.push('[');
        self.done.push_str(not);
        self.done.push_str(ascii(class).unwrap_or_default());
        self.done.push(']');
    }

    /// An escape that stands for one character, or a Unicode class; the same within brackets.
    fn character(&mut self, escaped: Option<char>) -> Result<(), NoExpression> {
        let Some(c) = escaped else {
            return Err(NoExpression("trailing backslash at end of expression".into()));
        };
        match c {
            'a' | 'f' | 'n' | 'r' | 't' | 'v' => self.done.extend(['\\', c]),
            'x' | 'p' | 'P' => {
                self.done.extend(['\\', c]);
                self.braced();
            }
            '0'..='7' => self.octal(c)?,
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => {
                self.done.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
            }
            other => return Err(NoExpression::new("invalid escape sequence", &format!("\\{other}"))),
        }
        Ok(())
    }

    /// The braces of `\x{…}` and `\p{…}` are none that repeat.
    fn braced(&mut self) {
        if self.rest.peek() == Some(&'{') {
            for c in self.rest.by_ref() {
                self.done.push(c);
                if c == '}' {
                    return;
                }
            }
        }
    }

    /// Up to three octal digits. One alone but 0 would refer to a group, which is not possible.
    fn octal(&mut self, first: char) -> Result<(), NoExpression> {
        let mut code = first.to_digit(8).unwrap_or_default();
        let mut digits = 1;
        while digits < 3
            && let Some(digit) = self.rest.peek().and_then(|c| c.to_digit(8))
        {
            self.rest.next();
            code = code * 8 + digit;
            digits += 1;
        }
        if digits == 1 && first != '0' {
            return Err(NoExpression::new("invalid escape sequence", &format!("\\{first}")));
        }
        // Writing to a string does not fail.
        let _ = write!(self.done, "\\x{{{code:X}}}");
        Ok(())
    }

    /// A class in brackets, of which the first is taken.
    fn class(&mut self, pattern: &str) -> Result<(), NoExpression> {
        self.done.push('[');
        self.done.extend(self.rest.next_if_eq(&'^'));
        if self.rest.next_if_eq(&']').is_some() {
            self.done.push_str(r"\]");
        }
        while let Some(c) = self.rest.next() {
            match c {
                ']' => {
                    self.done.push(']');
                    return Ok(());
                }
                '[' if self.rest.peek() == Some(&':') => self.named_class(),
                '[' | '&' | '~' => self.done.extend(['\\', c]),
                '-' if self.done.ends_with('-') => self.done.push_str(r"\-"),
                '\\' => match self.rest.next() {
                    Some(class) if ascii(class).is_some() && class.is_ascii_lowercase() => {
                        self.done.push_str(ascii(class).unwrap_or_default());
                    }
                    Some(class) if ascii(class).is_some() => self.ascii_class(class),
                    other => self.character(other)?,
                },
                other => self.done.push(other),
            }
        }
        Err(NoExpression::new("missing closing ]", pattern))
    }

    /// `[:alpha:]`, whose bracket is taken; where it is none, the bracket is a character.
    fn named_class(&mut self) {
        let name: String = self.rest.clone().skip(1).take_while(|c| *c != ':').collect();
        let end: String = self.rest.clone().skip(1 + name.chars().count()).take(2).collect();
        if end == ":]" {
            self.done.push('[');
            for _ in 0..name.chars().count() + 3 {
                self.done.extend(self.rest.next());
            }
        } else {
            self.done.push_str(r"\[");
        }
    }
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        let translated = translated(pattern).unwrap();
        Regex::new(&format!("^(?s:{translated})$"))
            .unwrap_or_else(|error| panic!("{pattern}: {error}"))
            .is_match(text)
    }

    #[test]
    fn what_both_know_means_the_same() {
        for (pattern, yes, no) in [
            (r"d\d+", "d12", "d١"),
            (r"\w", "_", "ü"),
            (r"\W", "ü", "a"),
            (r"[^\w]", "ü", "a"),
            (r"[\D]", "x", "1"),
            (r"a\s", "a\t", "a\u{a0}"),
            (r"x\b.*", "xü", "xy"),
            (r"a{2}", "aa", "a{2}"),
            (r"a{2,}?b", "aaab", "ab"),
            (r"(?i)NORTH|x{1,2}", "north", "xxx"),
            (r"[[:alpha:]x-z]+", "abz", "1"),
            (r"\x41\x{e4}\pL\p{Greek}", "Aäxα", "A"),
            (r"(?P<a>x)(?:y)(?s-m:z)", "xyz", "x"),
            (r"\.\-\/\_\@", ".-/_@", "a"),
        ] {
            assert!(matches(pattern, yes) && !matches(pattern, no), "{pattern}");
        }
    }

    #[test]
    fn what_go_alone_knows_is_said_otherwise() {
        for (pattern, yes, no) in [
            (r"\Qa.b\E.", "a.bc", "axbc"),
            (r"\Qa.b", "a.b", "axb"),
            (r"\1441\0", "d1\0", "x"),
            (r"a{b", "a{b", "ab"),
            (r"a{,2}", "a{,2}", "aa"),
            (r"[d&&x]1", "&1", "y1"),
            (r"[a[b]+", "[ab", "c"),
            (r"[]a]+", "a]", "b"),
            (r"[^]a]", "b", "]"),
            (r"[+--]", ",", "a"),
            (r"[[:x]", ":", "y"),
            (r"\<\>", "<>", ""),
        ] {
            assert!(matches(pattern, yes) && !matches(pattern, no), "{pattern}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for pattern in ["a**", "a+?*", "a{2}{3}", "a)|(b", r"\u1234", r"\1", r"\8", "(?x)a b", "[a", "a\\"] {
            assert!(translated(pattern).is_err(), "{pattern}");
        }
    }
}
