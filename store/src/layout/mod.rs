//! Where things are stored: eras cut the fleet into shards and time into buckets; tables give the keys.
//!
//! Pure. A change here changes what is on disk: eras exist so that shard count and bucket width can change for
//! later buckets without touching earlier ones.

mod announce;
mod era;
mod era_add;
mod era_suggest;
mod era_watch;
mod eras_log;
mod period;
mod retention;
mod rows;
pub mod tables;

pub use announce::{Announced, load_periods, load_writers};
pub use era::{Bucket, BucketWidth, Era, Eras, ErasError, Place, ShardCount};
pub use era_add::{ANNOUNCED_AHEAD, AddEraError, CLOCK_SKEW_MAX, add_era};
pub use era_suggest::{Measured, Suggestion, suggest_era};
pub use era_watch::{EraWatch, KnownEras};
pub use eras_log::{ErasFailure, install_eras, load_eras};
pub use period::{Period, Resolution, ResolutionError};
pub use retention::RetentionTimes;
pub use rows::{
    BirthRow, BirthState, BlockRow, CatalogRow, Covered, EraRow, FrameRow, LeaseRow, MarkRow, MarkState,
    MetricFact, PeriodRow, RejectCountRow, RejectKind, RejectRow, SealRow, SealSummary, SegmentRow,
    WriterRow,
};
