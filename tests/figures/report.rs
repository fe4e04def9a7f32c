//! The figures of one store as a table, beside their goals. Pure.

use std::fmt;

use serde::Serialize;

use crate::asked::{Asked, Read};
use crate::fleet::Fleet;
use crate::ground::{Grinding, double};
use crate::store::Kind;

/// Bytes a sample in blocks, and in everything on disk.
const BLOCKS_GOAL: f64 = 0.6;
const AT_REST_GOAL: f64 = 1.0;

/// What was found on one store.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    store: Kind,
    fleet: Fleet,
    samples: u64,
    ground: Grinding,
    asked: Asked,
}

impl Report {
    pub(crate) fn new(store: Kind, fleet: Fleet, ground: Grinding, asked: Asked) -> Self {
        Self { store, fleet, samples: fleet.samples(), ground, asked }
    }

    fn write_levels(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ground, samples) = (&self.ground, double(self.samples));
        let levels = ground.levels;
        let mut row = |name: &str, bytes: u64, goal: Option<f64>| {
            let goal = goal.map_or(String::new(), |goal| format!("   goal ≤ {goal}"));
            writeln!(f, "  {name:<44}{:>10.3}{goal}", double(bytes) / samples)
        };
        row("segments, as they came in", ground.segment_bytes, None)?;
        row("blocks", levels.blocks, Some(BLOCKS_GOAL))?;
        row("frames", levels.frames, None)?;
        row("everything on disk, as the mill leaves it", ground.left_bytes, None)?;
        row("everything at rest, once opened again", ground.at_rest_bytes, Some(AT_REST_GOAL))
    }

    fn write_grinding(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ground, millions) = (&self.ground, double(self.samples) / 1e6);
        let ratio = |of: f64, to: f64| if to > 0.0 { of / to } else { 0.0 };
        let segments = double(ground.segment_bytes);
        let kept = double(ground.levels.blocks + ground.levels.frames);
        let mut row = |name: &str, value: f64, unit: &str| writeln!(f, "  {name:<44}{value:>10.3}   {unit}");
        row("samples ground a second, elapsed", ratio(millions, ground.mill_seconds), "million/s")?;
        row("samples ground a second, in grinds", ratio(millions, ground.grind_seconds), "million/s")?;
        row("processor of the mill", ratio(ground.mill_cpu_seconds, millions), "s/million samples")?;
        row("processor of ingest", ratio(ground.ingest_cpu_seconds, millions), "s/million samples")?;
        row("grinds", ground.grinds, "")?;
        row(
            "write amplification of the mill",
            ratio(ground.written_bytes, segments),
            "bytes/byte of segments",
        )?;
        row(
            "write amplification of all",
            ratio(segments + ground.written_bytes, kept),
            "bytes/byte that stays (segments, blocks, frames)",
        )?;
        row("memory of the mill, at the end", double(ground.mill_resident_bytes) / 1e6, "MB")
    }

    fn write_reads(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = double(self.ground.levels.blocks) / double(u64::from(self.fleet.devices));
        for Read { name, resolution, rows, bytes, answered } in &self.asked.reads {
            let each = double(*bytes) / double(u64::try_from(*answered).unwrap_or(1).max(1));
            write!(
                f,
                "  {name:<44}{rows:>8} rows{bytes:>10} bytes from {resolution}, {answered} answered: {each:.1} bytes each"
            )?;
            if name.contains("samples") {
                write!(f, ", {:.2} times its own blocks", double(*bytes) / own)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }

    fn write_times(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for taken in &self.asked.times {
            let goal = taken.goal_ms.map_or(String::new(), |goal| format!("   goal < {goal}"));
            writeln!(
                f,
                "  {:<44}{:>6} asked   first {:.2}  p50 {:.2}  p99 {:.2}  max {:.2}{goal}",
                taken.name, taken.asked, taken.first_ms, taken.p50_ms, taken.p99_ms, taken.max_ms
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: bytes a sample", self.store)?;
        self.write_levels(f)?;
        writeln!(f, "{}: grinding", self.store)?;
        self.write_grinding(f)?;
        writeln!(f, "{}: read for an answer, when it is asked first", self.store)?;
        self.write_reads(f)?;
        writeln!(f, "{}: milliseconds while {} messages a second come in", self.store, self.asked.rate)?;
        self.write_times(f)
    }
}
