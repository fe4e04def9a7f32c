//! Aggregates over windows of time: which windows there are, what they hold, how gaps are filled.
//!
//! [`Window`] says how the line is cut, [`Tiling`] cuts it in a time zone, [`Accumulator`] takes a window's samples,
//! [`Table`] keeps the windows of many series while slices of a range go by, [`fill`](Fill) closes gaps.
//! Pure; windows are half-open, every instant lies in exactly one, and answers equal a plain fold (I4).

mod accumulator;
mod fill;
mod spec;
mod table;
mod tiling;

pub use accumulator::{Accumulator, Aggregate, Answer};
pub use fill::Fill;
pub use spec::{CalendarUnit, Window, WindowError};
pub use table::{Cut, Row, SeriesKey, Table, TableLimits, TooManySeries};
pub use tidemill_store::rollup::{Number, Sum};
pub use tiling::Tiling;
