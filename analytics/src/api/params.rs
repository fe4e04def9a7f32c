//! Query parameters: each known, each at most once unless it may repeat, each problem by its name.

use axum::extract::Query as UrlQuery;
use hyper::Uri;
use jiff::tz::TimeZone;
use tidemill_store::model::{Device, Metric, Tenant, TimeRange, Timestamp};
use tidemill_store::read::Selector;
use tidemill_store::wide::Order;

use super::cursor::{Fingerprint, InvalidCursor};
use super::limits::RowLimit;
use super::problem::{Problem, ProblemKind};
use super::suggest;
use crate::moment;

/// How far back a query looks that does not say where to start.
const DEFAULT_RANGE: std::time::Duration = std::time::Duration::from_hours(1);

/// The parameters of one request.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads the query of `uri`, which may hold only `known` names.
    pub(super) fn of(uri: &Uri, known: &[&'static str]) -> Result<Self, Problem> {
        let pairs = UrlQuery::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| Problem::new(ProblemKind::InvalidParameter, error.body_text()))?;
        match pairs.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => Err(unknown(name, known)),
            None => Ok(Self(pairs.0)),
        }
    }

    /// Every value of `name`, in order.
    pub(super) fn all<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of `name`, which may be given once.
    pub(super) fn one(&self, name: &'static str) -> Result<Option<&str>, Problem> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(Problem::invalid(name, "may be given only once")),
        }
    }

    /// The value of `name` as `parse` understands it.
    pub(super) fn read<T, E: std::fmt::Display>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Problem> {
        let value = self.one(name)?;
        value.map(|value| parse(value).map_err(|why| Problem::invalid(name, why))).transpose()
    }

    /// The value of `name` among a few words.
    pub(super) fn word<T: Copy>(
        &self,
        name: &'static str,
        words: impl IntoIterator<Item = (&'static str, T)>,
        default: T,
    ) -> Result<T, Problem> {
        let words: Vec<(&str, T)> = words.into_iter().collect();
        Ok(self.read(name, |value| one_of(value, &words))?.unwrap_or(default))
    }

    /// `tenant`, `device` and `metric`, as far as the route knows them.
    pub(super) fn selector(&self) -> Result<Selector, Problem> {
        let invalid =
            |name: &'static str| move |why| Problem::invalid(name, format_args!("is refused: {why}"));
        let tenant = self.one("tenant")?.map(Tenant::new).transpose().map_err(invalid("tenant"))?;
        let devices: Result<Vec<Device>, _> = self.all("device").map(Device::new).collect();
        let metrics: Result<Vec<Metric>, _> = self.all("metric").map(Metric::new).collect();
        let (mut devices, mut metrics) =
            (devices.map_err(invalid("device"))?, metrics.map_err(invalid("metric"))?);
        devices.sort_unstable();
        devices.dedup();
        metrics.sort_unstable();
        metrics.dedup();
        Ok(Selector { tenant, devices, metrics, conditions: Vec::new() })
    }

    /// `start` and `end`; by default the hour before `end`, and `end` now.
    pub(super) fn range(&self, now: Timestamp) -> Result<TimeRange, Problem> {
        let read = |name| self.read(name, |text| moment::parse(text, now));
        let (start, end) = (read("start")?, read("end")?);
        let end = end.unwrap_or(now);
        let start = start.unwrap_or_else(|| end.saturating_sub(DEFAULT_RANGE));
        TimeRange::new(start, end).map_err(|_| {
            Problem::invalid(
                "start",
                format_args!("({}) is after `end` ({})", moment::Utc(start), moment::Utc(end)),
            )
        })
    }

    /// `limit`.
    pub(super) fn limit(&self, limit: RowLimit) -> Result<usize, Problem> {
        let refused = || format!("must be a whole number between 1 and {}", limit.max);
        let read = |text: &str| {
            let number: Option<usize> = text.parse().ok();
            number.filter(|rows| (1..=limit.max).contains(rows)).ok_or_else(refused)
        };
        Ok(self.read("limit", read)?.unwrap_or(limit.default))
    }

    /// `order`.
    pub(super) fn order(&self) -> Result<Order, Problem> {
        self.word("order", [("asc", Order::Ascending), ("desc", Order::Descending)], Order::Ascending)
    }

    /// The position in `cursor`, where it is given.
    pub(super) fn cursor(&self, query: Fingerprint) -> Result<Option<Vec<u8>>, Problem> {
        self.one("cursor")?.map(|cursor| query.open(cursor)).transpose().map_err(invalid_cursor)
    }

    /// `tz`, where it is given.
    pub(super) fn zone(&self) -> Result<Option<TimeZone>, Problem> {
        self.read("tz", |name| {
            TimeZone::get(name).map_err(|_| {
                let known: Vec<String> = jiff::tz::db().available().map(|zone| zone.to_string()).collect();
                let hint = suggest::hint(name, known.iter().map(String::as_str));
                format!("is not an IANA time zone such as Europe/Berlin.{hint}")
            })
        })
    }
}

