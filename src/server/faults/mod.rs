//! The server in this process on a disk of the tests' own, which remembers what was synced and fails where it is told to:
//! what a power cut, a kill or an error leaves at every step.
//!
//! A run numbers its writes, its *units*: `RPUSH log N`, or for every fourth the same in a transaction that also sets `a`
//! and `b` to N. Whatever is loaded later must hold a prefix of the list that the server had, whole transactions, and all
//! that was acknowledged and had to survive.

mod backups;
mod cure;
mod damage;
mod errors;
mod histories;
mod model;
mod power;
mod rewind;
mod room;
mod sealed_sets;
mod slow;
mod switch;
mod traces;

use std::io::Write as _;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::command;
use crate::disk::{Disk, MemoryDisk, PowerCut, is_temporary};
use crate::engine::clock::Clock;
use crate::engine::params::{AppendFsync, Config};
use crate::engine::{Engine, Session};
use crate::persist::append::Append;
use crate::resp::answer::{Answer, Decoder};
use crate::resp::encode_request;

use super::connection::{Connection, serve};
use super::seat::Place;
use super::shared::Shared;
use super::socket::split_unix;
use super::{housekeep, loading, seat, start, tick, turn};

/// The working directory on the disks of these tests.
const DIR: &str = "/data";
/// The longest that a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

fn config(appendonly: bool, policy: AppendFsync) -> Config {
    let mut config = Config::default();
    config.dir = DIR.to_owned();
    (config.appendonly, config.appendfsync) = (appendonly, policy);
    config.save.clear();
    config.auto_aof_rewrite_percentage = 0;
    config.hz = 100;
    config
}

/// A disk with nothing but the working directory.
fn empty_disk() -> MemoryDisk {
    let disk = MemoryDisk::default();
    disk.create_dir(Path::new(DIR)).unwrap();
    disk.after(disk.steps(), PowerCut::Kept, &mut fastrand::Rng::with_seed(0))
}

/// Runs tasks of one thread to the end of the first, then drops the others: the server is gone in that moment.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test)
}

/// As [`run`], on a seat that a second thread takes where the disk keeps the first.
fn run_seated<T: Send + 'static, F: Future<Output = T> + 'static>(test: impl FnOnce(Place) -> F) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    seat::run(runtime, test, drop).unwrap()
}

/// Starts a server and waits until it serves.
async fn start_server(config: Config, disk: Arc<dyn Disk>) -> anyhow::Result<Rc<Shared>> {
    start_server_at(Place::alone(), config, disk).await
}

async fn start_server_at(place: Place, config: Config, disk: Arc<dyn Disk>) -> anyhow::Result<Rc<Shared>> {
    let log_dir = loading::idle_log_dir(&config, &disk);
    let engine = Engine::new(config, Clock::system(), fastrand::Rng::with_seed(1));
    let shared = Shared::new(engine, Append::off(Instant::now()), log_dir, disk, place);
    start::set_blocking_work(&shared);
    loading::load(&shared).await?;
    seat::spawn(turn::take_turns(Rc::clone(&shared)));
    seat::spawn(tick::tick_forever(Rc::clone(&shared)));
    seat::spawn(housekeep::expire_forever(Rc::clone(&shared)));
    Ok(shared)
}

/// A client of a server in this process.
struct Client {
    stream: UnixStream,
    decoder: Decoder,
    unread: Vec<u8>,
}

