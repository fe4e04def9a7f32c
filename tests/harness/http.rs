//! A blocking HTTP client for one server, and a reader of Prometheus text.
//!
//! It asserts nothing about the API: it says what was answered, and errors show request, status
//! and body.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// Longer than any query of a test may take.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);
/// An answer larger than this is a bug of the server, which bounds its own.
const BODY_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// A client of one server.
#[derive(Debug, Clone)]
pub struct Http {
    base: String,
    agent: ureq::Agent,
}

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The `content-type` header, empty if absent.
    pub content_type: String,
    /// All headers whose values are text.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

impl Http {
    /// A client of the server at `address`; nothing is connected yet.
    pub fn new(address: SocketAddr) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER_WITHIN))
            .build();
        Self { base: format!("http://{address}"), agent: config.into() }
    }

    /// GET `path` with query parameters (encoded here); any status is an answer.
    pub fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer> {
        let url = format!("{}{path}", self.base);
        let request = self.agent.get(&url).query_pairs(query.iter().copied());
        answer(request.call().with_context(|| format!("GET {url} {query:?}"))?)
    }

    /// POST of a form, as Grafana asks; any status is an answer.
    pub fn form(&self, path: &str, form: &[(&str, &str)]) -> Result<Answer> {
        let url = format!("{}{path}", self.base);
        let response = self.agent.post(&url).send_form(form.iter().copied());
        answer(response.with_context(|| format!("POST {url} {form:?}"))?)
    }

    /// POST of any body; any status is an answer.
    pub fn post(&self, path: &str, body: &[u8]) -> Result<Answer> {
        let url = format!("{}{path}", self.base);
        answer(self.agent.post(&url).send(body).with_context(|| format!("POST {url}"))?)
    }

    /// GET that must answer `status`.
    pub fn expect(&self, status: u16, path: &str, query: &[(&str, &str)]) -> Result<Answer> {
        let answer = self.get(path, query)?;
        ensure!(answer.status == status, "GET {path} {query:?}, expected {status}: {answer:?}");
        Ok(answer)
    }

    /// GET that must answer 200 with JSON.
    pub fn json(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        let answer = self.expect(200, path, query)?;
        serde_json::from_str(&answer.body)
            .with_context(|| format!("GET {path} {query:?}: not JSON: {}", answer.body))
    }

    /// The server's `/metrics`.
    pub fn metrics(&self) -> Result<Metrics> {
        Metrics::parse(&self.expect(200, "/metrics", &[])?.body)
    }
}

fn answer(mut response: ureq::http::Response<ureq::Body>) -> Result<Answer> {
    let content_type = response.headers().get("content-type");
    let text = |(name, value): (&ureq::http::HeaderName, &ureq::http::HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    Ok(Answer {
        status: response.status().as_u16(),
        headers: response.headers().iter().filter_map(text).collect(),
        content_type: content_type.map_or(Ok(""), |value| value.to_str())?.to_owned(),
        body: response.body_mut().with_config().limit(BODY_BYTES_MAX).read_to_string()?,
    })
}

/// Labels and their values.
pub type Labels = BTreeMap<String, String>;

/// One scrape: the value of each name and set of labels.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Metrics(BTreeMap<(String, Labels), f64>);

impl Metrics {
    /// Reads Prometheus text exposition.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let read = |line| parse_line(line).with_context(|| format!("metrics line: {line}"));
        lines.map(read).collect::<Result<_>>().map(Self)
    }

    /// The value of `name` with exactly these labels.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let owned = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
        self.0.get(&(name.to_owned(), labels.iter().map(owned).collect())).copied()
    }

    /// The sum of `name` over all its labels that include `labels`; 0 where there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let includes = |have: &Labels| {
            labels.iter().all(|&(key, value)| have.get(key).is_some_and(|have| have == value))
        };
        let wanted = self.0.iter().filter(|((have, labels), _)| have == name && includes(labels));
        wanted.map(|(_, value)| value).sum()
    }

    /// All that was scraped.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Labels, f64)> {
        self.0.iter().map(|((name, labels), &value)| (name.as_str(), labels, value))
    }
}

fn parse_line(line: &str) -> Result<((String, Labels), f64)> {
    let (series, value) = match line.rfind('}') {
        Some(end) => {
            let (series, value) = line.split_at(end);
            (series, value.trim_start_matches('}').trim())
        }
        None => line.split_once(' ').context("no value")?,
    };
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let number = value.split(' ').next().unwrap_or_default().parse()?;
    Ok(((name.to_owned(), parse_labels(labels)?), number))
}

fn parse_labels(text: &str) -> Result<Labels> {
    let mut labels = Labels::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (key, after) = rest.split_once("=\"").context("no label value")?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().context("label value without an end")? {
                (end, '"') => break end,
                (_, '\\') => match chars.next().context("label value ends in an escape")?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.insert(key.to_owned(), value);
        rest = after.split_at(end + 1).1.trim_start_matches(',');
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_found_by_labels_and_summed_over_them() {
        let text = "# HELP a x\n# TYPE a counter\na{b=\"1\",c=\"x, \\\"y\\\" }\"} 2\n\
                    a{b=\"2\"} 3e1\nplain 4 1700000000000\ninf{le=\"+Inf\"} +Inf\n";
        let metrics = Metrics::parse(text).unwrap();
        assert_eq!(metrics.get("a", &[("c", "x, \"y\" }"), ("b", "1")]), Some(2.0));
        assert_eq!(metrics.get("a", &[("b", "1")]), None);
        assert!((metrics.sum("a", &[]) - 32.0).abs() < 1e-9);
        assert!((metrics.sum("a", &[("b", "2")]) - 30.0).abs() < 1e-9);
        assert_eq!(metrics.get("plain", &[]), Some(4.0));
        assert_eq!(metrics.get("inf", &[("le", "+Inf")]), Some(f64::INFINITY));
    }

    #[test]
    fn a_broken_metrics_line_is_an_error() {
        for line in ["a", "a x", "a{b=\"1} 2", "a{b} 2"] {
            assert!(Metrics::parse(line).is_err(), "{line}");
        }
    }
}
