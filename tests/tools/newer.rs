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

/// "The backup is a .gz that was cut, and repair would not look at it": what came out before the cut is repaired.
#[test]
fn what_comes_out_of_a_damaged_packing_is_repaired() {
    let plain = std::fs::read(corpus().join("redis-7.2.6/types.rdb")).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let mut gzip = gzip.finish().unwrap();
    gzip.truncate(gzip.len() * 2 / 3);
    let mut frame = lz4_flex::frame::FrameEncoder::new(b"VCS\x01\x01\x00\x00".to_vec());
    plain.chunks(1000).for_each(|piece| frame.write_all(piece).unwrap()); // the first decides on the length of blocks
    let mut envelope = frame.finish().unwrap();
    envelope.truncate(envelope.len() * 2 / 3);
    let folder = tempfile::tempdir().unwrap();
    let [packed, out] = ["packed", "out.rdb"].map(|name| folder.path().join(name));
    for (bytes, name) in [(gzip, "gzip"), (envelope, "envelope")] {
        std::fs::write(&packed, bytes).unwrap();
        let repaired = run("repair", &packed, &["--json", "--force", "--output", out.to_str().unwrap()]);
        assert_eq!(repaired.status.code(), Some(1), "{}", String::from_utf8_lossy(&repaired.stderr));
        let report: serde_json::Value = serde_json::from_slice(&repaired.stdout).unwrap();
        assert!(report["keys"].as_u64().unwrap() > 10, "{report}");
        assert!(report["fixed"].to_string().contains("the packing was damaged"), "{report}");
        assert_eq!(run("check", &out, &[]).status.code(), Some(0));
        // "check of a damaged backup said that it could not be read": damage is a finding, with its place.
        let checked = run("check", &packed, &[]);
        assert_eq!(checked.status.code(), Some(1), "{}", String::from_utf8_lossy(&checked.stderr));
        let text = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert!(text.contains("packing: damaged behind the first ") && text.contains("damage: offset "), "{text}");
        assert!(text.contains("damaged: "), "{text}");
        let told: serde_json::Value = serde_json::from_slice(&run("check", &packed, &["--json"]).stdout).unwrap();
        assert_eq!((&told["loads"], &told["verdict"]), (&false.into(), &"damaged".into()), "{told}");
        assert!(told["packing"].as_str().unwrap().contains(name), "{told}");
    }
}
