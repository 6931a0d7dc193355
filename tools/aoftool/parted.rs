//! A log in parts that can each be replayed alone, so that a log of any length is replayed in the memory of a part.
//!
//! A key is in one part only, whatever its database. Keys that one command names together are in the same part: a first
//! pass ties them. DEL, UNLINK and MSET tie nothing, since they can be divided by key; FLUSHALL, FLUSHDB and SWAPDB go to
//! all parts. Each part is a log of one file in a temporary folder: an RDB with its keys, if the log has one in front, and
//! its records behind it.
//!
//! Keys are tied by [`BUCKETS`] hashes of them and not by name, so what the ties take does not grow with the log. A log
//! whose commands tie all of its keys is one part, and so is one with a SORT that reads keys which it does not name.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use ironkeep::aof::{Item, Log, LogFile, Record, Report};
use ironkeep::cli::exit::Exit;
use ironkeep::codec::siphash::SipKey;
use ironkeep::command::replay::playable;
use ironkeep::disk::{Disk, File, Mode};
use ironkeep::engine::Engine;
use ironkeep::engine::params::kind::parse_memory;
use ironkeep::rdb::{Event, Version, WriteOptions, Writer};
use ironkeep::resp::encode_request;
use smallvec::SmallVec;
use tempfile::TempDir;

use crate::compact;
use crate::records::{self, Taker};
use crate::report;
use crate::shared::replayed;
use crate::timeline::Timeline;

/// Hashes of keys that are told from each other.
const BUCKETS: usize = 1 << 20;
/// More parts than this are not made, since all of them are written at once.
const MOST_PARTS: u64 = 256;
/// What waits to be written of each part.
const BUFFER: usize = 64 << 10;

/// How a log that is too long for the memory is replayed.
#[derive(Clone, Copy, clap::Args)]
pub struct Limit {
    /// Replay a log that is longer than this in parts of about this size, which wait in a temporary folder
    #[arg(long, value_name = "SIZE", default_value = "64mb", value_parser = size)]
    part_size: u64,
}

fn size(text: &str) -> Result<u64, String> {
    let size = parse_memory(text.as_bytes()).filter(|bytes| *bytes > 0);
    size.ok_or_else(|| "a size is a number above 0 and a unit: b, k, kb, m, mb, g, gb".to_owned())
}

impl Limit {
    /// Into how many parts a log goes.
    fn parts(self, log: &Log) -> u64 {
        let bytes: u64 = log.files.iter().map(|file| file.len).sum();
        bytes.div_ceil(self.part_size).clamp(1, MOST_PARTS)
    }
}

/// The parts of a log.
pub struct Parts {
    /// Removed with them.
    folder: TempDir,
    count: usize,
}

impl Parts {
    pub fn len(&self) -> usize {
        self.count
    }

    /// The data of one of them.
    pub fn replay(&self, disk: &Arc<dyn Disk>, part: usize, databases: usize) -> anyhow::Result<Engine> {
        let log = Log::open(&**disk, &self.path(part))?;
        Ok(replayed::quietly(disk, &log, databases)?.0)
    }

    /// For messages.
    fn name(&self) -> String {
        self.folder.path().display().to_string()
    }

    fn path(&self, part: usize) -> PathBuf {
        self.folder.path().join(format!("part-{part}.aof"))
    }
}

/// Divides logs, all in the same way; `None` where each is to be replayed as a whole: one that is small, or that can't be
/// divided. The surveys say up to where they are whole.
pub fn divide(
    disk: &Arc<dyn Disk>,
    logs: &[&Log],
    (limit, databases): (Limit, usize),
    survey: &dyn Fn(usize) -> anyhow::Result<Report>,
) -> anyhow::Result<Option<Vec<Parts>>> {
    let count = logs.iter().map(|log| limit.parts(log)).max().unwrap_or(1) as usize; // at most MOST_PARTS
    if count == 1 {
        return Ok(None);
    }
    let mut whole = Vec::new();
    for (index, log) in logs.iter().enumerate() {
        whole.push(whole_of(log, &survey(index)?));
    }
    let mut ties = Ties::new();
    for log in &whole {
        let mut tying = Tying { ties: &mut ties, databases, is_divisible: true };
        walk(disk, log, &mut tying)?;
        if !tying.is_divisible {
            return Ok(None);
        }
    }
    writeln!(std::io::stderr(), "replaying it in {count} parts (--part-size)")?;
    let map = ties.into_map(count);
    let mut all = Vec::new();
    for log in &whole {
        match map.split(disk, log, databases)? {
            Some(parts) => all.push(parts),
            None => return Ok(None),
        }
    }
    Ok(Some(all))
}

