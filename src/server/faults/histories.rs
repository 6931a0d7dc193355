//! Random histories: commands on all types by several clients, transactions over several keys, rewrites, saves, changed
//! policies, errors of the disk, kills, power cuts and restarts. What a start finds must be what a model had after some
//! unit, and not before the last that had to survive.

use super::model::{DATABASES, Model};
use super::*;
use crate::disk::{Fault, FaultyDisk, Lie};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Histories that are tried.
const USUAL_HISTORIES: usize = 60;
/// Times that a server is started in a history, and operations of each time.
const LIVES: usize = 4;
const OPERATIONS: std::ops::Range<usize> = 5..40;
const CLIENTS: usize = 3;

/// A command, or several in a transaction.
pub(super) type Unit = Vec<Vec<String>>;

/// Makes commands up.
pub(super) struct Author {
    pub(super) random: fastrand::Rng,
    /// A number that no value has had.
    next: u32,
}

impl Author {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), next: 0 }
    }

    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.random.usize(..choices.len())]
    }

    fn key(&mut self, kind: char) -> String {
        format!("{kind}{}", self.random.u8(..3))
    }

    /// A command; what it writes has never been there before.
    fn command(&mut self) -> Vec<String> {
        self.next += 1;
        let value = format!("v{}", self.next);
        let kind = self.pick(&['s', 'n', 'l', 't', 'h', 'z', 'x', '*']);
        let (key, other) = (self.key(kind), self.key(kind));
        let small = self.random.u8(..20);
        let later = 4_000_000_000_000_i64 + i64::from(self.next);
        let line = match (kind, self.random.u8(..6)) {
            ('s', 0) => format!("APPEND {key} {value}"),
            ('s', 1) => format!("SET {key} {value} PXAT {later}"),
            ('s', 2) => format!("MSET {key} {value} {other} {value}"),
            ('s', _) => format!("SET {key} {value}"),
            ('n', _) => format!("INCRBY {key} {}", small + 1),
            ('l', 0) => format!("LPOP {key}"),
            ('l', 1) => format!("LTRIM {key} 0 {small}"),
            ('l', 2) => format!("LMOVE {key} {other} LEFT RIGHT"),
            ('l', 3) => format!("LPUSH {key} {value}"),
            ('l', _) => format!("RPUSH {key} {value}"),
            ('t', 0) => format!("SPOP {key}"),
            ('t', 1) => format!("SUNIONSTORE {} {key} {other}", self.key('t')),
            ('t', 2) => format!("SREM {key} {small}"),
            ('t', 3) => format!("SADD {key} {small}"),
            ('t', _) => format!("SADD {key} {value}"),
            ('h', 0) => format!("HDEL {key} {small}"),
            ('h', _) => format!("HSET {key} {small} {value}"),
            ('z', 0) => format!("ZREMRANGEBYSCORE {key} {small} {}", small + 3),
            ('z', 1) => format!("ZINCRBY {key} {small} {value}"),
            ('z', _) => format!("ZADD {key} {small} {value}"),
            ('x', _) => format!("XADD {key} MAXLEN 10 * f {value}"),
            _ => self.command_on_keys(later),
        };
        line.split(' ').map(str::to_owned).collect()
    }

    fn command_on_keys(&mut self, later: i64) -> String {
        let kind = self.pick(&['s', 'n', 'l', 't', 'h', 'z', 'x']);
        let (key, other) = (self.key(kind), self.key(kind));
        let db = self.random.usize(..DATABASES);
        match self.random.u8(..24) {
            0..4 => format!("DEL {key} {other}"),
            4 => format!("GETDEL {}", self.key('s')),
            5..9 => format!("PEXPIREAT {key} {later}"),
            9..12 => format!("PERSIST {key}"),
            12..16 => format!("COPY {key} {other} DB {db} REPLACE"),
            16..20 => format!("MOVE {key} {db}"),
            20..22 => format!("SWAPDB 0 {db}"),
            22 => "FLUSHDB".to_owned(),
            _ => "FLUSHALL".to_owned(),
        }
    }

    pub(super) fn unit(&mut self) -> Unit {
        let count = if self.random.u8(..4) == 0 { self.random.usize(2..6) } else { 1 };
        (0..count).map(|_| self.command()).collect()
    }
}

struct Story {
    author: Author,
    disk: MemoryDisk,
    lie: Option<Lie>,
    config: Config,
    /// What the server had after each unit of this life; the first is what it started with.
    states: Vec<Model>,
    /// Units that have been acknowledged, as indexes of states, each with the disk's step from which on it must survive a
    /// kill, and whether a power cut too.
    acknowledged: Vec<(usize, usize, bool)>,
    /// Units that were acknowledged, and those that were not, in all lives.
    counts: (usize, usize),
}

/// A client and its database.
pub(super) struct Caller {
    pub(super) client: Client,
    pub(super) db: usize,
}

