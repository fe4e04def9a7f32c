//! The few things that a spool asks of a file system, and the directory that does them.
//!
//! Everything is by name and by offset, so that a disk in memory can crash, tear, flip bits and fill up in tests. What
//! was appended survives a crash only after [`Disk::sync`], a file that was created only after [`Disk::sync_names`].

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A flat directory of files that only grow at their end.
pub trait Disk: Send + 'static {
    /// All files with their lengths, in no order.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;
    /// Makes an empty file; one of this name must not exist.
    fn create(&mut self, name: &str) -> io::Result<()>;
    /// Adds to the end of a file. After an error any beginning of `bytes` may stand there.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Makes all that was appended to a file durable. After an error nothing is known of what was appended since the
    /// sync before, and asking again proves nothing: the system may have dropped the pages and forgotten the error.
    fn sync(&mut self, name: &str) -> io::Result<()>;
    /// Makes creations durable.
    fn sync_names(&mut self) -> io::Result<()>;
    /// Up to `length` bytes from `offset` on; fewer where the file ends before.
    fn read(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>>;
    /// Removes a file. It may be back after a crash.
    fn remove(&mut self, name: &str) -> io::Result<()>;
}

impl Disk for Box<dyn Disk> {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        (**self).list()
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        (**self).create(name)
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        (**self).append(name, bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        (**self).sync(name)
    }

    fn sync_names(&mut self) -> io::Result<()> {
        (**self).sync_names()
    }

    fn read(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        (**self).read(name, offset, length)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        (**self).remove(name)
    }
}

/// A directory of the file system, locked against other processes for as long as this lives.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Held for its lock.
    _lock: File,
    open: HashMap<String, File>,
}

const LOCK: &str = "lock";
/// A file beside the log, in which those who open the spool may remember the eras. It is written as `eras.new` first.
pub const ERAS_FILE: &str = "eras.json";
const ERAS_FILE_NEW: &str = "eras.new";

impl Directory {
    /// Opens `path`, which is made where it is missing.
    ///
    /// # Errors
    /// Also where another process has it open.
    pub fn open(path: &Path) -> io::Result<Self> {
        create_durably(path)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock, open: HashMap::new() }),
            Err(TryLockError::WouldBlock) => {
                Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process has this spool open"))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn file(&mut self, name: &str) -> io::Result<&mut File> {
        if !self.open.contains_key(name) {
            let file = OpenOptions::new().append(true).open(self.path.join(name))?;
            self.open.insert(name.to_owned(), file);
        }
        self.open.get_mut(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Makes a directory, and those above it that are missing, so that it is there after a power cut, too.
fn create_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    if let Some(above) = above {
        create_durably(above)?;
    }
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    File::open(above.unwrap_or(Path::new(".")))?.sync_all()
}

impl Disk for Directory {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string())
                && ![LOCK, ERAS_FILE, ERAS_FILE_NEW].contains(&name.as_str())
            {
                files.push((name, metadata.len()));
            }
        }
        Ok(files)
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let file = OpenOptions::new().create_new(true).append(true).open(self.path.join(name))?;
        self.open.insert(name.to_owned(), file);
        Ok(())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.file(name)?.write_all(bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.file(name)?.sync_data()
    }

    fn sync_names(&mut self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn read(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.path.join(name))?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.take(u64::try_from(length).unwrap_or(u64::MAX)).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.open.remove(name);
        std::fs::remove_file(self.path.join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_keeps_what_was_appended_and_is_locked() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("on").join("the way").join("spool");
        let mut disk = Directory::open(&path).unwrap();
        assert_eq!(Directory::open(&path).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        disk.create("1").unwrap();
        assert!(disk.create("1").is_err(), "a file is never made twice");
        disk.append("1", b"abc").unwrap();
        disk.append("1", b"def").unwrap();
        disk.sync("1").unwrap();
        disk.sync_names().unwrap();
        drop(disk);
        let mut disk = Directory::open(&path).unwrap();
        assert_eq!(disk.list().unwrap(), [("1".to_owned(), 6)]);
        assert_eq!(disk.read("1", 2, 3).unwrap(), b"cde");
        assert_eq!(disk.read("1", 4, 100).unwrap(), b"ef");
        disk.append("1", b"g").unwrap();
        disk.remove("1").unwrap();
        assert_eq!(disk.list().unwrap(), []);
    }
}
