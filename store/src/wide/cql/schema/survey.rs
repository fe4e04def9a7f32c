//! What the server says about itself and about the keyspace.
//!
//! All questions and changes of one session go to one node: the lowest host id of the local data centre. Two
//! processes that apply a schema at once thereby meet at the same node, which makes changes one after another;
//! two nodes that create one table at the same moment would each give it an id of its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::errors::{DbError, ExecutionError, PrepareError, RequestAttemptError};
use scylla::policies::load_balancing::{
    LoadBalancingPolicy, NodeIdentifier, SingleTargetLoadBalancingPolicy,
};
use scylla::response::query_result::{QueryResult, QueryRowsResult};
use scylla::serialize::row::SerializeRow;
use scylla::statement::{Consistency, Statement};
use tokio::time::{Instant, sleep};

use super::super::error::{Failure, Verdict};
use super::super::options::{CqlOptions, Keyspace};
use super::super::session::{OpenError, Purpose, level, open};
use super::SchemaError;
use super::drift::{Found, Place};
use super::server::Server;
use crate::wide::{RetryDecision, RetryPolicy};

/// For how long a statement is tried while others are in its way, or the server is busy.
const UNTIL_FREE: RetryPolicy = RetryPolicy {
    pause_first: Duration::from_millis(100),
    pause_max: Duration::from_secs(2),
    deadline: Duration::from_mins(1),
};

/// For how long a statement is tried that the server calls wrong: a table that another process is creating is
/// listed a moment before it can be used.
const UNTIL_KNOWN: RetryPolicy = RetryPolicy { deadline: Duration::from_secs(2), ..UNTIL_FREE };

/// Settings of a table.
pub(super) struct Settings {
    /// Seconds that rows live; 0 for ever.
    pub(super) time_to_live: u64,
    /// How it is compacted.
    pub(super) compaction: HashMap<String, String>,
}

/// A session that looks at the schema and changes it.
pub(super) struct Survey {
    session: Session,
    node: Arc<dyn LoadBalancingPolicy>,
    read: Consistency,
}

impl Survey {
    pub(super) async fn open(options: &CqlOptions) -> Result<Self, SchemaError> {
        let session = open(options, Purpose::Survey).await?;
        let state = session.get_cluster_state();
        let local = options.local_datacenter.as_str();
        let first = state
            .get_nodes_info()
            .iter()
            .filter(|node| node.datacenter.as_deref() == Some(local) && node.is_connected())
            .map(|node| node.host_id)
            .min();
        let Some(first) = first else {
            return Err(OpenError::Other(format!("the nodes of {local} have just gone")).into());
        };
        let node = SingleTargetLoadBalancingPolicy::new(NodeIdentifier::HostId(first), None);
        Ok(Self { session, node, read: level(options.read_consistency) })
    }

