//! What scripts leave in the log, and what they may do when.

use super::super::console::{Console, assert_rows_are_those_of_redis};
use super::super::{execute, functions};
use crate::engine::functions::LibraryState;
use crate::engine::jobs::Job;

impl Console {
    /// The reply to these words.
    fn ask(&mut self, words: &[&str]) -> String {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let mut out = Vec::new();
        execute(&mut self.engine, &mut self.session, &words, &mut out);
        String::from_utf8_lossy(&out).replace("\r\n", " ").trim_end().to_owned()
    }

    fn eval(&mut self, code: &str) -> String {
        self.ask(&["EVAL", code, "0"])
    }
}

#[test]
fn the_rows_are_those_of_redis() {
    assert_rows_are_those_of_redis(super::COMMANDS);
    assert_rows_are_those_of_redis(functions::COMMANDS);
}

#[test]
fn the_log_has_what_a_script_did_as_one_unit() {
    let mut console = Console::new();
    assert_eq!(console.eval("return redis.call('set', 'a', 'b')"), "+OK");
    assert_eq!(console.log(), "set a b");
    assert_eq!(console.eval("redis.call('incr', 'n') redis.call('get', 'n') return redis.call('incr', 'n')"), ":2");
    assert_eq!(console.log(), "MULTI | incr n | incr n | EXEC");
    assert_eq!(console.eval("return redis.call('get', 'n')"), "$1 2");
    assert_eq!(console.log(), "");
    console.eval("redis.call('select', 3) redis.call('set', 'x', 1) redis.call('expire', 'x', 10)");
    assert_eq!(console.log(), "MULTI | SELECT 3 | set x 1 | PEXPIREAT x 1000000010000 | EXEC");
    assert_eq!(console.session.db, 0);
    // What was done before an error stays, as in Redis.
    assert!(console.eval("redis.call('set', 'left', 1) error('x')").starts_with("-ERR user_script:1: x script: "));
    assert_eq!(console.log(), "set left 1");
    assert_eq!(
        console.ask(&[
            "FUNCTION",
            "LOAD",
            "#!lua name=l\nredis.register_function('f', function() return redis.call('del', 'left') end)"
        ]),
        "$1 l"
    );
    console.log();
    assert_eq!(console.run("fcall f 0"), ":1");
    assert_eq!(console.log(), "del left");
}

#[test]
fn a_script_in_a_transaction_is_part_of_its_unit() {
    let mut console = Console::new();
    console.run("multi");
    console.run("set a 1");
    console.eval("redis.call('incr', 'a') redis.call('incr', 'a')");
    console.run("exec");
    assert_eq!(console.log(), "MULTI | set a 1 | incr a | incr a | EXEC");
}

#[test]
fn what_is_not_to_be_logged_is_not() {
    let mut console = Console::new();
    console.eval("redis.set_repl(redis.REPL_NONE) redis.call('set', 'hidden', 1) redis.set_repl(redis.REPL_ALL) redis.call('set', 'seen', 1)");
    assert_eq!(console.log(), "set seen 1");
    assert_eq!(console.run("mget hidden seen"), "*2 1 1");
    console.eval("return redis.call('set', 'again', 1)");
    assert_eq!(console.log(), "set again 1");
}

#[test]
fn clients_that_wait_are_served_when_the_script_is_over() {
    let mut console = Console::new();
    console.run("blpop k 0");
    assert!(std::mem::take(&mut console.session.awaits_reply));
    console.eval("redis.call('rpush', 'k', 'a') redis.call('lpush', 'k', 'b') return redis.call('llen', 'k')");
    let letters = console.engine.mail.take();
    let shown = String::from_utf8_lossy(&letters[0].bytes).replace("\r\n", " ");
    assert_eq!(shown, "*2 $1 k $1 b ");
    assert_eq!(console.log(), "MULTI | rpush k a | lpush k b | EXEC | LPOP k");
}

