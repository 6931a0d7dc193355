//! The scripts of `testdata/commands`, run in process.

use std::path::{Path, PathBuf};

use super::{execute, waiting};
use crate::disk::{Disk, RealDisk};
use crate::engine::clock::Clock;
use crate::engine::params::Config;
use crate::engine::{Engine, Session};
use crate::resp::Protocol;
use crate::resp::request::split_words;

#[path = "../../tests/rig/script.rs"]
mod script;

/// A time of about the present, as the scripts mean it.
const NOW: i64 = 1_795_251_253_000;

fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/commands");
    let list = |folder: &Path| {
        let names = RealDisk.list(folder).unwrap();
        names.into_iter().map(|name| folder.join(name)).collect::<Vec<_>>()
    };
    let mut files: Vec<_> = list(&root).iter().flat_map(|group| list(group)).collect();
    files.sort();
    files
}

fn wrong_replies(path: &Path, protocol: Protocol) -> Vec<String> {
    let text = String::from_utf8(RealDisk.read_small(path, 1 << 20).unwrap()).unwrap();
    if text.starts_with(script::OVER_A_SOCKET) {
        return Vec::new();
    }
    let mut engine = Engine::new(Config::default(), Clock::fixed(NOW), fastrand::Rng::with_seed(1));
    let mut session = Session::new(1, String::new(), 0);
    session.protocol = protocol;
    let mut wrong = Vec::new();
    for step in script::parse(&text) {
        let words = split_words(step.request.as_bytes()).expect("the words are quoted well");
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let mut out = Vec::new();
        execute(&mut engine, &mut session, &words, &mut out);
        // Nobody else is here to serve it: its time passes.
        if std::mem::take(&mut session.awaits_reply) && waiting::give_up(&mut engine, session.id) {
            engine.mail.take().iter().for_each(|letter| out.extend_from_slice(&letter.bytes));
        }
        let (answered, expected) = (step.show(&out), step.expected("ironkeep", protocol == Protocol::Resp3));
        if answered != expected {
            let name = path.file_name().unwrap().display();
            wrong.push(format!("{name}, {protocol:?}: {}\n  expected {expected}\n  answered {answered}", step.request));
        }
    }
    wrong
}

#[test]
fn replies_are_those_of_redis() {
    let mut wrong = Vec::new();
    for path in files() {
        wrong.extend([Protocol::Resp2, Protocol::Resp3].iter().flat_map(|protocol| wrong_replies(&path, *protocol)));
    }
    assert!(wrong.is_empty(), "{} replies differ:\n{}", wrong.len(), wrong.join("\n"));
}
