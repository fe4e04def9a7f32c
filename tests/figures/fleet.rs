//! The simulated fleet of `tidemill demo`, yesterday and now: walks of hundredths, a counter, a door. Pure but for
//! asking once what day it is.

use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::Arguments;

/// What each message holds.
pub(crate) const METRICS: [&str; 5] = ["temperature", "humidity", "pressure", "pulses", "door_open"];
const DAY_MS: i64 = 86_400_000;

/// How large the fleet is and how often it sends.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Fleet {
    pub(crate) devices: u32,
    pub(crate) hours: u32,
    step_seconds: u32,
    jitter_ms: u32,
    /// Midnight, at which yesterday ended, in Unix milliseconds.
    pub(crate) end_ms: i64,
}

impl Fleet {
    pub(crate) fn of_yesterday(arguments: &Arguments) -> Self {
        let now = jiff::Timestamp::now().as_millisecond();
        Self {
            devices: arguments.devices,
            hours: arguments.hours,
            step_seconds: arguments.step,
            jitter_ms: arguments.jitter.min(arguments.step * 1_000 - 1),
            end_ms: now - now.rem_euclid(DAY_MS),
        }
    }

    /// The first moment of the fleet's time.
    pub(crate) fn start_ms(self) -> i64 {
        self.end_ms - i64::from(self.hours) * 3_600_000
    }

    /// Messages of a device in an hour.
    fn messages_an_hour(self) -> u64 {
        u64::from(3_600 / self.step_seconds)
    }

    /// Samples of a device.
    pub(crate) fn samples_of_one(self) -> u64 {
        self.messages_an_hour() * u64::from(self.hours) * 5
    }

    /// All samples of all devices.
    pub(crate) fn samples(self) -> u64 {
        self.samples_of_one() * u64::from(self.devices)
    }
}

impl fmt::Display for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { devices, hours, step_seconds, jitter_ms, .. } = self;
        write!(
            f,
            "{devices} devices × 5 metrics × {hours} h at {step_seconds} s, up to {jitter_ms} ms late: {} samples",
            self.samples()
        )
    }
}

/// The name of a device.
pub(crate) fn name(device: u32) -> String {
    format!("sensor-{device:05}")
}

/// One device, as far as it has come.
#[derive(Debug)]
pub(crate) struct Device {
    random: u64,
    temperature: i64,
    humidity: i64,
    pressure: i64,
    pulses: i64,
}

impl Device {
    pub(crate) fn new(number: u32) -> Self {
        let mut device = Self {
            random: u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            temperature: 0,
            humidity: 0,
            pressure: 0,
            pulses: 0,
        };
        device.temperature = 1_500 + device.within(1_500);
        device.humidity = 3_000 + device.within(4_000);
        device.pressure = 98_000 + device.within(4_000);
        device.pulses = device.within(100_000);
        device
    }

    /// A message with all that it measured in an hour of the fleet's time.
    pub(crate) fn hour(&mut self, fleet: Fleet, hour: u32) -> String {
        let start = fleet.start_ms() + i64::from(hour) * 3_600_000;
        let mut text = String::from("[");
        for number in 0..fleet.messages_an_hour() {
            if number > 0 {
                text.push(',');
            }
            let due = i64::try_from(number).unwrap_or(0) * i64::from(fleet.step_seconds) * 1_000;
            let late = self.within(u64::from(fleet.jitter_ms) + 1);
            self.measure(start + due + late, &mut text);
        }
        text.push(']');
        text
    }

    /// What it measures at a time, as an object.
    pub(crate) fn measure(&mut self, time_ms: i64, text: &mut String) {
        self.temperature = (self.temperature + self.step(8)).clamp(-2_000, 6_000);
        self.humidity = (self.humidity + self.step(20)).clamp(0, 10_000);
        self.pressure = (self.pressure + self.step(3)).clamp(95_000, 105_000);
        self.pulses += self.within(4);
        let door_open = self.within(50) == 0;
        let hundredths = |number: i64| {
            let sign = if number < 0 { "-" } else { "" };
            format!("{sign}{}.{:02}", number.unsigned_abs() / 100, number.unsigned_abs() % 100)
        };
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "{{\"ts\":{time_ms},\"temperature\":{},\"humidity\":{},\"pressure\":{},\"pulses\":{},\
             \"door_open\":{door_open}}}",
            hundredths(self.temperature),
            hundredths(self.humidity),
            hundredths(self.pressure),
            self.pulses
        );
    }

    /// xorshift64: from 0 to below `bound`.
    fn within(&mut self, bound: u64) -> i64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        i64::try_from((self.random >> 16) % bound.max(1)).unwrap_or(0)
    }

    /// From `-reach` to `reach`.
    fn step(&mut self, reach: u32) -> i64 {
        self.within(2 * u64::from(reach) + 1) - i64::from(reach)
    }
}
