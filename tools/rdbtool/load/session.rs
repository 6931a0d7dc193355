//! Requests on their way to the server and the answers that come back, in order.
//!
//! A key is an [`Entry`]: one or several requests, all of whose answers decide together what became of it. Entries are
//! under way up to a number and a size; then the oldest are waited for.

use super::report::Counts;
use super::state::Place;
use ironkeep::cli::client::Client;
use ironkeep::cli::escape::{Escaped, Quoted};
use ironkeep::resp::Answer;
use std::collections::{BTreeSet, VecDeque};
use std::io;

/// Bytes that are collected before they are sent.
const SEND: usize = 256 * 1024;
/// Bytes of payloads under way, beyond which the oldest are waited for.
const MOST_BYTES: usize = 16 << 20;

/// What to do about a key that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Existing {
    /// Stop before anything of it is changed
    Fail,
    /// Leave it as it is, and go on
    Skip,
    /// Replace it
    Replace,
}

/// How a thing is loaded.
pub enum Work {
    /// By RESTORE. The key stays at hand, in case that the server does not take its payload.
    Restore(Box<Retry>),
    /// By commands that build it under another name, RENAME or RENAMENX, and DEL of that name.
    Commands,
    Function,
    /// Is it there?
    Probe,
    /// Begun, and not told to its end.
    Abandoned,
}

/// A key as it stands in the input.
pub struct Retry {
    pub header: ironkeep::rdb::KeyHeader,
    /// What the value is written as.
    pub file: ironkeep::rdb::Header,
    /// The value between its type and the version behind it.
    pub value: Vec<u8>,
}

/// A thing under way.
pub struct Entry {
    pub place: Place,
    pub db: u64,
    /// Whether an earlier load may have brought it.
    pub may_be_there: bool,
    pub work: Work,
    answers: Answers,
}

#[derive(Default)]
struct Answers {
    expected: u64,
    received: u64,
    is_complete: bool,
    error: Option<Vec<u8>>,
    /// The last but one answer: of a RENAMENX.
    before_last: Option<Answer>,
    last: Option<Answer>,
}

impl Entry {
    pub fn new(place: Place, db: u64, work: Work) -> Entry {
        Entry { place, db, may_be_there: false, work, answers: Answers::default() }
    }

    fn bytes(&self) -> usize {
        match &self.work {
            Work::Restore(retry) => retry.value.len(),
            _ => 0,
        }
    }
}

/// Why no more is sent.
#[derive(Debug)]
pub enum Stop {
    /// The connection is gone.
    Broken(io::Error),
    /// A key is there already.
    Exists(String),
    /// The server does not take something.
    Refused(String),
    /// The server's version has no way to hold something.
    Unsupported(String),
}

/// What a whole load is to hold to.
#[derive(Clone, Copy)]
pub struct Rules {
    pub existing: Existing,
    /// Things under way at once.
    pub pipeline: usize,
    pub goes_on: bool,
}

/// A connection and what is under way on it.
pub struct Session {
    client: Client,
    rules: Rules,
    under_way: VecDeque<Entry>,
    bytes: usize,
    /// The database that the last request sent will find selected.
    db: Option<u64>,
    pub counts: Counts,
    /// Keys that the server did not take by RESTORE.
    pub retries: Vec<(Entry, Box<Retry>)>,
    pub stop: Option<Stop>,
    /// The first thing that was refused; a later load must begin there.
    first_refused: Option<Place>,
    /// Things that are over, those before the first that is not left out.
    over: BTreeSet<u64>,
}

impl Session {
    pub fn new(client: Client, rules: Rules) -> Session {
        Session {
            client,
            rules,
            under_way: VecDeque::new(),
            bytes: 0,
            db: None,
            counts: Counts::default(),
            retries: Vec::new(),
            stop: None,
            first_refused: None,
            over: BTreeSet::new(),
        }
    }

    /// Begins a thing; its requests follow, then [`Session::end`]. `false` where its database can't be had: then the
    /// thing is refused.
    pub fn begin(&mut self, entry: Entry) -> bool {
        if !matches!(entry.work, Work::Function)
            && self.db != Some(entry.db)
            && let Err(why) = self.select(entry.db)
        {
            self.refuse_as(&entry, &why, false);
            return false;
        }
        self.bytes += entry.bytes();
        self.under_way.push_back(entry);
        true
    }

