//! The contract of `Wide`: one list of cases, run on every backend as trials named `BACKEND::CASE`.
//!
//! A case knows nothing of the backend it runs on. Adding a backend is one line in [`main`] and an implementation
//! of [`backend::Backend`]; one that is out of reach is skipped by name, or fails where `REQUIRE_REAL=1`.

#![expect(clippy::indexing_slicing, reason = "a case that is wrong about a row shall fail, with a trace")]

mod backend;
mod cases;
mod embedded;
mod fixture;
mod tables;
mod windows;

use std::process::ExitCode;

use backend::{Cassandra, Embedded, InMemory};

fn main() -> ExitCode {
    if let Some(code) = embedded::run_as_victim() {
        return code;
    }
    let mut trials = Vec::new();
    trials.extend(cases::trials::<InMemory>());
    trials.extend(cases::trials::<Embedded>());
    trials.extend(embedded::trials());
    trials.extend(cases::trials::<Cassandra>());
    let code = tidemill_tests::real::run(trials);
    Cassandra::release();
    code
}
