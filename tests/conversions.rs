//! What `rdbtool convert` writes for an old version, loaded by the real servers at hand and read through their sockets:
//! every field that the truth of the corpus tells, and the times of consumers besides.

use crate::rig::{Contents, Data, Program, Server, corpus_root, differences, read_contents, truth_of};
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SAMPLES: [&str; 3] = ["redis-8.0.6/types.rdb", "redis-8.0.6/random.rdb", "valkey-9.1.2/types.rdb"];

fn convert(sample: &Path, arguments: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_rdbtool"))
        .arg("convert")
        .arg(sample)
        .args(["--lossy", "--json"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Json = serde_json::from_slice(&output.stdout).unwrap();
    let lost = report["lost"].as_array().unwrap().iter().map(|row| row["kind"].as_str().unwrap().to_owned());
    lost.collect()
}

/// The truth, without what the report says was lost.
fn wanted(sample: &Path, lost: &BTreeSet<String>) -> Contents {
    let mut truth = truth_of(sample);
    for kind in lost {
        match kind.as_str() {
            "stream" => truth.keys.retain(|_, key| !matches!(key.data, Data::Stream(_))),
            "function" => truth.functions = Some(BTreeSet::new()),
            "field-expiry" => {
                for key in truth.keys.values_mut() {
                    if let Data::Hash(fields) = &mut key.data {
                        fields.values_mut().for_each(|(_, expiry)| *expiry = None);
                    }
                }
            }
            "stream-counters" => {
                for key in truth.keys.values_mut() {
                    let Data::Stream(stream) = &mut key.data else { continue };
                    (stream.max_deleted_id, stream.entries_added) = (None, None);
                    stream.groups.iter_mut().flatten().for_each(|(_, group)| group.entries_read = None);
                }
            }
            "remark" | "active-time" | "access" => {}
            other => panic!("{other} was lost, which the corpus does not have"),
        }
    }
    truth
}

/// Each consumer's times, with the place of the consumer: seen, and active where the server tells.
type Times = Vec<(String, Option<i64>, Option<i64>)>;

fn times(contents: &Contents) -> Times {
    let mut times = Vec::new();
    for ((db, key), value) in &contents.keys {
        let Data::Stream(stream) = &value.data else { continue };
        for (group, facts) in stream.groups.iter().flatten() {
            for (consumer, told) in &facts.times {
                let place = [key, group, consumer].map(|name| name.escape_ascii().to_string()).join(" ");
                times.push((format!("{db} {place}"), told.seen_ms, told.active_ms));
            }
        }
    }
    times
}

/// The folder of one conversion, and what was lost.
fn converted(sample: &Path, version: &str) -> (tempfile::TempDir, BTreeSet<String>) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dump.rdb");
    let lost = convert(sample, &["--to", version, "--output", file.to_str().unwrap()]);
    (dir, lost)
}

fn passes(program: &Program, tool: &str, file: &Path) {
    let output = Command::new(program.tool(tool)).arg(file).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{} {tool}:\n{said}", program.name);
}

/// Loads every sample in every version. `peers_own` is the version of the server's own saves, whose times of consumers
/// all others are held against.
fn loads_equal(program: &Program, versions: &[&str], peers_own: &str) {
    let mut wrongs = Vec::new();
    for sample in SAMPLES.map(|name| corpus_root().join(name)) {
        let mut own_times = None;
        for version in [&[peers_own], versions].concat() {
            let (dir, lost) = converted(&sample, version);
            passes(program, "check-rdb", &dir.path().join("dump.rdb"));
            let server = Server::start(program, dir.path(), &[]);
            let contents = read_contents(&mut server.client());
            let place = format!("{} in version {version}, {}", sample.display(), program.name);
            let found = differences(&contents, &wanted(&sample, &lost));
            wrongs.extend(found.into_iter().map(|wrong| format!("{place}: {wrong}")));
            let mut times = times(&contents);
            let own = own_times.get_or_insert_with(|| times.clone());
            if lost.contains("stream") {
                continue;
            }
            if lost.contains("active-time") {
                times.iter_mut().zip(own.iter()).for_each(|(time, own)| time.2 = own.2);
            }
            if times != *own {
                wrongs.push(format!("{place}: times of consumers {times:?} and not {own:?}"));
            }
        }
        println!("{}: {} consumers in {}", sample.display(), own_times.unwrap_or_default().len(), program.name);
    }
    assert!(wrongs.is_empty(), "{} differences:\n{}", wrongs.len(), wrongs.join("\n"));
}

#[test]
fn redis_7_0_loads_versions_6_to_10() {
    let Some(program) = Program::redis_7() else { return };
    loads_equal(&program, &["6", "7", "8", "9"], "10");
}

#[test]
fn redis_8_0_loads_versions_6_to_12() {
    let Some(program) = Program::redis_8() else { return };
    loads_equal(&program, &["6", "7", "8", "9", "10", "11"], "12");
}

#[test]
fn valkey_9_1_loads_versions_6_to_11_and_80() {
    let Some(program) = Program::valkey_9() else { return };
    loads_equal(&program, &["6", "7", "8", "9", "10", "11"], "valkey-80");
}

#[test]
fn a_log_made_of_an_rdb_is_loaded_by_every_server() {
    let peers = [
        (Some(Program::ours()), "12"),
        (Program::redis_7(), "10"),
        (Program::redis_8(), "12"),
        (Program::valkey_9(), "11"),
        (Program::valkey_9(), "valkey-80"),
    ];
    let sample = corpus_root().join("redis-8.0.6/types.rdb");
    for (program, version) in peers {
        let Some(program) = program else { continue };
        let dir = tempfile::tempdir().unwrap();
        let folder: PathBuf = dir.path().join("appendonlydir");
        let lost = convert(&sample, &["--to", version, "--to-log", folder.to_str().unwrap()]);
        // valkey-check-aof 9.1.2 does not know Valkey's own magic, also in what its server wrote.
        if program != Program::ours() && version != "valkey-80" {
            passes(&program, "check-aof", &folder.join("appendonly.aof.manifest"));
        }
        let server = Server::start(&program, dir.path(), &[("appendonly", "yes"), ("aof-load-truncated", "no")]);
        let wrongs = differences(&read_contents(&mut server.client()), &wanted(&sample, &lost));
        assert!(wrongs.is_empty(), "{}:\n{}", program.name, wrongs.join("\n"));
    }
}
