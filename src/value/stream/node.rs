//! A stream's node: up to a hundred entries or so in one listpack, byte for byte as the RDB stores it.
//!
//! ```text
//! head   count | deleted | n | field 1 .. field n | 0
//! entry  flags | ms - head's | seq - head's | value 1 .. value n                     | length     (flags & 2)
//! entry  flags | ms - head's | seq - head's | m | field 1 | value 1 .. field m value m | length
//! ```
//!
//! All are elements of the listpack. The head's fields are those of the entry that opened the node; an entry with the
//! same fields carries flag 2 and no names. Flag 1 marks a deleted entry, which stays in its place: `count` is how
//! many entries live, `deleted` how many do not. `length` is how many elements the entry has before it, to walk
//! backwards. Ids are told as differences (wrapping) to the id that the node is filed under; they grow within it.
//!
//! [`Node::from_listpack`] checks all of that, so reading a [`Node`] never fails.

use super::StreamId;
use crate::value::packed::{Element, Listpack, PackedError};
use smallvec::SmallVec;

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;
/// Elements of an entry before its values: flags and both id differences.
const ENTRY_HEAD: i64 = 3;

/// Field and value pairs, in the order they were given in.
pub type Fields<'a> = SmallVec<[(Element<'a>, Element<'a>); 4]>;

/// One entry of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    pub id: StreamId,
    pub fields: Fields<'a>,
}

/// A node of a stream; see the module's text.
#[derive(Debug, Clone)]
pub struct Node {
    master: StreamId,
    pack: Listpack,
    live: usize,
    deleted: usize,
    /// Position of the first entry.
    entries: usize,
    /// Fields that the head names.
    field_count: usize,
}

/// Where an entry stands and what its first elements say.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: usize,
    id: StreamId,
    flags: i64,
    /// Position behind the id: of the number of fields, or the first value.
    body: usize,
}

impl Place {
    fn is_deleted(&self) -> bool {
        self.flags & DELETED != 0
    }
}

impl Node {
    /// A node without entries whose head names the fields that its entries are expected to have.
    pub fn new(master: StreamId, fields: &[(&[u8], &[u8])]) -> Self {
        let mut pack = Listpack::new();
        push_int(&mut pack, 0);
        push_int(&mut pack, 0);
        push_int(&mut pack, count(fields.len()));
        for (field, _) in fields {
            pack.push_back(field);
        }
        push_int(&mut pack, 0);
        let entries = pack.end();
        Self { master, pack, live: 0, deleted: 0, entries, field_count: fields.len() }
    }

    /// Takes a node from a file: every element is checked against the picture above.
    pub fn from_listpack(master: StreamId, pack: Listpack) -> Result<Self, PackedError> {
        Check { pack: &pack, at: pack.first() }.run(master).map(|checked| Self {
            master,
            live: checked.live,
            deleted: checked.deleted,
            entries: checked.entries,
            field_count: checked.field_count,
            pack,
        })
    }

    /// Of a node that is damaged further on, what stands before the damage; `None` where no entry there lives.
    pub fn whole_beginning(master: StreamId, mut pack: Listpack) -> Option<Self> {
        let mut check = Check { pack: &pack, at: pack.first() };
        let (_, mut found) = check.head().ok()?;
        let mut end = found.entries;
        while check.at.is_some() && check.next_entry(master, &mut found).is_ok() {
            end = check.offset();
        }
        if end < pack.end() {
            pack.split_off(end);
        }
        let Checked { live, deleted, entries, field_count, .. } = found;
        let mut node = Self { master, live, deleted, entries, field_count, pack };
        node.write_counts();
        (live > 0).then_some(node)
    }

    /// The id that the node is filed under; no entry's is smaller.
    pub fn master(&self) -> StreamId {
        self.master
    }

    pub fn listpack(&self) -> &Listpack {
        &self.pack
    }

    /// Entries that live.
    pub fn live(&self) -> usize {
        self.live
    }

    /// Entries, deleted ones too.
    pub fn total(&self) -> usize {
        self.live + self.deleted
    }

    /// The id of the last entry, be it deleted.
    pub fn last_id(&self) -> Option<StreamId> {
        let at = self.before(self.pack.end())?;
        Some(self.place(at).id)
    }