/// The log without a torn tail.
fn whole_of(log: &Log, survey: &Report) -> Log {
    let cut = |(file, until): (&LogFile, u64)| match file.is_wrapped {
        true => file.clone(),
        false => LogFile { len: until, ..file.clone() },
    };
    let files = log.files.iter().zip(survey.files.iter().map(|found| found.whole_until)).map(cut).collect();
    Log { files, ..log.clone() }
}

fn walk(disk: &Arc<dyn Disk>, log: &Log, taker: &mut dyn Taker) -> anyhow::Result<()> {
    let exit = records::walk_log(disk, log, taker)?;
    anyhow::ensure!(exit == Exit::Fine, "the log changed meanwhile: stop who writes to it");
    Ok(())
}

/// Where a record goes.
enum Route {
    /// It is no write of its own: the frame of a transaction, which is whole, or a SELECT.
    Nowhere,
    Everywhere,
    /// To one part: that of the keys at these positions, or the first.
    Together(SmallVec<[usize; 8]>),
    /// To the parts of its keys, each of which takes so many words.
    Divided(usize),
    /// It reads keys that it does not name, or can't be replayed.
    Unknown,
}

impl Route {
    fn of(record: &Record<'_>, databases: usize) -> Self {
        let words = &record.arguments;
        let Ok(command) = playable(words, databases) else { return Self::Unknown };
        let names_patterns = || words[2..].iter().any(|word| word.contains(&b'*'));
        match command.name {
            "multi" | "exec" | "select" => Self::Nowhere,
            "flushall" | "flushdb" | "swapdb" => Self::Everywhere,
            "del" | "unlink" => Self::Divided(1),
            "mset" if words.len() % 2 == 1 => Self::Divided(2),
            "sort" if names_patterns() => Self::Unknown,
            _ => Self::Together(command.key_positions(words)),
        }
    }
}

/// Which buckets are in one part: a forest, in which each bucket knows one above it, or itself.
struct Ties {
    hash: SipKey,
    above: Vec<u32>,
}

fn bucket(hash: SipKey, key: &[u8]) -> usize {
    hash.hash(key) as usize % BUCKETS // the low bits are as good as any
}

impl Ties {
    fn new() -> Self {
        Self { hash: SipKey::random(), above: (0..BUCKETS as u32).collect() }
    }

    fn top(&mut self, mut bucket: usize) -> usize {
        while self.above[bucket] as usize != bucket {
            let above = self.above[bucket] as usize;
            self.above[bucket] = self.above[above];
            bucket = above;
        }
        bucket
    }

    fn tie(&mut self, first: &[u8], second: &[u8]) {
        let [first, second] = [first, second].map(|key| bucket(self.hash, key));
        let (first, second) = (self.top(first), self.top(second));
        self.above[first] = second as u32; // below BUCKETS
    }

    fn into_map(mut self, parts: usize) -> Map {
        let part = |bucket| (self.top(bucket) % parts) as u16; // below MOST_PARTS
        let parts_of = (0..BUCKETS).map(part).collect();
        Map { hash: self.hash, parts_of, count: parts }
    }
}

/// Ties the keys that one record names.
struct Tying<'a> {
    ties: &'a mut Ties,
    databases: usize,
    is_divisible: bool,
}

impl Taker for Tying<'_> {
    fn item(&mut self, _file: &str, item: &Item<'_>, _timeline: &Timeline) -> anyhow::Result<()> {
        let Some(record) = item.record() else { return Ok(()) };
        match Route::of(record, self.databases) {
            Route::Together(keys) => {
                keys.windows(2).for_each(|pair| self.ties.tie(record.arguments[pair[0]], record.arguments[pair[1]]));
            }
            Route::Unknown => self.is_divisible = false,
            Route::Nowhere | Route::Everywhere | Route::Divided(_) => {}
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        !self.is_divisible
    }
}

type Out = BufWriter<Box<dyn File>>;

/// Which part a key is in.
struct Map {
    hash: SipKey,
    parts_of: Vec<u16>,
    count: usize,
}

impl Map {
    fn part_of(&self, key: &[u8]) -> usize {
        self.parts_of[bucket(self.hash, key)].into()
    }

