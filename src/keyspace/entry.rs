//! One key's memory: a single allocation behind a thin pointer.
//!
//! ```text
//! offset
//! 0   u32      meta: bits 0-1 kind (0 integer, 1 bytes, 2 object, 3 compact), bit 2 has an expiry, bits 3-5 the shape
//!              of what is compact, or 1 for bytes that were edited, bits 8-31 access
//! 4   u16      birth: the epoch in which it was made, its low half
//! 6   i64      expiry, Unix ms             (only with bit 2)
//! ..  varint   length of the key, key
//! ..  value    integer: i64 | bytes: varint length, bytes | object: address of a Box<Object>
//!              compact: varint length, the bytes of a small collection
//! ```
//!
//! Entries are not reference counted. The keyspace's rule makes that sound, and all of its methods keep it: an entry that
//! an open snapshot may reach (its birth is not younger than the youngest open snapshot) is never written but for its
//! access bits, and not freed until no open snapshot lies between its birth and its death. The access bits are a
//! relaxed atomic. The birth is the executor's alone: a snapshot never reads it, so the executor may renew it while a
//! snapshot reads the rest. Everything here is visible to the keyspace only.
//!
//! Six bytes of header make a key of 16 bytes with a value of 32 take 56, which is a size class of the allocator.

#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::codec::prefetch::prefetch;
use crate::value::{Compact, Element, Object, Shape};

const ALIGN: usize = 8;
/// Bytes that the processor fetches at once.
const CACHE_LINE: usize = 64;
/// What [`Entry::prefetch`] fetches; and up to where the rest is fetched: beyond that the processor has seen where it goes.
const FIRST_FETCHED: usize = 2 * CACHE_LINE;
const MOST_FETCHED: usize = 2048;
const META: usize = 0;
const BIRTH: usize = 4;
const BODY: usize = 6;
const KIND_MASK: u32 = 0b11;
const KIND_INT: u32 = 0;
const KIND_BYTES: u32 = 1;
const KIND_OBJECT: u32 = 2;
const KIND_COMPACT: u32 = 3;
const SHAPE_SHIFT: u32 = 3;
const SHAPE_MASK: u32 = 0b111;
/// The shape of bytes that were changed in place.
const EDITED: u32 = 1;
const HAS_EXPIRY: u32 = 0b100;
const ACCESS_SHIFT: u32 = 8;
/// The access bits of an entry are this many.
pub(super) const ACCESS_MASK: u32 = 0x00FF_FFFF;
/// Strings longer than this live in an object of their own, so that replacing an entry copies little.
pub(super) const MAX_INLINE: usize = 4096;
/// Small collections longer than this live in an object of their own, so that changing them copies little.
const MAX_COMPACT: usize = 1024;

/// What a key holds, to look at.
#[derive(Debug, Clone, Copy)]
pub enum View<'a> {
    Int(i64),
    Bytes(&'a [u8]),
    /// As `Bytes`, but changed in place since it was set.
    Edited(&'a [u8]),
    Object(&'a Object),
    /// A small collection that is inside the entry. `Db::into_value` gives it as an object.
    Compact(Compact<'a>),
}

impl<'a> View<'a> {
    /// The string, if it is one.
    pub fn string(self) -> Option<Element<'a>> {
        match self {
            View::Int(value) => Some(Element::Int(value)),
            View::Bytes(bytes) | View::Edited(bytes) => Some(Element::Bytes(bytes)),
            View::Object(Object::String(string)) => Some(string.element()),
            View::Object(_) | View::Compact(_) => None,
        }
    }

    /// A value of its own; of a collection, one that shares all chunks.
    pub fn to_object(self) -> Object {
        match self {
            View::Int(value) => Object::String(crate::value::StringValue::Int(value)),
            View::Bytes(bytes) => Object::String(crate::value::StringValue::Bytes(bytes.to_vec())),
            View::Edited(bytes) => Object::String(crate::value::StringValue::edited(bytes.to_vec())),
            View::Object(object) => object.clone(),
            View::Compact(compact) => compact.to_object(),
        }
    }

    pub fn type_name(self) -> &'static str {
        match self {
            View::Int(_) | View::Bytes(_) | View::Edited(_) => "string",
            View::Object(object) => object.type_name(),
            View::Compact(compact) => compact.type_name(),
        }
    }

    /// The name that OBJECT ENCODING gives.
    pub fn encoding(self) -> &'static str {
        match self {
            View::Int(_) => "int",
            View::Bytes(bytes) if bytes.len() <= 44 => "embstr",
            View::Bytes(_) | View::Edited(_) => "raw",
            View::Object(object) => object.encoding(),
            View::Compact(compact) => compact.encoding(),
        }
    }
}

