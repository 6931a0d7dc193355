//! `rdbtool split`: the parts hold what the whole held, each where it belongs, all of them or none.

use super::filter::{assert_counts_are_true, records};
use super::rdbtool::{corpus, rdbtool, run, samples, stderr_of};
use crate::rig::{Program, Server, differences, read_contents};
use ironkeep::value::slot::slot_of;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Output;

fn split(input: &Path, dir: &Path, words: &str) -> Output {
    rdbtool().arg("split").arg(input).arg("--output-dir").arg(dir).args(words.split_whitespace()).output().unwrap()
}

fn files_in(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn merge(inputs: &[PathBuf], output: &Path, more: &[&str]) -> Output {
    rdbtool().arg("merge").args(inputs).arg("--output").arg(output).args(more).output().unwrap()
}

#[test]
fn the_parts_of_any_split_merged_are_the_whole_again() {
    let mut parts = 0;
    for sample in samples().into_iter().filter(|path| path.ends_with("types.rdb")) {
        let whole = records(&sample);
        for words in ["--by slots --parts 5", "--by db", "--by prefix", "--by hash --parts 3", "--by size --size 20kb"]
        {
            let folder = tempfile::tempdir().unwrap();
            let dir = folder.path().join("parts");
            let done = split(&sample, &dir, words);
            assert_eq!(done.status.code(), Some(0), "{} {words}: {}", sample.display(), stderr_of(&done));
            let files = files_in(&dir);
            files.iter().for_each(|file| assert_counts_are_true(file));
            parts += files.len();
            let merged = folder.path().join("merged.rdb");
            let done = merge(&files, &merged, &[]);
            assert_eq!(done.status.code(), Some(0), "{} {words}: {}", sample.display(), stderr_of(&done));
            assert_eq!(records(&merged), whole, "{} {words}", sample.display());
            assert_counts_are_true(&merged);
        }
    }
    assert!(parts > 300, "{parts}");
}

#[test]
fn every_key_lies_where_its_slot_its_node_or_its_database_says() {
    let sample = corpus().join("redis-8.0.6/types.rdb");
    let folder = tempfile::tempdir().unwrap();
    let nodes = folder.path().join("nodes.conf");
    let lines = "aa 127.0.0.1:1@2 myself,master - 0 0 1 connected 0-8191 16383 [7-<-bb]\n\
                 bb 127.0.0.1:3@4 master - 0 0 2 connected 8192-16000\n\
                 cc 127.0.0.1:5@6 slave aa 0 0 2 connected\nvars currentEpoch 6 lastVoteEpoch 0\n";
    std::fs::write(&nodes, lines).unwrap();
    let dir = folder.path().join("nodes");
    let done = split(&sample, &dir, &format!("--by nodes --json --nodes {}", nodes.display()));
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&report["schema"], &report["keys"]), (&"rdbtool.split/1".into(), &159.into()));
    let mut keys = 0;
    for (name, place) in [
        ("node-aa.rdb", (|slot| slot <= 8191 || slot == 16383) as fn(u16) -> bool),
        ("node-bb.rdb", |slot| (8192..=16000).contains(&slot)),
        ("rest.rdb", |slot| (16001..=16382).contains(&slot)),
    ] {
        let found = records(&dir.join(name));
        let here: Vec<_> = found.keys().filter(|(db, _)| db.is_some()).collect();
        assert!(!here.is_empty() && here.iter().all(|(_, key)| place(slot_of(key))), "{name}");
        assert_eq!(found.keys().filter(|(db, _)| db.is_none()).count(), 1, "the function library is in every part");
        keys += here.len();
    }
    assert_eq!((keys, files_in(&dir).len()), (159, 3));

    let dir = folder.path().join("dbs");
    split(&sample, &dir, "--by db");
    for file in files_in(&dir) {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(records(&file).keys().all(|(db, _)| db.is_none_or(|db| name == format!("db-{db}"))), "{name}");
    }
}

