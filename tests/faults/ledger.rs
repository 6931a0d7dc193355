//! What one client wrote, one write after the other, and what it was told: after whatever has happened the server must
//! hold all that was acknowledged, whole transactions, and nothing that nobody sent.

use crate::rig::{Client, Value};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The longest that anything may take: a server that does not answer is found, not waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What became of a write, as its client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Acknowledged,
    /// Refused, or never answered: it may be there.
    Unknown,
    /// Acknowledged while the log was off: it may be there, and must be once the log is on again.
    Unlogged,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    /// `SET one:N N`, the value padded.
    Set,
    /// The same for `left:N` and `right:N`, in a transaction.
    Pair,
    Flush,
}

/// The writes in their order; a write's number is its place.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    writes: Vec<(Write, Outcome)>,
    is_unlogged: bool,
    /// Bytes behind the number in each value.
    padding: usize,
    /// What the last refused write was told.
    pub refusal: String,
}

impl Ledger {
    /// One whose values are long.
    pub fn padded(padding: usize) -> Self {
        Self { padding, ..Self::default() }
    }

    fn value(&self, number: usize) -> String {
        let mut value = number.to_string();
        value.extend(std::iter::repeat_n('.', self.padding));
        value
    }

    /// Writes once. What the server refuses with anything but MISCONF is a failure.
    pub fn write(&mut self, client: &mut Client) -> Result<bool, String> {
        let number = self.writes.len().to_string();
        let [one, left, right] = ["one", "left", "right"].map(|name| format!("{name}:{number}"));
        let value = self.value(self.writes.len());
        if !self.writes.len().is_multiple_of(3) {
            return self.note(Write::Set, client.ask(&["SET", &one, &value]));
        }
        client.queue(&["MULTI"]);
        client.queue(&["SET", &left, &value]);
        client.queue(&["SET", &right, &value]);
        client.queue(&["EXEC"]);
        let replies = client.flush().and_then(|()| (0..4).map(|_| client.reply()).collect::<Result<Vec<_>, _>>());
        // A transaction of which a command was refused is discarded as a whole.
        let refusal = |replies: &Vec<Value>| replies.iter().find(|reply| reply.is_error()).cloned();
        self.note(Write::Pair, replies.map(|replies| refusal(&replies).unwrap_or(Value::Null)))
    }

    /// Switches the log, and waits for the answer; whether it is on from now on.
    pub fn switch_log(&mut self, client: &mut Client, on: bool) -> bool {
        let reply = client.ask(&["CONFIG", "SET", "appendonly", if on { "yes" } else { "no" }]);
        match (reply, on) {
            // The first log holds all that is there.
            (Ok(Value::Simple(_)), true) => {
                let unlogged = self.writes.iter_mut().filter(|(_, outcome)| *outcome == Outcome::Unlogged);
                unlogged.for_each(|(_, outcome)| *outcome = Outcome::Acknowledged);
                self.is_unlogged = false;
            }
            // Without an answer nobody knows.
            (Ok(Value::Simple(_)) | Err(_), false) => self.is_unlogged = true,
            _ => {}
        }
        !self.is_unlogged
    }

    pub fn flush(&mut self, client: &mut Client) -> Result<bool, String> {
        self.note(Write::Flush, client.ask(&["FLUSHALL"]))
    }

    fn note(&mut self, write: Write, reply: std::io::Result<Value>) -> Result<bool, String> {
        let outcome = match reply {
            Err(_) => Outcome::Unknown,
            Ok(Value::Error(text)) if text.starts_with("MISCONF") => {
                self.refusal = text;
                Outcome::Unknown
            }
            Ok(Value::Error(text)) => return Err(format!("{write:?} {}: {text}", self.writes.len())),
            Ok(_) if self.is_unlogged => Outcome::Unlogged,
            Ok(_) => Outcome::Acknowledged,
        };
        self.writes.push((write, outcome));
        Ok(outcome != Outcome::Unknown)
    }

