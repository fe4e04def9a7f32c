//! Acknowledgements in receive order, over the ends of connections and of groups.

use super::*;
use crate::source::{Publish, Qos, Settlement};
use futures_util::task::noop_waker;

fn gauges() -> InFlightGauges {
    let gauge = |name| IntGauge::new(name, "help").unwrap();
    InFlightGauges { messages: gauge("messages"), bytes: gauge("bytes") }
}

/// Of a message that says its identifier.
fn print(id: u16) -> Print {
    let payload = bytes::Bytes::copy_from_slice(&id.to_be_bytes());
    Print::of(&Publish { topic: "t".into(), payload, qos: Qos::AtLeastOnce, retained: false })
}

fn window() -> Window {
    Window::new(WindowLimits { acks_max: 3, bytes_max: 10_000 }, gauges())
}

fn admit(window: &mut Window, ids: &[u16]) -> Weight {
    let mut weight = Weight::default();
    for id in ids {
        weight.add(window.admit(Some((*id, print(*id))), 10));
    }
    weight
}

fn group(window: &mut Window, ids: &[u16]) -> Settlement {
    let (settlement, completion) = Completion::pair();
    let weight = admit(window, ids);
    window.push(completion, weight);
    settlement
}

fn settled(window: &mut Window) -> Poll<Result<Vec<u16>, Abandoned>> {
    let mut acks = Vec::new();
    let polled = window.poll_settled(&mut Context::from_waker(&noop_waker()), |id, _| acks.push(id));
    polled.map_ok(|_| acks)
}

#[test]
fn acknowledgements_are_due_in_receive_order_and_together() {
    let mut window = window();
    let first = group(&mut window, &[7, 5]);
    let second = group(&mut window, &[6]);
    second.settle();
    assert!(settled(&mut window).is_pending(), "the second may not overtake the first");
    first.settle();
    assert_eq!(settled(&mut window), Poll::Ready(Ok(vec![7, 5, 6])));
    assert_eq!(window.total(), Weight::default());
}

#[test]
fn what_was_over_a_quota_is_told_apart() {
    let mut window = window();
    group(&mut window, &[7, 5, 6]).settle_with(crate::source::Outcome::over_quota(vec![1]));
    let mut told = Vec::new();
    let polled =
        window.poll_settled(&mut Context::from_waker(&noop_waker()), |id, verdict| told.push((id, verdict)));
    assert!(polled.is_ready());
    assert_eq!(told, [(7, Verdict::Taken), (5, Verdict::OverQuota), (6, Verdict::Taken)]);
}

#[test]
fn an_abandoned_group_stops_all_that_follow_it() {
    let mut window = window();
    let first = group(&mut window, &[1]);
    let second = group(&mut window, &[2]);
    let third = group(&mut window, &[3]);
    first.settle();
    drop(second);
    third.settle();
    assert_eq!(settled(&mut window), Poll::Ready(Ok(vec![1])));
    assert_eq!(settled(&mut window), Poll::Ready(Err(Abandoned)));
    assert_eq!(settled(&mut window), Poll::Ready(Err(Abandoned)));
}

#[test]
fn an_abandoned_group_without_acknowledgements_stops_nothing() {
    let mut window = window();
    let (settlement, completion) = Completion::pair();
    let weight = window.admit(None, 10);
    window.push(completion, weight);
    drop(settlement);
    group(&mut window, &[1]).settle();
    assert_eq!(settled(&mut window), Poll::Ready(Ok(vec![1])));
}

#[test]
fn what_was_not_pushed_can_be_taken_back() {
    let mut window = window();
    let first = group(&mut window, &[1]);
    let turned_away = admit(&mut window, &[2, 3]);
    assert_eq!(window.retract(), turned_away);
    first.settle();
    assert_eq!(settled(&mut window), Poll::Ready(Ok(vec![1])));
    assert_eq!(window.total(), Weight::default());
}

#[test]
fn forgotten_acknowledgements_are_never_due() {
    let mut window = window();
    let first = group(&mut window, &[1, 2]);
    assert_eq!(window.forget_acks(Unpushed::default()), 2);
    assert_eq!(window.total().messages, 2, "they still take their room");
    let second = group(&mut window, &[1]);
    first.settle();
    assert_eq!(settled(&mut window), Poll::Ready(Ok(vec![])));
    second.settle();
    assert_eq!(settled(&mut window), Poll::Ready(Ok(vec![1])));
}

#[test]
fn a_connection_goes_on_without_the_group_that_ended_the_one_before() {
    let mut window = window();
    drop(group(&mut window, &[1]));
    assert_eq!(settled(&mut window), Poll::Ready(Err(Abandoned)));
    window.forget_acks(Unpushed::default());
    assert_eq!(window.total(), Weight::default());
    group(&mut window, &[2]).settle();
    assert_eq!(settled(&mut window), Poll::Ready(Ok(vec![2])));
}

