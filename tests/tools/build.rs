//! `rdbtool build`: what it makes of what `dump` wrote, that nothing is lost on the way there and back, and what it says
//! of input that is wrong.

use super::dump::records;
use super::rdbtool::{difference, ours, rdbtool, samples, stderr_of, truly, truth_of};
use crate::rig::{self, Program, Server, differences, read_contents};
use ironkeep::rdb::{KeyMeta, ObjectRef, Version, WriteOptions, Writer};
use ironkeep::value::{Element, Hash, Limits, List, Object, Set, Zset};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

fn build(input: &Path, output: &Path, more: &[&str]) -> Output {
    rdbtool().arg("build").arg(input).arg("--output").arg(output).args(more).output().unwrap()
}

/// Dumps `file` in a format and builds it again; `Stdio` joins the two where `by_pipe`.
fn round(file: &Path, format: &str, folder: &Path, by_pipe: bool) -> PathBuf {
    let (dump, built) = (folder.join("dump.out"), folder.join("built.rdb"));
    let _ = std::fs::remove_file(&built);
    let mut dumping = rdbtool();
    dumping.args(["dump", format]).arg(file);
    let output = if by_pipe {
        let mut dumping = dumping.stdout(Stdio::piped()).spawn().unwrap();
        let mut building = rdbtool();
        building.args(["build", "-", "--output"]).arg(&built).stdin(dumping.stdout.take().unwrap());
        let output = building.output().unwrap();
        assert!(dumping.wait().unwrap().success());
        output
    } else {
        assert!(dumping.stdout(std::fs::File::create(&dump).unwrap()).status().unwrap().success());
        build(&dump, &built, &[])
    };
    assert_eq!(output.status.code(), Some(0), "{} {format}: {}", file.display(), stderr_of(&output));
    built
}

/// The records of keys by name, without the encoding, in which a file may be another and hold the same. The order of a
/// set means nothing.
fn keys(file: &Path) -> BTreeMap<(u64, Vec<u8>), Value> {
    let mut found = BTreeMap::new();
    for mut record in records(file).into_iter().filter(|record| record.get("key").is_some()) {
        record.as_object_mut().unwrap().remove("encoding");
        if record["type"] == "set" {
            record["value"].as_array_mut().unwrap().sort_by_key(ToString::to_string);
        }
        let name = (record["db"].as_u64().unwrap(), ours(&record["key"]));
        assert!(found.insert(name, record).is_none(), "no key comes twice");
    }
    found
}

fn beside(file: &Path) -> Vec<Value> {
    records(file).into_iter().filter(|record| record.get("key").is_none()).collect()
}

fn same(left: &Path, right: &Path, what: &str) {
    let (left, right) = (keys(left), keys(right));
    for (name, record) in &left {
        assert_eq!(Some(record), right.get(name), "{what}: {}", name.1.escape_ascii());
    }
    assert_eq!(left.len(), right.len(), "{what}");
}

#[test]
fn every_rdb_of_the_corpus_comes_back_from_json_and_ndjson() {
    let folder = tempfile::tempdir().unwrap();
    for (index, sample) in samples().into_iter().enumerate() {
        let (format, by_pipe) = if index % 2 == 0 { ("--json", false) } else { ("--ndjson", true) };
        let built = round(&sample, format, folder.path(), by_pipe);
        same(&sample, &built, &sample.display().to_string());
        assert_eq!(beside(&sample), beside(&built), "{}", sample.display());
        let (keys, truth) = (keys(&built), truth_of(&sample));
        for expected in truth["keys"].as_array().unwrap() {
            let record = &keys[&(expected["db"].as_u64().unwrap(), truly(&expected["key"]))];
            assert_eq!(difference(record, expected), None, "{}", sample.display());
        }
    }
}

