//! `rdbtool repair`: from a damaged file every key that can be kept, in a file that is healthy.
//!
//! `IRONKEEP_MUTATIONS` is the number of damages per file of the corpus (10 by default), `IRONKEEP_SEED` chooses them.

use super::rdbtool::{corpus, made, rdbtool, run, samples, saved, stderr_of};
use crate::rig::length;
use ironkeep::rdb::check::{Rules, Wishes, judge, repair};
use ironkeep::rdb::{Event, KeyHeader, KeyMeta, Options, Reader, Version, WriteOptions, Writer};
use ironkeep::value::stream::{Group, Pending, StreamId};
use ironkeep::value::{Limits, Listpack, Object, Stream};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use std::process::Stdio;

/// A key and the bytes of its value, by database and name.
type Keys = BTreeMap<(u64, Vec<u8>), Vec<u8>>;

/// Every key of a file with all its bytes, from its expiry to the end of its value.
fn keys_of(file: &[u8]) -> Keys {
    let mut reader = Reader::new(file, Options { verify: false }).unwrap();
    let mut keys = Keys::new();
    loop {
        match reader.next().unwrap() {
            Event::Key(KeyHeader { db, key, offset, .. }) => {
                reader.skip().unwrap();
                let span = usize::try_from(offset).unwrap()..usize::try_from(reader.offset()).unwrap();
                keys.insert((db, key), file[span].to_vec());
            }
            Event::End { .. } => return keys,
            _ => {}
        }
    }
}

fn repaired(file: &[u8]) -> (Vec<u8>, ironkeep::rdb::check::Mended) {
    let mut out = Vec::new();
    let mended = repair(&mut Cursor::new(file), Wishes::default(), &mut |_| Ok(()), Some(&mut out)).unwrap();
    let report = judge(&mut Cursor::new(&out), &Rules::default(), &mut |_| Ok(())).unwrap();
    assert!(report.is_healthy() && report.refusal().is_none(), "{:?}", report.findings);
    assert_eq!(report.count(ironkeep::rdb::check::Concern::Hint), 0, "{:?}", report.findings);
    (out, mended)
}

fn repair_to(file: &Path, more: &[&str]) -> (std::process::Output, std::path::PathBuf) {
    let out = file.with_file_name("repaired.rdb");
    let output = rdbtool().arg("repair").arg(file).arg("--output").arg(&out).args(more).output().unwrap();
    (output, out)
}

#[test]
fn a_healthy_file_comes_out_with_every_key_byte_for_byte() {
    for sample in samples() {
        let whole = std::fs::read(&sample).unwrap();
        let (out, mended) = repaired(&whole);
        assert!(mended.was_healthy(), "{}: {mended:?}", sample.display());
        assert_eq!(keys_of(&out), keys_of(&whole), "{}", sample.display());
        assert_eq!(mended.keys, keys_of(&whole).len() as u64);
    }
}

/// What became of the other keys when one was damaged.
#[derive(Default)]
struct Rate {
    damages: usize,
    /// The damage is no damage to the format: the file reads as before, with other bytes in a value or key.
    unseen: usize,
    all_survive: usize,
    missed: Vec<String>,
}

/// Damages one byte or a few inside one key, and counts what survives of the others.
fn damage_one(whole: &[u8], name: &str, random: &mut fastrand::Rng, rate: &mut Rate) {
    let keys: Vec<_> = keys_of(whole).into_iter().collect();
    let (victim, bytes) = &keys[random.usize(..keys.len())];
    let start = whole.windows(bytes.len()).position(|window| window == bytes).unwrap();
    let at = start + random.usize(..bytes.len());
    let mut broken = whole.to_vec();
    match random.u8(..3) {
        0 => broken[at] ^= 1 << random.u8(..8),
        1 => broken[at] ^= random.u8(1..),
        _ => broken[at..].iter_mut().take(8.min(start + bytes.len() - at)).for_each(|byte| *byte = random.u8(..)),
    }
    let (out, mended) = repaired(&broken);
    let kept = keys_of(&out);
    let missing: Vec<_> = keys
        .iter()
        .filter(|(name, bytes)| name != victim && kept.get(name) != Some(bytes))
        .map(|((db, key), _)| format!("{db}/{}", key.escape_ascii()))
        .collect();
    rate.damages += 1;
    rate.unseen += usize::from(mended.lost.is_empty());
    if missing.is_empty() {
        rate.all_survive += 1;
    } else {
        let lost: Vec<_> = mended.lost.iter().map(|lost| (lost.span.clone(), &lost.what, lost.resumed)).collect();
        rate.missed.push(format!(
            "{name}: byte {at} of \"{}\" ({start}..{}), missing {missing:?}, lost {lost:?}",
            victim.1.escape_ascii(),
            start + bytes.len()
        ));
    }
}

