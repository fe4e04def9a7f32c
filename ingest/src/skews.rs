//! How far behind or ahead of us the newest time of each device was when it was sent last: for one who looks at a
//! device, beside the histogram over all. Bounded (I6): beyond so many devices later ones are not shown.
//!
//! Who knows a topic holds the cell of its device, so noting a message costs one store and no lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;
use tidemill_store::model::Source;

/// Devices that are shown: some ten megabytes.
const DEVICES_MAX: usize = 100_000;

/// The skews of all devices.
#[derive(Debug, Default)]
pub(crate) struct DeviceSkews(Mutex<HashMap<Box<str>, SkewCell>>);

/// The skew of one device, in seconds as bits; nothing was sent as long as it is no number.
#[derive(Debug, Clone)]
pub(crate) struct SkewCell(Arc<AtomicU64>);

impl SkewCell {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(f64::NAN.to_bits())))
    }

    pub(crate) fn note(&self, seconds: f64) {
        self.0.store(seconds.to_bits(), Ordering::Relaxed);
    }
}

impl DeviceSkews {
    /// The cell of the device of `source`.
    pub(crate) fn cell(&self, source: &Source) -> SkewCell {
        self.cell_within(source, DEVICES_MAX)
    }

    fn cell_within(&self, source: &Source, devices_max: usize) -> SkewCell {
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = name(source);
        if let Some(cell) = cells.get(&name) {
            return cell.clone();
        }
        if cells.len() >= devices_max {
            // Those that no connection knows any more make room.
            cells.retain(|_, cell| Arc::strong_count(&cell.0) > 1);
        }
        let cell = SkewCell::new();
        if cells.len() < devices_max {
            cells.insert(name, cell.clone());
        }
        cell
    }

    /// The skew of the device of `source`, where it is known.
    pub(crate) fn seconds(&self, source: &Source) -> Option<f64> {
        let cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bits = cells.get(&name(source))?.0.load(Ordering::Relaxed);
        Some(f64::from_bits(bits)).filter(|seconds| seconds.is_finite())
    }
}

/// Names hold no NUL.
fn name(source: &Source) -> Box<str> {
    [source.tenant().as_str(), source.device().as_str()].join("\0").into()
}

#[cfg(test)]
mod tests {
    use tidemill_store::model::{Device, Tags, Tenant};

    use super::*;

    fn source(device: &str) -> Source {
        let (tenant, device) = (Tenant::new("t").unwrap(), Device::new(device).unwrap());
        Source::new(tenant, device, Tags::new(vec![]).unwrap())
    }

    #[test]
    fn a_device_has_one_skew_and_that_of_its_last_message() {
        let skews = DeviceSkews::default();
        let (one, other) = (skews.cell(&source("a")), skews.cell(&source("a")));
        assert_eq!(skews.seconds(&source("a")), None);
        one.note(-0.5);
        other.note(2.25);
        assert_eq!(skews.seconds(&source("a")), Some(2.25));
        assert_eq!(skews.seconds(&source("b")), None);
    }

    #[test]
    fn devices_that_nobody_knows_any_more_make_room_and_others_do_not() {
        let skews = DeviceSkews::default();
        let kept = skews.cell_within(&source("a"), 2);
        drop(skews.cell_within(&source("b"), 2));
        let third = skews.cell_within(&source("c"), 2);
        let fourth = skews.cell_within(&source("d"), 2);
        for cell in [&kept, &third, &fourth] {
            cell.note(1.0);
        }
        let known = ["a", "b", "c", "d"].map(|device| skews.seconds(&source(device)).is_some());
        assert_eq!(known, [true, false, true, false]);
    }
}
