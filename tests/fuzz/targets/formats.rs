//! libFuzzer's bytes for the check of the same name.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/formats.rs"]
mod check;

fuzz_target!(|data: &[u8]| check::check_bytes(data));
