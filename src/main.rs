//! The server's door: everything is in the library, but for what `ironkeep backup` says and is told.

use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: ironkeep::allocator::Jemalloc = ironkeep::allocator::Jemalloc;

#[path = "../tools/backup/mod.rs"]
mod backup;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == "backup") {
        return backup::main();
    }
    let arguments: Vec<Vec<u8>> = std::env::args_os().skip(1).map(OsStringExt::into_vec).collect();
    ironkeep::server::run(&arguments)
}
