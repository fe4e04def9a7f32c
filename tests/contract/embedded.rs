//! What only a store in a directory must do: keep everything acknowledged over a close, a crash and a kill, keep
//! its directory to itself, and refuse what it does not understand.

use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::Bound;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use prometheus::Registry;
use tidemill_store::model::Timestamp;
use tidemill_store::wide::lsm::{Lsm, LsmOptions, OpenError};
use tidemill_store::wide::{
    Bounds, Datum, Deletion, Exchange, Expected, Key, Memory, ReadError, Row, Scan, Wide, WriteError,
};
use tidemill_tests::process::scratch_directory;
use tidemill_tests::real::trial;
use tidemill_tests::wait;

use crate::backend::expiry;
use crate::fixture::{at, body, ints, note, pages, seal};
use crate::tables::{self, BODIES, EXPIRING, NOTES, SEALS};

/// The argument with which this binary is the process that a trial kills.
const VICTIM: &str = "--write-until-killed";

/// The trials.
pub(crate) fn trials() -> Vec<Trial> {
    macro_rules! trials {
        ($($name:ident),+ $(,)?) => {
            vec![$(trial(concat!("lsm::", stringify!($name)), &[], || {
                let directory = scratch_directory("tidemill-contract-")?;
                runtime()?.block_on($name(directory.path()))
            })),+]
        };
    }
    trials![
        everything_is_there_after_a_close,
        everything_acknowledged_is_there_after_a_crash,
        everything_acknowledged_is_there_after_a_kill,
        flushes_and_compactions_change_nothing,
        a_second_store_in_the_directory_is_refused,
        a_newer_format_is_refused_and_left_alone,
        a_directory_with_other_files_is_refused_and_left_alone,
        a_claim_that_was_cut_short_is_taken_over,
        a_store_whose_files_vanish_ends_up_broken,
        windows_that_expire_give_their_bytes_back_to_the_disk,
        deleted_rows_give_their_bytes_back_to_the_disk,
        reads_beside_an_expiry_give_rows_or_none,
        windows_are_there_after_a_close,
        a_window_made_after_all_others_were_dropped_is_there_after_a_close,
        many_windows_at_once_wait_in_little_memory,
        a_closed_store_refuses_everything,
        a_row_too_large_is_refused_and_the_store_goes_on,
    ]
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

fn open(directory: &Path) -> Result<Lsm, OpenError> {
    Lsm::open(LsmOptions::new(directory), &tables::ALL, &Registry::new())
}

fn bodies() -> Key {
    [Datum::Int(1), Datum::Instant(-1)].into()
}

fn notes() -> Key {
    [Datum::Int(1)].into()
}

fn seals() -> Key {
    [Datum::Int(1), Datum::Instant(0)].into()
}

/// Writes of each kind, all acknowledged.
async fn write_some(store: &Lsm) -> Result<()> {
    for seq in 0..20 {
        store.put(&BODIES, &bodies(), &[body(1, seq, vec![7; 5000])], at(1)).await?;
    }
    store.put(&NOTES, &notes(), &[note(0, 0, "open", 1), note(0, 1, "open", 2)], at(1)).await?;
    store.put(&NOTES, &notes(), &[note(0, 0, "closed", 3)], at(2)).await?;
    store.delete(&NOTES, &notes(), &Deletion::Row(note(0, 1, "", 0).clustering), at(1)).await?;
    store.compare_and_set(&SEALS, &seals(), &Expected::Absent, &seal(0, 1, "a")).await?;
    let expected = Expected::Cell("version", Datum::Int(1));
    store.compare_and_set(&SEALS, &seals(), &expected, &seal(0, 2, "b")).await?;
    let bounds = Bounds::prefix([Datum::Int(1), Datum::Int(3)].into());
    store.delete(&BODIES, &bodies(), &Deletion::Range(bounds), at(1)).await?;
    Ok(())
}

async fn check_some(store: &Lsm) -> Result<()> {
    let expected: Vec<_> = (0..20).filter(|&seq| seq != 3).map(|seq| body(1, seq, vec![7; 5000])).collect();
    let found = pages(store, &Scan::partition(&BODIES, bodies())).await?;
    ensure!(found == expected, "{} bodies, not as written", found.len());
    assert_eq!(pages(store, &Scan::partition(&NOTES, notes())).await?, [note(0, 0, "closed", 3)]);
    assert_eq!(pages(store, &Scan::partition(&SEALS, seals())).await?, [seal(0, 2, "b")]);
    Ok(())
}

async fn everything_is_there_after_a_close(directory: &Path) -> Result<()> {
    let store = open(directory)?;
    write_some(&store).await?;
    check_some(&store).await?;
    store.close().await?;
    drop(store);
    for _ in 0..2 {
        let store = open(directory).context("opening again")?;
        check_some(&store).await?;
        // A handle that is just dropped lets go of the directory too.
    }
    Ok(())
}

async fn everything_acknowledged_is_there_after_a_crash(directory: &Path) -> Result<()> {
    let (live, copy) = (directory.join("live"), directory.join("copy"));
    let store = open(&live)?;
    write_some(&store).await?;
    copy_directory(&live, &copy)?;
    // Written after the copy: shows that the copy is one, and stands on its own.
    store.put(&NOTES, &notes(), &[note(9, 9, "later", 1)], at(1)).await?;
    let crashed = open(&copy).context("opening after a crash")?;
    check_some(&crashed).await?;
    write_some(&crashed).await.context("going on after a crash")?;
    Ok(())
}

fn copy_directory(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Where this binary was started as a victim: writes and prints what was acknowledged until it is killed.
pub(crate) fn run_as_victim() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(VICTIM) {
        return None;
    }
    let ended = arguments.next().context("no directory").and_then(|directory| {
        let first = arguments.next().context("no number")?.parse()?;
        runtime()?.block_on(write_until_killed(Path::new(&directory), first))
    });
    let _ = writeln!(std::io::stderr(), "the victim was not killed: {ended:?}");
    Some(ExitCode::FAILURE)
}

async fn write_until_killed(directory: &Path, first: i64) -> Result<()> {
    let store = Arc::new(open(directory)?);
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for seq in first.. {
                    store.put(&BODIES, &bodies(), &[body(writer, seq, vec![1; 3000])], at(1)).await?;
                    writeln!(std::io::stdout().lock(), "{writer} {seq}")?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for writer in writers {
        writer.await??;
    }
    Ok(())
}

async fn everything_acknowledged_is_there_after_a_kill(directory: &Path) -> Result<()> {
    let mut acknowledged = Vec::new();
    for round in 0..5_usize {
        let first = i64::try_from(round)? * 1_000_000;
        acknowledged.extend(kill_after(directory, first, 200 + 170 * round)?);
        let store = open(directory).context("opening after a kill")?;
        let found = pages(&store, &Scan::partition(&BODIES, bodies())).await?;
        for &(writer, seq) in &acknowledged {
            let row = body(writer, seq, vec![1; 3000]);
            let place = found.binary_search_by(|there| there.clustering.cmp(&row.clustering));
            let there = place.ok().and_then(|place| found.get(place));
            ensure!(
                there == Some(&row),
                "round {round}: writer {writer} seq {seq} was acknowledged and is lost"
            );
        }
        store.close().await?;
    }
    Ok(())
}

/// Starts a victim, kills it after so many acknowledgements, and gives all that it printed.
fn kill_after(directory: &Path, first: i64, acknowledgements: usize) -> Result<Vec<(i64, i64)>> {
    let mut victim = Command::new(std::env::current_exe()?)
        .args([VICTIM.as_ref(), directory.as_os_str(), first.to_string().as_ref()])
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(victim.stdout.take().context("no output")?).lines();
    let mut acknowledged = Vec::new();
    for line in lines {
        let line = line?;
        if let Some((writer, seq)) = line.split_once(' ') {
            acknowledged.push((writer.parse()?, seq.parse()?));
        }
        if acknowledged.len() == acknowledgements {
            victim.kill()?;
        }
    }
    victim.wait()?;
    ensure!(acknowledged.len() >= acknowledgements, "the victim ended by itself");
    Ok(acknowledged)
}

async fn flushes_and_compactions_change_nothing(directory: &Path) -> Result<()> {
    let small = || LsmOptions { write_buffer_bytes: 64 * 1024, cache_bytes: 0, ..LsmOptions::new(directory) };
    let model = Memory::new();
    for round in 0..3 {
        let store = Lsm::open(small(), &tables::ALL, &Registry::new())?;
        for n in 0..400 {
            let rows = [body(n % 7, round * 1000 + n, vec![u8::try_from(n % 251)?; 3000])];
            store.put(&BODIES, &bodies(), &rows, at(1)).await?;
            model.put(&BODIES, &bodies(), &rows, at(1)).await?;
            let rows = [note(n % 20, 0, &"state ".repeat(20), round * 1000 + n)];
            store.put(&NOTES, &notes(), &rows, at(round * 1000 + n)).await?;
            model.put(&NOTES, &notes(), &rows, at(round * 1000 + n)).await?;
        }
        let writer = Deletion::Range(Bounds::prefix([Datum::Int(round)].into()));
        store.delete(&BODIES, &bodies(), &writer, at(1)).await?;
        model.delete(&BODIES, &bodies(), &writer, at(1)).await?;
        for scan in [Scan::partition(&BODIES, bodies()), Scan::partition(&NOTES, notes())] {
            ensure!(pages(&store, &scan).await? == pages(&model, &scan).await?, "round {round}: rows differ");
        }
    }
    Ok(())
}

async fn a_second_store_in_the_directory_is_refused(directory: &Path) -> Result<()> {
    let store = open(directory)?;
    let second = open(directory).err().context("two stores in one directory")?;
    ensure!(matches!(second, OpenError::Locked { .. }), "{second}");
    ensure!(second.to_string().contains("in use by another process"), "{second}");
    write_some(&store).await?;
    check_some(&store).await
}

async fn a_newer_format_is_refused_and_left_alone(directory: &Path) -> Result<()> {
    let store = open(directory)?;
    write_some(&store).await?;
    drop(store);
    let marker = directory.join("format");
    let ours = std::fs::read_to_string(&marker)?;
    std::fs::write(&marker, "tidemill-lsm 3\n")?;
    let newer = open(directory).err().context("a newer format was opened")?;
    ensure!(matches!(newer, OpenError::Newer { found: 3, known: 2, .. }), "{newer}");
    std::fs::write(&marker, "something else\n")?;
    let unknown = open(directory).err().context("an unknown format was opened")?;
    ensure!(matches!(unknown, OpenError::Damaged { .. }), "{unknown}");
    std::fs::write(&marker, ours)?;
    check_some(&open(directory)?).await
}

async fn a_directory_with_other_files_is_refused_and_left_alone(directory: &Path) -> Result<()> {
    std::fs::write(directory.join("thesis.txt"), "precious")?;
    let foreign = open(directory).err().context("a store among other files")?;
    ensure!(matches!(foreign, OpenError::Foreign { .. }), "{foreign}");
    let names: Vec<_> =
        std::fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    assert_eq!(names, ["thesis.txt"]);
    Ok(())
}

async fn a_claim_that_was_cut_short_is_taken_over(directory: &Path) -> Result<()> {
    std::fs::write(directory.join("lock"), "")?;
    std::fs::write(directory.join("format.new"), "tidem")?;
    write_some(&open(directory)?).await?;
    check_some(&open(directory)?).await
}

/// As when the disk is full: what flushes in the background fails, and writers must not wait for it for ever.
async fn a_store_whose_files_vanish_ends_up_broken(directory: &Path) -> Result<()> {
    let deadline = Duration::from_secs(1);
    let options = LsmOptions { write_buffer_bytes: 64 * 1024, deadline, ..LsmOptions::new(directory) };
    let store = Arc::new(Lsm::open(options, &tables::ALL, &Registry::new())?);
    write_some(&store).await?;
    std::fs::remove_dir_all(directory.join("tree").join("keyspaces"))?;
    let writers: Vec<_> =
        (0..16).map(|writer| tokio::spawn(write_until_broken(Arc::clone(&store), writer))).collect();
    for writer in writers {
        writer.await??;
    }
    let after = store.put(&BODIES, &bodies(), &[], at(1)).await;
    ensure!(matches!(after, Err(WriteError::Broken { .. })), "broken, and then {after:?}");
    Ok(())
}

async fn write_until_broken(store: Arc<Lsm>, writer: i64) -> Result<()> {
    let mut failures = Vec::new();
    for seq in 100..2000 {
        match store.put(&BODIES, &bodies(), &[body(writer, seq, vec![7; 30_000])], at(1)).await {
            Ok(()) => {}
            Err(WriteError::Broken { .. }) => return Ok(()),
            Err(error) => failures.push(error.to_string()),
        }
        ensure!(failures.len() < 10, "unavailable for ever: {failures:?}");
    }
    anyhow::bail!("writer {writer} wrote on without files")
}

/// A day of `EXPIRING`, with rows of 16 KiB that end with it.
fn day(day: i64) -> (Key, Vec<Row>) {
    let ends_at = (day + 1) * DAY_MILLIS;
    let row = |n| Row {
        clustering: [Datum::Int(n)].into(),
        cells: vec![
            Datum::Instant(ends_at),
            Datum::Blob(vec![u8::try_from(n % 251).unwrap_or(0); 16_384].into()),
        ],
    };
    ([Datum::Int(1), Datum::Instant(day * DAY_MILLIS)].into(), (0..64).map(row).collect())
}

const DAY_MILLIS: i64 = 86_400_000;
const MIB: u64 = 1024 * 1024;

fn of_day(day: i64) -> Result<Timestamp> {
    Ok(Timestamp::from_millis(day * DAY_MILLIS)?)
}

fn expiring(directory: &Path) -> Result<Lsm, OpenError> {
    let options = LsmOptions {
        write_buffer_bytes: MIB,
        window_buffers_bytes_max: 4 * MIB,
        reclaim_bytes_min: 4 * MIB,
        expiry: expiry(),
        ..LsmOptions::new(directory)
    };
    Lsm::open(options, &tables::ALL, &Registry::new())
}

/// Bytes of all files below.
fn bytes_on_disk(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        // What is being removed meanwhile takes no space.
        let Ok(about) = entry.metadata() else { continue };
        bytes += if about.is_dir() { bytes_on_disk(&entry.path()).unwrap_or(0) } else { about.len() };
    }
    Ok(bytes)
}

fn until_below(directory: &Path, bytes_max: u64) -> Result<u64> {
    let what = format!("the disk to fall below {bytes_max} bytes");
    wait::until(&what, Duration::from_secs(20), || {
        let bytes = bytes_on_disk(directory)?;
        Ok((bytes < bytes_max).then_some(bytes))
    })
}

async fn windows_that_expire_give_their_bytes_back_to_the_disk(directory: &Path) -> Result<()> {
    let store = expiring(directory)?;
    for n in 0..40 {
        let (partition, rows) = day(n);
        store.put(&EXPIRING, &partition, &rows, at(1)).await?;
    }
    // Without the journals, which are bounded by themselves and hold what was written last.
    let keyspaces = directory.join("tree").join("keyspaces");
    let full = bytes_on_disk(&keyspaces)?;
    ensure!(full > 35 * MIB, "{full} bytes for 40 MiB of rows, of which 4 MiB may be in memory");
    // Ten days are kept: at the end of day 35 those up to day 25 have expired.
    let expired = store.expire(of_day(36)?).await?;
    ensure!(expired.windows.len() == 26, "{expired:?}");
    let left = until_below(&keyspaces, 16 * MIB)?;
    for n in 0..40 {
        let (partition, rows) = day(n);
        let found = pages(&store, &Scan::partition(&EXPIRING, partition)).await?;
        ensure!(if n < 26 { found.is_empty() } else { found == rows }, "day {n}: {} rows", found.len());
    }
    ensure!(left > 14 * MIB, "{left} bytes for 14 days");
    assert_eq!(store.expire(of_day(36)?).await?.windows, Vec::<String>::new());
    Ok(())
}

async fn deleted_rows_give_their_bytes_back_to_the_disk(directory: &Path) -> Result<()> {
    let store = expiring(directory)?;
    for writer in 0..8 {
        for seq in 0..40 {
            let rows = [body(writer, seq, vec![u8::try_from(seq)?; 128 * 1024])];
            store.put(&BODIES, &bodies(), &rows, at(1)).await?;
        }
    }
    // Of every file something stays, and then nothing is written any more.
    for writer in 0..8 {
        let rest =
            Bounds { start: Bound::Included(ints(&[writer, 4])), end: Bound::Included(ints(&[writer])) };
        store.delete(&BODIES, &bodies(), &Deletion::Range(rest), at(1)).await?;
    }
    let keyspaces = directory.join("tree").join("keyspaces");
    until_below(&keyspaces, 12 * MIB)?;
    let found = pages(&store, &Scan::partition(&BODIES, bodies())).await?;
    ensure!(found.len() == 32, "{} rows are left", found.len());
    Ok(())
}

async fn reads_beside_an_expiry_give_rows_or_none(directory: &Path) -> Result<()> {
    let store = Arc::new(expiring(directory)?);
    for n in 0..30 {
        let (partition, rows) = day(n);
        store.put(&EXPIRING, &partition, &rows, at(1)).await?;
    }
    let readers: Vec<_> = (0..4)
        .map(|reader| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for round in 0..120 {
                    let (partition, rows) = day((round * 7 + reader) % 30);
                    let scan = Scan::partition(&EXPIRING, partition).in_pages_of(10);
                    let found = pages(&*store, &scan).await?;
                    ensure!(found == rows[..found.len()], "rows that were never written");
                }
                Ok(())
            })
        })
        .collect();
    for n in 11..41 {
        store.expire(of_day(n)?).await?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for reader in readers {
        reader.await??;
    }
    let (partition, _) = day(29);
    assert_eq!(pages(&*store, &Scan::partition(&EXPIRING, partition)).await?, []);
    Ok(())
}

