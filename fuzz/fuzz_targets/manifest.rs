//! A manifest that is taken says the same again when it is written and read, unless a name is so long that its line is.

#![no_main]

use ironkeep::aof::manifest::{MAX_LINE, Manifest};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = Manifest::parse(bytes) {
        let content = manifest.render();
        let again = Manifest::parse(&content);
        let has_long_line = content.split(|byte| *byte == b'\n').any(|line| line.len() >= MAX_LINE);
        assert!(has_long_line || matches!(&again, Ok(again) if *again == manifest), "{manifest:?} became {again:?}");
    }
});
