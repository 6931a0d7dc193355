//! An intset from a file, then edited beside a `BTreeSet`. The first 8 bytes are a number, the rest the intset.

#![no_main]

use ironkeep::value::Intset;
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeSet;

fuzz_target!(|bytes: &[u8]| {
    let Some((number, rest)) = bytes.split_first_chunk() else { return };
    let number = i64::from_le_bytes(*number);
    let Ok(mut set) = Intset::from_bytes(rest) else { return };
    let mut model: BTreeSet<i64> = set.iter().collect();
    assert_eq!(model.len(), set.len(), "the members of an intset differ");
    assert_eq!(set.contains(number), model.contains(&number));
    assert_eq!(set.insert(number), model.insert(number));
    if let Some(&least) = model.first() {
        assert_eq!(set.remove(least), model.remove(&least));
    }
    assert!(set.iter().eq(model.iter().copied()));
    let again = Intset::from_bytes(&set.into_bytes()).expect("what was edited is whole");
    assert!(again.iter().eq(model.iter().copied()));
});
