//! BACKUP START and SEAL on the real binary: what is in the set, who loads it, what becomes of it; and `preload-file`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::archive::fill;
use crate::backups::wait_until;
use crate::rig::{Client, Program, Server, Value, copy_folder, differences, read_contents};

const LOGGED: &[(&str, &str)] = &[("appendonly", "yes"), ("save", "")];

fn start(dir: &Path, more: &[(&str, &str)]) -> Server {
    Server::start(&Program::ours(), dir, &[LOGGED, more].concat())
}

fn field(client: &mut Client, name: &str) -> String {
    client.line("BACKUP STATUS").field(name).unwrap_or_else(|| panic!("no {name}")).clone().text()
}

fn state(client: &mut Client) -> String {
    field(client, "state")
}

fn files(client: &mut Client) -> Vec<PathBuf> {
    client.line("BACKUP LIST").array().into_iter().map(|path| PathBuf::from(path.text())).collect()
}

/// Begins a set, and waits until its base is written.
fn begin(client: &mut Client) {
    assert_eq!(client.line("BACKUP START"), ok());
    wait_until("the base", || state(client) == "incrementing");
}

fn ok() -> Value {
    Value::Simple("OK".into())
}

#[track_caller]
fn refuses(client: &mut Client, line: &str, words: &str) {
    let reply = client.ask(&line.split(' ').collect::<Vec<_>>()).unwrap();
    assert!(matches!(&reply, Value::Error(text) if text.contains(words)), "{line}: {reply:?}");
}

/// A server on the set as its log.
fn loaded_by(program: &Program, set: &Path) -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    copy_folder(set, &dir.path().join("appendonlydir"));
    let server = Server::start(program, dir.path(), &[("appendonly", "yes"), ("aof-load-truncated", "no")]);
    (dir, server)
}

#[test]
fn a_set_is_the_data_at_its_seal_and_real_servers_load_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), &[]);
    let mut client = server.client();
    fill(&mut client, 0);
    client.line("SELECT 3");
    client.line("SET third 1");
    begin(&mut client);
    let folder = std::fs::canonicalize(dir.path()).unwrap().join("backupdir");
    assert_eq!(files(&mut client), [folder.join("appendonly.aof.1.base.rdb")]);
    // The database that was selected before the snapshot, transactions, and rewrites that replace what is read.
    client.line("SET third 2");
    client.line("SELECT 0");
    for from in [300, 600] {
        fill(&mut client, from);
        client.line("BGREWRITEAOF");
        client.wait_for_rewrite();
    }
    for line in ["MULTI", "SET in:multi 1", "LPUSH list:multi a b", "EXEC", "DEL set:2"] {
        client.line(line);
    }
    let wanted = read_contents(&mut client);
    assert_eq!(client.line("BACKUP SEAL"), ok());
    client.line("SET after:seal 1");
    assert_eq!((state(&mut client).as_str(), field(&mut client, "error").as_str()), ("sealed", ""));
    assert!(field(&mut client, "end_time") >= field(&mut client, "start_time"));
    let names = ["appendonly.aof.1.base.rdb", "appendonly.aof.1.incr.aof", "appendonly.aof.manifest"];
    assert_eq!(files(&mut client), names.map(|name| folder.join(name)));
    for program in [Some(Program::ours()), Program::redis_8(), Program::valkey_9()].into_iter().flatten() {
        if program != Program::ours() {
            let check = Command::new(program.tool("check-aof")).arg(folder.join(names[2])).output().unwrap();
            assert!(check.status.success(), "{}: {}", program.name, String::from_utf8_lossy(&check.stdout));
        }
        let (_dir, server) = loaded_by(&program, &folder);
        let found = differences(&read_contents(&mut server.client()), &wanted);
        assert!(found.is_empty(), "{}: {}", program.name, found.join("\n"));
    }
    let checked = Command::new(env!("CARGO_BIN_EXE_aoftool")).arg("check").arg(&folder).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    // What the log kept for the set is let go.
    let log = dir.path().join("appendonlydir");
    wait_until("the log without history", || crate::rig::files_below(&log).len() == 3);
}