    /// The data centres of the cluster, in order.
    pub(super) fn datacenters(&self) -> Vec<String> {
        let state = self.session.get_cluster_state();
        let mut names: Vec<String> =
            state.get_nodes_info().iter().filter_map(|node| node.datacenter.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Runs a statement that changes something and may be repeated, and waits until all nodes agree on the schema.
    pub(super) async fn change(&self, text: &str) -> Result<(), SchemaError> {
        self.run(text, ()).await.map(drop)
    }

    /// Runs a statement that may be repeated. What may have been in vain is: several processes that apply at once
    /// can keep each other waiting until the server gives up, and a change of the schema makes servers forget what
    /// is prepared.
    async fn run(&self, text: &str, values: impl SerializeRow) -> Result<QueryResult, SchemaError> {
        let start = Instant::now();
        for attempt in 0.. {
            let error = match self.session.query_unpaged(self.statement(text), &values).await {
                Ok(result) => return Ok(result),
                Err(error) => error,
            };
            let policy = if is_invalid(&error) { UNTIL_KNOWN } else { UNTIL_FREE };
            let Failure { verdict, reason } = Failure::from(error);
            let repeats = verdict != Verdict::Refused || policy == UNTIL_KNOWN;
            match policy.decide(attempt, start.elapsed(), getrandom::u32().unwrap_or(u32::MAX)) {
                RetryDecision::After(pause) if repeats => sleep(pause).await,
                RetryDecision::After(_) | RetryDecision::GiveUp => {
                    return Err(SchemaError::Statement { statement: text.to_owned(), reason });
                }
            }
        }
        unreachable!("attempts are not counted to their end")
    }

    /// The server's kind and version.
    pub(super) async fn server(&self) -> Result<Server, SchemaError> {
        let scylla = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = 'system' \
                      AND table_name = 'scylla_local'";
        let is_scylla = !self.rows::<(String,)>(scylla, ()).await?.is_empty();
        let release = if is_scylla {
            "SELECT version FROM system.versions WHERE key = 'local'"
        } else {
            "SELECT release_version FROM system.local WHERE key = 'local'"
        };
        let (release,) = self.rows::<(String,)>(release, ()).await?.pop().unwrap_or_default();
        Ok(if is_scylla { Server::scylladb(&release)? } else { Server::cassandra(&release)? })
    }

    /// The keyspace's replication: replicas for each data centre. `None` where there is no keyspace.
    pub(super) async fn replication(
        &self,
        keyspace: &Keyspace,
    ) -> Result<Option<BTreeMap<String, String>>, SchemaError> {
        let text = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?";
        let row = self.rows::<(HashMap<String, String>,)>(text, (keyspace.as_str(),)).await?.pop();
        Ok(row.map(|(replication,)| replication.into_iter().collect()))
    }

    /// Every column of the keyspace.
    pub(super) async fn columns(&self, keyspace: &Keyspace) -> Result<Vec<Found>, SchemaError> {
        let text = "SELECT table_name, column_name, kind, position, type FROM system_schema.columns \
                    WHERE keyspace_name = ?";
        let rows: Vec<(String, String, String, i32, String)> = self.rows(text, (keyspace.as_str(),)).await?;
        let found = rows.into_iter().map(|(table, column, place, position, kind)| {
            let position = usize::try_from(position).unwrap_or_default();
            let place = match place.as_str() {
                "partition_key" => Place::Partition(position),
                "clustering" => Place::Clustering(position),
                _ => Place::Cell,
            };
            Found { table, column, place, kind }
        });
        Ok(found.collect())
    }

    /// The settings of each table that depend on retention.
    pub(super) async fn settings(
        &self,
        keyspace: &Keyspace,
    ) -> Result<BTreeMap<String, Settings>, SchemaError> {
        let text = "SELECT table_name, default_time_to_live, compaction FROM system_schema.tables \
                    WHERE keyspace_name = ?";
        let rows: Vec<(String, Option<i32>, HashMap<String, String>)> =
            self.rows(text, (keyspace.as_str(),)).await?;
        let settings = rows.into_iter().map(|(table, seconds, compaction)| {
            let time_to_live = seconds.and_then(|n| u64::try_from(n).ok()).unwrap_or_default();
            (table, Settings { time_to_live, compaction })
        });
        Ok(settings.collect())
    }

    /// The rows that a question gives.
    pub(super) async fn rows<R>(&self, text: &str, values: impl SerializeRow) -> Result<Vec<R>, SchemaError>
    where
        R: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>,
    {
        let failed = |reason: String| SchemaError::Statement { statement: text.to_owned(), reason };
        let result = self.run(text, values).await?;
        let rows: QueryRowsResult = result.into_rows_result().map_err(|error| failed(error.to_string()))?;
        let rows = rows.rows::<R>().map_err(|error| failed(error.to_string()))?;
        rows.collect::<Result<_, _>>().map_err(|error| failed(error.to_string()))
    }

    fn statement(&self, text: &str) -> Statement {
        let mut statement = Statement::new(text);
        statement.set_load_balancing_policy(Some(Arc::clone(&self.node)));
        statement.set_consistency(self.read);
        statement
    }
}

/// Whether the server says that the statement is wrong, as it does of a table that it does not know.
fn is_invalid(error: &ExecutionError) -> bool {
    matches!(
        error,
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(DbError::Invalid, _))
            | ExecutionError::PrepareError(PrepareError::AllAttemptsFailed {
                first_attempt: RequestAttemptError::DbError(DbError::Invalid, _),
            })
    )
}
