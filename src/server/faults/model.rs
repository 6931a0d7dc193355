//! What a server should hold, in collections of the standard library: a second opinion on what commands do, and the way to
//! read a server's own.
//!
//! A key's first letter tells its type, so that no command meets the wrong one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::command;
use crate::engine::{Engine, Session};
use crate::resp::answer::{Answer, Decoder};

/// Databases that the histories use.
pub(super) const DATABASES: usize = 3;

#[derive(Debug, Clone, PartialEq)]
enum Value {
    /// Keys with `s`, and with `n` for numbers.
    String(String),
    /// `l`
    List(VecDeque<String>),
    /// `t`
    Set(BTreeSet<String>),
    /// `h`
    Hash(BTreeMap<String, String>),
    /// `z`; the scores are integers.
    Sorted(BTreeMap<String, i64>),
    /// `x`: the ID of each entry, and its one value.
    Stream(BTreeMap<(i64, i64), String>),
}

impl Value {
    fn is_gone(&self) -> bool {
        match self {
            Value::List(list) => list.is_empty(),
            Value::Set(set) => set.is_empty(),
            Value::Hash(hash) => hash.is_empty(),
            Value::Sorted(sorted) => sorted.is_empty(),
            Value::String(_) | Value::Stream(_) => false,
        }
    }
}

/// A value, and the Unix ms at which it goes.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    value: Value,
    expires: Option<i64>,
}

/// All databases.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Model {
    databases: [BTreeMap<String, Entry>; DATABASES],
}

fn int(word: &str) -> i64 {
    word.parse().unwrap()
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.bytes().unwrap().to_vec()).unwrap()
}

/// The collection at a key, new if there is none.
macro_rules! at {
    ($self:ident, $db:expr, $key:expr, $kind:ident) => {{
        let fresh = || Entry { value: Value::$kind(Default::default()), expires: None };
        match &mut $self.databases[$db].entry($key.to_string()).or_insert_with(fresh).value {
            Value::$kind(value) => value,
            other => panic!("{} is {other:?}", $key),
        }
    }};
}

impl Model {
    /// Does what a command does that was sent to database `db`; where that is for the server to choose, `answer` tells.
    pub(super) fn apply(&mut self, db: usize, words: &[&str], answer: Option<&Answer>) {
        match *words {
            ["SET", key, value] => self.set(db, key, value, None),
            ["APPEND", key, value] => at!(self, db, key, String).push_str(value),
            ["INCRBY", key, by] => {
                let number = at!(self, db, key, String);
                *number = (number.parse().unwrap_or(0) + int(by)).to_string();
            }
            ["MSET", one, value, other, more] => {
                self.set(db, one, value, None);
                self.set(db, other, more, None);
            }
            ["RPUSH", key, value] => at!(self, db, key, List).push_back(value.to_owned()),
            ["LPUSH", key, value] => at!(self, db, key, List).push_front(value.to_owned()),
            ["LPOP", key] => drop(at!(self, db, key, List).pop_front()),
            ["LTRIM", key, "0", last] => at!(self, db, key, List).truncate(int(last) as usize + 1),
            ["LMOVE", from, to, "LEFT", "RIGHT"] => {
                let moved = at!(self, db, from, List).pop_front();
                at!(self, db, to, List).extend(moved);
            }
            ["SADD", key, member] => drop(at!(self, db, key, Set).insert(member.to_owned())),
            ["SREM", key, member] => drop(at!(self, db, key, Set).remove(member)),
            ["SPOP", key] => {
                let member = answer.filter(|answer| **answer != Answer::Null).map(text);
                at!(self, db, key, Set).retain(|known| Some(known) != member.as_ref());
            }
            ["SUNIONSTORE", to, one, other] => {
                let one = at!(self, db, one, Set).clone();
                let union = one.union(at!(self, db, other, Set)).cloned().collect();
                self.databases[db].insert(to.to_owned(), Entry { value: Value::Set(union), expires: None });
            }
            ["HSET", key, field, value] => drop(at!(self, db, key, Hash).insert(field.to_owned(), value.to_owned())),
            ["HDEL", key, field] => drop(at!(self, db, key, Hash).remove(field)),
            ["ZADD", key, score, member] => drop(at!(self, db, key, Sorted).insert(member.to_owned(), int(score))),
            ["ZINCRBY", key, by, member] => {
                *at!(self, db, key, Sorted).entry(member.to_owned()).or_default() += int(by);
            }
            ["ZREMRANGEBYSCORE", key, from, to] => {
                at!(self, db, key, Sorted).retain(|_, score| !(int(from)..=int(to)).contains(score));
            }
            ["XADD", key, "MAXLEN", most, "*", "f", value] => {
                let stream = at!(self, db, key, Stream);
                stream.insert(stream_id(&text(answer.unwrap())), value.to_owned());
                while stream.len() > int(most) as usize {
                    stream.pop_first();
                }
            }
            _ => self.apply_to_keys(db, words),
        }
        for database in &mut self.databases {
            database.retain(|_, entry| !entry.value.is_gone());
        }
    }

