//! The sums of a walk: by type, database, prefix, size and expiry, and the largest keys.

use super::allocator::Allocator;
use super::model::{Estimate, Estimator};
use super::prefix::Prefixes;
use super::server::{self, Server, sds};
use crate::opened::FileReader;
use crate::selection::Selection;
use ironkeep::cli::utc::Utc;
use ironkeep::rdb::{Error, Event, Header, KeyHeader};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// Powers of two that sizes and counts are sorted into: the class `n` holds values below `2^n` and not below `2^(n-1)`.
pub const CLASSES: usize = 48;

/// Bounds of the classes of expiry in ms from now, with their names; the last class is what never expires.
pub const EXPIRY_CLASSES: [(&str, i64); 9] = [
    ("expired", 0),
    ("within a minute", 60_000),
    ("within an hour", 3_600_000),
    ("within a day", 86_400_000),
    ("within a week", 7 * 86_400_000),
    ("within 30 days", 30 * 86_400_000),
    ("within a year", 365 * 86_400_000),
    ("later", i64::MAX),
    ("never", i64::MAX),
];
const NEVER: usize = EXPIRY_CLASSES.len() - 1;

/// Keys and bytes of one class.
#[derive(Clone, Copy, Debug, Default)]
pub struct Class {
    pub keys: u64,
    pub bytes: u64,
}

impl Class {
    fn add(&mut self, bytes: u64) {
        self.keys += 1;
        self.bytes += bytes;
    }
}

/// Values by powers of two.
#[derive(Clone, Debug)]
pub struct Histogram(pub [Class; CLASSES]);

impl Default for Histogram {
    fn default() -> Self {
        Histogram([Class::default(); CLASSES])
    }
}

impl Histogram {
    fn add(&mut self, value: u64, bytes: u64) {
        let class = (u64::BITS - value.leading_zeros()) as usize; // at most 64
        self.0[class.min(CLASSES - 1)].add(bytes);
    }

    /// The classes between the first and the last that hold anything, each with its smallest and greatest value.
    pub fn rows(&self) -> impl Iterator<Item = (u64, u64, Class)> {
        let first = self.0.iter().position(|class| class.keys > 0).unwrap_or(CLASSES);
        let last = self.0.iter().rposition(|class| class.keys > 0).map_or(first, |last| last + 1);
        (first..last).map(|class| {
            let least = if class == 0 { 0 } else { 1 << (class - 1) };
            (least, (1 << class) - 1, self.0[class])
        })
    }
}

/// Keys of one type and encoding, or of one database.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub keys: u64,
    pub bytes: u64,
    pub elements: u64,
    pub expiring: u64,
    pub with_field_expiry: u64,
    pub largest: u64,
}

impl Tally {
    fn add(&mut self, key: &KeyHeader, estimate: &Estimate) {
        self.keys += 1;
        self.bytes += estimate.bytes;
        self.elements += estimate.elements;
        self.expiring += u64::from(key.expire_at_ms.is_some());
        self.with_field_expiry += u64::from(estimate.has_field_expiry);
        self.largest = self.largest.max(estimate.bytes);
    }

    pub fn merge(&mut self, other: &Tally) {
        self.keys += other.keys;
        self.bytes += other.bytes;
        self.elements += other.elements;
        self.expiring += other.expiring;
        self.with_field_expiry += other.with_field_expiry;
        self.largest = self.largest.max(other.largest);
    }
}

/// One of the largest keys. Ordered by size, so that the smallest of them is the first to go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Large {
    pub bytes: u64,
    /// Of two of one size the earlier in the file is listed first.
    offset: Reverse<u64>,
    pub db: u64,
    pub key: Vec<u8>,
    pub type_name: &'static str,
    pub encoding: &'static str,
    pub elements: u64,
    pub longest: u64,
    pub expire_at_ms: Option<i64>,
}

/// How to count.
pub struct Settings {
    /// `None`: as the file's writer was.
    pub server: Option<&'static Server>,
    pub allocator: Allocator,
    pub separator: Vec<u8>,
    pub depth: usize,
    pub max_prefixes: usize,
    pub top: usize,
    /// Whether keys whose time is over are counted, as a replica holds them, or left out, as a server does at load.
    pub keeps_expired: bool,
    pub now_ms: i64,
}

