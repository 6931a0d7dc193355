//! Judging a file as a server would at load, and going on where a server stops.

mod elements;
mod evidence;
mod judge;
mod proof;
mod repair;
mod repeats;
mod resync;
mod salvage;
mod walk;

pub use judge::{Concern, Finding, Refusal, Report, Rules, Trailing, judge};
pub use proof::prove;
pub use repair::{Keep, Lost, Mended, Wishes, repair};
pub use walk::{Damage, Item, Place, Resumed, Step, Value, Walk};
