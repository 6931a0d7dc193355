//! The second pass: the elements of the keys that differ, sorted, so that those of both files meet.
//!
//! ```text
//! record  = number of the difference u64 BE, part u8, identity (sorted) ..., 0 1, side u8, content (sized) ...
//! ```
//!
//! The elements of all changed keys go through a sorter: what is held does not grow with a value. For lists a hash of
//! every item is held too, 8 bytes each, to find the shortest edit; beyond [`MOST_HASHES`] in all, lists are compared
//! place by place.

use super::edit::{self, Edit};
use super::element::{Elements, PARTS, Part, Sink};
use super::index::{Beside, Digest, Scope, What, tell_header};
use super::input::Reading;
use super::record::{put_sized, put_sorted, take_array, take_sized, take_sorted};
use ironkeep::disk::{Sorted, Sorter};
use ironkeep::rdb::Event;
use std::collections::{BTreeMap, HashMap};
use std::io;

/// Bytes of elements held before they go to a temporary file.
const BUDGET: usize = 64 << 20;
/// Hashes of list items held: 64 MiB.
const MOST_HASHES: usize = 8 << 20;

/// An element that the files do not agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub part: Part,
    pub identity: Vec<Vec<u8>>,
    /// What each file holds; `None` where it does not have the element.
    pub contents: [Option<Vec<Vec<u8>>>; 2],
}

/// Which keys of a file are wanted: in the order in which they come, with the number of their difference.
pub struct Wanted {
    keys: Sorter,
    count: u64,
    /// Functions and module data, of which there is little, by what precedes them of their kind.
    beside: HashMap<u64, u64>,
}

