//! The operations during which a fault happens, each on the folder that it needs.

use super::ledger::Ledger;
use super::tracer::{Fault, Traced};
use crate::backups::{backup_fine, json};
use crate::rig::{Client, Program, Server, Value, copy_folder, files_below};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The catalogue of backups, in the folder of the data.
const REPO: &str = "repo";

/// What lies in the folder before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    Log,
    /// A log with half a record behind its end.
    TornLog,
    /// A dump.rdb and no log.
    Dump,
    /// A log of one file, as servers before 7.0 wrote it.
    OldLog,
}

type Act = fn(&mut Ledger, &mut Client) -> Result<(), String>;

/// An operation: a start, or what a client asks of a running server.
#[derive(Debug)]
pub struct Operation {
    pub name: &'static str,
    before: Before,
    /// What is asked for; nothing where the start is the operation.
    pub act: Option<Act>,
    /// Whether the server may end by itself.
    pub ends: bool,
}

const fn starting(name: &'static str, before: Before) -> Operation {
    Operation { name, before, act: None, ends: true }
}

const fn acting(name: &'static str, act: Act) -> Operation {
    Operation { name, before: Before::Log, act: Some(act), ends: false }
}

pub const OPERATIONS: &[Operation] = &[
    starting("first start", Before::Nothing),
    starting("start on a log", Before::Log),
    starting("cut of a torn tail", Before::TornLog),
    starting("start on a dump.rdb", Before::Dump),
    starting("start on an old log", Before::OldLog),
    acting("append", |ledger, client| write(ledger, client, 9)),
    acting("SAVE", |ledger, client| ask(ledger, client, "SAVE")),
    acting("BGSAVE", |ledger, client| ask(ledger, client, "BGSAVE")),
    acting("BGREWRITEAOF", |ledger, client| ask(ledger, client, "BGREWRITEAOF")),
    acting("log off and on", |ledger, client| {
        write(ledger, client, 2)?;
        ledger.switch_log(client, false);
        write(ledger, client, 2)?;
        ledger.switch_log(client, true);
        write(ledger, client, 3)
    }),
    acting("switch of policies", |ledger, client| {
        ["no", "always", "everysec"]
            .iter()
            .try_for_each(|policy| ask(ledger, client, &format!("CONFIG SET appendfsync {policy}")))
    }),
    acting("CONFIG REWRITE", |ledger, client| {
        ask(ledger, client, "CONFIG SET hz 50")?;
        ask(ledger, client, "CONFIG REWRITE")
    }),
    acting("BACKUP CREATE", |ledger, client| ask(ledger, client, "BACKUP CREATE")),
    acting("FLUSHALL", |ledger, client| {
        ledger.flush(client)?;
        write(ledger, client, 3)
    }),
    Operation {
        name: "SHUTDOWN SAVE",
        before: Before::Log,
        act: Some(|ledger, client| ask(ledger, client, "SHUTDOWN SAVE")),
        ends: true,
    },
];

fn write(ledger: &mut Ledger, client: &mut Client, count: usize) -> Result<(), String> {
    (0..count).try_for_each(|_| ledger.write(client).map(drop))
}

/// Asks, and writes a little before it and while what was asked for goes on. The answer may be an error.
fn ask(ledger: &mut Ledger, client: &mut Client, line: &str) -> Result<(), String> {
    write(ledger, client, 2)?;
    let words: Vec<_> = line.split_whitespace().collect();
    if client.ask(&words).is_ok() {
        write(ledger, client, 3)?;
    }
    Ok(())
}

/// A case about to be played: a folder of its own.
pub struct Stage {
    /// Goes with the stage.
    _owner: tempfile::TempDir,
    root: PathBuf,
    program: Program,
    policy: &'static str,
    pub ledger: Ledger,
}

/// Folders made once, and copied for each case.
pub struct Stages {
    program: Program,
    policy: &'static str,
    made: Vec<(Before, tempfile::TempDir, Ledger)>,
}

impl Stages {
    pub fn new(program: Program, policy: &'static str) -> Self {
        let kinds = [Before::Nothing, Before::Log, Before::TornLog, Before::Dump, Before::OldLog];
        let made = kinds.into_iter().map(|before| {
            let dir = tempfile::tempdir().unwrap();
            let ledger = make(before, dir.path());
            (before, dir, ledger)
        });
        Self { program, policy, made: made.collect() }
    }

    pub fn stage(&self, operation: &Operation) -> Stage {
        let (_, made, ledger) = self.made.iter().find(|(before, ..)| *before == operation.before).unwrap();
        let owner = tempfile::tempdir().unwrap();
        let root = owner.path().canonicalize().unwrap().join("data");
        copy_folder(made.path(), &root);
        let log = format!("appendonly yes\nappendfsync {}\n", self.policy);
        let backups = format!("backup-repo {}\nbackup-retention keep-last 1\n", root.join(REPO).display());
        std::fs::write(root.join("redis.conf"), log + &backups + "# a comment that stays\n").unwrap();
        Stage { _owner: owner, root, program: self.program.clone(), policy: self.policy, ledger: ledger.clone() }
    }
}

