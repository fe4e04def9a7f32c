//! The pack decoder on arbitrary bytes: no panic, no more memory than the limits allow, and no range of time that
//! reads differently from the whole. What can be read is packed again and must read the same.

use bytes::Bytes;
use tidemill_store::codec::Run;
use tidemill_store::codec::block::{Limits, Pack, PackBuilder, PackLimits};
use tidemill_store::model::{Metric, SourceId, TimeRange, Value};

const LIMITS: Limits = Limits { samples_max: 16_384 };
const CRC_BYTES: usize = 4;

/// Panics where something is wrong with what is made of `data`.
pub(crate) fn check_bytes(data: &[u8]) {
    let _ = Pack::decode(Bytes::copy_from_slice(data), LIMITS);
    if let Ok(pack) = Pack::decode(sealed(data), LIMITS) {
        check(&pack);
    }
}

/// The same bytes with a right checksum, or nothing would get past it.
fn sealed(data: &[u8]) -> Bytes {
    let content = &data[..data.len().saturating_sub(CRC_BYTES)];
    [content, crc32fast::hash(content).to_le_bytes().as_slice()].concat().into()
}

fn check(pack: &Pack) {
    assert!(pack.samples() <= LIMITS.samples_max);
    let mut sources = Vec::new();
    for (position, &source) in pack.sources().iter().enumerate() {
        let mut series: Vec<(Metric, Run)> = Vec::new();
        for (at, metric) in pack.metrics(position).enumerate() {
            let Ok(Some(run)) = pack.run_at(position, at, TimeRange::ALL) else { return };
            check_part(pack, (position, at), &run);
            if series.iter().all(|(known, _)| known != metric) {
                series.push((metric.clone(), run));
            }
        }
        sources.push((source, series));
    }
    assert!(samples(&again(&sources)).eq(samples(&sources)), "it reads differently once it is packed again");
}

fn check_part(pack: &Pack, (source, series): (usize, usize), run: &Run) {
    let (from, until) = (run.len() / 3, run.len() / 2);
    let range = TimeRange::new(run.times[from], run.times[until]).unwrap();
    let part = pack.run_at(source, series, range).unwrap().unwrap_or_default();
    assert!(part.iter().eq(run.iter().skip(from).take(until - from)), "a part differs from the whole");
}

type Sources = Vec<(SourceId, Vec<(Metric, Run)>)>;

fn again(sources: &Sources) -> Sources {
    let mut builder = PackBuilder::new(PackLimits::DEFAULT);
    let mut packs = Vec::new();
    for (source, series) in sources {
        packs.extend(builder.push(*source, series));
    }
    packs.extend(builder.finish());
    let mut back = Vec::new();
    for pack in packs {
        let pack = Pack::decode(pack.body.into(), LIMITS).unwrap();
        for (position, &source) in pack.sources().iter().enumerate() {
            back.push((source, pack.runs(position, TimeRange::ALL).unwrap()));
        }
    }
    back
}

fn samples(sources: &Sources) -> impl Iterator<Item = (SourceId, &Metric, i64, Value)> {
    sources.iter().flat_map(|(source, series)| {
        series.iter().flat_map(move |(metric, run)| {
            run.iter().map(move |(time, value)| (*source, metric, time.nanos(), value))
        })
    })
}