/// Commands cannot say when a consumer was seen or when a key was used.
fn without_what_commands_lack(file: &Path) -> BTreeMap<(u64, Vec<u8>), Value> {
    let mut keys = keys(file);
    for record in keys.values_mut() {
        for name in ["idle_seconds", "frequency"] {
            record.as_object_mut().unwrap().remove(name);
        }
        // ZADD of a small sorted set takes the sign of a zero, as in Redis.
        let pairs = record["value"].as_array_mut().into_iter().flatten().filter_map(Value::as_array_mut);
        let scores = pairs.filter_map(|pair| pair.last_mut());
        scores.filter(|score| score.as_f64() == Some(0.0)).for_each(|score| *score = json!(0));
        let Some(groups) = record["value"].get_mut("groups").and_then(Value::as_array_mut) else { continue };
        for consumer in groups.iter_mut().flat_map(|group| group["consumers"].as_array_mut().unwrap()) {
            for name in ["seen_time_ms", "active_time_ms"] {
                consumer.as_object_mut().unwrap().remove(name);
            }
        }
    }
    keys
}

#[test]
fn every_rdb_of_the_corpus_comes_back_from_commands_through_our_engine() {
    let folder = tempfile::tempdir().unwrap();
    for (index, sample) in samples().into_iter().enumerate() {
        let format = if index % 2 == 0 { "--resp" } else { "--restore" };
        let built = round(&sample, format, folder.path(), index % 4 < 2);
        let (left, right) = (without_what_commands_lack(&sample), without_what_commands_lack(&built));
        assert_eq!(left.len(), right.len(), "{}", sample.display());
        for (name, record) in &left {
            assert_eq!(Some(record), right.get(name), "{} {format}", sample.display());
        }
        let functions = |file: &Path| -> Vec<Value> {
            beside(file).into_iter().filter(|record| record.get("function").is_some()).collect()
        };
        assert_eq!(functions(&sample), functions(&built), "{}", sample.display());
    }
}

