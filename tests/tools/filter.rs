//! `rdbtool filter`: what is kept, that it is what it was, and that nothing is left behind by a failure.

use super::rdbtool::{corpus, json_of, ours, rdbtool, run, samples, stderr_of};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

/// Every record of a dump by database and key, functions under their names, without what only tells the encoding.
pub fn records(file: &Path) -> BTreeMap<(Option<u64>, Vec<u8>), Value> {
    let records = json_of("dump", file);
    let mut found = BTreeMap::new();
    for record in records.as_array().unwrap() {
        let name = match (record.get("key"), record.get("function")) {
            (Some(key), _) => (record["db"].as_u64(), ours(key)),
            (_, Some(function)) => (None, function["name"].to_string().into_bytes()),
            _ => continue,
        };
        assert!(found.insert(name, record.clone()).is_none(), "{record} comes twice in {}", file.display());
    }
    found
}

/// What the databases say they hold, and what they hold.
pub fn assert_counts_are_true(file: &Path) {
    use ironkeep::rdb::{Event, Options, Reader};
    let bytes = std::fs::read(file).unwrap();
    let mut reader = Reader::new(&bytes[..], Options::default()).unwrap();
    let (mut told, mut held) = (BTreeMap::new(), BTreeMap::<u64, (u64, u64)>::new());
    let (mut db, version) = (0, reader.header().version);
    loop {
        match reader.next().unwrap() {
            Event::SelectDb(number) => db = number,
            Event::ResizeDb { keys, expires } => {
                let (all, expiring) = told.entry(db).or_insert((0, 0));
                *all += keys;
                *expiring += expires;
            }
            Event::Key(header) => {
                let (keys, expires) = held.entry(header.db).or_default();
                *keys += 1;
                *expires += u64::from(header.expire_at_ms.is_some());
            }
            Event::End { .. } => break,
            _ => {}
        }
    }
    assert!(version < 7 || told == held, "{}: {told:?} {held:?}", file.display());
}

fn filter(input: &Path, output: &Path, more: &[&str]) -> Output {
    rdbtool().arg("filter").arg(input).arg("--output").arg(output).args(more).output().unwrap()
}

#[test]
fn a_filter_that_leaves_nothing_out_gives_the_same_data_in_the_same_encodings() {
    let folder = tempfile::tempdir().unwrap();
    for (index, sample) in samples().into_iter().enumerate() {
        let output = folder.path().join(format!("{index}.rdb"));
        let done = filter(&sample, &output, &[]);
        assert_eq!(done.status.code(), Some(0), "{}: {}", sample.display(), stderr_of(&done));
        assert_eq!(records(&output), records(&sample), "{}", sample.display());
        assert_counts_are_true(&output);
    }
}

#[test]
fn a_filter_and_its_inverse_share_the_keys_out() {
    let folder = tempfile::tempdir().unwrap();
    let (taken, left) = (folder.path().join("taken.rdb"), folder.path().join("left.rdb"));
    let mut both = 0;
    for sample in samples().into_iter().filter(|path| path.ends_with("types.rdb")) {
        let all = records(&sample);
        for selection in [
            &["--db", "0", "--type", "string"][..],
            &["--expires"],
            &["--key", "*:*", "--not-key", "hash*"],
            &["--min-size", "100", "--max-size", "5kb"],
            &["--slot", "0-8191"],
            &["--limit", "3", "--key-regex", "[0-9]"],
        ] {
            filter(&sample, &taken, &[selection, &["--force"]].concat());
            filter(&sample, &left, &[selection, &["--force", "--invert", "--no-functions"]].concat());
            let (mut some, others) = (records(&taken), records(&left));
            assert_counts_are_true(&taken);
            assert_counts_are_true(&left);
            both += usize::from(!some.is_empty() && !others.is_empty());
            for (name, record) in others {
                assert!(some.insert(name, record).is_none(), "{selection:?}: a key is in both");
            }
            assert_eq!(some, all, "{} {selection:?}", sample.display());
        }
    }
    assert!(both > 50, "{both}");
}

#[test]
fn no_match_is_exit_1_and_the_report_is_for_programs_too() {
    let folder = tempfile::tempdir().unwrap();
    let (sample, output) = (corpus().join("redis-7.2.6/types.rdb"), folder.path().join("out.rdb"));
    let done = filter(&sample, &output, &["--db", "77", "--json"]);
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((done.status.code(), &report["kept"]), (Some(1), &0.into()));
    assert_eq!((&report["schema"], &report["keys"]), (&"rdbtool.filter/1".into(), &156.into()));
    assert_eq!(run("check", &output, &[]).status.code(), Some(0));
}

