//! `rdbtool memory`: the estimate beside what real servers say they use, and the listings.

use super::rdbtool::{corpus, json_of, ours, run, samples, stderr_of, truth_of};
use crate::rig::{Client, Program, Server, length};
use ironkeep::rdb::{KeyMeta, ObjectRef, Version, WriteOptions, Writer};
use ironkeep::value::stream::StreamId;
use ironkeep::value::{Hash, Limits, List, Object, Set, Stream, Zset};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// How far an estimate may be from the truth.
const TOLERANCE: f64 = 0.10;
/// What the used_memory of one server with the same data moves by from start to start, in bytes: buffers of clients.
const NOISE: f64 = 16_384.0;

fn peers() -> Vec<(&'static str, Program)> {
    let peers =
        [("redis-7.0", Program::redis_7()), ("redis-8.0", Program::redis_8()), ("valkey-9", Program::valkey_9())];
    peers.into_iter().filter_map(|(name, program)| Some((name, program?))).collect()
}

fn used_memory(client: &mut Client) -> f64 {
    let info = client.line("INFO memory").text();
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    line.parse().unwrap()
}

/// What a server uses with nothing, and after it has loaded the file; `None` if it refuses the file.
fn truth(program: &Program, file: &Path) -> Option<(f64, f64)> {
    let used = |file: Option<&Path>| {
        let dir = tempfile::tempdir().unwrap();
        if let Some(file) = file {
            std::fs::copy(file, dir.path().join("dump.rdb")).unwrap();
        }
        let server = Server::try_start(program, dir.path(), &[("save", "")]).ok()?;
        Some(used_memory(&mut server.client()))
    };
    Some((used(None)?, used(Some(file))?))
}

