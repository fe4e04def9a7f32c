//! The schema of a keyspace: created, migrated, compared and printed.
//!
//! Versions are applied one after another and recorded in the table `schema_version`, the record last, so that an
//! apply which was cut short is simply run again. Every statement may be repeated and two processes may apply at
//! once. A keyspace of a later version than this program knows is left alone.

mod ddl;
mod drift;
mod server;
mod survey;

use std::fmt::Write as _;

use super::options::{CqlOptions, Keyspace};
use super::session::OpenError;
use crate::layout::tables::{
    BIRTHS, BLOCKS, CATALOG, ERAS, FRAMES, LEASES, MARKS, PERIODS, REJECT_COUNTS, REJECTS, SEALS, SEGMENTS,
    WRITERS,
};
use crate::wide::ColumnType::{Instant, Int, Text};
use crate::wide::{Column, Retention, Rows, Table, Workload};
use ddl::Ddl;
use survey::Survey;

pub use drift::Drift;
pub use server::{Server, ServerError, Version};

/// The version that this program applies and works with.
pub const VERSION: i64 = 4;

/// What the versions are of: other parts could have their own in the same keyspace.
const COMPONENT: &str = "tidemill";

/// What takes a keyspace from the version before to this one.
#[derive(Debug)]
struct Migration {
    version: i64,
    /// Tables that are new in it, as they are defined today; what later versions add to them is added by those too.
    tables: &'static [&'static Table],
    /// Tables of earlier versions that have other settings since; a keyspace that begins with it has them already.
    altered: &'static [&'static Table],
}

/// Every version, in order. What is here was applied somewhere: only add.
static MIGRATIONS: [Migration; 4] = [
    Migration { version: 1, tables: &[&ERAS, &CATALOG, &MARKS, &SEGMENTS, &REJECTS], altered: &[] },
    Migration {
        version: 2,
        tables: &[&SEALS, &PERIODS, &WRITERS, &BLOCKS, &FRAMES, &LEASES],
        altered: &[&MARKS, &REJECTS],
    },
    Migration { version: 3, tables: &[&BIRTHS], altered: &[] },
    Migration { version: 4, tables: &[&REJECT_COUNTS], altered: &[] },
];

/// Which versions were applied.
static SCHEMA_VERSION: Table = Table {
    name: "schema_version",
    partition: &[Column::new("component", Text)],
    clustering: &[Column::new("version", Int)],
    cells: &[Column::new("applied_at", Instant), Column::new("applied_by", Text)],
    rows: Rows::Exchanged,
    workload: Workload::Index,
    retention: Retention::Forever,
};

/// Why the schema could not be read or changed. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The cluster is out of reach, or not the one that was meant.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The server is not one that can be used.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The keyspace was made by a later program.
    #[error("the schema has version {found}, this program knows up to {known}; use a newer program")]
    Newer {
        /// The keyspace's version.
        found: i64,
        /// This program's.
        known: i64,
    },
    /// The replication names data centres that do not exist.
    #[error(
        "the replication names data centres that the cluster does not have: {}; it has: {}",
        .unknown.join(", "),
        .found.join(", ")
    )]
    UnknownDatacenters {
        /// What is not there.
        unknown: Vec<String>,
        /// What there is.
        found: Vec<String>,
    },
    /// Tables are there, but not as their version says.
    #[error("the keyspace cannot be brought up to date: {}; repair it by hand", .0.join("; "))]
    Drift(Vec<String>),
    /// A statement failed.
    #[error("the server did not run {statement:?}: {reason}")]
    Statement {
        /// The statement.
        statement: String,
        /// What the server said.
        reason: String,
    },
}

/// How a keyspace compares with this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaState {
    /// It is not there, or no version of it was completed.
    Absent,
    /// It is what this program works with.
    Current,
    /// It has this earlier version.
    Older(i64),
    /// It has this later version.
    Newer(i64),
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The server.
    pub server: Server,
    /// The version.
    pub state: SchemaState,
    /// How the keyspace differs from its version and from the options; empty where it is not current.
    pub drift: Vec<Drift>,
}

/// What an apply did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The server.
    pub server: Server,
    /// What was there before.
    pub before: SchemaState,
    /// How the keyspace still differs from the options, for an operator to decide.
    pub drift: Vec<Drift>,
}

/// The schema for `server` as a script: what [`apply`] runs on an empty cluster.
pub fn print(options: &CqlOptions, server: Server) -> String {
    let ddl = Ddl::new(options, server);
    let mut script = format!("-- Tidemill's schema, version {VERSION}, for {server}.\n");
    let mut statements = vec![ddl.keyspace(), ddl.table(&SCHEMA_VERSION)];
    for migration in &MIGRATIONS {
        statements.extend(migration.tables.iter().map(|table| ddl.table(table)));
        statements.push(record(&options.keyspace, migration.version));
    }
    for statement in statements {
        _ = write!(script, "\n{statement};\n");
    }
    script
}

/// Looks at the cluster and the keyspace; changes nothing.
pub async fn check(options: &CqlOptions) -> Result<Report, SchemaError> {
    report(&Survey::open(options).await?, options).await
}

/// Which server answers: for [`print()`].
pub async fn detect(options: &CqlOptions) -> Result<Server, SchemaError> {
    Survey::open(options).await?.server().await
}