    /// Appends an entry; its id must be greater than all others here.
    pub fn append(&mut self, id: StreamId, fields: &[(&[u8], &[u8])]) {
        let same = self.has_fields(fields);
        let len = count(fields.len());
        // Differences wrap around, and are read back so.
        let ms = id.ms.wrapping_sub(self.master.ms).cast_signed();
        let seq = id.seq.wrapping_sub(self.master.seq).cast_signed();
        let mut elements = SmallVec::<[Element<'_>; 16]>::new();
        elements.extend([if same { SAME_FIELDS } else { 0 }, ms, seq].map(Element::Int));
        if same {
            elements.extend(fields.iter().map(|(_, value)| Element::Bytes(value)));
            elements.push(Element::Int(ENTRY_HEAD + len));
        } else {
            elements.push(Element::Int(len));
            elements.extend(fields.iter().flat_map(|(field, value)| [Element::Bytes(field), Element::Bytes(value)]));
            elements.push(Element::Int(ENTRY_HEAD + 1 + 2 * len));
        }
        self.pack.push_all(&elements);
        self.live += 1;
        self.write_counts();
    }

    /// Marks the entry as deleted; false if there is none of that id, or none that lives.
    pub fn delete(&mut self, id: StreamId) -> bool {
        let Some(place) = self.find(id) else {
            return false;
        };
        self.mark_deleted(place);
        self.write_counts();
        true
    }

    /// Whether the entry is here and lives.
    pub fn contains(&self, id: StreamId) -> bool {
        self.find(id).is_some()
    }

    pub fn first_live_id(&self) -> Option<StreamId> {
        self.places().find(|place| !place.is_deleted()).map(|place| place.id)
    }

    /// Deletes living entries from the front while `go_on(id, how many are deleted already)`; returns how many.
    pub fn delete_front(&mut self, mut go_on: impl FnMut(StreamId, usize) -> bool) -> usize {
        let (mut at, mut deleted) = (self.entries, 0);
        while let Some(place) = self.place_at(at) {
            if !go_on(place.id, deleted) {
                break;
            }
            if !place.is_deleted() {
                self.mark_deleted(place);
                deleted += 1;
            }
            // Marking may have changed the size of the entry's first element, but not where the entry stands.
            at = self.behind(self.place(at));
        }
        if deleted > 0 {
            self.write_counts();
        }
        deleted
    }

    /// Living entries with ids from `start` to `end`, both included.
    pub fn range(&self, start: StreamId, end: StreamId) -> Range<'_> {
        let mut front = self.entries;
        while let Some(place) = self.place_at(front).filter(|place| place.id < start) {
            front = self.behind(place);
        }
        Range { node: self, fields: self.head_fields().collect(), front, back: self.pack.end(), start, end }
    }

