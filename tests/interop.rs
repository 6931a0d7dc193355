//! What we write, read by real Redis and Valkey, and what they write, read by us; and their own clients at our socket.

use crate::rig::{Client, Contents, Program, Server, copy_folder, differences, files_below, read_contents};
use std::path::Path;
use std::process::{Command, Output, Stdio};

pub fn words(line: &str) -> Vec<Vec<u8>> {
    line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
}

/// Every type, small and large, plain and binary, in three databases. `part` makes each filling another.
pub fn fill(client: &mut Client, part: u64) {
    let mut random = fastrand::Rng::with_seed(part);
    for db in [0, 3, 15] {
        client.line(&format!("SELECT {db}"));
        let mut requests = strings(&mut random, part);
        requests.extend(collections(&mut random, part));
        requests.extend(streams(part));
        client.pipeline(&requests);
    }
    client.line("SELECT 0");
}

fn noise(random: &mut fastrand::Rng, len: usize) -> Vec<u8> {
    (0..len).map(|_| random.u8(..)).collect()
}

fn strings(random: &mut fastrand::Rng, part: u64) -> Vec<Vec<Vec<u8>>> {
    let mut requests = Vec::new();
    for index in 0..200 {
        requests.push(words(&format!("SET s:{part}:{index} {}", random.i64(..) >> random.u32(..60))));
        requests.push(words(&format!("SET s:ttl:{part}:{index} v PXAT {}", 4_000_000_000_000_u64 + index)));
    }
    for len in [0, 1, 44, 45, 63, 64, 16_383, 16_384, 200_000] {
        let key = [noise(random, 9), len.to_string().into_bytes()].concat();
        requests.push(vec![b"SET".to_vec(), key, noise(random, len)]);
        requests.push(vec![b"SET".to_vec(), format!("s:same:{part}:{len}").into_bytes(), vec![b'x'; len]]);
    }
    requests.push(vec![b"SET".to_vec(), Vec::new(), b"the empty key".to_vec()]);
    requests.push(words(&format!("INCRBY s:count:{part} 41")));
    requests.push(words(&format!("APPEND s:same:{part}:44 tail")));
    requests.push(words(&format!("EXPIRE s:same:{part}:45 1000000")));
    requests
}

fn collections(random: &mut fastrand::Rng, part: u64) -> Vec<Vec<Vec<u8>>> {
    let mut requests = Vec::new();
    for count in [1, 3, 200, 3000] {
        for index in 0..count {
            let text = [format!("m{index}:").into_bytes(), noise(random, 6)].concat();
            let mut add = |line: &str, more: &[&[u8]]| {
                let mut request = words(&format!("{line}:{part}:{count}"));
                request.extend(more.iter().map(|word| word.to_vec()));
                requests.push(request);
            };
            let number = (index * 37).to_string();
            let score = (f64::from(index) * 1.1 - 50.0).to_string();
            add("RPUSH list", &[&text]);
            add("LPUSH list", &[number.as_bytes()]);
            add("SADD set", &[&text]);
            add("SADD set:int", &[number.as_bytes()]);
            add("HSET hash", &[&text, number.as_bytes()]);
            add("ZADD zset", &[score.as_bytes(), &text]);
            if index % 7 == 3 {
                add("LPOP list", &[]);
                add("SREM set", &[&text]);
                add("HDEL hash", &[&text]);
                add("ZREM zset", &[&text]);
            }
        }
        requests.push(words(&format!("ZADD zset:{part}:{count} inf top -inf bottom 0.1 tenth 1e300 huge")));
        requests.push([words(&format!("RPUSH list:{part}:{count}")), vec![noise(random, 10_000)]].concat());
        requests.push([words(&format!("HSET hash:{part}:{count} big")), vec![noise(random, 10_000)]].concat());
        requests.push(words(&format!("PEXPIREAT hash:{part}:{count} 4000000000123")));
    }
    requests
}