/// Creates what is missing and brings the keyspace to [`VERSION`]; gives tables the retention that is configured.
/// Does nothing where nothing is to do. An existing keyspace keeps its replication: changing it needs a repair.
pub async fn apply(options: &CqlOptions) -> Result<Applied, SchemaError> {
    let survey = Survey::open(options).await?;
    let found = report(&survey, options).await?;
    let done = match found.state {
        SchemaState::Newer(found) => return Err(SchemaError::Newer { found, known: VERSION }),
        SchemaState::Absent => 0,
        SchemaState::Older(version) => version,
        SchemaState::Current => VERSION,
    };
    let ddl = Ddl::new(options, found.server);
    if found.state == SchemaState::Absent {
        check_datacenters(&survey, options)?;
        survey.change(&ddl.keyspace()).await?;
        survey.change(&ddl.table(&SCHEMA_VERSION)).await?;
    }
    for migration in MIGRATIONS.iter().filter(|migration| migration.version > done) {
        for table in migration.tables {
            survey.change(&ddl.table(table)).await?;
        }
        for table in migration.altered.iter().filter(|_| done > 0) {
            survey.change(&ddl.retention(table)).await?;
        }
        survey.change(&record(&options.keyspace, migration.version)).await?;
    }
    let drift = settle(&survey, options, ddl).await?;
    Ok(Applied { server: found.server, before: found.state, drift })
}

/// Creates the keyspace and these tables, and records no version: for tests of the backend over tables of their own.
pub async fn create(options: &CqlOptions, tables: &[&'static Table]) -> Result<(), SchemaError> {
    let survey = Survey::open(options).await?;
    let ddl = Ddl::new(options, survey.server().await?);
    survey.change(&ddl.keyspace()).await?;
    for table in tables {
        survey.change(&ddl.table(table)).await?;
    }
    Ok(())
}

async fn report(survey: &Survey, options: &CqlOptions) -> Result<Report, SchemaError> {
    let server = survey.server().await?;
    let state = match version(survey, &options.keyspace).await? {
        None => SchemaState::Absent,
        Some(version) if version < VERSION => SchemaState::Older(version),
        Some(version) if version > VERSION => SchemaState::Newer(version),
        Some(_) => SchemaState::Current,
    };
    let drift = match state {
        SchemaState::Current => differences(survey, options, server).await?,
        SchemaState::Absent | SchemaState::Older(_) | SchemaState::Newer(_) => Vec::new(),
    };
    Ok(Report { server, state, drift })
}

/// The last version that was completed.
async fn version(survey: &Survey, keyspace: &Keyspace) -> Result<Option<i64>, SchemaError> {
    let columns = survey.columns(keyspace).await?;
    if !columns.iter().any(|column| column.table == SCHEMA_VERSION.name) {
        return Ok(None);
    }
    let text = format!(
        "SELECT version FROM {keyspace}.schema_version WHERE component = '{COMPONENT}' \
         ORDER BY version DESC LIMIT 1"
    );
    Ok(survey.rows::<(i64,)>(&text, ()).await?.pop().map(|(version,)| version))
}

async fn differences(
    survey: &Survey,
    options: &CqlOptions,
    server: Server,
) -> Result<Vec<Drift>, SchemaError> {
    let ddl = Ddl::new(options, server);
    let mut drift = drift::columns(&tables(), &survey.columns(&options.keyspace).await?);
    let settings = survey.settings(&options.keyspace).await?;
    for table in tables() {
        let Some(found) = settings.get(table.name) else { continue };
        let expected = ddl.time_to_live(table).unwrap_or_default();
        if found.time_to_live != expected {
            drift.push(Drift::Retention { table: table.name, found: found.time_to_live, expected });
        }
        drift.extend(drift::windows(table, ddl.strategy(table), &found.compaction));
    }
    let mut found = survey.replication(&options.keyspace).await?.unwrap_or_default();
    found.remove("class");
    let expected = options.replication.iter().map(|(name, factor)| (name.clone(), factor.to_string()));
    let expected = expected.collect();
    if found != expected {
        drift.push(Drift::Replication { found: format!("{found:?}"), expected: format!("{expected:?}") });
    }
    Ok(drift)
}

/// Puts right what may be put right; what breaks the program is an error, the rest is returned.
async fn settle(survey: &Survey, options: &CqlOptions, ddl: Ddl<'_>) -> Result<Vec<Drift>, SchemaError> {
    let mut left = report(survey, options).await?.drift;
    for table in tables() {
        let late = |drift: &Drift| drift.of_settings() == Some(table.name);
        if left.iter().any(late) {
            survey.change(&ddl.retention(table)).await?;
            left.retain(|drift| !late(drift));
        }
    }
    if left.iter().any(Drift::breaks) {
        return Err(SchemaError::Drift(left.iter().map(ToString::to_string).collect()));
    }
    Ok(left)
}

fn check_datacenters(survey: &Survey, options: &CqlOptions) -> Result<(), SchemaError> {
    let found = survey.datacenters();
    let unknown: Vec<String> =
        options.replication.keys().filter(|name| !found.contains(name)).cloned().collect();
    if unknown.is_empty() { Ok(()) } else { Err(SchemaError::UnknownDatacenters { unknown, found }) }
}

/// Records that a version is complete; whoever comes first is remembered.
fn record(keyspace: &Keyspace, version: i64) -> String {
    format!(
        "INSERT INTO {keyspace}.schema_version (component, version, applied_at, applied_by)\n  VALUES \
         ('{COMPONENT}', {version}, toTimestamp(now()), 'tidemill {}') IF NOT EXISTS",
        env!("CARGO_PKG_VERSION")
    )
}

/// Every table of the current version.
fn tables() -> Vec<&'static Table> {
    MIGRATIONS.iter().flat_map(|migration| migration.tables).copied().collect()
}

#[cfg(test)]
mod tests;