fn report(file: &Path, more: &[&str]) -> Value {
    let output = run("memory", file, &[&["--json"], more].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Compares the file in every peer that loads it; gives a line for each estimate beyond the tolerance.
fn compare(file: &Path, what: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, program) in peers() {
        let Some((empty, full)) = truth(&program, file) else { continue };
        let report = report(file, &["--server", name]);
        let [data, total] = ["data_bytes", "used_memory"].map(|name| report[name].as_f64().unwrap());
        let (of_data, of_total) = (data / (full - empty) - 1.0, total / full - 1.0);
        let line =
            format!("{what} in {name}: {:+.1} % of the data, {:+.1} % in all", of_data * 100.0, of_total * 100.0);
        println!("{line}");
        let is_noise = (data - (full - empty)).abs() <= NOISE;
        if (of_data.abs() > TOLERANCE && !is_noise) || of_total.abs() > TOLERANCE {
            wrong.push(format!("{line}: {data} and not {}", full - empty));
        }
    }
    wrong
}

/// Five of the corpus, from the oldest to the newest; `IRONKEEP_MEMORY_SAMPLES=40` takes all.
#[test]
fn the_estimate_is_near_what_servers_use_for_the_corpus() {
    let samples = samples();
    let step = samples.len() / length("IRONKEEP_MEMORY_SAMPLES", 5).clamp(1, samples.len());
    let wrong: Vec<String> =
        samples.iter().step_by(step).flat_map(|file| compare(file, file.to_str().unwrap())).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn text(random: &mut fastrand::Rng, len: usize) -> Vec<u8> {
    (0..len).map(|_| random.u8(b'!'..b'z')).collect()
}

/// A value of one type; every eighth is large, every fifth has something too long for a packed encoding.
fn value(type_name: &str, index: u64, random: &mut fastrand::Rng) -> Object {
    let limits = Limits::default();
    let count = if index.is_multiple_of(8) { random.usize(600..1_500) } else { random.usize(1..60) };
    let item = |random: &mut fastrand::Rng| {
        let len = if index.is_multiple_of(5) { random.usize(50..200) } else { random.usize(4..40) };
        text(random, len)
    };
    match type_name {
        "list" => {
            let mut list = List::new();
            (0..count).for_each(|_| list.push_back(&item(random), &limits));
            Object::List(list)
        }
        "intset" | "set" => {
            let mut set = Set::new();
            (0..count).for_each(|_| {
                let ints = random.u32(..).to_string().into_bytes();
                let member = if type_name == "set" { item(random) } else { ints };
                set.insert(&member, &limits);
            });
            Object::Set(set)
        }
        "zset" => {
            let mut zset = Zset::new();
            (0..count).for_each(|_| {
                zset.insert(&item(random), random.f64() * 1e6, &limits);
            });
            Object::Zset(zset)
        }
        "stream" => {
            let mut stream = Stream::new();
            for ms in 0..count as u64 {
                let id = StreamId { ms: 1_700_000_000_000 + ms * 7 + index, seq: 0 };
                let [first, second] = [item(random), item(random)];
                stream.append(id, &[(b"temperature", &first), (b"unit", &second)], &limits).unwrap();
            }
            Object::Stream(Box::new(stream))
        }
        _ => {
            let mut hash = Hash::new();
            (0..count).for_each(|_| {
                let field = text(random, 12);
                hash.set(&field, &item(random), &limits);
                if type_name == "hash with expiry" && random.bool() {
                    hash.set_expire(&field, Some(4_000_000_000_000 + random.i64(0..1_000_000_000)), &limits);
                }
            });
            Object::Hash(hash)
        }
    }
}

/// A file of `count` keys of the named types in turn; collections are a tenth as many.
fn made(dir: &Path, types: &[&str], count: u64, version: Version) -> PathBuf {
    let path = dir.join("made.rdb");
    let mut writer = Writer::new(std::fs::File::create(&path).unwrap(), version, WriteOptions::default()).unwrap();
    let mut random = fastrand::Rng::with_seed(count);
    writer.select_db(0, 0, 0).unwrap();
    for index in 0..count {
        let key = format!("app:{}:{index}", random.u8(..));
        let expire_at_ms = (index.is_multiple_of(3)).then_some(4_000_000_000_000);
        let meta = KeyMeta { key: key.as_bytes(), expire_at_ms, ..KeyMeta::default() };
        let type_name = types[(index % types.len() as u64) as usize];
        let written = match type_name {
            "string" => {
                let len = random.usize(0..200);
                let text = text(&mut random, len);
                writer.key(&meta, ObjectRef::String(text.as_slice().into()))
            }
            "integer" => writer.key(&meta, ObjectRef::String(ironkeep::value::Element::Int(random.i64(..)))),
            _ => writer.key(&meta, ObjectRef::Object(&value(type_name, index, &mut random))),
        };
        written.unwrap();
    }
    writer.finish().unwrap();
    path
}

#[test]
fn the_estimate_is_near_for_every_type_by_itself() {
    let mut wrong = Vec::new();
    for (type_name, count) in [
        ("string", 40_000),
        ("integer", 40_000),
        ("list", 600),
        ("set", 600),
        ("intset", 600),
        ("zset", 600),
        ("stream", 600),
        ("hash", 600),
    ] {
        let dir = tempfile::tempdir().unwrap();
        wrong.extend(compare(&made(dir.path(), &[type_name], count, Version::Rdb10), type_name));
    }
    for version in [Version::Rdb12, Version::Valkey80] {
        let dir = tempfile::tempdir().unwrap();
        wrong.extend(compare(&made(dir.path(), &["hash with expiry"], 600, version), "hash with expiry"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Redis before 7.2 spells scores with 17 digits, which stay in the listpack of whoever loads the file: small sorted sets
/// of 7.0 were estimated 16 % too low.
#[test]
fn scores_count_as_the_file_spells_them() {
    let Some(program) = Program::redis_7() else { return };
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&program, dir.path(), &[("save", "")]);
    let mut client = server.client();
    for key in 0..3_000 {
        let members: String = (0..9).map(|member| format!(" {key}.{member}7 member:{member}")).collect();
        client.line(&format!("ZADD zset:{key}{members}"));
    }
    client.line("SAVE");
    assert_eq!(compare(&dir.path().join("dump.rdb"), "scores of 17 digits"), Vec::<String>::new());
}

/// The 300 MB of the promise; a minute per server: `cargo test --release --test ironkeep -- --ignored mixed_300`.
#[test]
#[ignore = "makes a file of 300 MB and loads it three times"]
fn the_estimate_is_near_for_a_mixed_300_mb_file() {
    let dir = tempfile::tempdir().unwrap();
    let types = ["string", "integer", "string", "hash", "string", "set", "string", "zset", "string", "list", "intset"];
    let file = made(dir.path(), &types, 100_000, Version::Rdb10);
    println!("{} bytes", std::fs::metadata(&file).unwrap().len());
    assert_eq!(compare(&file, "mixed"), Vec::<String>::new());
}

#[test]
fn every_listing_counts_the_same_keys() {
    for sample in samples() {
        let keys = truth_of(&sample)["keys"].as_array().unwrap().len() as u64;
        let report = report(&sample, &["--keep-expired"]);
        assert_eq!((&report["schema"], report["total"]["keys"].as_u64()), (&"rdbtool.memory/1".into(), Some(keys)));
        let sum = |rows: &Value| rows.as_array().unwrap().iter().map(|row| row["bytes"].as_u64().unwrap()).sum::<u64>();
        let bytes = report["total"]["bytes"].as_u64().unwrap();
        for rows in ["types", "databases", "sizes", "expiry"] {
            assert_eq!(sum(&report[rows]), bytes, "{rows} of {}", sample.display());
        }
        assert_eq!(report["prefixes"]["bytes"].as_u64(), Some(bytes));
        let by_key = run("memory", &sample, &["--by", "key", "--json", "--keep-expired"]);
        let by_key: Value = serde_json::from_slice(&by_key.stdout).unwrap();
        assert_eq!((sum(&by_key["keys"]), by_key["used_memory"].as_u64()), (bytes, report["used_memory"].as_u64()));
        let csv = run("memory", &sample, &["--csv", "--keep-expired"]);
        assert!(csv.stdout.starts_with(b"database,type,key,size_in_bytes,"));
        let text = run("memory", &sample, &["--by", "key", "--keep-expired"]);
        assert_eq!(String::from_utf8(text.stdout).unwrap().lines().count() as u64, keys, "a line per key");
    }
}

#[test]
fn the_largest_keys_are_listed_in_order_and_as_many_as_asked() {
    let dir = tempfile::tempdir().unwrap();
    let file = made(dir.path(), &["string", "hash"], 500, Version::Rdb11);
    let all = run("memory", &file, &["--by", "key", "--json"]);
    let all: Value = serde_json::from_slice(&all.stdout).unwrap();
    let mut sizes: Vec<(u64, Vec<u8>)> =
        all["keys"].as_array().unwrap().iter().map(|key| (key["bytes"].as_u64().unwrap(), ours(&key["key"]))).collect();
    sizes.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    let top = report(&file, &["--top", "7"]);
    let top: Vec<u64> = top["largest"].as_array().unwrap().iter().map(|key| key["bytes"].as_u64().unwrap()).collect();
    assert_eq!(top, sizes[..7].iter().map(|(bytes, _)| *bytes).collect::<Vec<_>>());
    assert!(report(&file, &["--top", "0"])["largest"].as_array().unwrap().is_empty());
}

#[test]
fn many_prefixes_are_folded_and_it_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let file = made(dir.path(), &["string"], 2_000, Version::Rdb11);
    let folded = report(&file, &["--max-prefixes", "20"]);
    assert_eq!((&folded["prefixes_folded"], &folded["prefixes"]["keys"]), (&true.into(), &2_000.into()));
    let app = &folded["prefixes"]["children"][0];
    assert_eq!((&app["part"], &app["keys"]), (&"app:".into(), &2_000.into()));
    assert!(app["other_keys"].as_u64().unwrap() > 1_000);
    let text = String::from_utf8(run("memory", &file, &["--max-prefixes", "20"]).stdout).unwrap();
    assert!(text.contains("folded into (other)"), "{text}");
    assert_eq!(report(&file, &[])["prefixes_folded"], false);
}

/// `--depth 300000` with a key of as many words ended in a stack overflow.
#[test]
fn prefixes_are_not_deeper_than_the_stack() {
    let output = run("memory", &samples()[0], &["--depth", "300000"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr_of(&output).contains("--depth"), "{}", stderr_of(&output));
}

/// A file of Valkey was counted as Redis 8.0 would hold it, unless one knew to say --server.
#[test]
fn a_file_is_counted_as_the_server_that_wrote_it() {
    for (folder, server) in
        [("redis-7.0.15", "redis-7.0"), ("redis-8.0.6", "redis-8.0"), ("valkey-9.1.2", "valkey-9.1")]
    {
        let file = corpus().join(folder).join("types.rdb");
        assert_eq!(report(&file, &[])["server"], server, "{folder}");
        assert_eq!(report(&file, &["--server", "valkey-8.0"])["server"], "valkey-8.0");
    }
}

#[test]
fn an_unknown_server_is_a_usage_error_that_names_the_known() {
    let output = run("memory", &samples()[0], &["--server", "redis-99"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr_of(&output).contains("valkey-9.1"), "{}", stderr_of(&output));
    assert_eq!(json_of("memory", &samples()[0])["server"], "redis-8.0");
}
