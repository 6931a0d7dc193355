//! What the binaries share: how they end, how they print, what they read.
//!
//! [`exit`] holds the exit codes, [`json`] the lossless JSON of byte strings and doubles, [`escape`] what may be shown
//! on a terminal, [`progress`] the bar on stderr, [`utc`] times as people read them, [`input`] the finding and opening of
//! files.

pub mod escape;
pub mod exit;
pub mod input;
pub mod json;
pub mod progress;
pub mod utc;
