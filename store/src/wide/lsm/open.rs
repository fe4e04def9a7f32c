//! Claiming a directory: its lock, and the marker that says which version of the format is in it.
//!
//! ```text
//! DIR/lock      held by the process that uses the directory
//! DIR/format    "tidemill-lsm N\n", written before anything else
//! DIR/tree/     the LSM tree's own files
//! ```
//!
//! A directory of a newer format is refused, and so is one that holds anything else: nothing in it is touched.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Since 2, tables whose rows expire are cut into windows of time.
const FORMAT: u32 = 2;
const FORMAT_NAME: &str = "tidemill-lsm";
const FORMAT_FILE: &str = "format";
const FORMAT_UNFINISHED: &str = "format.new";
const LOCK_FILE: &str = "lock";
const TREE_DIR: &str = "tree";

/// Why a store could not be opened, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another store of this one, uses the directory.
    #[error("{} is in use by another process; stop it, or choose another directory", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory is of a newer version.
    #[error(
        "{} has format {found} and this version of tidemill knows formats up to {known}; \
         run the newer version, or choose another directory", dir.display()
    )]
    Newer {
        /// The directory.
        dir: PathBuf,
        /// The format in it.
        found: u32,
        /// The newest format that this version knows.
        known: u32,
    },
    /// There is something else in the directory.
    #[error("{} is not empty and holds no tidemill store; choose an empty directory", dir.display())]
    Foreign {
        /// The directory.
        dir: PathBuf,
    },
    /// The tree in the directory cannot be read.
    #[error("the store in {} cannot be opened: {reason}; restore the directory from a copy", dir.display())]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file system refused something.
    #[error("{} cannot be used; check that it exists and may be written to", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The metrics are in the registry already.
    #[error("the store's metrics are registered already; give each store a registry of its own")]
    Metrics(#[from] prometheus::Error),
}

/// A directory that is this store's alone for as long as this lives.
#[derive(Debug)]
pub(super) struct Claim {
    dir: PathBuf,
    format: u32,
    _lock: File,
}

impl Claim {
    /// Claims `dir`, which is created where absent.
    pub(super) fn new(dir: &Path) -> Result<Self, OpenError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { path, source }
        };
        fs::create_dir_all(dir).map_err(at(dir))?;
        let marker = dir.join(FORMAT_FILE);
        // In this order: the marker is there before anything else that counts.
        if holds_anything(dir).map_err(at(dir))? && !marker.try_exists().map_err(at(&marker))? {
            return Err(OpenError::Foreign { dir: dir.to_owned() });
        }
        let lock = lock(dir)?;
        let format = match fs::read_to_string(&marker) {
            Ok(content) => check_format(dir, &content)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                write_format(dir).map_err(at(&marker))?;
                FORMAT
            }
            Err(source) => return Err(OpenError::Io { path: marker, source }),
        };
        Ok(Self { dir: dir.to_owned(), format, _lock: lock })
    }

    /// Whether what is in the directory is of an earlier format.
    pub(super) const fn is_older(&self) -> bool {
        self.format < FORMAT
    }

    /// Notes that what is in the directory is of the current format now.
    pub(super) fn renew(&mut self) -> Result<(), OpenError> {
        let path = self.dir.join(FORMAT_FILE);
        write_format(&self.dir).map_err(|source| OpenError::Io { path, source })?;
        self.format = FORMAT;
        Ok(())
    }

    /// Where the tree is.
    pub(super) fn tree(&self) -> PathBuf {
        self.dir.join(TREE_DIR)
    }

    /// The claimed directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Whether there is anything in `dir` but what a claim that was cut short leaves behind.
fn holds_anything(dir: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if name != LOCK_FILE && name != FORMAT_UNFINISHED {
            return Ok(true);
        }
    }
    Ok(false)
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join(LOCK_FILE);
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = opened.map_err(|source| OpenError::Io { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { path, source }),
    }
}

fn check_format(dir: &Path, content: &str) -> Result<u32, OpenError> {
    let format = content.strip_prefix(FORMAT_NAME).and_then(|rest| rest.trim().parse::<u32>().ok());
    match format {
        None | Some(0) => Err(OpenError::Damaged {
            dir: dir.to_owned(),
            reason: format!("its file {FORMAT_FILE:?} says {content:?}"),
        }),
        Some(found) if found > FORMAT => Err(OpenError::Newer { dir: dir.to_owned(), found, known: FORMAT }),
        Some(found) => Ok(found),
    }
}

/// Whole or not at all: it is written under another name first. A crash in between leaves a
/// directory that [`holds_anything`] takes for empty.
fn write_format(dir: &Path) -> io::Result<()> {
    let unfinished = dir.join(FORMAT_UNFINISHED);
    let mut file = File::create(&unfinished)?;
    file.write_all(format!("{FORMAT_NAME} {FORMAT}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, dir.join(FORMAT_FILE))?;
    File::open(dir)?.sync_all()
}