fn streams(part: u64) -> Vec<Vec<Vec<u8>>> {
    let mut requests = Vec::new();
    let key = format!("stream:{part}");
    for index in 1..=500 {
        let fields = if index % 9 == 0 { "other x yet another" } else { "temp 21 unit c" };
        requests.push(words(&format!("XADD {key} {}-{} {fields}", 1000 + index, index % 3)));
    }
    for index in [5, 77, 500] {
        requests.push(words(&format!("XDEL {key} {}-{}", 1000 + index, index % 3)));
    }
    for line in [
        "XGROUP CREATE {key} readers 0",
        "XGROUP CREATE {key} late $",
        "XREADGROUP GROUP readers alice COUNT 40 STREAMS {key} >",
        "XREADGROUP GROUP readers bob COUNT 7 STREAMS {key} >",
        "XACK {key} readers 1001-1 1002-2 1041-2",
        "XADD {key}:short MAXLEN 3 1-1 a b",
        "XADD {key}:short MAXLEN 3 2-1 a b",
        "XDEL {key}:short 1-1 2-1",
    ] {
        requests.push(words(&line.replace("{key}", &key)));
    }
    requests
}

/// A folder as our server leaves it under way: base, log and a dump.rdb, with what it says it holds.
fn written_by_us(options: &[(&str, &str)]) -> (tempfile::TempDir, Contents, String) {
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), dir.path(), &[&[("appendonly", "yes")], options].concat());
    let mut client = server.client();
    fill(&mut client, 1);
    client.line("BGREWRITEAOF");
    fill(&mut client, 2);
    client.wait_for_rewrite();
    client.pipeline(&["MULTI", "SET multi:a 1", "RPUSH multi:b x y", "EXEC", "DEL list:1:200"].map(words));
    fill(&mut client, 3);
    client.line("SAVE");
    let contents = read_contents(&mut client);
    let digest = client.line("DEBUG DIGEST").text();
    copy_folder(dir.path(), copy.path());
    (copy, contents, digest)
}

/// Loads the folder once by the log and once by dump.rdb; both must hold what we said. `digest` is for servers that
/// spell scores as Redis 7.0 does in their DEBUG DIGEST; later ones spell them shorter.
fn peer_agrees(program: &Program, dir: &Path, contents: &Contents, digest: Option<&str>) {
    for appendonly in ["yes", "no"] {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(dir, copy.path());
        let server = Server::start(program, copy.path(), &[("appendonly", appendonly), ("aof-load-truncated", "no")]);
        let mut client = server.client();
        let wrongs = differences(&read_contents(&mut client), contents);
        assert!(wrongs.is_empty(), "{}, appendonly {appendonly}:\n{}", program.name, wrongs.join("\n"));
        if let Some(digest) = digest {
            assert_eq!(client.line("DEBUG DIGEST").text(), digest, "{}, appendonly {appendonly}", program.name);
        }
    }
}

