//! Configuration: TOML and environment in, checked values out.
//!
//! [`mod@raw`] is what operators write, with every default a named constant; [`mod@load`] layers the sources and refuses
//! unknown keys; [`mod@check`] turns it into what the libraries take, with the rules that span several keys.

mod brokers;
mod check;
mod load;
mod mill;
pub(crate) mod raw;
mod span;
mod spool;
mod templates;
mod words;

pub(crate) use check::{Backend, Config, schema_options};
pub(crate) use load::load;
pub(crate) use raw::RawConfig;
pub(crate) use span::Span;
pub(crate) use spool::SpoolConfig;
