//! Records as bytes in a file of the spool.
//!
//! ```text
//! file     its head, twice, so that no single damage costs a file; then records
//! head     "TMSPOOL1" · key id u32 BE (0: not encrypted) · salt 32 bytes · CRC-32 of all before, u32 BE
//! record   "TMRC" · index in the file u32 BE · length of the body as stored u32 BE · messages u32 BE
//!          · samples u32 BE · appended at, microseconds i64 BE · CRC-32 of all before, u32 BE
//!          · body · CRC-32 of head and body as stored, u32 BE
//! ```
//!
//! Part of the format on disk: golden-tested. A record that is cut short at the end of a file is torn: it was never
//! acknowledged. Anything else that does not check out is damage: the reader goes on at the next head that does.

use super::keys::{FileKey, KeyId, Keys, SALT_BYTES};
use super::record::Tally;

const FILE_MAGIC: &[u8; 8] = b"TMSPOOL1";
const RECORD_MAGIC: &[u8; 4] = b"TMRC";
/// Bytes of one copy of a file's head.
const FILE_HEAD_BYTES: usize = 8 + 4 + SALT_BYTES + 4;
/// Where records begin.
pub(super) const RECORDS_AT: usize = 2 * FILE_HEAD_BYTES;
/// Bytes of a record's head.
pub(super) const HEAD_BYTES: usize = 4 + 4 + 4 + 4 + 4 + 8 + 4;
const CRC_BYTES: usize = 4;
/// Bytes that a record is longer than its body as stored.
pub(super) const FRAME_BYTES: usize = HEAD_BYTES + CRC_BYTES;

/// Which key a file was written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileHead {
    pub(super) key: KeyId,
    pub(super) salt: [u8; SALT_BYTES],
}

impl FileHead {
    /// As it stands at the beginning of a file.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut copy = FILE_MAGIC.to_vec();
        copy.extend(self.key.to_be_bytes());
        copy.extend(self.salt);
        copy.extend(crc32fast::hash(&copy).to_be_bytes());
        copy.repeat(2)
    }

    /// From the beginning of a file; `None` where neither copy is sound.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.chunks(FILE_HEAD_BYTES).take(2).find_map(|copy| {
            let (body, crc) = copy.split_last_chunk::<CRC_BYTES>()?;
            let (magic, rest) = body.split_first_chunk::<8>()?;
            let (key, salt) = rest.split_first_chunk::<4>()?;
            let sound = magic == FILE_MAGIC && crc32fast::hash(body) == u32::from_be_bytes(*crc);
            sound.then_some(())?;
            Some(Self { key: KeyId::from_be_bytes(*key), salt: salt.try_into().ok()? })
        })
    }

    /// The key of the file, if it is known.
    pub(super) fn file_key(&self, keys: &Keys) -> Option<FileKey> {
        keys.of_file(self.key, &self.salt)
    }
}

/// The head of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) index: u32,
    /// Of the body as stored.
    pub(super) length: u32,
    pub(super) tally: Tally,
    pub(super) appended_at_micros: i64,
}

impl Head {
    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = RECORD_MAGIC.to_vec();
        bytes.extend(self.index.to_be_bytes());
        bytes.extend(self.length.to_be_bytes());
        bytes.extend(self.tally.messages.to_be_bytes());
        bytes.extend(self.tally.samples.to_be_bytes());
        bytes.extend(self.appended_at_micros.to_be_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        bytes
    }

    /// From the beginning of `bytes`; `None` where no sound head stands there.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.get(..HEAD_BYTES)?.split_last_chunk::<CRC_BYTES>()?;
        let rest = body.strip_prefix(RECORD_MAGIC)?;
        (crc32fast::hash(body) == u32::from_be_bytes(*crc)).then_some(())?;
        let (index, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (messages, rest) = rest.split_first_chunk()?;
        let (samples, rest) = rest.split_first_chunk()?;
        Some(Self {
            index: u32::from_be_bytes(*index),
            length: u32::from_be_bytes(*length),
            tally: Tally { messages: u32::from_be_bytes(*messages), samples: u32::from_be_bytes(*samples) },
            appended_at_micros: i64::from_be_bytes(rest.try_into().ok()?),
        })
    }

