//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::bench::BenchArgs;
use crate::config::Span;

/// IoT telemetry: MQTT in, a Cassandra-compatible store beneath, queries over HTTP.
#[derive(Debug, Parser)]
#[command(name = "tidemill", version, about, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the service until it is told to stop (SIGINT, SIGTERM).
    Run(RunArgs),
    /// Run everything on an embedded store with a simulated fleet, and account for every message.
    Demo(DemoArgs),
    /// Measure what messages cost, on this machine, against real processes.
    Bench(BenchArgs),
    /// Read the configuration, report mistakes, and print what is in effect.
    CheckConfig(ConfigArgs),
    /// Publish the rows of a CSV file over MQTT at QoS 1; goes on where it stopped.
    Replay(ReplayArgs),
    /// List, show, replay or delete messages that could not be taken.
    Rejects(RejectsArgs),
    /// Create, migrate or show the schema of a Cassandra-compatible store.
    Schema(SchemaArgs),
    /// Show per shard what waits for the mill, and how many bytes are stored in which form.
    Status(StatusArgs),
    /// Grind buckets now, whatever the planner would say. What that replaces is deleted at once in the embedded store,
    /// which must not be in use, and by a running mill after its grace elsewhere.
    Grind(GrindArgs),
    /// Compute rollups again from samples and report every difference.
    Verify(VerifyArgs),
    /// Show, add or suggest eras: how many shards there are and how wide a bucket is, from a time on.
    Era(EraArgs),
}

/// Where configuration comes from.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigArgs {
    /// TOML file; environment variables such as `TIDEMILL__HTTP__BIND` are laid over it.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Which parts of the service this process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Takes messages and makes them durable.
    Ingest,
    /// Grinds segments into blocks and rollups.
    Mill,
    /// Answers queries.
    Query,
}

/// `tidemill run`
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Parts to run, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Role::Ingest, Role::Mill, Role::Query])]
    pub(crate) roles: Vec<Role>,
}

/// `tidemill demo`
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Simulated devices; 0 runs without them.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(crate) devices: u32,
    /// Messages a second, of all devices together.
    #[arg(long, default_value_t = 1_000, value_name = "MSG_PER_S", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rate: u32,
    /// Stop after this long, such as 20s; until then, or without it, Ctrl-C stops.
    #[arg(long = "for", value_name = "DURATION")]
    pub(crate) duration: Option<Span>,
    /// Directory of the embedded store; what it holds from an earlier run stays.
    #[arg(long, default_value = "tidemill-data", value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// Where devices connect.
    #[arg(long, default_value = "127.0.0.1:1883", value_name = "ADDR")]
    pub(crate) mqtt: SocketAddr,
    /// Where queries are answered.
    #[arg(long, default_value = "127.0.0.1:9470", value_name = "ADDR")]
    pub(crate) http: SocketAddr,
}

/// `tidemill replay`
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The CSV file, with a header line.
    pub(crate) file: PathBuf,
    /// Publish as this device.
    #[arg(long)]
    pub(crate) device: String,
    /// Name of the metric, for a file with one value column; otherwise columns name their metrics.
    #[arg(long)]
    pub(crate) metric: Option<String>,
    /// The column that holds the time: RFC 3339, `YYYY-MM-DD HH:MM:SS` in UTC, or Unix seconds.
    #[arg(long, default_value = "timestamp", value_name = "COLUMN")]
    pub(crate) time_column: String,
    /// Columns to publish, separated by commas; all but the time column where not given.
    #[arg(long, value_delimiter = ',', value_name = "COLUMN")]
    pub(crate) value_columns: Vec<String>,
    /// The broker or listener.
    #[arg(long, default_value = "127.0.0.1:1883", value_name = "HOST:PORT")]
    pub(crate) broker: String,
    /// Topic to publish to.
    #[arg(long, default_value = "devices/{device}/telemetry")]
    pub(crate) topic: String,
    /// User, where the broker asks for one; the password is taken from `TIDEMILL_REPLAY_PASSWORD`.
    #[arg(long)]
    pub(crate) username: Option<String>,
    /// Most rows a second; as fast as acknowledgements allow where not given.
    #[arg(long, value_name = "ROWS_PER_S")]
    pub(crate) rate: Option<u32>,
    /// Start over, although an earlier replay of this file left off in the middle.
    #[arg(long)]
    pub(crate) restart: bool,
}

/// `tidemill schema`
#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    #[command(subcommand)]
    pub(crate) action: SchemaAction,
}

/// What to do with the schema.
#[derive(Debug, Subcommand)]
pub(crate) enum SchemaAction {
    /// Create what is missing and migrate what is older.
    Apply(ConfigArgs),
    /// Print the CQL; touches no server unless asked to.
    Print(SchemaPrintArgs),
    /// Tell whether the schema is there and of this version.
    Check(ConfigArgs),
}

