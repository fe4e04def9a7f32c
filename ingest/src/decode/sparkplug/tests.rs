//! What Sparkplug payloads mean: those that a protobuf library wrote, and those that are damaged.

use proptest::prelude::*;

use super::*;
use crate::decode::Message;
use crate::decode::testing::{Said, at, decoder, pairs, said};
use tidemill_store::model::NameError;

const BIRTH: &[u8] = include_bytes!("../../../../tests/golden/formats/sparkplug_nbirth.bin");
const DATA: &[u8] = include_bytes!("../../../../tests/golden/formats/sparkplug_ndata.bin");
const STRUCTURED: &[u8] = include_bytes!("../../../../tests/golden/formats/sparkplug_structured.bin");
const DEATH: &[u8] = include_bytes!("../../../../tests/golden/formats/sparkplug_ndeath.bin");

fn certificate() -> BirthCertificate {
    BirthCertificate::read(BIRTH, 100).unwrap()
}

fn read(
    kind: Kind,
    birth: Option<&BirthCertificate>,
    payload: &[u8],
) -> Result<(Facts, Vec<Said>), DecodeError> {
    let (mut decoder, mut message) = (decoder(), Message::default());
    let online = match kind {
        Kind::Birth => Some(true),
        Kind::Data => None,
        Kind::Death => Some(false),
    };
    let session = Session { kind, birth, online, reads_times: true };
    let facts = decoder.decode_sparkplug(session, payload, &mut message)?;
    Ok((facts, said(&decoder, &message)))
}

fn point(millis: Option<i64>, values: &[(&str, Value)]) -> Said {
    Said { time: millis.map(at), tags: vec![], values: pairs(values) }
}

#[test]
fn a_birth_names_metrics_and_says_their_values() {
    let birth = certificate();
    assert_eq!((birth.bd_seq, birth.len()), (Some(3), 10));
    let (facts, said) = read(Kind::Birth, Some(&birth), BIRTH).unwrap();
    let Facts { seq, bd_seq, passed_over, historical, unstorable } = facts;
    assert_eq!((seq, bd_seq, passed_over, historical), (Some(0), Some(3), 1, 0));
    let unstorable = unstorable.unwrap();
    assert_eq!(
        (unstorable.fault.clone(), unstorable.fault.label()),
        (Fault::Unstorable("bytes"), "unsupported_type")
    );
    assert!(BIRTH.get(unstorable.offset..).unwrap().starts_with(b"\x0a\x04blob"));
    let first = [
        ("online", Value::Bool(true)),
        ("bdSeq", Value::I64(3)),
        ("Node Control/Rebirth", Value::Bool(false)),
        ("temp", Value::F64(21.5)),
    ];
    let last = [
        ("big", Value::F64(9_223_372_036_854_775_808.0)),
        ("level", Value::F64(0.5)),
        ("state", Value::Text("läuft".into())),
        ("when", Value::I64(1_700_000_000_123)),
    ];
    let expected = [
        point(Some(1_700_000_000_000), &first),
        point(Some(1_699_999_999_000), &[("low", Value::I64(-5))]),
        point(Some(1_700_000_000_000), &last),
    ];
    assert_eq!(said, expected);
}

#[test]
fn data_may_use_aliases_and_leave_types_out() {
    let (facts, said) = read(Kind::Data, Some(&certificate()), DATA).unwrap();
    assert_eq!((facts.seq, facts.historical, facts.unstorable), (Some(1), 1, None));
    let expected = [
        point(Some(1_700_000_000_000), &[("temp", Value::F64(22.5)), ("low", Value::I64(-6))]),
        point(Some(1_699_999_990_000), &[("temp", Value::F64(20.5))]),
    ];
    assert_eq!(said, expected);
}

#[test]
fn structured_values_do_not_keep_the_others_from_being_read() {
    let (facts, said) = read(Kind::Data, None, STRUCTURED).unwrap();
    assert_eq!(
        said,
        [point(Some(1_700_000_000_000), &[("before", Value::F64(1.5)), ("after", Value::Bool(true))])]
    );
    assert_eq!(
        (facts.passed_over, facts.historical),
        (3, 1),
        "a definition says nothing that could be missed"
    );
    let unstorable = facts.unstorable.unwrap();
    assert_eq!(unstorable.fault, Fault::Unstorable("a data set"));
    assert!(unstorable.to_string().contains("a data set, which no series can hold"), "{unstorable}");
}

