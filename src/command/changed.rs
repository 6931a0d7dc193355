//! Which of its keys a command has changed: for who watches one, waits for it, or has it cached.
//!
//! By the row's key positions some are only read: what a result is made of. Of others the first that fits is changed,
//! which shows by how much they held before.

use smallvec::SmallVec;

use crate::engine::Engine;
use crate::keyspace::View;
use crate::value::Object;

use super::Command;

/// Which of a command's keys it may change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    All,
    /// What the rest becomes is stored in the first.
    First,
    /// What the first becomes is stored in another, if one is named.
    Others,
    /// The command has told of it itself.
    None,
    /// Those that hold more or less than before.
    Resized,
    /// Groups and counters of a stream: by that it is no other for who watches it, unless it was made. Who waits is told.
    Groups,
}

fn reach(command: &Command) -> Reach {
    match command.name {
        "bitop" | "geosearchstore" | "pfmerge" | "sdiffstore" | "sinterstore" | "sunionstore" | "zdiffstore"
        | "zinterstore" | "zrangestore" | "zunionstore" => Reach::First,
        "georadius" | "georadiusbymember" | "sort" => Reach::Others,
        "copy" => Reach::None,
        "blmpop" | "blpop" | "brpop" | "bzmpop" | "bzpopmax" | "bzpopmin" | "del" | "lmpop" | "smove" | "unlink"
        | "zmpop" => Reach::Resized,
        "xack" | "xautoclaim" | "xclaim" | "xreadgroup" | "xsetid" => Reach::Groups,
        // Of XGROUP.
        "create" | "createconsumer" | "delconsumer" | "destroy" | "setid" => Reach::Groups,
        _ => Reach::All,
    }
}

/// What a command's keys held before it ran.
pub(super) struct Before {
    reach: Reach,
    /// None for a key that is not there; only for those whose change shows by it.
    lengths: SmallVec<[Option<usize>; 4]>,
}

impl Before {
    /// `None` where nobody is to know.
    #[inline]
    pub(super) fn of(engine: &mut Engine, db: usize, command: &Command, arguments: &[&[u8]]) -> Option<Self> {
        if engine.watches.is_idle() && engine.waiters.is_idle() && engine.tracking.is_idle() {
            return None;
        }
        let reach = reach(command);
        let mut lengths = SmallVec::new();
        if matches!(reach, Reach::Resized | Reach::Groups) {
            let positions = command.key_positions(arguments);
            lengths.extend(positions.into_iter().map(|position| length(engine, db, arguments[position])));
        }
        Some(Self { reach, lengths })
    }

    /// Tells of the keys that a command which has changed something has changed.
    pub(super) fn tell(self, engine: &mut Engine, db: usize, command: &Command, arguments: &[&[u8]]) {
        let positions = command.key_positions(arguments);
        for (at, position) in positions.into_iter().enumerate() {
            let key = arguments[position];
            let is_changed = match self.reach {
                Reach::All => true,
                Reach::First => at == 0,
                Reach::Others => at > 0,
                Reach::None => false,
                Reach::Resized | Reach::Groups => length(engine, db, key) != self.lengths[at],
            };
            if is_changed {
                engine.key_changed(db, key);
            } else if self.reach == Reach::Groups {
                engine.waiters.touch(db, key);
            }
        }
    }
}

/// How much the key holds; of what is only removed as a whole it does not matter.
fn length(engine: &mut Engine, db: usize, key: &[u8]) -> Option<usize> {
    let view = engine.keyspace.db(db).into_value(key)?;
    Some(match view {
        View::Object(Object::List(list)) => list.len(),
        View::Object(Object::Set(set)) => set.len(),
        View::Object(Object::Zset(zset)) => zset.len(),
        _ => 1,
    })
}

#[cfg(test)]
mod tests {
    use super::super::console::Console;

    /// Symptom: EXEC failed though only a key had changed for which the watched one was read.
    #[test]
    fn exec_fails_for_keys_that_have_changed_and_for_no_other() {
        for (command, is_failed) in [
            ("zunionstore other 2 watched z", false),
            ("zunionstore watched 2 z z", true),
            ("sort watched by nosuch store other", false),
            ("copy watched other", false),
            ("copy z watched replace", true),
            ("del other z", false),
            ("del other watched", true),
            ("zmpop 2 z watched min", false),
            ("zmpop 2 nosuch watched min", true),
            ("rename z other", false),
            ("rename z watched", true),
            ("flushdb", true),
            ("swapdb 0 1", true),
            ("swapdb 1 2", false),
            ("swapdb 0 0", false),
        ] {
            let mut console = Console::new();
            console.script("zadd watched 1 a 2 b => :2\n zadd z 1 a => :1\n set other 1 => +OK\n watch watched => +OK");
            console.run(command);
            console.script("multi => +OK\n ping => +QUEUED");
            assert_eq!(console.run("exec"), if is_failed { "_" } else { "*1 +PONG" }, "{command}");
        }
    }

    /// Symptom: EXEC failed where Redis 8.0 executes, behind what touches groups alone.
    #[test]
    fn who_watches_a_stream_hears_nothing_of_its_groups() {
        for (command, is_failed) in [
            ("xgroup create watched other 0", false),
            ("xgroup create nosuch g 0 mkstream", true),
            ("xgroup setid watched g 0", false),
            ("xgroup createconsumer watched g d", false),
            ("xgroup delconsumer watched g c", false),
            ("xgroup destroy watched g", false),
            ("xreadgroup group g c streams watched >", false),
            ("xack watched g 1-1", false),
            ("xclaim watched g d 0 1-1", false),
            ("xautoclaim watched g d 0 0", false),
            ("xsetid watched 9-9", false),
            ("xadd watched 3-1 a 1", true),
            ("xdel watched 2-1", true),
        ] {
            let mut console = Console::new();
            for before in [
                "xadd watched 1-1 a 1",
                "xadd watched 2-1 a 1",
                "xgroup create watched g 0",
                "xreadgroup group g c count 1 streams watched >",
            ] {
                console.run(before);
            }
            console.script("watch watched nosuch => +OK");
            let reply = console.run(command);
            assert!(!reply.starts_with('-'), "{command}: {reply}");
            console.script("multi => +OK\n ping => +QUEUED");
            assert_eq!(console.run("exec"), if is_failed { "_" } else { "*1 +PONG" }, "{command}");
        }
    }

    #[test]
    fn a_trim_that_leaves_all_is_a_change_as_in_redis() {
        let mut console = Console::new();
        console.script("rpush l a b => :2\n watch l => +OK\n ltrim l 0 -1 => +OK\n multi => +OK\n exec => _");
    }

    #[test]
    fn a_flush_is_no_change_of_a_key_that_is_not_there() {
        let mut console = Console::new();
        console.script("set a 1 => +OK\n watch nosuch => +OK\n flushall => +OK\n multi => +OK\n exec => *0");
    }
}
