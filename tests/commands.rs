//! The scripts of `testdata/commands`, asked of servers over a socket: ours, and real ones, which must give the replies
//! that the scripts have. `IRONKEEP_GOLDEN=write` writes these anew, as Redis 8.0 and Valkey 9.1 answer; `IRONKEEP_SCRIPTS`
//! is a part of the paths of those that are meant.

use crate::rig::script::{Step, parse};
use crate::rig::{Client, Program, Server};
use ironkeep::resp::request::split_words;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/commands");
    let mut files = crate::rig::files_below(&root);
    if let Ok(part) = std::env::var("IRONKEEP_SCRIPTS") {
        files.retain(|path| path.to_str().unwrap().contains(&part));
    }
    files
}

fn steps(path: &Path) -> Vec<Step> {
    parse(&std::fs::read_to_string(path).unwrap())
}

/// What a server answers to all of a script, on an empty database.
fn replies(server: &Server, steps: &[Step], is_resp3: bool) -> Vec<String> {
    let mut client = server.client();
    client.line("FLUSHALL");
    if is_resp3 {
        client.queue(&["HELLO", "3"]);
        client.flush().unwrap();
        client.raw_reply().unwrap();
    }
    let ask = |step: &Step, client: &mut Client| {
        client.queue(&split_words(step.request.as_bytes()).expect("the words are quoted well"));
        client.flush().unwrap();
        step.show(&client.raw_reply().unwrap())
    };
    steps.iter().map(|step| ask(step, &mut client)).collect()
}

fn assert_answers_as_recorded(program: &Program, who: &str) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(program, dir.path(), &[]);
    let (mut count, mut wrong) = (0, Vec::new());
    for path in files() {
        let steps = steps(&path);
        for is_resp3 in [false, true] {
            for (step, answered) in steps.iter().zip(replies(&server, &steps, is_resp3)) {
                let expected = step.expected(who, is_resp3);
                if answered != expected {
                    let (name, request) = (path.file_name().unwrap().display(), &step.request);
                    wrong.push(format!("{name}: {request}\n  expected {expected}\n  answered {answered}"));
                }
            }
            count += steps.len();
        }
    }
    println!("{}: {count} replies, {} differ", program.name, wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// They have no script, because of what stands beside them.
const WITHOUT_SCRIPT: &[(&str, &str)] = &[
    ("backup", "ours; tests/backups.rs and tests/sealed_sets.rs"),
    ("monitor", "what it tells is no reply; tests/sessions.rs"),
    ("psync", "for replicas, whose commands are bytes of a stream; tests/tools"),
    ("shutdown", "ends the server; tests/sessions.rs"),
    ("sync", "an RDB follows; tests/tools"),
];

/// `testdata/commands/GROUP/COMMAND.txt` asks for the command, and for each of its subcommands.
#[test]
fn every_command_has_a_script() {
    let mut missing = Vec::new();
    let scripts: Vec<_> = files().iter().map(|path| (path.clone(), steps(path))).collect();
    for command in ironkeep::command::table::all() {
        if WITHOUT_SCRIPT.iter().any(|(name, _)| *name == command.name) {
            continue;
        }
        let of_it = scripts.iter().filter(|(path, _)| path.file_stem().is_some_and(|stem| stem == command.name));
        let asked: Vec<Vec<Vec<u8>>> = of_it
            .flat_map(|(_, steps)| steps.iter().map(|step| split_words(step.request.as_bytes()).unwrap()))
            .filter(|words| words[0].eq_ignore_ascii_case(command.name.as_bytes()))
            .collect();
        if asked.is_empty() {
            missing.push(command.name.to_owned());
        }
        for subcommand in command.subcommands {
            let is_it = |words: &Vec<Vec<u8>>| {
                words.get(1).is_some_and(|word| word.eq_ignore_ascii_case(subcommand.name.as_bytes()))
            };
            if !asked.iter().any(is_it) {
                missing.push(format!("{} {}", command.name, subcommand.name));
            }
        }
    }
    assert!(missing.is_empty(), "{} have no script: {}", missing.len(), missing.join(", "));
}

#[test]
fn our_server_answers_as_the_scripts_say() {
    assert_answers_as_recorded(&Program::ours(), "ironkeep");
}

#[test]
fn redis_8_answers_as_the_scripts_say() {
    let Some(program) = Program::redis_8() else { return };
    if std::env::var("IRONKEEP_GOLDEN").is_ok_and(|value| value == "write") {
        return record(&program, &Program::valkey_9().expect("both are needed to write the scripts"));
    }
    assert_answers_as_recorded(&program, "redis");
}

#[test]
fn valkey_9_answers_as_the_scripts_say() {
    if let Some(program) = Program::valkey_9() {
        assert_answers_as_recorded(&program, "valkey");
    }
}

fn record(redis: &Program, valkey: &Program) {
    let (redis_dir, valkey_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let servers = [Server::start(redis, redis_dir.path(), &[]), Server::start(valkey, valkey_dir.path(), &[])];
    for path in files() {
        let steps = steps(&path);
        let [redis, valkey] =
            servers.each_ref().map(|server| [false, true].map(|resp3| replies(server, &steps, resp3)));
        let mut text = String::new();
        for (at, step) in steps.iter().enumerate() {
            step.comments.iter().for_each(|comment| writeln!(text, "{comment}").unwrap());
            writeln!(text, "{}{}", step.compared.mark(), step.request).unwrap();
            let (two, three) = (&redis[0][at], &redis[1][at]);
            writeln!(text, "{two}").unwrap();
            if three != two {
                writeln!(text, "3: {three}").unwrap();
            }
            let implied = if valkey[0][at] == *two {
                three
            } else {
                writeln!(text, "valkey: {}", valkey[0][at]).unwrap();
                &valkey[0][at]
            };
            if valkey[1][at] != *implied {
                writeln!(text, "valkey 3: {}", valkey[1][at]).unwrap();
            }
            for (who, reply) in step.replies.iter().filter(|(who, _)| who.starts_with("ironkeep")) {
                writeln!(text, "{who}: {reply}").unwrap();
            }
        }
        std::fs::write(&path, text).unwrap();
    }
}