    fn head_fields(&self) -> impl Iterator<Item = Element<'_>> {
        self.pack.iter().skip(3).take(self.field_count)
    }

    fn has_fields(&self, fields: &[(&[u8], &[u8])]) -> bool {
        fields.len() == self.field_count
            && self.head_fields().zip(fields).all(|(element, (field, _))| element.eq_bytes(field))
    }

    fn mark_deleted(&mut self, place: Place) {
        replace_int(&mut self.pack, place.at, place.flags | DELETED);
        self.live -= 1;
        self.deleted += 1;
    }

    /// Writes the counts into the head, where they differ, and finds the entries again.
    fn write_counts(&mut self) {
        let before = self.pack.byte_len();
        let first = self.pack.first().expect("a node has a head");
        replace_int(&mut self.pack, first, count(self.live));
        let second = self.pack.next(first).expect("a node has a head");
        replace_int(&mut self.pack, second, count(self.deleted));
        self.entries = self.entries + self.pack.byte_len() - before;
    }

    /// All entries, deleted ones too.
    fn places(&self) -> impl Iterator<Item = Place> {
        std::iter::successors(self.place_at(self.entries), |place| self.place_at(self.behind(*place)))
    }

    fn find(&self, id: StreamId) -> Option<Place> {
        self.places().take_while(|place| place.id <= id).find(|place| place.id == id && !place.is_deleted())
    }

    fn place_at(&self, at: usize) -> Option<Place> {
        (at < self.pack.end()).then(|| self.place(at))
    }

    fn place(&self, at: usize) -> Place {
        let (flags, ms_at) = self.int_at(at);
        let (ms, seq_at) = self.int_at(ms_at);
        let (seq, body) = self.int_at(seq_at);
        Place { at, id: offset_id(self.master, ms, seq), flags, body }
    }

    fn int_at(&self, at: usize) -> (i64, usize) {
        let mut elements = self.pack.iter_at(at);
        let value = elements.next().and_then(|element| element.as_i64()).expect("a node's numbers were checked");
        (value, elements.position())
    }

    /// The position behind the element at `at`.
    fn after(&self, at: usize) -> usize {
        self.pack.next(at).unwrap_or(self.pack.end())
    }

    /// The position behind the entry.
    fn behind(&self, place: Place) -> usize {
        let (values, at) = if place.flags & SAME_FIELDS != 0 {
            (self.field_count, place.body)
        } else {
            let (fields, at) = self.int_at(place.body);
            (2 * uncount(fields), at)
        };
        (0..=values).fold(at, |at, _| self.after(at))
    }

    /// The position of the entry that ends at `at`.
    fn before(&self, at: usize) -> Option<usize> {
        if at <= self.entries {
            return None;
        }
        let length_at = self.pack.previous(at)?;
        let (length, _) = self.int_at(length_at);
        (0..length).try_fold(length_at, |at, _| self.pack.previous(at))
    }

    /// The fields of the entry, and the position behind it.
    fn fields<'a>(&'a self, place: Place, names: &[Element<'a>]) -> (Fields<'a>, usize) {
        let mut elements = self.pack.iter_at(place.body);
        let mut fields = Fields::new();
        if place.flags & SAME_FIELDS != 0 {
            fields.reserve(names.len());
            for (name, value) in names.iter().zip(&mut elements) {
                fields.push((*name, value));
            }
        } else {
            let len = elements.next().and_then(|len| len.as_i64()).map_or(0, uncount);
            let mut pair = || Some((elements.next()?, elements.next()?));
            fields.extend((0..len).map_while(|_| pair()));
        }
        elements.next(); // how long the entry is
        (fields, elements.position())
    }
}

/// Entries of one node, from both ends.
#[derive(Debug, Clone)]
pub struct Range<'a> {
    node: &'a Node,
    fields: SmallVec<[Element<'a>; 4]>,
    front: usize,
    back: usize,
    start: StreamId,
    end: StreamId,
}

impl<'a> Iterator for Range<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        while self.front < self.back {
            let place = self.node.place(self.front);
            if place.id > self.end {
                break;
            }
            if place.is_deleted() {
                self.front = self.node.behind(place);
                continue;
            }
            let (fields, behind) = self.node.fields(place, &self.fields);
            self.front = behind;
            return Some(Entry { id: place.id, fields });
        }
        self.back = self.front;
        None
    }
}

impl DoubleEndedIterator for Range<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        while self.front < self.back
            && let Some(at) = self.node.before(self.back)
        {
            let place = self.node.place(at);
            if place.id < self.start {
                break;
            }
            self.back = at;
            if !place.is_deleted() && place.id <= self.end {
                return Some(Entry { id: place.id, fields: self.node.fields(place, &self.fields).0 });
            }
        }
        self.back = self.front;
        None
    }
}

/// A walk over a listpack that claims to be a node.
struct Check<'a> {
    pack: &'a Listpack,
    /// The next element; `None` at the end.
    at: Option<usize>,
}

/// What a walk to the end has found.
#[derive(Debug, Default)]
struct Checked {
    live: usize,
    deleted: usize,
    entries: usize,
    field_count: usize,
    last: Option<StreamId>,
}