    /// Writes come back by themselves once the disk is cured, and the log can be on; the time that it took.
    pub fn recover(&mut self, client: &mut Client) -> Result<Duration, String> {
        let cured = Instant::now();
        while !self.switch_log(client, true) || !self.write(client)? {
            if cured.elapsed() > PATIENCE {
                return Err(format!("writes did not come back: {}", self.refusal));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let recovery = cured.elapsed();
        for _ in 0..5 {
            if !self.write(client)? {
                return Err(format!("writes were refused again after the cure: {}", self.refusal));
            }
        }
        // What the promise says, and what a busy machine may add to it.
        let most = Duration::from_secs(2) + Duration::from_secs(1);
        if recovery > most { Err(format!("writes came back only after {recovery:?}")) } else { Ok(recovery) }
    }

    pub fn acknowledged(&self) -> usize {
        self.writes.iter().filter(|(_, outcome)| *outcome == Outcome::Acknowledged).count()
    }

    /// How many acknowledged writes a server lacks.
    pub fn missing(&self, client: &mut Client) -> Result<usize, String> {
        let held = held(client)?;
        let is_lost = |(number, (write, outcome)): (usize, &(Write, Outcome))| {
            let name = if *write == Write::Pair { "left" } else { "one" };
            *outcome == Outcome::Acknowledged && !held.contains_key(&format!("{name}:{number}"))
        };
        Ok(self.writes.iter().enumerate().filter(|write| is_lost(*write)).count())
    }

    /// Compares with what a server holds.
    pub fn check(&self, client: &mut Client) -> Result<(), String> {
        let mut held = held(client)?;
        let mut take = |name: &str, number: usize| -> Result<bool, String> {
            match held.remove(&format!("{name}:{number}")) {
                None => Ok(false),
                Some(value) if value == self.value(number) => Ok(true),
                Some(value) => Err(format!("{name}:{number} is {value:?}")),
            }
        };
        let mut is_there = Vec::new();
        for (number, (write, _)) in self.writes.iter().enumerate() {
            is_there.push(match write {
                Write::Set => take("one", number)?,
                Write::Flush => false,
                Write::Pair => match (take("left", number)?, take("right", number)?) {
                    (true, false) | (false, true) => return Err(format!("transaction {number} is torn")),
                    (there, _) => there,
                },
            });
        }
        if let Some(name) = held.keys().next() {
            return Err(format!("{name:?} is there, which nobody wrote"));
        }
        // What a FLUSHALL that nobody answered did is for the data to say.
        let flushes: Vec<_> = (0..self.writes.len()).filter(|&at| self.writes[at].0 == Write::Flush).collect();
        let known = flushes.iter().rposition(|&at| self.writes[at].1 == Outcome::Acknowledged);
        let possible = flushes[known.unwrap_or(0)..].iter().map(|at| at + 1);
        let nothing = known.is_none().then_some(0);
        let mut reasons = Vec::new();
        for from in nothing.into_iter().chain(possible) {
            match self.check_from(from, &is_there) {
                Ok(()) => return Ok(()),
                Err(reason) => reasons.push(reason),
            }
        }
        Err(reasons.join("; or "))
    }

    /// As [`Ledger::check`], if everything before write `from` was flushed.
    fn check_from(&self, from: usize, is_there: &[bool]) -> Result<(), String> {
        let lost: Vec<_> = (from..self.writes.len())
            .filter(|&at| {
                !is_there[at] && self.writes[at].1 == Outcome::Acknowledged && self.writes[at].0 != Write::Flush
            })
            .collect();
        let risen = is_there[..from].iter().filter(|there| **there).count();
        match (lost.first(), risen) {
            (None, 0) => Ok(()),
            (Some(first), _) => {
                Err(format!("{} of {} acknowledged writes are lost, from {first} on", lost.len(), self.acknowledged()))
            }
            (None, risen) => Err(format!("{risen} writes from before a FLUSHALL are there")),
        }
    }
}

/// All keys with their values.
fn held(client: &mut Client) -> Result<BTreeMap<String, String>, String> {
    let mut ask = |request: &[String]| match client.ask(request) {
        Ok(Value::Array(items)) => Ok(items),
        other => Err(format!("{}: {other:?}", request[0])),
    };
    let names: Vec<String> = ask(&["KEYS".into(), "*".into()])?.into_iter().map(Value::text).collect();
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let request: Vec<String> = std::iter::once("MGET".to_owned()).chain(names.iter().cloned()).collect();
    Ok(names.into_iter().zip(ask(&request)?.into_iter().map(Value::text)).collect())
}

#[test]
fn a_ledger_knows_what_is_lost_and_what_is_torn() {
    use Outcome::{Acknowledged, Unknown};
    let ledger = |writes: &[(Write, Outcome)]| Ledger { writes: writes.to_vec(), ..Ledger::default() };
    let two = ledger(&[(Write::Pair, Acknowledged), (Write::Set, Unknown)]);
    assert!(two.check_from(0, &[true, false]).is_ok() && two.check_from(0, &[true, true]).is_ok());
    assert!(two.check_from(0, &[false, true]).unwrap_err().contains("1 of 1"));
    let flushed = ledger(&[(Write::Set, Acknowledged), (Write::Flush, Unknown), (Write::Set, Acknowledged)]);
    assert!(flushed.check_from(2, &[false, false, true]).is_ok());
    assert!(
        flushed.check_from(2, &[true, false, true]).is_err() && flushed.check_from(0, &[true, false, true]).is_ok()
    );
}
