//! What several clients see of each other: `testdata/sessions`, played against our server, Redis 8.0 and Valkey 9.1, which
//! must all answer as the scripts have it. `IRONKEEP_GOLDEN=write` writes these anew, as the two real ones answer.
//!
//! ```text
//! # a comment
//! > a COMMAND ARGUMENT ...    sent by client a, quoted as in redis.conf; `{b}` stands for the id of client b
//! a: REPLY                    what reaches a client then, the sender first, escaped as in testdata/commands
//! b: REPLY
//! valkey b: REPLY             what it is with Valkey 9.1, all lines of the step, where any differs; likewise `ironkeep`
//! ```
//!
//! Clients whose names are capitals speak RESP3. `ADDRESS` and `NOW` stand for those of the moment.

use crate::rig::script::{Compared, Step};
use crate::rig::{Client, Program, Server, files_below};
use ironkeep::resp::request::split_words;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a server has to do what shows nowhere, and, while scripts are written, to send what it will.
const PAUSE: Duration = Duration::from_millis(60);

/// One request, and who sees what.
#[derive(Debug)]
struct Turn {
    comments: Vec<String>,
    sender: String,
    request: String,
    lines: Vec<String>,
}

impl Turn {
    /// Client and reply, of what `who` sends.
    fn expected(&self, who: &str) -> Vec<(String, String)> {
        let marked = format!("{who} ");
        let own: Vec<&str> = self.lines.iter().filter_map(|line| line.strip_prefix(&marked)).collect();
        let is_common = |line: &&str| !["valkey ", "ironkeep "].iter().any(|mark| line.starts_with(mark));
        let lines =
            if own.is_empty() { self.lines.iter().map(String::as_str).filter(is_common).collect() } else { own };
        let pair = |line: &str| line.split_once(": ").map(|(client, reply)| (client.to_owned(), reply.to_owned()));
        lines.into_iter().filter_map(pair).collect()
    }
}

fn parse(text: &str) -> Vec<Turn> {
    let (mut turns, mut comments): (Vec<Turn>, _) = (Vec::new(), Vec::new());
    for line in text.lines().filter(|line| !line.is_empty()) {
        if line.starts_with('#') {
            comments.push(line.to_owned());
        } else if let Some(rest) = line.strip_prefix("> ") {
            let (sender, request) = rest.split_once(' ').expect("a client and a request");
            let comments = std::mem::take(&mut comments);
            turns.push(Turn { comments, sender: sender.to_owned(), request: request.to_owned(), lines: Vec::new() });
        } else {
            turns.last_mut().expect("a reply follows a request").lines.push(line.to_owned());
        }
    }
    turns
}

/// A server with clients by their names.
struct Stage<'a> {
    server: &'a Server,
    clients: BTreeMap<String, (Client, String)>,
}

impl<'a> Stage<'a> {
    fn new(server: &'a Server) -> Self {
        let mut client = server.client();
        client.line("FLUSHALL");
        client.call(&["CONFIG", "SET", "notify-keyspace-events", ""]);
        Self { server, clients: BTreeMap::new() }
    }

    fn client(&mut self, name: &str) -> &mut (Client, String) {
        let server = self.server;
        self.clients.entry(name.to_owned()).or_insert_with(|| {
            let mut client = server.client();
            let id = client.line("CLIENT ID").int().to_string();
            if name.starts_with(|letter: char| letter.is_ascii_uppercase()) {
                client.queue(&["HELLO", "3"]);
                client.flush().unwrap();
                client.raw_reply().unwrap();
            }
            (client, id)
        })
    }

    fn send(&mut self, turn: &Turn) {
        let mut request = turn.request.clone();
        for (name, (_, id)) in &self.clients {
            request = request.replace(&format!("{{{name}}}"), id);
        }
        let (client, _) = self.client(&turn.sender);
        client.queue(&split_words(request.as_bytes()).expect("the words are quoted well"));
        client.flush().unwrap();
    }