#[test]
fn a_disk_that_fails_stops_scripts_that_write() {
    let mut console = Console::new();
    console.engine.persistence.log_error = Some("No space left on device".to_owned());
    let refused = "MISCONF Errors writing to the AOF file: No space left on device script: ";
    assert!(console.eval("return redis.call('set', 'a', 1)").starts_with(&format!("-{refused}")));
    assert_eq!(console.eval("return redis.call('get', 'a')"), "_");
    assert_eq!(
        console.eval("#!lua\nreturn redis.call('get', 'a')"),
        "-MISCONF Redis is configured to persist data to AOF, but it's currently unable to persist to disk. Writable \
         scripts are blocked. Use 'no-writes' flag for read only scripts. AOF error: No space left on device"
    );
    assert_eq!(console.eval("#!lua flags=no-writes\nreturn redis.call('get', 'a')"), "_");
    console.engine.persistence.log_error = None;
    console.engine.persistence.last_save_ok = false;
    assert!(console.eval("#!lua\nreturn 1").starts_with("-MISCONF Redis is configured to save RDB snapshots, but "));
}

#[test]
fn memory_that_is_full_stops_scripts_that_want_more() {
    let mut console = Console::new();
    console.run("config set maxmemory 1");
    console.engine.memory.pretend(1 << 20);
    let refused = "-OOM command not allowed when used memory > 'maxmemory'. script: ";
    assert!(console.eval("return redis.call('set', 'a', 1)").starts_with(refused));
    assert_eq!(console.eval("return redis.call('get', 'a')"), "_");
    // Once it has written, it is not stopped half done.
    assert_eq!(console.eval("redis.call('del', 'a') return redis.call('set', 'a', 1)"), "+OK");
    let whole = "-OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'";
    assert_eq!(console.eval("#!lua\nreturn 1"), whole);
    assert_eq!(console.eval("#!lua flags=allow-oom\nreturn redis.call('set', 'a', 2)"), "+OK");
    assert_eq!(console.eval("#!lua flags=no-writes\nreturn redis.call('get', 'a')"), "$1 2");
}

#[test]
fn errors_are_counted_once() {
    let mut console = Console::new();
    console.eval("return redis.call('nosuch')");
    assert_eq!(console.engine.stats.error_replies, 1);
    console.eval("return redis.pcall('nosuch')");
    assert_eq!(console.engine.stats.error_replies, 2);
    console.eval("redis.pcall('nosuch') return 1");
    assert_eq!(console.engine.stats.error_replies, 3);
    console.eval("return {err = 'MINE x'}");
    assert_eq!(console.engine.stats.error_replies, 4);
    console.eval("error('x')");
    assert_eq!(console.engine.stats.error_replies, 5);
}

#[test]
fn a_monitor_sees_what_a_script_calls_behind_it() {
    let mut console = Console::new();
    console.engine.monitors.push(9);
    console.eval("redis.call('set', 'a', 1) return redis.call('get', 'a')");
    let lines: Vec<String> =
        console.engine.mail.take().iter().map(|letter| String::from_utf8_lossy(&letter.bytes).into_owned()).collect();
    assert!(lines[0].contains("\"EVAL\""), "{lines:?}");
    assert!(
        lines[1].ends_with(" [0 lua] \"set\" \"a\" \"1\"\r\n") && lines[2].contains("[0 lua] \"get\""),
        "{lines:?}"
    );
    assert_eq!(lines.len(), 3);
}

#[test]
fn scripts_that_only_eval_brought_make_room() {
    let mut console = Console::new();
    let kept = console.ask(&["SCRIPT", "LOAD", "return 'kept'"]);
    let kept = kept.split(' ').next_back().unwrap().to_owned();
    let used = console.eval("return 'used'");
    assert_eq!(used, "$4 used");
    for number in 0..520 {
        console.eval(&format!("return {number}"));
        console.eval("return 'used'");
    }
    assert_eq!(console.engine.scripts.len(), 501);
    assert_eq!(console.engine.scripts.evicted, 21);
    assert_eq!(console.ask(&["EVALSHA", &kept, "0"]), "$4 kept");
    assert_eq!(console.eval("return 0"), ":0");
}

