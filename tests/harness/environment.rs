//! What the environment tells the tests: where the real components are, and whether they are
//! required. The one place that reads environment variables; `tests/run` sets them, and each has
//! a default that serves a bare `cargo test` after `tests/run` has provisioned once.

use std::env::{current_exe, split_paths};
use std::path::{Path, PathBuf};

/// The variable `name`, unless unset or empty.
#[expect(clippy::disallowed_methods, reason = "the tests' one home of the environment")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether an absent component fails its trials instead of skipping them: `REQUIRE_REAL=1`.
pub fn require_real() -> bool {
    variable("REQUIRE_REAL").is_some_and(|value| value == "1")
}

/// The seed that random tests shall repeat: `TIDEMILL_SEED`.
pub fn seed() -> Option<u64> {
    variable("TIDEMILL_SEED")?.parse().ok()
}

/// Whether the fault matrix runs at its full length: `TIDEMILL_FAULTS=full`.
pub fn all_faults() -> bool {
    variable("TIDEMILL_FAULTS").is_some_and(|value| value == "full")
}

/// For how many seconds damaged inputs are made, instead of a few: `TIDEMILL_MUTATIONS`.
pub fn mutation_seconds() -> Option<u64> {
    variable("TIDEMILL_MUTATIONS")?.parse().ok()
}

/// Whether the directories of finished processes stay for a look: `TIDEMILL_KEEP=1`.
pub fn keep_directories() -> bool {
    variable("TIDEMILL_KEEP").is_some_and(|value| value == "1")
}

/// The directory of shared test data: `TIDEMILL_SHARED`, else `shared` beside the checkout.
pub fn shared_directory() -> PathBuf {
    match variable("TIDEMILL_SHARED") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
    }
}

/// The directory of Cassandra's jars: `TIDEMILL_CASSANDRA_LIB`, else what `tests/run` left in its
/// cache. `None` where there is none.
pub fn cassandra_lib() -> Option<PathBuf> {
    match variable("TIDEMILL_CASSANDRA_LIB") {
        Some(path) => Some(PathBuf::from(path)),
        None => newest_cassandra(&cache_directory()?),
    }
    .filter(|path| path.is_dir())
}

/// A node that already runs and that shared tests may use: `TIDEMILL_CASSANDRA=host:port`.
pub fn running_cassandra() -> Option<String> {
    variable("TIDEMILL_CASSANDRA")
}

/// The Java that Cassandra runs on: `JAVA`, else a Debian Java 17, which need not be the default
/// one, else `java` on the path.
pub fn java() -> Option<PathBuf> {
    let seventeen = || entries(Path::new("/usr/lib/jvm"), "17").map(|home| home.join("bin/java"));
    match variable("JAVA") {
        Some(path) => Some(PathBuf::from(path)),
        None => seventeen().find(|path| path.is_file()).or_else(|| program("java", &[])),
    }
}

/// The broker: `mosquitto` on the path or in Debian's `/usr/sbin`.
pub fn mosquitto() -> Option<PathBuf> {
    program("mosquitto", &["/usr/sbin", "/usr/local/sbin"])
}

/// The broker's command line publisher, from Debian's `mosquitto-clients`.
pub fn mosquitto_pub() -> Option<PathBuf> {
    program("mosquitto_pub", &[])
}

/// The reference implementation of PromQL: Debian's `prometheus`.
pub fn prometheus() -> Option<PathBuf> {
    program("prometheus", &[])
}

/// Its command line client and checker, in the same package.
pub fn promtool() -> Option<PathBuf> {
    program("promtool", &[])
}

/// Another store of time series, to compare speed with: Debian's `victoria-metrics`.
pub fn victoria_metrics() -> Option<PathBuf> {
    program("victoria-metrics", &[])
}

/// The `deploy` folder of this checkout: what operators run.
pub fn deploy_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// The program under test: `TIDEMILL_BIN`, else `tidemill` where cargo put it beside this test.
pub fn tidemill() -> Option<PathBuf> {
    if let Some(path) = variable("TIDEMILL_BIN") {
        return Some(PathBuf::from(path)).filter(|path| path.is_file());
    }
    let test = current_exe().ok()?;
    test.ancestors().skip(1).take(2).map(|directory| directory.join("tidemill")).find(|path| path.is_file())
}

fn cache_directory() -> Option<PathBuf> {
    let base = || variable("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || variable("HOME").map(|home| Path::new(&home).join(".cache"));
    variable("TIDEMILL_CACHE").map(PathBuf::from).or_else(|| Some(base().or_else(home)?.join("tidemill")))
}

fn newest_cassandra(cache: &Path) -> Option<PathBuf> {
    entries(cache, "cassandra-").filter(|path| path.join("SHA256SUMS").is_file()).max()
}

fn entries(directory: &Path, part_of_name: &'static str) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let named = move |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().contains(part_of_name))
    };
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(named)
}

fn program(file: &str, also_in: &[&str]) -> Option<PathBuf> {
    let path = variable("PATH").unwrap_or_default();
    split_paths(&path)
        .chain(also_in.iter().map(PathBuf::from))
        .map(|directory| directory.join(file))
        .find(|path| path.is_file())
}