#[test]
fn data_that_needs_a_birth_which_was_not_seen_says_so() {
    let error = read(Kind::Data, None, DATA).unwrap_err();
    assert_eq!((error.fault.clone(), error.fault.label()), (Fault::NoBirth(1), "no_birth"));
    assert!(error.offset > 0 && error.offset < DATA.len());
    // By name, an integer without a type could have a sign or not; a double is one.
    let untyped = [&b"\x12\x06\x0a\x01a\x50\x80\x01"[..], b"\x18\x01"].concat();
    assert_eq!(read(Kind::Data, None, &untyped).unwrap_err().fault, Fault::NoBirth(0));
    let double = [&b"\x12\x0c\x0a\x01a\x69"[..], &1.5_f64.to_le_bytes()].concat();
    assert_eq!(read(Kind::Data, None, &double).unwrap().1, [point(None, &[("a", Value::F64(1.5))])]);
}

#[test]
fn a_death_is_of_the_moment_it_is_received() {
    assert_eq!(bd_seq(DEATH), Some(3));
    let (facts, said) = read(Kind::Death, None, DEATH).unwrap();
    assert_eq!(facts.bd_seq, Some(3));
    assert_eq!(
        said.first().map(|point| (point.time, point.values[0].clone())),
        Some((None, ("online".into(), Value::Bool(false))))
    );
    assert_eq!(read(Kind::Death, None, b"").unwrap().1.len(), 1);
}

#[test]
fn integers_have_the_size_and_sign_of_their_type() {
    let said = |of: u8, bits: u64| {
        let mut metric = vec![0x0a, 1, b'a', 0x20, of, 0x58];
        let mut rest = bits;
        while rest >= 0x80 {
            metric.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
            rest >>= 7;
        }
        metric.push(u8::try_from(rest).unwrap());
        let payload = [&[0x12, u8::try_from(metric.len()).unwrap()][..], &metric].concat();
        let (facts, mut said) = read(Kind::Data, None, &payload).unwrap();
        match facts.unstorable {
            Some(unstorable) => Err(unstorable.fault),
            None => Ok(said.remove(0).values.remove(0).1),
        }
    };
    for (of, bits, expected) in [
        (1, 0xfb, -5),
        (1, 0xffff_fffb, -5),
        (2, 0x8000, -0x8000),
        (3, 0xffff_ffff, -1),
        (4, u64::MAX, -1),
        (5, 0xfb, 0xfb),
        (6, 0xffff, 0xffff),
        (7, 0xffff_ffff, 0xffff_ffff),
        (8, 1 << 40, 1 << 40),
    ] {
        assert_eq!(said(of, bits), Ok(Value::I64(expected)), "type {of}");
    }
    assert_eq!(said(8, u64::MAX), Err(Fault::IntegerInexact));
    assert_eq!(said(11, 1), Ok(Value::Bool(true)));
    assert_eq!(said(12, 1).unwrap_err().label(), "unsupported_type");
}

#[test]
fn what_is_no_payload_is_refused_with_its_place() {
    let text = |payload: &[u8]| read(Kind::Data, None, payload).unwrap_err().to_string();
    assert_eq!(text(b"\x08"), "at byte 1: not Sparkplug B: it ends too early");
    assert_eq!(text(b"\x12\x05\x0a"), "at byte 2: not Sparkplug B: it ends too early");
    assert_eq!(text(b"\x12\x03\x0a\x05a"), "at byte 4: not Sparkplug B: it ends too early");
    assert_eq!(text(b"\x12\x02\x50\x01"), "at byte 2: not Sparkplug B: a metric has neither name nor alias");
    assert_eq!(text(b"\x0b"), "at byte 1: not Sparkplug B: a field of an unknown wire type");
    assert_eq!(text(&[0xff; 11]), "at byte 10: not Sparkplug B: a number of more than 64 bits");
    assert_eq!(text(b"\x12\x03\x0a\x01\xff"), "at byte 5: not Sparkplug B: a text that is not UTF-8");
    let birth = |payload: &[u8]| BirthCertificate::read(payload, 2).unwrap_err().fault;
    assert!(matches!(birth(b"\x12\x02\x10\x01"), Fault::Malformed { .. }));
    let twice = b"\x12\x05\x0a\x01a\x10\x01\x12\x05\x0a\x01b\x10\x01";
    assert!(matches!(birth(twice), Fault::Malformed { .. }));
    let many = b"\x12\x03\x0a\x01a\x12\x03\x0a\x01b\x12\x03\x0a\x01c";
    assert_eq!(birth(many), Fault::TooManyMetrics(2));
}

