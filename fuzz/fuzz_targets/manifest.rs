//! A manifest that is taken says the same again when it is written and read.

#![no_main]

use ironkeep::aof::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = Manifest::parse(bytes) {
        let again = Manifest::parse(&manifest.render());
        assert!(matches!(&again, Ok(again) if *again == manifest), "{manifest:?} became {again:?}");
    }
});
