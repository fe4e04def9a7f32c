//! Arithmetic and comparisons between vectors: which series belong together, and what becomes of their labels.
//!
//! Series are grouped by the labels that are matched on. The usual group has one series on each side and is computed
//! column by column; in others, who is there is looked at step by step, since series may take turns.

use hashbrown::HashMap;

use super::super::eval::{EvalError, Evaluator};
use super::super::expr::{Cardinality, MatchLabels, Matching};
use super::super::labels::{Labels, NAME};
use super::super::value::{ABSENT, Row, Steps, is_absent};
use super::Operation;

/// The labels that are matched on.
pub(super) fn signature(labels: &Labels, matching: &MatchLabels) -> Labels {
    match matching {
        MatchLabels::On(on) => labels.filtered(|name| on.iter().any(|wanted| wanted == name)),
        MatchLabels::Ignoring(ignoring) => {
            labels.filtered(|name| name != NAME && !ignoring.iter().any(|unwanted| unwanted == name))
        }
    }
}

/// Series of both sides with the same signature.
#[derive(Default)]
struct Pairs<'a> {
    many: Vec<&'a Row>,
    one: Vec<&'a Row>,
}

/// Which side may have many series of a signature: the left one but for `group_right`.
struct Sides<'a> {
    operation: Operation,
    matching: &'a Matching,
    swapped: bool,
    include: &'a [String],
    steps: Steps,
    /// Whether there is any series at a step, by side: where one has none, nothing is compared.
    both_here: Vec<bool>,
}

pub(super) fn rows(
    evaluator: &Evaluator<'_>,
    operation: Operation,
    matching: &Matching,
    (left, right, steps): (&[Row], &[Row], Steps),
) -> Result<Vec<Row>, EvalError> {
    let (swapped, include) = match &matching.cardinality {
        Cardinality::OneToOne => (false, &[][..]),
        Cardinality::ManyToOne(include) => (false, &include[..]),
        Cardinality::OneToMany(include) => (true, &include[..]),
    };
    let (many, one) = if swapped { (right, left) } else { (left, right) };
    let both_here =
        any_here(many, steps).into_iter().zip(any_here(one, steps)).map(|(a, b)| a && b).collect();
    let sides = Sides { operation, matching, swapped, include, steps, both_here };
    let mut results = Results::default();
    for (signature, pairs) in grouped(many, one, &matching.labels) {
        match (&pairs.many[..], &pairs.one[..]) {
            ([], one) => sides.check_one(&signature, one)?,
            ([many], [one]) => {
                evaluator.charge(steps.count)?;
                let values = many.values.iter().zip(&one.values).map(|(many, one)| sides.apply(*many, *one));
                results.add(sides.row(many, one, values.collect()))?;
            }
            (many, one) => {
                evaluator.charge(many.len().max(one.len()).saturating_mul(steps.count))?;
                sides.check_one(&signature, one)?;
                sides.step_by_step(many, one, &mut results)?;
            }
        }
    }
    Ok(results.rows.into_iter().filter(Row::is_present).collect())
}

fn any_here(rows: &[Row], steps: Steps) -> Vec<bool> {
    let mut here = vec![false; steps.count];
    for row in rows {
        here.iter_mut().zip(&row.values).for_each(|(here, value)| *here |= !is_absent(*value));
    }
    here
}

/// Groups in the order in which the side of many, then the other, first names them.
fn grouped<'a>(many: &'a [Row], one: &'a [Row], labels: &MatchLabels) -> Vec<(Labels, Pairs<'a>)> {
    let mut places: HashMap<Labels, usize> = HashMap::with_capacity(many.len());
    let mut groups: Vec<(Labels, Pairs<'a>)> = Vec::new();
    let mut enter = |row: &'a Row, is_one: bool| {
        let signature = signature(&row.labels, labels);
        let place = *places.entry(signature.clone()).or_insert_with(|| {
            groups.push((signature, Pairs::default()));
            groups.len() - 1
        });
        if let Some((_, pairs)) = groups.get_mut(place) {
            if is_one { pairs.one.push(row) } else { pairs.many.push(row) }
        }
    };
    for row in many {
        enter(row, false);
    }
    for row in one {
        enter(row, true);
    }
    groups
}