impl Check<'_> {
    fn run(&mut self, master: StreamId) -> Result<Checked, PackedError> {
        let (counts, mut found) = self.head()?;
        while self.at.is_some() {
            self.next_entry(master, &mut found)?;
        }
        if (found.live, found.deleted) != counts {
            return Err(PackedError::new(self.pack.first().unwrap_or(0), "a stream node miscounts its entries"));
        }
        Ok(found)
    }

    /// How many entries live and do not, as the head says, and where the entries begin.
    fn head(&mut self) -> Result<((usize, usize), Checked), PackedError> {
        let live = self.number("a stream node's count of entries")?;
        let deleted = self.number("a stream node's count of deleted entries")?;
        let field_count = self.number("a stream node's count of fields")?;
        self.skip(field_count)?;
        let offset = self.offset();
        if self.int("the end of a stream node's head")? != 0 {
            return Err(PackedError::new(offset, "the end of a stream node's head is not 0"));
        }
        Ok(((live, deleted), Checked { entries: self.offset(), field_count, ..Checked::default() }))
    }

    fn next_entry(&mut self, master: StreamId, found: &mut Checked) -> Result<(), PackedError> {
        let offset = self.offset();
        let (id, is_deleted) = self.entry(master, found.field_count)?;
        if id < master || found.last.is_some_and(|last| id <= last) {
            return Err(PackedError::new(offset, "a stream entry whose id is not above the one before it"));
        }
        found.last = Some(id);
        *(if is_deleted { &mut found.deleted } else { &mut found.live }) += 1;
        Ok(())
    }

    fn entry(&mut self, master: StreamId, field_count: usize) -> Result<(StreamId, bool), PackedError> {
        let offset = self.offset();
        let flags = self.int("the flags of a stream entry")?;
        if !(0..=DELETED | SAME_FIELDS).contains(&flags) {
            return Err(PackedError::new(offset, "unknown flags of a stream entry"));
        }
        let ms = self.int("a stream entry's id")?;
        let seq = self.int("a stream entry's id")?;
        let mut elements = ENTRY_HEAD;
        if flags & SAME_FIELDS != 0 {
            elements += self.skip(field_count)?;
        } else {
            let fields = self.number("a stream entry's count of fields")?;
            elements += 1 + self.skip(fields)? + self.skip(fields)?;
        }
        let offset = self.offset();
        if self.int("a stream entry's length")? != elements {
            return Err(PackedError::new(offset, "a stream entry's length that is not its own"));
        }
        Ok((offset_id(master, ms, seq), flags & DELETED != 0))
    }

    fn offset(&self) -> usize {
        self.at.unwrap_or(self.pack.end())
    }

    fn int(&mut self, what: &'static str) -> Result<i64, PackedError> {
        let at = self.at.ok_or(PackedError::new(self.offset(), "a stream node cut short"))?;
        let mut elements = self.pack.iter_at(at);
        let Some(Element::Int(value)) = elements.next() else { return Err(PackedError::new(at, what)) };
        self.at = Some(elements.position()).filter(|at| *at < self.pack.end());
        Ok(value)
    }

    /// A count, which can't exceed the bytes of the listpack.
    fn number(&mut self, what: &'static str) -> Result<usize, PackedError> {
        let offset = self.offset();
        let value = self.int(what)?;
        usize::try_from(value).ok().filter(|value| *value <= self.pack.byte_len()).ok_or(PackedError::new(offset, what))
    }

    /// Walks over `elements` and returns that number.
    fn skip(&mut self, elements: usize) -> Result<i64, PackedError> {
        for _ in 0..elements {
            let at = self.at.ok_or(PackedError::new(self.pack.end(), "a stream node cut short"))?;
            self.at = self.pack.next(at);
        }
        Ok(count(elements))
    }
}

/// The id that stands at these differences to `master`.
fn offset_id(master: StreamId, ms: i64, seq: i64) -> StreamId {
    StreamId::new(master.ms.wrapping_add(ms.cast_unsigned()), master.seq.wrapping_add(seq.cast_unsigned()))
}

fn push_int(pack: &mut Listpack, value: i64) {
    pack.push_element(Element::Int(value));
}

/// Writes `value` at `at` if another stands there.
fn replace_int(pack: &mut Listpack, at: usize, value: i64) {
    if pack.get(at).as_i64() != Some(value) {
        pack.replace_by_int(at, value);
    }
}

/// A count of things in memory, as the listpack stores it.
fn count(count: usize) -> i64 {
    i64::try_from(count).expect("things in memory number less than 2^63")
}

/// A count that was checked or written by this module.
fn uncount(count: i64) -> usize {
    usize::try_from(count).unwrap_or(0)
}
