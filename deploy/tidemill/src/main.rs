//! The `tidemill` binary: reads the command line, installs the log, runs one command.
//!
//! Exit codes: 0 all is well; 1 it failed; 2 the command line or the configuration is wrong; 3 it stopped in
//! order but left messages unacknowledged (their senders will repeat them).

mod bench;
mod cli;
mod clock;
mod commands;
mod config;
mod eras_file;
mod fail_point;
mod fleet;
mod health;
mod logging;
mod publisher;
mod query_threads;
mod replay;
mod service;
mod shutdown;
mod status;
mod storage;
mod waiting;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, ConfigArgs, EraAction};
use crate::commands::Outcome;
use crate::config::{Config, RawConfig, load};

const FAILED: u8 = 1;
const MISCONFIGURED: u8 = 2;
const LEFT_UNACKNOWLEDGED: u8 = 3;

/// A command that did not end well, with its exit code.
struct Failure {
    code: u8,
    error: anyhow::Error,
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { code: FAILED, error }
    }
}

fn misconfigured(error: impl Into<anyhow::Error>) -> Failure {
    Failure { code: MISCONFIGURED, error: error.into() }
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(Outcome::Complete) => ExitCode::SUCCESS,
        Ok(Outcome::LeftUnacknowledged) => ExitCode::from(LEFT_UNACKNOWLEDGED),
        Err(Failure { code, error }) => {
            report(&error);
            ExitCode::from(code)
        }
    }
}

#[expect(clippy::print_stderr, reason = "the last word of a program goes to its user, whatever is logged")]
fn report(error: &anyhow::Error) {
    eprintln!("tidemill: {error:#}");
}

fn dispatch(command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::CheckConfig(args) => {
            let raw = load(args.config.as_deref()).map_err(misconfigured)?;
            commands::check_config::check_config(&raw).map_err(misconfigured)?;
            Ok(Outcome::Complete)
        }
        Command::Run(args) => {
            let raw = load(args.config.config.as_deref()).map_err(misconfigured)?;
            let config = Config::check(&raw).map_err(misconfigured)?;
            logging::install(&raw.log).map_err(misconfigured)?;
            fail_point::arm().map_err(misconfigured)?;
            Ok(block_on(commands::run::run(&config, &args.roles))?)
        }
        Command::Demo(args) => {
            let mut raw = load(None).map_err(misconfigured)?;
            quieten(&mut raw);
            logging::install(&raw.log).map_err(misconfigured)?;
            Ok(block_on(commands::demo::demo(&args, raw))?)
        }
        Command::Bench(args) => {
            block_on(bench::bench(&args))?;
            Ok(Outcome::Complete)
        }
        Command::Replay(args) => {
            logging::install(&RawConfig::default().log).map_err(misconfigured)?;
            block_on(replay::replay(&args, replay_password()))?;
            Ok(Outcome::Complete)
        }
        Command::Rejects(args) => {
            let mut raw = load(args.config().config.as_deref()).map_err(misconfigured)?;
            quieten(&mut raw);
            logging::install(&raw.log).map_err(misconfigured)?;
            block_on(commands::rejects::rejects(args))?;
            Ok(Outcome::Complete)
        }
        Command::Schema(args) => {
            block_on(commands::schema::schema(&args.action))?;
            Ok(Outcome::Complete)
        }
        Command::Status(args) => {
            let config = quietly(&args.config)?;
            block_on(commands::status::status(&config, &args))?;
            Ok(Outcome::Complete)
        }
        Command::Grind(args) => {
            let config = quietly(&args.config)?;
            block_on(commands::grind::grind(&config, &args))?;
            Ok(Outcome::Complete)
        }
        Command::Verify(args) => {
            let config = quietly(&args.config)?;
            Ok(block_on(commands::verify::verify(&config, &args))?)
        }
        Command::Era(args) => {
            let config = match &args.action {
                EraAction::List(config) | EraAction::Suggest(config) => config,
                EraAction::Add(add) => &add.config,
            };
            block_on(commands::era::era(&quietly(config)?, &args.action))?;
            Ok(Outcome::Complete)
        }
    }
}

/// The configuration of a command that talks for itself: its log keeps to what went wrong.
fn quietly(args: &ConfigArgs) -> Result<Config, Failure> {
    let mut raw = load(args.config.as_deref()).map_err(misconfigured)?;
    quieten(&mut raw);
    logging::install(&raw.log).map_err(misconfigured)?;
    Config::check(&raw).map_err(misconfigured)
}

/// The demo talks for itself; its log keeps to what went wrong, unless asked otherwise.
fn quieten(raw: &mut RawConfig) {
    if raw.log == RawConfig::default().log {
        "warn".clone_into(&mut raw.log.level);
    }
}

#[expect(clippy::disallowed_methods, reason = "this crate is where the environment is read")]
fn replay_password() -> Option<String> {
    std::env::var("TIDEMILL_REPLAY_PASSWORD").ok()
}

fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(command)
}
