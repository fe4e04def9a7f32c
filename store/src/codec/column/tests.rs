//! Round trips of whole columns: what goes in comes out, bit for bit, whichever form was chosen.

use proptest::prelude::*;

use super::*;
use crate::model::Value;

/// What a column is encoded from.
#[derive(Default)]
struct Rows {
    raw: Vec<i64>,
    kinds: Vec<ValueKind>,
    texts: Vec<Arc<str>>,
}

impl Rows {
    fn of(values: &[Value]) -> Self {
        let mut all = Self::default();
        for value in values {
            all.kinds.push(value.kind());
            all.raw.push(match value {
                Value::F64(value) => value.to_bits().cast_signed(),
                Value::I64(value) => *value,
                Value::Bool(value) => i64::from(*value),
                Value::Text(text) => {
                    all.texts.push(Arc::clone(text));
                    i64::try_from(all.texts.len() - 1).unwrap()
                }
            });
        }
        all
    }

    fn encode(&self, starts: Starts<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        let input = Input { raw: &self.raw, kinds: Kinds::Each(&self.kinds), texts: &self.texts, starts };
        encode(input, &mut Scratch::default(), &mut out);
        out
    }
}

fn double() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-100_000..100_000_i32).prop_map(|cents| f64::from(cents) / 100.0),
        2 => any::<f32>().prop_map(f64::from),
        1 => any::<u64>().prop_map(f64::from_bits),
        1 => prop::sample::select(vec![-0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, 5e-324]),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        double().prop_map(Value::F64),
        prop_oneof![any::<i64>(), -9..9_i64].prop_map(Value::I64),
        any::<bool>().prop_map(Value::Bool),
        "[a-c]{0,3}|\\PC{0,20}".prop_map(|text| Value::Text(text.into())),
    ]
}

fn values() -> impl Strategy<Value = Vec<Value>> {
    let sizes = 1..150_usize;
    let number =
        || prop_oneof![double().prop_map(Value::F64), any::<i8>().prop_map(|n| Value::I64(n.into()))];
    prop_oneof![
        prop::collection::vec(value(), sizes.clone()),
        prop::collection::vec(double().prop_map(Value::F64), sizes.clone()),
        prop::collection::vec((0..500_i32).prop_map(|n| Value::F64(f64::from(n) / 10.0)), sizes.clone()),
        prop::collection::vec(number(), sizes.clone()),
        prop::collection::vec(any::<bool>().prop_map(Value::Bool), sizes.clone()),
        prop::collection::vec("[ab]{0,2}".prop_map(|text| Value::Text(text.into())), sizes),
    ]
}

proptest! {
    #[test]
    fn any_part_of_any_column_comes_back_bit_for_bit(
        values in values(),
        cuts in prop::collection::btree_set(1..150_u32, 0..20),
        part in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let n = values.len();
        let starts: Vec<u32> =
            [0].into_iter().chain(cuts.into_iter().filter(|&cut| usize::try_from(cut).unwrap() < n)).collect();
        let bytes = Rows::of(&values).encode(&starts);
        let (a, b) = (part.0.index(n + 1), part.1.index(n + 1));
        for wanted in [0..n, a.min(b)..a.max(b)] {
            let extent = Extent { values: n, starts: &starts, wanted: wanted.clone() };
            let back = decode(&bytes, &extent).unwrap();
            prop_assert_eq!(back.iter().collect::<Vec<_>>(), &values[wanted]);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_give_the_wanted_number_of_values(
        tag in 0..=255_u8, rest in prop::collection::vec(any::<u8>(), 0..80), n in 1..200_usize,
    ) {
        let bytes: Vec<_> = [tag].into_iter().chain(rest).collect();
        if let Ok(values) = decode(&bytes, &Extent { values: n, starts: ONE_RUN, wanted: 0..n }) {
            prop_assert_eq!(values.len(), n);
        }
    }
}

use integer::ONE_RUN;

fn size(values: &[Value]) -> usize {
    Rows::of(values).encode(ONE_RUN).len()
}

#[test]
fn equal_values_cost_a_few_bytes_whatever_their_number() {
    for value in [Value::F64(21.53), Value::I64(-7), Value::Bool(true), Value::Text("open".into())] {
        let bytes = size(&vec![value.clone(); 10_000]);
        assert!(bytes <= 12, "{value:?}: {bytes}");
    }
}

#[test]
fn integers_among_decimals_cost_a_bit_each_more() {
    let doubles: Vec<_> = (0..800).map(|n| Value::F64(f64::from(n % 90 + 5) / 10.0)).collect();
    let mixed: Vec<_> =
        (0..800).map(|n| if n % 10 == 0 { Value::I64(n.into()) } else { doubles[7].clone() }).collect();
    let mut pure = mixed.clone();
    for value in &mut pure {
        if let Value::I64(n) = value {
            *value = Value::F64(f64::from(i32::try_from(*n).unwrap()));
        }
    }
    assert_eq!(size(&mixed), size(&pure) + 100);
}

#[test]
fn a_few_odd_doubles_do_not_widen_the_others() {
    let mut values: Vec<_> = (0..1000).map(|n| Value::F64(f64::from(n * 37 % 1000) / 100.0)).collect();
    let before = size(&values);
    values[500] = Value::F64(1.0 / 3.0);
    values[501] = Value::F64(f64::NAN);
    assert!(size(&values) < before + 30);
}

#[test]
fn doubles_that_were_single_precision_take_half() {
    let values: Vec<_> = (1..1000_u16).map(|n| Value::F64(f64::from(f32::from(n).sqrt()))).collect();
    assert!(size(&values) < 4 * values.len());
}