impl Client {
    fn connect(shared: &Rc<Shared>) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (reader, writer) = split_unix(ours);
        let id = shared.engine.borrow_mut().clients.next_id();
        let connection = Connection::new(writer, Session::new(id, format!("test:{id}"), 0));
        shared.connections.borrow_mut().insert(id, Rc::downgrade(&connection));
        seat::spawn(serve(Rc::clone(shared), connection, reader));
        Self { stream: theirs, decoder: Decoder::new(), unread: Vec::new() }
    }

    async fn send(&mut self, requests: &[u8]) {
        self.stream.write_all(requests).await.unwrap();
    }

    /// The next answer; none if the server has closed the connection.
    async fn answer(&mut self) -> Option<Answer> {
        loop {
            let (used, answer) = self.decoder.decode(&self.unread).unwrap();
            self.unread.drain(..used);
            if answer.is_some() {
                return answer;
            }
            let read = self.stream.read_buf(&mut self.unread);
            let count = tokio::time::timeout(PATIENCE, read).await.expect("the server answers in time").unwrap_or(0);
            if count == 0 {
                return None;
            }
        }
    }

    async fn ask(&mut self, line: &str) -> Option<Answer> {
        self.send(&encode(line)).await;
        self.answer().await
    }

    /// A field of INFO.
    async fn info(&mut self, field: &str) -> String {
        let page = self.ask("INFO").await.unwrap();
        let text = String::from_utf8_lossy(page.bytes().unwrap()).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap_or_default();
        line.trim().to_owned()
    }

    /// Asks for the server's end; whether it ends.
    async fn shut_down(&mut self, shared: &Rc<Shared>) -> bool {
        self.send(&encode("SHUTDOWN")).await;
        tokio::select! {
            () = shared.stop.notified() => true,
            answer = self.answer() => answer.is_none(),
        }
    }

    async fn wait_for_jobs(&mut self) {
        let since = Instant::now();
        while self.info("rdb_bgsave_in_progress").await != "0" || self.info("aof_rewrite_in_progress").await != "0" {
            assert!(since.elapsed() < PATIENCE, "a save or rewrite does not end");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn encode(line: &str) -> Vec<u8> {
    let mut request = Vec::new();
    encode_request(&mut request, &line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
    request
}

const fn is_transaction(unit: u32) -> bool {
    unit.is_multiple_of(4)
}

/// The requests of a unit.
fn requests_of(unit: u32) -> Vec<u8> {
    if !is_transaction(unit) {
        return encode(&format!("RPUSH log {unit}"));
    }
    let lines = ["MULTI", &format!("SET a {unit}"), &format!("RPUSH log {unit}"), &format!("SET b {unit}"), "EXEC"];
    lines.iter().flat_map(|line| encode(line)).collect()
}

/// What was written in a run, and what of it must not be lost.
#[derive(Default)]
struct History {
    next: u32,
    /// Units that are to survive from a step of the disk on: at least that one, and all before it.
    promised: Vec<(usize, u32)>,
    /// The list as the server had it at last.
    list: Vec<u32>,
}

impl History {
    /// Sends so many units at once; whether all were acknowledged. `steps` counts the disk's.
    async fn write(&mut self, client: &mut Client, count: u32, steps: impl Fn() -> usize) -> bool {
        let units = self.next..self.next + count;
        self.next += count;
        client.send(&units.clone().flat_map(requests_of).collect::<Vec<_>>()).await;
        let mut are_all_well = true;
        for unit in units {
            let mut is_well = true;
            for _ in 0..if is_transaction(unit) { 5 } else { 1 } {
                is_well &= client.answer().await.is_some_and(|answer| !is_failure(&answer));
            }
            if is_well {
                self.promised.push((steps(), unit));
            }
            are_all_well &= is_well;
        }
        are_all_well
    }

    /// Asks for the list as it is now.
    async fn note_list(&mut self, client: &mut Client) {
        let Some(Answer::Array(items)) = client.ask("LRANGE log 0 -1").await else { panic!("LRANGE is answered") };
        self.list = items.iter().map(|item| number(item.bytes().unwrap())).collect();
    }

    /// The last unit that must be there if everything behind the disk's first `steps` steps is gone.
    fn needed(&self, steps: usize) -> Option<u32> {
        self.promised.iter().filter(|(at, _)| *at <= steps).map(|(_, unit)| *unit).max()
    }
}

fn is_failure(answer: &Answer) -> bool {
    matches!(answer, Answer::Error(_) | Answer::Null)
}

fn number(bytes: &[u8]) -> u32 {
    std::str::from_utf8(bytes).unwrap().parse().unwrap()
}

/// Loads a disk as a start does, twice: the first may mend something, and must leave what the second loads. Checks that it
/// holds what a run's history asks for, and the unit `needed` if any; else says what is wrong.
fn check(config: &Config, disk: &MemoryDisk, history: &History, needed: Option<u32>) -> Result<(), String> {
    let list = load(config, disk)?;
    if !history.list.starts_with(&list) {
        return Err(format!("{list:?} is no beginning of {:?}", history.list));
    }
    if let Some(needed) = needed.filter(|needed| !list.contains(needed)) {
        return Err(format!("unit {needed} was acknowledged and is not in {list:?}"));
    }
    let again = load(config, disk).map_err(|error| format!("at the second start: {error}"))?;
    if again != list {
        return Err(format!("the second start found {again:?} after {list:?}"));
    }
    leftovers(config, disk)
}

/// Says which temporary file is there, if any.
fn leftovers(config: &Config, disk: &MemoryDisk) -> Result<(), String> {
    for folder in [Path::new(DIR), &Path::new(DIR).join(&config.appenddirname)] {
        let leftovers = disk.list(folder).unwrap_or_default().into_iter().filter(|name| is_temporary(name));
        if let Some(name) = leftovers.into_iter().next() {
            return Err(format!("{} is left over", folder.join(name).display()));
        }
    }
    Ok(())
}

/// What a start finds.
fn load_engine(config: &Config, disk: &MemoryDisk) -> Result<Engine, String> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let start = loading::load_here(config.clone(), &disk, Arc::default()).map_err(|error| format!("{error:#}"))?;
    let mut engine = Engine::new(config.clone(), Clock::system(), fastrand::Rng::with_seed(1));
    engine.adopt(start.data);
    Ok(engine)
}

/// The list that a start finds.
fn load(config: &Config, disk: &MemoryDisk) -> Result<Vec<u32>, String> {
    let mut engine = load_engine(config, disk)?;
    let mut out = Vec::new();
    let mut session = Session::replay();
    for request in [vec!["LRANGE", "log", "0", "-1"], vec!["MGET", "a", "b"]] {
        let words: Vec<&[u8]> = request.iter().map(|word| word.as_bytes()).collect();
        command::execute(&mut engine, &mut session, &words, &mut out);
    }
    let mut decoder = Decoder::new();
    let (used, list) = decoder.decode(&out).unwrap();
    let (Some(Answer::Array(list)), Some(Answer::Array(pair))) = (list, decoder.decode(&out[used..]).unwrap().1) else {
        panic!("the engine answers");
    };
    let list: Vec<u32> = list.iter().map(|item| number(item.bytes().unwrap())).collect();
    let pair: Vec<Option<u32>> = pair.iter().map(|item| item.bytes().map(number)).collect();
    let last = list.iter().rev().copied().find(|unit| is_transaction(*unit));
    if pair != [last, last] {
        return Err(format!("a transaction in part: a and b are {pair:?}, the list has {last:?}"));
    }
    Ok(list)
}

/// The length of a suite, from the environment.
fn length(variable: &str, usual: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Tells a count, also where the output of tests is captured.
fn tell(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
