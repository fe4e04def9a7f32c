//! The segment decoder on arbitrary bytes: no panic, no more memory than the limits allow, and no way of reading
//! that disagrees with another. What can be read is built and encoded again and must read the same.

use bytes::Bytes;
use tidemill_store::codec::segment::{Limits, Segment, SegmentBuilder, SegmentSample};

const LIMITS: Limits = Limits { points_max: 4096, samples_max: 16_384 };
const CRC_BYTES: usize = 4;

/// Panics where something is wrong with what is made of `data`.
pub(crate) fn check_bytes(data: &[u8]) {
    let _ = Segment::decode(Bytes::copy_from_slice(data), LIMITS);
    if let Ok(segment) = Segment::decode(sealed(data), LIMITS) {
        check(&segment);
    }
}

/// The same bytes with a right checksum, or nothing would get past it.
fn sealed(data: &[u8]) -> Bytes {
    let content = &data[..data.len().saturating_sub(CRC_BYTES)];
    [content, crc32fast::hash(content).to_le_bytes().as_slice()].concat().into()
}

fn check(segment: &Segment) {
    assert!(segment.points() <= LIMITS.points_max && segment.samples() <= LIMITS.samples_max);
    let Ok(all) = segment.samples_at(segment.all()).map(Iterator::collect::<Vec<_>>) else { return };
    assert_eq!(all.len(), segment.samples());
    let in_parts = segment.sources().flat_map(|(_, points)| segment.samples_at(points).unwrap());
    assert!(in_parts.eq(all.iter().cloned()), "parts differ from the whole");
    for metric in all.iter().map(|sample| sample.metric).take(3) {
        let of_metric = all.iter().filter(|sample| sample.metric == metric);
        let column = segment.column(metric, segment.all()).unwrap();
        assert!(column.iter().eq(of_metric.map(|sample| (sample.point, sample.value.clone()))));
    }
    assert!(again(segment, &all).eq(&all), "it reads differently once it is encoded again");
}

/// The same points through a builder, with the metrics under their positions in `segment`.
fn again(segment: &Segment, all: &[SegmentSample]) -> Vec<SegmentSample> {
    let mut builder = SegmentBuilder::new();
    for point in all.chunk_by(|a, b| a.point == b.point) {
        let metrics: Vec<_> =
            point.iter().map(|sample| builder.metric(&segment.metrics()[sample.metric.index()])).collect();
        let values = point.iter().map(|sample| &sample.value);
        builder.push(point[0].source, point[0].time, &metrics, values);
    }
    if builder.is_empty() {
        return Vec::new();
    }
    let mut body = Vec::new();
    builder.encode(&mut body);
    assert!(body.len() <= builder.bytes_estimate());
    let back = Segment::decode(body.into(), LIMITS).unwrap();
    let original = |sample: SegmentSample| {
        let name = back.metrics()[sample.metric.index()].as_str();
        SegmentSample { metric: segment.metric(name).unwrap(), ..sample }
    };
    back.samples_at(back.all()).unwrap().map(original).collect()
}
