//! Round trips of streams, page by page, in whichever form was chosen.

use proptest::prelude::*;

use super::*;

fn encode(values: &[i64], cuts: &Cuts) -> (Vec<u8>, Vec<Vec<u8>>) {
    let (mut writer, mut head) = (StreamWriter::default(), Vec::new());
    writer.begin(values, cuts, &mut head);
    let page = |at| {
        let mut out = Vec::new();
        writer.put_page(at, values, cuts, &mut out);
        out
    };
    (head, (0..cuts.pages().len()).map(page).collect())
}

fn bytes(values: &[i64], runs: &[usize]) -> usize {
    let (head, pages) = encode(values, &Cuts::of(runs.iter().copied()));
    head.len() + pages.iter().map(Vec::len).sum::<usize>()
}

fn walk(steps: Vec<i64>) -> Vec<i64> {
    let add = |at: &mut i64, step: i64| {
        *at = at.wrapping_add(step);
        Some(*at)
    };
    steps.into_iter().scan(1 << 40, add).collect()
}

fn streams() -> impl Strategy<Value = (Vec<i64>, Vec<usize>)> {
    let value = prop_oneof![any::<i64>(), -50..50_i64, Just(i64::MIN), Just(i64::MAX), Just(7)];
    let values = prop_oneof![
        prop::collection::vec(value, 1..300),
        prop::collection::vec(-3..20_i64, 1..3000).prop_map(walk),
        prop::collection::vec(-3..4_i64, 1..3000).prop_map(walk).prop_map(walk),
        prop::collection::vec(prop_oneof![50 => Just(1_i64), 1 => 0..3_i64], 1..3000),
        prop::collection::vec(Just(5), 1..99),
    ];
    (values, prop::collection::vec(1..800_usize, 0..20)).prop_map(|(values, mut runs)| {
        let mut left = values.len();
        runs.retain_mut(|run| {
            *run = (*run).min(left);
            left -= *run;
            *run > 0
        });
        runs.extend(Some(left).filter(|&left| left > 0));
        (values, runs)
    })
}

proptest! {
    #[test]
    fn each_page_decodes_alone((values, runs) in streams()) {
        let cuts = Cuts::of(runs.into_iter());
        let (head, pages) = encode(&values, &cuts);
        let mut reader = Reader::new(&head);
        let stream = StreamReader::parse(&mut reader).unwrap();
        prop_assert_eq!(reader.remaining(), 0);
        for (page, bytes) in cuts.pages().iter().zip(&pages) {
            let (mut reader, mut back) = (Reader::new(bytes), vec![0; page.values.len()]);
            stream.page(page, &cuts, &mut reader, &mut back).unwrap();
            prop_assert_eq!(&back, &values[page.values.clone()]);
            prop_assert_eq!(reader.remaining(), 0);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        head in prop::collection::vec(any::<u8>(), 0..40), bytes in prop::collection::vec(any::<u8>(), 0..90),
        runs in prop::collection::vec(1..300_usize, 1..4),
    ) {
        let cuts = Cuts::of(runs.into_iter());
        let Ok(stream) = StreamReader::parse(&mut Reader::new(&head)) else { return Ok(()) };
        let mut back = vec![0; cuts.pages()[0].values.len()];
        let _ = stream.page(&cuts.pages()[0], &cuts, &mut Reader::new(&bytes), &mut back);
    }
}

/// Numbers from 0 to below `end`, none of them easy to guess.
fn random(n: usize, end: u64) -> Vec<i64> {
    let mut state = 7_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((state >> 33) % end).unwrap()
    };
    std::iter::repeat_with(next).take(n).collect()
}

#[test]
fn constants_and_steady_counters_cost_a_header_alone() {
    assert!(bytes(&[42; 1000], &[1000]) <= 2);
    let counter: Vec<_> = (0..1000).map(|n| n * 10).collect();
    assert!(bytes(&counter, &[1000]) <= 3);
}

#[test]
fn steps_of_a_walk_take_what_they_say_and_little_more() {
    let values = walk(random(10_000, 17));
    let taken = bytes(&values, &[10_000]);
    assert!(taken < 10_000 * 43 / 80, "{taken} bytes, 4.1 bits each are {}", 10_000 * 41 / 80);
}

#[test]
fn a_state_that_seldom_changes_takes_a_fraction_of_a_bit() {
    let changes = random(10_000, 100).into_iter().scan(0, |state, n| {
        *state ^= i64::from(n == 0);
        Some(*state)
    });
    assert!(bytes(&changes.collect::<Vec<_>>(), &[10_000]) < 10_000 / 8 / 8);
}
