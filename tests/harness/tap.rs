//! Listens in on a consumer and its MQTT 5 broker, to know which messages the consumer has acknowledged: those it may not
//! lose, whatever the broker loses.
//!
//! An acknowledgement counts when it leaves the consumer, also where it never reaches the broker.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::oracle::Plan;

/// A message as topic and payload.
type Message = (Vec<u8>, Vec<u8>);

/// What was delivered and acknowledged, over all connections.
#[derive(Debug, Default)]
pub struct Tap(Mutex<BTreeSet<Message>>);

/// The way that bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the consumer to its broker.
    ToBroker,
    /// From the broker to the consumer.
    ToConsumer,
}

/// One connection.
#[derive(Debug, Default)]
pub struct Wire(Mutex<Packets>);

#[derive(Debug, Default)]
struct Packets {
    to_broker: Vec<u8>,
    to_consumer: Vec<u8>,
    delivered: HashMap<u16, Message>,
}

impl Tap {
    /// The numbers below `issued` of a plan's messages that were acknowledged.
    pub fn acknowledged(&self, plan: &Plan, issued: u64) -> BTreeSet<u64> {
        let acknowledged = lock(&self.0);
        let message = |number| (plan.topic(number).into_bytes(), plan.payload(number));
        (0..issued).filter(|&number| acknowledged.contains(&message(number))).collect()
    }

    /// Takes what passed on a connection.
    pub fn pass(&self, wire: &Wire, way: Way, bytes: &[u8]) {
        let mut packets = lock(&wire.0);
        let Packets { to_broker, to_consumer, delivered } = &mut *packets;
        let seen = if way == Way::ToBroker { to_broker } else { to_consumer };
        seen.extend_from_slice(bytes);
        while let Some((first, body)) = take_packet(seen) {
            match (way, first >> 4) {
                (Way::ToConsumer, 3) => {
                    if let Some((id, message)) = published(first, &body) {
                        delivered.insert(id, message);
                    }
                }
                (Way::ToBroker, 4) => {
                    let id = body.first_chunk().map(|id| u16::from_be_bytes(*id));
                    lock(&self.0).extend(id.and_then(|id| delivered.remove(&id)));
                }
                _ => {}
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The next whole packet: its first byte, and what follows the length.
fn take_packet(bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (first, rest) = bytes.split_first()?;
    let (length, width) = variable(rest)?;
    let (first, start) = (*first, 1 + width);
    let body = bytes.get(start..start + length)?.to_vec();
    bytes.drain(..start + length);
    Some((first, body))
}

/// A variable byte integer and how many bytes it takes.
fn variable(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

/// Identifier, topic and payload of a PUBLISH of QoS 1.
fn published(first: u8, body: &[u8]) -> Option<(u16, Message)> {
    if first & 0b0110 != 0b0010 {
        return None;
    }
    let (length, rest) = body.split_first_chunk()?;
    let (topic, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let (id, rest) = rest.split_first_chunk()?;
    let (properties, width) = variable(rest)?;
    Some((u16::from_be_bytes(*id), (topic.to_vec(), rest.get(width + properties..)?.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { devices: 2, start_ms: 0, step_ms: 1_000, seed: 1 };

    fn publish(id: u16, number: u64) -> Vec<u8> {
        let topic = PLAN.topic(number);
        let length = u16::try_from(topic.len()).unwrap();
        let body = [
            &length.to_be_bytes()[..],
            topic.as_bytes(),
            &id.to_be_bytes(),
            // Its expiry.
            &[5, 2, 0, 0, 0, 9],
            &PLAN.payload(number),
        ]
        .concat();
        let length =
            [u8::try_from(body.len() % 128).unwrap() | 0x80, u8::try_from(body.len() / 128).unwrap()];
        [&[0x32], &length[..], &body].concat()
    }

    #[test]
    fn what_the_consumer_acknowledges_counts_however_it_is_cut_into_reads() {
        let (tap, wire) = (Tap::default(), Wire::default());
        let delivered = [publish(7, 0), publish(8, 1), publish(9, 2)].concat();
        for byte in delivered {
            tap.pass(&wire, Way::ToConsumer, &[byte]);
        }
        tap.pass(&wire, Way::ToBroker, &[0xC0, 0, 0x40, 2, 0, 9, 0x40]);
        tap.pass(&wire, Way::ToBroker, &[2, 0, 7]);
        assert_eq!(tap.acknowledged(&PLAN, 10), BTreeSet::from([0, 2]));
        assert_eq!(tap.acknowledged(&PLAN, 2), BTreeSet::from([0]));
    }

    #[test]
    fn an_identifier_of_another_connection_means_nothing() {
        let (tap, first, second) = (Tap::default(), Wire::default(), Wire::default());
        tap.pass(&first, Way::ToConsumer, &publish(7, 0));
        tap.pass(&second, Way::ToBroker, &[0x40, 2, 0, 7]);
        assert!(tap.acknowledged(&PLAN, 10).is_empty());
    }
}
