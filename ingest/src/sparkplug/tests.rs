//! Sessions: births, deaths, restarts, and requests for a rebirth.

use bytes::Bytes;

use super::*;

const BIRTH: &[u8] = include_bytes!("../../../tests/golden/formats/sparkplug_nbirth.bin");
const DEATH: &[u8] = include_bytes!("../../../tests/golden/formats/sparkplug_ndeath.bin");
/// A death of the session before: `bdSeq` is 2.
const STALE_DEATH: &[u8] = b"\x12\x0b\x0a\x05bdSeq\x20\x08\x58\x02";

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

fn topic(kind: Kind, device: Option<&str>) -> SparkplugTopic {
    SparkplugTopic { kind, node: "plant/edge".into(), device: device.map(Arc::from) }
}

fn take(
    sessions: &Sessions,
    of: &SparkplugTopic,
    payload: &'static [u8],
    seq: Option<u64>,
    millis: i64,
) -> (Opened, Change) {
    let opened = sessions.open(of, payload, 100).unwrap();
    let facts = Facts { seq, ..Facts::default() };
    let (payload, occasion) = (&Bytes::from_static(payload), Occasion::Live(Qos::AtMostOnce));
    let change = sessions.note(of, &opened, &facts, Arrived { payload, received_at: at(millis), occasion });
    (opened, change)
}

fn has_birth(sessions: &Sessions, device: Option<&str>) -> bool {
    sessions.open(&topic(Kind::Data, device), b"", 100).unwrap().birth.is_some()
}

#[test]
fn a_birth_is_in_force_until_the_death_of_its_session() {
    let sessions = Sessions::default();
    assert!(!has_birth(&sessions, None));
    let (opened, change) = take(&sessions, &topic(Kind::Birth, None), BIRTH, Some(0), 1);
    assert_eq!((opened.online, change.row.map(|row| row.state)), (Some(true), Some(BirthState::Born)));
    take(&sessions, &topic(Kind::Birth, Some("pump")), BIRTH, Some(1), 2);
    assert!(has_birth(&sessions, None) && has_birth(&sessions, Some("pump")));
    let (opened, change) = take(&sessions, &topic(Kind::Death, None), STALE_DEATH, None, 3);
    assert_eq!((opened.online, change.row), (None, None));
    assert!(has_birth(&sessions, None));
    let (opened, change) = take(&sessions, &topic(Kind::Death, None), DEATH, None, 4);
    assert_eq!(opened.online, Some(false));
    assert_eq!(change.row.as_ref().map(|row| (row.state, row.payload.len())), Some((BirthState::Dead, 0)));
    assert!(!has_birth(&sessions, None) && !has_birth(&sessions, Some("pump")));
    assert_eq!(change.buried, ["spBv1.0/plant/DDEATH/edge/pump"]);
}

#[test]
fn a_birth_of_the_node_ends_the_sessions_of_its_devices_and_theirs_do_not() {
    let sessions = Sessions::default();
    take(&sessions, &topic(Kind::Birth, None), BIRTH, Some(0), 1);
    take(&sessions, &topic(Kind::Birth, Some("pump")), BIRTH, Some(1), 2);
    take(&sessions, &topic(Kind::Death, Some("pump")), b"", Some(2), 3);
    assert!(has_birth(&sessions, None) && !has_birth(&sessions, Some("pump")));
    take(&sessions, &topic(Kind::Birth, Some("pump")), BIRTH, Some(3), 4);
    take(&sessions, &topic(Kind::Birth, None), BIRTH, Some(0), 5);
    assert!(!has_birth(&sessions, Some("pump")));
}

