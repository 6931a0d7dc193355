//! Streams: entries in packed chunks, and consumer groups.

/// A stream (placeholder until its owner's first push).
#[derive(Clone, Default, Debug)]
pub struct Stream;
