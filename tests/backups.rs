//! Backups of the real binary: made by schedule and by command, read back, restored, and killed while they are made.
//!
//! `IRONKEEP_BACKUP_KILLS` is how many servers are killed (12 usually); the test prints what it reached.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::rig::{Client, Program, Server, Value, differences, length, rdb_files, read_contents, truth_of};

const PATIENCE: Duration = Duration::from_secs(60);

pub fn backup(repo: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(Program::ours().path());
    command.arg("backup").args(arguments).arg("--repo").arg(repo).env_remove("REDIS_BACKUP_REPO");
    command.stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
pub fn backup_fine(repo: &Path, arguments: &[&str]) -> String {
    let output = backup(repo, arguments);
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {out}{error}");
    out.into_owned()
}

pub fn start(dir: &Path, repo: &Path, more: &[(&str, &str)]) -> Server {
    let options = [&[("backup-repo", repo.to_str().unwrap()), ("save", "")], more].concat();
    Server::start(&Program::ours(), dir, &options)
}

pub fn info(client: &mut Client, field: &str) -> String {
    let text = client.line("INFO backup").text();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{field}:")).map(str::to_owned));
    line.unwrap_or_else(|| panic!("no {field} in {text}"))
}

#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "in {PATIENCE:?} not seen: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn data_of_every_kind_comes_back() {
    let mut wrongs = Vec::new();
    for sample in rdb_files() {
        let (dir, repo) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::copy(&sample, dir.path().join("dump.rdb")).unwrap();
        let server = start(dir.path(), repo.path(), &[]);
        let id = server.client().line("BACKUP CREATE").text();
        drop(server);
        let restored = dir.path().join("restored");
        backup_fine(repo.path(), &["restore", &id, "--dir", restored.to_str().unwrap()]);
        let server = Server::start(&Program::ours(), &restored, &[("appendonly", "yes")]);
        let found = differences(&read_contents(&mut server.client()), &truth_of(&sample));
        wrongs.extend(found.into_iter().map(|wrong| format!("{}: {wrong}", sample.display())));
    }
    assert!(wrongs.is_empty(), "{}", wrongs.join("\n"));
}

#[test]
fn a_schedule_makes_them_rules_remove_them_and_a_flush_is_undone() {
    let (dir, repo) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let directives = [("backup-schedule", "* * * * * *"), ("backup-retention", "keep-last 2"), ("appendonly", "yes")];
    let server = start(dir.path(), repo.path(), &directives);
    let mut client = server.client();
    client.line("SET cart:1 apple");
    client.line("RPUSH list a b c");
    wait_until("three scheduled backups", || info(&mut client, "backup_made").parse::<u64>().unwrap() >= 3);
    assert!(!client.call(&["CONFIG", "SET", "backup-schedule", ""]).is_error());
    wait_until("the last one's end", || info(&mut client, "backup_in_progress") == "0");
    let listed = json(&backup_fine(repo.path(), &["list", "--json"]));
    let backups = listed["backups"].as_array().unwrap();
    assert_eq!((backups.len(), info(&mut client, "backup_count").as_str()), (2, "2"));
    for backup in backups {
        assert_eq!((&backup["cause"], &backup["databases"]["0"]["keys"]), (&"schedule".into(), &2.into()));
        assert_eq!(backup["verification"]["level"], "restore");
        assert!(backup["position"].as_u64().unwrap() > 0 && backup["timeline"].is_string());
    }
    wait_until("that none is due", || info(&mut client, "backup_next_time") == "-1");
    client.line("FLUSHALL");
    assert!(server.terminate().success());
    // The folder of the data takes the place of the one that was flushed, which is kept.
    let data = dir.path().to_str().unwrap();
    let text = backup_fine(repo.path(), &["restore", "latest", "--dir", data, "--force"]);
    assert!(text.starts_with("restored 2 keys of ") && text.contains("what was there is "), "{text}");
    let server = Server::start(&Program::ours(), dir.path(), &[("appendonly", "yes")]);
    assert_eq!(server.client().line("GET cart:1").text(), "apple");
    let aside = text.lines().find_map(|line| line.strip_prefix("what was there is ")).unwrap();
    assert!(Path::new(aside).join("appendonlydir").exists());
    std::fs::remove_dir_all(aside).unwrap();
}