impl Story {
    fn new(seed: u64, lie: Option<Lie>) -> Self {
        let mut config = config(true, AppendFsync::Always);
        config.databases = DATABASES;
        let (author, states) = (Author::new(seed), vec![Model::default()]);
        Self { author, disk: empty_disk(), lie, config, states, acknowledged: Vec::new(), counts: (0, 0) }
    }

    /// Sends some units at once, and notes what became of each.
    async fn write(&mut self, shared: &Rc<Shared>, caller: &mut Caller, count: usize) -> Result<(), String> {
        let units: Vec<Unit> = (0..count).map(|_| self.author.unit()).collect();
        caller.client.send(&units.iter().flat_map(requests).collect::<Vec<_>>()).await;
        for unit in &units {
            let policy = shared.engine.borrow().config.appendfsync;
            let answers = answers_to(unit, &mut caller.client).await?;
            let mut state = self.states[self.states.len() - 1].clone();
            let apply = |state: &mut Model, answers: Option<&[Answer]>| {
                for (index, words) in unit.iter().enumerate() {
                    let words: Vec<&str> = words.iter().map(String::as_str).collect();
                    state.apply(caller.db, &words, answers.map(|answers| &answers[index]));
                }
            };
            if let Some(answers) = answers {
                apply(&mut state, Some(&answers));
                let has_changed = self.states.last() != Some(&state);
                self.states.push(state);
                // What changed nothing was not logged, and promises nothing of what was written before it.
                let is_durable = policy == AppendFsync::Always && has_changed;
                self.acknowledged.push((self.states.len() - 1, self.disk.steps(), is_durable));
                self.counts.0 += 1;
                continue;
            }
            self.counts.1 += 1;
            // Refused, or executed as a whole and not logged.
            let found = Model::read(&mut shared.engine.borrow_mut());
            if found != state {
                let is_predictable = !unit.iter().any(|words| ["SPOP", "XADD"].contains(&words[0].as_str()));
                if is_predictable {
                    apply(&mut state, None);
                    if found != state {
                        return Err(format!("{unit:?} in part: {found:?}"));
                    }
                }
                self.states.push(found);
            }
        }
        let found = Model::read(&mut shared.engine.borrow_mut());
        let known = &self.states[self.states.len() - 1];
        if found == *known { Ok(()) } else { Err(format!("behind {units:?} the server has {found:?}, not {known:?}")) }
    }

    /// What is not a write.
    async fn disturb(&mut self, disk: &FaultyDisk, caller: &mut Caller) {
        match self.author.random.u8(..12) {
            0..3 => drop(caller.client.ask("BGREWRITEAOF").await),
            3 => drop(caller.client.ask("BGSAVE").await),
            4 => {
                let policy = self.author.pick(&["always", "everysec", "no"]);
                caller.client.ask(&format!("CONFIG SET appendfsync {policy}")).await;
            }
            5 => {
                let value = self.author.pick(&["yes", "no"]);
                caller.client.ask(&format!("CONFIG SET aof-use-rdb-preamble {value}")).await;
            }
            6..8 => {
                caller.db = self.author.random.usize(..DATABASES);
                caller.client.ask(&format!("SELECT {}", caller.db)).await;
            }
            8 => {
                let (first, errno) = (self.author.random.usize(..12), self.author.pick(&[5, 28, 30]));
                let count = self.author.pick(&[1, 3, usize::MAX]);
                disk.fail(Fault { first, count, errno, is_short: count == 1 && self.author.random.bool() });
            }
            9..11 => disk.cure(),
            _ => tokio::time::sleep(Duration::from_micros(500)).await,
        }
    }

