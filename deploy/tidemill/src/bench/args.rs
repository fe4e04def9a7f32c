//! The command line of `tidemill bench`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::load::{Qos, Shape, Version};
use crate::config::Span;

/// `tidemill bench`
#[derive(Debug, Args)]
#[command(after_help = "Scenarios: tidemill bench --list. Options change every scenario that is run.\n\
    The system under test runs as a process of its own, in a temporary directory, unless --mqtt names one.")]
pub(crate) struct BenchArgs {
    /// Scenarios to run, one after another.
    #[arg(value_name = "SCENARIO", default_value = "listener-lsm")]
    pub(super) scenarios: Vec<String>,
    /// Show the scenarios and end.
    #[arg(long)]
    pub(super) list: bool,
    /// Show how two results differ and end.
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"])]
    pub(super) compare: Option<Vec<PathBuf>>,
    /// Write the results as JSON, too.
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    #[command(flatten)]
    pub(super) load: LoadArgs,
    #[command(flatten)]
    pub(super) system: SystemArgs,
}

/// What to send, in place of what the scenario says.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Load")]
pub(super) struct LoadArgs {
    /// Connections.
    #[arg(long)]
    pub(super) connections: Option<u32>,
    /// Devices, spread over the connections; at least one for each.
    #[arg(long)]
    pub(super) devices: Option<u32>,
    /// Unacknowledged messages of one connection.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=60_000))]
    pub(super) window: Option<u16>,
    /// Quality of service.
    #[arg(long, value_enum)]
    pub(super) qos: Option<Qos>,
    /// MQTT version.
    #[arg(long, value_enum)]
    pub(super) version: Option<Version>,
    /// Shape of payloads.
    #[arg(long, value_enum)]
    pub(super) payload: Option<Shape>,
    /// Percentage of messages that were measured in the past.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(super) late: Option<u8>,
    /// How late they are at most.
    #[arg(long, value_name = "DURATION")]
    pub(super) late_by: Option<Span>,
    /// Percentage of messages that repeat the one before.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(super) duplicates: Option<u8>,
    /// Messages a second in all; latency then counts from when a message was due.
    #[arg(long, value_name = "MSG_PER_S", conflicts_with = "share")]
    pub(super) rate: Option<u32>,
    /// Messages that a connection sends together at that rate; 5 ms worth of them where not given.
    #[arg(long, value_name = "MESSAGES")]
    pub(super) burst: Option<u32>,
    /// Percentage of the full rate, which is measured first.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(super) share: Option<u8>,
    /// How long to send before anything is measured.
    #[arg(long, value_name = "DURATION")]
    pub(super) warm_up: Option<Span>,
    /// How long to measure.
    #[arg(long = "for", value_name = "DURATION")]
    pub(super) duration: Option<Span>,
    /// Measure until so many messages are acknowledged, instead.
    #[arg(long, value_name = "MESSAGES", conflicts_with = "duration")]
    pub(super) count: Option<u64>,
    /// Threads that generate.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(super) threads: Option<u32>,
}

/// The system under test.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "System under test")]
pub(super) struct SystemArgs {
    /// A system that runs already: where devices connect.
    #[arg(long, value_name = "ADDR")]
    pub(super) mqtt: Option<SocketAddr>,
    /// Where that system answers HTTP; without it, what it counts stays unknown.
    #[arg(long, value_name = "ADDR", requires = "mqtt")]
    pub(super) http: Option<SocketAddr>,
    /// The Cassandra of scenarios that need one. Each run leaves a keyspace `bench_…` behind.
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) cassandra: Option<String>,
    /// The broker's program, where it is not where Debian keeps it.
    #[arg(long, value_name = "FILE")]
    pub(super) mosquitto: Option<PathBuf>,
    /// Where the temporary directory is made: on the disk to be measured.
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
    /// Keep that directory.
    #[arg(long)]
    pub(super) keep: bool,
    /// A line of configuration for the system, such as `store.first_era.shards=2`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) settings: Vec<String>,
}
