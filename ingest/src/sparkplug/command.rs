//! What is published to edge nodes: the request to publish their births again, as NCMD.

use tidemill_store::model::Timestamp;

use super::topic::NAMESPACE;
use crate::source::Command;

/// The metric that edge nodes take the request by.
const REBIRTH: &str = "Node Control/Rebirth";
/// The data type of booleans.
const BOOLEAN: u8 = 11;

/// The request that `node`, `group/edge_node`, publish its births again.
pub(super) fn rebirth(node: &str, now: Timestamp) -> Option<Command> {
    let (group, edge_node) = node.split_once('/')?;
    let mut metric = vec![0x0a, u8::try_from(REBIRTH.len()).ok()?];
    metric.extend_from_slice(REBIRTH.as_bytes());
    metric.extend_from_slice(&[0x20, BOOLEAN, 0x70, 1]);
    let mut payload = vec![0x08];
    varint(u64::try_from(now.millis_floor()).unwrap_or(0), &mut payload);
    payload.extend_from_slice(&[0x12, u8::try_from(metric.len()).ok()?]);
    payload.extend_from_slice(&metric);
    Some(Command { topic: format!("{NAMESPACE}/{group}/NCMD/{edge_node}"), payload })
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rebirth_is_asked_for_as_the_specification_says() {
        let now = Timestamp::from_millis(1_700_000_000_000).unwrap();
        let command = rebirth("plant/edge", now).unwrap();
        assert_eq!(command.topic, "spBv1.0/plant/NCMD/edge");
        let expected = b"\x08\x80\xd0\x95\xff\xbc\x31\x12\x1a\x0a\x14Node Control/Rebirth\x20\x0b\x70\x01";
        assert_eq!(command.payload, expected);
        assert_eq!(rebirth("plant", now), None);
    }
}
