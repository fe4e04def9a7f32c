//! The listener over real loopback sockets, with a pipeline whose completions the tests hold: handmade packets
//! for what a client library would never send, `rumqttc` for what clients really do.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests; clippy's own exception covers only the test functions"
)]

mod acknowledge;
mod again;
mod client;
mod clients;
mod connect;
mod limits;
mod refuse;
mod server;
