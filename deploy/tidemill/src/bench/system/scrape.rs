//! The metrics of a running system, as its `/metrics` tells them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Values by name, summed over labels. Buckets of histograms are left out.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::bench) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Asks for them.
    pub(super) async fn fetch(http: SocketAddr) -> anyhow::Result<Self> {
        let text = get(http, "/metrics").await?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let mut sums = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let name = series.split('{').next().unwrap_or(series);
            if let Ok(value) = value.parse::<f64>()
                && !name.ends_with("_bucket")
            {
                *sums.entry(name.to_owned()).or_insert(0.0) += value;
            }
        }
        Self(sums)
    }

    /// The value of a name; 0 where there is none.
    pub(in crate::bench) fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }

    /// How much each counter grew since `before`.
    pub(in crate::bench) fn since(&self, before: &Self) -> BTreeMap<String, f64> {
        let is_counter =
            |name: &str| name.ends_with("_total") || name.ends_with("_count") || name.ends_with("_sum");
        let grown = self.0.iter().filter(|(name, _)| is_counter(name));
        grown.map(|(name, value)| (name.clone(), value - before.get(name))).collect()
    }
}

/// The body of a successful answer.
pub(in crate::bench) async fn get(http: SocketAddr, path: &str) -> anyhow::Result<String> {
    let url = format!("http://{http}{path}");
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).build().into();
    let asked = tokio::task::spawn_blocking(move || {
        let mut answer = agent.get(&url).call().with_context(|| format!("GET {url}"))?;
        Ok(answer.body_mut().read_to_string()?)
    });
    asked.await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_summed_and_counters_subtracted() {
        let text = "# HELP x y\nx_total{a=\"1 2\"} 1\nx_total{a=\"2\"} 2\nh_bucket{le=\"1\"} 5\nh_count 7\ngauge 3\n";
        let metrics = Metrics::parse(text);
        assert_eq!((metrics.get("x_total"), metrics.get("gauge"), metrics.get("h_bucket")), (3.0, 3.0, 0.0));
        let before = Metrics::parse("x_total 1\n");
        let grown: Vec<(String, f64)> = metrics.since(&before).into_iter().collect();
        assert_eq!(grown, [("h_count".to_owned(), 7.0), ("x_total".to_owned(), 2.0)]);
    }
}
