//! `tidemill schema`: the schema of a Cassandra-compatible store, whatever `store.backend` says.

use anyhow::bail;
use tidemill_store::wide::cql::CqlOptions;
use tidemill_store::wide::cql::schema::{self, Drift, SchemaState, Server};

use crate::cli::{SchemaAction, SchemaPrintArgs};
use crate::config::{load, schema_options};

/// Applies, prints or checks.
pub(crate) async fn schema(action: &SchemaAction) -> anyhow::Result<()> {
    match action {
        SchemaAction::Apply(args) => apply(&schema_options(&load(args.config.as_deref())?)?).await,
        SchemaAction::Print(args) => print(args).await,
        SchemaAction::Check(args) => check(&schema_options(&load(args.config.as_deref())?)?).await,
    }
}

async fn apply(options: &CqlOptions) -> anyhow::Result<()> {
    let applied = schema::apply(options).await?;
    let done = match applied.before {
        SchemaState::Current => "was current already".to_owned(),
        SchemaState::Absent => "created".to_owned(),
        SchemaState::Older(version) => format!("migrated from version {version}"),
        SchemaState::Newer(version) => format!("is of the later version {version}"),
    };
    let keyspace = options.keyspace.as_str();
    let line =
        format!("keyspace {keyspace} on {}: schema version {} {done}\n", applied.server, schema::VERSION);
    super::print(&(line + &differences(&applied.drift)))
}

async fn print(args: &SchemaPrintArgs) -> anyhow::Result<()> {
    let options = schema_options(&load(args.config.config.as_deref())?)?;
    let server: Server = match args.server.as_str() {
        "detect" => schema::detect(&options).await?,
        named => named.parse()?,
    };
    super::print(&schema::print(&options, server))
}

async fn check(options: &CqlOptions) -> anyhow::Result<()> {
    let report = schema::check(options).await?;
    let keyspace = options.keyspace.as_str();
    match report.state {
        SchemaState::Absent => bail!("keyspace {keyspace} has no schema; run `tidemill schema apply`"),
        SchemaState::Older(version) => bail!(
            "keyspace {keyspace} has schema version {version}, this program needs {}; run `tidemill schema apply`",
            schema::VERSION
        ),
        SchemaState::Newer(version) => bail!(
            "keyspace {keyspace} has schema version {version}, this program knows only {}; use a newer program",
            schema::VERSION
        ),
        SchemaState::Current => {}
    }
    super::print(&differences(&report.drift))?;
    if report.drift.iter().any(Drift::breaks) {
        bail!("keyspace {keyspace} was changed by hand so that it cannot be used");
    }
    super::print(&format!(
        "keyspace {keyspace} on {}: schema version {} is current\n",
        report.server,
        schema::VERSION
    ))
}

/// A line for each difference.
fn differences(drift: &[Drift]) -> String {
    drift.iter().fold(String::new(), |lines, difference| lines + &format!("difference: {difference}\n"))
}
