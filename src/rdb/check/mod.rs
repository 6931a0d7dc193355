//! Judging a file as a server would at load, and going on where a server stops.

mod elements;
mod judge;
mod proof;
mod repeats;
mod resync;
mod walk;

pub use judge::{Concern, Finding, Refusal, Report, Rules, Trailing, judge};
pub use proof::prove;
pub use walk::{Damage, Item, Resumed, Step, Value, Walk};