/// A cursor that the query did not give.
pub(super) fn invalid_cursor(why: InvalidCursor) -> Problem {
    Problem::new(ProblemKind::InvalidCursor, format!("`cursor` {why}")).about("cursor")
}

fn unknown(name: &str, known: &[&'static str]) -> Problem {
    let shown: String = name.chars().take(64).collect();
    let detail = if known.is_empty() {
        format!("`{shown}` is not known here: this path takes no parameters")
    } else {
        let hint = suggest::hint(&shown, known.iter().copied());
        format!("`{shown}` is not known here.{hint} Known are {}", known.join(", "))
    };
    Problem::new(ProblemKind::UnknownParameter, detail).about(&shown)
}

/// The meaning of `value` among `words`.
pub(super) fn one_of<T: Copy>(value: &str, words: &[(&str, T)]) -> Result<T, String> {
    let known = || words.iter().map(|(word, _)| *word);
    words.iter().find(|(word, _)| *word == value).map(|(_, meaning)| *meaning).ok_or_else(|| {
        let shown: String = value.chars().take(64).collect();
        let hint = suggest::hint(&shown, known());
        format!("is {shown:?}.{hint} It takes {}", known().collect::<Vec<_>>().join(", "))
    })
}

/// Refuses the parameters of a request to a path that takes none.
pub fn without_parameters(uri: &Uri) -> Result<(), Problem> {
    Params::of(uri, &[]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Result<Params, Problem> {
        let known = ["tenant", "device", "metric", "start", "end", "limit", "order", "tz"];
        Params::of(&format!("/v1/samples?{query}").parse().unwrap(), &known)
    }

    fn detail<T: std::fmt::Debug>(result: Result<T, Problem>) -> String {
        let body: serde_json::Value = serde_json::from_slice(&result.unwrap_err().body()).unwrap();
        body["detail"].as_str().unwrap().to_owned()
    }

    const HOUR: i64 = 3_600_000_000_000;
    const NOW: Timestamp = Timestamp::EPOCH;
    const LIMIT: RowLimit = RowLimit { default: 7, max: 10 };

    #[test]
    fn an_unknown_parameter_is_refused_with_a_suggestion() {
        assert_eq!(
            detail(params("devise=a")),
            "`devise` is not known here. Did you mean `device`? Known are tenant, device, metric, start, end, limit, order, tz"
        );
        assert!(detail(params("colour=a")).starts_with("`colour` is not known here. Known are tenant"));
    }

    #[test]
    fn names_repeat_and_other_parameters_do_not() {
        let selector = params("device=b&device=a%2Bx&device=b&metric=m").unwrap().selector();
        assert!(selector.is_err(), "a device may not hold a plus");
        let selector = params("device=b&device=a&device=b&metric=m%201").unwrap().selector().unwrap();
        let devices: Vec<&str> = selector.devices.iter().map(Device::as_str).collect();
        assert_eq!((devices, selector.metrics[0].as_str()), (vec!["a", "b"], "m 1"));
        assert_eq!(detail(params("limit=1&limit=2").unwrap().limit(LIMIT)), "`limit` may be given only once");
        assert_eq!(detail(params("device=").unwrap().selector()), "`device` is refused: the device is empty");
    }

    #[test]
    fn a_range_is_the_last_hour_unless_it_is_given_and_never_reversed() {
        let range = |query: &str| {
            params(query).unwrap().range(NOW).map(|range| (range.start().nanos(), range.end().nanos()))
        };
        assert_eq!(range("").unwrap(), (-HOUR, 0));
        assert_eq!(range("end=-1h").unwrap(), (-2 * HOUR, -HOUR));
        assert_eq!(range("start=0&end=1").unwrap(), (0, 1_000_000_000));
        assert_eq!(
            detail(range("start=1&end=0")),
            "`start` (1970-01-01T00:00:01Z) is after `end` (1970-01-01T00:00:00Z)"
        );
        assert!(detail(range("start=soon")).starts_with("`start` is not a time; use RFC 3339"));
    }

    #[test]
    fn words_limits_and_zones_say_what_they_take() {
        assert_eq!(params("").unwrap().limit(LIMIT).unwrap(), 7);
        for limit in ["0", "11", "-1", "x", ""] {
            let refused = detail(params(&format!("limit={limit}")).unwrap().limit(LIMIT));
            assert_eq!(refused, "`limit` must be a whole number between 1 and 10");
        }
        assert_eq!(params("order=desc").unwrap().order().unwrap(), Order::Descending);
        assert_eq!(
            detail(params("order=dessc").unwrap().order()),
            "`order` is \"dessc\". Did you mean `desc`? It takes asc, desc"
        );
        assert_eq!(detail(params("order=up").unwrap().order()), "`order` is \"up\". It takes asc, desc");
        assert_eq!(
            detail(params("tz=Europe/Berln").unwrap().zone()),
            "`tz` is not an IANA time zone such as Europe/Berlin. Did you mean `Europe/Berlin`?"
        );
    }
}
