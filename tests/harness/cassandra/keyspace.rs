//! A keyspace of a test's own, dropped with its owner, and plain queries of it.

use anyhow::{Context as _, Result};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::deserialize::row::DeserializeRow;

use super::fresh_keyspace;

/// A keyspace that the program under test creates; whatever it holds is gone with this.
#[derive(Debug)]
pub struct Keyspace {
    name: String,
    contact_point: String,
    datacenter: String,
}

impl Keyspace {
    /// A fresh name on the cluster of this node in this data centre. Nothing is created yet.
    pub fn new(contact_point: &str, datacenter: &str, label: &str) -> Self {
        Self {
            name: fresh_keyspace(label),
            contact_point: contact_point.to_owned(),
            datacenter: datacenter.to_owned(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node to ask first, as `host:port`.
    pub fn contact_point(&self) -> &str {
        &self.contact_point
    }

    /// The node's data centre.
    pub fn datacenter(&self) -> &str {
        &self.datacenter
    }

    /// Runs a statement.
    pub fn execute(&self, cql: &str) -> Result<()> {
        self.with(async |session| Ok(session.query_unpaged(cql, ()).await.map(drop)?)).context(cql.to_owned())
    }

    /// All rows of a query.
    pub fn query<R>(&self, cql: &str) -> Result<Vec<R>>
    where
        R: for<'r> DeserializeRow<'r, 'r>,
    {
        let all = self.with(async |session| {
            let rows = session.query_unpaged(cql, ()).await?.into_rows_result()?;
            Ok(rows.rows::<R>()?.collect::<Result<Vec<R>, _>>()?)
        });
        all.context(cql.to_owned())
    }

    fn with<T>(&self, work: impl AsyncFnOnce(Session) -> Result<T>) -> Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let session = SessionBuilder::new().known_node(&self.contact_point).build().await;
            work(session.context("connecting to cassandra")?).await
        })
    }
}

impl Drop for Keyspace {
    fn drop(&mut self) {
        if let Err(error) = self.execute(&format!("DROP KEYSPACE IF EXISTS {}", self.name)) {
            tracing::warn!(error = format!("{error:#}"), "a test's keyspace stays behind");
        }
    }
}