    /// Bytes of the whole record.
    fn frame_bytes(&self) -> usize {
        usize::try_from(self.length).unwrap_or(usize::MAX).saturating_add(FRAME_BYTES)
    }
}

/// A record as it is written, as the `index`th of the file of `key`. `None` where it is too large for the format.
pub(super) fn encode(
    key: &FileKey,
    index: u32,
    tally: Tally,
    at_micros: i64,
    mut body: Vec<u8>,
) -> Option<Vec<u8>> {
    let length = u32::try_from(body.len().checked_add(key.overhead())?).ok()?;
    let mut frame = Head { index, length, tally, appended_at_micros: at_micros }.to_bytes();
    key.seal(index, &frame, &mut body);
    frame.append(&mut body);
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    Some(frame)
}

/// What stands next in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// A sound record of `bytes` bytes.
    Record { head: Head, body: Vec<u8>, bytes: usize },
    /// `bytes` bytes that are not what was written. Where the head of a record in them is sound, it stands here.
    Damaged { head: Option<Head>, bytes: usize },
    /// `bytes` bytes that are what was written, and that the key of the file does not open: it is another one.
    Locked { head: Head, bytes: usize },
    /// `bytes` bytes at the end of the file: a record that was being written when the process died.
    Torn { bytes: usize },
    /// The piece goes on behind the bytes that were given: look again with at least so many.
    More { bytes: usize },
}

/// The piece at the beginning of `bytes`, which reach to the end of the file where `ends` says so.
pub(super) fn next(key: &FileKey, bytes: &[u8], ends: bool) -> Option<Piece> {
    if bytes.is_empty() {
        return None;
    }
    let Some(head) = Head::from_bytes(bytes) else { return Some(unframed(bytes, ends)) };
    let whole = head.frame_bytes();
    let Some(frame) = bytes.get(..whole) else {
        // A length that is sound cannot point beyond the end but where writing stopped.
        return Some(if ends { Piece::Torn { bytes: bytes.len() } } else { Piece::More { bytes: whole } });
    };
    let damaged = Piece::Damaged { head: Some(head), bytes: whole };
    let Some((sealed, crc)) = frame.split_last_chunk::<CRC_BYTES>() else { return Some(damaged) };
    if crc32fast::hash(sealed) != u32::from_be_bytes(*crc) {
        return Some(damaged);
    }
    let Some((header, body)) = sealed.split_at_checked(HEAD_BYTES) else { return Some(damaged) };
    Some(match key.open(head.index, header, body.to_vec()) {
        Ok(body) => Piece::Record { head, body, bytes: whole },
        Err(_) => Piece::Locked { head, bytes: whole },
    })
}

