//! Gathering the windows of a metric, source by source, into frames of about equal size.

use crate::layout::{Bucket, Resolution};
use crate::model::{Metric, Sample, SourceId, Value};
use crate::rollup::{Fields, WindowState};

use super::encode::{Head, Source, encode};
use super::{FrameBody, FrameLimits, FrameRefusal, WINDOWS_MAX};

/// Takes the windows of one metric, bucket and resolution, and gives frames as they fill.
#[derive(Debug)]
pub struct FrameBuilder {
    head: Head,
    limits: FrameLimits,
    sources: Vec<Source>,
    windows: usize,
    last: Option<SourceId>,
    /// What the frames so far took for a window.
    bytes_per_window: usize,
}

impl FrameBuilder {
    /// About what a window takes, as long as there is nothing to learn it from.
    const FIRST_BYTES_PER_WINDOW: usize = 16;
    /// What a source takes besides its windows.
    const BYTES_PER_SOURCE: usize = 18;
    /// More than all columns of a window take, texts and sketches aside.
    const WINDOW_BYTES_MAX: usize = 400;

    /// For the windows of `metric` in `bucket`, of width `resolution`.
    pub fn new(metric: Metric, resolution: Resolution, bucket: Bucket, limits: FrameLimits) -> Self {
        Self {
            head: Head { metric, bucket, resolution },
            limits,
            sources: Vec::new(),
            windows: 0,
            last: None,
            bytes_per_window: Self::FIRST_BYTES_PER_WINDOW,
        }
    }

    /// Takes the windows of a source that hold samples, by their number in the bucket, and gives the frames that are
    /// full. A source that is refused is not in any frame.
    ///
    /// Panics where sources or windows do not ascend, samples lie outside of their windows, or folds are not whole.
    pub fn push(
        &mut self,
        source: SourceId,
        windows: &[(u32, WindowState)],
    ) -> Result<Vec<FrameBody>, FrameRefusal> {
        self.check(windows);
        if windows.len() > WINDOWS_MAX {
            return Err(FrameRefusal::TooManyWindows(windows.len()));
        }
        let taken = Source { id: source, windows: windows.to_vec() };
        if size_max(windows) > self.limits.body_bytes_max {
            let bytes = encode(&self.head, std::slice::from_ref(&taken)).len();
            if bytes > self.limits.body_bytes_max {
                return Err(FrameRefusal::TooLarge { bytes, limit: self.limits.body_bytes_max });
            }
        }
        Ok(self.add(taken))
    }

    /// Notes a source that has samples of the metric in the bucket, but whose windows are not kept: its samples are
    /// to be read instead.
    pub fn push_without_windows(&mut self, source: SourceId) -> Vec<FrameBody> {
        self.add(Source { id: source, windows: Vec::new() })
    }

    /// The frames of what is left.
    pub fn finish(mut self) -> Vec<FrameBody> {
        self.flush()
    }

    fn add(&mut self, source: Source) -> Vec<FrameBody> {
        assert!(self.last.is_none_or(|last| last < source.id), "sources of frames ascend");
        self.last = Some(source.id);
        let mut finished = Vec::new();
        if self.windows + source.windows.len() > WINDOWS_MAX {
            finished = self.flush();
        }
        self.windows += source.windows.len();
        self.sources.push(source);
        let estimate = self.windows * self.bytes_per_window + self.sources.len() * Self::BYTES_PER_SOURCE;
        if estimate >= self.limits.target_bytes {
            finished.append(&mut self.flush());
        }
        finished
    }

    fn flush(&mut self) -> Vec<FrameBody> {
        let sources = std::mem::take(&mut self.sources);
        self.windows = 0;
        let mut finished = Vec::new();
        self.encode(&sources, &mut finished);
        finished
    }

    /// The sources in one frame, or in as many as the limit needs.
    fn encode(&mut self, sources: &[Source], finished: &mut Vec<FrameBody>) {
        let (Some(first), Some(last)) = (sources.first(), sources.last()) else { return };
        let body = encode(&self.head, sources);
        if body.len() > self.limits.body_bytes_max && sources.len() > 1 {
            let (some, more) = sources.split_at(sources.len() / 2);
            self.encode(some, finished);
            self.encode(more, finished);
            return;
        }
        let windows = sources.iter().map(|source| source.windows.len()).sum::<usize>();
        let own = body.len().saturating_sub(sources.len() * Self::BYTES_PER_SOURCE);
        self.bytes_per_window = own.checked_div(windows).map_or(self.bytes_per_window, |bytes| bytes.max(1));
        finished.push(FrameBody {
            first_source: first.id,
            last_source: last.id,
            windows: crate::codec::convert::position(windows),
            body,
        });
    }

    fn check(&self, windows: &[(u32, WindowState)]) {
        assert!(windows.is_sorted_by(|a, b| a.0 < b.0), "windows of a source ascend");
        for (index, state) in windows {
            let start = self.head.start_nanos(*index);
            let end = start + self.head.resolution.nanos();
            let first = state.interior.first().map_or(end - 1, |first| first.time.nanos());
            let last = state.interior.last().map_or(first, |last| last.time.nanos());
            assert!(start < first && last < end, "samples lie inside of their window");
            let boundary = state.boundary.as_ref().map_or(start, |sample| sample.time.nanos());
            assert!(boundary == start, "a boundary sample lies at the start of its window");
            assert!(state.interior.known() == Fields::ALL, "frames are made of whole folds");
            assert!(!state.is_empty(), "a window in a frame holds samples");
        }
    }
}

/// More bytes than the windows take.
fn size_max(windows: &[(u32, WindowState)]) -> usize {
    windows.iter().map(|(_, state)| window_size_max(state)).sum()
}

fn window_size_max(state: &WindowState) -> usize {
    let text = |value: &Value| if let Value::Text(text) = value { text.len() } else { 0 };
    let sample = |sample: Option<&Sample>| sample.map_or(0, |sample| text(&sample.value));
    let fold = &state.interior;
    let ends = sample(fold.first()) + sample(fold.last()) + sample(state.boundary.as_ref());
    let spans = fold.states().and_then(Result::ok).unwrap_or_default();
    let states: usize = spans.iter().map(|span| 32 + span.state.text_bytes()).sum();
    let sketch = fold.sketch().map_or(0, |sketch| 64 + 9 * sketch.bins());
    FrameBuilder::WINDOW_BYTES_MAX + ends + states + sketch
}
