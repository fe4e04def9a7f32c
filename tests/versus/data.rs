//! The fleet: any sample can be computed from its device, metric and number, so that nothing is kept. Pure.
//!
//! No sample lies on a whole second, so that it does not matter whether a range includes its start.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// 2023-11-15T00:00:00Z.
pub(crate) const START_MS: u64 = 1_700_006_400_000;
/// What each message holds.
pub(crate) const METRICS: [&str; 5] = ["temperature", "humidity", "pressure", "energy_total", "load"];
const SITES: u32 = 10;

/// How large the fleet is and how often it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fleet {
    pub(crate) devices: u32,
    pub(crate) hours: u32,
    pub(crate) step_seconds: u32,
    /// Each message comes up to so many milliseconds later than its step says.
    pub(crate) jitter_ms: u32,
}

impl Fleet {
    /// How many messages each device has sent.
    pub(crate) fn messages(self) -> u64 {
        u64::from(self.hours) * 3_600 / u64::from(self.step_seconds)
    }

    /// All samples of all devices.
    pub(crate) fn samples(self) -> u64 {
        self.messages() * u64::from(self.devices) * 5
    }

    /// The end of the fleet's time, Unix seconds.
    pub(crate) fn end(self) -> u64 {
        START_MS / 1_000 + 3_600 * u64::from(self.hours)
    }

    /// When a device has sent a message.
    pub(crate) fn time_ms(self, device: u32, number: u64) -> u64 {
        let late = mix(u64::from(device)) % (u64::from(self.step_seconds) * 8);
        // Odd eighths of a second: exact in a binary float of seconds.
        let due = START_MS + number * 1_000 * u64::from(self.step_seconds) + late / 2 * 250 + 125;
        let jitter = mix(u64::from(device) << 40 | number) % u64::from(self.jitter_ms + 1);
        let time = due + jitter;
        if time.is_multiple_of(1_000) { time + 1 } else { time }
    }
}

/// The name of a device.
pub(crate) fn name(device: u32) -> String {
    format!("sensor-{device:05}")
}

/// The tag of a device.
pub(crate) fn site(device: u32) -> String {
    format!("site-{}", device % SITES)
}

/// Appends a value, with as many digits as sensors have.
pub(crate) fn write_value(text: &mut String, metric: usize, device: u32, number: u64) {
    let seed = u64::from(device) << 40 | u64::try_from(metric).unwrap_or(0) << 36;
    let noise = f64::from(u32::try_from(mix(seed | number) >> 40).unwrap_or(0)) / f64::from(1 << 24);
    let base = f64::from(u32::try_from(mix(seed) >> 40).unwrap_or(0)) / f64::from(1 << 24);
    let day = (f64::from(u32::try_from(number).unwrap_or(0)) / 8_640.0 + base) * std::f64::consts::TAU;
    // Writing to a string does not fail.
    let _ = match metric {
        0 => write!(text, "{:.2}", 15.0 + 10.0 * base + 5.0 * day.sin() + 0.2 * noise),
        1 => write!(text, "{:.1}", 50.0 + 20.0 * day.cos() + noise),
        2 => write!(text, "{:.2}", 1_000.0 + 20.0 * base + 3.0 * day.sin() + 0.1 * noise),
        3 => write!(text, "{}", 1_000_000 + 7 * number + mix(seed | number) % 7),
        _ => write!(text, "{}", mix(seed | number) % 100),
    };
}

/// The finaliser of splitmix64.
fn mix(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
