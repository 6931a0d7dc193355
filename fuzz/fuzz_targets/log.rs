//! A log is read up to its first fault; what is whole before it reads without a fault, as a start that has cut there does.

#![no_main]

use ironkeep::aof::{Item, Reader};
use libfuzzer_sys::fuzz_target;

/// The units before the first fault, and where they end; whether there was a fault.
fn read(bytes: &[u8]) -> (u64, usize, bool) {
    let mut reader = Reader::resume(bytes, Vec::new(), 0, Some(bytes.len() as u64));
    let mut end = 0;
    let is_faulty = loop {
        match reader.next() {
            Ok(Some(item)) => {
                let offset = match &item {
                    Item::Record(record) => record.offset,
                    Item::Annotation(annotation) => {
                        let _ = annotation.mark();
                        annotation.offset
                    }
                };
                assert!(offset >= end, "an item begins at {offset}, before the last one's end");
                end = item.end();
            }
            Ok(None) => break false,
            Err(fault) => {
                assert!(fault.offset() <= bytes.len() as u64 && !fault.to_string().is_empty());
                break true;
            }
        }
    };
    (reader.units(), usize::try_from(reader.whole_until()).expect("no longer than the input"), is_faulty)
}

fuzz_target!(|bytes: &[u8]| {
    let (units, whole_until, _) = read(bytes);
    assert_eq!(read(&bytes[..whole_until]), (units, whole_until, false));
});