/// A metric of a message, as protobuf: its fields given.
fn metric(fields: &[&[u8]]) -> Vec<u8> {
    let metric = fields.concat();
    let (low, high) = (metric.len() % 0x80, metric.len() / 0x80);
    [&[0x12, u8::try_from(low).unwrap() | 0x80, u8::try_from(high).unwrap()][..], &metric].concat()
}

/// The fields of a metric that cannot be stored, and whether a fault is that of it.
type Bad<'a> = (&'a [&'a [u8]], fn(&Fault) -> bool);

#[test]
fn a_metric_that_cannot_be_stored_keeps_neither_the_others_nor_the_birth_from_being_taken() {
    let good: &[&[u8]] = &[b"\x0a\x04good\x10\x01\x20\x03\x50\x05"];
    let too_long = [&b"\x0a\xac\x02"[..], &[b'n'; 300], b"\x10\x02\x20\x03\x50\x05"].concat();
    let bad: [Bad<'_>; 5] = [
        (&[b"\x0a\x01b\x10\x02\x20\x08\x58", &[0xff; 9], b"\x01"], |fault| *fault == Fault::IntegerInexact),
        (&[b"\x0a\x01b\x10\x02\x20\x0c\x7a\x81\x20", &[b'x'; 4_097]], |fault| {
            matches!(fault, Fault::TextTooLong(4_096))
        }),
        (&[b"\x0a\x01\x01\x10\x02\x20\x03\x50\x05"], |fault| {
            matches!(fault, Fault::Name(NameError::Character { .. }))
        }),
        (&[&too_long], |fault| matches!(fault, Fault::Name(NameError::TooLong { .. }))),
        (&[b"\x0a\x01b\x10\x02\x20\x03\x50\x05\x18", &[0xff; 9], b"\x01"], |fault| {
            *fault == Fault::TimeOutOfRange
        }),
    ];
    for (bad, is_expected) in bad {
        let payload = [metric(bad), metric(good)].concat();
        let birth = BirthCertificate::read(&payload, 10).unwrap();
        let (facts, said) = read(Kind::Birth, Some(&birth), &payload).unwrap();
        let unstorable = facts.unstorable.unwrap();
        assert!(facts.passed_over == 1 && is_expected(&unstorable.fault), "{unstorable}");
        let expected = [("online", Value::Bool(true)), ("good", Value::I64(5))];
        assert_eq!(said, [point(None, &expected)], "{unstorable}");
        // Its alias is known, so that data which uses it does not wait for a birth for ever.
        let data = metric(&[b"\x10\x02\x50\x07"]);
        let (of_alias, _) = read(Kind::Data, Some(&birth), &data).unwrap();
        // Of a bad name, and of an integer that is said to be text, nothing can be stored ever.
        let is_for_ever = matches!(unstorable.fault, Fault::Name(_) | Fault::TextTooLong(_));
        assert_eq!(of_alias.unstorable.is_some(), is_for_ever, "{unstorable}");
    }
}

#[test]
fn a_payload_whose_own_time_cannot_be_stored_is_still_a_birth() {
    let payload = [&b"\x08"[..], &[0xff; 9], b"\x01\x12\x0a\x0a\x04good\x20\x03\x50\x05"].concat();
    let birth = BirthCertificate::read(&payload, 10).unwrap();
    let (facts, said) = read(Kind::Birth, Some(&birth), &payload).unwrap();
    assert_eq!(facts.unstorable.unwrap().fault, Fault::TimeOutOfRange);
    assert_eq!(said, [point(None, &[("online", Value::Bool(true))])]);
}

#[test]
fn two_changes_at_one_time_are_both_there_the_later_one_last() {
    let change = |double: f64| [&b"\x12\x0c\x0a\x01a\x69"[..], &double.to_le_bytes()].concat();
    let said = read(Kind::Data, None, &[change(1.0), change(2.0)].concat()).unwrap().1;
    assert_eq!(said, [point(None, &[("a", Value::F64(1.0))]), point(None, &[("a", Value::F64(2.0))])]);
}

/// A field of protobuf that is an integer.
fn integer_field(number: u8, mut rest: u64) -> Vec<u8> {
    let mut field = vec![number << 3];
    while rest >= 0x80 {
        field.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    field.push(u8::try_from(rest).unwrap());
    field
}

/// A field of protobuf that is a text of less than 128 bytes.
fn text_field(number: u8, text: &str) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(text.len()).unwrap()][..], text.as_bytes()].concat()
}

