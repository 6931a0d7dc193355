//! Keyspace notifications: messages that tell what became of keys.
//!
//! ```text
//! __keyspace@0__:key     event       with K
//! __keyevent@0__:event   key         with E
//! ```
//!
//! Each event is of a class, which `notify-keyspace-events` names by a letter: `$` strings, `l` lists, `s` sets, `h` hashes,
//! `z` sorted sets, `t` streams, `g` any type, `x` expired, `e` evicted, `n` new keys, `m` misses; `A` is all but the last two.

use super::Engine;
use super::params::field::Field;

/// The letters that `A` stands for.
pub const ALL: &[u8] = b"g$lshzxetd";

/// The classes that are wanted, and on which kinds of channels: letters of `notify-keyspace-events`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventClasses(Vec<u8>);

impl EventClasses {
    fn has(&self, letter: u8) -> bool {
        self.0.contains(&letter)
    }
}

impl Field for EventClasses {
    fn text(&self) -> Vec<u8> {
        let has_all = ALL.iter().all(|letter| self.has(*letter));
        // As in Redis, `n` is not shown beside `A`.
        let is_shown = |letter: &&u8| !has_all || (!ALL.contains(letter) && **letter != b'n');
        has_all.then_some(b'A').into_iter().chain(self.0.iter().filter(is_shown).copied()).collect()
    }

    fn store(&mut self, canonical: &[u8]) -> Result<(), String> {
        self.0.clear();
        for letter in canonical {
            self.0.extend_from_slice(if *letter == b'A' { ALL } else { std::slice::from_ref(letter) });
        }
        Ok(())
    }
}

impl Engine {
    /// Whether anybody is to hear of any event: the rare case.
    pub fn tells_events(&self) -> bool {
        !self.config.notify_keyspace_events.0.is_empty() && !self.pubsub.is_idle()
    }

    /// Tells of an event, if its class is wanted.
    pub fn tell_event(&mut self, class: u8, event: &str, db: usize, key: &[u8]) {
        let wanted = &self.config.notify_keyspace_events;
        if !self.tells_events() || !wanted.has(class) {
            return;
        }
        if wanted.has(b'K') {
            let channel = [format!("__keyspace@{db}__:").as_bytes(), key].concat();
            self.pubsub.publish(&mut self.mail, false, &channel, event.as_bytes());
        }
        if wanted.has(b'E') {
            let channel = format!("__keyevent@{db}__:{event}");
            self.pubsub.publish(&mut self.mail, false, channel.as_bytes(), key);
        }
    }
}
