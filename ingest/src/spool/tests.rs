//! The log over a disk that goes wrong at every step, against a model; the promises, and sabotage that must be caught.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use proptest::prelude::*;

use super::faulty::FaultyDisk;
use super::keys::Keys;
use super::log::{AppendError, Entry, Log, LogLimits, OpenError, Position, Taken};
use super::record::Tally;
use crate::spool::Disk;

const LIMITS: LogLimits = LogLimits { bytes_max: 1 << 20, file_bytes_max: 600 };

fn keys(encrypted: bool) -> Keys {
    if encrypted { Keys::parse(&format!("1:{}", "7a".repeat(32))).unwrap() } else { Keys::default() }
}

fn open(disk: &FaultyDisk, encrypted: bool, limits: LogLimits) -> Log<FaultyDisk> {
    let turn = Arc::new(AtomicU8::new(0));
    Log::open(disk.clone(), keys(encrypted), limits, move || [turn.fetch_add(1, Ordering::Relaxed); 32])
        .unwrap()
}

fn entry(number: u32) -> Entry {
    let body = [&number.to_be_bytes()[..], &[b'x'; 90]].concat();
    Entry { body, tally: Tally { messages: 1, samples: 2 }, at_micros: i64::from(number) }
}

fn number(body: &[u8]) -> u32 {
    assert_eq!(body.len(), 94, "a record came out that nobody put in");
    u32::from_be_bytes(*body.first_chunk().unwrap())
}

/// Everything that waits, and how many pieces were set aside.
fn drain(log: &mut Log<FaultyDisk>) -> (Vec<u32>, usize) {
    let (mut numbers, mut set_aside, mut from) = (Vec::new(), 0, None);
    while let Some((taken, position)) = log.peek(from).unwrap() {
        match taken {
            Taken::Record { body, .. } => numbers.push(number(&body)),
            Taken::SetAside { .. } => set_aside += 1,
        }
        from = Some(position);
    }
    (numbers, set_aside)
}

/// Forwards the first `count` records.
fn forward(log: &mut Log<FaultyDisk>, count: usize) -> Vec<u32> {
    let (mut done, mut numbers, mut from): (Vec<(Position, Option<Tally>)>, _, _) =
        (Vec::new(), Vec::new(), None);
    for _ in 0..count {
        let Some((taken, position)) = log.peek(from).unwrap() else { break };
        from = Some(position);
        match taken {
            Taken::Record { body, tally, .. } => {
                numbers.push(number(&body));
                done.push((position, Some(tally)));
            }
            Taken::SetAside { .. } => done.push((position, None)),
        }
    }
    log.forwarded(&done);
    numbers
}

#[test]
fn records_come_out_in_order_over_many_files_which_go_when_they_are_forwarded() {
    let disk = FaultyDisk::default();
    let mut log = open(&disk, false, LIMITS);
    for group in 0..10 {
        let entries = (0..3).map(|at| entry(group * 3 + at)).collect();
        assert!(log.append(entries).iter().all(Result::is_ok));
    }
    assert!(disk.list().unwrap().len() > 5);
    let depth = log.depth();
    assert_eq!((depth.records, depth.messages, depth.samples, depth.oldest_micros), (30, 30, 60, Some(0)));
    assert_eq!(forward(&mut log, 17), (0..17).collect::<Vec<_>>());
    assert_eq!(log.depth().records, 13);
    assert_eq!(drain(&mut log).0, (17..30).collect::<Vec<_>>());
    forward(&mut log, 100);
    log.retire().unwrap();
    assert_eq!((disk.list().unwrap().len(), log.depth().bytes), (0, 0));
    assert!(log.append(vec![entry(30)])[0].is_ok());
    assert_eq!(drain(&mut log).0, [30]);
}

#[test]
fn a_full_spool_refuses_and_goes_on_when_there_is_room() {
    let disk = FaultyDisk::default();
    let mut log = open(&disk, false, LogLimits { bytes_max: 2_000, ..LIMITS });
    let mut taken = 0;
    while log.append(vec![entry(taken)])[0].is_ok() {
        taken += 1;
    }
    assert!((8..14).contains(&taken), "{taken}");
    assert_eq!(log.append(vec![entry(taken)])[0], Err(AppendError::Full));
    forward(&mut log, 8);
    assert_eq!(log.append(vec![entry(taken)])[0], Ok(()));
    assert_eq!(drain(&mut log).0, (8..=taken).collect::<Vec<_>>());
}

