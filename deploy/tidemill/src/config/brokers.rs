//! `[ingest.mqtt]`: which brokers to consume from, and how.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tidemill_ingest::source::mqtt::{Broker, Identity, Login, MqttConfig, Retained, Tls, Version};

use super::check::in_flight;
use super::raw::{RawMqtt, RawMqttVersion, RawRetained};

/// Default port of `mqtt://`.
const PORT: u16 = 1883;
/// Default port of `mqtts://`.
const PORT_TLS: u16 = 8883;

/// Whether a broker's connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Mqtt,
    Mqtts,
}

/// The consumer's configuration; `None` where no broker is named.
pub(super) fn brokers(
    raw: &RawMqtt,
    filters: Vec<String>,
    drain_timeout: Duration,
) -> anyhow::Result<Option<MqttConfig>> {
    let named = raw.brokers.iter().map(|url| broker(url)).collect::<anyhow::Result<Vec<_>>>()?;
    let Some((scheme, first)) = named.first().cloned() else { return Ok(None) };
    ensure!(
        named.iter().all(|(other, _)| *other == scheme),
        "brokers mix mqtt:// and mqtts://; run an ingester for each kind"
    );
    for (nth, (_, broker)) in named.iter().enumerate() {
        let is_twice = named.iter().take(nth).any(|(_, other)| other == broker);
        ensure!(
            !is_twice,
            "the broker {}:{} is named twice: it would be consumed twice",
            broker.host,
            broker.port
        );
    }
    let mut config = MqttConfig::new(first, &raw.client_id_prefix, filters);
    config.brokers = named.into_iter().map(|(_, broker)| broker).collect();
    config.version = match raw.version {
        RawMqttVersion::V311 => Version::V311,
        RawMqttVersion::V5 => Version::V5,
    };
    config.connections = raw.connections;
    config.share_group = (!raw.group.is_empty()).then(|| raw.group.clone());
    config.session_expiry = raw.session_expiry.0;
    config.keep_alive = raw.keep_alive.0;
    config.login = login(raw)?;
    config.tls = if scheme == Scheme::Mqtts { Some(tls(raw)?) } else { None };
    config.leave_on_stop = raw.leave_on_stop;
    config.retained = match raw.retained {
        RawRetained::Take => Retained::Take,
        RawRetained::Ignore => Retained::Ignore,
    };
    config.packet_bytes_max = u32::try_from(raw.packet_bytes_max).context("packet_bytes_max is too large")?;
    config.in_flight_messages_max = in_flight("in_flight_max", raw.in_flight_max)?;
    config.drain_timeout = drain_timeout;
    config.check()?;
    Ok(Some(config))
}

fn broker(url: &str) -> anyhow::Result<(Scheme, Broker)> {
    let (scheme, rest) = match url.split_once("://") {
        Some(("mqtt", rest)) => (Scheme::Mqtt, rest),
        Some(("mqtts", rest)) => (Scheme::Mqtts, rest),
        Some(_) | None => bail!("broker {url:?} is not of the form mqtt://host:port or mqtts://host:port"),
    };
    let default_port = if scheme == Scheme::Mqtts { PORT_TLS } else { PORT };
    let (host, port) = match rest.rsplit_once(':') {
        // An IPv6 address in brackets may hold colons of its own.
        Some((host, port)) if !port.ends_with(']') => {
            (host, port.parse().with_context(|| format!("broker {url:?} has no valid port"))?)
        }
        Some(_) | None => (rest, default_port),
    };
    let host = host.trim_matches(['[', ']']);
    ensure!(
        !host.is_empty() && !host.contains(['/', '@']),
        "broker {url:?} names no host, or more than a host"
    );
    Ok((scheme, Broker { host: host.to_owned(), port }))
}

fn login(raw: &RawMqtt) -> anyhow::Result<Option<Login>> {
    match (&raw.username, &raw.password) {
        (Some(user_name), password) => {
            Ok(Some(Login { user_name: user_name.clone(), password: password.clone().unwrap_or_default() }))
        }
        (None, None) => Ok(None),
        (None, Some(_)) => bail!("password is given without username"),
    }
}

fn tls(raw: &RawMqtt) -> anyhow::Result<Tls> {
    let read = |path: &str| std::fs::read(path).with_context(|| format!("cannot read {path}"));
    let authorities = raw.ca_file.as_deref().context("mqtts:// needs ca_file, the authorities to trust")?;
    let identity = match (&raw.client_certificate_file, &raw.client_key_file) {
        (Some(certificates), Some(key)) => {
            Some(Identity { certificates: read(certificates)?, key: read(key)? })
        }
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            bail!("client_certificate_file and client_key_file belong together")
        }
    };
    Ok(Tls { authorities: read(authorities)?, identity })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(url: &str) -> (Scheme, String, u16) {
        let (scheme, broker) = broker(url).unwrap();
        (scheme, broker.host, broker.port)
    }

    #[test]
    fn urls_name_scheme_host_and_port() {
        assert_eq!(named("mqtt://broker"), (Scheme::Mqtt, "broker".into(), 1883));
        assert_eq!(named("mqtts://broker"), (Scheme::Mqtts, "broker".into(), 8883));
        assert_eq!(named("mqtt://10.0.0.1:18"), (Scheme::Mqtt, "10.0.0.1".into(), 18));
        assert_eq!(named("mqtt://[::1]:18"), (Scheme::Mqtt, "::1".into(), 18));
        assert_eq!(named("mqtt://[::1]"), (Scheme::Mqtt, "::1".into(), 1883));
    }

    #[test]
    fn what_is_no_url_of_a_broker_is_refused() {
        for url in
            ["broker:1883", "http://broker", "mqtt://", "mqtt://b:port", "mqtt://user@b", "mqtt://b/path"]
        {
            assert!(broker(url).is_err(), "{url}");
        }
    }

    #[test]
    fn encryption_needs_authorities_and_one_scheme() {
        let filters = || vec!["a/+".to_owned()];
        let mut raw = RawMqtt { brokers: vec!["mqtts://a".into()], ..RawMqtt::default() };
        let refused = |raw: &RawMqtt| brokers(raw, filters(), Duration::ZERO).unwrap_err().to_string();
        assert!(refused(&raw).contains("ca_file"));
        raw.brokers.push("mqtt://b".into());
        assert!(refused(&raw).contains("mix"));
        raw.brokers = vec!["mqtt://a".into(), "mqtt://b".into(), "mqtt://a:1883".into()];
        assert!(refused(&raw).contains("a:1883 is named twice"));
        raw.brokers.truncate(2);
        assert!(brokers(&raw, filters(), Duration::ZERO).unwrap().is_some());
        raw.group = "a/b".into();
        assert!(
            refused(&raw).contains("share group"),
            "what the consumer would refuse is refused by check-config"
        );
        raw.brokers.clear();
        assert!(brokers(&raw, filters(), Duration::ZERO).unwrap().is_none());
    }
}
