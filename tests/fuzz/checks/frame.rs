//! The frame decoder on arbitrary bytes: no panic, no more memory than the limits allow, and no way of reading that
//! disagrees with another. What can be read also merges.

use bytes::Bytes;
use tidemill_store::codec::frame::{Fields, Frame};
use tidemill_store::rollup::WindowState;

const CRC_BYTES: usize = 4;
const FIELDS: [Fields; 4] = [Fields::SUM, Fields::FIRST_LAST, Fields::STATES, Fields::SKETCH];

/// Panics where something is wrong with what is made of `data`.
pub(crate) fn check_bytes(data: &[u8]) {
    let _ = Frame::decode(Bytes::copy_from_slice(data));
    if let Ok(frame) = Frame::decode(sealed(data)) {
        check(&frame);
    }
}

/// The same bytes with a right checksum, or nothing would get past it.
fn sealed(data: &[u8]) -> Bytes {
    let content = &data[..data.len().saturating_sub(CRC_BYTES)];
    [content, crc32fast::hash(content).to_le_bytes().as_slice()].concat().into()
}

fn check(frame: &Frame) {
    let mut all: Vec<Vec<(u32, WindowState)>> = vec![Vec::new(); frame.sources().len()];
    let whole =
        frame.fold_all(Fields::ALL, |source, window, state| all[source].push((window, state.clone())));
    if whole.is_err() {
        return;
    }
    assert_eq!(all.iter().map(Vec::len).sum::<usize>(), frame.len());
    for (position, windows) in all.iter().enumerate().take(8) {
        let read = frame.windows(position, 0..u32::MAX, Fields::ALL).unwrap();
        assert_eq!(format!("{read:?}"), format!("{windows:?}"), "parts differ from the whole");
        for fields in FIELDS {
            let read = frame.windows(position, 0..u32::MAX, fields).unwrap();
            let counts =
                |windows: &[(u32, WindowState)]| windows.iter().map(|(_, state)| state.count()).sum::<u64>();
            assert_eq!(counts(&read), counts(windows));
        }
        let mut merged = WindowState::default();
        for (_, state) in windows {
            merged.merge(state);
        }
        let _ = (merged.interior.sum(), merged.interior.increase(), merged.interior.quantile(0.5));
    }
}
