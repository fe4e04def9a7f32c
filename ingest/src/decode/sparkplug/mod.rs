//! Sparkplug B payloads: births, data and deaths of edge nodes and their devices.
//!
//! - Each metric is a sample at its own time, else the payload's, else that of receipt; nulls say nothing, historical
//!   values are samples like others.
//! - Births, which name every metric, are remembered as [`BirthCertificate`]; data may then use aliases and leave types
//!   out. Data that cannot be understood without a birth which was not seen is [`Fault::NoBirth`].
//! - A birth adds `online = true`, a death `online = false`; the death of a node is that of its devices, too.
//! - A message may say nothing that is stored (nulls alone, a death from before): that is no reason to refuse it.
//! - Metrics that no series holds (data sets, templates, bytes, files, arrays; names, numbers, texts and times beyond what
//!   is stored) keep neither the others from being stored nor a birth from being remembered; the first of them is
//!   [`Facts::unstorable`], so that the message is kept as a reject besides (I2).

mod payload;
mod wire;

use std::sync::Arc;

use hashbrown::HashMap;
use tidemill_store::model::{Metric, Timestamp, Value};

use payload::{DataType, MetricParts, Parts, Said};

use super::sink::Sink;
use super::{DecodeError, Fault, Message, MetricNames};

/// The metric that says whether a node or device is there.
const ONLINE: &str = "online";
/// The metric that ties a death to its birth.
const BD_SEQ: &str = "bdSeq";

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// NBIRTH, DBIRTH.
    Birth,
    /// NDATA, DDATA.
    Data,
    /// NDEATH, DDEATH.
    Death,
}

/// The metrics that a birth names.
#[derive(Debug, Default)]
pub struct BirthCertificate {
    by_alias: HashMap<u64, (Arc<str>, Option<DataType>)>,
    by_name: HashMap<Arc<str>, Option<DataType>>,
    /// The number that ties a death to it.
    pub bd_seq: Option<u64>,
}

/// What a payload said besides its samples.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its sequence number.
    pub seq: Option<u64>,
    /// The number that ties a death to its birth.
    pub bd_seq: Option<u64>,
    /// Values of the past, which their sender had stored.
    pub historical: u64,
    /// Metrics that no series can hold.
    pub passed_over: u64,
    /// Why the first of them cannot be stored.
    pub unstorable: Option<DecodeError>,
}

impl BirthCertificate {
    /// What the birth `payload` names.
    pub fn read(payload: &[u8], metrics_max: usize) -> Result<Self, DecodeError> {
        let mut parts = Parts::read(payload).map_err(failed)?;
        let mut certificate = Self::default();
        while let Some(metric) = parts.next_metric().map_err(failed)? {
            let fail = |fault| failed((fault, metric.offset));
            let name = metric.name.ok_or_else(|| fail(wire::refused("a metric of a birth has no name")))?;
            if certificate.by_name.len() >= metrics_max {
                return Err(fail(Fault::TooManyMetrics(metrics_max)));
            }
            let name: Arc<str> = Arc::from(remembered(name));
            if *name == *BD_SEQ {
                certificate.bd_seq = number(&metric);
            }
            certificate.by_name.insert(Arc::clone(&name), metric.data_type);
            let other = metric
                .alias
                .and_then(|alias| certificate.by_alias.insert(alias, (Arc::clone(&name), metric.data_type)));
            if other.is_some_and(|(other, _)| other != name) {
                return Err(fail(wire::refused("two metrics of a birth have one alias")));
            }
        }
        Ok(certificate)
    }

    /// How many metrics it names.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether it names none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

/// What is remembered of `name`, so that it is bounded: one that is too long for a metric stays too long for one.
fn remembered(name: &str) -> &str {
    let end = name.ceil_char_boundary(Metric::BYTES_MAX + 1);
    name.get(..end).unwrap_or(name)
}

/// The value of an integer metric whatever its type.
fn number(metric: &MetricParts<'_>) -> Option<u64> {
    match metric.said(Some(DataType(8))) {
        Ok(Said::Value(Value::I64(number))) => u64::try_from(number).ok(),
        Ok(_) | Err(_) => None,
    }
}

/// The death number of a payload, where it has one.
pub fn bd_seq(payload: &[u8]) -> Option<u64> {
    let mut parts = Parts::read(payload).ok()?;
    while let Some(metric) = parts.next_metric().ok()? {
        if metric.name == Some(BD_SEQ) {
            return number(&metric);
        }
    }
    None
}

/// How a payload is read.
#[derive(Debug, Clone, Copy)]
pub struct Session<'a> {
    /// What the message is about.
    pub kind: Kind,
    /// The birth in force; for a birth, its own.
    pub birth: Option<&'a BirthCertificate>,
    /// Whether the message says that its sender comes or goes; a death of an earlier session does not.
    pub online: Option<bool>,
    /// Whether times are read.
    pub reads_times: bool,
}

