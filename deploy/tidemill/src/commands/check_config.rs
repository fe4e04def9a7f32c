//! `tidemill check-config`: mistakes, or what is in effect.

use crate::config::{Config, RawConfig};

/// What takes the place of a secret.
const REDACTED: &str = "(set)";

/// Judges `raw` and prints it whole, defaults included, without secrets.
pub(crate) fn check_config(raw: &RawConfig) -> anyhow::Result<()> {
    Config::check(raw)?;
    super::print(&effective(raw)?)
}

fn effective(raw: &RawConfig) -> anyhow::Result<String> {
    let mut shown = raw.clone();
    for secret in [&mut shown.store.cassandra.password, &mut shown.ingest.mqtt.password] {
        if secret.is_some() {
            *secret = Some(REDACTED.to_owned());
        }
    }
    Ok(toml::to_string(&shown)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A changed default shows here and in the file that operators read.
    const GOLDEN: &str = include_str!("../../../../tests/golden/config_defaults.toml");

    #[test]
    fn effective_defaults_are_the_golden_ones() {
        assert_eq!(effective(&RawConfig::default()).unwrap(), GOLDEN);
    }

    #[test]
    fn what_is_printed_can_be_read_back_and_hides_secrets() {
        let mut raw = RawConfig::default();
        raw.store.cassandra.username = Some("tidemill".to_owned());
        raw.store.cassandra.password = Some("hunter2".to_owned());
        let printed = effective(&raw).unwrap();
        assert!(!printed.contains("hunter2"));
        let read: RawConfig = toml::from_str(&printed).unwrap();
        assert_eq!(read.store.cassandra.username, raw.store.cassandra.username);
        assert_eq!(read.store.cassandra.password.as_deref(), Some(REDACTED));
    }
}
