//! LZF: any bytes come back from our own compression, and any bytes taken for compressed ones give an error or exactly
//! the length that was asked for. The first two bytes are that length.

#![no_main]

use ironkeep::codec::lzf::{self, Compressor};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let [low, high, rest @ ..] = bytes else { return };
    let mut out = Vec::new();
    let length = usize::from(u16::from_le_bytes([*low, *high]));
    if lzf::decompress(rest, length, &mut out).is_ok() {
        assert_eq!(out.len(), length);
    }
    let mut compressed = Vec::new();
    if Compressor::new().compress(rest, &mut compressed) {
        assert!(compressed.len() < rest.len());
        let mut back = Vec::new();
        lzf::decompress(&compressed, rest.len(), &mut back).expect("our own compression is sound");
        assert_eq!(back, rest);
    }
});
