//! The log of a spool: records go in at one end and are durable, and come out at the other in the same order.
//!
//! A sequence of bounded files. A process begins a new file, and begins another after any failed write, so that what
//! a dead process or a full disk left at the end of a file is never written over, and no key and nonce meet twice. A file
//! is removed when all of it is forwarded; what is forwarded of a file that is still there comes out again after a
//! restart, which is harmless (I5). Keeps I1 (`Ok` means synced), I6 (bytes) and I7 (damage costs what it hit alone).
//! No clock, no randomness, no async: the disk, the time and the salts are given.

mod taking;

use std::collections::VecDeque;
use std::io;

use super::disk::Disk;
use super::frame::{self, FileHead, Piece, RECORDS_AT};
use super::keys::{FileKey, KeyId, Keys, SALT_BYTES};
use super::record::Tally;

/// Bounds of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Most bytes of all files; what does not fit is refused.
    pub bytes_max: u64,
    /// A file that has so many bytes is followed by another. One record may pass it.
    pub file_bytes_max: u64,
}

/// A record to be appended.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// What it says.
    pub(super) body: Vec<u8>,
    /// What of that was received.
    pub(super) tally: Tally,
    /// The time of day, in microseconds.
    pub(super) at_micros: i64,
}

/// Why a record was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// There is no room within the limit now.
    #[error("the spool is full")]
    Full,
    /// The disk did not take it, and nothing of it counts; there may be room later.
    #[error("the spool could not be written: {0}")]
    Unwritable(String),
    /// What was written could not be made durable. Whether it is, nobody can say: nothing of it may be acknowledged,
    /// and the process must end.
    #[error("the spool could not be made durable: {0}")]
    Broken(String),
}

/// Why a log was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk failed.
    #[error("the spool cannot be read")]
    Disk(#[from] io::Error),
    /// A file was written with a key that is not configured.
    #[error("{file} needs key {key}, which the key file does not hold")]
    Key {
        /// Which file.
        file: String,
        /// Which key.
        key: KeyId,
    },
    /// Nothing in a file can be opened with the key of the name that it was written with. To go on would throw its
    /// records away.
    #[error("{file} was written with another key {key} than the key file holds")]
    WrongKey {
        /// Which file.
        file: String,
        /// The key's name.
        key: KeyId,
    },
}

/// Where something stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    file: u64,
    offset: u64,
}

/// What comes out of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Taken {
    /// A record.
    Record {
        /// As appended.
        body: Vec<u8>,
        /// As appended.
        tally: Tally,
        /// Bytes on disk.
        bytes: usize,
    },
    /// Something that cannot be read any more; it was set aside.
    SetAside {
        /// Bytes on disk.
        bytes: usize,
    },
}

/// What a log holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Records that wait to be forwarded.
    pub records: u64,
    /// Messages in them.
    pub messages: u64,
    /// Samples in them.
    pub samples: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// When the first record of those that wait was appended, in microseconds; of the first file, to be precise.
    pub oldest_micros: Option<i64>,
}

struct LogFile {
    number: u64,
    /// Bytes that may be read: all of a file that is finished, what was synced of the one that is written.
    end: u64,
    key: Option<FileKey>,
    /// What of it waits.
    records: u64,
    messages: u64,
    samples: u64,
    first_micros: Option<i64>,
}

/// The file that is being written.
struct Active {
    index: u32,
    /// Bytes written, of which `end` of the file are synced.
    written: u64,
}

/// A log on `D`.
pub(super) struct Log<D> {
    disk: D,
    keys: Keys,
    limits: LogLimits,
    /// Random bytes for the salts of files.
    salt: Box<dyn FnMut() -> [u8; SALT_BYTES] + Send>,
    files: VecDeque<LogFile>,
    active: Option<Active>,
    next_number: u64,
    /// What is to be forwarded next; in the first file.
    cursor: u64,
    set_aside_bytes: u64,
    broken: Option<String>,
}

const SUFFIX: &str = ".spool";
/// Largest piece of a file that is read at once, unless a record is larger.
const READ_BYTES: usize = 1 << 20;

fn name(number: u64) -> String {
    format!("{number:016x}{SUFFIX}")
}

fn number(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_suffix(SUFFIX)?, 16).ok()
}

impl<D: Disk> Log<D> {
    /// Opens the log on `disk` with everything that it holds. `salt` gives random bytes, never the same ones twice.
    pub(super) fn open(
        disk: D,
        keys: Keys,
        limits: LogLimits,
        salt: impl FnMut() -> [u8; SALT_BYTES] + Send + 'static,
    ) -> Result<Self, OpenError> {
        let listed = disk.list()?;
        let mut found: Vec<(u64, u64)> =
            listed.iter().filter_map(|(name, bytes)| Some((number(name)?, *bytes))).collect();
        found.sort_unstable();
        let others = listed.iter().filter(|(name, _)| number(name).is_none()).map(|(_, bytes)| bytes);
        let mut log = Self {
            set_aside_bytes: others.sum(),
            next_number: found.last().map_or(0, |(number, _)| number + 1),
            disk,
            keys,
            limits,
            salt: Box::new(salt),
            files: VecDeque::new(),
            active: None,
            cursor: u64::try_from(RECORDS_AT).unwrap_or(0),
            broken: None,
        };
        for (number, bytes) in found {
            let file = log.examine(number, bytes)?;
            log.files.push_back(file);
        }
        Ok(log)
    }