#[test]
fn more_parts_than_files_may_be_open_take_several_passes() {
    let mut file = b"REDIS0003\xfe\x00".to_vec();
    for index in 0..300u32 {
        let key = format!("{index:03}/x:1");
        file.extend_from_slice(&[0, 7]);
        file.extend_from_slice(&key.as_bytes()[..7]);
        file.extend_from_slice(b"\x01v");
    }
    file.push(0xff);
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.rdb");
    std::fs::write(&input, file).unwrap();
    let pattern = folder.path().join("p-{}.out");
    let mut command = rdbtool();
    command.arg("split").arg(&input).args(["--by", "prefix", "--output"]).arg(&pattern);
    assert_eq!(command.output().unwrap().status.code(), Some(0));
    assert_eq!(files_in(folder.path()).len(), 301);
    assert_eq!(records(&folder.path().join("p-prefix-042%2fx.out")).len(), 1, "names are safe for a file system");
    let done = split(&input, folder.path(), "--by prefix --max-parts 299");
    assert_eq!((done.status.code(), files_in(folder.path()).len()), (Some(2), 301), "{}", stderr_of(&done));
}

#[test]
fn a_part_that_is_there_or_a_damaged_input_leaves_no_part_behind() {
    let sample = corpus().join("redis-7.2.6/types.rdb");
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("parts");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("db-3.rdb"), "precious").unwrap();
    let done = split(&sample, &dir, "--by db");
    assert_eq!((done.status.code(), files_in(&dir).len()), (Some(5), 1), "{}", stderr_of(&done));
    assert_eq!(split(&sample, &dir, "--by db --force").status.code(), Some(0));
    assert_eq!(files_in(&dir).len(), 3);

    let mut bytes = std::fs::read(&sample).unwrap();
    bytes.truncate(bytes.len() - 9);
    let damaged = folder.path().join("damaged.rdb");
    std::fs::write(&damaged, bytes).unwrap();
    let done = split(&damaged, &folder.path().join("none"), "--by hash --parts 4");
    assert_eq!(done.status.code(), Some(3));
    assert!(stderr_of(&done).contains("damaged.rdb: at offset"), "{}", stderr_of(&done));
    assert!(!folder.path().join("none").exists());
    for words in ["--by hash", "--by size", "--by slots", "--by nodes", "--by slots --slots 9-1"] {
        assert_eq!(split(&sample, &dir, words).status.code(), Some(2), "{words}");
    }
}

fn contents_of(program: &Program, file: &Path) -> crate::rig::Contents {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(file, folder.path().join("dump.rdb")).unwrap();
    let server = Server::start(program, folder.path(), &[]);
    read_contents(&mut server.client())
}

#[test]
fn real_servers_load_what_was_split_and_merged_and_hold_the_same() {
    for (program, sample) in
        [(Program::redis_8(), "redis-8.0.6/types.rdb"), (Program::valkey_9(), "valkey-9.1.2/types.rdb")]
    {
        let Some(program) = program else { continue };
        let sample = corpus().join(sample);
        let folder = tempfile::tempdir().unwrap();
        let (dir, merged) = (folder.path().join("parts"), folder.path().join("merged.rdb"));
        assert_eq!(split(&sample, &dir, "--by slots --parts 4").status.code(), Some(0));
        let files = files_in(&dir);
        assert_eq!(merge(&files, &merged, &[]).status.code(), Some(0));
        for file in files.iter().chain([&merged]) {
            let checked = std::process::Command::new(program.tool("check-rdb")).arg(file).output().unwrap();
            assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
        }
        let (found, wanted) = (contents_of(&program, &merged), contents_of(&program, &sample));
        assert!(wanted.keys.len() > 100);
        assert_eq!(differences(&found, &wanted), Vec::<String>::new(), "{}", program.name);
        assert_eq!(run("check", &merged, &[]).status.code(), Some(0));
    }
}