    /// Changes the database, and goes on only when the server has: a key must never land in another one.
    fn select(&mut self, db: u64) -> Result<(), String> {
        self.drain();
        self.db = None;
        match self.client.ask(&[&b"SELECT"[..], db.to_string().as_bytes()]) {
            Ok(answer) => match answer.error() {
                Some(text) => Err(format!("the server refuses SELECT {db}: {}", Escaped(text))),
                None => {
                    self.db = Some(db);
                    Ok(())
                }
            },
            Err(error) => {
                let message = error.to_string();
                self.stop.get_or_insert(Stop::Broken(error));
                Err(message)
            }
        }
    }

    /// Leaves the thing begun last unjudged: it was not told to its end.
    pub fn abandon(&mut self) {
        if let Some(entry) = self.under_way.back_mut() {
            entry.work = Work::Abandoned;
        }
    }

    /// Whether the connection is gone.
    pub fn is_broken(&self) -> bool {
        matches!(self.stop, Some(Stop::Broken(_)))
    }

    /// Adds a request to the thing begun last.
    pub fn request(&mut self, arguments: &[&[u8]]) {
        self.client.queue(arguments);
        self.expect_one();
    }

    /// Adds a request that is encoded already, and lets what was collected go.
    pub fn encoded(&mut self, request: &[u8]) {
        self.client.queue_encoded(request);
        self.expect_one();
        if self.client.queued_bytes() >= SEND {
            self.send();
            // The answers to what was sent, but for the thing that is still being told.
            while self.stop.is_none() && self.client.queued_bytes() == 0 && self.awaits_any() {
                self.receive();
            }
        }
    }

    fn expect_one(&mut self) {
        if let Some(entry) = self.under_way.back_mut() {
            entry.answers.expected += 1;
        }
    }

    fn awaits_any(&self) -> bool {
        self.under_way.iter().any(|entry| entry.answers.received < entry.answers.expected)
    }

    /// All requests of the thing begun last are there.
    pub fn end(&mut self) {
        if let Some(entry) = self.under_way.back_mut() {
            entry.answers.is_complete = true;
        }
        if self.client.queued_bytes() >= SEND {
            self.send();
        }
        if self.under_way.len() >= self.rules.pipeline || self.bytes >= MOST_BYTES {
            self.send();
            // Half of it may stay under way, so that the server always has something to do.
            while self.stop.is_none() && (self.under_way.len() > self.rules.pipeline / 2 || self.bytes > MOST_BYTES / 2)
            {
                self.receive();
            }
        }
    }

    /// Waits for all answers. A thing that was refused does not stop those behind it, which are sent already.
    pub fn drain(&mut self) {
        self.send();
        while !self.under_way.is_empty() && !self.is_broken() {
            self.receive();
        }
    }

    /// Where a later load must begin: at the first thing that is not over.
    pub fn done(&self, next: &Place) -> Place {
        let unanswered = self.under_way.iter().map(|entry| &entry.place);
        let untried = self.retries.iter().map(|(entry, _)| &entry.place);
        let first = unanswered.chain(untried).chain(&self.first_refused);
        first.min_by_key(|place| place.count).unwrap_or(next).clone()
    }

    /// Behind that: the numbers of what is loaded, and of what was sent and not answered.
    pub fn behind(&self, done: &Place) -> (Vec<u64>, Vec<u64>) {
        let unanswered = self.under_way.iter().map(|entry| entry.place.count).collect();
        (self.over.range(done.count..).copied().collect(), unanswered)
    }

    /// Notes that a thing is over, one way or the other.
    pub fn note_over(&mut self, place: &Place) {
        self.over.insert(place.count);
        if self.over.len() > 4 * self.rules.pipeline {
            let first = self.done(&Place { count: u64::MAX, ..Place::default() }).count;
            self.over = self.over.split_off(&first);
        }
    }

    fn send(&mut self) {
        if let Err(error) = self.client.flush() {
            self.stop = Some(Stop::Broken(error));
        }
    }

    /// Waits for one answer and gives it to the oldest thing.
    fn receive(&mut self) {
        let answer = match self.client.receive() {
            Ok(answer) => answer,
            Err(error) => {
                self.stop = Some(Stop::Broken(error));
                return;
            }
        };
        let Some(entry) = self.under_way.iter_mut().find(|entry| entry.answers.received < entry.answers.expected)
        else {
            self.stop = Some(Stop::Broken(io::Error::other("the server answered what was not asked")));
            return;
        };
        entry.answers.take(answer);
        while self.under_way.front().is_some_and(|entry| entry.answers.is_over()) {
            if let Some(entry) = self.under_way.pop_front() {
                self.bytes -= entry.bytes();
                self.judge(entry);
            }
        }
    }

