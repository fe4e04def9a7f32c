//! Fail points around the disk of a spool.

use std::io;

use super::{Point, due, reach};
use crate::spool::Disk;

/// `inner` with fail points.
pub(crate) fn disk(inner: Box<dyn Disk>) -> Box<dyn Disk> {
    Box::new(Failing(inner))
}

struct Failing(Box<dyn Disk>);

impl Disk for Failing {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        self.0.list()
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        self.0.create(name)
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        reach(Point::SpoolWriteBefore);
        if let Some(end) = due(Point::SpoolWriteTorn) {
            self.0.append(name, bytes.get(..bytes.len() / 2).unwrap_or_default())?;
            end();
        }
        self.0.append(name, bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        reach(Point::SpoolSyncBefore);
        self.0.sync(name)?;
        reach(Point::SpoolSyncAfter);
        Ok(())
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.0.sync_names()
    }

    fn read(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.0.read(name, offset, length)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        reach(Point::SpoolRemoveBefore);
        self.0.remove(name)?;
        reach(Point::SpoolRemoveAfter);
        Ok(())
    }
}
