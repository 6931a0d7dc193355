//! The first pass: a digest of every key of both files, sorted, and what their comparison says.
//!
//! ```text
//! record = what u8, database u64 BE, name (sorted), side u8, offset u64 BE, type (sized), digest 16 bytes
//! ```
//!
//! A digest is the sum of a keyed 128-bit hash of each element, so that their order does not count (the place of a list's
//! item is part of it). The hash keys are drawn at start: no file can be made to look like another.

use super::element::{Elements, Part, Sink};
use super::input::Reading;
use super::record::{put_sized, put_sorted, take_array, take_sized, take_sorted};
use crate::selection::Selection;
use ironkeep::cli::utc::Utc;
use ironkeep::disk::{Sorted, Sorter};
use ironkeep::rdb::{Event, KeyHeader};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;

/// Bytes of records held before they go to a temporary file.
const BUDGET: usize = 64 << 20;

/// What has a name in a file; in the order in which differences are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum What {
    Key,
    Function,
    ModuleAux,
}

/// The name of something in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    pub what: What,
    pub db: u64,
    pub name: Vec<u8>,
}

/// What one file says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where the key lies, or the how manieth function or module data it is.
    pub offset: u64,
    pub type_name: String,
    digest: u128,
}

/// What a file has that the digests do not show.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub keys: u64,
    pub functions: u64,
    /// Collections without elements, which servers skip.
    pub empty: u64,
    /// Keys that come again: the last one counts.
    pub repeated: u64,
}

/// A 128-bit hash of elements, added up.
pub struct Digest {
    hashers: [RandomState; 2],
    sum: u128,
}

impl Digest {
    pub fn new() -> Digest {
        Digest { hashers: [RandomState::new(), RandomState::new()], sum: 0 }
    }

    /// A hash of a list of byte strings by itself.
    pub fn hash(&self, content: &[&[u8]]) -> u64 {
        let mut hasher = self.hashers[0].build_hasher();
        content.iter().for_each(|bytes| hasher.write(bytes));
        hasher.finish()
    }

    /// The sum since the last time.
    fn take(&mut self) -> u128 {
        std::mem::take(&mut self.sum)
    }
}

impl Sink for Digest {
    fn element(&mut self, part: Part, identity: &[&[u8]], content: &[&[u8]]) {
        let half = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            hasher.write_u8(part as u8); // the discriminant
            for list in [identity, content] {
                hasher.write_usize(list.len());
                for bytes in list {
                    hasher.write_usize(bytes.len());
                    hasher.write(bytes);
                }
            }
            u128::from(hasher.finish())
        };
        self.sum = self.sum.wrapping_add(half(&self.hashers[0]) << 64 | half(&self.hashers[1]));
    }
}

/// The records of both files.
pub struct Index {
    sorter: Sorter,
    digest: Digest,
}

/// What a pass takes of a file.
pub struct Scope<'a> {
    pub selection: &'a Selection,
    pub ignores_expiry: bool,
    /// Whether functions and data of modules are compared too.
    pub takes_beside: bool,
    pub now: Utc,
}

/// Tells what belongs to a key beside its value.
pub fn tell_header(key: &KeyHeader, ignores_expiry: bool, sink: &mut impl Sink) {
    if let Some(ms) = key.expire_at_ms.filter(|_| !ignores_expiry) {
        sink.element(Part::Expiry, &[], &[ms.to_string().as_bytes()]);
    }
    for metadata in &key.metadata {
        sink.element(Part::Metadata, &[&metadata.class], &[&metadata.raw]);
    }
}

/// What a file holds beside keys.
pub enum Beside {
    Function { name: Vec<u8>, code: Vec<u8> },
    ModuleAux { name: Vec<u8>, raw: Vec<u8> },
}

impl Beside {
    pub fn of(event: Event, aux: &mut HashMap<String, u64>) -> Option<Beside> {
        match event {
            Event::Function { code } => {
                let name = crate::library::Library::of(&code).name.unwrap_or_default().to_vec();
                Some(Beside::Function { name, code })
            }
            Event::ModuleAux { module, raw, .. } => {
                let number = aux.entry(module.clone()).or_default();
                *number += 1;
                Some(Beside::ModuleAux { name: format!("{module} {number}").into_bytes(), raw })
            }
            _ => None,
        }
    }

    pub fn name(&self) -> Name {
        let (what, name) = match self {
            Beside::Function { name, .. } => (What::Function, name),
            Beside::ModuleAux { name, .. } => (What::ModuleAux, name),
        };
        Name { what, db: 0, name: name.clone() }
    }

    pub fn tell(&self, sink: &mut impl Sink) {
        match self {
            Beside::Function { code, .. } => sink.element(Part::Code, &[], &[code]),
            Beside::ModuleAux { raw, .. } => sink.element(Part::Module, &[], &[raw]),
        }
    }
}