async fn windows_are_there_after_a_close(directory: &Path) -> Result<()> {
    for round in 0..3 {
        let store = expiring(directory)?;
        for n in 0..12 {
            let (partition, rows) = day(n);
            if round == 0 {
                store.put(&EXPIRING, &partition, &rows, at(1)).await?;
            }
            ensure!(pages(&store, &Scan::partition(&EXPIRING, partition)).await? == rows, "day {n}");
        }
        store.close().await?;
    }
    let store = expiring(directory)?;
    // What a window's last row is was written with it: the end of day 11 is known, and day 11 stays.
    let expired = store.expire(of_day(22)?.saturating_sub(Duration::from_secs(1))).await?;
    ensure!(expired.windows.len() == 11, "{expired:?}");
    Ok(())
}

async fn a_window_made_after_all_others_were_dropped_is_there_after_a_close(directory: &Path) -> Result<()> {
    for first in [0, 100, 200] {
        // Enough for the journal to be made small at the close: then nothing but the windows knows their numbers.
        let days = first..first + 10;
        {
            let store = expiring(directory)?;
            for (partition, rows) in days.clone().map(day) {
                store.put(&EXPIRING, &partition, &rows, at(1)).await?;
            }
            store.close().await?;
        }
        // Nothing else is written between a drop and the next start.
        let store = expiring(directory)?;
        for n in days {
            let (partition, rows) = day(n);
            let found = pages(&store, &Scan::partition(&EXPIRING, partition)).await?;
            ensure!(found == rows, "day {n} is lost");
        }
        let expired = store.expire(of_day(first + 50)?).await?;
        ensure!(expired.windows.len() == 10, "{expired:?}");
        store.close().await?;
    }
    Ok(())
}

