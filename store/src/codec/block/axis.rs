//! The times of a series, from the pages of its axis that they touch, or from what their first ones tell.

use std::ops::Range;
use std::sync::Arc;

use crate::codec::Even;
use crate::codec::bytes::Malformed;
use crate::codec::run::positions;
use crate::model::{TimeRange, Timestamp};

use super::decode::{Place, Times};
use super::read::bytes_of;
use super::times::NOT_ASCENDING;

impl Times {
    /// All times of a series, where they are even.
    pub(super) fn even(&self, body: &[u8], place: &Place) -> Result<Option<Even>, Malformed> {
        let Some(step) = self.reader.even_step() else { return Ok(None) };
        let mut page = self.cuts.page_of(place.times.start);
        let mut all: Option<Even> = None;
        while let Some(cut) = self.cuts.pages().get(page).filter(|cut| cut.values.start < place.times.end) {
            if !cut.is_of_one_run() {
                return Ok(None);
            }
            let next = self.reader.even(cut, step, bytes_of(body, &self.pages, page))?;
            // Between two pages some may be missing.
            let joined = all.map_or(Some(next), |all| all.followed_by(next));
            let Some(joined) = joined else { return Ok(None) };
            all = Some(joined);
            page += 1;
        }
        Ok(all)
    }

    /// Reads the times of a series in a range into `times`, in place of what was there; gives their positions in the
    /// series.
    pub(super) fn read(
        &self,
        body: &[u8],
        place: &Place,
        range: TimeRange,
        times: &mut Vec<Timestamp>,
    ) -> Result<Range<usize>, Malformed> {
        times.clear();
        let all = &place.times;
        let last = self.cuts.page_of(all.end.saturating_sub(1));
        let mut page = self.first_page(body, self.cuts.page_of(all.start)..last, range.start())?;
        let mut start = 0;
        while let Some(cut) = self.cuts.pages().get(page).filter(|_| page <= last) {
            let own = all.start.max(cut.values.start)..all.end.min(cut.values.end);
            let decoded = self.page(body, page)?;
            let of_page = own.start - cut.values.start..own.end - cut.values.start;
            let of_page = decoded.get(of_page).unwrap_or_default();
            let wanted = positions(of_page, range);
            if times.is_empty() {
                start = own.start - all.start + wanted.start;
            }
            let is_last = wanted.end < of_page.len();
            let found = of_page.get(wanted).unwrap_or_default();
            if times.last().zip(found.first()).is_some_and(|(before, next)| before >= next) {
                return Err(NOT_ASCENDING);
            }
            times.extend_from_slice(found);
            if is_last {
                break;
            }
            page += 1;
        }
        Ok(start..start + times.len())
    }

    /// The last of some pages of one run that begins no later than a time, or the first; the page after them is
    /// the last page of the run.
    fn first_page(&self, body: &[u8], pages: Range<usize>, time: Timestamp) -> Result<usize, Malformed> {
        let (mut least, mut end) = (pages.start, pages.end);
        while least < end {
            let middle = least + (end - least).div_ceil(2);
            if self.first(body, middle)? <= time {
                least = middle;
            } else {
                end = middle - 1;
            }
        }
        Ok(least)
    }

    fn first(&self, body: &[u8], page: usize) -> Result<Timestamp, Malformed> {
        let Some(cut) = self.cuts.pages().get(page) else { return Ok(Timestamp::MAX) };
        self.reader.first(cut, &self.cuts, bytes_of(body, &self.pages, page))
    }

    fn page(&self, body: &[u8], page: usize) -> Result<Arc<[Timestamp]>, Malformed> {
        let (Some(cut), Some(kept)) = (self.cuts.pages().get(page), self.decoded.get(page)) else {
            return Ok(Arc::from([]));
        };
        let decode = || {
            let bytes = bytes_of(body, &self.pages, page);
            self.reader.page(cut, &self.cuts, bytes).map(Arc::from)
        };
        kept.get_or_init(decode).clone()
    }
}
