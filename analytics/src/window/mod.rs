//! Aggregates over windows of time: which windows there are, what they hold, how gaps are filled.
//!
//! [`Window`] says how the line is cut, [`Tiling`] cuts it in a time zone, [`Table`] keeps the folds of the windows of
//! many series while slices of a range go by, [`Aggregate`] asks them, [`fill`](Fill) closes gaps.
//! Pure; windows are half-open, every instant lies in exactly one, and answers equal a plain fold (I4).

mod aggregate;
mod fill;
mod spec;
mod table;
mod tiling;

pub use aggregate::{Aggregate, Answer};
pub use fill::Fill;
pub use spec::{CalendarUnit, Window, WindowError};
pub use table::{Cut, Row, SeriesKey, Table, TableLimits, TooManySeries};
pub use tiling::Tiling;
