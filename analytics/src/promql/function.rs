//! The functions and aggregations by name.

/// What a range function makes of the samples of a window. Public, since the store is told: see
/// [`Hint`](super::source::Hint).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the PromQL function of its name")]
pub enum RangeFunction {
    AbsentOverTime,
    AvgOverTime,
    Changes,
    CountOverTime,
    Delta,
    Deriv,
    DoubleExponentialSmoothing,
    FirstOverTime,
    Idelta,
    Increase,
    Irate,
    LastOverTime,
    MadOverTime,
    MaxOverTime,
    MinOverTime,
    PredictLinear,
    PresentOverTime,
    QuantileOverTime,
    Rate,
    Resets,
    StddevOverTime,
    StdvarOverTime,
    SumOverTime,
    TimeOfFirst,
    TimeOfLast,
    TimeOfMax,
    TimeOfMin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Maths {
    Abs,
    Acos,
    Acosh,
    Asin,
    Asinh,
    Atan,
    Atanh,
    Ceil,
    Cos,
    Cosh,
    Deg,
    Exp,
    Floor,
    Ln,
    Log10,
    Log2,
    Rad,
    Sgn,
    Sin,
    Sinh,
    Sqrt,
    Tan,
    Tanh,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Calendar {
    DayOfMonth,
    DayOfWeek,
    DayOfYear,
    DaysInMonth,
    Hour,
    Minute,
    Month,
    Year,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clamp {
    Both,
    Max,
    Min,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Ascending,
    Descending,
}

/// Scalars that depend on nothing but the evaluation's times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Time,
    Start,
    End,
    Range,
    Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Range(RangeFunction),
    Maths(Maths),
    Calendar(Calendar),
    Clamp(Clamp),
    Moment(Moment),
    Sort(Order),
    SortByLabel(Order),
    Absent,
    HistogramFraction,
    HistogramQuantile,
    HistogramQuantiles,
    /// A function of native histograms alone: of numbers it gives nothing.
    NativeHistogram,
    LabelJoin,
    LabelReplace,
    MaxOf,
    MinOf,
    Pi,
    Round,
    Scalar,
    Timestamp,
    Vector,
}

/// The aggregations. Public, since the store is told: see [`Hint`](super::source::Hint).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the PromQL aggregation of its name")]
pub enum Aggregation {
    Avg,
    Bottomk,
    Count,
    CountValues,
    Group,
    LimitRatio,
    Limitk,
    Max,
    Min,
    Quantile,
    Stddev,
    Stdvar,
    Sum,
    Topk,
}

impl Function {
    /// The function of this name; `None` where it is not supported.
    pub(super) fn named(name: &str) -> Option<Self> {
        range_function(name)
            .map(Self::Range)
            .or_else(|| maths(name).map(Self::Maths))
            .or_else(|| calendar(name).map(Self::Calendar))
            .or_else(|| other(name))
    }

    /// Whether its value may differ between evaluation times even where its arguments do not.
    pub(super) const fn reads_the_time(self) -> bool {
        matches!(
            self,
            Self::Moment(_) | Self::Calendar(_) | Self::Timestamp | Self::Range(RangeFunction::PredictLinear)
        )
    }
}

fn range_function(name: &str) -> Option<RangeFunction> {
    use RangeFunction as R;
    Some(match name {
        "absent_over_time" => R::AbsentOverTime,
        "avg_over_time" => R::AvgOverTime,
        "changes" => R::Changes,
        "count_over_time" => R::CountOverTime,
        "delta" => R::Delta,
        "deriv" => R::Deriv,
        "double_exponential_smoothing" => R::DoubleExponentialSmoothing,
        "first_over_time" => R::FirstOverTime,
        "idelta" => R::Idelta,
        "increase" => R::Increase,
        "irate" => R::Irate,
        "last_over_time" => R::LastOverTime,
        "mad_over_time" => R::MadOverTime,
        "max_over_time" => R::MaxOverTime,
        "min_over_time" => R::MinOverTime,
        "predict_linear" => R::PredictLinear,
        "present_over_time" => R::PresentOverTime,
        "quantile_over_time" => R::QuantileOverTime,
        "rate" => R::Rate,
        "resets" => R::Resets,
        "stddev_over_time" => R::StddevOverTime,
        "stdvar_over_time" => R::StdvarOverTime,
        "sum_over_time" => R::SumOverTime,
        "ts_of_first_over_time" => R::TimeOfFirst,
        "ts_of_last_over_time" => R::TimeOfLast,
        "ts_of_max_over_time" => R::TimeOfMax,
        "ts_of_min_over_time" => R::TimeOfMin,
        _ => return None,
    })
}

fn maths(name: &str) -> Option<Maths> {
    use Maths as M;
    Some(match name {
        "abs" => M::Abs,
        "acos" => M::Acos,
        "acosh" => M::Acosh,
        "asin" => M::Asin,
        "asinh" => M::Asinh,
        "atan" => M::Atan,
        "atanh" => M::Atanh,
        "ceil" => M::Ceil,
        "cos" => M::Cos,
        "cosh" => M::Cosh,
        "deg" => M::Deg,
        "exp" => M::Exp,
        "floor" => M::Floor,
        "ln" => M::Ln,
        "log10" => M::Log10,
        "log2" => M::Log2,
        "rad" => M::Rad,
        "sgn" => M::Sgn,
        "sin" => M::Sin,
        "sinh" => M::Sinh,
        "sqrt" => M::Sqrt,
        "tan" => M::Tan,
        "tanh" => M::Tanh,
        _ => return None,
    })
}

fn calendar(name: &str) -> Option<Calendar> {
    use Calendar as C;
    Some(match name {
        "day_of_month" => C::DayOfMonth,
        "day_of_week" => C::DayOfWeek,
        "day_of_year" => C::DayOfYear,
        "days_in_month" => C::DaysInMonth,
        "hour" => C::Hour,
        "minute" => C::Minute,
        "month" => C::Month,
        "year" => C::Year,
        _ => return None,
    })
}

fn other(name: &str) -> Option<Function> {
    use Function as F;
    Some(match name {
        "absent" => F::Absent,
        "clamp" => F::Clamp(Clamp::Both),
        "clamp_max" => F::Clamp(Clamp::Max),
        "clamp_min" => F::Clamp(Clamp::Min),
        "end" => F::Moment(Moment::End),
        "histogram_avg" | "histogram_count" | "histogram_stddev" | "histogram_stdvar" | "histogram_sum" => {
            F::NativeHistogram
        }
        "histogram_fraction" => F::HistogramFraction,
        "histogram_quantile" => F::HistogramQuantile,
        "histogram_quantiles" => F::HistogramQuantiles,
        "label_join" => F::LabelJoin,
        "label_replace" => F::LabelReplace,
        "max_of" => F::MaxOf,
        "min_of" => F::MinOf,
        "pi" => F::Pi,
        "range" => F::Moment(Moment::Range),
        "round" => F::Round,
        "scalar" => F::Scalar,
        "sort" => F::Sort(Order::Ascending),
        "sort_by_label" => F::SortByLabel(Order::Ascending),
        "sort_by_label_desc" => F::SortByLabel(Order::Descending),
        "sort_desc" => F::Sort(Order::Descending),
        "start" => F::Moment(Moment::Start),
        "step" => F::Moment(Moment::Step),
        "time" => F::Moment(Moment::Time),
        "timestamp" => F::Timestamp,
        "vector" => F::Vector,
        _ => return None,
    })
}

impl Aggregation {
    /// The aggregation of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "avg" => Self::Avg,
            "bottomk" => Self::Bottomk,
            "count" => Self::Count,
            "count_values" => Self::CountValues,
            "group" => Self::Group,
            "limit_ratio" => Self::LimitRatio,
            "limitk" => Self::Limitk,
            "max" => Self::Max,
            "min" => Self::Min,
            "quantile" => Self::Quantile,
            "stddev" => Self::Stddev,
            "stdvar" => Self::Stdvar,
            "sum" => Self::Sum,
            "topk" => Self::Topk,
            _ => return None,
        })
    }
}
