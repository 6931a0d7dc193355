//! The server on the files of fifteen real servers: what it loads equals what their writers said of them.

use crate::rig::{Program, Server, copy_folder, differences, flushed_logs, logs, rdb_files, read_contents, truth_of};
use std::path::Path;

/// Starts the server on `dir` and says how its contents differ from the truth about `sample`.
fn wrongs(sample: &Path, dir: &Path, appendonly: &str) -> Vec<String> {
    let wrongs = match Server::try_start(&Program::ours(), dir, &[("appendonly", appendonly)]) {
        Ok(server) => differences(&read_contents(&mut server.client()), &truth_of(sample)),
        Err(output) => vec![format!("does not start:\n{output}")],
    };
    wrongs.into_iter().map(|wrong| format!("{}: {wrong}", sample.display())).collect()
}

fn report(count: usize, wrongs: &[String]) {
    assert!(wrongs.is_empty(), "{} differences in {count} samples:\n{}", wrongs.len(), wrongs.join("\n"));
    println!("{count} samples loaded equal to their truth");
}

#[test]
fn every_rdb_of_the_corpus_loads_as_its_writer_meant_it() {
    let wrongs: Vec<String> = rdb_files()
        .iter()
        .flat_map(|sample| {
            let dir = tempfile::tempdir().unwrap();
            std::fs::copy(sample, dir.path().join("dump.rdb")).unwrap();
            wrongs(sample, dir.path(), "no")
        })
        .collect();
    report(40, &wrongs);
}

#[test]
fn every_log_of_the_corpus_loads_as_its_writer_meant_it() {
    let logs = logs();
    let wrongs: Vec<String> = logs
        .iter()
        .flat_map(|sample| {
            let dir = tempfile::tempdir().unwrap();
            copy_folder(sample, dir.path());
            wrongs(sample, dir.path(), "yes")
        })
        .collect();
    report(30, &wrongs);
    assert_eq!(flushed_logs().len() * 2, logs.len());
}

/// What a load has turned into our own log loads again, and holds the same.
#[test]
fn a_log_that_was_taken_over_is_whole_after_a_restart() {
    for sample in flushed_logs().iter().step_by(5) {
        let dir = tempfile::tempdir().unwrap();
        copy_folder(sample, dir.path());
        assert_eq!(wrongs(sample, dir.path(), "yes"), Vec::<String>::new());
        assert_eq!(wrongs(sample, dir.path(), "yes"), Vec::<String>::new());
    }
}