impl Wanted {
    pub fn new() -> Wanted {
        Wanted { keys: Sorter::new(BUDGET / 4), count: 0, beside: HashMap::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Keys are found by their offset; what is beside keys by its place among its kind.
    pub fn add(&mut self, what: What, offset: u64, number: u64) -> io::Result<()> {
        self.count += 1;
        if what != What::Key {
            self.beside.insert(offset, number);
            return Ok(());
        }
        self.keys.push_with(|out| {
            out.extend_from_slice(&offset.to_be_bytes());
            out.extend_from_slice(&number.to_be_bytes());
        })
    }
}

/// The next wanted key: its offset and the number of its difference.
fn next_key(sorted: &mut Sorted) -> io::Result<Option<(u64, u64)>> {
    let Some(mut record) = sorted.next()? else { return Ok(None) };
    let pair = take_array(&mut record).zip(take_array(&mut record));
    Ok(pair.map(|(offset, number)| (u64::from_be_bytes(offset), u64::from_be_bytes(number))))
}

/// The elements of the differences of both files.
pub struct Details {
    sorter: Sorter,
    /// Why the sorter took no more.
    failed: Option<io::Error>,
    digest: Digest,
    hashes: BTreeMap<u64, [Vec<u64>; 2]>,
    hash_count: usize,
    number: u64,
    side: u8,
}

impl Sink for Details {
    fn element(&mut self, part: Part, identity: &[&[u8]], content: &[&[u8]]) {
        let (number, side) = (self.number, self.side);
        if part == Part::Item && self.hash_count < MOST_HASHES {
            self.hash_count += 1;
            let hash = self.digest.hash(content);
            self.hashes.entry(number).or_default()[usize::from(side)].push(hash);
        }
        let pushed = self.sorter.push_with(|out| {
            out.extend_from_slice(&number.to_be_bytes());
            out.push(part as u8); // the discriminant
            identity.iter().for_each(|bytes| put_sorted(out, bytes));
            out.extend_from_slice(&[0, 1, side]);
            content.iter().for_each(|bytes| put_sized(out, bytes));
        });
        if let Err(error) = pushed {
            self.failed.get_or_insert(error);
        }
    }
}

impl Details {
    pub fn new() -> Details {
        Details {
            sorter: Sorter::new(BUDGET),
            failed: None,
            digest: Digest::new(),
            hashes: BTreeMap::new(),
            hash_count: 0,
            number: 0,
            side: 0,
        }
    }

    /// Reads the wanted keys of a file.
    pub fn add(&mut self, side: u8, reading: &mut Reading, wanted: Wanted, scope: &Scope<'_>) -> anyhow::Result<()> {
        let (mut left, mut aux, mut place) = (wanted.count, HashMap::new(), 0);
        let mut sorted = wanted.keys.finish()?;
        let mut next = next_key(&mut sorted)?;
        self.side = side;
        while left > 0 {
            match reading.next()? {
                Event::Key(key) => {
                    let Some((_, number)) = next.filter(|(offset, _)| *offset == key.offset) else { continue };
                    self.number = number;
                    tell_header(&key, scope.ignores_expiry, self);
                    reading.value(&mut Elements::new(self, scope.ignores_expiry))?;
                    next = next_key(&mut sorted)?;
                    left -= 1;
                }
                Event::End { .. } => break,
                other => {
                    let Some(beside) = Beside::of(other, &mut aux) else { continue };
                    if let Some(number) = wanted.beside.get(&place) {
                        self.number = *number;
                        beside.tell(self);
                        left -= 1;
                    }
                    place += 1;
                }
            }
            if let Some(error) = self.failed.take() {
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Puts the elements side by side.
    pub fn finish(self) -> io::Result<Changes> {
        let is_whole = self.hash_count < MOST_HASHES;
        let edits = self.hashes.into_iter().map(|(number, [old, new])| (number, edit::between(&old, &new)));
        let edits = if is_whole { edits.collect() } else { BTreeMap::new() };
        Ok(Changes { sorted: self.sorter.finish()?, ahead: None, edits })
    }
}

/// One side's element.
struct Told {
    number: u64,
    part: Part,
    identity: Vec<Vec<u8>>,
    side: u8,
    content: Vec<Vec<u8>>,
}

fn parse(mut record: &[u8]) -> Option<Told> {
    let rest = &mut record;
    let number = u64::from_be_bytes(take_array(rest)?);
    let [part] = take_array::<1>(rest)?;
    let part = PARTS.into_iter().find(|one| *one as u8 == part)?;
    let mut identity = Vec::new();
    while !rest.starts_with(&[0, 1]) {
        identity.push(take_sorted(rest)?);
    }
    let [_, _, side] = take_array::<3>(rest)?;
    let mut content = Vec::new();
    while !rest.is_empty() {
        content.push(take_sized(rest)?.to_vec());
    }
    Some(Told { number, part, identity, side, content })
}

/// The elements that differ, in the order of the differences.
pub struct Changes {
    sorted: Sorted,
    ahead: Option<Told>,
    /// The edits of lists, by the number of the difference.
    edits: BTreeMap<u64, Edit>,
}

impl Changes {
    fn read(&mut self) -> io::Result<Option<Told>> {
        if let Some(ahead) = self.ahead.take() {
            return Ok(Some(ahead));
        }
        let Some(record) = self.sorted.next()? else { return Ok(None) };
        parse(record).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The next element that differs in the difference of this number; `None` behind its last.
    pub fn next_of(&mut self, number: u64) -> io::Result<Option<Change>> {
        loop {
            let Some(told) = self.read()? else { return Ok(None) };
            if told.number != number {
                self.ahead = Some(told);
                return Ok(None);
            }
            if let (Part::Item, Some(edit)) = (told.part, self.edits.get(&number)) {
                match self.item(told, number, edit.removed.is_empty() && edit.added.is_empty()) {
                    Some(change) => return Ok(Some(change)),
                    None => continue,
                }
            }
            let Told { part, identity, side, content, .. } = told;
            let mut contents = [None, None];
            contents[usize::from(side)] = Some(content);
            if let Some(other) = self.read()? {
                if (other.number, other.part) == (number, part) && other.identity == identity && other.side != side {
                    contents[usize::from(other.side)] = Some(other.content);
                } else {
                    self.ahead = Some(other);
                }
            }
            if contents[0] != contents[1] {
                return Ok(Some(Change { part, identity, contents }));
            }
        }
    }

    /// An item of a list whose edit is known: told where it was taken out or put in.
    fn item(&self, told: Told, number: u64, is_same: bool) -> Option<Change> {
        let edit = self.edits.get(&number).filter(|_| !is_same)?;
        let place = u64::from_be_bytes(*told.identity.first()?.first_chunk()?);
        let places = if told.side == 0 { &edit.removed } else { &edit.added };
        places.binary_search(&place).ok()?;
        let mut contents = [None, None];
        contents[usize::from(told.side)] = Some(told.content);
        Some(Change { part: told.part, identity: told.identity, contents })
    }
}