/// Reads `payload` into `sink`.
pub(super) fn decode(payload: &[u8], session: Session<'_>, mut sink: Sink<'_>) -> Result<Facts, DecodeError> {
    let mut parts = Parts::read(payload).map_err(failed)?;
    let mut facts = Facts { seq: parts.seq, ..Facts::default() };
    let mut points = Points { is_open: false, time: None, sink: &mut sink };
    let of_payload = parts.timestamp.filter(|_| session.reads_times);
    let fail = |fault, offset| failed((fault, offset));
    if let Some(online) = session.online {
        // A death was written in advance, when its sender connected: its time is not in it.
        // Where it is none that can be stored, the metrics that have it say so.
        let stamped = of_payload.filter(|_| session.kind != Kind::Death);
        let time = stamped.and_then(|millis| time(millis).ok());
        points.add(time, ONLINE, Value::Bool(online)).map_err(|fault| fail(fault, 0))?;
    }
    let mut taken = 0;
    while let Some(metric) = parts.next_metric().map_err(failed)? {
        if taken == points.sink.limits.elements_max {
            return Err(fail(Fault::TooManyElements(taken), metric.offset));
        }
        taken += 1;
        if metric.name == Some(BD_SEQ) {
            facts.bd_seq = number(&metric);
        }
        let stamped = metric.timestamp.filter(|_| session.reads_times).or(of_payload);
        facts.historical += u64::from(metric.is_historical);
        let time = stamped.map(time).transpose();
        match time.and_then(|time| add(&metric, session.birth, time, &mut points)) {
            Ok(()) => {}
            Err(fault) if fault.is_of_one_value() => {
                facts.passed_over += 1;
                facts.unstorable.get_or_insert_with(|| failed((fault, metric.offset)));
            }
            Err(fault) => return Err(fail(fault, metric.offset)),
        }
    }
    points.finish();
    Ok(facts)
}

/// Adds a point that says so for each of `devices` that are gone.
pub(super) fn add_offline(devices: usize, names: &mut MetricNames, message: &mut Message) {
    for _ in 0..devices {
        names.start_point();
        if let Ok((slot, _)) = names.enter(ONLINE) {
            message.value(slot, Value::Bool(false));
            message.finish_point(None);
        }
    }
}

fn failed((fault, offset): (Fault, usize)) -> DecodeError {
    DecodeError { fault, pointer: String::new(), offset }
}

fn time(millis: u64) -> Result<Timestamp, Fault> {
    let millis = i64::try_from(millis).map_err(|_| Fault::TimeOutOfRange)?;
    Timestamp::from_millis(millis).map_err(|_| Fault::TimeOutOfRange)
}

/// Adds a metric.
fn add(
    metric: &MetricParts<'_>,
    birth: Option<&BirthCertificate>,
    time: Option<Timestamp>,
    points: &mut Points<'_, '_>,
) -> Result<(), Fault> {
    let by_alias = metric.alias.and_then(|alias| birth?.by_alias.get(&alias));
    let (name, known) = match (metric.name, by_alias) {
        (Some(name), _) => (name, birth.and_then(|birth| birth.by_name.get(name).copied().flatten())),
        (None, Some((name, of))) => (&**name, *of),
        (None, None) => {
            return Err(metric
                .alias
                .map_or(wire::refused("a metric has neither name nor alias"), Fault::NoBirth));
        }
    };
    let value = match metric.said(known)? {
        Said::Value(value) => value,
        Said::Text(text) => points.sink.text(text)?,
        Said::Null => return Ok(()),
        Said::Unstorable(what) => return Err(Fault::Unstorable(what)),
        Said::Untyped => return Err(Fault::NoBirth(metric.alias.unwrap_or_default())),
    };
    points.add(time, name, value)
}

/// Points in the making: values of one time, as long as no metric comes twice.
struct Points<'p, 'd> {
    is_open: bool,
    time: Option<Timestamp>,
    sink: &'p mut Sink<'d>,
}

impl Points<'_, '_> {
    fn add(&mut self, time: Option<Timestamp>, name: &str, value: Value) -> Result<(), Fault> {
        if !self.is_open || self.time != time {
            self.start(time);
        }
        match self.sink.metric(name, value.clone()) {
            // Two changes within a millisecond: the later one corrects the earlier.
            Err(Fault::MetricTwice) => {
                self.start(time);
                self.sink.metric(name, value)
            }
            added => added,
        }
    }

    fn start(&mut self, time: Option<Timestamp>) {
        self.finish();
        self.sink.start_point();
        (self.is_open, self.time) = (true, time);
    }

    fn finish(&mut self) {
        if std::mem::take(&mut self.is_open) {
            self.sink.finish_point(self.time);
        }
    }
}

#[cfg(test)]
mod tests;