#[test]
fn clients_make_list_and_verify_them() {
    let (dir, repo) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let repo = repo.path().join("new");
    let server = start(dir.path(), &repo, &[("backup-compression", "none")]);
    let mut client = server.client();
    client.line("SET a 1");
    let id = client.call(&["BACKUP", "CREATE", "LABEL", "before the release"]).text();
    let listed = client.line("BACKUP LIST").array();
    let field = |name: &str| listed[0].field(name).cloned().unwrap().text();
    assert_eq!((listed.len(), field("id"), field("label")), (1, id.clone(), "before the release".to_owned()));
    assert_eq!((field("keys"), field("status"), field("cause")), ("1".into(), "restore".into(), "command".into()));
    assert_eq!(client.line(&format!("BACKUP VERIFY {id} QUICK")), Value::Simple("OK".into()));
    assert_eq!(client.line("BACKUP VERIFY latest"), Value::Simple("OK".into()));
    let status = client.line("BACKUP STATUS");
    assert_eq!(status.field("backup_last_id"), Some(&Value::Bulk(id.clone().into_bytes())));
    let made = backup_fine(&repo, &["show", &id]);
    assert_eq!(json(&made)["file"]["name"], "dump.rdb");
    // A byte that changes is found, told to the client, in INFO, in the listing, and by the exit code.
    let dump = repo.join("backups").join(&id).join("dump.rdb");
    let mut bytes = std::fs::read(&dump).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&dump, bytes).unwrap();
    let error = client.ask(&["BACKUP", "VERIFY", &id]).unwrap();
    assert!(matches!(&error, Value::Error(text) if text.contains("is damaged")), "{error:?}");
    assert_eq!(info(&mut client, "backup_last_verified_id"), "");
    assert_eq!(backup(&repo, &["verify", &id]).status.code(), Some(1));
    assert_eq!(backup(&repo, &["restore", &id, "--dir", "/nowhere/data"]).status.code(), Some(1));
    assert!(backup_fine(&repo, &["list"]).contains("  damaged  before the release"));
    assert!(server.output().contains("is damaged: "), "{}", server.output());
}

#[test]
fn what_cannot_be_is_refused() {
    let (dir, repo) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::start(&Program::ours(), dir.path(), &[]);
    let mut client = server.client();
    for (request, error) in [
        ("BACKUP CREATE", "ERR No backup-repo is configured"),
        ("BACKUP VERIFY latest", "ERR No backup-repo is configured"),
        ("BACKUP CANCEL", "ERR No backup is in progress, or it is too late to cancel it"),
        ("BACKUP CREATE NOW", "ERR syntax error"),
        (
            "CONFIG SET backup-repo /tmp",
            "ERR CONFIG SET failed (possibly related to argument 'backup-repo') - can't set immutable config",
        ),
        (
            "CONFIG SET backup-timezone Mars",
            "ERR CONFIG SET failed (possibly related to argument 'backup-timezone') - argument must be a time zone: UTC, or a name such as Europe/Berlin",
        ),
    ] {
        assert_eq!(
            client.ask(&request.split(' ').collect::<Vec<_>>()).unwrap(),
            Value::Error(error.into()),
            "{request}"
        );
    }
    let wrong = client.ask(&["CONFIG", "SET", "backup-schedule", "0 25 * * *"]).unwrap();
    assert!(matches!(&wrong, Value::Error(text) if text.contains("is no cron pattern")), "{wrong:?}");
    let wrong = client.ask(&["CONFIG", "SET", "backup-retention", "keep-all 3"]).unwrap();
    assert!(matches!(&wrong, Value::Error(text) if text.contains("there is no rule 'keep-all'")), "{wrong:?}");
    assert!(!client.line("INFO").text().contains("# Backup"));
    assert_eq!(backup(repo.path(), &["restore", "latest", "--dir", "x"]).status.code(), Some(2));
    assert_eq!(backup(&repo.path().join("missing"), &["list"]).status.code(), Some(3));
    assert_eq!(backup_fine(repo.path(), &["list"]), "no backups\n");
}

