//! `tidemill rejects`: messages that could not be taken, listed, shown, taken again and deleted.
//!
//! Works on the store itself. An embedded store belongs to one process: while that runs, it is asked over HTTP, and takes
//! rejects again and deletes them with the configuration that it has.

mod question;
mod remote;
mod replay;
mod serve;
mod show;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tidemill_store::model::Clock;
use tidemill_store::rejects::{self, RejectPlace};
use tidemill_store::wide::Wide;

use self::question::{Pages, Question};
pub(crate) use self::replay::Terms;
use self::replay::{Replay, Taken};
pub(crate) use self::serve::{Desk, routes};
use super::on_store::{OnStore, is_in_use, on_store};
use crate::cli::{RejectsAction, RejectsArgs};
use crate::clock::SystemClock;
use crate::config::{Config, load};

/// Counts of what was not kept that a list shows.
const COUNTS_MAX: usize = 1_000;

/// Opens the store that configuration names, and does what was asked.
pub(crate) async fn rejects(args: RejectsArgs) -> anyhow::Result<()> {
    let config = Config::check(&load(args.config().config.as_deref())?)?;
    let action = Arc::new(args.action);
    match on_store(&config, Act(Arc::clone(&action))).await {
        Err(error) if is_in_use(&error) => {
            let address = config.http().address;
            let asked = tokio::task::spawn_blocking(move || ask(&action, address));
            asked.await?
        }
        done => done,
    }
}

/// Asks the process that has the store.
fn ask(action: &RejectsAction, address: SocketAddr) -> anyhow::Result<()> {
    match action {
        RejectsAction::List(filter) => remote::list(address, filter),
        RejectsAction::Show { id, .. } => remote::show(address, id),
        RejectsAction::Replay(filter) => remote::replay(address, settled(filter.into())?),
        RejectsAction::Purge { filter, yes } => {
            remote::purge(address, settled(Question { yes: *yes, ..filter.into() })?)
        }
    }
}

/// The question with the times that it means now.
fn settled(question: Question) -> anyhow::Result<Question> {
    question.at(SystemClock.now())
}

struct Act(Arc<RejectsAction>);

impl OnStore for Act {
    async fn run<W: Wide>(self, wide: Arc<W>, config: &Config) -> anyhow::Result<()> {
        match &*self.0 {
            RejectsAction::List(args) => list(&*wide, &settled(args.into())?).await,
            RejectsAction::Show { id, .. } => show_one(&*wide, id).await,
            RejectsAction::Replay(args) => replay(wide, config, &settled(args.into())?).await,
            RejectsAction::Purge { filter, yes } => purge(&*wide, &settled(filter.into())?, *yes).await,
        }
    }
}

async fn list<W: Wide>(wide: &W, question: &Question) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let mut pages = Pages::new(question, now)?;
    while let Some(page) = pages.next(wide).await? {
        let lines = page.iter().fold(String::new(), |lines, listed| lines + &show::line(listed));
        super::print(&lines)?;
    }
    let (counts, more) = rejects::counts(wide, &question.filter(now)?, COUNTS_MAX).await?;
    let lines = counts.iter().fold(String::new(), |lines, count| lines + &show::count(count));
    super::print(&(lines + if more { show::MORE_COUNTS } else { "" }))
}

async fn replay<W: Wide>(wide: Arc<W>, config: &Config, question: &Question) -> anyhow::Result<()> {
    let mut replay = Replay::start(Arc::clone(&wide), &Terms::of(config)).await?;
    let (mut pages, mut totals) = (Pages::new(question, SystemClock.now())?, Totals::default());
    while let Some(page) = pages.next(&*wide).await? {
        totals.add(&replay.take(&page).await?)?;
    }
    replay.end().await?;
    totals.print()
}

/// What a replay has done.
#[derive(Debug, Default)]
struct Totals {
    stored: usize,
    refused: usize,
    cut: usize,
}

impl Totals {
    /// Counts what became of a page, and prints what is refused.
    fn add(&mut self, taken: &Taken) -> anyhow::Result<()> {
        self.stored += taken.stored;
        self.refused += taken.refused.len();
        self.cut += taken.cut;
        super::print(&taken.refused.iter().map(show::refused).collect::<String>())
    }

    fn print(&self) -> anyhow::Result<()> {
        let Self { stored, refused, cut } = self;
        super::print(&format!(
            "{stored} stored, {refused} still refused, {cut} cannot be replayed because they were cut\n"
        ))
    }
}

async fn show_one<W: Wide>(wide: &W, id: &str) -> anyhow::Result<()> {
    let place: RejectPlace = id.parse().with_context(|| format!("{id:?}"))?;
    let row = rejects::get(wide, &place).await?;
    let row = row
        .with_context(|| format!("there is no reject {place}: it was replayed or purged, or has expired"))?;
    super::print(&show::whole(&place, &row))
}

async fn purge<W: Wide>(wide: &W, question: &Question, yes: bool) -> anyhow::Result<()> {
    let (mut pages, mut found) = (Pages::new(question, SystemClock.now())?, 0);
    while let Some(page) = pages.next(wide).await? {
        found += page.len();
        for listed in page.iter().filter(|_| yes) {
            delete(wide, &listed.place).await?;
        }
    }
    super::print(&show::purged(found, yes))
}

/// Deletes a reject for good.
async fn delete<W: Wide>(wide: &W, place: &RejectPlace) -> anyhow::Result<()> {
    Ok(rejects::delete(wide, place, rejects::delete_time(place, SystemClock.now())).await?)
}
