//! What both tools do with the server's own parts, which the library's `cli` does not know.

pub mod called;
pub mod log_folder;
pub mod replayed;
