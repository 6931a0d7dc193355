//! DUMP payloads, as RESTORE takes them from anybody. The two bytes of version and the checksum are put in place here,
//! so that the fuzzer is not kept out by them: the input is a version byte, a type byte and a value. What is accepted is
//! encoded again, and read again, and so on, without a change.

#![no_main]

use ironkeep::codec::crc64::Crc64;
use ironkeep::rdb::{Version, dump};
use ironkeep::value::Limits;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let [version, value @ ..] = bytes else { return };
    let mut payload = value.to_vec();
    payload.extend_from_slice(&u16::from(*version).to_le_bytes());
    let mut crc = Crc64::new();
    crc.update(&payload);
    payload.extend_from_slice(&crc.value().to_le_bytes());

    let limits = Limits::default();
    let Ok(Some(object)) = dump::decode(&payload, &limits) else { return };
    for version in [Version::Rdb12, Version::Valkey80] {
        let Ok(first) = dump::encode(&object, version) else { continue };
        let read = dump::decode(&first, &limits).expect("what we wrote is whole").expect("and not empty");
        assert_eq!(object.type_name(), read.type_name());
        // The first time an encoding may change, such as that of a small hash whose fields expire no more.
        let second = dump::encode(&read, version).expect("what was written can be written");
        let read = dump::decode(&second, &limits).expect("what we wrote is whole").expect("and not empty");
        assert_eq!(dump::encode(&read, version).ok(), Some(second), "from then on it stays the same");
    }
});