    /// Reads a file that an earlier process left, to know what is in it.
    fn examine(&self, number: u64, bytes: u64) -> Result<LogFile, OpenError> {
        let head = FileHead::from_bytes(&self.disk.read(&name(number), 0, RECORDS_AT)?);
        let key = match head {
            Some(head) => Some(
                head.file_key(&self.keys)
                    .ok_or_else(|| OpenError::Key { file: name(number), key: head.key })?,
            ),
            None => None,
        };
        let mut file =
            LogFile { number, end: bytes, key, records: 0, messages: 0, samples: 0, first_micros: None };
        let mut offset = u64::try_from(RECORDS_AT).unwrap_or(0);
        let (mut opens, mut is_locked) = (false, false);
        while let Some((piece, bytes)) = self.piece(&file, offset)? {
            offset += bytes;
            opens |= matches!(piece, Piece::Record { .. });
            is_locked |= matches!(piece, Piece::Locked { .. });
            if let Piece::Record { head, .. }
            | Piece::Locked { head, .. }
            | Piece::Damaged { head: Some(head), .. } = piece
            {
                file.count(head.tally, head.appended_at_micros);
            }
        }
        match head {
            // One record that does not open among others that do is forged, and is set aside as damage is.
            Some(head) if is_locked && !opens => {
                Err(OpenError::WrongKey { file: name(number), key: head.key })
            }
            _ => Ok(file),
        }
    }

