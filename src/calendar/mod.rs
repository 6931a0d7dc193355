//! Times as people plan with them: when something is due, and which of many past moments are worth keeping. No clock is
//! read here; a moment is Unix ms, and a zone says which hour and day it is in.

pub mod retention;
pub mod schedule;

pub use retention::{Keep, Retention};
pub use schedule::Schedule;

use jiff::tz::TimeZone;

/// The time zone of this name: one of the IANA's, such as `Europe/Berlin`, or `UTC`.
pub fn zone(name: &str) -> Result<TimeZone, String> {
    let known = TimeZone::get(name);
    known.map_err(|_| format!("there is no time zone '{name}': say UTC, or a name such as Europe/Berlin"))
}
