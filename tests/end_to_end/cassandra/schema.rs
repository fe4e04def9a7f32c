//! `tidemill schema`: what it prints is what it applies, and `check` tells whether it is there.

use anyhow::{Result, ensure};
use tidemill_tests::cassandra::Keyspace;
use tidemill_tests::tidemill::{Builder, Tidemill};

use crate::SOON;

const TABLES: [&str; 5] = ["eras", "catalog", "marks", "segments", "rejects"];

fn by_hand(keyspace: &Keyspace) -> Result<Tidemill> {
    let builder = Builder::new()?.with_cassandra(keyspace);
    builder.set("store.cassandra.apply_schema", false).prepare()
}

pub(crate) fn commands(keyspace: &Keyspace) -> Result<()> {
    let tidemill = by_hand(keyspace)?;
    let run = |action| tidemill.command(&["schema", action])?.finish(SOON);
    ensure!(run("check")?.code != Some(0), "there is no schema yet");
    let refused = tidemill.command(&["run"])?.finish(SOON)?;
    ensure!(refused.code.is_some_and(|code| code != 0), "it may not apply the schema: {refused:#?}");
    ensure!(refused.log.contains("schema apply"), "no way out in {}", refused.log);
    run("apply")?.expect(0, &[])?;
    run("check")?.expect(0, &[])?;
    run("apply")?.expect(0, &[])?;
    tidemill.restart()?;
    let query =
        format!("SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{}'", keyspace.name());
    let tables: Vec<(String,)> = keyspace.query(&query)?;
    for table in TABLES {
        ensure!(tables.iter().any(|(name,)| name == table), "{table} of {tables:?}");
    }
    Ok(())
}

pub(crate) fn printed(keyspace: &Keyspace) -> Result<()> {
    let tidemill = by_hand(keyspace)?;
    let printed = tidemill.command(&["schema", "print"])?.finish(SOON)?;
    printed.expect(0, &[keyspace.name()])?;
    let text: Vec<&str> = printed.output.lines().filter(|line| !line.starts_with("--")).collect();
    for statement in text.join("\n").split(";\n").map(str::trim).filter(|statement| !statement.is_empty()) {
        keyspace.execute(statement)?;
    }
    tidemill.command(&["schema", "check"])?.finish(SOON)?.expect(0, &[])?;
    tidemill.restart()
}
