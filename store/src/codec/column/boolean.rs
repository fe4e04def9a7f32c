//! Booleans: nothing but a tag where all are equal, else a bit each.

use super::{BOOLEANS, Extent, FALSE, TRUE, Values};
use crate::codec::bits;
use crate::codec::bytes::{Malformed, Reader};

pub(super) fn encode(raw: &[i64], out: &mut Vec<u8>) {
    let trues = raw.iter().filter(|&&value| value != 0).count();
    if trues == 0 {
        out.push(FALSE);
    } else if trues == raw.len() {
        out.push(TRUE);
    } else {
        out.push(BOOLEANS);
        bits::pack(raw.iter().map(|&value| u64::from(value != 0)), 1, out);
    }
}

pub(super) fn decode(reader: &mut Reader<'_>, extent: &Extent<'_>) -> Result<Values, Malformed> {
    let packed = reader.take(bits::packed_bytes(extent.values, 1)?, "booleans")?;
    Ok(Values::Bool(bits::unpack(packed, 1, extent.wanted.clone()).map(|bit| bit != 0).collect()))
}