    fn apply_to_keys(&mut self, db: usize, words: &[&str]) {
        match *words {
            ["DEL", one, other] => [one, other].into_iter().for_each(|key| drop(self.databases[db].remove(key))),
            ["GETDEL", key] => drop(self.databases[db].remove(key)),
            ["SET", key, value, "PXAT", at] => self.set(db, key, value, Some(int(at))),
            ["PEXPIREAT", key, at] => {
                self.databases[db].entry(key.to_owned()).and_modify(|entry| entry.expires = Some(int(at)));
            }
            ["PERSIST", key] => {
                self.databases[db].entry(key.to_owned()).and_modify(|entry| entry.expires = None);
            }
            ["COPY", from, to, "DB", other, "REPLACE"] => {
                if let Some(entry) = self.databases[db].get(from).cloned() {
                    self.databases[int(other) as usize].insert(to.to_owned(), entry);
                }
            }
            ["MOVE", key, other] => {
                let other = int(other) as usize;
                if !self.databases[other].contains_key(key)
                    && let Some(entry) = self.databases[db].remove(key)
                {
                    self.databases[other].insert(key.to_owned(), entry);
                }
            }
            ["SWAPDB", one, other] => self.databases.swap(int(one) as usize, int(other) as usize),
            ["FLUSHDB"] => self.databases[db].clear(),
            ["FLUSHALL"] => self.databases = Default::default(),
            _ => panic!("the model does not know {words:?}"),
        }
    }

    fn set(&mut self, db: usize, key: &str, value: &str, expires: Option<i64>) {
        self.databases[db].insert(key.to_owned(), Entry { value: Value::String(value.to_owned()), expires });
    }

    /// Forgets the keys that are not wanted.
    pub(super) fn retain(&mut self, is_wanted: impl Fn(&str) -> bool) {
        self.databases.iter_mut().for_each(|keys| keys.retain(|key, _| is_wanted(key)));
    }

    /// What an engine holds.
    pub(super) fn read(engine: &mut Engine) -> Self {
        let mut model = Self::default();
        let mut session = Session::replay();
        for db in 0..DATABASES {
            let mut ask = |words: &[&str]| ask(engine, &mut session, words);
            ask(&["SELECT", &db.to_string()]);
            for key in strings(ask(&["KEYS", "*"])) {
                let value = match key.as_bytes()[0] {
                    b's' | b'n' => Value::String(text(&ask(&["GET", &key]))),
                    b'l' => Value::List(strings(ask(&["LRANGE", &key, "0", "-1"])).collect()),
                    b't' => Value::Set(strings(ask(&["SMEMBERS", &key])).collect()),
                    b'h' => Value::Hash(pairs(strings(ask(&["HGETALL", &key])))),
                    b'z' => {
                        let pairs = pairs(strings(ask(&["ZRANGE", &key, "0", "-1", "WITHSCORES"])));
                        Value::Sorted(pairs.into_iter().map(|(member, score)| (member, int(&score))).collect())
                    }
                    _ => Value::Stream(array(ask(&["XRANGE", &key, "-", "+"])).map(stream_entry).collect()),
                };
                let expires = match ask(&["PEXPIRETIME", &key]) {
                    Answer::Int(at @ 0..) => Some(at),
                    _ => None,
                };
                model.databases[db].insert(key, Entry { value, expires });
            }
        }
        model
    }
}

fn ask(engine: &mut Engine, session: &mut Session, words: &[&str]) -> Answer {
    let mut out = Vec::new();
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    command::execute(engine, session, &words, &mut out);
    Decoder::new().decode(&out).unwrap().1.unwrap()
}

fn array(answer: Answer) -> impl Iterator<Item = Answer> {
    match answer {
        Answer::Array(items) => items.into_iter(),
        other => panic!("{other:?} is no array"),
    }
}

fn strings(answer: Answer) -> impl Iterator<Item = String> {
    array(answer).map(|item| text(&item))
}

fn pairs(mut words: impl Iterator<Item = String>) -> BTreeMap<String, String> {
    std::iter::from_fn(|| Some((words.next()?, words.next()?))).collect()
}

fn stream_entry(entry: Answer) -> ((i64, i64), String) {
    let parts: Vec<Answer> = array(entry).collect();
    let value = strings(parts[1].clone()).nth(1).unwrap();
    (stream_id(&text(&parts[0])), value)
}

fn stream_id(text: &str) -> (i64, i64) {
    let (milliseconds, sequence) = text.split_once('-').unwrap();
    (int(milliseconds), int(sequence))
}
