//! One Cassandra node for all trials of a test process that need nothing but *a* Cassandra.
//!
//! Started by the first that asks, or one that runs already (`TIDEMILL_CASSANDRA=host:port`).
//! Trials are apart by keyspace: each takes a [`fresh_keyspace`] and drops it afterwards.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, anyhow};

use super::{Cluster, DATACENTER, Topology};
use crate::environment;

/// A failure to start is kept too: the next trial shall not wait for the same again.
static SHARED: Mutex<Option<Result<Arc<Shared>, String>>> = Mutex::new(None);
static KEYSPACES: AtomicU32 = AtomicU32::new(0);

/// A node that several trials use at once. Nobody kills or pauses it.
#[derive(Debug)]
pub struct Shared {
    contact_point: String,
    datacenter: String,
    _own: Option<Cluster>,
}

impl Shared {
    /// The node as `host:port`.
    pub fn contact_point(&self) -> &str {
        &self.contact_point
    }

    /// The node's data centre, for `NetworkTopologyStrategy`.
    pub fn datacenter(&self) -> &str {
        &self.datacenter
    }

    fn start() -> Result<Self> {
        if let Some(contact_point) = environment::running_cassandra() {
            let datacenter = environment::variable("TIDEMILL_CASSANDRA_DATACENTER")
                .unwrap_or_else(|| DATACENTER.to_owned());
            return Ok(Self { contact_point, datacenter, _own: None });
        }
        let cluster = Cluster::start(&Topology::single())?;
        Ok(Self {
            contact_point: cluster.node(0).contact_point(),
            datacenter: DATACENTER.to_owned(),
            _own: Some(cluster),
        })
    }
}

/// The shared node, started on the first call; concurrent callers wait for it.
pub fn shared() -> Result<Arc<Shared>> {
    let mut slot = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    slot.get_or_insert_with(|| Shared::start().map(Arc::new).map_err(|error| format!("{error:?}")))
        .clone()
        .map_err(|error| anyhow!("the shared Cassandra did not start: {error}"))
}

/// Ends this process's use of the shared node: a node of its own is killed once no trial holds it.
pub fn release_shared() {
    drop(SHARED.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// A keyspace name that no other trial or test process uses, `label` in it for a human reader.
/// `label` may have ASCII letters, digits and underscores.
pub fn fresh_keyspace(label: &str) -> String {
    let number = KEYSPACES.fetch_add(1, Ordering::Relaxed);
    let label: String = label.chars().take(24).collect();
    format!("t_{label}_{}_{number}", std::process::id()).to_lowercase()
}
