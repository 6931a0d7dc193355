//! The table against what real servers say of themselves, and the grammar against what they do.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::args::{self, Invocation, Request};
use super::file::{self, LoadError, Sources};
use super::*;

const REDIS: &str = include_str!("../../../testdata/reference/redis-8.0.6.config.json");
const VALKEY: &str = include_str!("../../../testdata/reference/valkey-9.1.2.config.json");
const STOCK: [&str; 3] = [
    include_str!("../../../testdata/config/redis-7.0.conf"),
    include_str!("../../../testdata/config/redis-8.0.conf"),
    include_str!("../../../testdata/config/valkey-9.1.conf"),
];

/// Defaults of ours that neither capture shows, with the reason.
const OWN_DEFAULTS: &[(&str, &str)] = &[
    ("port", "the captures ran on ports of their own"),
    ("dir", "the captures ran without one"),
    ("save", "the captures ran with --save ''"),
];

type Reference = BTreeMap<String, String>;

fn reference(json: &str) -> Reference {
    serde_json::from_str(json).unwrap()
}

fn words(line: &str) -> Vec<Vec<u8>> {
    crate::resp::request::split_words(line.as_bytes()).unwrap()
}

/// Loads the command line `line` where `files` are all the files there are.
fn start(line: &str, files: &[(&str, &str)], stdin: &str) -> Result<Config, LoadError> {
    let read = |path: &Path| {
        let found = files.iter().find(|(name, _)| Path::new(name) == path);
        found.map(|(_, text)| text.as_bytes().to_vec()).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    };
    let expand = |pattern: &str| {
        let matching = |name: &&str| glob::matches(pattern.as_bytes(), name.as_bytes());
        Ok(files.iter().map(|(name, _)| *name).filter(matching).map(PathBuf::from).collect())
    };
    let stdin = || Ok(stdin.as_bytes().to_vec());
    let Request::Run(invocation) = args::parse(&words(line)) else { panic!("no start: {line}") };
    file::load(&invocation, &Sources { read: &read, expand: &expand, stdin: &stdin })
}

fn get(config: &Config, name: &str) -> String {
    let found = config.get_matching(&[name.as_bytes()]);
    assert_eq!(found.len(), 1, "{name}");
    String::from_utf8(found[0].1.clone()).unwrap()
}

fn complaint(line: &str, files: &[(&str, &str)]) -> String {
    start(line, files, "").unwrap_err().to_string()
}

#[test]
fn every_parameter_of_redis_and_valkey_is_known_with_its_default() {
    let config = Config::default();
    let references = [reference(REDIS), reference(VALKEY)];
    let listed: BTreeMap<String, Vec<u8>> = config.get_matching(&[b"*"]).into_iter().collect();
    for name in references.iter().flat_map(Reference::keys) {
        let ours = listed.get(name).unwrap_or_else(|| panic!("{name} is unknown"));
        let ours = String::from_utf8(ours.clone()).unwrap();
        let theirs: Vec<&String> = references.iter().filter_map(|reference| reference.get(name)).collect();
        let excused = OWN_DEFAULTS.iter().any(|(own, _)| own == name);
        assert!(excused || theirs.contains(&&ours), "{name}: {ours:?} is none of {theirs:?}");
    }
}

#[test]
fn we_list_nothing_that_neither_server_has_but_our_own() {
    let references = [reference(REDIS), reference(VALKEY)];
    let own: Vec<String> = Config::default()
        .get_matching(&[b"*"])
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| !references.iter().any(|reference| reference.contains_key(name)))
        .collect();
    let ours = [
        "aof-archive",
        "aof-archive-timeout",
        "aof-history-max-size",
        "aof-history-retention",
        "aof-segment-size",
        "aof-verify",
        "backup-catch-up",
        "backup-compression",
        "backup-encryption-recipient",
        "backup-jitter",
        "backup-max-cpu",
        "backup-max-rate",
        "backup-pitr-window",
        "backup-repo",
        "backup-retention",
        "backup-schedule",
        "backup-sealed-ttl",
        "backup-skip-unchanged",
        "backup-timezone",
        "backup-verify",
        "backupdirname",
        "flush-guard",
        "preload-file",
        "rdb-version",
        "snapshot-max-rate",
        "write-wait-timeout",
    ];
    assert_eq!(own, ours);
}

