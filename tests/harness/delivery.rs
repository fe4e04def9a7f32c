//! In which order a fleet's messages arrive when some are late and some come twice.

use std::time::Duration;

use crate::oracle::Plan;
use crate::random::Random;

/// How a network treats messages.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Of a hundred messages so many are late.
    pub late_percent: u64,
    /// By less than this, in the plan's own time.
    pub late_max: Duration,
    /// Of a hundred messages so many come a second time, as late as any.
    pub twice_percent: u64,
}

/// The numbers of messages `0..count` in the order in which they arrive.
pub fn order(plan: &Plan, count: u64, weather: Weather, random: &mut Random) -> Vec<u64> {
    let mut arrivals: Vec<(i64, u64)> = Vec::new();
    let delay = |random: &mut Random| {
        i64::try_from(random.span_below(weather.late_max).as_millis()).unwrap_or(i64::MAX)
    };
    for number in 0..count {
        let sent = plan.time_ms(number);
        let late = if random.below(100) < weather.late_percent { delay(random) } else { 0 };
        arrivals.push((sent.saturating_add(late), number));
        if random.below(100) < weather.twice_percent {
            arrivals.push((sent.saturating_add(delay(random)), number));
        }
    }
    arrivals.sort_unstable();
    arrivals.into_iter().map(|(_, number)| number).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_message_arrives_some_late_and_some_twice() {
        let plan = Plan { devices: 4, start_ms: 0, step_ms: 60_000, seed: 1 };
        let weather = Weather { late_percent: 30, late_max: Duration::from_hours(2), twice_percent: 5 };
        let order = order(&plan, 4_000, weather, &mut Random::of(3));
        assert_eq!(order.iter().copied().collect::<BTreeSet<_>>(), (0..4_000).collect());
        let twice = order.len() - 4_000;
        assert!((100..=300).contains(&twice), "{twice} twice");
        let late = order.windows(2).filter(|pair| plan.time_ms(pair[0]) > plan.time_ms(pair[1])).count();
        assert!(late > 500, "{late} late");
    }
}
