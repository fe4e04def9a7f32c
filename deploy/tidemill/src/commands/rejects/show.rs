//! How rejects look on a terminal: a line each, or one of them whole. Control characters of payloads and topics are
//! shown escaped: they come from strangers.

use tidemill_analytics::moment::Utc;
use tidemill_store::layout::{RejectCountRow, RejectRow};
use tidemill_store::rejects::{Listed, RejectPlace};

use super::replay::RefusedAgain;

/// Longest detail in a list, in characters.
const DETAIL_CHARS: usize = 100;

/// What is shown of a reject in a list.
pub(super) struct Line<'a> {
    pub(super) id: &'a str,
    pub(super) received_at: &'a str,
    pub(super) kind: &'a str,
    /// Whether it is taken by itself once what it needs is there.
    pub(super) waits: bool,
    pub(super) reason: &'a str,
    pub(super) detail: &'a str,
    pub(super) topic: &'a str,
    pub(super) payload_bytes: u64,
}

/// What is shown of a single reject.
pub(super) struct Whole<'a> {
    pub(super) line: Line<'a>,
    /// As text where it is text, else in hexadecimal.
    pub(super) payload: &'a str,
}

impl Line<'_> {
    pub(super) fn print(&self) -> String {
        let Self { id, received_at, reason, detail, topic, payload_bytes, .. } = self;
        let kind = self.kind();
        let detail: String = detail.chars().take(DETAIL_CHARS).collect();
        let (topic, detail) = (plain(topic), plain(&detail));
        format!("{id}  {received_at}  {kind}  {reason}  {topic}  {payload_bytes} bytes  {detail}\n")
    }
}

impl Line<'_> {
    fn kind(&self) -> String {
        if self.waits { format!("{} (waits)", self.kind) } else { self.kind.to_owned() }
    }
}

impl Whole<'_> {
    pub(super) fn print(&self) -> String {
        let Line { id, received_at, reason, detail, topic, payload_bytes, .. } = &self.line;
        let kind = self.line.kind();
        let (topic, detail, payload) = (plain(topic), plain(detail), plain(self.payload));
        format!(
            "id:           {id}\nreceived at:  {received_at}\nkind:         {kind}\nreason:       {reason}\n\
             detail:       {detail}\ntopic:        {topic}\npayload:      {payload_bytes} bytes\n{payload}\n"
        )
    }
}

/// What is shown of rejects that were not kept.
pub(super) struct CountLine<'a> {
    pub(super) first: &'a str,
    pub(super) last: &'a str,
    pub(super) count: u64,
    pub(super) kind: &'a str,
    pub(super) reason: &'a str,
    pub(super) detail: &'a str,
    pub(super) topic: &'a str,
}

/// What a list says where there are more counts than it shows.
pub(super) const MORE_COUNTS: &str = "not kept: there are more counts; ask for a shorter time\n";

impl CountLine<'_> {
    pub(super) fn print(&self) -> String {
        let Self { first, last, count, kind, reason, detail, topic } = self;
        let detail: String = detail.chars().take(DETAIL_CHARS).collect();
        let (topic, detail) = (plain(topic), plain(&detail));
        format!("not kept: {count} from {first} to {last}  {kind}  {reason}  {topic}  the first: {detail}\n")
    }
}

/// The line of a reject that was taken again in vain.
pub(super) fn refused(RefusedAgain { id, reason, detail }: &RefusedAgain) -> String {
    format!("{id}  still refused  {reason}  {}\n", plain(detail))
}

/// What is said of rejects that were deleted, or would be.
pub(super) fn purged(found: usize, yes: bool) -> String {
    if yes {
        format!("{found} deleted\n")
    } else {
        format!("{found} would be deleted; add --yes to delete them for good\n")
    }
}

/// The line of a count of the store.
pub(super) fn count(row: &RejectCountRow) -> String {
    CountLine {
        first: &Utc(row.first).to_string(),
        last: &Utc(row.last).to_string(),
        count: row.count,
        kind: row.kind.as_str(),
        reason: &row.reason,
        detail: &row.detail,
        topic: &row.topic,
    }
    .print()
}

/// The line of a reject of the store.
pub(super) fn line(listed: &Listed) -> String {
    let Listed { place, row, payload_bytes } = listed;
    with_line(place, row, *payload_bytes, |line| line.print())
}

/// All of a reject of the store.
pub(super) fn whole(place: &RejectPlace, row: &RejectRow) -> String {
    let hex = || row.payload.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let payload = std::str::from_utf8(&row.payload).map_or_else(|_| hex(), str::to_owned);
    with_line(place, row, row.payload.len(), |line| Whole { line, payload: &payload }.print())
}

fn with_line(
    place: &RejectPlace,
    row: &RejectRow,
    payload_bytes: usize,
    print: impl FnOnce(Line<'_>) -> String,
) -> String {
    print(Line {
        id: &place.to_string(),
        received_at: &Utc(row.received_at).to_string(),
        kind: row.kind.as_str(),
        waits: place.waits(),
        reason: &row.reason,
        detail: &row.detail,
        topic: &row.topic,
        payload_bytes: u64::try_from(payload_bytes).unwrap_or(u64::MAX),
    })
}

/// `text` with its control characters escaped, line ends and tabs excepted.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() && !matches!(character, '\n' | '\t') {
            plain.extend(character.escape_default());
        } else {
            plain.push(character);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_send_cannot_drive_a_terminal() {
        let line = Line {
            id: "1-2-3-4",
            received_at: "then",
            kind: "dead_letter",
            waits: false,
            reason: "syntax",
            detail: "at byte 0",
            topic: "a/\u{1b}[2J",
            payload_bytes: 7,
        };
        let printed = Whole { line, payload: "x\u{7}\r\ny" }.print();
        assert!(!printed.contains(['\u{1b}', '\u{7}', '\r']), "{printed:?}");
        assert!(printed.contains("a/\\u{1b}[2J") && printed.ends_with("x\\u{7}\\r\ny\n"), "{printed:?}");
    }
}