#[test]
fn numbers_that_do_not_follow_each_other_are_gaps_and_a_birth_begins_anew() {
    let sessions = Sessions::default();
    let data = topic(Kind::Data, None);
    let is_gap = |of: &SparkplugTopic, payload, seq| take(&sessions, of, payload, Some(seq), 1).1.is_gap;
    assert!(!is_gap(&topic(Kind::Birth, None), BIRTH, 0));
    assert!(!is_gap(&data, b"", 1));
    assert!(is_gap(&data, b"", 3));
    assert!(!is_gap(&data, b"", 4));
    assert!(is_gap(&data, b"", 255));
    assert!(!is_gap(&data, b"", 0));
    assert!(!is_gap(&topic(Kind::Birth, None), BIRTH, 0));
}

#[test]
fn births_come_back_from_rows_unless_newer_ones_were_seen() {
    let (before, node) = (Sessions::default(), Arc::from("plant/edge"));
    let old_device = take(&before, &topic(Kind::Birth, Some("old")), BIRTH, None, 0).1.row.unwrap();
    let own = take(&before, &topic(Kind::Birth, None), BIRTH, None, 1).1.row.unwrap();
    let device = take(&before, &topic(Kind::Birth, Some("pump")), BIRTH, None, 2).1.row.unwrap();
    let dead = take(&before, &topic(Kind::Death, Some("fan")), b"", None, 2).1.row.unwrap();
    let rows = [old_device, own, device, dead.clone()];
    let after = Sessions::default();
    assert!(after.must_look_up(&node, at(10)));
    assert!(!after.must_look_up(&node, at(11)), "it was asked a moment ago");
    after.restore(&node, &rows, 100);
    assert!(has_birth(&after, None) && has_birth(&after, Some("pump")));
    assert!(!has_birth(&after, Some("old")) && !has_birth(&after, Some("fan")));
    assert!(!after.must_look_up(&node, at(1_000_000)));
    let dead_node = BirthRow { device: String::new(), ..dead };
    let nobody = Sessions::default();
    nobody.restore(&node, &[dead_node], 100);
    assert!(!has_birth(&nobody, None) && nobody.must_look_up(&node, at(20_000)));
}

#[test]
fn a_rebirth_is_asked_for_once_in_a_while() {
    let (sessions, node) = (Sessions::default(), Arc::from("plant/edge"));
    let ask = |why, millis| sessions.ask_for_rebirth(&node, why, at(millis)).is_some();
    assert!(ask(Why::NoBirth, 0) && !ask(Why::NoBirth, 9_999) && ask(Why::NoBirth, 10_000));
    take(&sessions, &topic(Kind::Birth, None), BIRTH, Some(0), 10_001);
    assert!(ask(Why::NoBirth, 10_002), "it was born since");
}

#[test]
fn births_that_answer_a_gap_do_not_make_the_next_gap_ask_at_once() {
    let (sessions, node) = (Sessions::default(), Arc::from("plant/edge"));
    let ask = |millis| sessions.ask_for_rebirth(&node, Why::Gap, at(millis)).is_some();
    assert!(ask(0));
    take(&sessions, &topic(Kind::Birth, None), BIRTH, Some(0), 1);
    assert!(!ask(2) && !ask(59_999) && ask(60_000));
}

#[test]
fn a_request_that_is_put_off_is_made_later_unless_a_birth_comes() {
    let (sessions, node) = (Sessions::default(), Arc::from("plant/edge"));
    let ask = |why, millis| sessions.ask_for_rebirth(&node, why, at(millis)).is_some();
    let due = |millis| sessions.due(at(millis)).len();
    assert!(ask(Why::NoBirth, 0) && due(9_999) == 0, "one was made");
    assert!(!ask(Why::Gap, 1) && !ask(Why::NoBirth, 2) && due(9_999) == 0);
    assert_eq!([due(10_000), due(10_001), due(30_000)], [1, 0, 0]);
    assert!(!ask(Why::NoBirth, 10_002));
    take(&sessions, &topic(Kind::Birth, Some("pump")), BIRTH, Some(0), 10_003);
    take(&sessions, &topic(Kind::Birth, None), BIRTH, Some(0), 10_004);
    assert_eq!(due(30_000), 0, "it was born");
    assert!(ask(Why::Gap, 40_000) && !ask(Why::Gap, 51_000));
    assert_eq!([due(99_999), due(100_000), due(200_000)], [0, 1, 0]);
}

