//! The end of the log where records come out: looked at as often as needed, let go once they are forwarded or set aside.
//!
//! What cannot be read any more is set aside with a copy on disk, and what is behind it goes on (I7).

use std::io;

use super::{Active, Gone, Log, LogFile, Position, Taken, name};
use crate::spool::disk::Disk;
use crate::spool::frame::{Piece, RECORDS_AT};
use crate::spool::record::Tally;

impl<D: Disk> Log<D> {
    /// What comes next, with where it ends; `None` when nothing waits. Gives the same until [`Log::forwarded`].
    /// Begin with the position given last.
    pub(in crate::spool) fn peek(&mut self, from: Option<Position>) -> io::Result<Option<(Taken, Position)>> {
        let mut at = from.unwrap_or_else(|| self.first());
        loop {
            let Some(index) = self.files.iter().position(|file| file.number >= at.file) else {
                return Ok(None);
            };
            let Some(file) = self.files.get(index) else { return Ok(None) };
            if file.number > at.file {
                at = Position { file: file.number, offset: u64::try_from(RECORDS_AT).unwrap_or(0) };
            }
            let Some((piece, bytes)) = self.piece(file, at.offset)? else {
                if index + 1 == self.files.len() {
                    return Ok(None);
                }
                at = Position { file: at.file + 1, offset: u64::try_from(RECORDS_AT).unwrap_or(0) };
                continue;
            };
            let after = Position { file: at.file, offset: at.offset + bytes };
            match piece {
                Piece::Record { head, body, bytes } => {
                    return Ok(Some((Taken::Record { body, tally: head.tally, bytes }, after)));
                }
                Piece::Damaged { bytes, .. } | Piece::Locked { bytes, .. } => {
                    self.set_aside(at, bytes);
                    return Ok(Some((Taken::SetAside { bytes }, after)));
                }
                Piece::Torn { .. } | Piece::More { .. } => at = after,
            }
        }
    }

    fn first(&self) -> Position {
        let file = self.files.front().map_or(self.next_number, |file| file.number);
        Position { file, offset: self.cursor }
    }

    /// Keeps a copy of what cannot be read, for whoever wants to look at it; as well as the disk allows.
    fn set_aside(&mut self, at: Position, bytes: usize) {
        let copy = format!("{:016x}-{:08x}.bad", at.file, at.offset);
        let Ok(damaged) = self.disk.read(&name(at.file), at.offset, bytes) else { return };
        let kept = self.disk.create(&copy).and_then(|()| self.disk.append(&copy, &damaged));
        if kept.and_then(|()| self.disk.sync(&copy)).is_ok() {
            self.set_aside_bytes += u64::try_from(damaged.len()).unwrap_or(u64::MAX);
        }
    }

    /// What ends at these positions is in the store, or set aside (no tally), and not needed here any more: all from the
    /// first on that waits, in order. Gives what was in files that are finished with and never came out as a record.
    pub(in crate::spool) fn forwarded(&mut self, done: &[(Position, Option<Tally>)]) -> Gone {
        for (position, tally) in done {
            let file = self.files.iter_mut().find(|file| file.number == position.file);
            if let (Some(file), Some(tally)) = (file, tally) {
                file.uncount(*tally);
            }
        }
        let Some((position, _)) = done.last() else { return Gone::default() };
        let mut gone = Gone::default();
        while let Some(file) = self.files.front() {
            let is_active = self.active.is_some() && self.files.len() == 1;
            let is_read = file.number == position.file && position.offset >= file.end;
            if is_active || !(is_read || file.number < position.file) {
                break;
            }
            gone += self.drop_first();
        }
        if self.files.front().is_some_and(|file| file.number == position.file) {
            self.cursor = self.cursor.max(position.offset);
        }
        gone
    }

    /// Lets go of all files if nothing in them waits, so that an idle spool is empty.
    pub(in crate::spool) fn retire(&mut self) -> io::Result<Gone> {
        let is_synced = |active: &Active| self.files.back().is_some_and(|file| active.written == file.end);
        let mut gone = Gone::default();
        if self.active.as_ref().is_none_or(is_synced) && self.peek(None)?.is_none() {
            self.active = None;
            while !self.files.is_empty() {
                gone += self.drop_first();
            }
        }
        Ok(gone)
    }

    /// Leaves the file at `position` where it is and goes on behind it: the disk does not read it. It is looked at
    /// again after a restart.
    pub(in crate::spool) fn pass_over(&mut self, position: Option<Position>) -> Gone {
        let number = position.unwrap_or_else(|| self.first()).file;
        let mut gone = Gone::default();
        while self.files.front().is_some_and(|file| file.number <= number) {
            if self.files.len() == 1 {
                self.active = None;
            }
            gone += self.forget_first();
        }
        gone
    }

    fn drop_first(&mut self) -> Gone {
        if let Some(file) = self.files.front() {
            let _ = self.disk.remove(&name(file.number));
        }
        self.forget_first()
    }

    fn forget_first(&mut self) -> Gone {
        self.cursor = u64::try_from(RECORDS_AT).unwrap_or(0);
        let gone =
            |file: LogFile| Gone { records: file.records, messages: file.messages, samples: file.samples };
        self.files.pop_front().map(gone).unwrap_or_default()
    }
}
