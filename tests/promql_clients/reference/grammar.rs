//! Chance that speaks PromQL: expressions over the fleet, and moments and ranges to ask them for. Pure.
//!
//! Moments are whole minutes, where rollups can answer, or lie on half a second: always so where there is a subquery,
//! whose steps are whole seconds, so that it does not matter whether a range includes its start.

use tidemill_tests::random::Random;

use super::fleet::{LENGTH_MS, START_MS};

/// An expression and when to evaluate it, in milliseconds.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) expression: String,
    pub(crate) times: Times,
}

/// One moment or several.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Times {
    Instant(u64),
    Range { start: u64, end: u64, step: u64 },
}

/// The generator.
#[derive(Debug)]
pub(crate) struct Grammar {
    random: Random,
}

/// Fractions of which `topk` and comparisons find no two alike.
const FLOATS: [&str; 2] = ["temperature", "pressure"];
const GAUGES: [&str; 4] = ["temperature", "pressure", "level", "open"];
const COUNTERS: [&str; 2] = ["energy_total", "starts_total"];
const MATCHERS: [&str; 10] = [
    "site=\"north\"",
    "site!=\"south\"",
    "site=~\"n.*|east\"",
    "site!~\".*th\"",
    "line=\"\"",
    "line!=\"\"",
    "line=~\"line-[01]\"",
    "device=~\"machine-[0-6]\"",
    "device!=\"machine-3\"",
    "tenant=\"default\"",
];
const RANGES: [&str; 9] = ["1m", "2m", "5m", "10m", "17m30s", "30m", "1h", "2h", "90s"];
const OFFSETS: [&str; 6] = ["1m", "5m", "1h", "90s", "-2m", "-30s"];
const LABELS: [&str; 5] = ["site", "line", "device", "tenant", "nothing"];