#[test]
fn a_library_that_was_replayed_can_be_called() {
    let mut console = Console::new();
    let load = |console: &mut Console, code: &str| {
        console.engine.journal.begin_unit();
        let words: [&[u8]; 3] = [b"FUNCTION", b"LOAD", code.as_bytes()];
        super::super::replay::Replay::new().run(&mut console.engine, &words).expect("it can be replayed");
        console.engine.journal.end_unit();
    };
    load(
        &mut console,
        "#!lua name=good\nredis.register_function{function_name='f', callback=function() return 7 end, flags={'no-writes'}}",
    );
    load(&mut console, "#!lua name=broken\nredis.register_function('g', function() return 7 end");
    let states = |console: &Console| console.engine.functions.iter().map(|l| l.state.clone()).collect::<Vec<_>>();
    assert_eq!(states(&console), [LibraryState::NotCompiled, LibraryState::NotCompiled]);
    assert_eq!(console.run("fcall_ro f 0"), ":7");
    let error = console.run("fcall g 0");
    assert!(error.starts_with("-ERR Function not found: its library 'broken' can not be compiled: "), "{error}");
    assert!(matches!(&console.engine.jobs[..], [Job::Log(_, text)] if text.contains("'broken' is kept")));
    assert_eq!(console.engine.functions.iter().len(), 2, "it is written again as it came");
    assert!(console.run("function list withcode").contains("library_code #!lua name=broken"));
}

#[test]
fn a_dump_of_libraries_is_restored_whole_or_not_at_all() {
    let mut console = Console::new();
    let load = |console: &mut Console, name: &str, function: &str, number: u32| {
        let code = format!("#!lua name={name}\nredis.register_function('{function}', function() return {number} end)");
        assert!(console.ask(&["FUNCTION", "LOAD", &code]).starts_with('$'));
    };
    load(&mut console, "a", "fa", 1);
    load(&mut console, "b", "fb", 2);
    let payload = |console: &mut Console| {
        let mut out = Vec::new();
        execute(&mut console.engine, &mut console.session, &[b"FUNCTION", b"DUMP"], &mut out);
        let start = memchr::memchr(b'\n', &out).unwrap() + 1;
        out[start..out.len() - 2].to_vec()
    };
    let dumped = payload(&mut console);
    let restore = |console: &mut Console, payload: &[u8], policy: &[u8]| {
        let mut out = Vec::new();
        let words: [&[u8]; 4] = [b"FUNCTION", b"RESTORE", payload, policy];
        execute(&mut console.engine, &mut console.session, &words, &mut out);
        String::from_utf8_lossy(&out).trim_end().to_owned()
    };
    assert_eq!(restore(&mut console, &dumped, b"APPEND"), "-ERR Library a already exists");
    console.run("function delete a");
    load(&mut console, "c", "FA", 3);
    // Function names are the same in any case.
    assert_eq!(restore(&mut console, &dumped, b"REPLACE"), "-ERR Function fa already exists");
    assert_eq!((console.run("fcall fa 0"), console.run("fcall fb 0")), (":3".to_owned(), ":2".to_owned()));
    assert_eq!(restore(&mut console, &dumped, b"FLUSH"), "+OK");
    assert_eq!((console.run("fcall fa 0"), console.run("fcall fb 0")), (":1".to_owned(), ":2".to_owned()));
    assert_eq!(payload(&mut console), dumped);
    let mut broken = dumped.clone();
    broken[5] ^= 1;
    assert_eq!(restore(&mut console, &broken, b"FLUSH"), "-ERR DUMP payload version or checksum are wrong");
}
