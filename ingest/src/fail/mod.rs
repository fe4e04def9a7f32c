//! Fail points: named moments on the way of a message at which a test ends the process as a power cut would, so that what
//! was promised by then is judged for each of them, and not only for the moments that chance finds.
//!
//! Only builds with the feature `fail_points` have them; in all others [`reach`] is nothing, and nothing is wrapped. Knows
//! neither how a process is ended nor who asks for it: the composition root says both.

#[cfg(feature = "fail_points")]
mod disk;
#[cfg(feature = "fail_points")]
mod store;

use std::fmt;
use std::str::FromStr;
#[cfg(feature = "fail_points")]
use std::sync::OnceLock;
#[cfg(feature = "fail_points")]
use std::sync::atomic::{AtomicU32, Ordering};

#[cfg(feature = "fail_points")]
pub(crate) use disk::disk;
#[cfg(feature = "fail_points")]
pub(crate) use store::store;

/// A moment. What is written "before" has not been asked of the store or the disk; "after", it has said that it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// A group of messages has its room, and nothing was done with it.
    Received,
    /// Before rows of the catalog are written.
    CatalogBefore,
    /// After rows of the catalog are written.
    CatalogAfter,
    /// Before marks are written.
    MarkBefore,
    /// After marks are written.
    MarkAfter,
    /// Before a segment is written, by the one who took it or by the forwarder of the spool.
    SegmentBefore,
    /// After a segment is written; of the forwarder, before the spool lets go of it.
    SegmentAfter,
    /// Before a reject is written.
    RejectBefore,
    /// After a reject is written.
    RejectAfter,
    /// Before bytes are appended to the spool.
    SpoolWriteBefore,
    /// When half of the bytes are appended to the spool.
    SpoolWriteTorn,
    /// Before the spool is synced.
    SpoolSyncBefore,
    /// After the spool is synced.
    SpoolSyncAfter,
    /// Before a forwarded file of the spool is removed.
    SpoolRemoveBefore,
    /// After a forwarded file of the spool is removed.
    SpoolRemoveAfter,
    /// A group is durable, and none of its acknowledgements is written anywhere.
    AckBefore,
    /// The acknowledgements of a group wait to be sent.
    AckQueued,
    /// Answers to a device were handed to the network.
    AnswerSent,
}

/// Each point with its name.
const NAMES: [(Point, &str); 18] = [
    (Point::Received, "received"),
    (Point::CatalogBefore, "catalog_before"),
    (Point::CatalogAfter, "catalog_after"),
    (Point::MarkBefore, "mark_before"),
    (Point::MarkAfter, "mark_after"),
    (Point::SegmentBefore, "segment_before"),
    (Point::SegmentAfter, "segment_after"),
    (Point::RejectBefore, "reject_before"),
    (Point::RejectAfter, "reject_after"),
    (Point::SpoolWriteBefore, "spool_write_before"),
    (Point::SpoolWriteTorn, "spool_write_torn"),
    (Point::SpoolSyncBefore, "spool_sync_before"),
    (Point::SpoolSyncAfter, "spool_sync_after"),
    (Point::SpoolRemoveBefore, "spool_remove_before"),
    (Point::SpoolRemoveAfter, "spool_remove_after"),
    (Point::AckBefore, "ack_before"),
    (Point::AckQueued, "ack_queued"),
    (Point::AnswerSent, "answer_sent"),
];

impl Point {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.into_iter().map(|(point, _)| point)
    }

    /// Whether it lies on the way through the spool alone.
    pub const fn is_of_spool(self) -> bool {
        matches!(
            self,
            Self::SpoolWriteBefore
                | Self::SpoolWriteTorn
                | Self::SpoolSyncBefore
                | Self::SpoolSyncAfter
                | Self::SpoolRemoveBefore
                | Self::SpoolRemoveAfter
        )
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(point, _)| point == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

/// Where to end: a point, and which time of reaching it. Written `segment_after:3`; without a number the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailAt {
    point: Point,
    nth: u32,
}

