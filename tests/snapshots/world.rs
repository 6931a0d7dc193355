//! A keyspace with every type in it, small and large, and random commands on it, through the server's own path.

use std::collections::BTreeMap;

use ironkeep::command::execute;
use ironkeep::engine::clock::Clock;
use ironkeep::engine::params::Config;
use ironkeep::engine::{Engine, Session};
use ironkeep::keyspace::{SnapshotEntry, View};
use ironkeep::value::Object;
use ironkeep::value::stream::StreamId;

/// What databases hold, as plain bytes that share nothing: by database and key the expiry, then every element.
pub type Contents = BTreeMap<(usize, Vec<u8>), (Option<i64>, Vec<Vec<u8>>)>;

/// Elements of the large collection of each type: enough for chunks beside chunks, and trees of two levels.
pub const LARGE: usize = 2_000;
/// Databases that commands go to.
const DATABASES: usize = 3;
const TYPES: [&str; 6] = ["string", "list", "hash", "set", "zset", "stream"];

pub struct World {
    pub engine: Engine,
    session: Session,
    random: fastrand::Rng,
    next_stream_id: u64,
    /// Commands that ran.
    pub commands: usize,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let engine = Engine::new(Config::default(), Clock::fixed(1_800_000_000_000), fastrand::Rng::with_seed(seed));
        let session = Session::new(1, String::new(), 0);
        let mut world =
            Self { engine, session, random: fastrand::Rng::with_seed(seed), next_stream_id: 1, commands: 0 };
        for db in 0..2 {
            world.run(&format!("select {db}"));
            world.fill();
        }
        world
    }

    /// One key of each type that is large, and some that are small.
    fn fill(&mut self) {
        for n in 0..LARGE {
            let value = "v".repeat(n % 40);
            self.run(&format!("rpush list:0 {n}:{value}"));
            self.run(&format!("hset hash:0 f{n} {value}."));
            self.run(&format!("sadd set:0 m{n}"));
            self.run(&format!("zadd zset:0 {} m{n}", n % 700));
            self.run(&format!("xadd stream:0 1-{} field {value}.", n + 1));
            self.run(&format!("set string:{n} {value}"));
        }
        self.run("xgroup create stream:0 group 0");
        self.run("xreadgroup group group consumer count 1500 streams stream:0 >");
        self.run(&format!("set string:0 {}", "0123456789".repeat(3_000)));
        for n in 1..6 {
            self.run(&format!("rpush list:{n} a b c"));
            self.run(&format!("hset hash:{n} f1 a f2 b"));
            self.run(&format!("sadd set:{n} 1 2 3"));
            self.run(&format!("zadd zset:{n} 1 a 2 b"));
            self.run(&format!("xadd stream:{n} 1-1 field value"));
        }
    }

    /// Runs a command; whether it replied an error.
    pub fn run(&mut self, line: &str) -> bool {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let mut out = Vec::new();
        execute(&mut self.engine, &mut self.session, &words, &mut out);
        // Nobody writes the log here, and nothing waits for it.
        self.commands += 1;
        out.first() == Some(&b'-')
    }

    /// Runs a random command of any type, which now and then meets a key of another.
    pub fn run_random(&mut self) {
        let db = self.random.usize(..DATABASES);
        self.run(&format!("select {db}"));
        let name = TYPES[self.random.usize(..TYPES.len())];
        let line = match self.random.u8(..100) {
            0..70 => self.command_of(name),
            70..97 => self.command_of_any(),
            97..99 => format!("swapdb {} {}", self.random.usize(..DATABASES), self.random.usize(..DATABASES)),
            _ if self.random.u8(..8) == 0 => "flushdb".to_owned(),
            _ => "save-nothing".to_owned(), // an error, which changes nothing
        };
        self.run(&line);
    }

    fn key(&mut self, name: &str) -> String {
        // The large ones most of the time, and now and then another type's.
        let name = if self.random.u8(..50) == 0 { TYPES[self.random.usize(..TYPES.len())] } else { name };
        let number = if self.random.bool() { 0 } else { self.random.usize(..6) };
        format!("{name}:{number}")
    }

    fn command_of_any(&mut self) -> String {
        let name = TYPES[self.random.usize(..TYPES.len())];
        let (key, other) = (self.key(name), self.key(name));
        let far = self.random.u32(..);
        match self.random.u8(..8) {
            0 => format!("expire {key} {far}"),
            1 => format!("persist {key}"),
            2 => format!("rename {key} {other}"),
            3 => format!("copy {key} {other} replace"),
            4 => format!("move {key} {}", self.random.usize(..DATABASES)),
            5 if self.random.u8(..4) == 0 => format!("del {key}"),
            6 if self.random.u8(..4) == 0 => format!("pexpireat {key} 1"), // which is past
            _ => format!("touch {key}"),
        }
    }

    fn command_of(&mut self, name: &str) -> String {
        let key = self.key(name);
        let (at, other) = (self.random.usize(..LARGE), self.random.usize(..LARGE));
        let choice = self.random.u8(..6);
        match name {
            "string" => match choice {
                0 => format!("set string:{at} {other} keepttl"),
                1 => format!("append {key} more"),
                2 => format!("setrange {key} {at} XYZ"),
                3 => format!("setbit {key} {at} {}", other % 2),
                _ => format!("incr string:{at}"),
            },
            "list" => match choice {
                0 => format!("lpush {key} {other}"),
                1 => format!("rpop {key}"),
                2 => format!("linsert {key} before 0:v in{other}"),
                3 if other.is_multiple_of(20) => format!("ltrim {key} 3 -4"),
                4 => format!("lrem {key} 1 {at}"),
                _ => format!("lset {key} {at} new{other}"),
            },
            "hash" => match choice {
                0 => format!("hdel {key} f{at}"),
                1 => format!("hpexpire {key} {} fields 1 f{at}", 1 + self.random.u32(..)),
                2 => format!("hincrby {key} n{at} 3"),
                _ => format!("hset {key} f{at} new{other}"),
            },
            "set" => match choice {
                0..3 => format!("srem {key} m{at}"),
                3 => format!("smove {key} set:5 m{at}"),
                _ => format!("sadd {key} m{at} {other}"),
            },
            "zset" => match choice {
                0 => format!("zrem {key} m{at}"),
                1 => format!("zremrangebyrank {key} {at} {at}"),
                _ => format!("zadd {key} {other}.5 m{at}"),
            },
            _ => self.command_of_stream(&key, at, choice),
        }
    }

    fn command_of_stream(&mut self, key: &str, at: usize, choice: u8) -> String {
        self.next_stream_id += 1;
        match choice {
            0 => format!("xdel {key} 1-{at}"),
            1 => format!("xack {key} group 1-{at}"),
            2 => format!("xreadgroup group group c{} count 3 streams {key} >", at % 3),
            3 => format!("xclaim {key} group c{} 0 1-{at}", at % 3),
            4 if at.is_multiple_of(50) => format!("xtrim {key} maxlen {}", LARGE - 200),
            _ => format!("xadd {key} {}-1 field {at}", 10 + self.next_stream_id),
        }
    }

    /// What is there now.
    pub fn contents(&mut self) -> Contents {
        let mut contents = Contents::new();
        for index in 0..self.engine.keyspace.db_count() {
            self.engine.keyspace.db(index).visit(&mut |entry| add(&mut contents, index, &entry, &mut || {}));
        }
        contents
    }
}