    /// What became of a thing.
    fn judge(&mut self, mut entry: Entry) {
        let answers = std::mem::take(&mut entry.answers);
        self.note_over(&entry.place);
        match (&entry.work, answers.error) {
            (Work::Abandoned, _) => self.remember(&entry),
            (Work::Probe, None) => self.counts.there += u64::from(answers.last == Some(Answer::Int(1))),
            (Work::Restore(_), None) => self.counts.restored += 1,
            (Work::Function, None) => self.counts.functions += 1,
            (Work::Commands, None) if answers.before_last == Some(Answer::Int(0)) => self.judge_existing(&entry),
            (Work::Commands, None) => self.counts.built += 1,
            (Work::Restore(_), Some(error)) if error.starts_with(b"BUSYKEY") => self.judge_existing(&entry),
            (Work::Function, Some(error)) if contains(&error, "already exists") => self.judge_existing(&entry),
            // Nothing was built: it has no elements, or they have all expired meanwhile.
            (Work::Commands, Some(error)) if contains(&error, "no such key") => self.counts.empty += 1,
            (Work::Restore(_), Some(error)) if is_unknown_payload(&error) => {
                if let Work::Restore(retry) = std::mem::replace(&mut entry.work, Work::Commands) {
                    self.over.remove(&entry.place.count);
                    self.retries.push((entry, retry));
                }
            }
            (_, Some(error)) => self.refuse(&entry, &error),
        }
    }

    fn judge_existing(&mut self, entry: &Entry) {
        if entry.may_be_there {
            self.counts.before_cut += 1;
        } else if self.rules.existing == Existing::Skip {
            self.counts.there += 1;
        } else {
            self.remember(entry);
            let message = format!("{} is there already: say --existing skip or --existing replace", name(entry));
            self.stop.get_or_insert(Stop::Exists(message));
        }
    }

    fn refuse(&mut self, entry: &Entry, error: &[u8]) {
        self.refuse_as(entry, &Escaped(error).to_string(), is_of_the_server(error));
    }

    /// Counts a thing that the server's version has no way to hold, and stops unless it is to go on.
    pub fn cannot_hold(&mut self, entry: &Entry, why: &str) {
        let is_first = self.stop.is_none();
        self.refuse_as(entry, why, false);
        if let (true, Some(Stop::Refused(what))) = (is_first, &mut self.stop) {
            self.stop = Some(Stop::Unsupported(std::mem::take(what)));
        }
    }

    /// Counts a thing that can't be loaded, and stops unless it is to go on.
    pub fn refuse_as(&mut self, entry: &Entry, why: &str, is_final: bool) {
        let message = format!("{}: {why}", name(entry));
        if self.rules.goes_on && !is_final {
            self.counts.refuse(message);
        } else {
            self.remember(entry);
            // The next thing would fare the same where the server's state is the reason.
            let hint = match is_final {
                true if why.starts_with("LOADING") => " (try again when it has loaded)",
                true => "",
                false => " (--continue passes over it)",
            };
            self.stop.get_or_insert(Stop::Refused(message + hint));
        }
    }

    /// A thing that a later load is to try again.
    fn remember(&mut self, entry: &Entry) {
        self.over.remove(&entry.place.count);
        if self.first_refused.as_ref().is_none_or(|first| entry.place.count < first.count) {
            self.first_refused = Some(entry.place.clone());
        }
    }
}

impl Answers {
    fn take(&mut self, answer: Answer) {
        self.received += 1;
        if let (None, Some(text)) = (&self.error, answer.error()) {
            self.error = Some(text.to_vec());
        }
        self.before_last = self.last.replace(answer);
    }

    fn is_over(&self) -> bool {
        self.is_complete && self.received == self.expected
    }
}

fn name(entry: &Entry) -> String {
    match entry.work {
        Work::Function => format!("function library {}", Quoted(&entry.place.key)),
        _ => format!("db {} key {} (offset {})", entry.db, Quoted(&entry.place.key), entry.place.offset),
    }
}

fn contains(text: &[u8], words: &str) -> bool {
    memchr::memmem::find(text, words.as_bytes()).is_some()
}

/// The server does not know the payload's version or type, or takes it for damaged.
fn is_unknown_payload(error: &[u8]) -> bool {
    contains(error, "Bad data format") || contains(error, "DUMP payload version or checksum are wrong")
}

/// Errors that say nothing of the key: all that follow would fail too.
fn is_of_the_server(error: &[u8]) -> bool {
    const WORDS: [&str; 12] = [
        "OOM",
        "LOADING",
        "READONLY",
        "MISCONF",
        "NOAUTH",
        "NOPERM",
        "MOVED",
        "ASK",
        "CLUSTERDOWN",
        "TRYAGAIN",
        "MASTERDOWN",
        "NOREPLICAS",
    ];
    WORDS.iter().any(|word| error.starts_with(word.as_bytes()))
}
