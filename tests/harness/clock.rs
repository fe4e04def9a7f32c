//! The time of day as one process sees it: it jumps when a test says so, and goes on from there.
//!
//! A few lines of C stand between the process and its C library, built with the compiler that building needs anyway.
//! Monotonic time is left alone, as it is when somebody sets the clock of a machine.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::tidemill::Builder;

const SHIM: &str = include_str!("clock.c");

/// The clock of one process.
#[derive(Debug)]
pub struct Clock {
    file: PathBuf,
}

impl Clock {
    /// Puts what `builder` starts under a clock that is right so far.
    pub fn of(builder: Builder) -> Result<(Self, Builder)> {
        let [source, library, file] =
            ["clock.c", "clock.so", "clock"].map(|name| builder.directory().join(name));
        fs::write(&source, SHIM)?;
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source);
        let compiled = compile.output().context("starting the C compiler")?;
        ensure!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        let clock = Self { file };
        clock.jump_to(0)?;
        let builder = builder
            .environment("LD_PRELOAD", &library.display().to_string())
            .environment("TEST_CLOCK_FILE", &clock.file.display().to_string());
        Ok((clock, builder))
    }

    /// From now on it is off by this many seconds.
    pub fn jump_to(&self, seconds: i64) -> Result<()> {
        // Whole or not at all: the process may read it at any moment.
        let next = self.file.with_extension("next");
        fs::write(&next, seconds.to_string())?;
        Ok(fs::rename(&next, &self.file)?)
    }
}
