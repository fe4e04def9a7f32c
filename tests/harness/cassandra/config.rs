//! What a Cassandra node is started with: its files and its command line.
//!
//! Pure text from a [`NodeConfig`]; nothing here starts or touches anything but the node's own
//! configuration directory.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Packages that Cassandra opens by reflection on a JDK 17.
const OPENS: &[&str] = &[
    "java.base/java.lang.module",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "java.base/java.io",
    "java.base/java.lang.reflect",
    "java.base/java.lang",
    "java.base/java.util",
    "java.base/java.nio",
    "jdk.management/com.sun.management.internal",
    "jdk.compiler/com.sun.tools.javac",
];
/// Internal packages that Cassandra links against on a JDK 17.
const EXPORTS: &[&str] = &[
    "java.base/jdk.internal.misc",
    "java.base/java.lang.ref",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "jdk.unsupported/sun.misc",
    "jdk.compiler/com.sun.tools.javac.file",
    "jdk.attach/sun.tools.attach",
];
const FLAGS: &[&str] = &[
    "-ea",
    "-Xss256k",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djdk.attach.allowAttachSelf=true",
    "-Dio.netty.tryReflectionSetAccessible=true",
    "-Dcassandra-foreground=yes",
    // A test cluster is small and on one machine: nothing to settle, little to wait for.
    "-Dcassandra.skip_wait_for_gossip_to_settle=0",
    "-Dcassandra.ring_delay_ms=3000",
    "-Dcassandra.superuser_setup_delay_ms=0",
    "-Dcassandra.consistent.rangemovement=false",
];

/// How much of the machine a node takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// As in production, but for its heap.
    Usual,
    /// Starts with half the work and in little memory, and is slower at its best: several on one machine, or one that is
    /// killed and started again.
    Small,
}

impl Size {
    const fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Usual => &["-Xms512M", "-Xmx512M", "-XX:+UseG1GC"],
            Self::Small => &["-Xms320M", "-Xmx320M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"],
        }
    }
}

/// When a node acknowledges a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitLog {
    /// Before the commit log is synced: a killed node can forget its last moments, as production
    /// clusters accept because other replicas remember.
    Periodic,
    /// After the sync that covers the write: a killed node forgets nothing that it acknowledged.
    Group,
}

impl CommitLog {
    fn settings(self) -> &'static str {
        match self {
            Self::Periodic => "commitlog_sync: periodic\ncommitlog_sync_period: 10000ms",
            Self::Group => "commitlog_sync: group\ncommitlog_sync_group_window: 2ms",
        }
    }
}

/// One node's place in the cluster and on the machine.
#[derive(Debug)]
pub(super) struct NodeConfig {
    pub(super) host: String,
    pub(super) seed: String,
    pub(super) datacenter: String,
    pub(super) directory: PathBuf,
    pub(super) native_port: u16,
    pub(super) storage_port: u16,
    pub(super) jmx_port: u16,
    pub(super) commit_log: CommitLog,
    pub(super) password: bool,
    pub(super) size: Size,
}

impl NodeConfig {
    pub(super) fn conf_directory(&self) -> PathBuf {
        self.directory.join("conf")
    }

    /// Writes the configuration directory. The data directories are Cassandra's to make.
    pub(super) fn write_files(&self) -> Result<()> {
        let conf = self.conf_directory();
        fs::create_dir_all(&conf)?;
        let rackdc = format!("dc={}\nrack=rack1\n", self.datacenter);
        for (name, text) in [
            ("cassandra.yaml", self.yaml()),
            ("cassandra-rackdc.properties", rackdc),
            ("logback.xml", LOGBACK.to_owned()),
        ] {
            fs::write(conf.join(name), text).with_context(|| format!("writing {name}"))?;
        }
        Ok(())
    }

