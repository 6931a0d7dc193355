//! What the benches of the tools share.

pub mod cost;
pub mod texts;
