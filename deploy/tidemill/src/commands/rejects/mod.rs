//! `tidemill rejects`: messages that could not be taken, listed, shown, taken again and deleted.
//!
//! Works on the store itself. An embedded store belongs to one process: while that runs, it is asked over HTTP for lists
//! and single rejects, and what changes something says that it has to be stopped first.

mod remote;
mod replay;
mod show;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail};
use tidemill_analytics::moment::parse;
use tidemill_store::layout::RejectKind;
use tidemill_store::model::{Clock, TimeRange};
use tidemill_store::rejects::{self, Listed, RejectFilter, RejectPage, RejectPlace};
use tidemill_store::wide::Wide;

use super::on_store::{OnStore, is_in_use, on_store};
use crate::cli::{RejectFilterArgs, RejectsAction, RejectsArgs};
use crate::clock::SystemClock;
use crate::config::{Config, load};

/// Rejects that are looked at together.
const PAGE: usize = 100;
/// Counts of what was not kept that a list shows.
const COUNTS_MAX: usize = 1_000;

/// Opens the store that configuration names, and does what was asked.
pub(crate) async fn rejects(args: RejectsArgs) -> anyhow::Result<()> {
    let config = Config::check(&load(args.config().config.as_deref())?)?;
    let action = Arc::new(args.action);
    match on_store(&config, Act(Arc::clone(&action))).await {
        Err(error) if is_in_use(&error) => {
            let address = config.http().address;
            let asked = tokio::task::spawn_blocking(move || ask(&action, address, &error));
            asked.await?
        }
        done => done,
    }
}

/// What the process that has the store can be asked for, which `in_use` says is another.
fn ask(action: &RejectsAction, address: SocketAddr, in_use: &anyhow::Error) -> anyhow::Result<()> {
    match action {
        RejectsAction::List(filter) => remote::list(address, filter),
        RejectsAction::Show { id, .. } => remote::show(address, id),
        RejectsAction::Replay(_) | RejectsAction::Purge { .. } => bail!(
            "{in_use:#}: a process works on this store, and only it may change it: stop it, run this again, and \
             start it; list and show work meanwhile"
        ),
    }
}

struct Act(Arc<RejectsAction>);

impl OnStore for Act {
    async fn run<W: Wide>(self, wide: Arc<W>, config: &Config) -> anyhow::Result<()> {
        match &*self.0 {
            RejectsAction::List(args) => list(&*wide, args).await,
            RejectsAction::Show { id, .. } => show_one(&*wide, id).await,
            RejectsAction::Replay(args) => replay::replay(wide, config, args).await,
            RejectsAction::Purge { filter, yes } => purge(&*wide, filter, *yes).await,
        }
    }
}

fn filter(args: &RejectFilterArgs) -> anyhow::Result<RejectFilter> {
    let now = SystemClock.now();
    let time = |text: &str| parse(text, now).with_context(|| format!("{text:?}"));
    let range =
        TimeRange::new(time(&args.since)?, time(&args.until)?).context("--since lies behind --until")?;
    let kind = match args.kind.as_deref() {
        None => None,
        Some("dead_letter") => Some(RejectKind::DeadLetter),
        Some("quarantine") => Some(RejectKind::Quarantine),
        Some(other) => bail!("--kind {other:?} must be dead_letter or quarantine"),
    };
    let (reason, device, topic) = (args.reason.clone(), args.device.clone(), args.topic.clone());
    Ok(RejectFilter { range, kind, reason, device, topic })
}

/// The rejects that are meant, page by page.
struct Pages {
    filter: RejectFilter,
    after: Option<RejectPlace>,
    left: usize,
    over: bool,
}

impl Pages {
    fn new(args: &RejectFilterArgs) -> anyhow::Result<Self> {
        let left = args.limit.unwrap_or(usize::MAX);
        Ok(Self { filter: filter(args)?, after: None, left, over: left == 0 })
    }

    /// The next page; deleting what it holds disturbs nothing.
    async fn next<W: Wide>(&mut self, wide: &W) -> anyhow::Result<Option<Vec<Listed>>> {
        if self.over {
            return Ok(None);
        }
        let RejectPage { rejects, more } =
            rejects::list(wide, &self.filter, self.after, PAGE.min(self.left)).await?;
        self.left -= rejects.len();
        self.after = rejects.last().map(|listed| listed.place).or(self.after);
        self.over = !more || self.left == 0;
        Ok(Some(rejects))
    }
}

async fn list<W: Wide>(wide: &W, args: &RejectFilterArgs) -> anyhow::Result<()> {
    let mut pages = Pages::new(args)?;
    while let Some(page) = pages.next(wide).await? {
        let lines = page.iter().fold(String::new(), |lines, listed| lines + &show::line(listed));
        super::print(&lines)?;
    }
    let (counts, more) = rejects::counts(wide, &filter(args)?, COUNTS_MAX).await?;
    let lines = counts.iter().fold(String::new(), |lines, count| lines + &show::count(count));
    super::print(&(lines + if more { show::MORE_COUNTS } else { "" }))
}

async fn show_one<W: Wide>(wide: &W, id: &str) -> anyhow::Result<()> {
    let place: RejectPlace = id.parse().with_context(|| format!("{id:?}"))?;
    let row = rejects::get(wide, &place).await?;
    let row = row
        .with_context(|| format!("there is no reject {place}: it was replayed or purged, or has expired"))?;
    super::print(&show::whole(&place, &row))
}

async fn purge<W: Wide>(wide: &W, args: &RejectFilterArgs, yes: bool) -> anyhow::Result<()> {
    let (mut pages, mut found) = (Pages::new(args)?, 0);
    while let Some(page) = pages.next(wide).await? {
        found += page.len();
        for listed in page.iter().filter(|_| yes) {
            delete(wide, &listed.place).await?;
        }
    }
    super::print(&if yes {
        format!("{found} deleted\n")
    } else {
        format!("{found} would be deleted; add --yes to delete them for good\n")
    })
}

/// Deletes a reject for good.
async fn delete<W: Wide>(wide: &W, place: &RejectPlace) -> anyhow::Result<()> {
    Ok(rejects::delete(wide, place, rejects::delete_time(place, SystemClock.now())).await?)
}
