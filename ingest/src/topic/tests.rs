//! Templates on topics: what they capture, and what is refused.

use super::*;

fn templates(texts: &[&str]) -> TopicTemplates {
    TopicTemplates::new(texts).unwrap()
}

impl TopicTemplates {
    fn source(&self, topic: &[u8]) -> Result<Source, TopicError> {
        self.capture(topic).map(|captured| captured.source)
    }
}

fn scalar() -> Rules {
    let reading = Reading::new(Format::Scalar, None);
    Rules { reading, ..Rules::default() }
}

#[test]
fn the_topic_names_the_metric_of_payloads_that_do_not() {
    let rules = Rules { metric: Some(Metric::new("level").unwrap()), ..scalar() };
    let all = [("a/{device}/{metric}", scalar()), ("b/{device}/{metric*}", scalar()), ("c/{device}", rules)];
    let all = TopicTemplates::with_rules(all).unwrap();
    let metric = |topic: &str| {
        let captured = all.capture(topic.as_bytes()).unwrap();
        assert_eq!(captured.source.device().as_str(), "d");
        (captured.template, captured.metric.unwrap().to_string())
    };
    assert_eq!(metric("a/d/temp"), (0, "temp".to_owned()));
    assert_eq!(metric("b/d/motor/2/temp"), (1, "motor.2.temp".to_owned()));
    assert_eq!(metric("b/d/temp"), (1, "temp".to_owned()));
    assert_eq!(metric("c/d"), (2, "level".to_owned()));
    assert_eq!(all.capture(b"b/d"), Err(TopicError::NoTemplate));
    assert_eq!(all.subscriptions(), ["a/+/+", "b/+/#", "c/+"]);
}

#[test]
fn a_metric_is_a_tag_where_payloads_name_theirs() {
    let captured = templates(&["{device}/{metric}"]).capture(b"d/x").unwrap();
    assert_eq!((captured.metric, captured.source.tags().iter().len()), (None, 1));
}

#[test]
fn rules_that_would_refuse_everything_are_refused() {
    let refused = |text, rules| TopicTemplates::with_rules([(text, rules)]).unwrap_err();
    assert!(matches!(refused("{device}", scalar()), TemplateError::NoMetric(_)));
    assert!(matches!(refused("{metric*}/{device}", scalar()), TemplateError::RestNotLast(_)));
    let times = TimeRule { basis: TimeBasis::Payload, ..TimeRule::default() };
    assert!(matches!(refused("{device}/{metric}", Rules { times, ..scalar() }), TemplateError::NoTime(_)));
}

#[test]
fn placeholders_become_tenant_device_and_tags() {
    let templates = templates(&["{tenant}/{site}/devices/{device}/{line}"]);
    let source = templates.source(b"acme/north/devices/pump-7/l2").unwrap();
    assert_eq!((source.tenant().as_str(), source.device().as_str()), ("acme", "pump-7"));
    let tags: Vec<_> = source.tags().iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(tags, [("line", "l2"), ("site", "north")]);
}

#[test]
fn a_topic_without_a_tenant_belongs_to_the_default_one() {
    let source = templates(&[TEMPLATE_DEFAULT]).source(b"devices/d1/telemetry").unwrap();
    assert_eq!((source.tenant().as_str(), source.device().as_str()), ("default", "d1"));
    assert!(source.tags().is_empty());
}

#[test]
fn the_first_template_that_fits_decides_even_when_its_capture_is_refused() {
    let both = templates(&["a/{device}/{x}", "a/{x}/{device}"]);
    assert_eq!(both.source(b"a/b/c").unwrap().device().as_str(), "b");
    assert!(matches!(both.source(b"a//c"), Err(TopicError::Name(_))));
}

#[test]
fn topics_with_more_or_fewer_levels_fit_no_template() {
    let one = templates(&[TEMPLATE_DEFAULT]);
    for topic in ["devices/d1", "devices/d1/telemetry/", "/devices/d1/telemetry", "", "devices/d1/status"] {
        assert_eq!(one.source(topic.as_bytes()), Err(TopicError::NoTemplate), "{topic:?}");
    }
}

#[test]
fn hostile_topics_are_errors_and_not_sources() {
    let one = templates(&["{device}/{tag}"]);
    assert_eq!(one.source(b"d/\xff"), Err(TopicError::NotUtf8(2)));
    assert_eq!(one.source(b"d/+"), Err(TopicError::Character('+')));
    assert_eq!(one.source(b"d\0/x"), Err(TopicError::Character('\0')));
    assert!(matches!(one.source(b"d\n/x"), Err(TopicError::Name(_))));
    let long = format!("{}/x", "d".repeat(257));
    assert!(matches!(one.source(long.as_bytes()), Err(TopicError::Name(_))));
}

#[test]
fn templates_that_cannot_work_are_refused_at_configuration() {
    use TemplateError as E;
    assert!(matches!(TopicTemplate::new("devices/telemetry"), Err(E::NoDevice(_))));
    assert!(matches!(TopicTemplate::new("{device}/{device}"), Err(E::Repeated { .. })));
    assert!(matches!(TopicTemplate::new("{a}/{device}/{a}"), Err(E::Repeated { .. })));
    assert!(matches!(TopicTemplate::new("dev-{device}"), Err(E::Level { .. })));
    assert!(matches!(TopicTemplate::new("{device}/{{x}}"), Err(E::Level { .. })));
    assert!(matches!(TopicTemplate::new("+/{device}"), Err(E::Character { character: '+', .. })));
    assert!(matches!(TopicTemplate::new("{device}/#"), Err(E::Character { character: '#', .. })));
    assert!(matches!(TopicTemplate::new("{device}/{}"), Err(E::Tag { .. })));
    assert!(matches!(TopicTemplate::new("$share/g/{device}"), Err(E::Shared(_))));
    let many: Vec<String> = (0..33).map(|i| format!("{{t{i}}}")).collect();
    assert!(matches!(TopicTemplate::new(&format!("{{device}}/{}", many.join("/"))), Err(E::TooLong(_))));
    assert_eq!(TopicTemplates::new(Vec::<String>::new()), Err(E::None));
}

#[test]
fn subscriptions_bring_every_topic_once() {
    let all = templates(&["{tenant}/d/{device}", "{site}/d/{device}", TEMPLATE_DEFAULT]);
    assert_eq!(all.subscriptions(), ["+/d/+", "devices/+/telemetry"]);
}
