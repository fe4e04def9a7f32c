//! Running the commands of a file.
//!
//! Each instant evaluation is repeated: with `@` on all its selectors at other times, where it then gives the same;
//! and as a range from a minute before to a minute after, whose middle is compared.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use tidemill_analytics::promql::{
    Answer, Demand, Labels, Lookback, MemorySource, Mode, Outcome, Query, Row, Selected, SeriesSource,
    Settings, SourceError, Steps, Stop, fit_all, gather,
};

use crate::case::{Command, Eval, Expected, Times, What, commands};
use crate::check;
use crate::notation::{Point, SECOND, native_of};

/// What became of evaluations.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: Vec<String>,
    pub(crate) left_out: Vec<String>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        self.left_out.extend(other.left_out);
    }
}

/// Series in memory, and where native histograms would be.
#[derive(Default)]
struct Store {
    numbers: MemorySource,
    histograms: BTreeSet<(Labels, i64)>,
}

impl SeriesSource for Store {
    async fn select(&self, demand: &Demand) -> Result<Selected, SourceError> {
        Ok(Selected::Samples(self.numbers.find(demand)))
    }
}

impl Store {
    fn load(&mut self, step: i64, native: bool, series: &[(Labels, Vec<Point>)]) {
        for (labels, points) in series {
            for (at, point) in points.iter().enumerate() {
                let time = i64::try_from(at).map_or(i64::MAX, |at| step * at);
                match point {
                    Point::Gap => {}
                    Point::Number(value) => self.numbers.add(labels, time, *value),
                    Point::Histogram => {
                        self.histograms.insert((labels.clone(), time));
                    }
                }
                if native && let Some(labels) = native_of(labels) {
                    self.histograms.insert((labels, time));
                }
            }
        }
    }

    /// Whether a query would see native histograms.
    fn has_histograms(&self, demand: &Demand) -> bool {
        let within = |time: i64| time > demand.after && time <= demand.through;
        self.histograms.iter().any(|(labels, time)| within(*time) && fit_all(&demand.matchers, labels))
    }
}

/// Runs a file.
pub(crate) fn file(name: &str, text: &str) -> Result<Tally> {
    let mut store = Store::default();
    let mut tally = Tally::default();
    for Command { line, what } in commands(text).with_context(|| name.to_owned())? {
        match what {
            What::Clear => store = Store::default(),
            What::Load { step, histograms, series } => store.load(step, histograms, &series),
            What::Eval(eval) => {
                let shown = format!("{name}:{line}: {}", eval.query);
                match run(&store, &eval) {
                    Ok(()) if wants_histograms(&eval.expected) => bail!("{shown} cannot have passed"),
                    Ok(()) => tally.passed += 1,
                    Err(_) if wants_histograms(&eval.expected) => {
                        tally.left_out.push(format!("{shown}: its answer is a native histogram"));
                    }
                    Err(_) if reads_histograms(&store, &eval) => {
                        tally.left_out.push(format!("{shown}: reads native histograms"));
                    }
                    Err(error) => tally.failed.push(format!("{shown}\n    {error:#}")),
                }
            }
        }
    }
    Ok(tally)
}

fn wants_histograms(expected: &Expected) -> bool {
    expected.series.iter().any(|(_, points)| points.contains(&Point::Histogram))
}

fn reads_histograms(store: &Store, eval: &Eval) -> bool {
    let Ok(query) = Query::parse(&eval.query) else { return false };
    query.demands(&settings(eval.times)).iter().any(|demand| store.has_histograms(demand))
}

fn settings(times: Times) -> Settings {
    let (mode, steps, end) = match times {
        Times::Instant(at) => (Mode::Instant, Steps::one(at), at),
        Times::Range { start, end, step } => {
            (Mode::Range, Steps { step, ..Steps::between(start, end, step) }, end)
        }
    };
    let lookback = Lookback::new(Duration::from_mins(5), &[]);
    Settings { mode, steps, end, lookback, samples_max: 10_000_000 }
}

fn ask(store: &Store, query: &Query, times: Times) -> Result<Outcome> {
    let settings = settings(times);
    let gathered = at_once(gather(query, &settings, store))?;
    Ok(query.evaluate(&settings, gathered, &Stop::default())?)
}

/// A store in memory never waits.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => unreachable!("a store in memory waited"),
    }
}

fn run(store: &Store, eval: &Eval) -> Result<()> {
    let query = Query::parse(&eval.query).map_err(anyhow::Error::from);
    let outcome = query.and_then(|query| Ok((ask(store, &query, eval.times)?, query)));
    if let Some(wording) = &eval.expected.fails {
        let Err(error) = outcome else { bail!("it did not fail") };
        let text = error.to_string();
        return if check::fits(wording, &text)? {
            Ok(())
        } else {
            bail!("failed with {text:?}, not {wording:?}")
        };
    }
    let (outcome, query) = outcome?;
    check::outcome(&eval.expected, &outcome, settings(eval.times).steps)?;
    match eval.times {
        Times::Range { .. } => Ok(()),
        Times::Instant(at) => {
            pinned(store, eval, &query, at)?;
            in_a_range(store, eval, &query, at)
        }
    }
}

fn pinned(store: &Store, eval: &Eval, query: &Query, at: i64) -> Result<()> {
    let Some(pinned) = query.pinned(at) else { return Ok(()) };
    for elsewhere in [-10 * at, -SECOND, 0, at / 5, at, 10 * at] {
        let outcome = ask(store, &pinned, Times::Instant(elsewhere))?;
        check::answer(&eval.expected, &outcome.answer, Steps::one(elsewhere))
            .with_context(|| format!("with @ {} at {elsewhere}", at / SECOND))?;
    }
    Ok(())
}

fn in_a_range(store: &Store, eval: &Eval, query: &Query, at: i64) -> Result<()> {
    if eval.expected.ordered || !query.can_be_ranged() || query.reads_its_bounds() {
        return Ok(());
    }
    let minute = 60 * SECOND;
    let around = Times::Range { start: at - minute, end: at + minute, step: minute };
    let outcome = ask(store, query, around).context("as a range")?;
    let middle = match outcome.answer {
        Answer::Scalar(values) => Answer::Scalar(vec![*values.get(1).ok_or_else(|| anyhow!("no middle"))?]),
        Answer::Rows(rows) => {
            let middle = |row: Row| Row { values: vec![row.values[1]], ..row };
            Answer::Rows(rows.into_iter().map(middle).filter(Row::is_present).collect())
        }
        other @ (Answer::Ranges(_) | Answer::Text(_)) => other,
    };
    check::answer(&eval.expected, &middle, Steps::one(at)).context("in the middle of a range")
}