/// "One damaged byte, and the whole backup is gone": the others must survive. Where the damage makes one key swallow
/// others without contradicting the format (a list of three items that says it has five), they cannot.
#[test]
fn one_damaged_key_leaves_the_others_alone() {
    let (count, seed) = (length("IRONKEEP_MUTATIONS", 10), length("IRONKEEP_SEED", 1));
    let mut rate = Rate::default();
    for (number, sample) in samples().iter().enumerate() {
        let whole = std::fs::read(sample).unwrap();
        let mut random = fastrand::Rng::with_seed((seed * 1000 + number) as u64); // any number will do
        (0..count).for_each(|_| damage_one(&whole, &sample.display().to_string(), &mut random, &mut rate));
    }
    let Rate { damages, unseen, all_survive, missed } = rate;
    println!("{all_survive} of {damages} damages left all other keys alone ({unseen} of them unseen by the format)");
    println!("{}", missed.join("\n"));
    assert!(all_survive * 100 >= damages * 93, "{} of {damages} missed", missed.len());
}

#[test]
fn what_is_lost_is_named_and_the_new_file_is_healthy() {
    let mut broken = made(&[(b"one", b"1"), (b"two", b"2"), (b"three", b"3"), (b"four", b"4"), (b"five", b"5")]);
    let at = broken.windows(3).position(|window| window == b"two").unwrap();
    broken[at + 3] = 0xc8; // a form of a string that does not exist
    let (_folder, path) = saved(&broken);
    let (output, out) = repair_to(&path, &["--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr_of(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["schema"], &report["keys"]), (&"rdbtool.repair/1".into(), &4.into()), "{report}");
    let lost = &report["lost"][0];
    assert_eq!((&lost["key"], &lost["db"], &lost["offset"]), (&"two".into(), &0.into(), &(at - 2).into()));
    assert_eq!(run("check", &out, &[]).status.code(), Some(0));
    assert_eq!(keys_of(&std::fs::read(out).unwrap()).len(), 4);
}

#[test]
fn a_cut_file_keeps_what_is_whole_and_gets_its_end() {
    let whole = std::fs::read(samples().iter().find(|path| path.ends_with("redis-7.2.6/types.rdb")).unwrap()).unwrap();
    let all = keys_of(&whole);
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..20 {
        let at = random.usize(10..whole.len());
        let (out, mended) = repaired(&whole[..at]);
        let kept = keys_of(&out);
        let end_of = |bytes: &Vec<u8>| whole.windows(bytes.len()).position(|it| it == bytes).unwrap() + bytes.len();
        for (name, bytes) in all.iter().filter(|(_, bytes)| end_of(bytes) <= at) {
            assert_eq!(kept.get(name), Some(bytes), "cut at {at}");
        }
        assert!(!mended.was_healthy());
    }
}

#[test]
fn of_a_key_that_comes_twice_the_wanted_value_stays() {
    let twice = made(&[(b"k", b"first"), (b"l", b"1"), (b"k", b"second"), (b"k", b"third")]);
    let (_folder, path) = saved(&twice);
    for (more, kept) in [(&[][..], b"first".as_slice()), (&["--duplicates", "last"], b"third")] {
        let (output, out) = repair_to(&path, &[more, &["--force"]].concat());
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(text.matches("another value of this key is kept").count(), 2, "{text}");
        let keys = keys_of(&std::fs::read(out).unwrap());
        assert!(keys.len() == 2 && keys[&(0, b"k".to_vec())].ends_with(kept));
    }
}

/// "A type byte became 255, and repair kept 30 of 137 keys and called it healthy": what looks like the end is none where
/// its checksum does not fit and keys follow.
#[test]
fn a_type_byte_that_became_an_end_marker_costs_one_key() {
    let whole = std::fs::read(samples().iter().find(|path| path.ends_with("redis-8.0.6/types.rdb")).unwrap()).unwrap();
    let all = keys_of(&whole);
    let expiring = all.iter().filter(|(_, bytes)| bytes[0] == 0xfc).take(4).map(|(name, bytes)| (name, bytes, 9));
    let plain = all.iter().filter(|(_, bytes)| bytes[0] < 0xf0).take(4).map(|(name, bytes)| (name, bytes, 0));
    for (name, bytes, place) in expiring.chain(plain) {
        let mut broken = whole.clone();
        let start = whole.windows(bytes.len()).position(|window| window == bytes).unwrap();
        broken[start + place] = 0xff;
        let (out, mended) = repaired(&broken);
        assert_eq!(mended.lost.len(), 1, "{:?}: {mended:?}", name.1.escape_ascii().to_string());
        assert_eq!(keys_of(&out).len(), all.len() - 1);
        let report = judge(&mut Cursor::new(&broken), &Rules::default(), &mut |_| Ok(())).unwrap();
        assert_eq!(report.refusal().map(|refusal| refusal.offset), Some((start + place + 1) as u64)); // a file's length
    }
}

/// "One integer was damaged, and repair lost the forty keys before and behind it", "it put the keys behind it into
/// database 1", "it forgot that they were in database 3": the most likely way to go on is the one that keeps most.
#[test]
fn damage_neither_takes_other_keys_with_it_nor_moves_them() {
    let missing = |file: &str, at: usize, before: u8, after: u8| {
        let whole = std::fs::read(samples().iter().find(|path| path.ends_with(file)).unwrap()).unwrap();
        let mut broken = whole.clone();
        assert_eq!(std::mem::replace(&mut broken[at], after), before, "the sample is another");
        let (out, mended) = repaired(&broken);
        let kept = keys_of(&out);
        let missing: Vec<_> =
            keys_of(&whole).into_iter().filter(|(name, bytes)| kept.get(name) != Some(bytes)).collect();
        (missing.len(), format!("{missing:?}, {:?}", mended.lost))
    };
    for (file, at, before, after) in [
        ("redis-8.0.6/types.rdb", 40577, 0xc0, 0xc4),    // the value of int:0
        ("redis-2.4.18/types.rdb", 213_461, 0x0a, 0x14), // the length of the last key in front of database 3
    ] {
        let (count, what) = missing(file, at, before, after);
        assert_eq!(count, 1, "{file}: {what}");
    }
    let keys = (0..9).map(|n| format!("\0\x05key:{n}\x05value").into_bytes()).collect::<Vec<_>>();
    let head = &b"REDIS0011\xfe\x00\xfb\x0a\x00"[..];
    let broken = &b"\0\x06broken\xc8\xfe\x01"[..]; // what follows the form that does not exist is no choice
    let file = [head, &keys[..3].concat(), broken, &keys[3..].concat(), b"\xff\0\0\0\0\0\0\0\0"].concat();
    let (out, mended) = repaired(&file);
    assert!(keys_of(&out).keys().all(|(db, _)| *db == 0) && mended.keys == 9, "{mended:?}");
}

/// "Behind one damaged string all hashes were gone, since *two hash templates have the same id*": looking for the place
/// to go on leaves nothing behind, be it a template of the file or bytes that look like one.
#[test]
fn templates_behind_damage_serve_the_hashes_that_refer_to_them() {
    let template: &[u8] = b"\xf2\x07\x02\x01a\x02bb";
    let strings = (0..3).map(|n| format!("\0\x05key:{n}\x05value").into_bytes());
    let hashes = (0..5).map(|n| format!("\x20\x06hash:{n}\x07\x01x\x02yy").into_bytes());
    let (strings, hashes) = (strings.collect::<Vec<_>>().concat(), hashes.collect::<Vec<_>>().concat());
    for junk in [&b""[..], b"\xf2\x07\x02\x01x\x01y\xc7", b"\xfa\x06df-ver\x011\xf2\x07\x01\x03foo\xc7\xc7"] {
        let broken = [b"\0\x06broken\xc8", junk].concat(); // a form of a string that does not exist
        let pieces: [&[u8]; 6] = [b"REDIS0015\xfe\x00", &strings, &broken, template, &hashes, b"\xff\0\0\0\0\0\0\0\0"];
        let (out, mended) = repaired(&pieces.concat());
        assert_eq!((mended.keys, mended.lost.len()), (8, 1), "{:?}", mended.lost);
        assert_eq!(mended.lost[0].key.as_deref(), Some(&b"broken"[..]));
        let whole = [pieces[0], &strings, template, &hashes, pieces[5]].concat();
        assert_eq!(keys_of(&out), keys_of(&whole));
    }
}

/// "A backup of Redis Enterprise, and nothing behind the damage was found": its keys have opcodes of their own in front.
#[test]
fn opcodes_of_redis_enterprise_do_not_hide_the_keys_behind_damage() {
    let keys: Vec<_> = (0..8).map(|n| format!("\x6b\x05\x79\x06\0\x05key:{n}\x05value").into_bytes()).collect();
    let broken = b"\0\x06broken\xc8\xc7";
    let file = [b"REDIS0009\xfe\x00", &keys[..3].concat()[..], broken, &keys[3..].concat(), b"\xff\0\0\0\0\0\0\0\0"];
    let (_, mended) = repaired(&file.concat());
    assert_eq!((mended.keys, mended.lost.len()), (8, 1), "{:?}", mended.lost);
}

#[test]
fn salvage_keeps_the_whole_elements_of_a_damaged_value() {
    for (broken, elements) in [
        // A set whose third member has a length that does not exist, a hash with a field twice, a list cut short.
        (b"REDIS0003\xfe\x00\x02\x01s\x03\x01a\x01b\x82xx\xff".as_slice(), 2),
        (b"REDIS0011\xfe\x00\x04\x01h\x03\x01a\x01x\x01a\x01y\x01b\x01z\xff\0\0\0\0\0\0\0\0", 2),
        (b"REDIS0003\xfe\x00\x01\x01l\x03\x01a\x01b", 2),
        (b"REDIS0006\xfe\x00\x03\x01z\x03\x01a\x031.5\x01b\xfe\x01c\xfd\xff\0\0\0\0\0\0\0\0", 2),
    ] {
        let (_folder, path) = saved(broken);
        let (output, _) = repair_to(&path, &["--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&report["keys"], &report["lost_count"]), (&0.into(), &1.into()), "{report}");
        let (output, out) = repair_to(&path, &["--json", "--salvage", "--force"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!((&report["keys"], &report["lost"][0]["elements_kept"]), (&1.into(), &elements.into()), "{report}");
        assert_eq!(run("check", &out, &[]).status.code(), Some(0));
    }
}

/// A stream of 250 entries in three nodes, with a group that has one of them pending; uncompressed.
fn stream_file() -> Vec<u8> {
    let limits = Limits::default();
    let mut stream = Stream::new();
    for ms in 1..=250 {
        let value = format!("value {ms:03}");
        stream.append(StreamId::new(ms, 0), &[(b"field", value.as_bytes())], &limits).unwrap();
    }
    let mut group = Group::new(StreamId::new(250, 0), Some(250));
    group.create_consumer(b"worker", 1000);
    assert!(group.deliver(Pending { id: StreamId::new(249, 0), consumer: b"worker", delivery_ms: 5, count: 2 }));
    assert!(stream.create_group(b"workers", group));
    let options = WriteOptions { compress: false, ..WriteOptions::default() };
    let mut writer = Writer::new(Vec::new(), Version::Rdb11, options).unwrap();
    let key = KeyMeta { key: b"events", ..KeyMeta::default() };
    writer.key(&key, (&Object::Stream(Box::new(stream))).into()).unwrap();
    writer.finish().unwrap()
}

/// "One byte of a stream was damaged, and --salvage kept nothing of it".
#[test]
fn salvage_keeps_the_entries_and_groups_of_a_damaged_stream() {
    let whole = stream_file();
    let at = |text: &[u8]| whole.windows(text.len()).position(|window| window == text).unwrap();
    // In front of the text stand its length, in the first node, and behind it the way back.
    let length_of_60 = at(b"value 060") - 1;
    let way_back_of_240 = at(b"value 240") + 9;
    let in_group = at(b"workers");
    for (place, wrong, kept, has_group) in
        [(length_of_60, 0xff, 209, true), (way_back_of_240, 99, 239, true), (in_group - 1, 0xc9, 250, false)]
    {
        let mut broken = whole.clone();
        broken[place] = wrong;
        let (_folder, path) = saved(&broken);
        let (output, out) = repair_to(&path, &["--json", "--salvage"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((output.status.code(), &report["lost"][0]["key"]), (Some(1), &"events".into()), "{report}");
        assert_eq!(report["lost"][0]["elements_kept"], kept, "{report}");
        assert_eq!(run("check", &out, &[]).status.code(), Some(0));
        let file = std::fs::read(&out).unwrap();
        let mut reader = Reader::new(&file[..], Options::default()).unwrap();
        while !matches!(reader.next().unwrap(), Event::Key(_)) {}
        let Some(Object::Stream(stream)) = reader.object(&Limits::default()).unwrap() else { panic!() };
        assert_eq!((stream.len() as u64, stream.group_count()), (kept, usize::from(has_group)));
        assert_eq!((stream.first_id(), stream.last_id()), (StreamId::new(1, 0), StreamId::new(250, 0)));
        if let Some(group) = stream.group(b"workers") {
            let pending = group.pending(StreamId::new(249, 0)).unwrap();
            assert_eq!((pending.consumer, pending.delivery_ms, pending.count), (&b"worker"[..], 5, 2));
        }
    }
}

/// The same for the packed values of other types: what stands before the damage is kept.
#[test]
fn salvage_keeps_the_beginning_of_a_damaged_listpack() {
    let pack: Listpack = [&b"one"[..], b"1", b"two", b"2", b"three", b"3"].into_iter().collect();
    let mut bytes = pack.into_bytes();
    let at = bytes.windows(5).position(|window| window == b"three").unwrap();
    bytes[at + 5] = 99;
    for (kind, kept) in [(16u8, 2), (17, 2), (20, 4)] {
        let length = u8::try_from(bytes.len()).unwrap();
        let broken =
            [&b"REDIS0011\xfe\x00"[..], &[kind], b"\x01k", &[length], &bytes, b"\xff\0\0\0\0\0\0\0\0"].concat();
        let (_folder, path) = saved(&broken);
        let (output, out) = repair_to(&path, &["--json", "--salvage"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["lost"][0]["elements_kept"], kept, "{report}");
        assert_eq!(run("check", &out, &[]).status.code(), Some(0));
    }
}

#[test]
fn field_expiry_survives_a_salvage_in_either_lineage() {
    let ms = 4_000_000_000_000i64.to_le_bytes();
    let redis = [b"REDIS0012\xfe\x00\x18\x01h".as_slice(), &ms, b"\x03\x01\x01a\x01x\x00\x01b\x01y\x00\x01a\x01z\xff"];
    let redis = [&redis.concat()[..], &[0; 8]].concat();
    let none = (-1i64).to_le_bytes();
    let valkey: [&[u8]; 7] =
        [b"VALKEY080\xfe\x00\x16\x01h\x03\x01a\x01x", &ms, b"\x01b\x01y", &none, b"\x01a\x01z", &none, b"\xff"];
    let valkey = [&valkey.concat()[..], &[0; 8]].concat();
    for broken in [redis, valkey] {
        let (_folder, path) = saved(&broken);
        let (output, out) = repair_to(&path, &["--salvage"]);
        assert_eq!(output.status.code(), Some(1), "{}", stderr_of(&output));
        let dumped = run("dump", &out, &["--ndjson"]);
        let text = String::from_utf8_lossy(&dumped.stdout);
        let record: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(record["value"]["a"], "x", "{record}");
        assert_eq!(record["field_expire_at_ms"]["a"].as_i64(), Some(4_000_000_000_000), "{record}");
    }
}

#[test]
fn the_input_is_never_written_over() {
    let (folder, path) = saved(&made(&[(b"k", b"v")]));
    let before = std::fs::read(&path).unwrap();
    let link = folder.path().join("link.rdb");
    std::fs::hard_link(&path, &link).unwrap();
    for output in [&path, &link] {
        let arguments = [path.as_os_str(), "--force".as_ref(), "--output".as_ref(), output.as_os_str()];
        let output = rdbtool().arg("repair").args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(5), "{}", stderr_of(&output));
        assert!(stderr_of(&output).contains("input"), "{}", stderr_of(&output));
    }
    let there = folder.path().join("repaired.rdb");
    std::fs::write(&there, "precious").unwrap();
    assert_eq!(repair_to(&path, &[]).0.status.code(), Some(5));
    assert_eq!(std::fs::read(there).unwrap(), b"precious");
    assert_eq!(run("repair", &path, &[]).status.code(), Some(2), "without --output");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_dry_run_writes_nothing_and_says_the_same() {
    let (folder, path) = saved(&made(&[(b"k", b"v"), (b"k", b"w")]));
    let output = run("repair", &path, &["--dry-run"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("1 key would be kept, 1 lost") && text.contains("nothing was written"), "{text}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_log_behind_the_end_is_kept_and_garbage_is_not() {
    let preamble = [&made(&[(b"k", b"v")])[..], b"*1\r\n$4\r\nPING\r\n"].concat();
    let (out, mended) = repaired(&preamble);
    assert!(mended.was_healthy() && out == preamble, "{mended:?}");
    let garbage = [&made(&[(b"k", b"v")])[..], b"\0\0\0\0"].concat();
    let (out, mended) = repaired(&garbage);
    assert!(!mended.was_healthy() && out == made(&[(b"k", b"v")]), "{mended:?}");
}

/// `rdbtool repair F --output - | head` ended with exit code 3 and "reading failed: Broken pipe" at an offset of F.
#[test]
fn an_output_that_fails_is_named_and_a_closed_pipe_is_no_fault() {
    let path = corpus().join("redis-8.0.6/types.rdb");
    let mut command = rdbtool();
    command.arg("repair").arg(&path).args(["--output", "-"]);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
    let said = stderr_of(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("standard output: No space left") && !said.contains("offset"), "{said}");

    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr_of(&output).as_str()), (Some(0), ""));
}
