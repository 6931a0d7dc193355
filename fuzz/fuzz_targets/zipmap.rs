//! A zipmap of an old file: refused, or all of its pairs come.

#![no_main]

use ironkeep::rdb::packed::Zipmap;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(zipmap) = Zipmap::parse(bytes) else { return };
    let text: usize = zipmap.iter().map(|(field, value)| field.len() + value.len()).sum();
    assert_eq!(zipmap.iter().count(), zipmap.len());
    assert!(text < bytes.len(), "pairs lie in the bytes and do not overlap");
});