#[test]
fn a_disk_without_room_costs_what_did_not_fit_and_nothing_else() {
    let disk = FaultyDisk::default();
    let mut log = open(&disk, true, LIMITS);
    assert!(log.append(vec![entry(0), entry(1)]).iter().all(Result::is_ok));
    disk.set_room(Some(disk.list().unwrap()[0].1 + 200));
    let outcomes = log.append((2..6).map(entry).collect());
    assert_eq!(outcomes[0], Ok(()));
    assert!(
        outcomes[1..].iter().all(|outcome| matches!(outcome, Err(AppendError::Unwritable(_)))),
        "{outcomes:?}"
    );
    assert!(matches!(log.append(vec![entry(3)])[0], Err(AppendError::Unwritable(_))));
    disk.set_room(None);
    assert_eq!(log.append(vec![entry(3)])[0], Ok(()));
    assert_eq!(drain(&mut log), (vec![0, 1, 2, 3], 0));
    assert_eq!(drain(&mut open(&disk, true, LIMITS)), (vec![0, 1, 2, 3], 0));
}

#[test]
fn a_failed_sync_acknowledges_nothing_and_is_never_asked_again() {
    let disk = FaultyDisk::default();
    let mut log = open(&disk, false, LIMITS);
    assert_eq!(log.append(vec![entry(0)])[0], Ok(()));
    disk.fail_syncs(true);
    let outcomes = log.append(vec![entry(1), entry(2)]);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(AppendError::Broken(_)))), "{outcomes:?}");
    disk.fail_syncs(false);
    assert!(matches!(log.append(vec![entry(3)])[0], Err(AppendError::Broken(_))), "a retry is no success");
    disk.crash(|_| 0);
    assert_eq!(drain(&mut open(&disk, false, LIMITS)).0, [0]);
}

#[test]
fn a_file_of_an_unknown_key_is_an_error_that_names_it_and_old_keys_still_read() {
    let disk = FaultyDisk::default();
    assert_eq!(open(&disk, true, LIMITS).append(vec![entry(0)])[0], Ok(()));
    let open_with = |keys| Log::open(disk.clone(), keys, LIMITS, || [1; 32]);
    let refused = open_with(Keys::default()).err();
    assert!(matches!(refused, Some(OpenError::Key { key: 1, .. })), "{refused:?}");
    let rotated = Keys::parse(&format!("1:{}\n2:{}", "7a".repeat(32), "7b".repeat(32))).unwrap();
    let mut log = open_with(rotated).unwrap();
    assert_eq!(log.append(vec![entry(1)])[0], Ok(()));
    assert_eq!(drain(&mut log).0, [0, 1]);
}

#[test]
fn another_key_under_the_same_name_is_an_error_and_costs_nothing() {
    let disk = FaultyDisk::default();
    assert!(open(&disk, true, LIMITS).append((0..9).map(entry).collect()).iter().all(Result::is_ok));
    let before = disk.list().unwrap();
    let other = Keys::parse(&format!("1:{}", "7b".repeat(32))).unwrap();
    let refused = Log::open(disk.clone(), other, LIMITS, || [1; 32]).err();
    assert!(matches!(refused, Some(OpenError::WrongKey { key: 1, .. })), "{refused:?}");
    assert_eq!(disk.list().unwrap(), before);
    assert_eq!(drain(&mut open(&disk, true, LIMITS)), ((0..9).collect(), 0));
}

#[test]
fn any_flipped_bit_costs_one_record_which_is_set_aside_and_the_rest_is_delivered() {
    let reference = FaultyDisk::default();
    let mut log = open(&reference, true, LIMITS);
    assert!(log.append((0..7).map(entry).collect()).iter().all(Result::is_ok));
    for (file, bytes) in reference.list().unwrap() {
        // Every byte, one bit of each.
        for byte in 0..usize::try_from(bytes).unwrap() {
            let disk = FaultyDisk::default();
            assert!(open(&disk, true, LIMITS).append((0..7).map(entry).collect()).iter().all(Result::is_ok));
            disk.flip(&file, byte * 8 + byte % 8);
            let mut log = open(&disk, true, LIMITS);
            let (numbers, set_aside) = drain(&mut log);
            let in_head = byte < super::frame::RECORDS_AT;
            assert_eq!((numbers.len(), set_aside), if in_head { (7, 0) } else { (6, 1) }, "{file} {byte}");
            assert!(numbers.is_sorted());
            let kept = disk.list().unwrap().iter().filter(|(name, _)| name.contains(".bad")).count();
            assert_eq!(kept, set_aside, "what is set aside is kept");
        }
    }
}

