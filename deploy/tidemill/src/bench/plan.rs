//! What a run does: the scenarios by name, and what the command line changes of them. Pure.

use std::time::Duration;

use anyhow::{Context, bail, ensure};

use super::args::{BenchArgs, LoadArgs, SystemArgs};
use super::load::{Load, Qos, Rate, Shape, Shares, Version};
use super::system::{Backend, Blueprint, Front, check_setting, overridden};

/// One run.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) scenario: &'static str,
    pub(super) load: Load,
    /// Percentage of the full rate to send at, in place of the rate of the load.
    pub(super) share: Option<u8>,
    pub(super) warm_up: Duration,
    pub(super) until: Until,
    pub(super) queries: bool,
    pub(super) system: Blueprint,
}

/// How long to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// For so long.
    Elapsed(Duration),
    /// Until so many messages are acknowledged.
    Acknowledged(u64),
}

/// A named run.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    change: fn(&mut Plan),
}

/// All scenarios.
pub(super) const SCENARIOS: [Scenario; 16] = [
    Scenario { name: "listener-lsm", about: "devices to the embedded store, at full rate", change: |_| {} },
    Scenario {
        name: "listener-lsm-half",
        about: "the same at half of the full rate: latency",
        change: |plan| plan.share = Some(50),
    },
    Scenario {
        name: "qos0",
        about: "QoS 0 to the embedded store, at full rate",
        change: |plan| plan.load.qos = Qos::AtMostOnce,
    },
    Scenario {
        name: "mqtt5",
        about: "MQTT 5 to the embedded store, at full rate",
        change: |plan| plan.load.version = Version::V5,
    },
    Scenario {
        name: "listener-cassandra",
        about: "devices to Cassandra, at full rate (--cassandra)",
        change: on_cassandra,
    },
    Scenario {
        name: "mosquitto-cassandra",
        about: "devices to Mosquitto to Cassandra, at full rate (--cassandra)",
        change: |plan| {
            on_cassandra(plan);
            plan.system.front = Front::Mosquitto(None);
        },
    },
    Scenario {
        name: "mosquitto-lsm",
        about: "devices to Mosquitto to the embedded store, at full rate",
        change: |plan| plan.system.front = Front::Mosquitto(None),
    },
    Scenario {
        name: "connections-1000",
        about: "1,000 connections at full rate",
        change: |plan| crowd(plan, 1_000, 100),
    },
    Scenario {
        name: "connections-10000",
        about: "10,000 connections at full rate",
        change: |plan| crowd(plan, 10_000, 10),
    },
    Scenario {
        name: "slow-devices",
        about: "10,000 connections, a message a second each",
        change: |plan| {
            crowd(plan, 10_000, 10);
            plan.load.rate = Rate::Paced { messages_per_second: 10_000.0, burst: Some(1) };
        },
    },
    Scenario {
        name: "idle",
        about: "10,000 connections that say nothing",
        change: |plan| {
            crowd(plan, 10_000, 10);
            plan.load.rate = Rate::Silent;
        },
    },
    Scenario {
        name: "bursty",
        about: "100,000 messages a second, 500 together from each of 100 connections",
        change: |plan| {
            plan.load.rate = Rate::Paced { messages_per_second: 100_000.0, burst: Some(500) };
        },
    },
    Scenario {
        name: "late",
        about: "30 of 100 messages up to two days late, at full rate",
        change: |plan| plan.load.shares.late_percent = 30,
    },
    Scenario {
        name: "queries",
        about: "queries while half of the full rate comes in",
        change: |plan| {
            plan.share = Some(50);
            plan.queries = true;
            plan.system.roles = "ingest,query";
        },
    },
    Scenario {
        name: "mill",
        about: "the mill grinds while messages come in at full rate",
        change: |plan| {
            plan.system.roles = "ingest,mill";
            // It takes its time before it touches what came in just now, and the same again for a second round.
            plan.warm_up = Duration::from_secs(30);
            plan.until = Until::Elapsed(Duration::from_mins(1));
        },
    },
    Scenario {
        name: "sustained",
        about: "a million messages a second for ten minutes, and the mill keeps up",
        change: |plan| {
            plan.system.roles = "ingest,mill";
            // A little more than the goal, which could not be reached otherwise.
            plan.load.rate = Rate::Paced { messages_per_second: 1_002_000.0, burst: None };
            // At this rate a day would be far more than a bucket is to hold.
            plan.system.settings = SUSTAINED.map(str::to_owned).to_vec();
            plan.warm_up = Duration::from_secs(30);
            plan.until = Until::Elapsed(Duration::from_mins(10));
        },
    },
];

/// Buckets of what comes in a minute, ground by as much of a processor as that takes.
const SUSTAINED: [&str; 2] = ["store.first_era.bucket_width = \"1m\"", "mill.cpu_percent = 100"];

/// On a node whose machine has compiled what it runs: one that has just started takes several times as long.
fn on_cassandra(plan: &mut Plan) {
    plan.system.backend = Backend::Cassandra(String::new());
    plan.warm_up = Duration::from_secs(20);
}

fn crowd(plan: &mut Plan, connections: u32, window: u16) {
    plan.load.connections = connections;
    plan.load.devices = connections;
    plan.load.window = window;
    plan.system.connections = connections;
}