/// A data type, the field of a value of it, and the value.
fn typed() -> impl Strategy<Value = (u8, Vec<u8>, Value)> {
    let int = |of, bits, value| (of, integer_field(10, bits), Value::I64(value));
    let long = |of, bits, value| (of, integer_field(11, bits), Value::I64(value));
    let float = |v: f32| (9, [&[0x65][..], &v.to_le_bytes()].concat(), Value::F64(v.into()));
    let double = |v: f64| (10, [&[0x69][..], &v.to_le_bytes()].concat(), Value::F64(v));
    prop_oneof![
        any::<i8>().prop_map(move |v| int(1, v.cast_unsigned().into(), v.into())),
        any::<i16>().prop_map(move |v| int(2, v.cast_unsigned().into(), v.into())),
        any::<i32>().prop_map(move |v| int(3, v.cast_unsigned().into(), v.into())),
        any::<i64>().prop_map(move |v| long(4, v.cast_unsigned(), v)),
        any::<u8>().prop_map(move |v| int(5, v.into(), v.into())),
        any::<u16>().prop_map(move |v| int(6, v.into(), v.into())),
        any::<u32>().prop_map(move |v| int(7, v.into(), v.into())),
        (0..=i64::MAX).prop_map(move |v| long(8, v.cast_unsigned(), v)),
        any::<f32>().prop_map(float),
        any::<f64>().prop_map(double),
        any::<bool>().prop_map(|v| (11, integer_field(14, v.into()), Value::Bool(v))),
        "[a-zä]{0,9}".prop_map(|v| (12, text_field(15, &v), Value::Text(v.into()))),
        (0..=i64::MAX).prop_map(move |v| long(13, v.cast_unsigned(), v)),
    ]
}

proptest! {
    #[test]
    fn what_a_birth_names_is_read_by_name_and_by_alias_without_its_type(
        metrics in prop::collection::vec((typed(), any::<u64>()), 1..9),
    ) {
        let (mut birth, mut data, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (number, ((of, value, means), alias)) in metrics.iter().enumerate() {
            // Aliases of any size, no two alike.
            let alias = integer_field(2, alias / 16 * 16 + u64::try_from(number).unwrap());
            let name = format!("m{number}");
            birth.extend(metric(&[&text_field(1, &name), &alias, &[0x20, *of], value]));
            data.extend(metric(&[&alias, value]));
            values.push((name, means.clone()));
        }
        let certificate = BirthCertificate::read(&birth, 10).unwrap();
        let (facts, mut said) = read(Kind::Birth, Some(&certificate), &birth).unwrap();
        prop_assert_eq!((facts.passed_over, said.len()), (0, 1));
        prop_assert_eq!(said.remove(0).values.split_off(1), values.clone());
        let (_, mut said) = read(Kind::Data, Some(&certificate), &data).unwrap();
        prop_assert_eq!(said.remove(0).values, values);
    }

    #[test]
    fn any_bytes_give_samples_or_an_error_within_the_payload(payload: Vec<u8>) {
        if let Err(error) = read(Kind::Data, Some(&certificate()), &payload) {
            prop_assert!(error.offset <= payload.len());
        }
        if let Err(error) = BirthCertificate::read(&payload, 10) {
            prop_assert!(error.offset <= payload.len());
        }
    }

    #[test]
    fn a_damaged_payload_never_panics(at in 0_usize..BIRTH.len(), byte: u8) {
        let mut payload = BIRTH.to_vec();
        payload[at] = byte;
        for payload in [&payload[..], &payload[..at]] {
            let birth = BirthCertificate::read(payload, 100).ok();
            let _ = read(Kind::Birth, birth.as_ref(), payload);
            let _ = read(Kind::Data, birth.as_ref(), DATA);
        }
    }
}