/// Bytes that do not begin with a sound head: damage up to the next one.
fn unframed(bytes: &[u8], ends: bool) -> Piece {
    let next = (1..bytes.len()).find(|&at| bytes.get(at..).and_then(Head::from_bytes).is_some());
    match next {
        Some(at) => Piece::Damaged { head: None, bytes: at },
        None if !ends => Piece::More { bytes: bytes.len().saturating_mul(2).max(HEAD_BYTES) },
        // Less than a head, or what a file system fills up with: nothing was ever complete here.
        None if bytes.len() < HEAD_BYTES || bytes.iter().all(|&byte| byte == 0) => {
            Piece::Torn { bytes: bytes.len() }
        }
        None => Piece::Damaged { head: None, bytes: bytes.len() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys() -> [(Keys, FileHead); 2] {
        let text = format!("3:{}", "5e".repeat(32));
        [(Keys::default(), 0), (Keys::parse(&text).unwrap(), 3)]
            .map(|(keys, key)| (keys, FileHead { key, salt: [9; SALT_BYTES] }))
    }

    fn record(key: &FileKey, index: u32, body: &[u8]) -> Vec<u8> {
        encode(key, index, Tally { messages: 2, samples: 5 }, -7, body.to_vec()).unwrap()
    }

    /// All pieces of `bytes`.
    fn pieces(key: &FileKey, mut bytes: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        while let Some(piece) = next(key, bytes, true) {
            let length = match &piece {
                Piece::Record { bytes, .. }
                | Piece::Damaged { bytes, .. }
                | Piece::Locked { bytes, .. }
                | Piece::Torn { bytes } => *bytes,
                Piece::More { .. } => panic!("all bytes were given"),
            };
            assert!(length > 0);
            bytes = &bytes[length..];
            pieces.push(piece);
        }
        pieces
    }

    fn bodies(pieces: &[Piece]) -> Vec<&[u8]> {
        let body = |piece: &'_ Piece| if let Piece::Record { .. } = piece { Some(()) } else { None };
        pieces
            .iter()
            .filter(|piece| body(piece).is_some())
            .map(|piece| if let Piece::Record { body, .. } = piece { &body[..] } else { &[] })
            .collect()
    }

    #[test]
    fn files_have_the_bytes_that_older_versions_wrote() {
        let (keys, head) = &keys()[0];
        let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        let written = head.to_bytes();
        assert_eq!(written.len(), RECORDS_AT);
        assert_eq!(hex(&written[..12]), "544d53504f4f4c3100000000");
        assert_eq!(written[..FILE_HEAD_BYTES], written[FILE_HEAD_BYTES..]);
        let frame = record(&head.file_key(keys).unwrap(), 1, b"ab");
        assert_eq!(frame.len(), FRAME_BYTES + 2);
        assert_eq!(hex(&frame[..28]), "544d524300000001000000020000000200000005fffffffffffffff9");
        assert_eq!(hex(&frame[32..34]), "6162");
    }

    #[test]
    fn a_head_is_read_though_one_copy_is_damaged() {
        let head = keys()[1].1;
        let bytes = head.to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FileHead::from_bytes(&damaged), Some(head), "bit {bit}");
        }
        assert_eq!(FileHead::from_bytes(&bytes[..10]), None);
    }

    #[test]
    fn every_damaged_bit_costs_one_record_and_every_cut_only_the_end() {
        for (keys, head) in keys() {
            let key = head.file_key(&keys).unwrap();
            let records: Vec<Vec<u8>> = (0..3).map(|index| record(&key, index, &[b'a'; 20])).collect();
            let (one, all) = (records[0].len(), records.concat());
            for bit in 0..all.len() * 8 {
                let mut damaged = all.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                let pieces = pieces(&key, &damaged);
                assert_eq!(bodies(&pieces).len(), 2, "bit {bit}: {pieces:?}");
                let is_damage = |piece: &&Piece| matches!(piece, Piece::Damaged { .. });
                assert_eq!(pieces.iter().filter(is_damage).count(), 1, "bit {bit}: {pieces:?}");
            }
            for cut in 0..all.len() {
                let pieces = pieces(&key, &all[..cut]);
                assert_eq!(bodies(&pieces).len(), cut / one);
                let torn = pieces.iter().any(|piece| matches!(piece, Piece::Torn { .. }));
                assert_eq!((torn, pieces.len()), (cut % one > 0, cut.div_ceil(one)), "cut at {cut}");
            }
        }
    }

    proptest! {
        #[test]
        fn records_come_back_and_no_bytes_are_taken_for_one(
            body: Vec<u8>, junk in prop::collection::vec(any::<u8>(), 0..200), which in 0..2_usize,
        ) {
            let (keys, head) = &keys()[which];
            let key = head.file_key(keys).unwrap();
            let frame = record(&key, 4, &body);
            let read = pieces(&key, &frame);
            prop_assert_eq!(bodies(&read), vec![&body[..]]);
            prop_assert!(bodies(&pieces(&key, &junk)).is_empty());
            let behind = [&junk[..], &frame[..]].concat();
            let read = pieces(&key, &behind);
            prop_assert_eq!(bodies(&read), vec![&body[..]]);
        }
    }
}
