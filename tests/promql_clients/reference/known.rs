//! Where Prometheus 2.42 answers differently and it is not Tidemill's mistake: each reason with what it excuses. Pure.

use super::answer::Difference;

/// A reason, and whether it excuses a difference in the answer to an expression.
type Reason = (&'static str, fn(&str, &Difference) -> bool);

/// Prometheus 3, whose tests Tidemill passes, has changed the first four.
const REASONS: [Reason; 5] = [
    ("2.42 keeps the name over atan2; 3 drops it as over any arithmetic", |text, _| text.contains(" atan2 ")),
    ("2.42 forgets the range of predict_linear under @ after the first step", |text, _| {
        arguments(text, "predict_linear(").any(|after| after.contains(" @ "))
    }),
    ("2.42 takes the deviation of a group that starts with NaN for 0", |text, difference| {
        let not_a_number =
            matches!(difference, Difference::Value(_, left, right) if left.is_nan() && !right.is_nan());
        (text.contains("stddev") || text.contains("stdvar")) && not_a_number
    }),
    (
        "2.42 refuses series that differ by a name that is dropped, even where they are aggregated; 3 drops names at the end",
        |_, difference| matches!(difference, Difference::Form(form) if form.ends_with("series – execution: vector cannot contain metrics with the same labelset")),
    ),
    ("Prometheus forgets the offset under @ within timestamp()", |text, _| {
        arguments(text, "timestamp(").any(|after| after.contains(" @ ") && after.contains(" offset "))
    }),
];

/// What follows each call of a function, up to the end of the whole expression.
fn arguments<'a>(text: &'a str, call: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(call).skip(1)
}

/// The reason for which an expression may be answered differently.
pub(crate) fn reason(expression: &str, difference: &Difference) -> Option<&'static str> {
    REASONS.into_iter().find(|(_, excuses)| excuses(expression, difference)).map(|(reason, _)| reason)
}