/// What a run does.
#[derive(Debug, Clone)]
enum Step {
    Append(u8),
    Forward(u8),
    Restart { random: u64 },
    Room(Option<u16>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..5_u8).prop_map(Step::Append),
        3 => (1..6_u8).prop_map(Step::Forward),
        2 => any::<u64>().prop_map(|random| Step::Restart { random }),
        1 => prop::option::of(0..3_000_u16).prop_map(Step::Room),
    ]
}

/// Which promise was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    Lost,
    Invented,
    Disordered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sabotage {
    None,
    AckBeforeSync,
    DropAtRotation,
}

/// Plays `steps`, with the process dying at the `dies_at`th change of the disk, and judges what comes out.
fn play(steps: &[Step], dies_at: Option<u64>, encrypted: bool, sabotage: Sabotage) -> Result<u64, Broken> {
    let disk = FaultyDisk::default();
    match sabotage {
        Sabotage::None => {}
        Sabotage::AckBeforeSync => disk.lie(),
        Sabotage::DropAtRotation => disk.lose_at_rotation(),
    }
    disk.die_at(dies_at);
    let mut log = open(&disk, encrypted, LIMITS);
    let (mut next, mut acknowledged, mut delivered) = (0_u32, BTreeSet::new(), BTreeSet::new());
    let mut random = 1_u64;
    let mut restart = |log: &mut Log<FaultyDisk>, seed: u64| {
        random ^= seed;
        disk.crash(|below| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below.max(1)
        });
        *log = open(&disk, encrypted, LIMITS);
    };
    for step in steps {
        match step {
            Step::Append(count) => {
                let entries: Vec<Entry> = (next..next + u32::from(*count)).map(entry).collect();
                let outcomes = log.append(entries);
                for (number, outcome) in (next..).zip(&outcomes) {
                    if outcome.is_ok() {
                        acknowledged.insert(number);
                    }
                }
                next += u32::from(*count);
                if outcomes.iter().any(|outcome| matches!(outcome, Err(AppendError::Broken(_)))) {
                    restart(&mut log, 3);
                }
            }
            Step::Forward(count) => {
                let numbers = forward(&mut log, usize::from(*count));
                if !numbers.is_sorted() {
                    return Err(Broken::Disordered);
                }
                delivered.extend(numbers);
            }
            Step::Restart { random } => restart(&mut log, *random),
            Step::Room(room) => disk.set_room(room.map(u64::from)),
        }
    }
    disk.set_room(None);
    restart(&mut log, 9);
    let (left, _) = drain(&mut log);
    if !left.is_sorted() {
        return Err(Broken::Disordered);
    }
    delivered.extend(left);
    if !acknowledged.is_subset(&delivered) {
        return Err(Broken::Lost);
    }
    if delivered.iter().any(|&number| number >= next) { Err(Broken::Invented) } else { Ok(disk.operations()) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_is_acknowledged_comes_out_in_order_whenever_the_process_dies(
        steps in prop::collection::vec(step(), 1..40), encrypted: bool,
    ) {
        let operations = play(&steps, None, encrypted, Sabotage::None);
        prop_assert!(operations.is_ok(), "{:?}", operations);
        // Die at some of the steps of the disk, evenly spread.
        let operations = operations.unwrap_or(0);
        for dies_at in (0..operations).step_by(usize::try_from(operations / 12 + 1).unwrap()) {
            let played = play(&steps, Some(dies_at), encrypted, Sabotage::None);
            prop_assert!(played.is_ok(), "dead at {}: {:?}", dies_at, played);
        }
    }
}

#[test]
fn the_process_may_die_at_every_single_step_of_the_disk() {
    let steps: Vec<Step> = (0..12)
        .flat_map(|turn| [Step::Append(3), Step::Forward(2), Step::Append(1), Step::Restart { random: turn }])
        .collect();
    let operations = play(&steps, None, true, Sabotage::None).unwrap();
    for dies_at in 0..operations {
        assert!(play(&steps, Some(dies_at), true, Sabotage::None).is_ok(), "dead at {dies_at}");
    }
}

#[test]
fn an_acknowledgement_before_the_sync_and_a_record_dropped_at_rotation_are_caught() {
    let steps: Vec<Step> =
        (1..20).flat_map(|turn| [Step::Append(4), Step::Append(4), Step::Restart { random: turn }]).collect();
    assert!(play(&steps, None, false, Sabotage::None).is_ok());
    for sabotage in [Sabotage::AckBeforeSync, Sabotage::DropAtRotation] {
        assert_eq!(play(&steps, None, false, sabotage), Err(Broken::Lost), "{sabotage:?}");
    }
}
