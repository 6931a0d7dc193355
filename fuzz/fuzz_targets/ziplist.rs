//! A ziplist of an old file: refused, or all of its elements come and go into a listpack that says the same.

#![no_main]

use ironkeep::rdb::packed::Ziplist;
use ironkeep::value::Listpack;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(ziplist) = Ziplist::parse(bytes) else { return };
    let mut list = Listpack::new();
    ziplist.iter().for_each(|element| list.push_element(element));
    assert_eq!(list.len(), ziplist.len());
    for (old, new) in ziplist.iter().zip(list.iter()) {
        assert_eq!(old.with(|text| text.to_vec()), new.with(|text| text.to_vec()));
    }
});