/// Sends a file of commands to a server as `redis-cli --pipe` does.
fn send(program: &Program, server: &Server, commands: &Path) {
    let output = std::process::Command::new(program.tool("cli"))
        .args(["-p", &server.port().to_string(), "--pipe"])
        .stdin(std::fs::File::open(commands).unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("errors: 0"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn real_servers_hold_the_same_after_commands_and_after_build() {
    let corpus = super::rdbtool::corpus();
    let peers = [(Program::redis_8(), "redis-8.0.6"), (Program::valkey_9(), "valkey-9.1.2")];
    for (program, name) in peers {
        let Some(program) = program else { continue };
        let sample = corpus.join(name).join("types.rdb");
        let truth = rig::truth_of(&sample);
        for format in ["--json", "--resp", "--restore"] {
            let folder = tempfile::tempdir().unwrap();
            if format == "--json" {
                let built = round(&sample, format, folder.path(), false);
                std::fs::rename(built, folder.path().join("dump.rdb")).unwrap();
            }
            let server = Server::start(&program, folder.path(), &[]);
            if format != "--json" {
                let commands = folder.path().join("commands");
                let dumped = rdbtool().args(["dump", format]).arg(&sample).output().unwrap();
                std::fs::write(&commands, dumped.stdout).unwrap();
                send(&program, &server, &commands);
            }
            let found = read_contents(&mut server.client());
            let wrong = differences(&found, &truth);
            assert!(wrong.is_empty(), "{name} {format}:\n{}", wrong.join("\n"));
        }
    }
}

fn bytes(random: &mut fastrand::Rng, most: usize) -> Vec<u8> {
    let len = if random.u8(..40) == 0 { random.usize(..20_000) } else { random.usize(..most) };
    match random.u8(..4) {
        0 => (0..len).map(|_| random.u8(..)).collect(),
        1 => random.i64(..).to_string().into_bytes(),
        2 => [b"base64:".to_vec(), vec![b'x'; len % 5]].concat(),
        _ => (0..len).map(|_| random.alphanumeric()).collect::<String>().into_bytes(),
    }
}

fn value(random: &mut fastrand::Rng, limits: &Limits) -> Object {
    let scores = [-0.0, 0.0, f64::INFINITY, f64::NEG_INFINITY, 5e-324, 1e308, 0.1 + 0.2, 9_007_199_254_740_993.0];
    let count = if random.u8(..10) == 0 { random.usize(100..800) } else { random.usize(1..12) };
    let mut object = match random.u8(..4) {
        0 => Object::List(List::new()),
        1 => Object::Set(Set::new()),
        2 => Object::Hash(Hash::new()),
        _ => Object::Zset(Zset::new()),
    };
    for _ in 0..count {
        let text = bytes(random, 30);
        match &mut object {
            Object::List(list) => list.push_back(&text, limits),
            Object::Set(set) => drop(set.insert(&text, limits)),
            Object::Hash(hash) => {
                hash.set(&text, &bytes(random, 30), limits);
                if random.u8(..8) == 0 {
                    hash.set_expire(&text, Some(random.i64(1..i64::MAX / 4)), limits);
                }
            }
            Object::Zset(zset) => {
                let any = f64::from_bits(random.u64(..));
                let score = if random.bool() || any.is_nan() { scores[random.usize(..scores.len())] } else { any };
                zset.insert(&text, score, limits);
            }
            _ => unreachable!(),
        }
    }
    object
}

/// A file of random keys in several databases, that come and go.
fn random_file(seed: u64, path: &Path) {
    let (mut random, limits) = (fastrand::Rng::with_seed(seed), Limits::default());
    let mut writer = Writer::new(Vec::new(), Version::Rdb12, WriteOptions::default()).unwrap();
    for part in 0..6_u64 {
        writer.select_db([0, 9, 70_000][random.usize(..3)], 0, 0).unwrap();
        for index in 0..60_u64 {
            let mut key = bytes(&mut random, 12);
            if index > 0 {
                key.extend_from_slice(format!("{part}:{index}").as_bytes());
            } else {
                key = vec![b'\xff'; usize::try_from(part).unwrap()];
            }
            let meta = KeyMeta {
                key: &key,
                expire_at_ms: (random.u8(..3) == 0).then(|| random.i64(-1_000..i64::MAX)).filter(|at_ms| *at_ms != -1),
                idle_seconds: (random.u8(..5) == 0).then(|| random.u64(..)),
                frequency: None,
                ..KeyMeta::default()
            };
            if random.bool() {
                let text = bytes(&mut random, 80);
                writer.key(&meta, ObjectRef::String(Element::Bytes(&text))).unwrap();
            } else {
                writer.key(&meta, (&value(&mut random, &limits)).into()).unwrap();
            }
        }
    }
    std::fs::write(path, writer.finish().unwrap()).unwrap();
}

#[test]
fn random_files_come_back_from_json() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("random.rdb");
    for seed in 0..6 {
        random_file(seed, &file);
        let built = round(&file, if seed % 2 == 0 { "--json" } else { "--ndjson" }, folder.path(), seed % 3 == 0);
        same(&file, &built, &format!("seed {seed}"));
    }
}

/// Builds lines of JSON with the options, and gives what `dump --ndjson` says of the file.
fn rebuilt(lines: &str, more: &[&str]) -> (Vec<Value>, String) {
    let folder = tempfile::tempdir().unwrap();
    let (input, built) = (folder.path().join("in.json"), folder.path().join("out.rdb"));
    std::fs::write(&input, lines).unwrap();
    let output = build(&input, &built, more);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    (records(&built), stderr_of(&output))
}

/// librdb and others give the bytes FF and C3 BF the same JSON string.
#[test]
fn bytes_that_look_alike_and_odd_scores_come_back_as_they_were() {
    let lines = r#"{"db":0,"key":"base64:/w==","type":"string","encoding":"string","value":"ÿ"}
{"db":0,"key":"ÿ","type":"string","encoding":"string","value":"base64:/w=="}
{"db":0,"key":"","type":"zset","encoding":"listpack","value":[["a","-inf"],["e",-0.0],["f",0],["b",0.1],["c",9007199254740993],["d","inf"]]}
"#;
    let (back, _) = rebuilt(lines, &[]);
    let text: String = back.iter().map(|record| format!("{record}\n")).collect();
    let wanted: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&back[0], &back[1]), (&wanted[0], &wanted[1]), "{text}");
    let scores: Vec<String> = back[2]["value"].as_array().unwrap().iter().map(|pair| pair[1].to_string()).collect();
    assert_eq!(scores, ["\"-inf\"", "-0.0", "0", "0.1", "9007199254740992.0", "\"inf\""]);
}

