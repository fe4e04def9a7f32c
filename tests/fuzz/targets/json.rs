//! libFuzzer's bytes for the decoder of JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/formats.rs"]
mod check;

fuzz_target!(|data: &[u8]| check::check_named("json", data));