impl Plan {
    /// What a scenario is before its own changes: 4,000 devices behind 100 gateways.
    fn base(scenario: &'static str) -> Self {
        Self {
            scenario,
            load: Load {
                connections: 100,
                devices: 4_000,
                window: 500,
                qos: Qos::AtLeastOnce,
                version: Version::V311,
                shape: Shape::Flat,
                shares: Shares { late_percent: 0, late_by: Duration::from_hours(48), duplicate_percent: 0 },
                rate: Rate::Full,
                threads: 1,
            },
            share: None,
            warm_up: Duration::from_secs(3),
            until: Until::Elapsed(Duration::from_secs(15)),
            queries: false,
            system: Blueprint {
                backend: Backend::Lsm,
                front: Front::Listener,
                roles: "ingest",
                connections: 0,
                directory: None,
                settings: Vec::new(),
                keep: false,
            },
        }
    }

    /// The runs that the command line asks for.
    pub(super) fn all(args: &BenchArgs) -> anyhow::Result<Vec<Self>> {
        args.scenarios.iter().map(|name| Self::of(name, args)).collect()
    }

    fn of(name: &str, args: &BenchArgs) -> anyhow::Result<Self> {
        let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name);
        let scenario =
            scenario.with_context(|| format!("no scenario `{name}`; see tidemill bench --list"))?;
        let mut plan = Self::base(scenario.name);
        (scenario.change)(&mut plan);
        plan.apply_load(&args.load)?;
        plan.apply_system(&args.system)?;
        Ok(plan)
    }

    fn apply_load(&mut self, args: &LoadArgs) -> anyhow::Result<()> {
        let load = &mut self.load;
        replace(&mut load.connections, args.connections);
        replace(&mut load.devices, args.devices);
        replace(&mut load.window, args.window);
        replace(&mut load.qos, args.qos);
        replace(&mut load.version, args.version);
        replace(&mut load.shape, args.payload);
        replace(&mut load.threads, args.threads);
        replace(&mut load.shares.late_percent, args.late);
        replace(&mut load.shares.late_by, args.late_by.map(|span| span.0));
        replace(&mut load.shares.duplicate_percent, args.duplicates);
        replace(&mut self.warm_up, args.warm_up.map(|span| span.0));
        replace(&mut self.until, args.duration.map(|span| Until::Elapsed(span.0)));
        replace(&mut self.until, args.count.map(Until::Acknowledged));
        if let Some(rate) = args.rate {
            load.rate = Rate::Paced { messages_per_second: f64::from(rate), burst: args.burst };
            self.share = None;
        } else if args.share.is_some() {
            self.share = args.share;
        } else if let (Rate::Paced { burst, .. }, Some(_)) = (&mut load.rate, args.burst) {
            *burst = args.burst;
        }
        let shares = load.shares;
        ensure!(load.connections > 0, "--connections must be at least 1");
        ensure!(
            shares.late_percent + shares.duplicate_percent <= 100,
            "--late and --duplicates pass 100 together"
        );
        ensure!(
            load.qos == Qos::AtLeastOnce || matches!(self.until, Until::Elapsed(_)),
            "QoS 0 is not acknowledged: --count needs --qos 1"
        );
        Ok(())
    }

    fn apply_system(&mut self, args: &SystemArgs) -> anyhow::Result<()> {
        let system = &mut self.system;
        system.connections = self.load.connections;
        system.directory.clone_from(&args.dir);
        system.keep = args.keep;
        args.settings.iter().try_for_each(|setting| check_setting(setting))?;
        system.settings = overridden(std::mem::take(&mut system.settings), &args.settings);
        if let Front::Mosquitto(program) = &mut system.front {
            program.clone_from(&args.mosquitto);
        }
        if let Backend::Cassandra(address) = &mut system.backend {
            match &args.cassandra {
                Some(given) => address.clone_from(given),
                None if args.mqtt.is_some() => {}
                None => bail!("{} needs --cassandra HOST:PORT", self.scenario),
            }
        }
        Ok(())
    }
}

fn replace<T>(value: &mut T, by: Option<T>) {
    if let Some(by) = by {
        *value = by;
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn plans(line: &[&str]) -> anyhow::Result<Vec<Plan>> {
        Plan::all(&Line::try_parse_from([&["bench"], line].concat())?.args)
    }

    #[test]
    fn scenarios_have_names_of_their_own_and_options_change_them() {
        for (index, scenario) in SCENARIOS.iter().enumerate() {
            assert!(SCENARIOS.iter().skip(index + 1).all(|other| other.name != scenario.name));
            let plan = plans(&[scenario.name, "--cassandra", "h:1", "--window", "7"]).unwrap().remove(0);
            assert_eq!((plan.load.window, plan.system.connections), (7, plan.load.connections));
        }
        let plan = plans(&["queries", "--rate", "5000"]).unwrap().remove(0);
        assert_eq!(plan.share, None, "a rate goes over the share of a scenario");
        assert_eq!(plan.load.rate, Rate::Paced { messages_per_second: 5_000.0, burst: None });
        let plan = plans(&["sustained", "--set", "mill.cpu_percent=70"]).unwrap().remove(0);
        assert_eq!(plan.system.settings, [SUSTAINED[0], "mill.cpu_percent=70"]);
    }

    #[test]
    fn what_cannot_be_run_is_refused_with_a_reason() {
        for line in [
            &["nothing"][..],
            &["listener-cassandra"],
            &["--late", "60", "--duplicates", "50"],
            &["--qos", "0", "--count", "5"],
            &["--set", "shards"],
        ] {
            assert!(plans(line).is_err(), "{line:?}");
        }
        assert_eq!(plans(&[]).unwrap()[0].scenario, "listener-lsm");
    }
}
