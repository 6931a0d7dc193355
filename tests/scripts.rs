//! Scripts and functions against a running server: what they leave in the log, and one that does not end.

use crate::rig::{Client, Program, Server, copy_folder, differences, files_below, read_contents};
use std::path::Path;
use std::time::{Duration, Instant};

/// A lock that is taken and released by its owner, as Redlock does it.
const RELEASE: &str =
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end";
/// A sliding window of requests, as rate limiters have it.
const LIMIT: &str = "local now = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, now[1] - 60)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], now[1], now[1] .. '-' .. now[2] .. '-' .. ARGV[2])
redis.call('EXPIRE', KEYS[1], 3600)
return 1";
/// A job that moves from a list to a hash and a stream, as queues have it.
const MOVE: &str = "local id = redis.call('INCR', KEYS[1])
redis.call('HMSET', KEYS[2] .. ':' .. id, 'data', cjson.encode({id = id, tags = {'a', 'b'}}), 'packed', cmsgpack.pack({id, 1.5}))
redis.call('LPUSH', KEYS[2], id)
redis.call('RPOPLPUSH', KEYS[2], KEYS[2] .. ':active')
redis.call('XADD', KEYS[2] .. ':events', '*', 'event', 'active', 'id', id)
return id";
const LIBRARY: &str = "#!lua name=counters
local function add(keys, args) redis.call('HINCRBYFLOAT', keys[1], args[1], '0.1') return redis.call('INCR', keys[1] .. ':n') end
redis.register_function('add', add)
redis.register_function{function_name='count', callback=function(keys) return redis.call('GET', keys[1] .. ':n') end, flags={'no-writes'}}";

fn work(client: &mut Client) {
    let digest = client.call(&["SCRIPT", "LOAD", MOVE]).text();
    client.call(&["FUNCTION", "LOAD", "REPLACE", LIBRARY]);
    for number in 0..200 {
        let text = number.to_string();
        client.call(&["SET", "lock", &text, "PX", "1000000"]);
        assert_eq!(client.call(&["EVAL", RELEASE, "1", "lock", &text]).int(), 1);
        client.call(&["EVAL", LIMIT, "1", "window", "50", &text]);
        client.call(&["EVALSHA", &digest, "2", "ids", "jobs"]);
        client.call(&["FCALL", "add", "1", "counter", &text]);
        client.line("MULTI");
        client.call(&[
            "EVAL",
            "redis.call('select', 2) return redis.call('set', KEYS[1], ARGV[1])",
            "1",
            "other",
            &text,
        ]);
        client.call(&["FCALL", "add", "1", "counter", "all"]);
        client.line("EXEC");
    }
    assert_eq!(client.line("FCALL_RO count 1 counter").text(), "400");
}

fn log_text(dir: &Path) -> String {
    let files = files_below(&dir.join("appendonlydir"));
    let logs = files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "aof"));
    logs.map(|file| String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned()).collect()
}

/// Symptom if it breaks: a script in a log, which no other server would carry out in the same way, or half of its effects.
#[test]
fn the_log_of_scripts_gives_the_same_data_here_and_in_real_servers() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), dir.path(), &[("appendonly", "yes")]);
    let mut client = server.client();
    work(&mut client);
    let contents = read_contents(&mut client);
    drop(server);
    let log = log_text(dir.path());
    assert!(log.contains("\r\nMULTI\r\n") && !log.contains("EVAL") && !log.contains("FCALL"), "effects only");
    let peers = [Program::redis_8(), Program::valkey_9()].into_iter().flatten();
    for program in [Program::ours()].into_iter().chain(peers) {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(dir.path(), copy.path());
        let server = Server::start(&program, copy.path(), &[("appendonly", "yes"), ("aof-load-truncated", "no")]);
        let mut client = server.client();
        let wrongs = differences(&read_contents(&mut client), &contents);
        assert!(wrongs.is_empty(), "{}:\n{}", program.name, wrongs.join("\n"));
        // The functions are there to be called, also after a save.
        assert_eq!(client.line("FCALL_RO count 1 counter").text(), "400", "{}", program.name);
        client.line("FUNCTION DELETE counters");
    }
}