/// Where stderr is a terminal, that is: `script` gives it one.
#[test]
fn a_bar_shows_how_far_a_long_reading_is() {
    let (dir, repo) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = start(dir.path(), repo.path(), &[("backup-compression", "none"), ("rdbcompression", "no")]);
    let mut client = server.client();
    let value = "v".repeat(1000);
    let set = |index: usize| ["SET", &format!("key:{index}"), &value].map(|word| word.as_bytes().to_vec()).to_vec();
    client.pipeline(&(0..20_000).map(set).collect::<Vec<_>>());
    let id = client.line("BACKUP CREATE").text();
    let program = Program::ours().path().display().to_string();
    let line = format!("stty cols 120; {program} backup verify --repo {}", repo.path().display());
    let Ok(shown) = Command::new("script").args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).output() else {
        return crate::rig::skip("no script(1) here");
    };
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.status.success() && text.contains(&format!("{id} ")) && text.contains("MiB/s"), "{text}");
    // Not elsewhere.
    let silent = backup(repo.path(), &["verify"]);
    assert_eq!(String::from_utf8_lossy(&silent.stderr), "");
}

#[test]
fn a_running_server_keeps_its_folder() {
    let (dir, repo) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = start(dir.path(), repo.path(), &[]);
    let id = server.client().line("BACKUP CREATE").text();
    let refused = backup(repo.path(), &["restore", &id, "--dir", dir.path().to_str().unwrap(), "--force"]);
    assert_eq!(refused.status.code(), Some(5), "{}", String::from_utf8_lossy(&refused.stderr));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("a server works here"));
    let created = Command::new(Program::ours().path())
        .args(["backup", "create", &format!("redis://127.0.0.1:{}", server.port()), "--label", "by hand"])
        .output()
        .unwrap();
    let id = String::from_utf8(created.stdout).unwrap();
    assert!(backup_fine(repo.path(), &["show", id.trim()]).contains("\"label\": \"by hand\""));
    let planned = backup_fine(repo.path(), &["prune", "--retention", "keep-last 1", "--dry-run"]);
    assert!(planned.contains("would go\n") && planned.contains("stays: last\n"), "{planned}");
    let planned = json(&backup_fine(repo.path(), &["prune", "--retention", "keep-last 1", "--dry-run", "--json"]));
    let goes = |index: usize| (&planned["backups"][index]["goes"], &planned["backups"][index]["reasons"]);
    assert_eq!((goes(0), goes(1)), ((&true.into(), &json("[]")), (&false.into(), &json(r#"["last"]"#))));
    let pruned = backup_fine(repo.path(), &["prune", "--retention", "keep-last 1"]);
    assert!(pruned.ends_with("1 backup and 0 segments of the archive removed\n"), "{pruned}");
}

#[test]
fn the_environment_configures_them() {
    let (dir, repo) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let environment = [("REDIS_BACKUP_REPO", repo.path().to_str().unwrap()), ("REDIS_BACKUP_VERIFY", "quick")];
    let server = Server::start_in(&Program::ours(), dir.path(), &[("backup-verify", "none")], &environment);
    let mut client = server.client();
    let verify = client.line("CONFIG GET backup-verify").array();
    assert_eq!(verify[1], Value::Bulk(b"none".to_vec()), "the command line comes behind the environment");
    let id = client.line("BACKUP CREATE").text();
    assert!(backup_fine(repo.path(), &["list"]).contains(&id));
    assert_eq!(info(&mut client, "backup_last_verified_id"), "");
}

#[test]
fn real_servers_start_on_a_backup() {
    let (dir, repo) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = start(dir.path(), repo.path(), &[]);
    let mut client = server.client();
    for line in
        ["SET a 1", "RPUSH l a b", "SADD s 1 2", "ZADD z 1.5 m", "HSET h f v", "XADD x 1-1 f v", "SET t 1 EX 9999"]
    {
        assert!(!client.line(line).is_error());
    }
    let id = client.line("BACKUP CREATE").text();
    let mine = read_contents(&mut client);
    let packed = std::fs::File::open(repo.path().join("backups").join(&id).join("dump.rdb.zst")).unwrap();
    let dump = zstd::decode_all(packed).unwrap();
    for peer in [Program::redis_8(), Program::valkey_9()].into_iter().flatten() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("dump.rdb"), &dump).unwrap();
        let server = Server::start(&peer, folder.path(), &[]);
        let found = differences(&read_contents(&mut server.client()), &mine);
        assert!(found.is_empty(), "{}: {}", peer.name, found.join("\n"));
    }
}

#[test]
fn an_rdb_of_any_server_can_be_put_in() {
    let (dir, repo) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut wrongs = Vec::new();
    for (index, sample) in rdb_files().iter().enumerate() {
        backup_fine(repo.path(), &["import", sample.to_str().unwrap(), "--label", &format!("sample {index}")]);
    }
    let listed = json(&backup_fine(repo.path(), &["list", "--json"]));
    let backups = listed["backups"].as_array().unwrap();
    let times: Vec<i64> = backups.iter().map(|backup| backup["started_ms"].as_i64().unwrap()).collect();
    assert!(backups.len() == rdb_files().len() && times.is_sorted(), "{times:?}");
    for backup in backups {
        let index: usize = backup["label"].as_str().unwrap().strip_prefix("sample ").unwrap().parse().unwrap();
        let restored = dir.path().join(format!("restored-{index}"));
        backup_fine(repo.path(), &["restore", backup["id"].as_str().unwrap(), "--dir", restored.to_str().unwrap()]);
        let server = Server::start(&Program::ours(), &restored, &[("appendonly", "yes")]);
        let found = differences(&read_contents(&mut server.client()), &truth_of(&rdb_files()[index]));
        wrongs.extend(found.into_iter().map(|wrong| format!("{}: {wrong}", rdb_files()[index].display())));
    }
    assert!(wrongs.is_empty(), "{}", wrongs.join("\n"));
    // What is none, or more than one, is refused, and leaves nothing.
    let folder = dir.path().join("others");
    std::fs::create_dir(&folder).unwrap();
    let mut log = std::fs::read(&rdb_files()[0]).unwrap();
    log.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
    for (content, code) in [(log, 5), (b"nothing".to_vec(), 3), (b"REDIS0011\xfe\x00".to_vec(), 3)] {
        let file = folder.join("file");
        std::fs::write(&file, content).unwrap();
        let refused = backup(repo.path(), &["import", file.to_str().unwrap()]);
        assert_eq!(refused.status.code(), Some(code), "{}", String::from_utf8_lossy(&refused.stderr));
    }
    let left = std::fs::read_dir(repo.path().join("backups")).unwrap().count();
    assert_eq!(left, backups.len());
}

#[test]
fn a_server_that_is_killed_while_it_makes_one_leaves_the_good_ones() {
    let rounds = length("IRONKEEP_BACKUP_KILLS", 12);
    let (dir, repo) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let value = "v".repeat(200);
    let (mut unfinished, mut made) = (0, 0);
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..rounds {
        let directives = [("appendonly", "yes"), ("backup-retention", "keep-last 3")];
        let mut server = start(dir.path(), repo.path(), &directives);
        let mut client = server.client();
        if round == 0 {
            let set =
                |index: usize| ["SET", &format!("key:{index}"), &value].map(|word| word.as_bytes().to_vec()).to_vec();
            client.pipeline(&(0..30_000).map(set).collect::<Vec<_>>());
            client.line("BACKUP CREATE");
        }
        client.call(&["SET", &format!("round:{round}"), &value]);
        client.queue(&["BACKUP", "CREATE"]);
        client.flush().unwrap();
        std::thread::sleep(Duration::from_millis(random.u64(0..300)));
        made += usize::from(client.has_come(Duration::from_millis(1)));
        server.kill();
        drop(server);
        let listed = json(&backup_fine(repo.path(), &["list", "--json"]));
        let backups = listed["backups"].as_array().unwrap();
        assert!(!backups.is_empty(), "round {round}: no backup is left");
        for backup in backups {
            let id = backup["id"].as_str().unwrap();
            backup_fine(repo.path(), &["verify", id]);
        }
        let folders = std::fs::read_dir(repo.path().join("backups")).unwrap().count();
        unfinished += usize::from(folders > backups.len());
    }
    let server = start(dir.path(), repo.path(), &[("appendonly", "yes"), ("backup-retention", "keep-last 1")]);
    server.client().line("BACKUP CREATE");
    let left = std::fs::read_dir(repo.path().join("backups")).unwrap().count();
    assert_eq!(left, 1, "what was left unfinished is still there");
    println!("{rounds} servers killed: {made} backups were done, {unfinished} were left unfinished, 0 good ones lost");
}