#[test]
fn messages_that_are_sent_again_are_no_gap_and_numbers_out_of_range_are() {
    let sessions = Sessions::default();
    let data = topic(Kind::Data, None);
    let is_gap = |seq, qos| {
        let opened = sessions.open(&data, b"", 100).unwrap();
        let arrived = Arrived { payload: &Bytes::new(), received_at: at(1), occasion: Occasion::Live(qos) };
        sessions.note(&data, &opened, &Facts { seq: Some(seq), ..Facts::default() }, arrived).is_gap
    };
    let again = [5, 6, 7, 5, 6, 7, 8].map(|seq| is_gap(seq, Qos::AtLeastOnce));
    assert_eq!(again, [false; 7]);
    assert!(is_gap(10, Qos::AtLeastOnce));
    assert!(is_gap(9, Qos::AtMostOnce), "nobody repeats what is sent at most once");
    assert!(is_gap(256, Qos::AtMostOnce) && is_gap(u64::MAX, Qos::AtMostOnce));
    assert!(!is_gap(10, Qos::AtMostOnce));
}

#[test]
fn what_is_replayed_neither_replaces_what_is_newer_nor_counts_as_a_gap() {
    let sessions = Sessions::default();
    let own = topic(Kind::Birth, None);
    take(&sessions, &own, BIRTH, Some(0), 10);
    let known = sessions.open(&topic(Kind::Data, None), b"", 100).unwrap().birth.unwrap();
    let replay = |of: &SparkplugTopic, payload: &'static [u8], millis| {
        let opened = sessions.open(of, payload, 100).unwrap();
        let arrived = Arrived {
            payload: &Bytes::from_static(payload),
            received_at: at(millis),
            occasion: Occasion::Replay,
        };
        sessions.note(of, &opened, &Facts { seq: Some(77), ..Facts::default() }, arrived)
    };
    let in_force = || sessions.open(&topic(Kind::Data, None), b"", 100).unwrap().birth;
    let change = replay(&own, BIRTH, 5);
    assert!(!change.is_gap && change.row.is_some_and(|row| row.received_at == at(5)));
    assert!(Arc::ptr_eq(&known, &in_force().unwrap()));
    replay(&topic(Kind::Death, None), DEATH, 6);
    assert!(in_force().is_some());
    replay(&own, BIRTH, 11);
    assert!(!Arc::ptr_eq(&known, &in_force().unwrap()));
}

#[test]
fn where_too_much_is_known_the_older_half_is_forgotten() {
    let sessions = Sessions::default();
    let of = |n: usize| SparkplugTopic { kind: Kind::Birth, node: format!("g/{n}").into(), device: None };
    for n in 0..10 {
        take(&sessions, &of(n), BIRTH, Some(0), i64::try_from(n).unwrap());
    }
    sessions.state().metrics = METRICS_MAX + 1;
    take(&sessions, &of(0), BIRTH, Some(0), 20);
    assert_eq!(sessions.state().nodes.len(), 10, "there were not as many as it seemed");
    let birth = sessions.open(&of(0), BIRTH, 100).unwrap().birth.unwrap();
    let mut state = sessions.state();
    for n in 0..NODES_MAX {
        let node = state.nodes.entry(format!("x/{n}").into()).or_default();
        (node.birth, node.born_at) = (Some(Arc::clone(&birth)), Some(at(100 + i64::try_from(n).unwrap())));
    }
    state.bound();
    let left = state.nodes.len();
    assert!((NODES_MAX / 2 - 10..=NODES_MAX / 2 + 10).contains(&left), "{left}");
    assert_eq!(state.metrics, left * weight(&birth));
    assert!(!state.nodes.contains_key("g/0") && state.nodes.contains_key(&*format!("x/{}", NODES_MAX - 1)));
}
