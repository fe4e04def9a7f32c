//! Layers defaults, the file and the environment, and refuses keys that nothing reads.
//!
//! A key that is not known is named with the closest one that is: a misspelt limit must not pass for a set one.

use std::path::{Path, PathBuf};

use config::{ConfigBuilder, Environment, File, FileFormat};
use serde_json::Value;

use super::RawConfig;

/// Prefix of environment variables: `TIDEMILL__STORE__BACKEND=cassandra`.
const ENVIRONMENT_PREFIX: &str = "TIDEMILL";
const ENVIRONMENT_SEPARATOR: &str = "__";
/// Keys that hold lists; in the environment their elements are separated by commas.
const ENVIRONMENT_LISTS: [&str; 3] =
    ["ingest.topics", "ingest.mqtt.brokers", "store.cassandra.contact_points"];

/// Why configuration could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The file is not there or not readable.
    #[error("cannot read the configuration file {path:?}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, or a value of the wrong type.
    #[error(transparent)]
    Invalid(#[from] config::ConfigError),
    /// A key that nothing reads.
    #[error("unknown key `{key}`{}", suggestion.as_ref().map(|s| format!("; did you mean `{s}`?")).unwrap_or_default())]
    UnknownKey {
        /// The key, with its sections.
        key: String,
        /// The closest known key of the same section.
        suggestion: Option<String>,
    },
}

/// Reads `file` if given, and over it the environment.
pub(crate) fn load(file: Option<&Path>) -> Result<RawConfig, LoadError> {
    let environment = Environment::with_prefix(ENVIRONMENT_PREFIX);
    load_from(file, environment)
}

fn load_from(file: Option<&Path>, environment: Environment) -> Result<RawConfig, LoadError> {
    let mut builder = config::Config::builder();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .map_err(|source| LoadError::File { path: path.to_owned(), source })?;
        builder = builder.add_source(File::from_str(&text, FileFormat::Toml));
    }
    build(builder, environment)
}

fn build(
    builder: ConfigBuilder<config::builder::DefaultState>,
    environment: Environment,
) -> Result<RawConfig, LoadError> {
    let mut environment = environment
        .prefix_separator(ENVIRONMENT_SEPARATOR)
        .separator(ENVIRONMENT_SEPARATOR)
        .list_separator(",")
        .try_parsing(true);
    for key in ENVIRONMENT_LISTS {
        environment = environment.with_list_parse_key(key);
    }
    let layered = builder.add_source(environment).build()?;
    let given: Value = layered.clone().try_deserialize()?;
    let known = serde_json::to_value(RawConfig::default()).unwrap_or_default();
    refuse_unknown(&given, &known, "")?;
    Ok(layered.try_deserialize()?)
}

/// Every key of `given` must be one of `known`. Below a key whose default is an empty map the operator chooses
/// the names, and inside lists the types themselves refuse what they do not know.
fn refuse_unknown(given: &Value, known: &Value, section: &str) -> Result<(), LoadError> {
    let (Value::Object(given), Value::Object(known)) = (given, known) else { return Ok(()) };
    if known.is_empty() {
        return Ok(());
    }
    for (name, value) in given {
        let key = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
        match known.get(name) {
            Some(known) => refuse_unknown(value, known, &key)?,
            None => {
                return Err(LoadError::UnknownKey { suggestion: closest(name, known.keys(), section), key });
            }
        }
    }
    Ok(())
}

fn closest<'a>(name: &str, known: impl Iterator<Item = &'a String>, section: &str) -> Option<String> {
    const LIKENESS_MIN: f64 = 0.7;
    known
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(
            |(_, candidate)| {
                if section.is_empty() { candidate.clone() } else { format!("{section}.{candidate}") }
            },
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Environment::with_prefix(ENVIRONMENT_PREFIX).source(Some(variables))
    }

    fn read(text: &str, variables: &[(&str, &str)]) -> Result<RawConfig, LoadError> {
        let builder = config::Config::builder().add_source(File::from_str(text, FileFormat::Toml));
        build(builder, environment(variables))
    }

    #[test]
    fn nothing_given_is_the_defaults() {
        assert_eq!(read("", &[]).unwrap(), RawConfig::default());
    }

    #[test]
    fn environment_wins_over_the_file() {
        let raw = read(
            "[http]\nbind = \"127.0.0.1:1\"\n[store]\nbackend = \"embedded\"",
            &[
                ("TIDEMILL__HTTP__BIND", "127.0.0.1:2"),
                ("TIDEMILL__STORE__BACKEND", "cassandra"),
                ("TIDEMILL__STORE__CASSANDRA__CONTACT_POINTS", "a:1,b:2"),
                ("TIDEMILL__STORE__CASSANDRA__REPLICATION__DC1", "3"),
                ("TIDEMILL__STORE__CASSANDRA__PASSWORD", "12345"),
            ],
        )
        .unwrap();
        assert_eq!(raw.http.bind, "127.0.0.1:2");
        assert_eq!(raw.store.cassandra.contact_points, ["a:1", "b:2"]);
        assert_eq!(raw.store.cassandra.replication.get("dc1"), Some(&3));
        assert_eq!(raw.store.cassandra.password.as_deref(), Some("12345"));
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_closest_known_one() {
        let error = read("[ingest.listener]\nmax_connections = 5", &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown key `ingest.listener.max_connections`; did you mean `ingest.listener.connections_max`?"
        );
        let error = read("", &[("TIDEMILL__STORRE__BACKEND", "cassandra")]).unwrap_err();
        assert!(error.to_string().contains("did you mean `store`?"), "{error}");
    }

    #[test]
    fn a_wrong_type_names_the_key() {
        let error = read("[ingest]\nmemory_bytes_max = \"lots\"", &[]).unwrap_err();
        assert!(error.to_string().contains("memory_bytes_max"), "{error}");
    }

    #[test]
    fn a_wrong_word_is_refused_once_with_those_there_are() {
        let error = read("[ingest]\ntime_unit = \"sec\"", &[]).unwrap_err();
        let text = format!("{:#}", anyhow::Error::new(error));
        assert_eq!(text, "\"sec\" is none of s, ms, us, ns, auto for key `ingest.time_unit`");
    }
}