/// Each of these writes one key, higher each time. What was acknowledged before SEAL was sent is in the set, and what was
/// sent after its reply is not.
#[test]
fn writes_beside_a_seal_are_in_it_as_they_were_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    for policy in ["always", "everysec"] {
        let server = start(dir.path(), &[("appendfsync", policy)]);
        let (sent, acknowledged) = ([const { AtomicU64::new(0) }; 4], [const { AtomicU64::new(0) }; 4]);
        let is_over = AtomicBool::new(false);
        let read = |counts: &[AtomicU64; 4]| counts.each_ref().map(|count| count.load(Ordering::SeqCst));
        let (before, after) = std::thread::scope(|scope| {
            for writer in 0..4 {
                let mut client = server.client();
                let (sent, acknowledged, is_over) = (&sent[writer], &acknowledged[writer], &is_over);
                scope.spawn(move || {
                    let key = format!("writer:{writer}");
                    while !is_over.load(Ordering::SeqCst) {
                        let next = sent.fetch_add(1, Ordering::SeqCst) + 1;
                        assert_eq!(client.call(&["SET", &key, &next.to_string()]), ok());
                        acknowledged.store(next, Ordering::SeqCst);
                    }
                });
            }
            let mut client = server.client();
            begin(&mut client);
            client.line("BGREWRITEAOF");
            std::thread::sleep(Duration::from_millis(400));
            let before = read(&acknowledged);
            let sealed = client.line("BACKUP SEAL");
            let after = read(&sent);
            std::thread::sleep(Duration::from_millis(100));
            is_over.store(true, Ordering::SeqCst);
            assert_eq!(sealed, ok());
            (before, after)
        });
        assert!(read(&acknowledged).iter().zip(after).all(|(last, after)| *last > after), "they went on");
        let (_dir, loaded) = loaded_by(&Program::ours(), &dir.path().join("backupdir"));
        let mut client = loaded.client();
        for writer in 0..4 {
            let found: u64 = client.line(&format!("GET writer:{writer}")).text().parse().unwrap();
            let (least, most) = (before[writer], after[writer]);
            assert!((least..=most).contains(&found), "{policy}: {found} is not between {least} and {most}");
        }
        assert_eq!(server.client().line("BACKUP CLEANUP"), ok());
    }
}

#[test]
fn sets_are_aborted_removed_and_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("backupdir");
    let server = start(dir.path(), &[]);
    let mut client = server.client();
    let names = || crate::rig::files_below(&folder).len();
    assert_eq!((state(&mut client).as_str(), files(&mut client).len()), ("idle", 0));
    refuses(&mut client, "BACKUP SEAL", "this one is idle");
    refuses(&mut client, "BACKUP ABORT", "No backup is in progress");
    refuses(&mut client, "BACKUP CLEANUP", "no sealed or failed backup");
    client.line("SET a 1");
    begin(&mut client);
    refuses(&mut client, "BACKUP START", "already in progress");
    refuses(&mut client, "BACKUP CLEANUP", "no sealed or failed backup");
    assert_eq!((client.line("BACKUP ABORT"), names()), (ok(), 0));
    assert_eq!(
        (state(&mut client).as_str(), field(&mut client, "error").as_str()),
        ("failed", "aborted by BACKUP ABORT")
    );
    assert_eq!(client.line("BACKUP CLEANUP"), ok());
    assert_eq!(state(&mut client), "idle");
    // While the base is being written, too.
    let set = |index: usize| ["SET", &format!("key:{index}"), "v"].map(|word| word.as_bytes().to_vec()).to_vec();
    client.pipeline(&(0..50_000).map(set).collect::<Vec<_>>());
    client.line("CONFIG SET snapshot-max-rate 100kb");
    assert_eq!(client.line("BACKUP START"), ok());
    wait_until("the snapshot", || state(&mut client) == "snapshotting");
    assert_eq!((client.line("BACKUP ABORT"), names()), (ok(), 0));
    client.line("CONFIG SET snapshot-max-rate 0");
    begin(&mut client);
    assert_eq!(client.line("BACKUP SEAL"), ok());
    refuses(&mut client, "BACKUP START", "BACKUP CLEANUP removes it");
    refuses(&mut client, "BACKUP ABORT", "No backup is in progress");
    // It outlives a start, and its time is that of its seal.
    let sealed = field(&mut client, "end_time");
    assert!(server.terminate().success());
    let server = start(dir.path(), &[]);
    let mut client = server.client();
    assert_eq!((state(&mut client).as_str(), files(&mut client).len(), names()), ("sealed", 3, 3));
    assert!(field(&mut client, "end_time").parse::<u64>().unwrap().abs_diff(sealed.parse().unwrap()) <= 1);
    client.line("CONFIG SET backup-sealed-ttl 1");
    wait_until("the end of the set", || state(&mut client) == "idle");
    assert_eq!((names(), files(&mut client).len()), (0, 0));
    assert!(server.output().contains("(backup-sealed-ttl)"), "{}", server.output());
}

#[test]
fn a_kill_before_the_seal_leaves_nothing_that_looks_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("backupdir");
    for round in 0..6 {
        let mut server = start(dir.path(), &[]);
        let mut client = server.client();
        fill(&mut client, round * 300);
        if round % 3 == 0 {
            assert_eq!(client.line("BACKUP START"), ok());
        } else {
            begin(&mut client);
            fill(&mut client, round * 300);
        }
        if round % 3 == 2 {
            client.queue(&["BACKUP", "SEAL"]);
            client.flush().unwrap();
        }
        std::thread::sleep(Duration::from_millis(fastrand::u64(0..4)));
        server.kill();
        let is_sealed = folder.join("appendonly.aof.manifest").exists() && !folder.join("unsealed").exists();
        assert!(!is_sealed || round % 3 == 2, "round {round}");
        let server = start(dir.path(), &[]);
        let mut client = server.client();
        let found = crate::rig::files_below(&folder);
        assert_eq!((state(&mut client).as_str(), found.len()), if is_sealed { ("sealed", 3) } else { ("idle", 0) });
        if is_sealed {
            drop(loaded_by(&Program::ours(), &folder));
            assert_eq!(client.line("BACKUP CLEANUP"), ok());
        }
        begin(&mut client);
        assert_eq!((client.line("BACKUP SEAL"), client.line("BACKUP CLEANUP")), (ok(), ok()));
    }
    // What somebody else has put there is kept, and said.
    std::fs::write(folder.join("notes"), "mine").unwrap();
    let server = start(dir.path(), &[]);
    let mut client = server.client();
    refuses(&mut client, "BACKUP START", "a backup begins in an empty folder, and notes is here");
    assert_eq!((state(&mut client).as_str(), client.line("BACKUP CLEANUP")), ("failed", ok()));
    assert!(folder.join("notes").exists());
}

