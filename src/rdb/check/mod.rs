//! Judging a file as a server would at load, and going on where a server stops.

mod proof;

pub use proof::prove;