/// Adds a key, element by element, calling `step` before each.
pub fn add(contents: &mut Contents, db: usize, entry: &SnapshotEntry<'_>, step: &mut dyn FnMut()) {
    let mut all = Vec::new();
    for element in elements(entry.value) {
        step();
        all.push(element);
    }
    let before = contents.insert((db, entry.key.to_vec()), (entry.expire_at_ms, all));
    assert!(before.is_none(), "{} twice", entry.key.escape_ascii());
}

/// Everything a value holds, piece by piece, read from it as the pieces are asked for.
pub fn elements<'a>(value: View<'a>) -> Box<dyn Iterator<Item = Vec<u8>> + 'a> {
    let object = match value {
        View::Object(object) => object,
        View::Compact(_) => {
            let object = value.to_object(); // small, and copied whole
            let all: Vec<_> = elements(View::Object(&object)).collect();
            return Box::new(all.into_iter());
        }
        _ => return Box::new(std::iter::once(value.string().unwrap().to_vec())),
    };
    match object {
        Object::String(_) => Box::new(std::iter::once(value.string().unwrap().to_vec())),
        Object::List(list) => Box::new(list.iter().map(|item| item.to_vec())),
        Object::Set(set) => Box::new(set.iter().map(|member| member.to_vec())),
        Object::Hash(hash) => Box::new(hash.iter().map(|(field, value, expiry)| {
            [field.to_vec(), b"=".to_vec(), value.to_vec(), format!("@{expiry:?}").into_bytes()].concat()
        })),
        Object::Zset(zset) => {
            Box::new(zset.iter().map(|(member, score)| [member.to_vec(), format!("={score:?}").into_bytes()].concat()))
        }
        Object::Stream(stream) => {
            let ends = format!("{:?} {:?} {}", stream.last_id(), stream.max_deleted_id(), stream.entries_added());
            let entries = stream.range(StreamId::MIN, StreamId::MAX).map(|entry| format!("{entry:?}").into_bytes());
            let groups = stream.groups().flat_map(|(name, group)| {
                let head = format!("{} {:?}", name.escape_ascii(), group.last_id()).into_bytes();
                let pending = group.pending_from(StreamId::MIN).map(|pending| format!("{pending:?}").into_bytes());
                let consumers = group.consumers().map(|(name, consumer)| {
                    let times = format!("{} {} {:?}", name.escape_ascii(), consumer.seen_ms(), consumer.active_ms());
                    let pending = consumer.pending_ids(StreamId::MIN).map(|id| format!(" {id:?}"));
                    std::iter::once(times).chain(pending).collect::<String>().into_bytes()
                });
                std::iter::once(head).chain(pending).chain(consumers)
            });
            Box::new(std::iter::once(ends.into_bytes()).chain(entries).chain(groups))
        }
        other => panic!("no command here makes a {}", other.type_name()),
    }
}
