//! A configuration file that is taken is taken again when CONFIG REWRITE has written it, and then changes no more.

#![no_main]

use ironkeep::engine::params::file::{Sources, load_text};
use ironkeep::engine::params::rewrite::rewritten;
use libfuzzer_sys::fuzz_target;
use std::io;

fuzz_target!(|bytes: &[u8]| {
    let read = |_: &std::path::Path| Err(io::ErrorKind::NotFound.into());
    let sources = Sources { read: &read, expand: &|_| Ok(Vec::new()), stdin: &|| Ok(Vec::new()) };
    let Ok(config) = load_text(bytes, &sources) else { return };
    let Ok(once) = rewritten(bytes, &config, &sources) else { return };
    let config = load_text(&once, &sources).expect("what CONFIG REWRITE has written is taken");
    let twice = rewritten(&once, &config, &sources).expect("it can be written again");
    assert_eq!(once.escape_ascii().to_string(), twice.escape_ascii().to_string());
});
