//! Which events a command's effect is: what [keyspace notifications](crate::engine::notify) tell.
//!
//! They follow from what the log gets, as that says what happened to which key; only a few commands are known by another
//! name than the operation that they are logged as. That a key is new, or gone, shows by looking before and after.

use crate::engine::Engine;
use smallvec::SmallVec;

use super::args::is;
use super::spec::{
    CAT_BITMAP, CAT_GEO, CAT_HASH, CAT_HYPERLOGLOG, CAT_LIST, CAT_SET, CAT_SORTEDSET, CAT_STREAM, CAT_STRING, READONLY,
};
use super::{Command, table};

/// An operation of the log, and its database.
pub(super) type Operation = (usize, Vec<Vec<u8>>);

/// The keys of a command, as they were before it ran.
pub(super) struct Before {
    db: usize,
    keys: SmallVec<[(Vec<u8>, bool); 4]>,
    misses: u64,
}

impl Before {
    pub(super) fn of(engine: &mut Engine, db: usize, command: &Command, arguments: &[&[u8]]) -> Self {
        let positions = command.key_positions(arguments);
        let keys = positions.iter().map(|&at| arguments[at]);
        let keys = keys.map(|key| (key.to_vec(), has(engine, db, key))).collect();
        Self { db, keys, misses: engine.stats.keyspace_misses }
    }

    fn has(&self, db: usize, key: &[u8]) -> bool {
        db == self.db && self.keys.iter().any(|(known, existed)| *existed && known == key)
    }

    /// Tells of what the command has looked for in vain, then of what each operation did, then of what is gone.
    pub(super) fn tell(&self, engine: &mut Engine, command: &Command, operations: &[Operation]) {
        let looks_only = ["encoding", "freq", "idletime", "refcount", "usage"].contains(&command.name);
        // What a result is stored in is not looked for.
        let targets = usize::from(command.name.ends_with("store"));
        let has_missed =
            targets > 0 || !looks_only && (engine.stats.keyspace_misses > self.misses || command.is(READONLY));
        for (key, existed) in self.keys.iter().skip(targets) {
            if has_missed && !existed && !has(engine, self.db, key) {
                engine.tell_event(b'm', "keymiss", self.db, key);
            }
        }
        let mut told = Told { before: self, new: Vec::new(), gone: Vec::new() };
        for (db, operation) in operations {
            told.tell(engine, command, *db, &operation.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
        let is_gone = |key: &[u8]| !operations.is_empty() && !told.gone.iter().any(|known| known == key);
        for (key, existed) in &self.keys {
            if *existed && is_gone(key) && !has(engine, self.db, key) {
                engine.tell_event(b'g', "del", self.db, key);
            }
        }
    }
}

fn has(engine: &mut Engine, db: usize, key: &[u8]) -> bool {
    engine.keyspace.db(db).contains(key)
}

/// What one command has told so far.
struct Told<'a> {
    before: &'a Before,
    /// Keys of which it is told that they are new.
    new: Vec<(usize, Vec<u8>)>,
    /// Keys of which it is told that they are gone, or away.
    gone: Vec<Vec<u8>>,
}

impl Told<'_> {
    fn tell(&mut self, engine: &mut Engine, command: &Command, db: usize, operation: &[&[u8]]) {
        let verb = String::from_utf8_lossy(operation[0]).to_ascii_lowercase();
        let Some(row) = table::find(verb.as_bytes()) else { return };
        let key = |at: usize| operation.get(at).copied().unwrap_or_default();
        match verb.as_str() {
            "del" | "unlink" if command.name == "spop" => self.event(engine, b's', "spop", (db, key(1))),
            "del" | "unlink" => operation[1..].iter().for_each(|key| self.removed(engine, db, key)),
            // What it added it tells itself.
            "set" if command.name == "increx" => {
                if expires(&operation[3..]) {
                    self.event(engine, b'g', "expire", (db, key(1)));
                }
            }
            "mset" | "msetnx" => {
                operation[1..].iter().step_by(2).for_each(|key| self.event(engine, b'$', "set", (db, key)));
            }
            "rename" | "renamenx" => {
                self.appeared(engine, db, key(2));
                self.event(engine, b'g', "rename_from", (db, key(1)));
                self.event(engine, b'g', "rename_to", (db, key(2)));
                self.gone.push(key(1).to_vec());
            }
            "copy" => {
                let at = operation.iter().skip(3).position(|word| is(word, "DB"));
                let target = at.map_or(db, |at| number(key(at + 4)));
                self.appeared(engine, target, key(2));
                self.event(engine, b'g', "copy_to", (target, key(2)));
            }
            "move" => {
                self.appeared(engine, number(key(2)), key(1));
                self.event(engine, b'g', "move_from", (db, key(1)));
                self.event(engine, b'g', "move_to", (number(key(2)), key(1)));
                self.gone.push(key(1).to_vec());
            }
            "restore" | "restore-asking" => {
                self.appeared(engine, db, key(1));
                self.event(engine, b'g', "restore", (db, key(1)));
            }
            "lmove" => {
                let end = |at: usize| if is(key(at), "LEFT") { 'l' } else { 'r' };
                self.event(engine, b'l', &format!("{}push", end(4)), (db, key(2)));
                self.event(engine, b'l', &format!("{}pop", end(3)), (db, key(1)));
            }
            "rpoplpush" => {
                self.event(engine, b'l', "lpush", (db, key(2)));
                self.event(engine, b'l', "rpop", (db, key(1)));
            }
            "smove" => {
                self.event(engine, b's', "srem", (db, key(1)));
                self.event(engine, b's', "sadd", (db, key(2)));
            }
            "xgroup" => {
                let what = String::from_utf8_lossy(key(1)).to_ascii_lowercase();
                // What a reader logs of its group's position is no event.
                if what != "setid" || command.name == "setid" {
                    self.event(engine, b't', &format!("xgroup-{what}"), (db, key(2)));
                }
            }
            _ => self.plain(engine, command, (row, db), operation),
        }
    }