/// All sums.
pub struct Survey {
    pub settings: Settings,
    /// Whose layouts are counted.
    pub server: &'static Server,
    /// What came behind the remarks at the front, which is walked first.
    first: Option<Result<Event, Error>>,
    pub header: Header,
    /// The bytes that the writer of the file said it used.
    pub writer_used: Option<u64>,
    /// Name and version of the writer.
    pub writer: Option<String>,
    /// By type and encoding, sorted.
    pub types: Vec<((&'static str, &'static str), Tally)>,
    pub databases: BTreeMap<u64, Tally>,
    pub prefixes: Prefixes,
    top: BinaryHeap<Reverse<Large>>,
    pub sizes: Histogram,
    pub elements: Histogram,
    pub expiry: [Class; EXPIRY_CLASSES.len()],
    /// Keys whose time is over and that are not counted.
    pub expired: Class,
    /// Collections without elements, which servers pass over.
    pub empty: u64,
    pub functions: Class,
    /// Modules whose values were counted by their bytes in the file.
    pub modules: u64,
    pub file_bytes: u64,
}

impl Survey {
    /// Nothing counted yet. Reads the remarks at the front of the file: they tell which server wrote it.
    pub fn new(settings: Settings, reader: &mut FileReader) -> Survey {
        let prefixes = Prefixes::new(&settings.separator, settings.depth, settings.max_prefixes);
        let mut survey = Survey {
            server: settings.server.unwrap_or(server::DEFAULT),
            settings,
            first: None,
            header: reader.header(),
            writer_used: None,
            writer: None,
            types: Vec::new(),
            databases: BTreeMap::new(),
            prefixes,
            top: BinaryHeap::new(),
            sizes: Histogram::default(),
            elements: Histogram::default(),
            expiry: Default::default(),
            expired: Class::default(),
            empty: 0,
            functions: Class::default(),
            modules: 0,
            file_bytes: 0,
        };
        survey.first = loop {
            match reader.next() {
                Ok(remark @ Event::Aux { .. }) => survey.note(remark),
                other => break Some(other),
            }
        };
        if let (None, Some(writer)) = (survey.settings.server, &survey.writer) {
            survey.server = server::of_writer(writer).unwrap_or(server::DEFAULT);
        }
        survey
    }

    /// Whether the file is from a release whose layouts are not known, and nobody said which to count.
    pub fn is_writer_unknown(&self) -> bool {
        let name = |writer: &String| server::release(writer).is_none_or(|release| self.server.release() != release);
        self.settings.server.is_none() && self.writer.as_ref().is_some_and(name)
    }

    /// Walks the file; `each` is told every key that is counted.
    pub fn walk(
        &mut self,
        reader: &mut FileReader,
        selection: &Selection,
        mut each: impl FnMut(&KeyHeader, &Estimate) -> anyhow::Result<()>,
    ) -> anyhow::Result<Result<(), Error>> {
        let mut estimator = Estimator::new(self.server, self.settings.allocator);
        let (now, mut left) = (Utc(self.settings.now_ms), selection.limit.unwrap_or(u64::MAX));
        loop {
            let event = match self.first.take().unwrap_or_else(|| reader.next()) {
                Ok(event) => event,
                Err(damage) => return Ok(Err(damage)),
            };
            match event {
                Event::Key(key) => {
                    if left == 0 || !selection.wants(&key, now) {
                        continue;
                    }
                    if let Err(damage) = reader.value(&mut estimator) {
                        return Ok(Err(damage));
                    }
                    if !selection.wants_size(reader.offset() - key.offset) {
                        continue;
                    }
                    left -= 1;
                    match estimator.finish(&key) {
                        None => self.empty += 1,
                        Some(estimate) if self.count(&key, &estimate) => each(&key, &estimate)?,
                        Some(_) => {}
                    }
                }
                Event::End { .. } => {
                    self.file_bytes = reader.offset();
                    return Ok(Ok(()));
                }
                other => self.note(other),
            }
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Aux { name, value } => {
                let text = || String::from_utf8_lossy(&value).into_owned();
                match &name[..] {
                    b"used-mem" => self.writer_used = text().parse().ok(),
                    b"redis-ver" => self.writer = Some(format!("Redis {}", text())),
                    b"valkey-ver" => self.writer = Some(format!("Valkey {}", text())),
                    _ => {}
                }
            }
            Event::Function { code } => self.functions.add(sds(code.len() as u64)), // usize fits
            _ => {}
        }
    }

