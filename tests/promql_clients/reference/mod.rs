//! The same samples in Tidemill and in a Prometheus 2.42, asked the same questions, with every sample raw, ground, and
//! ground with some of it sent once more: answers are the same to nine digits, or differ for a reason that is known.

mod answer;
mod fleet;
mod grammar;
mod known;

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tidemill_tests::environment;
use tidemill_tests::http::Http;
use tidemill_tests::mqtt::{Protocol, Publisher, Settings};
use tidemill_tests::process::scratch_directory;
use tidemill_tests::prometheus::Prometheus;
use tidemill_tests::tidemill::{Builder, Tidemill};

use crate::SOON;
use answer::{Answer, Difference};

use fleet::Fleet;
use grammar::{Grammar, Question, Times};

const QUESTIONS: usize = 400;
const SEED: u64 = 42;
const GRIND_WITHIN: Duration = Duration::from_mins(2);
/// Between Tidemill and Prometheus, which adds up in another order and without compensation.
const TOLERANCE: f64 = 1e-9;
/// Between rollups and samples.
const ROLLUP_TOLERANCE: f64 = 1e-12;
/// Differences that a failure shows.
const SHOWN: usize = 12;

pub(crate) use answer::notices;

/// Says why an answer may differ.
type Excuse = fn(&str, &Difference) -> Option<&'static str>;

pub(crate) fn compare() -> Result<()> {
    let seed = environment::seed().unwrap_or(SEED);
    let fleet = Fleet::new(seed);
    let prometheus = Prometheus::prepare()?;
    let file = prometheus.directory().join("fleet.om");
    fs::write(&file, &fleet.open_metrics)?;
    prometheus.import(&file)?;
    prometheus.start("")?;
    let mut grammar = Grammar::new(seed);
    let questions: Vec<Question> = (0..QUESTIONS).map(|_| grammar.question()).collect();
    let expected = ask_all(prometheus.http(), &questions)?;
    let telling = expected.iter().filter(|answer| answer.points() > 0).count();
    ensure!(telling * 2 > QUESTIONS, "only {telling} of {QUESTIONS} questions have answers");

    let data = scratch_directory("tidemill-data-")?;
    let directory = data.path().to_string_lossy().into_owned();
    let tidemill = builder(&directory)?.start()?;
    publish(&tidemill, &fleet.messages)?;
    let raw = ask_all(tidemill.http(), &questions)?;
    ensure_same("raw, against Prometheus", &questions, &raw, (&expected, TOLERANCE, known::reason))?;

    ensure!(tidemill.stop(SOON)? == Some(0), "exit code: {}", tidemill.log()?);
    tidemill.grind_all(GRIND_WITHIN)?;
    tidemill.restart()?;
    let ground = ask_all(tidemill.http(), &questions)?;
    let rolled_up = ask_rolled_up(tidemill.http(), &questions)?;
    eprintln!("ground: rollups answer a selector of {rolled_up} of {QUESTIONS}");
    ensure!(rolled_up * 20 > QUESTIONS, "rollups answer a selector of {rolled_up} questions only");
    ensure_same("ground, against Prometheus", &questions, &ground, (&expected, TOLERANCE, known::reason))?;
    ensure_same("ground, against raw", &questions, &ground, (&raw, ROLLUP_TOLERANCE, |_, _| None))?;

    // A third of the messages comes again: over windows that are ground lie segments that are not.
    publish(&tidemill, &fleet.messages.iter().step_by(3).cloned().collect::<Vec<_>>())?;
    let mixed = ask_all(tidemill.http(), &questions)?;
    ensure_same("ground in part, against raw", &questions, &mixed, (&raw, ROLLUP_TOLERANCE, |_, _| None))
}

fn builder(directory: &str) -> Result<Builder> {
    Ok(Builder::new()?
        .set("store.embedded.directory", directory)
        .set("store.first_era.shards", 2)
        .set("store.first_era.bucket_width", "3h")
        // Windows of a minute, too, though they hold few samples.
        .set("mill.window_samples_min", 2)
        .set("mill.settle", "1s")
        .roles("ingest,query"))
}

fn publish(tidemill: &Tidemill, messages: &[(String, Vec<u8>)]) -> Result<()> {
    let publisher = Publisher::start(Settings::new(tidemill.mqtt_address(), "fleet", Protocol::V5))?;
    for (number, (topic, payload)) in (0..).zip(messages) {
        publisher.publish(number, topic, payload, SOON)?;
    }
    publisher.wait_settled(SOON)?;
    ensure!(publisher.refused().is_empty(), "refused: {:?}", publisher.refused());
    publisher.disconnect(SOON)?;
    let dead = tidemill.http().metrics()?.sum("tidemill_ingest_messages_dead_lettered_total", &[]);
    ensure!(dead < 0.5, "{dead} messages were not understood");
    Ok(())
}

fn ask_all(http: &Http, questions: &[Question]) -> Result<Vec<Answer>> {
    questions.iter().map(|question| ask(http, question)).collect()
}

/// In how many answers a selector was answered from rollups.
fn ask_rolled_up(http: &Http, questions: &[Question]) -> Result<usize> {
    let mut count = 0;
    for question in questions {
        let body = post(http, question, &[("stats", "all")])?;
        count += usize::from(body.contains("\"answeredFrom\":\"rollups\""));
    }
    Ok(count)
}

fn ask(http: &Http, question: &Question) -> Result<Answer> {
    Answer::of(&post(http, question, &[])?).with_context(|| format!("{question:?}"))
}

/// The body of the answer to a question, with more parameters.
fn post(http: &Http, question: &Question, more: &[(&str, &str)]) -> Result<String> {
    let seconds = |millis: u64| format!("{}.{:03}", millis / 1_000, millis % 1_000);
    let query = ("query", question.expression.as_str());
    let answer = match question.times {
        Times::Instant(time) => {
            http.form("/api/v1/query", &[&[query, ("time", &seconds(time))], more].concat())
        }
        Times::Range { start, end, step } => {
            let [start, end, step] = [start, end, step].map(seconds);
            let times = [query, ("start", &start), ("end", &end), ("step", &step)];
            http.form("/api/v1/query_range", &[&times, more].concat())
        }
    }?;
    Ok(answer.body)
}

/// An error that shows the first differences beyond the tolerance; those that `excused` has a reason for are counted.
fn ensure_same(
    what: &str,
    questions: &[Question],
    answers: &[Answer],
    (expected, tolerance, excused): (&[Answer], f64, Excuse),
) -> Result<()> {
    let mut wrong = Vec::new();
    let mut known: BTreeMap<&'static str, usize> = BTreeMap::new();
    for (question, (answer, expected)) in questions.iter().zip(answers.iter().zip(expected)) {
        let Some(difference) = answer.difference(expected, tolerance) else { continue };
        match excused(&question.expression, &difference) {
            Some(reason) => *known.entry(reason).or_default() += 1,
            None => wrong.push(format!("{} {:?}\n    {difference:?}", question.expression, question.times)),
        }
    }
    let differ: usize = known.values().sum();
    eprintln!("{what}: {} of {} are the same", questions.len() - wrong.len() - differ, questions.len());
    for (reason, count) in known {
        eprintln!("{what}: {count} differ: {reason}");
    }
    let shown: Vec<String> = wrong.iter().take(SHOWN).cloned().collect();
    ensure!(wrong.is_empty(), "{what}: {} of {}:\n{}", wrong.len(), questions.len(), shown.join("\n"));
    ensure!(differ * 20 < questions.len(), "{what}: too many differ for known reasons");
    Ok(())
}
