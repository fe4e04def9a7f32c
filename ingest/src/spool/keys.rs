//! Keys of the spool, and what they do: AES-256-GCM over each record, with a key of its own for every file.
//!
//! A key file has lines `id:64 hexadecimal digits`, oldest first; `#` begins a comment. The last key writes, all of them
//! read, so a key is rotated by adding a line, and taken out once no file needs it. The key of a file is derived from its
//! key and the file's random salt (HKDF-SHA256), and the nonce is the record's number in its file: neither ever repeats.

use std::collections::BTreeMap;
use std::fmt;

use ring::{aead, hkdf};

/// Bytes that a sealed record is longer.
pub(super) const TAG_BYTES: usize = 16;
/// Bytes of a salt.
pub(super) const SALT_BYTES: usize = 32;
/// What the derived keys are for.
const PURPOSE: &[u8] = b"tidemill spool 1";

/// The name of a key; 0 stands for no encryption in files and is not given to keys.
pub type KeyId = u32;

/// The keys that are configured; none means that records are written as they are.
#[derive(Clone, Default)]
pub struct Keys {
    secrets: BTreeMap<KeyId, [u8; 32]>,
    newest: Option<KeyId>,
}

/// Why a key file was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// A line is not a key.
    #[error("line {line} of the key file is not `id:key` with an id from 1 on and 64 hexadecimal digits")]
    Line {
        /// Which, from 1.
        line: usize,
    },
    /// Two keys of one name.
    #[error("key {0} is given twice")]
    Twice(KeyId),
    /// No key at all.
    #[error("the key file holds no key")]
    Empty,
}

/// The key of one file.
pub(super) struct FileKey(Option<aead::LessSafeKey>);

/// What was opened is not what was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Forged;

impl fmt::Debug for Keys {
    /// Names keys, and never shows one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("ids", &self.secrets.keys()).field("newest", &self.newest).finish()
    }
}

impl Keys {
    /// From the text of a key file.
    pub fn parse(text: &str) -> Result<Self, KeysError> {
        let mut keys = Self::default();
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.split('#').next().unwrap_or_default().trim();
            if text.is_empty() {
                continue;
            }
            let (id, secret) = key(text).ok_or(KeysError::Line { line })?;
            if keys.secrets.insert(id, secret).is_some() {
                return Err(KeysError::Twice(id));
            }
            keys.newest = Some(id);
        }
        if keys.newest.is_some() { Ok(keys) } else { Err(KeysError::Empty) }
    }

    /// The key that writes; 0 for none.
    pub(super) fn newest(&self) -> KeyId {
        self.newest.unwrap_or(0)
    }

    /// The key of the file with this salt; `None` where the key is not known.
    pub(super) fn of_file(&self, id: KeyId, salt: &[u8; SALT_BYTES]) -> Option<FileKey> {
        if id == 0 {
            return Some(FileKey(None));
        }
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(self.secrets.get(&id)?);
        let key = aead::UnboundKey::from(extracted.expand(&[PURPOSE], &aead::AES_256_GCM).ok()?);
        Some(FileKey(Some(aead::LessSafeKey::new(key))))
    }
}

fn key(line: &str) -> Option<(KeyId, [u8; 32])> {
    let (id, digits) = line.split_once(':')?;
    let id: KeyId = id.trim().parse().ok().filter(|&id| id > 0)?;
    let digits = digits.trim();
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    let mut secret = [0; 32];
    for (at, byte) in secret.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some((id, secret))
}

impl FileKey {
    /// How many bytes longer a body gets.
    pub(super) const fn overhead(&self) -> usize {
        if self.0.is_some() { TAG_BYTES } else { 0 }
    }

    /// Seals `body`, which stands under `header` as record `index` of its file.
    pub(super) fn seal(&self, index: u32, header: &[u8], body: &mut Vec<u8>) {
        if let Some(key) = &self.0 {
            let sealed = key.seal_in_place_append_tag(nonce(index), aead::Aad::from(header), body);
            assert!(sealed.is_ok(), "a record of {} bytes is too large to be sealed", body.len());
        }
    }

    /// The body that was sealed.
    pub(super) fn open(&self, index: u32, header: &[u8], mut body: Vec<u8>) -> Result<Vec<u8>, Forged> {
        let Some(key) = &self.0 else { return Ok(body) };
        let length =
            key.open_in_place(nonce(index), aead::Aad::from(header), &mut body).map_err(|_| Forged)?.len();
        body.truncate(length);
        Ok(body)
    }
}

fn nonce(index: u32) -> aead::Nonce {
    let mut bytes = [0; aead::NONCE_LEN];
    if let Some(last) = bytes.last_chunk_mut() {
        *last = index.to_be_bytes();
    }
    aead::Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: u32, digit: char) -> String {
        format!("{id}:{}\n", digit.to_string().repeat(64))
    }

    #[test]
    fn the_last_key_writes_and_all_read_what_they_sealed() {
        let old = Keys::parse(&line(1, 'a')).unwrap();
        let both = Keys::parse(&format!("# rotated\n{}{}", line(1, 'a'), line(7, 'B'))).unwrap();
        assert_eq!((old.newest(), both.newest(), Keys::default().newest()), (1, 7, 0));
        let salt = [3; SALT_BYTES];
        let mut body = b"secret".to_vec();
        old.of_file(1, &salt).unwrap().seal(9, b"header", &mut body);
        assert_eq!(body.len(), 6 + TAG_BYTES);
        assert!(!body.windows(6).any(|window| window == b"secret"));
        let opened = |keys: &Keys, id, salt: [u8; SALT_BYTES], index, header: &[u8]| {
            keys.of_file(id, &salt).map(|key| key.open(index, header, body.clone()))
        };
        assert_eq!(opened(&both, 1, salt, 9, b"header"), Some(Ok(b"secret".to_vec())));
        assert_eq!(opened(&both, 7, salt, 9, b"header"), Some(Err(Forged)));
        assert_eq!(opened(&both, 1, [4; SALT_BYTES], 9, b"header"), Some(Err(Forged)));
        assert_eq!(opened(&both, 1, salt, 8, b"header"), Some(Err(Forged)));
        assert_eq!(opened(&both, 1, salt, 9, b"headex"), Some(Err(Forged)));
        assert_eq!(opened(&old, 7, salt, 9, b"header"), None);
    }

    #[test]
    fn a_key_file_that_is_not_one_is_refused_by_line_and_shows_no_key() {
        let wrong = |text: &str| Keys::parse(text).unwrap_err();
        assert_eq!(wrong("\n1:abc"), KeysError::Line { line: 2 });
        assert_eq!(wrong(&line(0, 'a')), KeysError::Line { line: 1 });
        assert_eq!(wrong(&format!("1:{}", "é".repeat(32))), KeysError::Line { line: 1 });
        assert_eq!(wrong(&format!("1:{}", "g".repeat(64))), KeysError::Line { line: 1 });
        assert_eq!(wrong(&format!("{}{}", line(2, 'a'), line(2, 'b'))), KeysError::Twice(2));
        assert_eq!(wrong("# nothing\n"), KeysError::Empty);
        let shown = format!("{:?}", Keys::parse(&line(5, 'c')).unwrap());
        assert!(shown.contains('5') && !shown.contains("cc"), "{shown}");
    }
}