fn run(program: &Path, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn passes(tool: &Path, file: &Path) {
    let output = run(tool, &[file.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{} {}:\n{text}", tool.display(), file.display());
    assert!(!text.contains("not valid"), "{text}");
}

fn check_tools_pass(program: &Program, dir: &Path) {
    passes(&program.tool("check-rdb"), &dir.join("dump.rdb"));
    passes(&program.tool("check-aof"), &dir.join("appendonlydir/appendonly.aof.manifest"));
    for file in files_below(&dir.join("appendonlydir")) {
        if file.extension().is_some_and(|extension| extension == "rdb") {
            passes(&program.tool("check-rdb"), &file);
        }
    }
}

#[test]
fn redis_8_and_valkey_9_load_what_we_write() {
    let peers: Vec<Program> = [Program::redis_8(), Program::valkey_9()].into_iter().flatten().collect();
    if peers.is_empty() {
        return;
    }
    let (dir, contents, _) = written_by_us(&[]);
    for program in &peers {
        check_tools_pass(program, dir.path());
        peer_agrees(program, dir.path(), &contents, None);
    }
    println!("{} keys equal in {} peers, by log and by RDB", contents.keys.len(), peers.len());
}

#[test]
fn redis_7_loads_what_we_write_for_it() {
    let Some(program) = Program::redis_7() else { return };
    let (dir, contents, digest) = written_by_us(&[("rdb-version", "10"), ("aof-timestamp-enabled", "yes")]);
    check_tools_pass(&program, dir.path());
    peer_agrees(&program, dir.path(), &contents, Some(&digest));
}

#[test]
fn our_own_restart_holds_the_same() {
    let (dir, contents, digest) = written_by_us(&[]);
    peer_agrees(&Program::ours(), dir.path(), &contents, Some(&digest));
}

/// `aof-use-rdb-preamble no`: the base is commands, or RESTORE where there are none.
#[test]
fn a_base_of_commands_is_loaded_by_us_and_by_every_peer() {
    let options = [("aof-use-rdb-preamble", "no"), ("aof-timestamp-enabled", "yes")];
    let (dir, contents, digest) = written_by_us(&options);
    let is_base = |path: &&std::path::PathBuf| path.to_string_lossy().contains(".base.");
    let files = files_below(dir.path());
    let bases: Vec<_> = files.iter().filter(is_base).collect();
    assert!(bases.len() == 1 && bases[0].to_string_lossy().ends_with(".base.aof"), "{bases:?}");
    assert!(std::fs::read(bases[0]).unwrap().starts_with(b"#TS:"));
    peer_agrees(&Program::ours(), dir.path(), &contents, Some(&digest));
    for program in [Program::redis_8(), Program::valkey_9()].into_iter().flatten() {
        check_tools_pass(&program, dir.path());
        peer_agrees(&program, dir.path(), &contents, None);
    }
}

#[test]
fn fields_that_expire_are_in_a_base_of_commands() {
    let dir = tempfile::tempdir().unwrap();
    let options = [("appendonly", "yes"), ("aof-use-rdb-preamble", "no")];
    let server = Server::start(&Program::ours(), dir.path(), &options);
    let mut client = server.client();
    client.line("HSET hash kept 1 going 2");
    client.line("HPEXPIREAT hash 4000000000000 FIELDS 1 going");
    client.line("BGREWRITEAOF");
    client.wait_for_rewrite();
    drop(server);
    let server = Server::start(&Program::ours(), dir.path(), &options);
    let times = server.client().line("HPEXPIRETIME hash FIELDS 2 kept going").array();
    assert_eq!(times.iter().map(|time| time.int()).collect::<Vec<_>>(), [-1, 4_000_000_000_000]);
}

/// A key travels by DUMP and RESTORE.
fn carry(from: &mut Client, to: &mut Client, contents: &Contents) {
    let mut db = None;
    for ((in_db, name), key) in &contents.keys {
        if db != Some(in_db) {
            from.line(&format!("SELECT {in_db}"));
            to.line(&format!("SELECT {in_db}"));
            db = Some(in_db);
        }
        let payload = from.call(&[b"DUMP", name.as_slice()]).bytes();
        let at = key.expire_at_ms.unwrap_or(0).to_string();
        to.call(&[b"RESTORE", name.as_slice(), at.as_bytes(), &payload, b"ABSTTL"]);
    }
}

#[test]
fn keys_travel_by_dump_and_restore_both_ways() {
    for program in [Program::redis_8(), Program::valkey_9()].into_iter().flatten() {
        let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let ours = Server::start(&Program::ours(), folders[0].path(), &[]);
        let theirs = Server::start(&program, folders[1].path(), &[]);
        let again = Server::start(&Program::ours(), folders[2].path(), &[]);
        let (mut ours, mut theirs, mut again) = (ours.client(), theirs.client(), again.client());
        fill(&mut ours, 4);
        let contents = read_contents(&mut ours);
        carry(&mut ours, &mut theirs, &contents);
        assert_eq!(differences(&read_contents(&mut theirs), &contents), Vec::<String>::new(), "{}", program.name);
        carry(&mut theirs, &mut again, &contents);
        assert_eq!(differences(&read_contents(&mut again), &contents), Vec::<String>::new(), "{}", program.name);
    }
}

#[test]
fn redis_cli_and_redis_benchmark_run_against_us() {
    let Some(program) = Program::redis_7() else { return };
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), dir.path(), &[("appendonly", "yes")]);
    let port = server.port().to_string();
    let cli = |words: &[&str]| {
        let output = run(&program.tool("cli"), &[&["-p", &port], words].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(cli(&["SET", "greeting", "hello"]), "OK\n");
    assert_eq!(cli(&["-3", "GET", "greeting"]), "hello\n");
    assert!(cli(&["INFO"]).contains("redis_version:"));
    let options = [
        "-p",
        &port,
        "-n",
        "2000",
        "-c",
        "20",
        "-P",
        "8",
        "-q",
        "-t",
        "ping,set,get,incr,lpush,rpush,sadd,hset,zadd,lrange",
    ];
    let output = run(&program.tool("benchmark"), &options);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("requests per second"), "{output:?}");
    assert!(!text.contains("rror"), "{text}");
}
