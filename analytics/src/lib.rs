//! Tidemill's queries over HTTP.
//!
//! From a socket to an answer, top to bottom: [`server`] (connections and their limits) → [`api`] (routes,
//! parameters, JSON) → [`window`] (aggregates over windows of time) → [`query`] (what is asked of the store).
//! [`moment`] reads and prints times, [`metrics`] names what is counted. Nothing here knows where the store
//! keeps its data, reads configuration, or learns the time other than through [`Clock`](tidemill_store::model::Clock).

pub mod api;
pub mod metrics;
pub mod moment;
pub mod promql;
pub mod query;
pub mod server;
pub mod window;
