//! The checks of the fuzz targets on golden files that chance has damaged: the same every time, for a few seconds each.
//! `TIDEMILL_MUTATIONS=SECONDS` goes on for so long, with other seeds, in all threads.
//!
//! Finds less than the fuzzers do, and needs nothing that they need.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

#[path = "../fuzz/checks/block.rs"]
mod block;
#[path = "../fuzz/checks/formats.rs"]
mod formats;
#[path = "../fuzz/checks/frame.rs"]
mod frame;
#[path = "../fuzz/checks/segment.rs"]
mod segment;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;

use tidemill_tests::environment;
use tidemill_tests::random::Random;

/// Bytes that mean something in one format or another.
const TELLING: &[u8] = b"{}[]\",:\\\n\0 =-+.eE09tfnu\x7f\x80\x9f\xbf\xc0\xc1\xd4\xff";
/// Longer inputs only cost time.
const BYTES_MAX: usize = 4_096;

fn files(directory: &str, wanted: impl Fn(&str) -> bool) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(directory);
    let mut files: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.retain(|file| file.is_file() && wanted(&file.file_name().unwrap().to_string_lossy()));
    assert!(!files.is_empty());
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// One to eight changes.
fn damage(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let mut draw = |bound: usize| usize::try_from(random.below(u64::try_from(bound).unwrap())).unwrap();
    for _ in 0..=draw(8) {
        let at = draw(bytes.len() + 1);
        let through = at + draw(bytes.len() - at + 1).min(64);
        match draw(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << draw(8),
            1 if at < bytes.len() => bytes[at] = u8::try_from(draw(256)).unwrap(),
            2 => bytes.insert(at, TELLING[draw(TELLING.len())]),
            3 => drop(bytes.drain(at..through)),
            4 => {
                let part = bytes[at..through].to_vec();
                let to = draw(bytes.len() + 1);
                bytes.splice(to..to, part);
            }
            5 => {
                let from = draw(other.len() + 1);
                let part = other[from..from + draw(other.len() - from + 1).min(64)].to_vec();
                bytes.splice(at..through, part);
            }
            _ => bytes.truncate(at.max(bytes.len() / 2)),
        }
    }
    bytes.truncate(BYTES_MAX);
}

/// Runs `check` on so many damaged seeds, or for as long as the environment says.
fn run(name: &str, seeds: &[Vec<u8>], count: u64, check: fn(&[u8])) {
    let (seconds, started) = (environment::mutation_seconds(), started());
    let mut number = 0;
    while seconds.map_or(number < count, |seconds| started.elapsed().as_secs() < seconds) {
        let mut random = Random::of(number);
        let pick = |random: &mut Random| {
            &seeds[usize::try_from(random.below(u64::try_from(seeds.len()).unwrap())).unwrap()]
        };
        let mut bytes = pick(&mut random).clone();
        let other = pick(&mut random);
        damage(&mut bytes, other, &mut random);
        let checked = catch_unwind(AssertUnwindSafe(|| check(&bytes)));
        assert!(checked.is_ok(), "{name}, number {number}: {}", hex(&bytes));
        number += 1;
    }
    eprintln!("{name}: {number} inputs");
}

#[expect(
    clippy::disallowed_methods,
    reason = "only how long it goes on depends on it, where that is asked for"
)]
fn started() -> Instant {
    Instant::now()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

#[test]
fn payloads_of_every_format() {
    let golden = files("formats", |name| name != "make.py");
    let of_others: [&[u8]; 6] = [
        br#"{"ts":1700000000000,"tags":{"a":"b"},"values":{"x":1.5,"y":{"z":true}},"s":"t"}"#,
        br#"[{"bn":"urn:x:","bt":-5,"n":"a","v":1},{"n":"b","vs":"t","t":1},{"n":"c","vb":true,"s":2}]"#,
        b"m,tag\\ a=b f=1i,g=\"s\",h=t,i=1e5 1700000000000000000\nm2 v=1",
        b"ts,tag:site,v\n1700000000000,n,\"a \"\"b\"\"\"\n",
        b"-12.5e3",
        b"true",
    ];
    let all = golden.iter().map(Vec::as_slice).chain(of_others);
    // The first byte chooses the format.
    let seeds: Vec<Vec<u8>> =
        all.flat_map(|bytes| (0..10).chain([255]).map(move |format| [&[format], bytes].concat())).collect();
    run("formats", &seeds, 60_000, formats::check_bytes);
}

#[test]
fn segments() {
    run("segment", &files("", |name| name.starts_with("segment")), 10_000, segment::check_bytes);
}

#[test]
fn blocks() {
    run("block", &files("", |name| name.starts_with("block")), 5_000, block::check_bytes);
}

#[test]
fn frames() {
    run("frame", &files("", |name| name.starts_with("frame")), 5_000, frame::check_bytes);
}