/// A group of messages that are sent again.
fn again(window: &mut Window, ids: &[u16]) -> Option<Settlement> {
    let mut weight = Weight::default();
    for id in ids {
        weight.add(window.admit_again(*id, print(*id))?);
    }
    let (settlement, completion) = Completion::pair();
    window.push(completion, weight);
    Some(settlement)
}

#[test]
fn what_is_sent_again_is_due_when_the_group_it_came_with_is_durable() {
    let mut window = window();
    let first = group(&mut window, &[1, 2]);
    window.forget_acks(Unpushed::default());
    again(&mut window, &[1, 2]).unwrap().settle();
    assert!(settled(&mut window).is_pending(), "the first time is not durable yet");
    first.settle();
    assert_eq!(settled(&mut window), Poll::Ready(Ok(vec![1, 2])));
    assert!(again(&mut window, &[1]).is_none(), "it is acknowledged: what comes now is another message");
}

#[test]
fn what_became_durable_meanwhile_is_due_at_once_and_known_over_many_connections() {
    let mut window = window();
    let first = group(&mut window, &[1]);
    window.forget_acks(Unpushed::default());
    first.settle();
    assert_eq!(settled(&mut window), Poll::Ready(Ok(vec![])));
    let pending = again(&mut window, &[1]).unwrap();
    window.forget_acks(Unpushed::default());
    drop(pending);
    assert_eq!(settled(&mut window), Poll::Ready(Ok(vec![])));
    again(&mut window, &[1]).unwrap().settle();
    assert_eq!(settled(&mut window), Poll::Ready(Ok(vec![1])));
}

#[test]
fn what_came_with_a_group_that_nobody_settles_is_not_acknowledged() {
    let mut window = window();
    let first = group(&mut window, &[1, 2]);
    window.forget_acks(Unpushed::default());
    again(&mut window, &[1]).unwrap().settle();
    drop(first);
    assert_eq!(settled(&mut window), Poll::Ready(Ok(vec![])));
    assert_eq!(settled(&mut window), Poll::Ready(Err(Abandoned)));
    window.forget_acks(Unpushed::default());
    assert!(again(&mut window, &[1]).is_none() && again(&mut window, &[2]).is_none());
    assert_eq!(window.total(), Weight::default());
}

#[test]
fn what_is_on_its_way_to_the_pipeline_belongs_to_the_groups_that_follow() {
    let mut window = window();
    let submitted = admit(&mut window, &[1]);
    let gathered = admit(&mut window, &[2]);
    window.forget_acks(Unpushed { submitted, gathered });
    let mut weight = Weight { acks: 0, ..gathered };
    weight.add(window.admit_again(2, print(2)).unwrap());
    let (first, completion) = Completion::pair();
    window.push(completion, Weight { acks: 0, ..submitted });
    let (second, completion) = Completion::pair();
    window.push(completion, weight);
    let third = again(&mut window, &[1]).unwrap();
    third.settle();
    second.settle();
    assert!(settled(&mut window).is_pending());
    first.settle();
    assert_eq!(settled(&mut window), Poll::Ready(Ok(vec![2, 1])));
}

#[test]
fn the_next_connection_of_a_client_goes_on_with_what_the_former_left() {
    let gauges = gauges();
    let mut former = Window::new(WindowLimits { acks_max: 3, bytes_max: 10_000 }, gauges.clone());
    let first = group(&mut former, &[1]);
    admit(&mut former, &[2]);
    former.show();
    let mut window = former.leave().unwrap();
    assert_eq!((gauges.messages.get(), window.total().messages, window.total().acks), (0, 1, 0));
    assert!(again(&mut window, &[2]).is_none(), "nobody knows what became of it");
    again(&mut window, &[1]).unwrap().settle();
    first.settle();
    assert_eq!(settled(&mut window), Poll::Ready(Ok(vec![1])));
    assert!(window.leave().is_none(), "nothing is left");
}

#[test]
fn gauges_show_what_is_in_flight_and_nothing_of_a_window_that_is_gone() {
    let gauges = gauges();
    let mut window = Window::new(WindowLimits { acks_max: 3, bytes_max: 10_000 }, gauges.clone());
    admit(&mut window, &[1, 2]);
    window.show();
    window.show();
    assert_eq!(gauges.messages.get(), 2);
    drop(window);
    assert_eq!((gauges.messages.get(), gauges.bytes.get()), (0, 0));
}

#[test]
fn acknowledgements_and_bytes_fill_it_separately() {
    let mut full = window();
    admit(&mut full, &[1, 2, 3]);
    assert!(full.is_full_of_acks() && !full.is_full_of_bytes());
    let mut full = window();
    let mut admitted = 0;
    while !full.is_full_of_bytes() {
        full.admit(None, 0);
        admitted += 1;
    }
    assert_eq!(
        admitted,
        10_000usize.div_ceil(MESSAGE_OVERHEAD_BYTES),
        "tiny messages count with their overhead"
    );
    assert!(!full.is_full_of_acks());
}
