//! Bytes without Redis meaning: numbers as text, globs, checksums, compression.

pub mod crc16;
pub mod crc64;
pub mod cycles;
pub mod fingerprint;
pub mod glob;
pub mod grisu;
pub mod hexadecimal;
pub mod long_double;
pub mod lzf;
pub mod number;
pub mod prefetch;
pub mod quoted;
pub mod shell;
pub mod siphash;