#[test]
fn without_a_log_the_set_is_the_snapshot_of_its_seal() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), &[("appendonly", "no")]);
    let mut client = server.client();
    fill(&mut client, 0);
    begin(&mut client);
    assert_eq!(files(&mut client).len(), 0);
    fill(&mut client, 300);
    let wanted = read_contents(&mut client);
    assert_eq!(client.line("BACKUP SEAL"), ok());
    client.line("SET after 1");
    let names: Vec<_> = files(&mut client).iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["appendonly.aof.1.base.rdb", "appendonly.aof.manifest"]);
    for program in [Some(Program::ours()), Program::redis_8(), Program::valkey_9()].into_iter().flatten() {
        let (_dir, server) = loaded_by(&program, &dir.path().join("backupdir"));
        let found = differences(&read_contents(&mut server.client()), &wanted);
        assert!(found.is_empty(), "{}: {}", program.name, found.join("\n"));
    }
    // A log that is switched off under way has not all of it.
    client.line("BACKUP CLEANUP");
    client.line("CONFIG SET appendonly yes");
    begin(&mut client);
    client.line("CONFIG SET appendonly no");
    refuses(&mut client, "BACKUP SEAL", "the log was switched off since then");
    assert_eq!((state(&mut client).as_str(), files(&mut client).len()), ("failed", 0));
    // Nor one whose history may take no room.
    client.line("CONFIG SET appendonly yes");
    begin(&mut client);
    client.line("CONFIG SET aof-history-max-size 1");
    fill(&mut client, 600);
    client.line("BGREWRITEAOF");
    client.wait_for_rewrite();
    let log = dir.path().join("appendonlydir");
    wait_until("that history is removed", || crate::rig::files_below(&log).len() == 3);
    refuses(&mut client, "BACKUP SEAL", "the log has lost records since then");
    assert_eq!(state(&mut client), "failed");
}

#[test]
fn a_server_starts_on_a_set_and_goes_on_with_a_log_of_its_own() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = start(dir.path(), &[]);
    let mut client = server.client();
    fill(&mut client, 0);
    begin(&mut client);
    fill(&mut client, 300);
    let wanted = read_contents(&mut client);
    assert_eq!(client.line("BACKUP SEAL"), ok());
    let set = dir.path().join("backupdir");
    let preload = |kind: &str, path: &Path| format!("{kind}:{}", path.display());
    let sources = [
        (preload("aof", &set), "yes"),
        (preload("aof", &set.join("appendonly.aof.manifest")), "no"),
        (preload("rdb", &set.join("appendonly.aof.1.base.rdb")), "yes"),
    ];
    for (index, (source, appendonly)) in sources.iter().enumerate() {
        let data = other.path().join(index.to_string());
        std::fs::create_dir(&data).unwrap();
        let directives = [("preload-file", source.as_str()), ("appendonly", appendonly)];
        let server = start(&data, &directives);
        let mut client = server.client();
        if source.starts_with("aof") {
            let found = differences(&read_contents(&mut client), &wanted);
            assert!(found.is_empty(), "{source}: {}", found.join("\n"));
        } else {
            assert_eq!(client.line("GET string:0").text(), "value 240");
        }
        client.line("SET later 1");
        let before = read_contents(&mut client);
        drop(server);
        if *appendonly == "no" {
            continue;
        }
        // Now there is data, over which nothing is loaded.
        let refused = Server::try_start(&Program::ours(), &data, &[LOGGED, &directives].concat()).err().unwrap();
        assert!(refused.contains("take preload-file out of the configuration"), "{refused}");
        let server = start(&data, &[]);
        assert_eq!(differences(&read_contents(&mut server.client()), &before), Vec::<String>::new(), "{source}");
    }
    // The set is as it was.
    let (_dir, server) = loaded_by(&Program::ours(), &set);
    assert_eq!(differences(&read_contents(&mut server.client()), &wanted), Vec::<String>::new());
    for (source, words) in [
        ("rdb:/nowhere/dump.rdb", "/nowhere/dump.rdb"),
        ("aof:/nowhere", "/nowhere"),
        ("dump.rdb", "aof:PATH or rdb:PATH"),
    ] {
        let empty = tempfile::tempdir().unwrap();
        let refused = Server::try_start(&Program::ours(), empty.path(), &[("preload-file", source)]).err().unwrap();
        assert!(refused.contains(words), "{refused}");
        assert_eq!(crate::rig::files_below(empty.path()), Vec::<PathBuf>::new());
    }
}