impl Grammar {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: Random::of(seed) }
    }

    /// The next question; one in four lies on the windows of rollups.
    pub(crate) fn question(&mut self) -> Question {
        if self.chance(25) { self.on_windows() } else { self.anywhere() }
    }

    /// A function over whole minutes or hours at such moments, by itself or aggregated.
    fn on_windows(&mut self) -> Question {
        let step = 1_000 * self.one(&[60, 600, 3_600, 3_600, 7_200]);
        let range = self.one(&["10m", "1h", "1h", "2h", "90m"]);
        let offset = self.one(&["", "", "", " offset 1h", " offset -10m"]);
        let call = if self.chance(30) {
            let function = self.one(&["rate", "increase", "resets", "changes", "delta"]);
            format!("{function}({}[{range}]{offset})", self.selector(&COUNTERS))
        } else {
            let which = ["avg", "min", "max", "sum", "count", "last", "stddev", "stdvar", "present"];
            format!("{}_over_time({}[{range}]{offset})", self.one(&which), self.selector(&GAUGES))
        };
        let expression = match self.random.below(4) {
            0 => format!("{}{} ({call})", self.one(&["sum", "avg", "max", "count"]), self.grouping()),
            1 => format!("{call} * 2 + 1"),
            _ => call,
        };
        let start = START_MS + step * self.random.below(LENGTH_MS / step);
        Question {
            expression,
            times: Times::Range { start, end: start + step * self.random.below(30), step },
        }
    }

    fn anywhere(&mut self) -> Question {
        let expression = match self.random.below(12) {
            0 => self.scalar(),
            _ => self.vector(3),
        };
        let half = if expression.contains(':') { 500 } else { 500 * self.random.below(2) };
        let minute = 60_000;
        // Before the first sample and after the last one, too.
        let from = START_MS - 10 * minute;
        let mut start = from + minute * self.random.below(LENGTH_MS / minute + 20);
        if self.chance(30) {
            start = start.next_multiple_of(60 * minute);
        }
        let start = start + half;
        let times = if self.chance(33) {
            Times::Instant(start)
        } else {
            let step = self.one(&[15, 60, 60, 300, 600, 3_600]) * 1_000;
            Times::Range { start, end: start + step * self.random.below(40), step }
        };
        Question { expression, times }
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    fn one<T: Copy>(&mut self, choices: &[T]) -> T {
        let place = self.random.below(u64::try_from(choices.len()).unwrap_or(1));
        choices[usize::try_from(place).unwrap_or(0)]
    }

    fn selector(&mut self, metrics: &[&str]) -> String {
        let metric = self.one(metrics);
        let mut matchers: Vec<&str> = Vec::new();
        while self.chance(35) && matchers.len() < 2 {
            matchers.push(self.one(&MATCHERS));
        }
        match matchers.as_slice() {
            [] => metric.to_owned(),
            some => format!("{metric}{{{}}}", some.join(",")),
        }
    }

    /// `offset`, `@`, both or neither.
    fn modifiers(&mut self) -> String {
        let mut text = String::new();
        if self.chance(10) {
            let at = START_MS + 60_000 * self.random.below(LENGTH_MS / 60_000) + 500;
            let at = format!("{}.5", at / 1_000);
            text.push_str(" @ ");
            text.push_str(self.one(&[at.as_str(), at.as_str(), "start()", "end()"]));
        }
        if self.chance(20) {
            text.push_str(" offset ");
            text.push_str(self.one(&OFFSETS));
        }
        text
    }

    fn number(&mut self) -> String {
        self.one(&["0.5", "2", "-3", "20", "7", "1015", "1e3"]).to_owned()
    }

    fn scalar(&mut self) -> String {
        match self.random.below(5) {
            0 => "time()".to_owned(),
            1 => format!("scalar({}) * 2", self.selector(&FLOATS)),
            2 => format!("vector({}) + time() % 3600", self.number()),
            3 => format!("{} ^ 2 + pi()", self.number()),
            _ => {
                self.one(&["hour()", "minute(vector(time()))", "day_of_week()", "days_in_month()"]).to_owned()
            }
        }
    }

    /// A vector of at most this depth.
    fn vector(&mut self, depth: u32) -> String {
        if depth == 0 {
            return self.leaf();
        }
        match self.random.below(11) {
            0 => self.leaf(),
            1..=3 => self.over_range(depth - 1),
            4..=6 => self.aggregation(depth - 1),
            7..=8 => self.binary(depth - 1),
            9 => self.function(depth - 1),
            _ => self.sets(depth - 1),
        }
    }

    fn leaf(&mut self) -> String {
        let selector = match self.random.below(3) {
            0 => self.selector(&GAUGES),
            1 => self.selector(&COUNTERS),
            _ => self.selector(&FLOATS),
        };
        format!("{selector}{}", self.modifiers())
    }

    fn range(&mut self, metrics: &[&str]) -> String {
        format!("{}[{}]{}", self.selector(metrics), self.one(&RANGES), self.modifiers())
    }

    /// A range of an expression at steps. Within one there is no other: its steps would be whole seconds of whole seconds.
    fn subquery(&mut self, depth: u32) -> String {
        let inner = self.vector(depth.min(1));
        let inner = if inner.contains(':') { self.leaf() } else { inner };
        let (range, step) = (self.one(&["10m", "30m", "1h", "25m"]), self.one(&["1m", "30s", "5m", "45s"]));
        format!("({inner})[{range}:{step}]{}", self.modifiers())
    }

    fn over_range(&mut self, depth: u32) -> String {
        if self.chance(30) {
            let function = self.one(&["rate", "increase", "irate", "resets", "changes", "idelta"]);
            return format!("{function}({})", self.range(&COUNTERS));
        }
        let range = if self.chance(25) { self.subquery(depth) } else { self.range(&GAUGES) };
        match self.random.below(8) {
            0 => format!("quantile_over_time({}, {range})", self.one(&["0", "0.3", "0.5", "0.99", "1", "2"])),
            1 => format!("predict_linear({range}, {})", self.one(&["600", "-60"])),
            2 => format!("absent_over_time({range})"),
            3 => format!("{}({range})", self.one(&["deriv", "delta", "idelta", "changes"])),
            _ => {
                let which = ["avg", "min", "max", "sum", "count", "last", "stddev", "stdvar", "present"];
                format!("{}_over_time({range})", self.one(&which))
            }
        }
    }

    fn grouping(&mut self) -> String {
        let labels = match self.random.below(3) {
            0 => self.one(&LABELS).to_owned(),
            1 => format!("{}, {}", self.one(&LABELS), self.one(&LABELS)),
            _ => String::new(),
        };
        match self.random.below(4) {
            0 => String::new(),
            1 => format!(" without ({labels})"),
            _ => format!(" by ({labels})"),
        }
    }

    fn aggregation(&mut self, depth: u32) -> String {
        let grouping = self.grouping();
        match self.random.below(8) {
            0 => format!("quantile{grouping} ({}, {})", self.one(&["0.1", "0.5", "0.9"]), self.vector(depth)),
            1 => {
                // Where values are alike, which of them are taken is nobody's promise.
                let function = self.one(&["avg_over_time", "max_over_time", "deriv"]);
                format!(
                    "{}{grouping} (2, {function}({}))",
                    self.one(&["topk", "bottomk"]),
                    self.range(&FLOATS)
                )
            }
            2 => format!("count_values{grouping} (\"value\", {})", self.selector(&["level", "open"])),
            _ => {
                let which = ["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"];
                format!("{}{grouping} ({})", self.one(&which), self.vector(depth))
            }
        }
    }

    fn binary(&mut self, depth: u32) -> String {
        let arithmetic = self.one(&["+", "-", "*", "/", "%", "^", "atan2"]);
        // The remainder jumps where the last digit of an average differs.
        let smooth = self.one(&["+", "-", "*", "/", "^", "atan2"]);
        let comparison = self.one(&[">", "<", ">=", "<=", "!=", "> bool", "< bool", "== bool"]);
        let (left, right) = (self.leaf(), self.leaf());
        match self.random.below(8) {
            0 => format!("({}) {} {}", self.vector(depth), self.one(&["+", "-", "*", "/"]), self.number()),
            1 => format!("{} {arithmetic} ({left})", self.number()),
            2 => format!("{left} {arithmetic} on (device, tenant) {right}"),
            3 => format!("{left} {comparison} ignoring (line) {right}"),
            4 => {
                let one = format!("avg by (site) ({right})");
                let labels = self.one(&["", "nothing"]);
                format!("{left} {smooth} on (site) group_left ({labels}) {one}")
            }
            5 => format!("sum by (site) ({left}) {smooth} on (site) group_right () {right}"),
            6 => format!("{} {comparison} {}", self.selector(&FLOATS), self.number()),
            _ => format!("{} {smooth} {}", self.over_range(0), self.over_range(0)),
        }
    }

    fn sets(&mut self, depth: u32) -> String {
        let (left, right) = (self.vector(depth.min(1)), self.vector(depth.min(1)));
        let operator = self.one(&["and", "or", "unless"]);
        let matching = self.one(&["", " on (device)", " on (site)", " ignoring (line, site)", " on ()"]);
        format!("({left}) {operator}{matching} ({right})")
    }

    fn function(&mut self, depth: u32) -> String {
        let vector = self.vector(depth);
        match self.random.below(9) {
            0 => {
                let which = [
                    "abs", "ceil", "floor", "exp", "ln", "log2", "log10", "sqrt", "sgn", "-", "cos", "atan",
                    "rad",
                ];
                format!("{}({vector})", self.one(&which))
            }
            1 => format!("{}({vector}, {})", self.one(&["clamp_min", "clamp_max"]), self.number()),
            2 => format!("clamp({vector}, 1, 25)"),
            3 => format!("label_replace({vector}, \"place\", \"$1-x\", \"site\", \"(.*)th\")"),
            4 => format!("label_join({vector}, \"both\", \"/\", \"site\", \"line\")"),
            5 => format!("timestamp({}) - {}", self.leaf(), START_MS / 1_000),
            6 => format!("absent({})", self.leaf()),
            7 => {
                let buckets = format!("rate(latency_seconds_bucket[{}])", self.one(&RANGES));
                let by = self.one(&["sum by (le) ", "sum by (le, device) ", ""]);
                format!("histogram_quantile({}, {by}({buckets}))", self.one(&["0.1", "0.5", "0.99", "1.5"]))
            }
            _ => format!(
                "{}(timestamp({}))",
                self.one(&["hour", "minute", "day_of_month", "month", "year"]),
                self.leaf()
            ),
        }
    }
}
