//! What a simulated device measures: plausible walks, the same for the same seed.
//!
//! Pure: a device's n-th message depends on its number and n alone.

use tidemill_store::model::Timestamp;

/// Metrics in one message of a simulated device.
pub(crate) const METRICS: u64 = 5;

/// One simulated device.
#[derive(Debug, Clone)]
pub(crate) struct Sensors {
    name: String,
    random: Random,
    last_millis: i64,
    temperature: i64,
    humidity: i64,
    pressure: i64,
    pulses: i64,
}

impl Sensors {
    /// The device with this number.
    pub(crate) fn new(number: u32) -> Self {
        let mut random = Random::seeded(u64::from(number));
        Self {
            name: format!("sensor-{number:05}"),
            temperature: 1_500 + random.within(1_500),
            humidity: 3_000 + random.within(4_000),
            pressure: 98_000 + random.within(4_000),
            pulses: random.within(100_000),
            last_millis: i64::MIN,
            random,
        }
    }

    /// The device's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The next message, measured at `time`, or a millisecond after the one before where that is later: a device
    /// never measures twice at one time.
    pub(crate) fn measure(&mut self, time: Timestamp) -> String {
        self.last_millis = time.millis_floor().max(self.last_millis.saturating_add(1));
        self.temperature = (self.temperature + self.random.step(8)).clamp(-2_000, 6_000);
        self.humidity = (self.humidity + self.random.step(20)).clamp(0, 10_000);
        self.pressure = (self.pressure + self.random.step(3)).clamp(95_000, 105_000);
        self.pulses += self.random.within(4);
        let door_open = self.random.within(50) == 0;
        format!(
            "{{\"ts\":{},\"temperature\":{},\"humidity\":{},\"pressure\":{},\"pulses\":{},\"door_open\":{door_open}}}",
            self.last_millis,
            Hundredths(self.temperature),
            Hundredths(self.humidity),
            Hundredths(self.pressure),
            self.pulses,
        )
    }
}

/// A number of hundredths, written with two decimals.
struct Hundredths(i64);

impl std::fmt::Display for Hundredths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let magnitude = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", magnitude / 100, magnitude % 100)
    }
}

/// xorshift64: small, seeded, good enough for weather.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The same sequence for the same seed.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 to below `bound`.
    pub(crate) fn within(&mut self, bound: u32) -> i64 {
        i64::try_from((self.next() >> 16) % u64::from(bound.max(1))).unwrap_or(0)
    }

    /// From `-reach` to `reach`.
    fn step(&mut self, reach: u32) -> i64 {
        self.within(2 * reach + 1) - i64::from(reach)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_device_measures_the_same() {
        let (mut a, mut b) = (Sensors::new(7), Sensors::new(7));
        for _ in 0..100 {
            assert_eq!(a.measure(Timestamp::EPOCH), b.measure(Timestamp::EPOCH));
        }
        assert_ne!(a.measure(Timestamp::EPOCH), Sensors::new(8).measure(Timestamp::EPOCH));
    }

    #[test]
    fn a_message_is_json_with_all_metrics_and_about_110_bytes() {
        let message = Sensors::new(1).measure(Timestamp::from_millis(1_700_000_000_000).unwrap());
        let parsed: serde_json::Value = serde_json::from_str(&message).unwrap();
        assert_eq!(u64::try_from(parsed.as_object().unwrap().len()).unwrap(), METRICS + 1);
        assert!((90..130).contains(&message.len()), "{message}");
        assert_eq!(Hundredths(-7).to_string(), "-0.07");
    }
}