    /// Counts a key; false if its time is over and it is not to be counted.
    fn count(&mut self, key: &KeyHeader, estimate: &Estimate) -> bool {
        let left_ms = key.expire_at_ms.map(|at_ms| at_ms.saturating_sub(self.settings.now_ms));
        let class = left_ms.map_or(NEVER, |left| {
            EXPIRY_CLASSES[..NEVER].iter().position(|(_, bound)| left <= *bound).unwrap_or(NEVER - 1)
        });
        self.expiry[class].add(estimate.bytes);
        if class == 0 && !self.settings.keeps_expired {
            self.expired.add(estimate.bytes);
            return false;
        }
        let type_name = key.kind.type_name();
        self.tally_of((type_name, estimate.encoding)).add(key, estimate);
        self.databases.entry(key.db).or_default().add(key, estimate);
        self.prefixes.add(&key.key, estimate.bytes);
        self.sizes.add(estimate.bytes, estimate.bytes);
        if type_name == "module" {
            self.modules += 1;
        } else if type_name != "string" {
            self.elements.add(estimate.elements, estimate.bytes);
        }
        self.keep_if_large(key, estimate);
        true
    }

    /// There are a dozen of them, so that looking through is quicker than a tree.
    fn tally_of(&mut self, name: (&'static str, &'static str)) -> &mut Tally {
        let at = self.types.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            let at = self.types.partition_point(|(known, _)| *known < name);
            self.types.insert(at, (name, Tally::default()));
            at
        });
        &mut self.types[at].1
    }

    fn keep_if_large(&mut self, key: &KeyHeader, estimate: &Estimate) {
        let full = self.top.len() >= self.settings.top;
        let beats = self.top.peek().is_some_and(|Reverse(least)| least.bytes < estimate.bytes);
        if self.settings.top == 0 || full && !beats {
            return;
        }
        if full {
            self.top.pop();
        }
        self.top.push(Reverse(Large {
            bytes: estimate.bytes,
            offset: Reverse(key.offset),
            db: key.db,
            key: key.key.clone(),
            type_name: key.kind.type_name(),
            encoding: estimate.encoding,
            elements: estimate.elements,
            longest: estimate.longest,
            expire_at_ms: key.expire_at_ms,
        }));
    }

    /// The largest keys, the largest first.
    pub fn largest(&self) -> Vec<Large> {
        let mut largest: Vec<Large> = self.top.iter().map(|Reverse(large)| large.clone()).collect();
        largest.sort_by(|left, right| right.cmp(left));
        largest
    }

    /// All that was counted.
    pub fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.types.iter().for_each(|(_, tally)| total.merge(tally));
        total
    }

    /// Tallies by type, over its encodings.
    pub fn by_type(&self) -> BTreeMap<&'static str, Tally> {
        let mut types = BTreeMap::<_, Tally>::new();
        for ((type_name, _), tally) in &self.types {
            types.entry(*type_name).or_default().merge(tally);
        }
        types
    }

    /// The tables of the databases: of keys, of expiries, and of hashes whose fields expire.
    pub fn tables(&self) -> u64 {
        let (server, allocator) = (self.server, self.settings.allocator);
        let table = |count| server.table(count, allocator);
        let of = |tally: &Tally| {
            let fields = if server.has_wide_buckets() { table(tally.with_field_expiry) } else { 0 };
            table(tally.keys) + table(tally.expiring) + fields
        };
        self.databases.values().map(of).sum()
    }

    /// What the data takes: keys, values, tables and functions.
    pub fn data_bytes(&self) -> u64 {
        self.total().bytes + self.tables() + self.functions.bytes
    }

    /// What used_memory would be.
    pub fn used_memory(&self) -> u64 {
        self.data_bytes() + self.server.base
    }
}