#[test]
fn what_the_newest_servers_added_comes_back_in_the_lowest_version_that_holds_it() {
    let module = json!({"module": "ReJSON-RL", "version": 3, "raw": "base64:BQNhYmMA"});
    let stream = json!({
        "entries": [{"id": "1-1", "fields": [["f", "v"], ["f", ""]]}, {"id": "2-0", "fields": [["x", "base64:/w=="]]}],
        "length": 2, "last_id": "9-9", "first_id": "1-1", "max_deleted_id": "5-0", "entries_added": 7,
        "groups": [{"name": "g", "last_id": "2-0", "entries_read": null, "consumers": [
            {"name": "c", "seen_time_ms": 5, "active_time_ms": null, "pending": [
                {"id": "1-1", "delivery_time_ms": 6, "delivery_count": 2}]},
            {"name": "idle", "seen_time_ms": 8, "active_time_ms": 7, "pending": []}]}],
    });
    let (mut newer, mut newest) = (stream.clone(), stream.clone());
    newer["idempotence"] = json!({"duration_seconds": 60, "max_entries": 5, "producers": [
        {"name": "p", "entries": [["i1", "1-1"], ["i2", "2-0"]]}, {"name": "q", "entries": []}],
        "added": 2, "duplicates": 1});
    newest["groups"][0]["nacked"] = json!([{"id": "2-0", "delivery_time_ms": 9, "delivery_count": 1}]);
    let array = json!({"insert_index": 8, "items": [[0, "int", -5], [3, "small", "ab"], [7, "double", -0.0],
        [9, "string", "a longer string"]]});
    let key = |kind: &str, value: &Value| json!({"db": 0, "key": "k", "type": kind, "value": value});
    let cases = [
        (key("module", &module), "REDIS0011"),
        (key("stream", &stream), "REDIS0011"),
        (json!({"module_aux": module}), "REDIS0011"),
        (
            json!({"db": 0, "key": "k", "type": "string", "value": "v",
                "metadata": [{"class": "base64:AAAAAQ==", "raw": "base64:AgUA"}]}),
            "REDIS0013",
        ),
        (json!({"slot_import": {"job": "0123456789", "ranges": [[0, 5], [7, 7]]}}), "VALKEY080"),
        (key("stream", &newer), "REDIS0013"),
        (key("stream", &newest), "REDIS0014"),
        (key("array", &array), "REDIS0014"),
    ];
    for (record, version) in cases {
        let (mut back, said) = rebuilt(&record.to_string(), &[]);
        assert!(said.contains(version), "{record}: {said}");
        back[0].as_object_mut().unwrap().remove("encoding");
        if back[0]["value"].get("idempotence").is_some() && record["value"].get("idempotence").is_none() {
            // A type that always has it says what a server would assume.
            back[0]["value"].as_object_mut().unwrap().remove("idempotence");
        }
        assert_eq!(back, [record], "{said}");
    }
}