impl Sides<'_> {
    fn apply(&self, many: f64, one: f64) -> f64 {
        if is_absent(many) || is_absent(one) {
            return ABSENT;
        }
        let (left, right) = if self.swapped { (one, many) } else { (many, one) };
        self.operation.apply(left, right, left)
    }

    /// Two series of the side of one at the same step are an error, whether or not the other side has a partner.
    fn check_one(&self, signature: &Labels, one: &[&Row]) -> Result<(), EvalError> {
        if one.len() < 2 {
            return Ok(());
        }
        for step in (0..self.steps.count).filter(|step| self.both_here.get(*step) == Some(&true)) {
            let mut here =
                one.iter().filter(|row| row.values.get(step).is_some_and(|value| !is_absent(*value)));
            if let (Some(first), Some(second)) = (here.next(), here.next()) {
                return Err(self.duplicates(signature, &first.labels, &second.labels));
            }
        }
        Ok(())
    }

    fn duplicates(&self, signature: &Labels, first: &Labels, second: &Labels) -> EvalError {
        let side = if self.swapped { "left" } else { "right" };
        let (first, second) = if first <= second { (first, second) } else { (second, first) };
        EvalError::invalid(format!(
            "found duplicate series for the match group {signature} on the {side} hand-side of the operation: [{first}, {second}];many-to-many matching not allowed: matching labels must be unique on one side"
        ))
    }

    fn step_by_step(&self, many: &[&Row], one: &[&Row], results: &mut Results) -> Result<(), EvalError> {
        // What pairs of this group have been put together, at which steps, by result.
        let mut taken: HashMap<usize, Vec<bool>> = HashMap::new();
        let one_to_one = self.matching.cardinality == Cardinality::OneToOne;
        let mut matched = vec![false; self.steps.count];
        for many in many {
            for one in one {
                let both = |(a, b): (&f64, &f64)| !is_absent(*a) && !is_absent(*b);
                let here: Vec<bool> = many.values.iter().zip(&one.values).map(both).collect();
                if !here.contains(&true) {
                    continue;
                }
                let values = many.values.iter().zip(&one.values).map(|(many, one)| self.apply(*many, *one));
                let row = self.row(many, one, values.collect());
                let place = results.place(&row);
                let taken = taken.entry(place).or_insert_with(|| vec![false; self.steps.count]);
                for ((taken, matched), here) in taken.iter_mut().zip(&mut matched).zip(&here) {
                    if *here && *matched && one_to_one {
                        return Err(EvalError::invalid(
                            "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
                        ));
                    }
                    if *here && *taken {
                        return Err(EvalError::invalid(
                            "multiple matches for labels: grouping labels must ensure unique matches",
                        ));
                    }
                    *taken |= here;
                    *matched |= here;
                }
                results.add(row)?;
            }
        }
        Ok(())
    }

    fn row(&self, many: &Row, one: &Row, values: Vec<f64>) -> Row {
        let drops_name = self.operation.drops_name();
        let by_arithmetic = matches!(self.operation, Operation::Arithmetic(_));
        let one_to_one = self.matching.cardinality == Cardinality::OneToOne;
        let mut labels = many.labels.filtered(|name| {
            !(by_arithmetic && name == NAME)
                && (!one_to_one
                    || match &self.matching.labels {
                        MatchLabels::On(on) => on.iter().any(|wanted| wanted == name),
                        MatchLabels::Ignoring(ignoring) => !ignoring.iter().any(|unwanted| unwanted == name),
                    })
        });
        for name in self.include {
            labels = labels.with(name, one.labels.get(name));
        }
        Row { labels, drop_name: drops_name || many.drop_name, values }
    }
}

/// Results by their labels: pairs that take turns make one row.
#[derive(Default)]
struct Results {
    places: HashMap<Labels, usize>,
    rows: Vec<Row>,
}

impl Results {
    fn place(&mut self, row: &Row) -> usize {
        let next = self.rows.len();
        let place = *self.places.entry(row.labels.clone()).or_insert(next);
        if place == next {
            let values = vec![ABSENT; row.values.len()];
            self.rows.push(Row { labels: row.labels.clone(), drop_name: row.drop_name, values });
        }
        place
    }

    fn add(&mut self, row: Row) -> Result<(), EvalError> {
        let place = self.place(&row);
        let Some(known) = self.rows.get_mut(place) else { return Ok(()) };
        known.drop_name |= row.drop_name;
        for (known, value) in known.values.iter_mut().zip(row.values) {
            if is_absent(value) {
                continue;
            }
            if !is_absent(*known) {
                return Err(EvalError::invalid(
                    "multiple matches for labels: grouping labels must ensure unique matches",
                ));
            }
            *known = value;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::settings::{Lookback, Mode, Settings, Stop};
    use super::super::Arithmetic;
    use super::*;

    fn row(labels: &[(&str, &str)], values: &[f64]) -> Row {
        Row { labels: Labels::of(labels), drop_name: false, values: values.to_vec() }
    }

    fn sum(matching: &Matching, left: &[Row], right: &[Row]) -> Result<Vec<Row>, EvalError> {
        let steps = Steps { start: 0, step: 1, count: 2 };
        let lookback = Lookback::new(std::time::Duration::ZERO, &[]);
        let settings = Settings { mode: Mode::Range, steps, end: 1, lookback, samples_max: 1000 };
        let stop = Stop::default();
        let evaluator = Evaluator::new(&mut [], &settings, &stop);
        rows(&evaluator, Operation::Arithmetic(Arithmetic::Add), matching, (left, right, steps))
    }

    #[test]
    fn series_that_take_turns_make_one_result() {
        let left = [row(&[("a", "1")], &[1.0, 2.0])];
        let right = [
            row(&[("a", "1"), (NAME, "x")], &[10.0, ABSENT]),
            row(&[("a", "1"), (NAME, "y")], &[ABSENT, 20.0]),
        ];
        let found = sum(&Matching::default(), &left, &right).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].values, [11.0, 22.0]);
    }

    #[test]
    fn two_of_a_kind_on_the_side_of_one_are_refused() {
        let two = [row(&[("a", "1"), ("b", "1")], &[1.0, 1.0]), row(&[("a", "1"), ("b", "2")], &[1.0, 1.0])];
        let one = [row(&[("a", "1")], &[1.0, 1.0])];
        let on = |cardinality| Matching { labels: MatchLabels::On(vec!["a".into()]), cardinality };
        assert!(sum(&on(Cardinality::OneToOne), &two, &one).is_err());
        assert!(sum(&on(Cardinality::OneToOne), &one, &two).is_err());
        assert!(sum(&on(Cardinality::OneToMany(vec![])), &two, &one).is_err());
        let many = sum(&on(Cardinality::ManyToOne(vec![])), &two, &one).unwrap();
        assert_eq!(many.len(), 2);
        assert_eq!(many[0].labels, two[0].labels);
    }
}
