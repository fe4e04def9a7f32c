//! What telemetry is made of: names, times, values, sources, points, identifiers.
//!
//! Pure and validated: a value of these types exists only if it keeps its limits (I6), so the layers above
//! and below never check again. Nothing here knows how it is stored or where it came from.

mod id;
mod name;
mod point;
mod sample;
mod source;
mod time;
mod value;

pub use id::{CatalogN, Generation, SealVersion, Seq, Shard, SourceId, WriterId};
pub use name::{Device, Metric, NameError, NameKind, TagKey, TagValue, Tenant, Unit};
pub use point::{Point, Points};
pub use sample::Sample;
pub use source::{Source, TAGS_MAX, Tags, TagsError};
pub use time::{Clock, TimeError, TimeRange, Timestamp};
pub use value::{Value, ValueKind};
