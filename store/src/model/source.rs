//! A source: who sends (tenant, device) and how it is labelled (sorted tags).

use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU32, Ordering};

use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use super::{Device, SourceId, TagKey, TagValue, Tenant};

/// Most tags that a source may carry.
pub const TAGS_MAX: usize = 32;

/// Why a set of tags was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagsError {
    /// More than [`TAGS_MAX`].
    #[error("{0} tags, the limit is {TAGS_MAX}")]
    TooMany(usize),
    /// The same key twice.
    #[error("the tag {0:?} is given twice")]
    Repeated(TagKey),
}

/// Tags in the order of their keys, each key once.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tags(Vec<(TagKey, TagValue)>);

impl Tags {
    /// Sorts and checks `tags`.
    pub fn new(mut tags: Vec<(TagKey, TagValue)>) -> Result<Self, TagsError> {
        if tags.len() > TAGS_MAX {
            return Err(TagsError::TooMany(tags.len()));
        }
        tags.sort_unstable();
        let repeated = tags.windows(2).find_map(|pair| match pair {
            [(a, _), (b, _)] if a == b => Some(a.clone()),
            _ => None,
        });
        match repeated {
            Some(key) => Err(TagsError::Repeated(key)),
            None => Ok(Self(tags)),
        }
    }

    /// The tags in key order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&TagKey, &TagValue)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&TagValue> {
        self.iter().find(|(k, _)| k.as_str() == key).map(|(_, value)| value)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Tenant + device + tags, with the two hashes that place it. Compared by its names alone.
///
/// Laid out with what every message looks at first: beside the count of an `Arc` it lies in one line of cache.
#[derive(Debug, Clone)]
#[repr(C)]
pub struct Source {
    id: SourceId,
    device_hash: u64,
    catalog_hint: Hint,
    tenant: Tenant,
    device: Device,
    tags: Tags,
}

/// A number that may be wrong, so that any may be stored at any time.
#[derive(Debug, Default)]
struct Hint(AtomicU32);

impl Clone for Hint {
    fn clone(&self) -> Self {
        Self(AtomicU32::new(self.0.load(Ordering::Relaxed)))
    }
}

impl Source {
    /// A source of these names.
    pub fn new(tenant: Tenant, device: Device, tags: Tags) -> Self {
        let device_hash = device_hash(&tenant, &device);
        let id = source_id(&tenant, &device, &tags);
        Self { id, device_hash, catalog_hint: Hint::default(), tenant, device, tags }
    }

    /// Where a catalog found this source last: to be tried, not to be believed.
    pub(crate) fn catalog_hint(&self) -> u32 {
        self.catalog_hint.0.load(Ordering::Relaxed)
    }

    /// Notes where a catalog found this source.
    pub(crate) fn hint_catalog(&self, slot: u32) {
        self.catalog_hint.0.store(slot, Ordering::Relaxed);
    }

    /// The tenant.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The tags.
    pub fn tags(&self) -> &Tags {
        &self.tags
    }

    /// The identifier by which blocks and the catalog name this source.
    pub fn id(&self) -> SourceId {
        self.id
    }

    /// hash(tenant, device): what a shard is chosen by, so all sources of a device share one.
    pub fn device_hash(&self) -> u64 {
        self.device_hash
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && self.tenant == other.tenant
            && self.device == other.device
            && self.tags == other.tags
    }
}

impl Eq for Source {}

impl Hash for Source {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

/// xxh3-64 over `tenant NUL device`; names hold no NUL, so no two pairs give the same bytes. Part of the
/// stored layout: changing it moves devices to other shards.
pub(super) fn device_hash(tenant: &Tenant, device: &Device) -> u64 {
    let mut bytes = Vec::with_capacity(tenant.as_str().len() + 1 + device.as_str().len());
    bytes.extend_from_slice(tenant.as_str().as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(device.as_str().as_bytes());
    xxh3_64(&bytes)
}

fn source_id(tenant: &Tenant, device: &Device, tags: &Tags) -> SourceId {
    let mut hasher = Xxh3Default::new();
    let mut part = |text: &str| {
        hasher.update(text.as_bytes());
        hasher.update(&[0]);
    };
    part(tenant.as_str());
    part(device.as_str());
    for (key, value) in tags.iter() {
        part(key.as_str());
        part(value.as_str());
    }
    SourceId::new(hasher.digest128())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Result<Tags, TagsError> {
        Tags::new(pairs.iter().map(|(k, v)| (TagKey::new(k).unwrap(), TagValue::new(v).unwrap())).collect())
    }

    fn source(device: &str, pairs: &[(&str, &str)]) -> Source {
        Source::new(Tenant::new("t").unwrap(), Device::new(device).unwrap(), tags(pairs).unwrap())
    }

    #[test]
    fn order_of_tags_does_not_matter() {
        assert_eq!(source("d", &[("b", "2"), ("a", "1")]), source("d", &[("a", "1"), ("b", "2")]));
    }

    #[test]
    fn tags_change_the_source_and_not_the_shard() {
        let (plain, tagged) = (source("d", &[]), source("d", &[("site", "north")]));
        assert_ne!(plain.id(), tagged.id());
        assert_eq!(plain.device_hash(), tagged.device_hash());
    }

    #[test]
    fn a_repeated_key_and_too_many_tags_are_refused() {
        assert!(matches!(tags(&[("a", "1"), ("a", "2")]), Err(TagsError::Repeated(_))));
        let many: Vec<(String, String)> = (0..33).map(|i| (format!("k{i}"), "v".into())).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(tags(&many), Err(TagsError::TooMany(33)));
    }

    #[test]
    fn hashes_are_part_of_the_stored_layout_and_do_not_change() {
        let source = source("pump-7", &[("site", "north")]);
        assert_eq!((source.device_hash(), source.id().get()), (GOLDEN_DEVICE_HASH, GOLDEN_SOURCE_ID));
    }

    const GOLDEN_DEVICE_HASH: u64 = 10_588_129_884_704_023_907;
    const GOLDEN_SOURCE_ID: u128 = 283_366_910_796_977_154_737_029_187_784_611_340_080;
}
