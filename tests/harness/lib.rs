//! What Tidemill's tests stand on: real brokers, databases and `tidemill` processes that a test
//! owns, faults on the wire between them, and an oracle that knows what must come back.
//!
//! The harness knows nothing of Tidemill's insides: it speaks MQTT, CQL and HTTP, reads exit
//! codes, and would test any other implementation of the same promises. Everything is blocking,
//! listens on loopback only, has a deadline, and dies with the test that started it.

pub mod api;
pub mod cassandra;
pub mod clock;
pub mod command;
pub mod csv_series;
pub mod delivery;
pub mod environment;
pub mod feed;
pub mod http;
pub mod kills;
pub mod load;
pub mod mosquitto;
pub mod mqtt;
pub mod oracle;
pub mod overloaded;
pub mod ports;
pub mod process;
pub mod prometheus;
pub mod random;
pub mod real;
pub mod relay;
pub mod slot;
pub mod tap;
pub mod tidemill;
pub mod wait;
pub mod windows;