/// Why no point is armed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FailError {
    /// There are none.
    #[error("this build has no fail points")]
    NotBuilt,
    /// There is none of this name, or the number is none.
    #[error("{0:?} is no fail point; write its name, a colon, and which time of reaching it is meant")]
    Unknown(String),
    /// Another one is armed.
    #[error("a fail point is armed already")]
    Armed,
}

impl FromStr for FailAt {
    type Err = FailError;

    fn from_str(text: &str) -> Result<Self, FailError> {
        let (name, nth) = text.split_once(':').unwrap_or((text, "1"));
        let point = NAMES.iter().find(|(_, known)| *known == name).map(|(point, _)| *point);
        let nth = nth.parse().ok().filter(|nth| *nth > 0);
        match (point, nth) {
            (Some(point), Some(nth)) => Ok(Self { point, nth }),
            _ => Err(FailError::Unknown(text.to_owned())),
        }
    }
}

#[cfg(feature = "fail_points")]
static ARMED: OnceLock<Armed> = OnceLock::new();

#[cfg(feature = "fail_points")]
struct Armed {
    point: Point,
    left: AtomicU32,
    end: fn() -> !,
}

/// From now on, `end` is called where and when `at` says; for the lifetime of the process.
///
/// # Errors
/// Also where this build has no fail points, so that nobody tests in vain.
#[cfg_attr(not(feature = "fail_points"), expect(unused_variables, reason = "there is nothing to arm"))]
pub fn arm(at: FailAt, end: fn() -> !) -> Result<(), FailError> {
    #[cfg(feature = "fail_points")]
    return ARMED
        .set(Armed { point: at.point, left: AtomicU32::new(at.nth), end })
        .map_err(|_| FailError::Armed);
    #[cfg(not(feature = "fail_points"))]
    Err(FailError::NotBuilt)
}

/// The end, if it is due at `point` now. Each call counts as reaching it.
#[cfg(feature = "fail_points")]
fn due(point: Point) -> Option<fn() -> !> {
    let armed = ARMED.get().filter(|armed| armed.point == point)?;
    // Below zero it wraps around, and is not due again for four billion times.
    (armed.left.fetch_sub(1, Ordering::AcqRel) == 1).then_some(armed.end)
}

/// Ends the process if it is to end here.
#[cfg(feature = "fail_points")]
pub(crate) fn reach(point: Point) {
    if let Some(end) = due(point) {
        end();
    }
}

/// Nothing: this build has no fail points.
#[cfg(not(feature = "fail_points"))]
#[inline(always)]
pub(crate) const fn reach(_: Point) {}

/// `wide` itself: this build has no fail points.
#[cfg(not(feature = "fail_points"))]
pub(crate) fn store<W: tidemill_store::wide::Wide>(wide: std::sync::Arc<W>) -> std::sync::Arc<W> {
    wide
}

/// `disk` itself: this build has no fail points.
#[cfg(not(feature = "fail_points"))]
pub(crate) fn disk(disk: Box<dyn crate::spool::Disk>) -> Box<dyn crate::spool::Disk> {
    disk
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_read_back_from_its_name_and_number() {
        for point in Point::all() {
            let first: FailAt = point.to_string().parse().unwrap();
            assert_eq!(first, FailAt { point, nth: 1 });
            let later: FailAt = format!("{point}:37").parse().unwrap();
            assert_eq!(later, FailAt { point, nth: 37 });
        }
    }

    #[test]
    fn what_is_no_point_or_no_number_is_refused() {
        for text in ["", "segment", "segment_after:", "segment_after:0", "segment_after:x", "ack_before:1:2"]
        {
            assert_eq!(text.parse::<FailAt>(), Err(FailError::Unknown(text.to_owned())));
        }
    }
}
