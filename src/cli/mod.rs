//! What the binaries share: how they end, how they print, what they read.
//!
//! [`exit`] holds the exit codes, [`json`] the lossless JSON of byte strings and doubles, [`escape`] what may be shown
//! on a terminal, [`progress`] the bar on stderr, [`utc`] times as people read them, [`input`] the finding and opening of
//! files, [`locate`] the same for logs, [`lock`] that nobody else has a log, [`in_place`] changing it with the old one kept,
//! [`target`] the file that a verb writes. [`url`] says where a server is, [`client`] talks to it, [`sync`] takes its
//! data, [`unpack`] opens what is compressed, [`format`] writes the data of an RDB as commands. [`manual`]
//! makes completions and man pages of a tool's own table of arguments, [`plural`] counts in words.

pub mod client;
pub mod escape;
pub mod exit;
pub mod format;
pub mod in_place;
pub mod input;
pub mod json;
pub mod locate;
pub mod lock;
pub mod manual;
pub mod plural;
pub mod progress;
pub mod sync;
pub mod target;
pub mod unpack;
pub mod url;
pub mod utc;
