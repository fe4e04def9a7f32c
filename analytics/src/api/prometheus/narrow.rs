//! From a query's matchers to what the store selects by itself: all of it. Pure.

use tidemill_store::model::{Device, Metric, Tenant};
use tidemill_store::read::{Allowed, Condition, Label, Selector, Test};

use super::labels::{RESERVED, labels_of};
use crate::promql::{Matcher, NAME};

/// Tags whose names are taken get this in front.
const EXPORTED: &str = "exported_";

/// What the matchers select of series that are numbers; `None` where nothing can match.
pub(super) fn narrowed(matchers: &[Matcher]) -> Option<Selector> {
    let mut selector = Selector { conditions: vec![Condition::Numeric], ..Selector::default() };
    for matcher in matchers {
        let listed: Option<Vec<String>> =
            matcher.values().map(|values| values.into_iter().map(str::to_owned).collect());
        let tested = || Allowed::Tested(test(matcher));
        match (matcher.name.as_str(), listed) {
            (NAME, Some(values)) => narrow(&mut selector.metrics, &values, |value| Metric::new(value).ok())?,
            (NAME, None) => selector.conditions.push(Condition::Metric(tested())),
            ("device", Some(values)) => {
                narrow(&mut selector.devices, &values, |value| Device::new(value).ok())?;
            }
            ("device", None) => selector.conditions.push(Condition::Device(tested())),
            ("tenant", Some(values)) => tenant(&mut selector, values),
            ("tenant", None) => selector.conditions.push(Condition::Tenant(tested())),
            (name, listed) => {
                selector.conditions.push(if label_of(name).is_none() {
                    Condition::Source(by_labels(matcher))
                } else {
                    Condition::Tag(name.to_owned(), listed.map_or_else(tested, Allowed::Listed))
                });
            }
        }
    }
    Some(selector)
}

/// What a label is in the store; `None` where that differs from source to source.
pub(super) fn label_of(name: &str) -> Option<Label> {
    match name {
        NAME => Some(Label::Metric),
        "device" => Some(Label::Device),
        "tenant" => Some(Label::Tenant),
        exported if exported.starts_with(EXPORTED) => None,
        tag => Some(Label::Tag(tag.to_owned())),
    }
}

/// The labels of sources with these tags; `None` where names are taken, so that it differs from source to source.
pub(super) fn names_of(tag_keys: &[String]) -> Option<Vec<String>> {
    let is_taken = |key: &String| RESERVED.contains(&key.as_str()) || key.starts_with(EXPORTED);
    if tag_keys.iter().any(is_taken) {
        return None;
    }
    let reserved = RESERVED.into_iter().map(str::to_owned);
    Some(reserved.chain(tag_keys.iter().cloned()).collect())
}

fn test(matcher: &Matcher) -> Test<str> {
    let matcher = matcher.clone();
    Test::new(move |value| matcher.fits(value))
}

/// By the labels as they are shown.
fn by_labels(matcher: &Matcher) -> Test<tidemill_store::model::Source> {
    let matcher = matcher.clone();
    // The metric does not matter to other labels; any will do.
    let any = Metric::new("any");
    Test::new(move |source| {
        any.as_ref().is_ok_and(|any| matcher.fits(labels_of(source, any).get(&matcher.name)))
    })
}

/// One tenant lets the store look at fewer shards; of several each is looked up.
fn tenant(selector: &mut Selector, values: Vec<String>) {
    match (values.as_slice(), &selector.tenant) {
        ([one], None) if Tenant::new(one).is_ok() => selector.tenant = Tenant::new(one).ok(),
        (_, _) => selector.conditions.push(Condition::Tenant(Allowed::Listed(values))),
    }
}

/// The values that were allowed and still are; `None` where that is none. An empty list allows all.
fn narrow<T: PartialEq>(
    allowed: &mut Vec<T>,
    values: &[String],
    of: impl Fn(&str) -> Option<T>,
) -> Option<()> {
    let mut now: Vec<T> = Vec::new();
    for value in values.iter().filter_map(|value| of(value)) {
        if (allowed.is_empty() || allowed.contains(&value)) && !now.contains(&value) {
            now.push(value);
        }
    }
    *allowed = now;
    (!allowed.is_empty()).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::{MatchOp, Pattern};

    #[test]
    fn matchers_narrow_what_is_asked_of_the_store() {
        let regex = |name: &str, value: &str| Matcher {
            name: name.into(),
            op: MatchOp::Matches(Pattern::new(value).unwrap()),
            value: value.into(),
        };
        let matchers = [Matcher::equal(NAME, "m"), regex("device", "a|b"), Matcher::equal("tenant", "t")];
        let selector = narrowed(&matchers).unwrap();
        assert_eq!((selector.devices.len(), selector.metrics.len()), (2, 1));
        assert_eq!(selector.conditions, [Condition::Numeric]);
        let both = [regex("device", "a|b"), regex("device", "b|c")];
        assert_eq!(narrowed(&both).unwrap().devices, [Device::new("b").unwrap()]);
        assert!(narrowed(&[regex("device", "a"), regex("device", "b")]).is_none());
        assert!(narrowed(&[Matcher::equal("device", "")]).is_none());
        let tags = narrowed(&[Matcher::equal("site", "x"), regex("exported_device", "y")]).unwrap();
        let site = Condition::Tag("site".into(), Allowed::Listed(vec!["x".into()]));
        assert_eq!(tags.conditions[1], site);
        assert!(matches!(tags.conditions[2], Condition::Source(_)));
    }

    #[test]
    fn names_are_told_where_no_tag_takes_one() {
        let names = |keys: &[&str]| names_of(&keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>());
        assert_eq!(names(&["site"]).unwrap(), [NAME, "device", "tenant", "site"]);
        assert_eq!(names(&["device"]), None);
        assert_eq!(names(&["exported_x"]), None);
    }
}