/// `tidemill schema print`
#[derive(Debug, Args)]
pub(crate) struct SchemaPrintArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The server to print for, such as cassandra-5.0, cassandra-4.1 or scylladb-6.2; `detect` asks the one
    /// configured.
    #[arg(long, default_value = "cassandra-5.0", value_name = "SERVER")]
    pub(crate) server: String,
}

/// `tidemill status`
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Print JSON, for machines.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `tidemill grind`
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["bucket", "all"])))]
pub(crate) struct GrindArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The bucket that holds this time: RFC 3339, Unix seconds, or relative such as `-1h`. May be repeated.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) bucket: Vec<String>,
    /// Every bucket that has something to grind.
    #[arg(long)]
    pub(crate) all: bool,
    /// Also where nothing new came: make blocks and rollups anew from the samples in blocks, with resolutions and
    /// sketches as configured now.
    #[arg(long, conflicts_with = "all")]
    pub(crate) again: bool,
    /// Only these shards, separated by commas.
    #[arg(long, value_name = "SHARD", value_delimiter = ',')]
    pub(crate) shard: Vec<u16>,
}

/// `tidemill verify`
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Only buckets that touch this range, `START..END`; either may be missing.
    #[arg(long, value_name = "RANGE", allow_hyphen_values = true)]
    pub(crate) range: Option<String>,
    /// Where to remember how far it came, so that it goes on there when it is run again.
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoint: Option<PathBuf>,
}

/// `tidemill era`
#[derive(Debug, Args)]
pub(crate) struct EraArgs {
    #[command(subcommand)]
    pub(crate) action: EraAction,
}

/// What to do with eras.
#[derive(Debug, Subcommand)]
pub(crate) enum EraAction {
    /// Show all eras.
    List(ConfigArgs),
    /// Add one; refused for the past and the near future.
    Add(EraAddArgs),
    /// Measure the present era and propose the next.
    Suggest(ConfigArgs),
}

/// `tidemill era add`
#[derive(Debug, Args)]
pub(crate) struct EraAddArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// From when on: RFC 3339 or Unix seconds, on a bucket boundary of both eras; or a span from now such as `1d`, which
    /// means the first boundary after it.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) from: String,
    /// Shards.
    #[arg(long)]
    pub(crate) shards: u64,
    /// Width of a bucket, such as 6h.
    #[arg(long, value_name = "DURATION")]
    pub(crate) bucket_width: Span,
}

/// `tidemill rejects`
#[derive(Debug, Args)]
pub(crate) struct RejectsArgs {
    #[command(subcommand)]
    pub(crate) action: RejectsAction,
}

/// What to do with rejects.
#[derive(Debug, Subcommand)]
pub(crate) enum RejectsAction {
    /// One line each, oldest first.
    List(RejectFilterArgs),
    /// All of one, its payload included.
    Show {
        /// The id that a list gives.
        id: String,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Take them again, with templates and limits as configured now; those that are stored are deleted.
    Replay(RejectFilterArgs),
    /// Delete them.
    Purge {
        #[command(flatten)]
        filter: RejectFilterArgs,
        /// Delete, rather than count what would be deleted.
        #[arg(long)]
        yes: bool,
    },
}

/// Which rejects are meant.
#[derive(Debug, Args)]
pub(crate) struct RejectFilterArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Received from then on: RFC 3339, Unix seconds, or relative such as -24h.
    #[arg(long, default_value = "-24h", allow_hyphen_values = true, value_name = "TIME")]
    pub(crate) since: String,
    /// Received before then.
    #[arg(long, default_value = "now", allow_hyphen_values = true, value_name = "TIME")]
    pub(crate) until: String,
    /// Only those that could not be understood, or that policy does not take.
    #[arg(long, value_parser = ["dead_letter", "quarantine"])]
    pub(crate) kind: Option<String>,
    /// Only those with this reason, such as `syntax` or `no_birth`.
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Only those of this device: a level of the topic is this.
    #[arg(long)]
    pub(crate) device: Option<String>,
    /// Only those whose topic begins so.
    #[arg(long, value_name = "PREFIX")]
    pub(crate) topic: Option<String>,
    /// At most so many.
    #[arg(long)]
    pub(crate) limit: Option<usize>,
}

impl RejectsArgs {
    /// Where configuration lies.
    pub(crate) fn config(&self) -> &ConfigArgs {
        match &self.action {
            RejectsAction::List(filter)
            | RejectsAction::Replay(filter)
            | RejectsAction::Purge { filter, .. } => &filter.config,
            RejectsAction::Show { config, .. } => config,
        }
    }
}
