//! A CQL proxy before one node that makes it look overloaded: requests are refused, or carried out and then said to have
//! timed out, as often as a test says.
//!
//! Which requests fail is chance; of the writes that seem to time out, the same share each time, spread evenly.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use scylla::errors::DbError;
use scylla_proxy::{
    Condition, Node, Proxy, Reaction as _, RequestOpcode, RequestReaction, RequestRule, ResponseFrame,
    ResponseOpcode, ResponseReaction, ResponseRule, RunningProxy, ShardAwareness, example_db_errors,
};
use tokio::runtime::Runtime;

use crate::load::amount;
use crate::ports::Port;

/// The body of an answer to a write: a result without rows.
const VOID: [u8; 4] = [0, 0, 0, 1];

/// How requests fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Too few replicas are alive; nothing was begun.
    Unavailable,
    /// The node has too much to do; nothing was begun.
    Overloaded,
    /// The write was carried out, and is said to have timed out.
    WriteTimeout,
}

/// A node behind a proxy; dropping it ends all connections.
pub struct Overloaded {
    // Before the runtime that it lives on.
    proxy: Option<RunningProxy>,
    runtime: Runtime,
    port: Port,
    failed: Arc<AtomicU64>,
}

impl Overloaded {
    /// A proxy that passes everything to `node` so far.
    pub fn start(node: SocketAddr) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let port = Port::claim()?;
        let proxied = Node::new(node, port.address(), ShardAwareness::Unaware, None, None);
        let proxy = runtime.block_on(Proxy::new([proxied]).run()).context("starting a CQL proxy")?;
        Ok(Self { proxy: Some(proxy), runtime, port, failed: Arc::default() })
    }

    /// The node as clients are to know it, `host:port`.
    pub fn contact_point(&self) -> String {
        self.port.address().to_string()
    }

    /// From now on `percent` of all requests that read or write fail like this.
    pub fn fail(&mut self, failure: Failure, percent: u64) {
        self.pass();
        let failed = Arc::clone(&self.failed);
        let Some(node) = self.proxy.as_mut().and_then(|proxy| proxy.running_nodes.first_mut()) else {
            return;
        };
        match failure {
            Failure::WriteTimeout => node.change_response_rules(Some(vec![timing_out(failed, percent)])),
            Failure::Unavailable => {
                node.change_request_rules(Some(vec![refusing(
                    failed,
                    percent,
                    example_db_errors::unavailable,
                )]));
            }
            Failure::Overloaded => {
                node.change_request_rules(Some(vec![refusing(
                    failed,
                    percent,
                    example_db_errors::overloaded,
                )]));
            }
        }
    }

    /// From now on everything passes.
    pub fn pass(&mut self) {
        if let Some(proxy) = &mut self.proxy {
            proxy.turn_off_rules();
        }
    }

    /// How many requests it has let fail.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

impl Drop for Overloaded {
    fn drop(&mut self) {
        if let Some(proxy) = self.proxy.take() {
            // Connections that are cut in the middle of something are what it reports.
            let _ = self.runtime.block_on(proxy.finish());
        }
    }
}

/// Statements that were prepared, alone or in batches: all that reads and writes data.
fn refusing(failed: Arc<AtomicU64>, percent: u64, error: fn() -> DbError) -> RequestRule {
    let opcodes = [RequestOpcode::Execute, RequestOpcode::Batch].map(Condition::RequestOpcode);
    let chance = Condition::RandomWithProbability(amount(percent) / 100.0);
    let counted = move || {
        failed.fetch_add(1, Ordering::Relaxed);
        error()
    };
    RequestRule(
        Condition::any(opcodes).and(chance),
        RequestReaction::forge_with_error_lazy(Box::new(counted)),
    )
}

/// Answers to writes that were carried out.
fn timing_out(failed: Arc<AtomicU64>, percent: u64) -> ResponseRule {
    let seen = AtomicU64::new(0);
    let replaced = move |answer: ResponseFrame| {
        if answer.body.as_ref() != VOID.as_slice() {
            return answer;
        }
        let before = seen.fetch_add(1, Ordering::Relaxed);
        if (before + 1) * percent / 100 == before * percent / 100 {
            return answer;
        }
        failed.fetch_add(1, Ordering::Relaxed);
        let error = example_db_errors::write_timeout();
        ResponseFrame::forged_error(answer.params.for_request(), error, None).unwrap_or(answer)
    };
    ResponseRule(
        Condition::ResponseOpcode(ResponseOpcode::Result),
        ResponseReaction::transform_frame(Arc::new(replaced)),
    )
}
