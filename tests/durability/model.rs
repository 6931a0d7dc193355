//! What one client of the kill suite wrote, and what of it must be there after a death: a prefix of what it sent, in
//! order, that is no shorter than what was acknowledged. A transaction counts as one write, so it is there whole or
//! not at all.

use crate::rig::{Client, Value};

/// One write, known by a number that no other write of the client has.
#[derive(Clone, Copy, Debug)]
pub enum Write {
    Set(u64),
    Increment,
    Push(u64),
    DropList,
    /// MULTI, two keys with the same value, EXEC.
    Pair(u64),
}

/// What a client's keys hold: the numbers of the writes that filled them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    text: u64,
    count: u64,
    list: Vec<u64>,
    pair: (u64, u64),
}

impl State {
    fn apply(&mut self, write: Write) {
        match write {
            Write::Set(number) => self.text = number,
            Write::Increment => self.count += 1,
            Write::Push(number) => self.list.push(number),
            Write::DropList => self.list.clear(),
            Write::Pair(number) => self.pair = (number, number),
        }
    }
}

/// Why what is there can't be what was written.
#[derive(Debug)]
pub struct Loss {
    /// Acknowledged writes that are gone; `None` where what is there was never there.
    pub lost: Option<usize>,
    pub description: String,
}

#[derive(Clone, Debug)]
pub struct Model {
    id: usize,
    random: fastrand::Rng,
    next: u64,
    /// At the start of the round, and as it will be when all that was sent is done.
    before: State,
    ahead: State,
    sent: Vec<Write>,
    pub acknowledged: usize,
}

/// Keys that [`Model::found`] reads.
pub const KEYS_PER_CLIENT: usize = 5;
const LONGEST_LIST: usize = 400;

impl Model {
    pub fn new(id: usize, seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed.wrapping_add(id as u64)); // any number will do
        let (before, ahead) = (State::default(), State::default());
        Self { id, random, next: 1, before, ahead, sent: Vec::new(), acknowledged: 0 }
    }

    /// Decides on a write and counts it as sent.
    pub fn next(&mut self) -> Write {
        let number = self.next;
        self.next += 1;
        let write = match self.random.u8(..8) {
            0..3 => Write::Set(number),
            3..5 => Write::Increment,
            5..7 if self.ahead.list.len() < LONGEST_LIST => Write::Push(number),
            5..7 => Write::DropList,
            _ => Write::Pair(number),
        };
        self.ahead.apply(write);
        self.sent.push(write);
        write
    }

    pub fn batch_len(&mut self) -> usize {
        // Many small batches, so that a death falls often between two, and some that fill more than one write.
        if self.random.u8(..4) > 0 { self.random.usize(1..4) } else { self.random.usize(4..40) }
    }

    /// The requests of a write; as many replies will come.
    pub fn requests(&self, write: Write) -> Vec<Vec<Vec<u8>>> {
        let words = |words: &[&[u8]]| words.iter().map(|word| word.to_vec()).collect::<Vec<_>>();
        let key = |name: &str| self.key(name);
        match write {
            Write::Set(number) => vec![words(&[b"SET", &key("text"), &text(number)])],
            Write::Increment => vec![words(&[b"INCR", &key("count")])],
            Write::Push(number) => vec![words(&[b"RPUSH", &key("list"), number.to_string().as_bytes()])],
            Write::DropList => vec![words(&[b"DEL", &key("list")])],
            Write::Pair(number) => vec![
                words(&[b"MULTI"]),
                words(&[b"SET", &key("left"), number.to_string().as_bytes()]),
                words(&[b"SET", &key("right"), number.to_string().as_bytes()]),
                words(&[b"EXEC"]),
            ],
        }
    }

    /// Compares what `client` finds with what was written, and goes on from there.
    pub fn settle(&mut self, client: &mut Client) -> Result<(), Loss> {
        let found = self.found(client).map_err(|description| Loss { lost: None, description })?;
        let mut state = self.before.clone();
        let mut survived = None;
        for count in 0..=self.sent.len() {
            if state == found {
                survived = Some(count);
                // Of several that fit (a DEL of nothing changes nothing) the longest is meant.
            }
            if let Some(write) = self.sent.get(count) {
                state.apply(*write);
            }
        }
        match survived {
            Some(count) if count >= self.acknowledged => {
                self.before = found;
                self.ahead = self.before.clone();
                self.sent.clear();
                self.acknowledged = 0;
                Ok(())
            }
            Some(count) => {
                let lost = self.acknowledged - count;
                let description =
                    format!("client {}: {} writes acknowledged, the last {lost} are lost", self.id, self.acknowledged);
                Err(Loss { lost: Some(lost), description })
            }
            None => Err(Loss { lost: None, description: self.describe_nonsense(&found) }),
        }
    }

    fn describe_nonsense(&self, found: &State) -> String {
        let torn = if found.pair.0 == found.pair.1 { "" } else { "a transaction is torn; " };
        let tail: Vec<_> = self.sent.iter().rev().take(50).rev().collect();
        format!(
            "client {}: {torn}{found:?} was never there; {:?} and then {} writes, {} of them acknowledged, ending in {tail:?}",
            self.id,
            self.before,
            self.sent.len(),
            self.acknowledged
        )
    }

    fn key(&self, name: &str) -> Vec<u8> {
        format!("client:{}:{name}", self.id).into_bytes()
    }

    fn found(&self, client: &mut Client) -> Result<State, String> {
        let mut number = |name: &str| match client.call(&[b"GET".to_vec(), self.key(name)]) {
            Value::Null => Ok(0),
            value => {
                let value = value.bytes();
                let digits = value.split(|&byte| byte == b':').next().unwrap_or_default();
                let number = String::from_utf8_lossy(digits).parse().map_err(|_| format!("{name} is no number"))?;
                let is_whole = value == text(number) || value == digits;
                if is_whole { Ok(number) } else { Err(format!("client {}: the value of {name} is not whole", self.id)) }
            }
        };
        let (text, count, pair) = (number("text")?, number("count")?, (number("left")?, number("right")?));
        let list = client.call(&[b"LRANGE".to_vec(), self.key("list"), b"0".to_vec(), b"-1".to_vec()]).array();
        let list = list.into_iter().map(|item| item.text().parse().unwrap()).collect();
        Ok(State { text, count, list, pair })
    }
}

/// The value of SET: short mostly, sometimes so long that it takes several writes to the log.
fn text(number: u64) -> Vec<u8> {
    let len = match number {
        number if number % 301 == 0 => 300_000,
        number if number % 31 == 0 => 20_000,
        number => number * 7919 % 97,
    };
    let mut text = format!("{number}:").into_bytes();
    text.resize(text.len() + usize::try_from(len).unwrap(), b'x');
    text
}
