//! What a query needs of the store: a walk of its tree that carries the times along, as evaluation will.
//!
//! Pure. Evaluation asks for nothing else afterwards, so each selector's range here must cover every window that
//! evaluation looks at: both use [`shifted`] and [`subquery_steps`].

use super::expr::{At, Call, Expr, Grouping, Node, Selector, Shift, Subquery};
use super::function::{Aggregation, Function, RangeFunction};
use super::settings::{SUBQUERY_STEP, Settings};
use super::source::{Demand, Hint, Wanted};
use super::value::Steps;

/// The moments that a selector with this shift looks at: one where it has an `@`.
pub(super) fn shifted(shift: Shift, steps: Steps, settings: &Settings) -> Steps {
    let moments = match shift.at {
        None => steps,
        Some(At::Start) => Steps::one(settings.steps.start),
        Some(At::End) => Steps::one(settings.end),
        Some(At::Time(at)) => Steps::one(at),
    };
    moments.earlier(shift.offset)
}

/// The moments at which a subquery's inner part is evaluated, for all windows that end at `ends`: multiples of its
/// step, whatever the query's times. May be none.
pub(super) fn subquery_steps(subquery: &Subquery, ends: Steps) -> Steps {
    let step = subquery.step.unwrap_or(SUBQUERY_STEP);
    let after = ends.start.saturating_sub(subquery.range);
    let start = after.div_euclid(step).saturating_add(1).saturating_mul(step);
    if start > ends.last() {
        return Steps { start, step, count: 0 };
    }
    Steps { step, ..Steps::between(start, ends.last(), step) }
}

/// One demand for each selector, by its slot.
pub(super) fn demands(root: &Node, slots: usize, settings: &Settings) -> Vec<Demand> {
    let mut found: Vec<(usize, Demand)> = Vec::with_capacity(slots);
    let mut walk = Walk { settings, found: &mut found };
    walk.node(root, settings.steps, None);
    found.sort_by_key(|(slot, _)| *slot);
    found.into_iter().map(|(_, demand)| demand).collect()
}

struct Walk<'a> {
    settings: &'a Settings,
    found: &'a mut Vec<(usize, Demand)>,
}

/// The aggregation that a node's values go into.
type Into<'a> = Option<(Aggregation, &'a Grouping)>;

impl Walk<'_> {
    fn node(&mut self, node: &Node, steps: Steps, into: Into<'_>) {
        match &node.expr {
            Expr::Number(_) | Expr::Text(_) => {}
            Expr::Selector(selector) => self.instant(selector, steps, Wanted::Latest, into),
            Expr::Range(range) => self.range(&range.selector, range.range, steps, Wanted::Samples, into),
            Expr::Subquery(subquery) => self.subquery(subquery, steps),
            Expr::Negate(inner) => self.node(inner, steps, None),
            Expr::Binary(binary) => {
                self.node(&binary.left, steps, None);
                self.node(&binary.right, steps, None);
            }
            Expr::Aggregate(aggregate) => {
                if let Some(parameter) = &aggregate.parameter {
                    self.node(parameter, steps, None);
                }
                self.node(&aggregate.inner, steps, Some((aggregate.op, &aggregate.grouping)));
            }
            Expr::Call(call) => self.call(call, steps, into),
        }
    }

    fn call(&mut self, call: &Call, steps: Steps, into: Into<'_>) {
        for arg in &call.args {
            match (&arg.expr, call.function) {
                // It wants to know when the value was measured.
                (Expr::Selector(selector), Function::Timestamp) => {
                    self.instant(selector, steps, Wanted::Samples, None);
                }
                (Expr::Range(range), Function::Range(function)) => {
                    let wanted = wanted(function);
                    self.range(&range.selector, range.range, steps, wanted, into);
                }
                _ => self.node(arg, steps, None),
            }
        }
    }

    fn instant(&mut self, selector: &Selector, steps: Steps, wanted: Wanted, into: Into<'_>) {
        let window = self.settings.lookback.of_selector(&selector.matchers);
        self.range(selector, window, steps, wanted, into);
    }

    fn range(&mut self, selector: &Selector, window: i64, steps: Steps, wanted: Wanted, into: Into<'_>) {
        let ends = shifted(selector.shift, steps, self.settings);
        let demand = Demand {
            slot: selector.slot,
            matchers: selector.matchers.clone(),
            after: ends.start.saturating_sub(window),
            through: ends.last(),
            hint: Hint {
                wanted,
                window,
                ends,
                aggregation: into.map(|(op, grouping)| (op, grouping.clone())),
            },
            samples_max: self.settings.samples_max,
        };
        self.found.push((selector.slot, demand));
    }

    fn subquery(&mut self, subquery: &Subquery, steps: Steps) {
        let ends = shifted(subquery.shift, steps, self.settings);
        self.node(&subquery.inner, subquery_steps(subquery, ends), None);
    }
}

/// Functions with more arguments than their range need its samples; so do those of no single value.
fn wanted(function: RangeFunction) -> Wanted {
    use RangeFunction as F;
    if matches!(function, F::QuantileOverTime | F::PredictLinear | F::DoubleExponentialSmoothing) {
        return Wanted::Samples;
    }
    // Absence is the lack of presence, over all series.
    let absent = function == F::AbsentOverTime;
    Wanted::Function(if absent { F::PresentOverTime } else { function })
}

#[cfg(test)]
mod tests {
    use super::super::settings::{Lookback, Mode};
    use super::super::syntax::parse;
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn of(query: &str) -> Vec<Demand> {
        let minute = std::time::Duration::from_mins(1);
        let settings = Settings {
            mode: Mode::Range,
            steps: Steps::between(1000 * SECOND, 1100 * SECOND, 10 * SECOND),
            end: 1105 * SECOND,
            lookback: Lookback::new(minute * 5, &[]),
            samples_max: 1,
        };
        let parsed = parse(query).unwrap();
        demands(&parsed.root, parsed.slots, &settings)
    }

    fn spans(query: &str) -> Vec<(i64, i64)> {
        of(query).iter().map(|demand| (demand.after / SECOND, demand.through / SECOND)).collect()
    }

    #[test]
    fn each_selector_asks_for_all_that_its_windows_cover() {
        assert_eq!(spans("a + rate(b[1m] offset 20s)"), [(700, 1100), (920, 1080)]);
        assert_eq!(spans("a @ end() offset -5s"), [(810, 1110)]);
        assert_eq!(spans("max_over_time(rate(a[1m])[30s:20s])"), [(920, 1100)]);
    }

    #[test]
    fn the_hint_says_what_becomes_of_the_samples() {
        let hint = |query: &str| of(query).remove(0).hint;
        let rate = hint("sum by (device) (rate(a[1m] offset 10s))");
        assert_eq!((rate.wanted, rate.window), (Wanted::Function(RangeFunction::Rate), 60 * SECOND));
        assert_eq!(rate.ends, Steps { start: 990 * SECOND, step: 10 * SECOND, count: 11 });
        assert_eq!(rate.aggregation, Some((Aggregation::Sum, Grouping::By(vec!["device".into()]))));
        assert_eq!(hint("abs(a)").wanted, Wanted::Latest);
        assert_eq!(hint("timestamp(a)").wanted, Wanted::Samples);
        assert_eq!(hint("quantile_over_time(0.5, a[5m])").wanted, Wanted::Samples);
    }
}
