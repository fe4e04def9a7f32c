//! What no seal covers of a bucket, followed segment by segment, so that a query decodes only what came since the one
//! before it: of each series the last sample, its samples, and folds instead of these where they are dense.
//!
//! `series` keeps one series, `place` all of a (shard, bucket), `over` is what a query takes of it, `tails` keeps
//! places between queries and `follow` brings them up to date with `unpacked` segments; a query of a `few` sources goes on from there by
//! itself. Whatever is kept was made from segments, each taken once; their order does not matter, and what is not
//! certain is read from them again (I3, I4). Memory is bounded (I6).

mod few;
mod follow;
mod over;
mod place;
mod series;
mod tails;
mod unpacked;

pub(super) use few::Few;
pub(super) use follow::{Followed, Missing};
pub(super) use over::{Over, Overs};
pub(super) use place::{Ends, LastsOf};
pub(super) use tails::Tails;