async fn many_windows_at_once_wait_in_little_memory(directory: &Path) -> Result<()> {
    let store = expiring(directory)?;
    for round in 0..20_i64 {
        for n in 0..60 {
            let (partition, mut rows) = day(n);
            rows.truncate(1);
            rows[0].clustering = ints(&[round]);
            store.put(&EXPIRING, &partition, &rows, at(1)).await?;
        }
    }
    // Sixty windows of 320 KiB: none fills its own buffer of 1 MiB, all together five times what may wait.
    let keyspaces = bytes_on_disk(&directory.join("tree").join("keyspaces"))?;
    ensure!(keyspaces > 12 * MIB, "{keyspaces} bytes of 19 MiB are in files");
    Ok(())
}

async fn a_closed_store_refuses_everything(directory: &Path) -> Result<()> {
    let store = open(directory)?;
    write_some(&store).await?;
    store.close().await?;
    store.close().await.context("closing again")?;
    let put = store.put(&NOTES, &notes(), &[note(0, 0, "late", 9)], at(9)).await;
    ensure!(matches!(put, Err(WriteError::Refused { .. })), "{put:?}");
    let scan = store.scan(&Scan::partition(&NOTES, notes()), None).await;
    ensure!(matches!(scan, Err(ReadError::Refused { .. })), "{scan:?}");
    drop(store);
    check_some(&open(directory)?).await
}

async fn a_row_too_large_is_refused_and_the_store_goes_on(directory: &Path) -> Result<()> {
    let store = open(directory)?;
    let body_too_large = body(0, 0, vec![0; 65 * 1024 * 1024]);
    let put = store.put(&BODIES, &bodies(), &[body_too_large], at(1)).await;
    ensure!(matches!(put, Err(WriteError::Refused { .. })), "{put:?}");
    let partition = Key::from([Datum::Text("x".repeat(70_000))]);
    let lease = Row { clustering: Key::default(), cells: vec![Datum::Text("a".into()), Datum::Int(1)] };
    let refused = store.compare_and_set(&tables::LEASES, &partition, &Expected::Absent, &lease).await;
    ensure!(matches!(refused, Err(WriteError::Refused { .. })), "{refused:?}");
    let row = seal(0, 1, "fine");
    let fine = store.compare_and_set(&SEALS, &seals(), &Expected::Absent, &row).await?;
    assert_eq!(fine, Exchange::Applied);
    Ok(())
}