#[test]
fn standard_input_and_output_need_no_file() {
    let sample = corpus().join("redis-7.2.6/types.rdb");
    let mut child = rdbtool()
        .args(["filter", "-", "--output", "-", "--type", "zset"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let bytes = std::fs::read(&sample).unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || stdin.write_all(&bytes));
    let done = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", stderr_of(&done));
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.rdb");
    std::fs::write(&output, &done.stdout).unwrap();
    let mut expected = records(&sample);
    expected.retain(|(db, _), record| db.is_none() || record["type"] == "zset");
    assert_eq!(records(&output), expected);
}

/// A dump that was restored after a filter made replicas go on from an offset that the data was not at.
#[test]
fn a_part_does_not_claim_a_place_in_the_replication_stream() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.rdb"), folder.path().join("out.rdb"));
    let mut file = b"REDIS0009\xfa\x09redis-ver\x056.2.0\xfa\x07repl-id\x01x\xfa\x0brepl-offset\x01\x35".to_vec();
    file.extend_from_slice(b"\xfe\x00\xfb\x02\x00\x00\x01a\x01b\x00\x01c\x01d\xff\0\0\0\0\0\0\0\0");
    std::fs::write(&input, file).unwrap();
    let has = |what: &[u8]| std::fs::read(&output).unwrap().windows(what.len()).any(|window| window == what);
    filter(&input, &output, &["--key", "a"]);
    assert!(has(b"redis-ver") && !has(b"repl-"));
    filter(&input, &output, &["--force"]);
    assert!(has(b"repl-id") && has(b"repl-offset"), "the whole is what it was");
}

#[test]
fn damage_is_an_error_with_its_place_and_leaves_no_output() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.rdb"), folder.path().join("out.rdb"));
    let whole = std::fs::read(corpus().join("redis-7.2.6/types.rdb")).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for bytes in [&whole[..whole.len() / 2], &flipped] {
        std::fs::write(&input, bytes).unwrap();
        let done = filter(&input, &output, &[]);
        assert_eq!(done.status.code(), Some(3));
        assert!(stderr_of(&done).contains("in.rdb: at offset"), "{}", stderr_of(&done));
    }
    std::fs::write(&output, "precious").unwrap();
    std::fs::write(&input, &whole).unwrap();
    assert_eq!(filter(&input, &output, &[]).status.code(), Some(5), "an output that is there stays");
    assert_eq!(filter(&input, &input, &["--force"]).status.code(), Some(5), "the input stays");
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(std::fs::read(&output).unwrap(), b"precious");
}

#[test]
fn no_damage_makes_a_copying_verb_panic_or_leave_something_behind() {
    let sample = std::fs::read(corpus().join("redis-8.0.6/types.rdb")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.rdb"), folder.path().join("out.rdb"));
    let mut random = fastrand::Rng::with_seed(3);
    for round in 0..60 {
        let mut bytes = sample.clone();
        if round % 2 == 0 {
            bytes.truncate(random.usize(..bytes.len()));
        } else {
            (0..3).for_each(|_| bytes[random.usize(..sample.len())] = random.u8(..));
        }
        std::fs::write(&input, bytes).unwrap();
        let verb = ["filter", "split", "merge"][round % 3];
        let mut command = rdbtool();
        command.arg(verb).arg(&input).arg("--no-verify");
        match verb {
            "split" => command.args(["--by", "size", "--size", "1gb", "--output"]).arg(folder.path().join("{}")),
            _ => command.arg("--output").arg(&output),
        };
        let done = command.output().unwrap();
        let code = done.status.code().unwrap();
        assert!([0, 1, 3, 4].contains(&code), "round {round} {verb}: {code} {}", stderr_of(&done));
        let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        for path in names.filter(|path| *path != input) {
            assert!(code <= 1, "round {round} {verb}: {} is left", path.display());
            std::fs::remove_file(path).unwrap();
        }
    }
}

/// A value that names a template by its number means nothing in a file without the template.
#[test]
fn hashes_of_a_template_take_their_field_names_along() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.rdb"), folder.path().join("out.rdb"));
    let mut file = b"REDIS0015\xfe\x00\xf2\x07\x02\x01a\x02bb\x20\x01k\x07\x01x\xc0\x05\x00\x01s\x01v".to_vec();
    file.extend_from_slice(b"\xff\0\0\0\0\0\0\0\0");
    std::fs::write(&input, file).unwrap();
    for verb in ["filter", "merge"] {
        let done = rdbtool().arg(verb).arg(&input).arg("--force").arg("--output").arg(&output).output().unwrap();
        assert_eq!(done.status.code(), Some(0), "{verb}: {}", stderr_of(&done));
        let found = records(&output);
        assert_eq!(found[&(Some(0), b"k".to_vec())]["value"], serde_json::json!({"a": "x", "bb": "5"}), "{verb}");
    }
}

/// A library of a release candidate, which no server loads, must not be lost without a word.
#[test]
fn what_cannot_be_written_is_refused_and_not_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.rdb"), folder.path().join("out.rdb"));
    let mut file = b"REDIS0010\xf6\x03lib\x03LUA\x00\x08return 1\xfe\x00\x00\x01s\x01v".to_vec();
    file.extend_from_slice(b"\xff\0\0\0\0\0\0\0\0");
    std::fs::write(&input, file).unwrap();
    for verb in ["filter", "merge"] {
        let done = rdbtool().arg(verb).arg(&input).arg("--output").arg(&output).output().unwrap();
        assert_eq!((done.status.code(), output.exists()), (Some(4), false), "{verb}: {}", stderr_of(&done));
    }
}