#[test]
fn every_default_is_canonical_and_no_name_appears_twice() {
    let mut names = Vec::new();
    for row in table::rows() {
        names.extend(row.names());
        assert_eq!(Config::default().value_of(row), row.default.as_bytes(), "{}", row.name);
        if row.is_listed() && !matches!(row.name, "replicaof" | "bind") {
            let again = row.kind.canonical(&[row.default.as_bytes()], row.default.as_bytes());
            assert_eq!(again, Ok(row.default.as_bytes().to_vec()), "{}", row.name);
        }
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn stock_configurations_start_the_server() {
    for stock in STOCK {
        let config = start("redis.conf", &[("redis.conf", stock)], "").unwrap();
        assert_eq!(config.bind, ["127.0.0.1", "-::1"]);
        assert!(config.daemonize);
        assert_eq!(config.save.len(), 3);
        assert_eq!(config.appendfilename, "appendonly.aof");
        assert_eq!(config.warnings(), Vec::<String>::new());
    }
}

#[test]
fn sizes_lists_and_words_get_one_spelling() {
    let text = "maxmemory 1gb\nMAXMEMORY-policy ALLKEYS-LRU\nhash-max-ziplist-entries 7\nappendonly YES\n\
                client-output-buffer-limit replica 256mb 64mb 60\nclient-output-buffer-limit normal 1k 0 5\n\
                notify-keyspace-events \"KEg$lshzxetd\"\nunixsocketperm 0700\nshutdown-on-sigterm now save\n\
                requirepass \"a\\x41 \\\"b\"\n";
    let config = start("-", &[], text).unwrap();
    for (name, value) in [
        ("maxmemory", "1073741824"),
        ("maxmemory-policy", "allkeys-lru"),
        ("hash-max-listpack-entries", "7"),
        ("appendonly", "yes"),
        ("client-output-buffer-limit", "normal 1000 0 5 slave 268435456 67108864 60 pubsub 33554432 8388608 60"),
        ("notify-keyspace-events", "AKE"),
        ("unixsocketperm", "700"),
        ("shutdown-on-sigterm", "save now"),
        ("requirepass", "aA \"b"),
    ] {
        assert_eq!(get(&config, name), value, "{name}");
    }
    assert_eq!(config.limits().hash_max_listpack_entries, 7);
    assert_eq!(config.unixsocketperm, FileMode(0o700));
}

#[test]
fn save_lines_replace_the_defaults_and_then_add() {
    let save = |line: &str, stdin: &str| get(&start(line, &[], stdin).unwrap(), "save");
    assert_eq!(save("-", ""), "3600 1 300 100 60 10000");
    assert_eq!(save("-", "save 900 1\nsave 300 10 60 100\n"), "900 1 300 10 60 100");
    assert_eq!(save("-", "save 900 1\nsave \"\"\n"), "");
    assert_eq!(save("-", "save \"\"\nsave 5 6\n"), "5 6");
    assert_eq!(save("- --save 60 1 --save 300 10", "save 900 1"), "60 1 300 10");
    assert_eq!(save("--save '60 1 300 10'", ""), "60 1 300 10");
    assert_eq!(save("--save '' --port 1", ""), "");
    assert_eq!(save("--save --port 1", ""), "");
    assert_eq!(save("--port 1 --save", ""), "");
    assert_eq!(save("--port 1 -", "save 7 8"), "7 8");
}

#[test]
fn the_command_line_wins_over_the_file() {
    let files = [("redis.conf", "port 1\nappendonly no\n# port 9\n\n  timeout 5\r\n")];
    let config = start("redis.conf --appendonly yes --port 7777", &files, "").unwrap();
    assert_eq!((config.port, config.appendonly, config.timeout), (7777, true, 5));
    assert_eq!(config.config_file, "redis.conf");
    let config = start("redis.conf - --port 3", &files, "port 2\ntimeout 6").unwrap();
    assert_eq!((config.port, config.timeout), (3, 6));
    let config = start("redis.conf '--port 4'", &files, "").unwrap();
    assert_eq!(config.port, 4);
    let config = start("--logfile --odd", &[], "").unwrap();
    assert_eq!(config.logfile, "--odd");
}

#[test]
fn questions_are_told_from_starts() {
    assert_eq!(args::parse(&words("-v")), Request::Version);
    assert_eq!(args::parse(&words("--help")), Request::Help);
    assert_eq!(args::parse(&words("--check-system")), Request::CheckSystem);
    assert_eq!(args::parse(&words("--test-memory 5")), Request::TestMemory);
    assert_eq!(args::parse(&[]), Request::Run(Invocation::default()));
}

#[test]
fn files_include_others_by_name_and_by_pattern() {
    let files = [
        ("main.conf", "include conf.d/*.conf\ninclude none/*.conf\ninclude last.conf\n"),
        ("conf.d/a.conf", "port 1\n"),
        ("conf.d/b.conf", "port 2\ntimeout 9\n"),
        ("last.conf", "port 3\n"),
        ("loop.conf", "include loop.conf\n"),
    ];
    let config = start("main.conf", &files, "").unwrap();
    assert_eq!((config.port, config.timeout), (3, 9));
    assert_eq!(start("--include conf.d/a.conf --include last.conf", &files, "").unwrap().port, 3);
    assert!(complaint("loop.conf", &files).contains("nested too deep"));
    let missing = complaint("--include gone.conf", &files);
    assert!(missing.contains("Can't open config file 'gone.conf'"), "{missing}");
    assert!(complaint("gone.conf", &files).starts_with("Fatal error, can't open config file 'gone.conf': "));
}

#[test]
fn an_unknown_directive_names_line_and_file() {
    let files = [("a.conf", "# hello\ninclude b.conf\n"), ("b.conf", "port 1\n\nnosuch \"1\" # x\n")];
    assert_eq!(
        complaint("a.conf", &files),
        format!(
            "\n*** FATAL CONFIG FILE ERROR (Ironkeep {}) ***\nReading the configuration file, at line 3 of b.conf\n\
             >>> 'nosuch \"1\" # x'\nBad directive or wrong number of arguments",
            env!("CARGO_PKG_VERSION")
        )
    );
    let typed = complaint("--port 1 --nosuch 1", &[]);
    assert!(typed.contains("at line 2 of the command line\n>>> 'nosuch \"1\"'"), "{typed}");
}

#[test]
fn wrong_values_are_named_in_the_words_of_redis() {
    for (line, reason) in [
        ("--port", "wrong number of arguments"),
        ("--port 1 2", "wrong number of arguments"),
        ("--port 65536", "argument must be between 0 and 65535 inclusive"),
        ("--hz abc", "argument couldn't be parsed into an integer"),
        ("--maxmemory 1x", "argument must be a memory value"),
        ("--appendonly maybe", "argument must be 'yes' or 'no'"),
        ("--appendfsync foo", "argument(s) must be one of the following: everysec, always, no"),
        ("--save 1", "Invalid save parameters"),
        ("--save 0 1", "Invalid save parameters"),
        ("--dbfilename a/b", "dbfilename can't be a path, just a filename"),
        ("--appendfilename ''", "appendfilename can't be empty"),
        ("--appendfilename \"a\\nb\"", "appendfilename can't have control characters"),
        ("--client-output-buffer-limit x 1 2 3", "Invalid client class specified in buffer limit configuration."),
    ] {
        let complaint = complaint(line, &[]);
        assert!(complaint.ends_with(&format!("\n{reason}")), "{line}: {complaint}");
    }
}

#[test]
fn open_quotes_are_an_error() {
    let complaint = start("-", &[], "port 1\nlogfile \"open\n").unwrap_err().to_string();
    assert!(complaint.contains("at line 2 of standard input"), "{complaint}");
    assert!(complaint.ends_with("Unbalanced quotes in configuration line"), "{complaint}");
}

#[test]
fn what_protects_is_refused_and_its_harmless_form_is_not() {
    for line in [
        "--user alice on nopass ~* +@all",
        "--user default off",
        "--aclfile users.acl",
        "--tls-port 6380",
        "--tls-cert-file a.crt",
        "--rename-command FLUSHALL ''",
        "--replicaof 127.0.0.1 6379",
        "--slaveof 127.0.0.1 6379",
        "--cluster-enabled yes",
        "--loadmodule a.so",
        "--min-replicas-to-write 1",
    ] {
        assert!(complaint(line, &[]).contains("is refused"), "{line}");
    }
    let harmless = "user default on nopass sanitize-payload ~* &* +@all\naclfile \"\"\ntls-port 0\nreplicaof no one\n\
                    cluster-enabled no\nloadmodule \"\"\n";
    assert_eq!(start("-", &[], harmless).unwrap().warnings(), Vec::<String>::new());
}

#[test]
fn what_is_not_built_is_warned_of_once() {
    let config = start("--socket-mark-id 4 --supervised systemd --masterauth geheim --hz 20", &[], "").unwrap();
    let warnings = config.warnings();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    for name in ["'socket-mark-id 4'", "'supervised systemd'", "'masterauth (secret)'"] {
        assert_eq!(warnings.iter().filter(|warning| warning.contains(name)).count(), 1, "{warnings:?}");
    }
}

#[test]
fn config_get_takes_patterns_and_shows_both_names() {
    let config = Config::default();
    let names = |patterns: &[&[u8]]| -> Vec<String> {
        config.get_matching(patterns).into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names(&[b"hash-max-*-entries"]), ["hash-max-listpack-entries", "hash-max-ziplist-entries"]);
    assert_eq!(names(&[b"p?rt", b"HZ", b"port"]), ["HZ", "port"]);
    assert_eq!(names(&[b"key-load*"]), Vec::<String>::new());
    assert_eq!(names(&[b"key-load-delay"]), ["key-load-delay"]);
    assert_eq!(names(&[b"include", b"user", b""]), Vec::<String>::new());
    assert_eq!(get(&config, "slaveof"), "");
}

#[test]
fn config_set_changes_all_or_nothing() {
    let mut config = Config::default();
    let changed = config.set(&[(b"HZ", b"11"), (b"save", b"5 1"), (b"timeout", b"0")], Peer::Remote).unwrap();
    assert_eq!(changed.iter().map(|changed| changed.name).collect::<Vec<_>>(), ["hz", "save"]);
    assert_eq!(changed[1].before, b"3600 1 300 100 60 10000");
    assert_eq!((config.hz, config.save.as_slice()), (11, &[SavePoint { seconds: 5, changes: 1 }][..]));
    let before = config.clone();
    for (pairs, text) in [
        (vec![("hz", "12"), ("nosuch", "1")], "Unknown option or number of arguments for CONFIG SET - 'nosuch'"),
        (
            vec![("hz", "12"), ("HZ", "13")],
            "CONFIG SET failed (possibly related to argument 'HZ') - duplicate parameter",
        ),
        (
            vec![("hz", "12"), ("daemonize", "yes")],
            "CONFIG SET failed (possibly related to argument 'daemonize') - can't set immutable config",
        ),
        (vec![("dir", "/")], "CONFIG SET failed (possibly related to argument 'dir') - can't set protected config"),
        (
            vec![("hz", "12"), ("port", "x")],
            "CONFIG SET failed (possibly related to argument 'port') - argument couldn't be parsed into an integer",
        ),
        (vec![("user", "default off")], "Unknown option or number of arguments for CONFIG SET - 'user'"),
    ] {
        let pairs: Vec<(&[u8], &[u8])> =
            pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        assert_eq!(config.set(&pairs, Peer::Local).unwrap_err().to_string(), text);
        assert_eq!(config, before);
    }
    assert!(config.set(&[(b"tls-port", b"1")], Peer::Local).unwrap_err().to_string().contains("is refused"));
}

#[test]
fn protected_parameters_open_to_local_peers_where_allowed() {
    let mut config = start("--enable-protected-configs local", &[], "").unwrap();
    assert!(config.set(&[(b"dbfilename", b"x.rdb")], Peer::Remote).is_err());
    config.set(&[(b"dbfilename", b"x.rdb")], Peer::Local).unwrap();
    assert_eq!(config.dbfilename, "x.rdb");
}

#[test]
fn any_bytes_are_a_configuration_or_an_error() {
    let mut rng = fastrand::Rng::with_seed(7);
    let stock = STOCK[1].as_bytes();
    for _ in 0..300 {
        let mut text = stock.to_vec();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..text.len());
            text[at] = rng.u8(..);
        }
        text.truncate(rng.usize(..=text.len()));
        let text = String::from_utf8_lossy(&text).into_owned();
        let _ = start("-", &[], &text);
    }
}
