//! Every payload decoder on arbitrary bytes: no panic, no more than the limits allow, faults within the payload, the same
//! answer twice, and `auto` never against the format that it takes. One target for each format, and one for all, in
//! which the first byte chooses it (255: Sparkplug B).

use tidemill_ingest::decode::sparkplug::{BirthCertificate, Kind, Session};
use tidemill_ingest::decode::{
    CsvLayout, DecodeError, DecodeLimits, Decoder, Format, Message, Payload, Reading, TimeUnit,
};
use tidemill_store::model::{Timestamp, Value};

const LIMITS: DecodeLimits =
    DecodeLimits { depth_max: 8, metrics_max: 100, elements_max: 50, tags_max: 8, text_bytes_max: 64 };

/// The points of a message with their names, and their values as text, in which NaN equals itself.
type Said = Vec<(Option<Timestamp>, String, Vec<(String, String)>)>;

fn decode(decoder: &mut Decoder, format: &Format, bytes: &[u8]) -> Result<Said, DecodeError> {
    // One unit for all, so that what is told from a payload can be compared with what is known.
    let unit = Some(TimeUnit::Milliseconds);
    let reading = Reading { unit_of_lines: unit, ..Reading::new(format.clone(), unit) };
    let payload = Payload { bytes, metric: Some("metric"), received_at: Timestamp::EPOCH };
    let mut message = Message::default();
    decoder.decode(&reading, payload, &mut message)?;
    assert!(message.samples() > 0, "a message without samples was taken");
    let name = |slot: u32| decoder.names().metric(slot).expect("a slot without a name").to_string();
    let said: Said = message
        .points()
        .map(|point| {
            assert!(
                !point.values.is_empty() && point.tags.split_terminator('\0').count() <= 2 * LIMITS.tags_max
            );
            let values = point.values.iter().map(|(slot, value)| {
                assert!(!matches!(value, Value::Text(text) if text.len() > LIMITS.text_bytes_max));
                (name(*slot), format!("{value:?}"))
            });
            (point.time, point.tags.to_owned(), values.collect())
        })
        .collect();
    Ok(said)
}

/// Panics where something is wrong with what is made of `data`, of which the first byte chooses the format.
#[allow(dead_code, reason = "a target needs this one or the other")]
pub(crate) fn check_bytes(data: &[u8]) {
    let Some((&which, bytes)) = data.split_first() else { return };
    let formats = formats();
    match formats.get(usize::from(which) % formats.len()) {
        Some(format) if which != 255 => check_format(format, bytes),
        Some(_) | None => sparkplug(bytes),
    }
}

/// Panics where something is wrong with what is made of `bytes` in the formats that configuration calls `name`.
#[allow(dead_code, reason = "a target needs this one or the other")]
pub(crate) fn check_named(name: &str, bytes: &[u8]) {
    if name == Format::Sparkplug.name() {
        return sparkplug(bytes);
    }
    let formats = formats();
    let mut named = formats.iter().filter(|format| format.name() == name).peekable();
    assert!(named.peek().is_some(), "there is no format {name}");
    named.for_each(|format| check_format(format, bytes));
}

/// Told formats first, `auto` last.
fn formats() -> [Format; 10] {
    let layout = |columns: &[&str]| {
        let columns: Vec<String> = columns.iter().map(|&name| name.to_owned()).collect();
        Format::Csv(CsvLayout::new(&columns, "ts", ',').unwrap())
    };
    [
        Format::Json,
        Format::SenmlJson,
        Format::SenmlCbor,
        Format::LineProtocol,
        Format::Cbor,
        Format::MessagePack,
        Format::Scalar,
        layout(&[]),
        layout(&["ts", "tag:site", "v", "w"]),
        Format::Auto,
    ]
}

fn check_format(format: &Format, bytes: &[u8]) {
    let mut decoder = Decoder::new(LIMITS);
    let first = decode(&mut decoder, format, bytes);
    assert_eq!(first, decode(&mut decoder, format, bytes), "a decoder remembers what it should not");
    if let Err(error) = &first {
        assert!(error.offset <= bytes.len() && error.to_string().len() < 1024);
    }
    if let (Format::Auto, Ok(told)) = (format, &first) {
        let like = |format: &&Format| decode(&mut Decoder::new(LIMITS), format, bytes).as_ref() == Ok(told);
        assert!(formats().iter().take(7).any(|format| like(&format)), "auto took no format");
    }
}

/// The bytes as a birth, and then as data of it.
fn sparkplug(bytes: &[u8]) {
    let birth = BirthCertificate::read(bytes, LIMITS.metrics_max).ok();
    assert!(birth.as_ref().is_none_or(|birth| birth.len() <= LIMITS.metrics_max));
    for (kind, online) in [(Kind::Birth, Some(true)), (Kind::Data, None), (Kind::Death, Some(false))] {
        let session = Session { kind, birth: birth.as_ref(), online, reads_times: true };
        let mut message = Message::default();
        match Decoder::new(LIMITS).decode_sparkplug(session, bytes, &mut message) {
            Ok(_) => assert!(message.points().all(|point| !point.values.is_empty())),
            Err(error) => assert!(error.offset <= bytes.len() && error.to_string().len() < 1024),
        }
    }
}
