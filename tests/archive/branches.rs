//! Logs that do not go on where their archive ends: it branches, and never brings back a mixture of two pasts.

use std::process::Command;

use super::*;
use crate::rig::copy_folder;

/// A data folder that can be put back, and its catalogue.
struct Place {
    dir: tempfile::TempDir,
    repo: tempfile::TempDir,
}

/// What was there in a second that has passed.
struct Past {
    contents: Contents,
    second: u64,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), repo: tempfile::tempdir().unwrap() }
    }

    fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    /// Starts a server and waits until its archive has a backup to begin with.
    fn start(&self, more: &[(&str, &str)]) -> Server {
        std::fs::create_dir_all(self.data()).unwrap();
        let server = start(&self.data(), self.repo.path(), &[&ARCHIVED[..], more].concat());
        let mut client = server.client();
        wait_until("a backup to begin with", || info(&mut client, "archive_has_base") == "1");
        server
    }

    /// Writes, ends with this key, waits until that is archived, and lets the second pass.
    fn write(&self, server: &Server, from: usize, last: &str) -> Past {
        let mut client = server.client();
        fill(&mut client, from);
        client.call(&["SET", last, "1"]);
        let past = Past { contents: read_contents(&mut client), second: second() };
        wait_for(self.repo.path(), last);
        pass(past.second);
        past
    }

    /// The name of a branch of this history: its own, and six digits.
    #[track_caller]
    fn assert_is_branch_of(branch: &str, first: &str) {
        let is_branch = branch.strip_prefix(first).is_some_and(|rest| rest.starts_with('-') && rest.len() == 7);
        assert!(is_branch, "{branch} of {first}");
    }

    fn timelines(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.repo.path().join("log")).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The archive has left the timeline `first`, and the log has said so. The name of what it goes on with.
    #[track_caller]
    fn has_branched(&self, server: &Server, first: &str) -> String {
        let timelines = self.timelines();
        let mut client = server.client();
        let branch = info(&mut client, "archive_timeline");
        assert!(timelines.len() == 2 && branch != first && timelines.contains(&branch), "{branch}: {timelines:?}");
        assert_eq!(info(&mut client, "archive_branches"), "1");
        let output = server.output();
        let is_told = |line: &str| line.contains(" # ") && line.contains(&format!("What comes is the branch {branch}"));
        assert!(output.lines().any(is_told), "{output}");
        branch
    }

    /// A restore with these arguments brings this.
    #[track_caller]
    fn brings(&self, to: &str, wanted: &Contents) -> String {
        let dir = self.dir.path().join(format!("restored-{}", fastrand::u64(..)));
        let text = backup_fine(self.repo.path(), &["restore", "--to", to, "--dir", dir.to_str().unwrap()]);
        let found = differences(&contents_of(&Program::ours(), &dir), wanted);
        assert!(found.is_empty(), "--to {to}: {}", found.join("\n"));
        text
    }
}

#[test]
fn a_data_folder_that_is_put_back_begins_a_branch() {
    let place = Place::new();
    let server = place.start(&[]);
    let start = place.write(&server, 0, "start");
    assert!(server.terminate().success());
    let [older, newer] = ["older", "newer"].map(|name| place.dir.path().join(name));
    copy_folder(&place.data(), &older);

    let server = place.start(&[]);
    let first = place.write(&server, 300, "first");
    assert_eq!(info(&mut server.client(), "archive_branches"), "0");
    assert!(server.terminate().success());
    std::fs::rename(place.data(), &newer).unwrap();

    copy_folder(&older, &place.data());
    let line = place.timelines().remove(0);
    let server = place.start(&[]);
    Place::assert_is_branch_of(&place.has_branched(&server, &line), &line);
    let second = place.write(&server, 600, "second");
    assert!(server.terminate().success());
    place.brings("latest", &second.contents);
    place.brings(&first.second.to_string(), &first.contents);
    place.brings(&start.second.to_string(), &start.contents);

    // Of the first line again, it goes on with that.
    std::fs::remove_dir_all(place.data()).unwrap();
    std::fs::rename(&newer, place.data()).unwrap();
    let server = place.start(&[]);
    let third = place.write(&server, 900, "third");
    assert_eq!((place.timelines().len(), info(&mut server.client(), "archive_timeline")), (2, line));
    place.brings("latest", &third.contents);
    place.brings(&second.second.to_string(), &second.contents);
    place.brings(&first.second.to_string(), &first.contents);
}

#[test]
fn a_log_that_undo_flush_has_changed_begins_a_timeline_of_its_own() {
    let place = Place::new();
    let server = place.start(&[]);
    let full = place.write(&server, 0, "full");
    server.client().line("FLUSHALL");
    let flushed = place.write(&server, 300, "flushed");
    assert!(server.terminate().success());
    let undo = Command::new(env!("CARGO_BIN_EXE_aoftool"))
        .args(["undo-flush", "--yes", "--dir", place.data().to_str().unwrap()])
        .output()
        .unwrap();
    assert!(undo.status.success(), "{}", String::from_utf8_lossy(&undo.stderr));

    // A tool leaves another history, so that nothing can take it for the one that it was.
    let line = place.timelines().remove(0);
    let server = place.start(&[]);
    let other = place.has_branched(&server, &line);
    assert!(!other.starts_with(&line), "{other}");
    // What was there before the flush is there with what was written behind it.
    let mut client = server.client();
    assert_eq!((client.line("EXISTS full").int(), client.line("EXISTS flushed").int()), (1, 1));
    let undone = place.write(&server, 600, "undone");
    place.brings("latest", &undone.contents);
    place.brings(&flushed.second.to_string(), &flushed.contents);
    place.brings(&full.second.to_string(), &full.contents);
}

#[test]
fn history_that_was_removed_before_it_was_archived_begins_a_branch() {
    let place = Place::new();
    let server = place.start(&[("aof-history-max-size", "1")]);
    let early = place.write(&server, 0, "early");
    let (mut client, line) = (server.client(), place.timelines().remove(0));
    // The archive can't be written for a while.
    let [log, aside] = ["log", "log.aside"].map(|name| place.repo.path().join(name));
    std::fs::rename(&log, &aside).unwrap();
    std::fs::write(&log, "").unwrap();
    fill(&mut client, 300);
    wait_until("that the archive can't go on", || info(&mut client, "archive_status") != "ok");
    let lost = second();
    for _ in 0..2 {
        client.line("BGREWRITEAOF");
        client.wait_for_rewrite();
        fill(&mut client, 600);
    }
    let files = || crate::rig::files_below(&place.data().join("appendonlydir")).len();
    wait_until("that history is removed", || files() == 3);
    std::fs::remove_file(&log).unwrap();
    std::fs::rename(&aside, &log).unwrap();

    wait_until("a branch", || info(&mut client, "archive_branches") == "1");
    wait_until("a backup of it", || info(&mut client, "archive_has_base") == "1");
    Place::assert_is_branch_of(&place.has_branched(&server, &line), &line);
    let late = place.write(&server, 900, "late");
    place.brings("latest", &late.contents);
    place.brings(&early.second.to_string(), &early.contents);
    // Of what is in no archive it brings what is in front of it, and says so.
    let text = place.brings(&lost.to_string(), &early.contents);
    assert!(text.contains("the archive ends at "), "{text}");
}