/// What a new entry is to hold.
pub(super) enum Content<'a> {
    Int(i64),
    Bytes(&'a [u8]),
    Edited(&'a [u8]),
    Object(Box<Object>),
    Compact(Compact<'a>),
}

impl<'a> Content<'a> {
    /// The object's compact form, if that fits an entry.
    pub(super) fn compact(object: &'a Object) -> Option<Self> {
        Compact::of(object).filter(|compact| compact.bytes.len() <= MAX_COMPACT).map(Content::Compact)
    }

    /// A packed collection: compact, or an object where it is long.
    pub(super) fn of_compact(compact: Compact<'a>) -> Self {
        if compact.bytes.len() <= MAX_COMPACT {
            Content::Compact(compact)
        } else {
            Content::Object(Box::new(compact.to_object()))
        }
    }

    fn kind(&self) -> u32 {
        match self {
            Content::Int(_) => KIND_INT,
            Content::Bytes(_) => KIND_BYTES,
            Content::Edited(_) => KIND_BYTES | EDITED << SHAPE_SHIFT,
            Content::Object(_) => KIND_OBJECT,
            Content::Compact(compact) => KIND_COMPACT | u32::from(compact.shape.code()) << SHAPE_SHIFT,
        }
    }
}

/// A handle: the address of an entry. Copying it copies no ownership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry(NonNull<u8>);

// SAFETY: an entry is plain memory and an `Object`, which is Send and Sync; the rule in the module's text orders accesses.
unsafe impl Send for Entry {}

const fn assert_shareable<T: Send + Sync>() {}
const _: () = assert_shareable::<Object>();

impl Entry {
    pub(super) fn new(key: &[u8], content: Content<'_>, expire_at_ms: Option<i64>, birth: u16, access: u32) -> Self {
        let value_len = match &content {
            Content::Int(_) | Content::Object(_) => 8,
            Content::Bytes(bytes) | Content::Edited(bytes) | Content::Compact(Compact { bytes, .. }) => {
                varint_len(bytes.len()) + bytes.len()
            }
        };
        let expiry_len = if expire_at_ms.is_some() { 8 } else { 0 };
        let size = BODY + expiry_len + varint_len(key.len()) + key.len() + value_len;
        let layout = Layout::from_size_align(size, ALIGN).expect("a key and an inline value fit the address space");
        // SAFETY: the size is at least BODY and so not zero.
        let Some(start) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        let meta = content.kind()
            | if expire_at_ms.is_some() { HAS_EXPIRY } else { 0 }
            | (access & ACCESS_MASK) << ACCESS_SHIFT;
        let mut cursor = Writer { at: start };
        cursor.put(&meta.to_ne_bytes());
        cursor.put(&birth.to_ne_bytes());
        if let Some(expire_at_ms) = expire_at_ms {
            cursor.put(&expire_at_ms.to_ne_bytes());
        }
        cursor.put_varint(key.len());
        cursor.put(key);
        match content {
            Content::Int(value) => cursor.put(&value.to_ne_bytes()),
            Content::Bytes(bytes) | Content::Edited(bytes) | Content::Compact(Compact { bytes, .. }) => {
                cursor.put_varint(bytes.len());
                cursor.put(bytes);
            }
            Content::Object(object) => cursor.put(&Box::into_raw(object).expose_provenance().to_ne_bytes()),
        }
        debug_assert_eq!(cursor.at.addr().get() - start.addr().get(), size);
        Entry(start)
    }

    /// The address as the 44-bit payload of a segment's slot.
    pub(super) fn to_payload(self) -> u64 {
        self.0.as_ptr().expose_provenance() as u64 / ALIGN as u64 // usize is 64 bits on what we build for
    }

    /// The entry of a payload that [`Entry::to_payload`] gave and that has not been freed.
    pub(super) fn from_payload(payload: u64) -> Self {
        let address = std::ptr::with_exposed_provenance_mut(payload as usize * ALIGN); // as above
        Entry(NonNull::new(address).expect("payloads are not zero"))
    }

    /// Fetches the first two cache lines: the key, and a short value.
    pub(super) fn prefetch(self) {
        prefetch(self.0.as_ptr());
        prefetch(self.0.as_ptr().wrapping_byte_add(CACHE_LINE));
    }

    /// Whether there is more than what [`Entry::prefetch`] fetches, which must have come.
    pub(super) fn is_long(self) -> bool {
        self.size() > FIRST_FETCHED
    }

    /// Fetches what follows that.
    pub(super) fn prefetch_rest(self) {
        let end = self.size().min(MOST_FETCHED);
        (FIRST_FETCHED..end).step_by(CACHE_LINE).for_each(|at| prefetch(self.0.as_ptr().wrapping_byte_add(at)));
    }

    /// The low half of the epoch in which it was made. For the executor only.
    pub(super) fn birth(self) -> u16 {
        // SAFETY: every entry has its birth there, aligned to 2; only the executor reads or writes it.
        unsafe { self.0.byte_add(BIRTH).cast::<u16>().read() }
    }

    /// Makes it as old as what was born in `birth`. For the executor only, which knows that no open snapshot lies between
    /// the two births.
    pub(super) fn set_birth(self, birth: u16) {
        // SAFETY: as in `birth`.
        unsafe { self.0.byte_add(BIRTH).cast::<u16>().write(birth) }
    }

    pub(super) fn access(self) -> u32 {
        self.meta().load(Ordering::Relaxed) >> ACCESS_SHIFT
    }

    pub(super) fn set_access(self, access: u32) {
        let rest = self.meta().load(Ordering::Relaxed) & !(ACCESS_MASK << ACCESS_SHIFT);
        self.meta().store(rest | (access & ACCESS_MASK) << ACCESS_SHIFT, Ordering::Relaxed);
    }

    pub(super) fn expire_at_ms(self) -> Option<i64> {
        // SAFETY: with the flag the expiry stands at BODY.
        self.has_expiry().then(|| unsafe { self.0.byte_add(BODY).cast::<i64>().read_unaligned() })
    }

    pub(super) fn key<'a>(self) -> &'a [u8] {
        let mut reader = self.body();
        let len = reader.varint();
        reader.slice(len)
    }

    pub(super) fn view<'a>(self) -> View<'a> {
        let mut reader = self.value();
        match self.kind() {
            KIND_INT => View::Int(i64::from_ne_bytes(reader.array())),
            KIND_BYTES => {
                let len = reader.varint();
                let bytes = reader.slice(len);
                if self.shape() == EDITED { View::Edited(bytes) } else { View::Bytes(bytes) }
            }
            KIND_COMPACT => {
                let len = reader.varint();
                let shape = Shape::of_code(self.shape() as u8); // three bits
                View::Compact(Compact { shape, bytes: reader.slice(len) })
            }
            // SAFETY: the address came from Box::into_raw and is freed only with the entry.
            _ => View::Object(unsafe { &*object_address(reader.array()) }),
        }
    }

    /// Overwrites a string and the expiry, if the new ones take the places of the old; false if they don't. The caller
    /// has made sure that no snapshot may reach the entry.
    pub(super) fn overwrite(self, content: &Content<'_>, expire_at_ms: Option<i64>) -> bool {
        let kind = self.kind() | self.shape() << SHAPE_SHIFT;
        if self.has_expiry() != expire_at_ms.is_some() || kind != content.kind() {
            return false;
        }
        let mut value = self.value();
        match content {
            Content::Int(new) => value.overwrite(&new.to_ne_bytes()),
            Content::Bytes(bytes) | Content::Edited(bytes) => {
                if value.varint() != bytes.len() {
                    return false;
                }
                value.overwrite(bytes);
            }
            Content::Object(_) | Content::Compact(_) => return false,
        }
        expire_at_ms.into_iter().for_each(|at| self.set_expire_at_ms(at));
        true
    }

    /// Overwrites the expiry; there must be one. The caller has made sure that no snapshot may reach the entry.
    pub(super) fn set_expire_at_ms(self, expire_at_ms: i64) {
        assert!(self.has_expiry(), "only an expiry that has a place is overwritten");
        // SAFETY: with the flag the expiry stands at BODY, and no other thread reads it.
        unsafe { self.0.byte_add(BODY).cast::<i64>().write_unaligned(expire_at_ms) }
    }

    /// The object, to change. The caller has made sure that no snapshot may reach the entry, and holds the keyspace
    /// exclusively for as long as the reference lives.
    pub(super) fn object_mut<'a>(self) -> Option<&'a mut Object> {
        // SAFETY: as in `view`; exclusiveness is the caller's promise.
        (self.kind() == KIND_OBJECT).then(|| unsafe { &mut *object_address(self.value().array()) })
    }

    /// Bytes of the entry itself, without what an object holds.
    pub(super) fn size(self) -> usize {
        let mut reader = self.value();
        let tail = match self.kind() {
            KIND_BYTES | KIND_COMPACT => {
                let len = reader.varint();
                len + (reader.at.addr().get() - self.value().at.addr().get())
            }
            _ => 8,
        };
        self.value().at.addr().get() - self.0.addr().get() + tail
    }

    /// Gives the memory back. Nothing may reach the entry any more.
    pub(super) fn free(self) {
        drop(self.into_object());
    }

    /// Gives the entry's memory back and returns the object, if it held one. Nothing may reach the entry any more.
    pub(super) fn into_object(self) -> Option<Box<Object>> {
        let layout = Layout::from_size_align(self.size(), ALIGN).expect("it was allocated with this layout");
        let object = (self.kind() == KIND_OBJECT).then(|| {
            let address = object_address(self.value().array());
            // SAFETY: the address came from Box::into_raw, and this is the only place that takes it back.
            unsafe { Box::from_raw(address) }
        });
        // SAFETY: allocated in `new` with the same layout, as the size is derived from what stands in it.
        unsafe { dealloc(self.0.as_ptr(), layout) };
        object
    }

    fn meta<'a>(self) -> &'a AtomicU32 {
        // SAFETY: every entry has its meta word there, aligned to 4; all accesses to it are atomic.
        unsafe { self.0.byte_add(META).cast::<AtomicU32>().as_ref() }
    }

    fn kind(self) -> u32 {
        self.meta().load(Ordering::Relaxed) & KIND_MASK
    }

    fn shape(self) -> u32 {
        self.meta().load(Ordering::Relaxed) >> SHAPE_SHIFT & SHAPE_MASK
    }

    fn has_expiry(self) -> bool {
        self.meta().load(Ordering::Relaxed) & HAS_EXPIRY != 0
    }

    fn body(self) -> Reader {
        let offset = if self.has_expiry() { BODY + 8 } else { BODY };
        // SAFETY: the allocation reaches beyond its head.
        Reader { at: unsafe { self.0.byte_add(offset) } }
    }

    fn value(self) -> Reader {
        let mut reader = self.body();
        let len = reader.varint();
        reader.skip(len);
        reader
    }
}

fn object_address(bytes: [u8; 8]) -> *mut Object {
    std::ptr::with_exposed_provenance_mut(usize::from_ne_bytes(bytes))
}

fn varint_len(value: usize) -> usize {
    let bits = usize::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize // at most 10
}

/// Writes the fields of a new entry one after another.
struct Writer {
    at: NonNull<u8>,
}

impl Writer {
    fn put(&mut self, bytes: &[u8]) {
        // SAFETY: `Entry::new` allocated the sum of all that it puts.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.at.as_ptr(), bytes.len());
            self.at = self.at.byte_add(bytes.len());
        }
    }

    fn put_varint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.put(&[value as u8 | 0x80]); // the low seven bits and the mark
            value >>= 7;
        }
        self.put(&[value as u8]); // below 0x80
    }
}

