//! Where a walk over nested members is: the names of the objects around the current one.
//!
//! Pure text, used again from message to message.

/// The names of the objects around the current member, joined with `.`, and where each starts.
#[derive(Debug, Default)]
pub(super) struct Path {
    pub(super) text: String,
    pub(super) segments: Vec<usize>,
}

impl Path {
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.segments.clear();
    }

    /// Enters the object `name`; gives what [`Path::leave`] needs.
    pub(super) fn enter(&mut self, name: &str) -> usize {
        let before = self.text.len();
        if !self.segments.is_empty() {
            self.text.push('.');
        }
        self.segments.push(self.text.len());
        self.text.push_str(name);
        before
    }

    pub(super) fn leave(&mut self, before: usize) {
        self.segments.pop();
        self.text.truncate(before);
    }

    /// The segments in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        let ends = self.segments.iter().skip(1).map(|start| start - 1).chain([self.text.len()]);
        self.segments.iter().zip(ends).map(|(&start, end)| self.text.get(start..end).unwrap_or_default())
    }
}