    /// What reaches the clients, the sender first, until nothing comes for a while.
    fn collect(&mut self, sender: &str) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut names: Vec<String> = self.clients.keys().cloned().collect();
        names.sort_by_key(|name| name != sender);
        for name in names {
            let (client, _) = self.client(&name);
            while client.has_come(PAUSE) {
                let reply = show(&client.raw_reply().unwrap());
                found.push((name.clone(), reply));
            }
        }
        found
    }

    /// The next replies of those who are to get some.
    fn read(&mut self, expected: &[(String, String)]) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for (name, _) in expected {
            found.push((name.clone(), show(&self.client(name).0.raw_reply().unwrap())));
        }
        found
    }
}

fn show(reply: &[u8]) -> String {
    let step = Step { comments: Vec::new(), request: String::new(), compared: Compared::All, replies: Vec::new() };
    let words = step.show(reply);
    let words = words.split(' ').map(|word| {
        let digits = word.trim_start_matches('+').split('.').next().unwrap_or_default();
        match word {
            _ if word.contains("127.0.0.1:") => "ADDRESS]",
            _ if word.contains('.') && digits.len() == 10 && digits.starts_with("17") => "NOW",
            other => other,
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn files() -> Vec<PathBuf> {
    let mut files = files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/sessions"));
    files.sort();
    files
}

fn assert_plays_as_recorded(program: &Program, who: &str) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(program, dir.path(), &[]);
    for path in files() {
        let name = path.file_name().unwrap().display();
        let mut stage = Stage::new(&server);
        for turn in parse(&std::fs::read_to_string(&path).unwrap()) {
            let expected = turn.expected(who);
            stage.send(&turn);
            if !expected.iter().any(|(client, _)| *client == turn.sender) {
                std::thread::sleep(PAUSE);
            }
            let found = stage.read(&expected);
            assert_eq!(found, expected, "{name}, {}: {} {}", program.name, turn.sender, turn.request);
        }
        assert_eq!(stage.collect(""), [], "{name}, {}: nobody gets more", program.name);
    }
}

#[test]
fn our_server_plays_as_the_scripts_say() {
    assert_plays_as_recorded(&Program::ours(), "ironkeep");
}

#[test]
fn redis_8_plays_as_the_scripts_say() {
    let Some(program) = Program::redis_8() else { return };
    if std::env::var("IRONKEEP_GOLDEN").is_ok_and(|value| value == "write") {
        return record(&program, &Program::valkey_9().expect("both are needed to write the scripts"));
    }
    assert_plays_as_recorded(&program, "redis");
}

#[test]
fn valkey_9_plays_as_the_scripts_say() {
    if let Some(program) = Program::valkey_9() {
        assert_plays_as_recorded(&program, "valkey");
    }
}

fn record(redis: &Program, valkey: &Program) {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let servers = [Server::start(redis, dirs[0].path(), &[]), Server::start(valkey, dirs[1].path(), &[])];
    for path in files() {
        let mut stages = servers.each_ref().map(Stage::new);
        let mut text = String::new();
        for turn in parse(&std::fs::read_to_string(&path).unwrap()) {
            turn.comments.iter().for_each(|comment| writeln!(text, "{comment}").unwrap());
            writeln!(text, "> {} {}", turn.sender, turn.request).unwrap();
            stages.iter_mut().for_each(|stage| stage.send(&turn));
            let [redis, valkey] = stages.each_mut().map(|stage| stage.collect(&turn.sender));
            redis.iter().for_each(|(client, reply)| writeln!(text, "{client}: {reply}").unwrap());
            if valkey != redis {
                valkey.iter().for_each(|(client, reply)| writeln!(text, "valkey {client}: {reply}").unwrap());
            }
            let ours = turn.lines.iter().filter(|line| line.starts_with("ironkeep "));
            ours.for_each(|line| writeln!(text, "{line}").unwrap());
        }
        std::fs::write(&path, text).unwrap();
    }
}