/// Redis and Valkey drop a pending entry that is not in the stream when XCLAIM names it.
#[test]
fn what_commands_cannot_say_is_counted_and_restore_says_it() {
    let stream = json!({
        "entries": [{"id": "2-0", "fields": [["a", "b"]]}], "length": 1, "last_id": "3-0", "first_id": "2-0",
        "max_deleted_id": "1-0", "entries_added": 3,
        "groups": [{"name": "g", "last_id": "2-0", "entries_read": 2, "consumers": [
            {"name": "c", "seen_time_ms": 1, "active_time_ms": 1, "pending": [
                {"id": "1-0", "delivery_time_ms": 5, "delivery_count": 1},
                {"id": "2-0", "delivery_time_ms": 5, "delivery_count": 1}]}]}],
    });
    let folder = tempfile::tempdir().unwrap();
    let (input, file) = (folder.path().join("in"), folder.path().join("in.rdb"));
    std::fs::write(&input, json!({"key": "s", "type": "stream", "value": stream}).to_string()).unwrap();
    assert_eq!(build(&input, &file, &[]).status.code(), Some(0));
    let output = rdbtool().args(["dump", "--resp"]).arg(&file).output().unwrap();
    assert!(stderr_of(&output).contains("left out: 1 pending entries were deleted"), "{}", stderr_of(&output));
    let output = rdbtool().args(["dump", "--restore"]).arg(&file).output().unwrap();
    assert_eq!(stderr_of(&output), "");
    let built = round(&file, "--restore", folder.path(), false);
    assert_eq!(records(&built)[0]["value"], stream);
}

#[test]
fn members_come_in_any_order_and_spaces_mean_nothing() {
    let (back, _) = rebuilt(
        "[ {\"value\" : {\"a\":\"1\",\n \"b\":\"2\"},\n\"field_expire_at_ms\":{\"b\":4000000000000}, \"key\":\"h\"\n,\"type\":\"hash\"}\n,\n\
         {\"field_expire_at_ms\":{\"a\":5},\"type\":\"hash\",\"key\":\"i\",\"db\":3,\"value\":{\"a\":\"\\u0041\"}} ]\n ",
        &[],
    );
    assert_eq!((&back[0]["db"], &back[0]["field_expire_at_ms"]), (&json!(0), &json!({"b": 4_000_000_000_000_u64})));
    assert_eq!((&back[1]["value"], &back[1]["field_expire_at_ms"]), (&json!({"a": "A"}), &json!({"a": 5})));
}