/// Fills `dir` with a server's own files.
fn make(before: Before, dir: &Path) -> Ledger {
    let mut ledger = Ledger::default();
    if before == Before::Nothing {
        return ledger;
    }
    let logged = if before == Before::Log || before == Before::TornLog { "yes" } else { "no" };
    let server = Server::start(&Program::ours(), dir, &[("appendonly", logged)]);
    let mut client = server.client();
    write(&mut ledger, &mut client, 200).unwrap();
    if before == Before::Dump {
        client.line("SAVE");
    }
    drop(server);
    if before == Before::TornLog {
        let last = files_below(dir).into_iter().find(|path| path.to_string_lossy().ends_with(".incr.aof")).unwrap();
        let mut bytes = std::fs::read(&last).unwrap();
        bytes.extend_from_slice(b"*3\r\n$3\r\nSET\r\n$4\r\nto");
        std::fs::write(&last, bytes).unwrap();
    }
    if before == Before::OldLog {
        let mut log = Vec::new();
        ledger = Ledger::default();
        let logging = tempfile::tempdir().unwrap();
        let server = Server::start(&Program::ours(), logging.path(), &[("appendonly", "yes")]);
        write(&mut ledger, &mut server.client(), 200).unwrap();
        drop(server);
        for file in files_below(logging.path()).iter().filter(|path| path.to_string_lossy().ends_with(".incr.aof")) {
            log.extend(std::fs::read(file).unwrap());
        }
        std::fs::write(dir.join("appendonly.aof"), log).unwrap();
    }
    ledger
}

impl Stage {
    /// Starts the server under the tracer.
    pub fn start(&self, fault: Fault) -> Traced {
        Traced::start(&self.program, &self.root, Some(&self.root.join("redis.conf")), &[], fault)
    }

    /// What must hold now that the server is gone: the next start needs no help, holds everything acknowledged, and leaves
    /// no temporary file; so does the one after it.
    pub fn check(&mut self) -> Result<(), String> {
        for _ in 0..2 {
            let server = Server::try_start_on_file(&self.program, &self.root, &self.root.join("redis.conf"))
                .map_err(|output| format!("does not start again:\n{output}"))?;
            let mut client = server.client();
            self.ledger.check(&mut client).map_err(|reason| format!("{reason}\n{}", server.output()))?;
            self.check_backups(&mut client)?;
            no_leftovers(&self.root, &server)?;
            let policy = client.line("CONFIG GET appendfsync").array().pop().unwrap().text();
            if policy != self.policy {
                return Err(format!("the configuration file says appendfsync {policy}"));
            }
            if !self.ledger.write(&mut client)? {
                return Err("a write after the restart was refused".into());
            }
        }
        Ok(())
    }

    /// Whatever is in the catalogue is whole, and the next backup takes away what is not one.
    fn check_backups(&self, client: &mut Client) -> Result<(), String> {
        let repo = self.root.join(REPO);
        if !repo.exists() {
            return Ok(());
        }
        let listed = json(&backup_fine(&repo, &["list", "--json"]));
        for backup in listed["backups"].as_array().unwrap() {
            backup_fine(&repo, &["verify", backup["id"].as_str().ok_or("a backup without a name")?]);
        }
        if let Value::Error(error) = client.ask(&["BACKUP", "CREATE"]).map_err(|error| error.to_string())? {
            return Err(format!("no backup can be made after the restart: {error}"));
        }
        let left = files_below(&repo);
        if left.len() == 2 { Ok(()) } else { Err(format!("not one backup is left: {left:?}")) }
    }
}

/// No temporary file is there but those that the running server may just be writing.
pub fn no_leftovers(folder: &Path, server: &Server) -> Result<(), String> {
    let own = format!("temp-{}-", server.pid());
    for path in files_below(folder) {
        let name = path.file_name().unwrap();
        if ironkeep::disk::is_temporary(name) && !name.to_string_lossy().starts_with(&own) {
            return Err(format!("{} is left", path.display()));
        }
    }
    Ok(())
}

/// Waits until no save or rewrite is under way or due; at most `patience`.
pub fn wait_for_rest(client: &mut Client, patience: Duration) {
    let end = Instant::now() + patience;
    let quiet = ["rdb_bgsave_in_progress:0", "aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0"];
    while Instant::now() < end {
        let Ok(info) = client.ask(&["INFO", "persistence"]) else { return };
        let info = info.text();
        if quiet.iter().all(|line| info.contains(line)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