/// Whether a value without elements is none.
pub fn is_collection(type_name: &str) -> bool {
    matches!(type_name, "list" | "set" | "zset" | "hash" | "array")
}

impl Index {
    pub fn new() -> Index {
        Index { sorter: Sorter::new(BUDGET), digest: Digest::new() }
    }

    /// Reads a file.
    pub fn add(&mut self, side: u8, reading: &mut Reading, scope: &Scope<'_>) -> anyhow::Result<Counts> {
        let (mut counts, mut aux) = (Counts::default(), HashMap::new());
        let mut left = scope.selection.limit.unwrap_or(u64::MAX);
        loop {
            match reading.next()? {
                Event::Key(key) => {
                    if left == 0 || !scope.selection.wants(&key, scope.now) {
                        continue;
                    }
                    self.digest.take();
                    tell_header(&key, scope.ignores_expiry, &mut self.digest);
                    let mut elements = Elements::new(&mut self.digest, scope.ignores_expiry);
                    reading.value(&mut elements)?;
                    let is_empty = elements.count == 0 && is_collection(key.kind.type_name());
                    if !scope.selection.wants_size(reading.offset() - key.offset) {
                        continue;
                    }
                    left -= 1;
                    if is_empty {
                        counts.empty += 1;
                        continue;
                    }
                    counts.keys += 1;
                    let found = (key.kind.type_name(), key.offset);
                    self.push(&Name { what: What::Key, db: key.db, name: key.key }, side, found)?;
                }
                Event::End { .. } => return Ok(counts),
                other => {
                    let number = counts.functions + aux.values().sum::<u64>();
                    let Some(beside) = Beside::of(other, &mut aux) else { continue };
                    if scope.takes_beside {
                        counts.functions += u64::from(matches!(beside, Beside::Function { .. }));
                        self.digest.take();
                        beside.tell(&mut self.digest);
                        self.push(&beside.name(), side, ("", number))?;
                    }
                }
            }
        }
    }

    fn push(&mut self, name: &Name, side: u8, (type_name, offset): (&str, u64)) -> io::Result<()> {
        let digest = self.digest.take();
        self.sorter.push_with(|out| {
            out.push(name.what as u8); // the discriminant
            out.extend_from_slice(&name.db.to_be_bytes());
            put_sorted(out, &name.name);
            out.push(side);
            out.extend_from_slice(&offset.to_be_bytes());
            put_sized(out, type_name.as_bytes());
            out.extend_from_slice(&digest.to_le_bytes());
        })
    }

    /// Puts the files side by side.
    pub fn finish(self) -> io::Result<Pairs> {
        Ok(Pairs { sorted: self.sorter.finish()?, ahead: None, repeated: [0; 2] })
    }
}

/// Names with what each file says of them, sorted.
pub struct Pairs {
    sorted: Sorted,
    ahead: Option<(Name, u8, Found)>,
    /// Keys that came again, by side.
    pub repeated: [u64; 2],
}

fn parse(mut record: &[u8]) -> Option<(Name, u8, Found)> {
    let rest = &mut record;
    let [what] = take_array::<1>(rest)?;
    let what = [What::Key, What::Function, What::ModuleAux].into_iter().find(|one| *one as u8 == what)?;
    let db = u64::from_be_bytes(take_array(rest)?);
    let name = Name { what, db, name: take_sorted(rest)? };
    let [side] = take_array::<1>(rest)?;
    let offset = u64::from_be_bytes(take_array(rest)?);
    let type_name = String::from_utf8_lossy(take_sized(rest)?).into_owned();
    let digest = u128::from_le_bytes(take_array(rest)?);
    Some((name, side, Found { offset, type_name, digest }))
}

impl Pairs {
    fn read(&mut self) -> io::Result<Option<(Name, u8, Found)>> {
        if let Some(ahead) = self.ahead.take() {
            return Ok(Some(ahead));
        }
        let Some(record) = self.sorted.next()? else { return Ok(None) };
        parse(record).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The next name that the files do not agree on.
    pub fn next_difference(&mut self) -> io::Result<Option<(Name, [Option<Found>; 2])>> {
        loop {
            let Some((name, side, found)) = self.read()? else { return Ok(None) };
            let mut sides = [None, None];
            sides[usize::from(side)] = Some(found);
            while let Some((other, side, found)) = self.read()? {
                if other != name {
                    self.ahead = Some((other, side, found));
                    break;
                }
                let place = &mut sides[usize::from(side)];
                self.repeated[usize::from(side)] += u64::from(place.is_some());
                *place = Some(found); // records of one side are in the order of the file
            }
            let is_same = matches!(&sides, [Some(left), Some(right)]
                if left.digest == right.digest && left.type_name == right.type_name);
            if !is_same {
                return Ok(Some((name, sides)));
            }
        }
    }
}