    /// One life of the server, from a start to a kill, a power cut or a shutdown.
    async fn live(&mut self, disk: &FaultyDisk) -> Result<bool, String> {
        let shared = start_server(self.config.clone(), Arc::new(disk.clone())).await.map_err(|e| format!("{e:#}"))?;
        let mut callers: Vec<_> = (0..CLIENTS).map(|_| Caller { client: Client::connect(&shared), db: 0 }).collect();
        for _ in 0..self.author.random.usize(OPERATIONS) {
            let caller = &mut callers[self.author.random.usize(..CLIENTS)];
            if self.author.random.u8(..4) == 0 {
                self.disturb(disk, caller).await;
            } else {
                // With errors about, each unit must be looked at by itself.
                let count = if disk.is_failing() { 1 } else { self.author.random.usize(1..6) };
                self.write(&shared, caller, count).await?;
            }
        }
        let is_shut_down = self.author.random.u8(..4) == 0;
        if is_shut_down {
            disk.cure();
            let since = Instant::now();
            while !callers[0].client.shut_down(&shared).await {
                if since.elapsed() > PATIENCE {
                    return Err("SHUTDOWN is refused on a disk that is well".to_owned());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(is_shut_down)
    }

    /// The disk as the next start finds it, and the first state that it may have.
    fn end(&mut self, is_shut_down: bool) -> (MemoryDisk, usize, String) {
        let last = self.disk.steps();
        let cut = PowerCut::ALL[self.author.random.usize(..PowerCut::ALL.len())];
        let at = if is_shut_down || self.author.random.bool() { last } else { self.author.random.usize(..=last) };
        let survives = |(_, step, is_durable): &&(usize, usize, bool)| {
            *step <= at && (*is_durable || is_shut_down || cut == PowerCut::Kept)
        };
        let least = self.acknowledged.iter().filter(survives).map(|(state, ..)| *state).max().unwrap_or(0);
        (self.disk.after(at, cut, &mut self.author.random), least, format!("step {at} of {last}, {cut:?}"))
    }

    fn tell_all(&mut self) -> Result<(), String> {
        for life in 0..LIVES {
            let disk = match self.lie {
                Some(lie) => FaultyDisk::lying(self.disk.clone(), lie),
                None => FaultyDisk::new(self.disk.clone(), None),
            };
            let is_shut_down = run(self.live(&disk)).map_err(|wrong| format!("life {life}: {wrong}"))?;
            let (image, least, place) = self.end(is_shut_down);
            let found = load_model(&self.config, &image).map_err(|wrong| format!("life {life}, {place}: {wrong}"))?;
            let place = format!("life {life}, {place}, at least state {least} of {}", self.states.len());
            if !self.states[least..].contains(&found) {
                let earlier = self.states.iter().rposition(|state| *state == found);
                return Err(format!("{place}: found {earlier:?}, {found:?}"));
            }
            if load_model(&self.config, &image)? != found {
                return Err(format!("{place}: the second start found something else"));
            }
            leftovers(&self.config, &image).map_err(|wrong| format!("{place}: {wrong}"))?;
            (self.disk, self.states, self.acknowledged) = (image, vec![found], Vec::new());
        }
        Ok(())
    }
}

pub(super) fn requests(unit: &Unit) -> Vec<u8> {
    let commands = unit.iter().flat_map(|words| encode(&words.join(" ")));
    if unit.len() == 1 {
        return commands.collect();
    }
    [encode("MULTI"), commands.collect(), encode("EXEC")].concat()
}

/// The answers of a unit's commands; none if it was refused, or could not be logged.
pub(super) async fn answers_to(unit: &Unit, client: &mut Client) -> Result<Option<Vec<Answer>>, String> {
    let mut answers = Vec::new();
    for _ in 0..if unit.len() == 1 { 1 } else { unit.len() + 2 } {
        answers.push(client.answer().await.ok_or("the server has closed the connection")?);
    }
    if unit.len() > 1 {
        let executed = answers.pop();
        answers = match executed {
            Some(Answer::Array(answers)) => answers,
            other => vec![other.unwrap_or(Answer::Null)],
        };
    }
    let is_expected = |text: &[u8]| text.starts_with(b"MISCONF") || text.starts_with(b"EXECABORT");
    // A MOVE or COPY onto itself.
    let is_nothing = |text: &&[u8]| *text == b"ERR source and destination objects are the same";
    let error = answers.iter().filter_map(Answer::error).find(|text| !is_nothing(text));
    match error {
        None => Ok(Some(answers)),
        Some(error) if is_expected(error) => Ok(None),
        Some(error) => Err(format!("{unit:?} got {}", String::from_utf8_lossy(error))),
    }
}

fn load_model(config: &Config, disk: &MemoryDisk) -> Result<Model, String> {
    Ok(Model::read(&mut load_engine(config, disk)?))
}

#[test]
fn random_histories_end_in_a_state_that_the_server_had() {
    let seeds: Vec<u64> = match std::env::var("IRONKEEP_HISTORY") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..length("IRONKEEP_HISTORIES", USUAL_HISTORIES) as u64).collect(),
    };
    let (acknowledged, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    errors::try_all(&seeds, |seed| {
        let mut story = Story::new(seed, None);
        story.tell_all().map_err(|wrong| format!("IRONKEEP_HISTORY={seed}: {wrong}"))?;
        acknowledged.fetch_add(story.counts.0, Ordering::Relaxed);
        refused.fetch_add(story.counts.1, Ordering::Relaxed);
        Ok(())
    });
    tell(&format!(
        "{} random histories of {LIVES} lives: of {} acknowledged commands and transactions lost 0; {} more got an error",
        seeds.len(),
        acknowledged.into_inner(),
        refused.into_inner()
    ));
}

#[test]
fn histories_find_out_a_disk_that_does_not_sync() {
    for lie in [Lie::Files, Lie::Folders] {
        let wrong = (0..100).find_map(|seed| Story::new(seed, Some(lie)).tell_all().err());
        assert!(wrong.is_some_and(|wrong| wrong.contains("life")), "{lie:?} is found out");
    }
}
