//! How the values of a column are cut into pages, and where its runs begin. Both sides know the lengths of the
//! runs and follow one rule, so that nothing of it is stored: a run goes on the page where the one before it ends
//! if it fits there whole, else it begins a page and fills as many as it needs.

use std::ops::Range;

use crate::codec::convert::{index, position};

/// Values on a page, at most: few enough that reading an hour costs little more than it holds, enough that what a
/// page costs vanishes.
pub(super) const PAGE_VALUES: usize = 1024;

/// The pages of a column.
#[derive(Debug, Clone, Default)]
pub(super) struct Cuts {
    /// Where runs begin, and where they continue on a further page; ascending, from 0.
    starts: Vec<u32>,
    pages: Vec<Page>,
}

/// A page: at least one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    /// Its values, within the column.
    pub(super) values: Range<usize>,
    /// Its parts of runs, within all parts of the column.
    parts: Range<usize>,
}

impl Page {
    /// Whether all its values are of one run.
    pub(super) fn is_of_one_run(&self) -> bool {
        self.parts.len() == 1
    }
}

impl Cuts {
    /// Of runs of these lengths, none of them empty.
    pub(super) fn of(lengths: impl Iterator<Item = usize>) -> Self {
        let mut cuts = Self::default();
        let mut end = 0;
        for length in lengths {
            let (mut at, run_end) = (end, end + length);
            end = run_end;
            let fits = cuts.pages.last().is_some_and(|page| page.values.len() + length <= PAGE_VALUES);
            while at < run_end {
                let part = at..run_end.min(at + PAGE_VALUES);
                at = part.end;
                cuts.put(part, fits);
            }
        }
        cuts
    }

    fn put(&mut self, part: Range<usize>, is_on_last_page: bool) {
        let number = self.starts.len();
        self.starts.push(position(part.start));
        match self.pages.last_mut().filter(|_| is_on_last_page) {
            Some(page) => {
                page.values.end = part.end;
                page.parts.end = number + 1;
            }
            None => self.pages.push(Page { values: part, parts: number..number + 1 }),
        }
    }

    /// How many values.
    pub(super) fn len(&self) -> usize {
        self.pages.last().map_or(0, |page| page.values.end)
    }

    /// The pages, in order.
    pub(super) fn pages(&self) -> &[Page] {
        &self.pages
    }

    /// The page that holds a value.
    pub(super) fn page_of(&self, value: usize) -> usize {
        self.pages.partition_point(|page| page.values.end <= value)
    }

    /// The parts of a page, within the column.
    pub(super) fn parts(&self, page: &Page) -> impl ExactSizeIterator<Item = Range<usize>> {
        let starts = self.starts.get(page.parts.clone()).unwrap_or_default();
        let end = page.values.end;
        starts
            .iter()
            .enumerate()
            .map(move |(at, &start)| index(start)..starts.get(at + 1).map_or(end, |&next| index(next)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_runs_share_a_page_and_long_ones_begin_one() {
        let cuts = Cuts::of([500, 524, 1, 1024, 2500, 400].into_iter());
        let pages: Vec<_> = cuts.pages().iter().map(|page| page.values.clone()).collect();
        assert_eq!(pages, [0..1024, 1024..1025, 1025..2049, 2049..3073, 3073..4097, 4097..4949]);
        let parts = |at: usize| cuts.parts(&cuts.pages()[at]).collect::<Vec<_>>();
        assert_eq!(parts(0), [0..500, 500..1024]);
        assert_eq!(parts(5), [4097..4549, 4549..4949]);
        assert!(cuts.pages()[1].is_of_one_run() && !cuts.pages()[5].is_of_one_run());
        assert_eq!((cuts.len(), cuts.page_of(0), cuts.page_of(3073), cuts.page_of(4948)), (4949, 0, 4, 5));
    }
}