    /// The piece at `offset` of a file, with its length.
    fn piece(&self, file: &LogFile, offset: u64) -> io::Result<Option<(Piece, u64)>> {
        let left = usize::try_from(file.end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut length = left.min(READ_BYTES);
        loop {
            if length == 0 {
                return Ok(None);
            }
            let bytes = self.disk.read(&name(file.number), offset, length)?;
            let ends = length == left || bytes.len() < length;
            let Some(key) = &file.key else {
                // Nobody knows how the file is to be read.
                return Ok(Some((Piece::Damaged { head: None, bytes: left }, file.end - offset)));
            };
            let piece = match frame::next(key, &bytes, ends) {
                None => return Ok(None),
                Some(Piece::More { bytes }) if !ends => {
                    length = left.min(bytes.max(length.saturating_mul(2)));
                    continue;
                }
                Some(piece) => piece,
            };
            let taken = match &piece {
                Piece::Record { bytes, .. }
                | Piece::Damaged { bytes, .. }
                | Piece::Locked { bytes, .. }
                | Piece::Torn { bytes }
                | Piece::More { bytes } => *bytes,
            };
            return Ok(Some((piece, u64::try_from(taken).unwrap_or(u64::MAX))));
        }
    }

    /// Appends `entries` in order and makes them durable together. An entry's `Ok` means that it will come out, after
    /// whatever crash. Entries behind one that was not taken are not taken either: order is kept.
    pub(super) fn append(&mut self, entries: Vec<Entry>) -> Vec<Result<(), AppendError>> {
        let count = entries.len();
        let mut outcomes: Vec<Result<(), AppendError>> = Vec::with_capacity(count);
        let mut written = Vec::with_capacity(count);
        for entry in entries {
            let (tally, at_micros) = (entry.tally, entry.at_micros);
            match self.write(entry) {
                Ok(()) => written.push((self.next_number, tally, at_micros)),
                Err(error) => {
                    outcomes.resize(count - written.len(), Err(error));
                    break;
                }
            }
        }
        let synced = if written.is_empty() { Ok(()) } else { self.sync() };
        let mut results = vec![synced.clone(); written.len()];
        for (next_number, tally, at_micros) in written.into_iter().filter(|_| synced.is_ok()) {
            let file = self.files.iter_mut().find(|file| file.number + 1 == next_number);
            if let Some(file) = file {
                file.count(tally, at_micros);
            }
        }
        // What could not be made durable is the graver news.
        results.append(&mut outcomes);
        results
    }

    /// Writes one record, not yet synced. Records of one call all stand in one file or in files that are synced.
    fn write(&mut self, entry: Entry) -> Result<(), AppendError> {
        if let Some(reason) = &self.broken {
            return Err(AppendError::Broken(reason.clone()));
        }
        let size = u64::try_from(entry.body.len() + frame::FRAME_BYTES + super::keys::TAG_BYTES);
        let size = size.unwrap_or(u64::MAX);
        let full = |active: &Active| active.index > 0 && active.written + size > self.limits.file_bytes_max;
        if self.active.as_ref().is_some_and(full) {
            self.sync()?;
            self.active = None;
        }
        let head = if self.active.is_none() { u64::try_from(RECORDS_AT).unwrap_or(0) } else { 0 };
        if self.bytes().saturating_add(size).saturating_add(head) > self.limits.bytes_max {
            return Err(AppendError::Full);
        }
        if self.active.is_none() {
            self.begin_file()?;
        }
        let (Some(file), Some(active)) = (self.files.back_mut(), self.active.as_mut()) else {
            return Err(AppendError::Unwritable("no file is open".to_owned()));
        };
        let Entry { body, tally, at_micros } = entry;
        let frame =
            file.key.as_ref().and_then(|key| frame::encode(key, active.index, tally, at_micros, body));
        let Some(frame) = frame else {
            return Err(AppendError::Unwritable("a record is too large".to_owned()));
        };
        match self.disk.append(&name(file.number), &frame) {
            Ok(()) => {
                active.index += 1;
                active.written += u64::try_from(frame.len()).unwrap_or(u64::MAX);
                Ok(())
            }
            Err(error) => self.abandon_file(&error),
        }
    }

    fn begin_file(&mut self) -> Result<(), AppendError> {
        let number = self.next_number;
        self.next_number += 1;
        let head = FileHead { key: self.keys.newest(), salt: (self.salt)() };
        let unwritable = |error: io::Error| AppendError::Unwritable(error.to_string());
        self.disk.create(&name(number)).map_err(unwritable)?;
        if let Err(error) = self.disk.append(&name(number), &head.to_bytes()) {
            // It holds nothing, and its number is not used again.
            let _ = self.disk.remove(&name(number));
            return Err(unwritable(error));
        }
        self.disk.sync_names().map_err(|error| self.break_down(&error))?;
        let end = u64::try_from(RECORDS_AT).unwrap_or(0);
        let key = head.file_key(&self.keys);
        self.files.push_back(LogFile {
            number,
            end,
            key,
            records: 0,
            messages: 0,
            samples: 0,
            first_micros: None,
        });
        self.active = Some(Active { index: 0, written: end });
        if self.files.len() == 1 {
            self.cursor = end;
        }
        Ok(())
    }

    /// After a failed write: what stands behind the last whole record is torn, and the next record goes elsewhere.
    fn abandon_file(&mut self, error: &io::Error) -> Result<(), AppendError> {
        self.sync()?;
        let is_empty = self.active.take().is_some_and(|active| active.index == 0);
        // A file in which nothing ever was: a full disk would collect them.
        if is_empty && let Some(file) = self.files.pop_back() {
            let _ = self.disk.remove(&name(file.number));
        }
        Err(AppendError::Unwritable(error.to_string()))
    }

    /// Makes what was written durable. Never asked twice for the same bytes: after a failure they are unknown for good.
    fn sync(&mut self) -> Result<(), AppendError> {
        if let Some(reason) = &self.broken {
            return Err(AppendError::Broken(reason.clone()));
        }
        let (Some(file), Some(active)) = (self.files.back_mut(), self.active.as_ref()) else { return Ok(()) };
        if file.end == active.written {
            return Ok(());
        }
        match self.disk.sync(&name(file.number)) {
            Ok(()) => {
                file.end = active.written;
                Ok(())
            }
            Err(error) => Err(self.break_down(&error)),
        }
    }

    fn break_down(&mut self, error: &io::Error) -> AppendError {
        let reason = error.to_string();
        self.broken = Some(reason.clone());
        AppendError::Broken(reason)
    }

    /// What it holds.
    pub(super) fn depth(&self) -> Depth {
        let sum = |of: fn(&LogFile) -> u64| self.files.iter().map(of).sum();
        let first = self.files.iter().find(|file| file.records > 0);
        Depth {
            records: sum(|file| file.records),
            messages: sum(|file| file.messages),
            samples: sum(|file| file.samples),
            bytes: self.bytes(),
            oldest_micros: first.and_then(|file| file.first_micros),
        }
    }

    fn bytes(&self) -> u64 {
        let unsynced =
            self.active.as_ref().zip(self.files.back()).map_or(0, |(active, file)| active.written - file.end);
        self.files.iter().map(|file| file.end).sum::<u64>() + unsynced + self.set_aside_bytes
    }
}

/// What was known to be in files and did not come out of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Gone {
    /// Records.
    pub(super) records: u64,
    /// Messages.
    pub(super) messages: u64,
    /// Samples.
    pub(super) samples: u64,
}

impl std::ops::AddAssign for Gone {
    fn add_assign(&mut self, other: Self) {
        self.records += other.records;
        self.messages += other.messages;
        self.samples += other.samples;
    }
}

impl LogFile {
    fn count(&mut self, tally: Tally, at_micros: i64) {
        self.records += 1;
        self.messages += u64::from(tally.messages);
        self.samples += u64::from(tally.samples);
        self.first_micros.get_or_insert(at_micros);
    }

    fn uncount(&mut self, tally: Tally) {
        self.records = self.records.saturating_sub(1);
        self.messages = self.messages.saturating_sub(u64::from(tally.messages));
        self.samples = self.samples.saturating_sub(u64::from(tally.samples));
    }
}
