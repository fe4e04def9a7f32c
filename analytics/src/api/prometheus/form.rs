//! Parameters of a request as Prometheus takes them: from the target, and for POST from a form as well.
//!
//! Parameters that a route does not know are ignored, as clients expect.

use axum::body::to_bytes;
use axum::extract::Request;
use hyper::Method;

use tidemill_store::model::{TimeRange, Timestamp};

use super::failure::{ErrorType, Failure};
use super::times;
use crate::promql::{Matcher, parse_selector};

/// Bytes of a form; the server's own limit is usually lower.
const FORM_BYTES_MAX: usize = 1024 * 1024;
/// Most `match[]` parameters of a request.
const MATCHES_MAX: usize = 64;

/// The parameters, those of the form first.
#[derive(Debug, Default)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a request.
    pub(super) async fn of(request: Request) -> Result<Self, Failure> {
        let target = request.uri().query().unwrap_or_default().to_owned();
        let mut pairs = Vec::new();
        if request.method() == Method::POST {
            let body = to_bytes(request.into_body(), FORM_BYTES_MAX).await;
            let body =
                body.map_err(|error| Failure::bad_data(format!("the form cannot be read: {error}")))?;
            pairs.extend(decode(&body)?);
        }
        pairs.extend(decode(target.as_bytes())?);
        Ok(Self(pairs))
    }

    /// The first value of `name`, unless it is empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    /// Every value of `name`.
    pub(super) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A time in nanoseconds.
    pub(super) fn time(&self, name: &str) -> Result<Option<i64>, Failure> {
        self.get(name)
            .map(|text| times::moment(text).map_err(|why| Failure::parameter(name, why)))
            .transpose()
    }

    /// From `start` up to and with `end`, both of which may be missing, or the other way round.
    pub(super) fn range(&self) -> Result<TimeRange, Failure> {
        let (start, end) = (self.time("start")?, self.time("end")?);
        if start.is_none() && end.is_none() {
            return Ok(TimeRange::ALL);
        }
        let bound = |nanos: i64| {
            let nanos = nanos.clamp(Timestamp::MIN.nanos(), Timestamp::MAX.nanos());
            Timestamp::from_nanos(nanos).map_err(|error| Failure::parameter("start", error))
        };
        let start = start.map_or(Ok(Timestamp::MIN), bound)?;
        let end = end.map_or(Ok(Timestamp::MAX), |end| bound(end.saturating_add(1)))?;
        // Prometheus looks the names up between the two in any case.
        let range = TimeRange::new(start.min(end), start.max(end));
        range.map_err(|error| Failure::parameter("end", error))
    }

    /// A span in nanoseconds.
    pub(super) fn span(&self, name: &str) -> Result<Option<i64>, Failure> {
        self.get(name).map(|text| times::span(text).map_err(|why| Failure::parameter(name, why))).transpose()
    }

    /// `limit`; `None` where there is none or it is 0.
    pub(super) fn limit(&self) -> Result<Option<usize>, Failure> {
        self.most("limit")
    }

    /// How many of something at most; `None` where that is not said or is 0.
    pub(super) fn most(&self, name: &str) -> Result<Option<usize>, Failure> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let why = || format!("{name} must be a whole number that is not negative");
        let most: usize = text.parse().map_err(|_| Failure::parameter(name, why()))?;
        Ok(Some(most).filter(|most| *most > 0))
    }

    /// The sets of matchers in `match[]`.
    pub(super) fn matches(&self) -> Result<Vec<Vec<Matcher>>, Failure> {
        let texts: Vec<&str> = self.all("match[]").collect();
        if texts.len() > MATCHES_MAX {
            return Err(Failure::parameter("match[]", format!("at most {MATCHES_MAX} are allowed")));
        }
        let sets = texts
            .into_iter()
            .map(|text| parse_selector(text).map_err(|error| Failure::parameter("match[]", error)));
        sets.collect()
    }
}

/// `application/x-www-form-urlencoded`.
fn decode(bytes: &[u8]) -> Result<Vec<(String, String)>, Failure> {
    let pairs = bytes.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (name, value) = pair.split_at(at);
        Some((text(name)?, text(value.get(1..).unwrap_or_default())?))
    });
    let pairs: Option<Vec<_>> = pairs.collect();
    pairs.ok_or_else(|| Failure::new(ErrorType::BadData, "the parameters are not percent-encoded UTF-8"))
}

fn text(bytes: &[u8]) -> Option<String> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        decoded.push(match first {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = rest.split_first_chunk::<2>()?;
                rest = after;
                u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
            }
            other => *other,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded_and_what_is_none_is_refused() {
        let pairs = decode(b"query=a%2Bb+%C3%A9&x&match%5B%5D=%7Ba%3D%22b%22%7D").unwrap();
        let expected = [("query", "a+b é"), ("x", ""), ("match[]", "{a=\"b\"}")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(decode(b"a=%FF").is_err() && decode(b"a=%2").is_err() && decode(b"a=%zz").is_err());
    }

    #[test]
    fn of_values_of_one_name_the_first_counts() {
        let form = Form(decode(b"a=1&a=2&b=&b=3&c=%20").unwrap());
        assert_eq!(
            (form.get("a"), form.get("b"), form.get("c"), form.get("d")),
            (Some("1"), None, Some(" "), None)
        );
    }

    #[test]
    fn a_limit_of_zero_is_none() {
        let form = |text: &str| Form(decode(text.as_bytes()).unwrap());
        assert_eq!(form("limit=0").limit(), Ok(None));
        assert_eq!(form("limit=5").limit(), Ok(Some(5)));
        assert!(form("limit=-1").limit().is_err());
    }
}
