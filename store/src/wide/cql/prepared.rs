//! Prepared statements, made when a shape is first used and kept.
//!
//! Bounded by the tables and their shapes. A statement carries its consistency, its retry policy and that it may be
//! repeated; exchanges may not.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use scylla::client::session::Session;
use scylla::policies::retry::RetryPolicy;
use scylla::statement::Consistency as Level;
use scylla::statement::SerialConsistency;
use scylla::statement::prepared::PreparedStatement;

use super::error::Failure;
use super::options::{Consistency, CqlOptions, Keyspace};
use super::retry::OnceElsewhere;
use super::session::{level, serial};
use super::statement::{Shape, text};
use crate::wide::{Rows, Table};

type Statements = HashMap<(&'static str, Shape), PreparedStatement>;

/// The statements of one session.
#[derive(Debug)]
pub(super) struct Prepared {
    keyspace: Keyspace,
    write: Consistency,
    read: Consistency,
    statements: RwLock<Statements>,
    write_retry: Arc<dyn RetryPolicy>,
    read_retry: Arc<dyn RetryPolicy>,
}

impl Prepared {
    /// None yet.
    pub(super) fn new(options: &CqlOptions) -> Self {
        Self {
            keyspace: options.keyspace.clone(),
            write: options.write_consistency,
            read: options.read_consistency,
            statements: RwLock::default(),
            write_retry: Arc::new(OnceElsewhere::Writes),
            read_retry: Arc::new(OnceElsewhere::Reads),
        }
    }

    /// The statement of `shape` on `table`, prepared where it is not yet.
    pub(super) async fn get(
        &self,
        session: &Session,
        table: &'static Table,
        shape: Shape,
    ) -> Result<PreparedStatement, Failure> {
        let known = {
            let statements = self.statements.read().unwrap_or_else(PoisonError::into_inner);
            statements.get(&(table.name, shape)).cloned()
        };
        if let Some(statement) = known {
            return Ok(statement);
        }
        let mut statement = session.prepare(text(&self.keyspace, table, shape)).await?;
        self.configure(&mut statement, table, shape);
        let mut statements = self.statements.write().unwrap_or_else(PoisonError::into_inner);
        statements.insert((table.name, shape), statement.clone());
        Ok(statement)
    }

    /// The level that batches of puts are written at.
    pub(super) const fn write_level(&self) -> Level {
        level(self.write)
    }

    /// Forgets a statement, so that it is prepared anew.
    pub(super) fn forget(&self, table: &'static Table, shape: Shape) {
        let mut statements = self.statements.write().unwrap_or_else(PoisonError::into_inner);
        statements.remove(&(table.name, shape));
    }

    fn configure(&self, statement: &mut PreparedStatement, table: &Table, shape: Shape) {
        let retry = match shape {
            Shape::Get | Shape::Scan(..) | Shape::ScanEach(..) => &self.read_retry,
            Shape::Put
            | Shape::DeleteRow
            | Shape::DeleteRange(_)
            | Shape::InsertIfAbsent
            | Shape::UpdateIfCell(_) => &self.write_retry,
        };
        statement.set_retry_policy(Some(Arc::clone(retry)));
        match shape {
            Shape::Put | Shape::DeleteRow | Shape::DeleteRange(_) => {
                statement.set_consistency(level(self.write));
                statement.set_is_idempotent(true);
            }
            Shape::Get | Shape::Scan(..) | Shape::ScanEach(..) => {
                statement.set_consistency(self.read_level(table, shape));
                statement.set_is_idempotent(true);
                // Columns are named in every statement, so the metadata cannot change under it.
                statement.set_use_cached_result_metadata(true);
            }
            Shape::InsertIfAbsent | Shape::UpdateIfCell(_) => {
                statement.set_consistency(level(exchanged(self.write)));
                statement.set_serial_consistency(Some(serial(self.write)));
                statement.set_is_idempotent(false);
            }
        }
    }

    fn read_level(&self, table: &Table, shape: Shape) -> Level {
        match (table.rows, shape) {
            (Rows::Exchanged, Shape::Get) => match serial(self.write) {
                SerialConsistency::LocalSerial => Level::LocalSerial,
                SerialConsistency::Serial => Level::Serial,
            },
            (Rows::Exchanged, _) => level(exchanged(self.read)),
            (Rows::Immutable | Rows::Versioned, _) => level(self.read),
        }
    }
}

/// An exchange always reaches a majority: below it, an `Applied` could be missed by the next scan.
const fn exchanged(consistency: Consistency) -> Consistency {
    match consistency {
        Consistency::LocalOne | Consistency::LocalQuorum => Consistency::LocalQuorum,
        Consistency::Quorum => Consistency::Quorum,
    }
}
