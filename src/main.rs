//! The server's door: everything is in the library.

use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: ironkeep::allocator::Jemalloc = ironkeep::allocator::Jemalloc;

fn main() -> ExitCode {
    let arguments: Vec<Vec<u8>> = std::env::args_os().skip(1).map(OsStringExt::into_vec).collect();
    ironkeep::server::run(&arguments)
}
