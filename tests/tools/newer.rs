//! Files of servers that are not at hand, through the tool and into the server.

use super::rdbtool::{corpus, run};
use std::io::Write;

#[test]
fn a_file_in_the_compressed_envelope_is_read_like_any_other() {
    let plain = corpus().join("redis-7.2.6/types.rdb");
    let folder = tempfile::tempdir().unwrap();
    let packed = folder.path().join("dump.rdb");
    let mut frame = lz4_flex::frame::FrameEncoder::new(b"VCS\x01\x01\x00\x00".to_vec());
    frame.write_all(&std::fs::read(&plain).unwrap()).unwrap();
    let mut bytes = frame.finish().unwrap();
    std::fs::write(&packed, &bytes).unwrap();
    let [from_plain, from_packed] = [&plain, &packed].map(|file| run("dump", file, &["--ndjson"]));
    assert_eq!(from_packed.status.code(), Some(0), "{}", String::from_utf8_lossy(&from_packed.stderr));
    assert_eq!(from_packed.stdout, from_plain.stdout);
    let at = bytes.len() / 2;
    bytes.truncate(at);
    std::fs::write(&packed, &bytes).unwrap();
    let cut = run("dump", &packed, &["--ndjson"]);
    assert_eq!(cut.status.code(), Some(3));
    assert!(from_plain.stdout.starts_with(&cut.stdout) && cut.stdout.len() < from_plain.stdout.len());
}