#[test]
fn functions_come_back_from_a_dump_and_from_a_base() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), dir.path(), &[("appendonly", "yes")]);
    let mut client = server.client();
    client.call(&["FUNCTION", "LOAD", LIBRARY]);
    client.call(&["FCALL", "add", "1", "counter", "x"]);
    client.line("BGREWRITEAOF");
    client.wait_for_rewrite();
    client.line("SAVE");
    drop(server);
    for appendonly in ["yes", "no"] {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(dir.path(), copy.path());
        if appendonly == "no" {
            std::fs::remove_dir_all(copy.path().join("appendonlydir")).unwrap();
        }
        let server = Server::start(&Program::ours(), copy.path(), &[("appendonly", appendonly)]);
        assert_eq!(server.client().line("FCALL count 1 counter").text(), "1");
    }
}

/// Starts a script that takes long, and waits until others are told so.
fn occupy(server: &Server, code: &str) -> Client {
    let mut busy = server.client();
    busy.line("CONFIG SET busy-reply-threshold 10");
    busy.queue(&["EVAL", code, "0"]);
    busy.flush().unwrap();
    let give_up = Instant::now() + Duration::from_secs(20);
    // Each is a new connection, let in while the script runs.
    while !server.client().ask(&["PING"]).unwrap().is_error() {
        assert!(Instant::now() < give_up, "nobody is told that a script runs");
    }
    busy
}

#[test]
fn a_script_that_has_written_runs_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), dir.path(), &[("appendonly", "yes")]);
    let code = "redis.call('set', 'k', 1) local i = 0 while i < 2e8 do i = i + 1 end redis.call('incr', 'k') return i";
    let mut busy = occupy(&server, code);
    let mut other = server.client();
    for verb in ["SCRIPT", "FUNCTION"] {
        let refusal = format!("{:?}", other.ask(&[verb, "KILL"]).unwrap());
        assert!(refusal.contains("UNKILLABLE Sorry the script already executed write commands"), "{refusal}");
    }
    // A pipeline is answered in its order, request by request.
    for request in [&["GET", "k"][..], &["MULTI"], &["PING"], &["DISCARD"]] {
        other.queue(request);
    }
    other.flush().unwrap();
    let replies: Vec<bool> = (0..4).map(|_| other.reply().unwrap().is_error()).collect();
    assert_eq!(replies, [true, false, true, false]);
    assert_eq!(busy.reply().unwrap().int(), 200_000_000);
    assert_eq!(other.line("GET k").text(), "2");
    assert!(server.output().contains("Slow script detected: still in execution after "), "{}", server.output());
    drop(server);
    assert!(log_text(dir.path()).contains("MULTI\r\n"));
}

#[test]
fn shutdown_ends_a_script_and_keeps_what_was_acknowledged() {
    for code in ["while true do end", "redis.call('set', 'half', 1) while true do end"] {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(&Program::ours(), dir.path(), &[("appendonly", "yes")]);
        server.client().line("SET kept 1");
        let _busy = occupy(&server, code);
        let mut other = server.client();
        assert!(other.ask(&["SHUTDOWN"]).unwrap().is_error());
        other.queue(&["SHUTDOWN", "NOSAVE"]);
        other.flush().unwrap();
        assert!(server.wait().success());
        let server = Server::start(&Program::ours(), dir.path(), &[("appendonly", "yes")]);
        let mut client = server.client();
        assert_eq!(client.line("MGET kept half").array().len(), 2);
        assert_eq!(client.line("GET kept").text(), "1");
        assert_eq!(client.line("EXISTS half").int(), 0, "half a script is no script");
    }
}

/// Lua calls no hook while an error handler runs: real servers stand still for ever here.
#[test]
fn an_error_handler_without_end_does_not_keep_a_script() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&Program::ours(), dir.path(), &[]);
    let endless = "while true do end";
    let code = format!("while true do xpcall(function() {endless} end, function() {endless} end) end");
    let mut busy = occupy(&server, &code);
    let mut other = server.client();
    assert_eq!(other.line("SCRIPT KILL").text(), "OK");
    assert!(format!("{:?}", busy.reply().unwrap()).contains("Script killed by user"));
    assert_eq!(other.line("PING").text(), "PONG");
}