#[test]
fn bad_input_is_named_by_record_line_and_path_and_nothing_is_written() {
    let key = |kind: &str, value: &str| format!("{{\"key\":\"k\",\"type\":\"{kind}\",\"value\":{value}}}");
    let first = key("string", "\"v\"");
    let cases = [
        (
            format!("{first}\n{}", key("zset", "[[\"a\",1],[\"b\",true]]")),
            "record 2, line 2, value[1][1]: expected a score",
        ),
        (format!("[{first},\n{}]", key("list", "[\"a\",5]")), "record 2, line 2, value[1]: expected an item"),
        (format!("[{first}"), "record 1, line 1: expected a comma or ], found the end"),
        (format!("[{first}] x"), "expected the end of the input"),
        (format!("[{first},]"), "what a comma announces"),
        (key("zset", "[[\"a\",1e400]]").replace("1e400", "\"nan\""), "a score that servers can order"),
        (key("hash", "{\"a\":\"1\",\"a\":\"2\"}"), "value: expected a field that did not come before, found \"a\""),
        (key("set", "[\"a\",\"a\"]"), "value[1]: expected a member that did not come before"),
        (key("tree", "[]"), "expected a type: string, list"),
        (key("string", "\"base64:!\""), "value: expected padded base64"),
        (key("string", "\"v\",\"expire_at\":5"), "expected a member of a record"),
        (key("string", "\"v\",\"expire_at_ms\":1.5"), "expire_at_ms: expected a Unix time in ms, found `1.5`"),
        (
            key("stream", "{\"entries\":[{\"id\":\"2-0\",\"fields\":[]},{\"id\":\"1-0\",\"fields\":[]}]}"),
            "value.entries[1]: expected an id above 2-0",
        ),
        (
            key("module", "{\"module\":\"ReJSON-RL\",\"version\":3,\"raw\":\"base64:CQ==\"}"),
            "value.raw: expected the opcodes",
        ),
        ("{\"key\":\"k\",\"value\":\"v\"}".to_owned(), "expected a record with a type"),
        (format!("{first}\n{first}"), "a key comes twice"),
        ("SET a b".to_owned(), "line 1: expected an array of records, or a record"),
        (String::new(), "expected records"),
        (
            "*1\r\n$4\r\nPING\r\n".to_owned(),
            "command 1, at offset 0: the command 'ping' is not one that a log may hold",
        ),
        (
            "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n*3\r\n$5\r\nRPUSH\r\n$1\r\nk\r\n$1\r\nv\r\n".to_owned(),
            "command 2, at offset 27",
        ),
        ("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nv\r\n".to_owned(), "ends at offset"),
        ("REDIS0011\u{fa}".to_owned(), "an RDB already"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let (input, built) = (folder.path().join("in"), folder.path().join("out.rdb"));
    for (content, says) in cases {
        std::fs::write(&input, &content).unwrap();
        for output in [&built, Path::new("-")] {
            let output = build(&input, output, &[]);
            let said = stderr_of(&output);
            assert_eq!(output.status.code(), Some(3), "{content}: {said}");
            assert!(said.contains(says) && said.starts_with(input.to_str().unwrap()), "{content}: {said}");
            assert!(output.stdout.is_empty() && !built.exists(), "{content}");
        }
    }
}

#[test]
fn a_version_that_cannot_hold_the_data_is_refused_or_loses_what_it_says() {
    let lines = r#"{"key":"h","type":"hash","value":{"a":"1","b":"2"},"field_expire_at_ms":{"a":4000000000000}}"#;
    let folder = tempfile::tempdir().unwrap();
    let (input, built) = (folder.path().join("in"), folder.path().join("out.rdb"));
    std::fs::write(&input, lines).unwrap();
    let refused = build(&input, &built, &["--to", "11"]);
    assert_eq!((refused.status.code(), built.exists()), (Some(4), false));
    assert!(stderr_of(&refused).contains("has fields that expire"), "{}", stderr_of(&refused));
    let (back, said) = rebuilt(lines, &["--to", "11", "--lossy"]);
    assert!(said.contains("lost: 1 field-expiry: \"h\""), "{said}");
    assert_eq!((&back[0]["value"], back[0].get("field_expire_at_ms")), (&json!({"a": "1", "b": "2"}), None));
    let (back, said) = rebuilt(&format!("{{\"aux\":{{\"valkey-ver\":\"9.0.0\"}}}}\n{lines}"), &[]);
    assert!(said.contains("VALKEY080") && back[1].get("field_expire_at_ms").is_some(), "{said}");
    let (back, said) = rebuilt("{\"key\":\"e\",\"type\":\"list\",\"value\":[]}", &[]);
    assert!(back.is_empty() && said.contains("1 key without elements"), "{said}");
    let output = build(&input, &built, &["--to", "11", "--lossy", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let kept = json!({"schema": "rdbtool.build/1", "header": "REDIS0011", "keys": 1, "databases": 1, "empty_keys": 0});
    kept.as_object().unwrap().iter().for_each(|(name, value)| assert_eq!(&report[name], value, "{name}"));
    assert_eq!(report["lost"], json!([{"kind": "field-expiry", "hint": false, "count": 1, "keys": ["h"]}]));
}

#[test]
fn an_output_that_is_there_stays_unless_forced() {
    let folder = tempfile::tempdir().unwrap();
    let (input, built) = (folder.path().join("in"), folder.path().join("out.rdb"));
    std::fs::write(&input, "[]").unwrap();
    std::fs::File::create(&built).unwrap().write_all(b"mine").unwrap();
    assert_eq!(build(&input, &built, &[]).status.code(), Some(5));
    assert_eq!(std::fs::read(&built).unwrap(), b"mine");
    assert_eq!(build(&input, &built, &["--force"]).status.code(), Some(0));
    assert!(std::fs::read(&built).unwrap().starts_with(b"REDIS0011"));
    // `build dump.json -o dump.json --force` left no JSON.
    assert_eq!(build(&input, &input, &["--force"]).status.code(), Some(5));
    assert_eq!(std::fs::read(&input).unwrap(), b"[]");
}