    /// Writes the parts of a log; `None` where it has something that is in no part.
    fn split(&self, disk: &Arc<dyn Disk>, log: &Log, databases: usize) -> anyhow::Result<Option<Parts>> {
        let folder = TempDir::new().context("a temporary folder (TMPDIR says where)")?;
        let parts = Parts { folder, count: self.count };
        let mut outs = Vec::new();
        for part in 0..self.count {
            let path = parts.path(part);
            let file = disk.open(&path, Mode::CreateNew).with_context(|| path.display().to_string())?;
            outs.push(BufWriter::with_capacity(BUFFER, file));
        }
        for (index, file) in log.files.iter().enumerate().filter(|(_, file)| file.has_rdb) {
            outs = match self.split_rdb(&**disk, file, outs)? {
                // Behind records there is no place for an RDB.
                Some(outs) if index == 0 => outs,
                _ => return Ok(None),
            };
        }
        let outs = outs.into_iter().map(|out| PartOut { out, db: 0 }).collect();
        let mut splitting = Splitting { map: self, outs, databases, line: Vec::new() };
        walk(disk, log, &mut splitting)?;
        splitting.outs.iter_mut().try_for_each(|part| part.out.flush()).with_context(|| parts.name())?;
        Ok(Some(parts))
    }

    fn split_rdb(&self, disk: &dyn Disk, file: &LogFile, outs: Vec<Out>) -> anyhow::Result<Option<Vec<Out>>> {
        let mut reader = compact::rdb_reader(disk, file)?;
        let version = Version::nearest(reader.header());
        let options = WriteOptions { checksum: false, compress: false };
        let mut writers = Vec::new();
        for out in outs {
            writers.push((Writer::new(out, version, options)?, None));
        }
        loop {
            match reader.next().with_context(|| report::name(file))? {
                Event::Key(key) if key.refusal().is_none() => {
                    let (writer, db) = &mut writers[self.part_of(&key.key)];
                    if db.replace(key.db) != Some(key.db) {
                        writer.select_db(key.db, 0, 0)?;
                    }
                    writer.copy_key(&mut reader, &key).with_context(|| report::name(file))?;
                }
                Event::Function { code } => writers[0].0.function(&code)?,
                Event::ModuleAux { id, raw, .. } => writers[0].0.module_aux(id, &raw)?,
                Event::End { .. } => break,
                // A replay of the whole says what about it.
                Event::Key(_) | Event::FunctionPreGa { .. } | Event::Update { .. } => return Ok(None),
                Event::Aux { .. }
                | Event::SlotImport { .. }
                | Event::Foreign { .. }
                | Event::SelectDb(_)
                | Event::ResizeDb { .. }
                | Event::SlotInfo { .. }
                | Event::HashTemplate { .. } => {}
            }
        }
        let outs: Result<Vec<_>, _> = writers.into_iter().map(|(writer, _)| writer.finish()).collect();
        Ok(Some(outs?))
    }
}

/// A part under way.
struct PartOut {
    out: Out,
    /// The database that its last record selects.
    db: u64,
}

impl PartOut {
    fn put(&mut self, db: u64, record: &[u8]) -> std::io::Result<()> {
        if self.db != db {
            let mut select = Vec::new();
            encode_request(&mut select, &["SELECT", &db.to_string()]);
            self.out.write_all(&select)?;
            self.db = db;
        }
        self.out.write_all(record)
    }
}

/// Gives records to their parts.
struct Splitting<'a> {
    map: &'a Map,
    outs: Vec<PartOut>,
    databases: usize,
    line: Vec<u8>,
}

impl Splitting<'_> {
    /// Gives each part the keys of a record that are its own.
    fn put_divided(&mut self, db: u64, record: &Record<'_>, step: usize) -> std::io::Result<()> {
        let (name, rest) = (record.arguments[0], &record.arguments[1..]);
        let mut pieces: SmallVec<[_; 8]> = rest.chunks(step).map(|piece| (self.map.part_of(piece[0]), piece)).collect();
        pieces.sort_by_key(|(part, _)| *part);
        for pieces in pieces.chunk_by(|first, second| first.0 == second.0) {
            let words: SmallVec<[&[u8]; 8]> =
                std::iter::once(name).chain(pieces.iter().flat_map(|(_, piece)| piece.iter().copied())).collect();
            self.line.clear();
            encode_request(&mut self.line, &words);
            self.outs[pieces[0].0].put(db, &self.line)?;
        }
        Ok(())
    }
}

impl Taker for Splitting<'_> {
    fn item(&mut self, _file: &str, item: &Item<'_>, timeline: &Timeline) -> anyhow::Result<()> {
        let Some(record) = item.record() else { return Ok(()) };
        let db = timeline.db;
        let written = match Route::of(record, self.databases) {
            Route::Nowhere => Ok(()),
            Route::Everywhere => self.outs.iter_mut().try_for_each(|part| part.put(db, record.raw)),
            Route::Together(keys) => {
                let part = keys.first().map_or(0, |position| self.map.part_of(record.arguments[*position]));
                self.outs[part].put(db, record.raw)
            }
            Route::Divided(step) => self.put_divided(db, record, step),
            Route::Unknown => anyhow::bail!("the log changed meanwhile: stop who writes to it"),
        };
        written.context("a temporary folder (TMPDIR says where)")
    }
}