/// Reads the fields of an entry, which `Writer` laid out, one after another.
#[derive(Clone, Copy)]
struct Reader {
    at: NonNull<u8>,
}

impl Reader {
    fn varint(&mut self) -> usize {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let [byte] = self.array();
            value |= usize::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        // SAFETY: the fields are read in the order and with the lengths in which they were written.
        unsafe {
            let bytes = self.at.cast::<[u8; N]>().read();
            self.at = self.at.byte_add(N);
            bytes
        }
    }

    fn slice<'a>(&mut self, len: usize) -> &'a [u8] {
        // SAFETY: as in `array`; the entry outlives the reference by the module's rule.
        unsafe {
            let bytes = std::slice::from_raw_parts(self.at.as_ptr(), len);
            self.at = self.at.byte_add(len);
            bytes
        }
    }

    /// Writes over what would be read next, which is as long and which no other thread reads.
    fn overwrite(&mut self, bytes: &[u8]) {
        // SAFETY: the caller has compared the lengths. `bytes` may be what stands there already.
        unsafe { std::ptr::copy(bytes.as_ptr(), self.at.as_ptr(), bytes.len()) }
    }

    fn skip(&mut self, len: usize) {
        // SAFETY: as in `array`.
        self.at = unsafe { self.at.byte_add(len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Limits, List, Set};

    #[test]
    fn every_kind_reads_back_with_and_without_expiry() {
        let long = vec![7u8; 300];
        for expire_at_ms in [None, Some(-1), Some(i64::MAX)] {
            for key in [&b""[..], b"k", &long] {
                for value in [&b""[..], b"v", &long] {
                    let entry = Entry::new(key, Content::Bytes(value), expire_at_ms, 9, 0xABCDEF);
                    assert_eq!((entry.key(), entry.birth(), entry.access()), (key, 9, 0xABCDEF));
                    assert_eq!(entry.expire_at_ms(), expire_at_ms);
                    assert!(matches!(entry.view(), View::Bytes(bytes) if bytes == value));
                    let copy = Entry::from_payload(entry.to_payload());
                    copy.set_access(1);
                    assert_eq!(entry.access(), 1);
                    entry.free();
                }
                let entry = Entry::new(key, Content::Int(-5), expire_at_ms, 1, 0);
                assert!(entry.overwrite(&Content::Int(77), expire_at_ms.map(|_| 8)));
                assert_eq!(entry.expire_at_ms(), expire_at_ms.map(|_| 8));
                assert!(matches!(entry.view(), View::Int(77)));
                entry.free();
                let entry = Entry::new(key, Content::Object(Box::new(Object::List(List::new()))), expire_at_ms, 1, 0);
                assert_eq!(entry.view().type_name(), "list");
                assert!(entry.object_mut().is_some());
                assert!(matches!(entry.into_object().as_deref(), Some(Object::List(_))));
                let mut set = Set::new();
                set.insert(b"700", &Limits::default());
                let set = Object::Set(set);
                let entry = Entry::new(key, Content::compact(&set).unwrap(), expire_at_ms, 1, 5);
                assert_eq!((entry.view().type_name(), entry.view().encoding()), ("set", "intset"));
                assert!(matches!(entry.view().to_object(), Object::Set(set) if set.contains(b"700")));
                assert_eq!((entry.key(), entry.expire_at_ms(), entry.access()), (key, expire_at_ms, 5));
                entry.free();
            }
        }
    }

    #[test]
    fn a_string_is_overwritten_only_by_one_that_takes_its_place() {
        let entry = Entry::new(b"key", Content::Bytes(b"before"), Some(1), 1, 3);
        for other in [Content::Bytes(b"longer."), Content::Bytes(b""), Content::Int(1)] {
            assert!(!entry.overwrite(&other, Some(2)));
        }
        assert!(!entry.overwrite(&Content::Bytes(b"behind"), None));
        assert!(matches!(entry.view(), View::Bytes(b"before")));
        assert!(entry.overwrite(&Content::Bytes(b"behind"), Some(2)));
        assert!(matches!(entry.view(), View::Bytes(b"behind")));
        assert_eq!((entry.expire_at_ms(), entry.key(), entry.access()), (Some(2), &b"key"[..], 3));
        entry.free();
    }

    #[test]
    fn a_key_of_16_bytes_with_a_value_of_32_takes_56() {
        let entry = Entry::new(&[b'k'; 16], Content::Bytes(&[b'v'; 32]), None, 1, 0);
        assert_eq!((entry.size(), crate::allocator::block_size(entry.size())), (56, 56));
        entry.free();
    }
}
