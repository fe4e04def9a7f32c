//! Conversions between the widths of positions: 32 bits in bodies and dictionaries, `usize` in memory.

/// A position as an index.
#[expect(
    clippy::as_conversions,
    reason = "usize has at least 32 bits wherever the store runs; From does not say so"
)]
pub(crate) const fn index(position: u32) -> usize {
    position as usize
}

/// An index as a position. What is indexed is bounded far below 2^32 by the limits of a body (I6).
pub(crate) fn position(index: usize) -> u32 {
    let position = u32::try_from(index);
    assert!(position.is_ok(), "an index outgrew 32-bit positions");
    position.unwrap_or(u32::MAX)
}
