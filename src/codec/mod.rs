//! Bytes without Redis meaning: numbers as text, globs, checksums, compression.

pub mod glob;
pub mod number;
pub mod prefetch;
