//! What only a store in a directory must do: keep everything acknowledged over a close, a crash and a kill, keep
//! its directory to itself, and refuse what it does not understand.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use prometheus::Registry;
use tidemill_store::wide::lsm::{Lsm, LsmOptions, OpenError};
use tidemill_store::wide::{
    Bounds, Datum, Deletion, Exchange, Expected, Key, Memory, ReadError, Row, Scan, Wide, WriteError,
};
use tidemill_tests::process::scratch_directory;
use tidemill_tests::real::trial;

use crate::fixture::{at, body, note, pages, seal};
use crate::tables::{self, BODIES, NOTES, SEALS};
use crate::windows::{
    a_window_made_after_all_others_were_dropped_is_there_after_a_close,
    deleted_rows_give_their_bytes_back_to_the_disk, many_windows_at_once_wait_in_little_memory,
    reads_beside_an_expiry_give_rows_or_none, windows_are_there_after_a_close,
    windows_that_expire_give_their_bytes_back_to_the_disk,
};

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

pub(crate) fn bodies() -> Key {
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