    /// The arguments of `java` for the daemon, logging to `logs`.
    pub(super) fn daemon_arguments(&self, lib: &Path, logs: &Path) -> Result<Vec<OsString>> {
        let conf = self.conf_directory();
        let mut arguments: Vec<OsString> = FLAGS.iter().map(OsString::from).collect();
        arguments.extend(self.size.flags().iter().map(OsString::from));
        arguments.push(concat("-javaagent:", &jamm(lib)?));
        arguments.extend(module_flags());
        arguments.push(concat("-Dcassandra.config=file://", &conf.join("cassandra.yaml")));
        arguments.push(concat("-Dcassandra.storagedir=", &self.directory));
        arguments.push(concat("-Dcassandra.logdir=", logs));
        arguments.push(concat("-Dlogback.configurationFile=", &conf.join("logback.xml")));
        arguments.push(format!("-Dcassandra.jmx.local.port={}", self.jmx_port).into());
        arguments.push("-cp".into());
        arguments.push(class_path(&conf, lib));
        arguments.push("org.apache.cassandra.service.CassandraDaemon".into());
        Ok(arguments)
    }

    /// The arguments of `java` for one nodetool command.
    pub(super) fn nodetool_arguments(&self, lib: &Path, command: &[&str]) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = module_flags().collect();
        arguments.extend([
            "-Xmx128M".into(),
            "-XX:TieredStopAtLevel=1".into(),
            // nodetool keeps a history in the home directory: not in the user's.
            concat("-Duser.home=", &self.directory),
            concat("-Dcassandra.logdir=", &self.directory.join("nodetool")),
            "-cp".into(),
            class_path(&self.conf_directory(), lib),
            "org.apache.cassandra.tools.NodeTool".into(),
            "-p".into(),
            self.jmx_port.to_string().into(),
        ]);
        arguments.extend(command.iter().map(OsString::from));
        arguments
    }

    fn yaml(&self) -> String {
        let directory = self.directory.display();
        let Self { host, seed, native_port, storage_port, .. } = self;
        let commit_log = self.commit_log.settings();
        let (authenticator, authorizer) = if self.password {
            ("PasswordAuthenticator", "CassandraAuthorizer")
        } else {
            ("AllowAllAuthenticator", "AllowAllAuthorizer")
        };
        format!(
            "cluster_name: tidemill-tests
num_tokens: 4
allocate_tokens_for_local_replication_factor: 3
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: GossipingPropertyFileSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: \"{seed}\"
listen_address: {host}
rpc_address: {host}
native_transport_port: {native_port}
storage_port: {storage_port}
data_file_directories:
  - {directory}/data
commitlog_directory: {directory}/commitlog
saved_caches_directory: {directory}/saved_caches
hints_directory: {directory}/hints
cdc_raw_directory: {directory}/cdc_raw
{commit_log}
commitlog_segment_size: 32MiB
auto_snapshot: false
authenticator: {authenticator}
authorizer: {authorizer}
cas_contention_timeout: 5s
memtable:
  configurations:
    trie:
      class_name: TrieMemtable
    default:
      inherits: trie
storage_compatibility_mode: NONE
sstable:
  selected_format: bti
"
        )
    }
}

const LOGBACK: &str = r#"<configuration>
  <appender name="FILE" class="ch.qos.logback.core.FileAppender">
    <file>${cassandra.logdir}/system.log</file>
    <encoder><pattern>%-5level %date{ISO8601} %logger{0} %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="FILE"/></root>
</configuration>
"#;

fn module_flags() -> impl Iterator<Item = OsString> {
    let opens = OPENS.iter().map(|package| ("opens", package));
    let exports = EXPORTS.iter().map(|package| ("exports", package));
    opens.chain(exports).map(|(how, package)| format!("--add-{how}={package}=ALL-UNNAMED").into())
}

/// The agent that measures objects; Cassandra does not start without it.
fn jamm(lib: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(lib).with_context(|| format!("listing {}", lib.display()))?;
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.to_string_lossy().contains("/jamm-"))
        .with_context(|| format!("no jamm jar in {}", lib.display()))
}

fn class_path(conf: &Path, lib: &Path) -> OsString {
    let mut path = conf.as_os_str().to_owned();
    path.push(concat(":", &lib.join("*")));
    path
}

fn concat(prefix: &str, path: &Path) -> OsString {
    let mut text = OsString::from(prefix);
    text.push(path);
    text
}