    /// What is told under one name of one key.
    fn plain(&mut self, engine: &mut Engine, command: &Command, (row, db): (&Command, usize), operation: &[&[u8]]) {
        let positions = row.key_positions(operation);
        let is_sort = matches!(row.name, "sort" | "georadius" | "georadiusbymember");
        let Some(&at) = (if is_sort { positions.last() } else { positions.first() }) else { return };
        let key = operation[at];
        let name =
            if matches!(command.name, "spop" | "incrbyfloat" | "hincrbyfloat") { command.name } else { row.name };
        let is_increment = row.name == "zadd" && operation[2..].iter().any(|word| is(word, "INCR"));
        let Some(event) = (if is_increment { Some("zincr") } else { event_of(name) }) else { return };
        // A result that is empty is no new value: its key is gone.
        let is_stored = event.ends_with("store") || row.name == "bitop";
        if !is_stored || has(engine, db, key) {
            self.event(engine, class_of(event, row), event, (db, key));
        }
        match row.name {
            "setex" | "psetex" => self.event(engine, b'g', "expire", (db, key)),
            "set" if expires(&operation[3..]) => self.event(engine, b'g', "expire", (db, key)),
            "hsetex" if expires(&operation[2..operation.len().min(4)]) => {
                self.event(engine, b'h', "hexpire", (db, key));
            }
            _ => {}
        }
    }

    fn event(&mut self, engine: &mut Engine, class: u8, event: &str, (db, key): (usize, &[u8])) {
        if !self.before.has(db, key) {
            self.appeared(engine, db, key);
        }
        engine.tell_event(class, event, db, key);
    }

    /// Tells once that a key is new.
    fn appeared(&mut self, engine: &mut Engine, db: usize, key: &[u8]) {
        let is_told = self.new.iter().any(|(known_db, known)| *known_db == db && known == key);
        if !is_told && (has(engine, db, key) || !self.before.has(db, key)) {
            self.new.push((db, key.to_vec()));
            engine.tell_event(b'n', "new", db, key);
        }
    }

    fn removed(&mut self, engine: &mut Engine, db: usize, key: &[u8]) {
        if self.before.has(db, key) && !self.gone.iter().any(|known| known == key) {
            self.gone.push(key.to_vec());
            engine.tell_event(b'g', "del", db, key);
        }
    }
}

/// Whether a time is among these options.
fn expires(options: &[&[u8]]) -> bool {
    options.iter().any(|word| ["EX", "PX", "EXAT", "PXAT"].iter().any(|option| is(word, option)))
}

/// A database's number that was checked when the command ran.
fn number(text: &[u8]) -> usize {
    let number = crate::codec::number::parse_u64(text).and_then(|number| usize::try_from(number).ok());
    number.unwrap_or_default()
}

/// The event that a command of this name is, where it is one.
fn event_of(name: &'static str) -> Option<&'static str> {
    Some(match name {
        "incr" | "decr" | "decrby" => "incrby",
        "setex" | "psetex" | "setnx" | "getset" | "bitop" | "msetex" => "set",
        "getdel" | "delifeq" => "del",
        "bitfield" => "setbit",
        "pfmerge" => "pfadd",
        "pexpireat" => "expire",
        "lpushx" => "lpush",
        "rpushx" => "rpush",
        "hsetnx" | "hmset" | "hsetex" => "hset",
        "hpexpireat" => "hexpire",
        "zincrby" => "zincr",
        "geoadd" => "zadd",
        "georadius" | "georadiusbymember" => "georadiusstore",
        "sort" => "sortstore",
        "pfcount" | "xack" | "xclaim" | "xautoclaim" | "xreadgroup" | "flushall" | "flushdb" | "swapdb" => return None,
        name => name,
    })
}

/// The letter of an event's class: mostly that of the type that the command works on.
fn class_of(event: &str, row: &Command) -> u8 {
    if event == "sortstore" {
        return b'l';
    }
    let classes = [
        (CAT_STRING | CAT_BITMAP | CAT_HYPERLOGLOG, b'$'),
        (CAT_LIST, b'l'),
        (CAT_SET, b's'),
        (CAT_HASH, b'h'),
        (CAT_SORTEDSET | CAT_GEO, b'z'),
        (CAT_STREAM, b't'),
    ];
    let own = classes.iter().find(|(category, _)| row.acl & category != 0);
    own.map_or(b'g', |(_, letter)| *letter)
}
