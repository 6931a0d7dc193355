//! What no server loads although the bytes of a value are whole: an element twice, a score that is not a number, a
//! field that expires at a time that cannot be held. And what servers skip: a collection without elements.
//!
//! The elements are streamed; of each a fingerprint is kept, and beyond [`MOST_BYTES`] of them they go to the disk.

use std::io;

use super::repeats::Repeats;
use crate::codec::fingerprint::Fingerprints;
use crate::rdb::event::Visitor;
use crate::rdb::kind::Kind;
use crate::value::hash::MAX_EXPIRE_MS;
use crate::value::{ArrayItem, Element};

/// Memory for the fingerprints of one value.
const MOST_BYTES: usize = 2 << 20;

/// The visitor; one for all values.
pub(super) struct Elements {
    fingerprints: Fingerprints,
    repeats: Repeats,
    kind: Option<Kind>,
    count: u64,
    /// Whether no element can come twice, so that none needs a fingerprint.
    is_distinct: bool,
    problem: Option<&'static str>,
    failure: Option<io::Error>,
}

/// What is to be said of a value whose bytes are whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    Fine,
    /// A collection that servers pass over.
    Empty,
    /// A contradiction; servers refuse the file.
    Wrong(&'static str),
    /// These elements come twice; servers refuse the file. The text lacks the element.
    Repeated(&'static str, Vec<u128>),
}

impl Elements {
    pub(super) fn new() -> Self {
        Elements {
            fingerprints: Fingerprints::new(),
            repeats: Repeats::new(MOST_BYTES),
            kind: None,
            count: 0,
            is_distinct: false,
            problem: None,
            failure: None,
        }
    }

    pub(super) fn fingerprints(&self) -> &Fingerprints {
        &self.fingerprints
    }

    /// Forgets a value that was not read to its end.
    pub(super) fn reset(&mut self) {
        self.repeats.clear();
        (self.kind, self.count, self.problem, self.failure) = (None, 0, None, None);
        self.is_distinct = false;
    }

    /// The verdict on the value that ended.
    pub(super) fn finish(&mut self) -> io::Result<Judgement> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let Some(kind) = self.kind else { return Ok(Judgement::Fine) };
        let (what, is_collection) = match kind.type_name() {
            "hash" => ("field of the hash", true),
            "set" => ("member of the set", true),
            "zset" => ("member of the sorted set", true),
            "list" | "array" => ("", true),
            _ => ("", false),
        };
        if is_collection && self.count == 0 {
            return Ok(Judgement::Empty);
        }
        let repeated = self.repeats.finish()?;
        Ok(match self.problem {
            Some(problem) => Judgement::Wrong(problem),
            None if !repeated.is_empty() => Judgement::Repeated(what, repeated),
            None => Judgement::Fine,
        })
    }

    fn note(&mut self, element: Element<'_>) {
        self.count += 1;
        if self.is_distinct {
            return;
        }
        let fingerprint = element.with(|bytes| self.fingerprints.of(0, bytes));
        if let Err(error) = self.repeats.push(fingerprint) {
            self.failure.get_or_insert(error);
        }
    }
}

impl Visitor for Elements {
    fn begin(&mut self, kind: Kind, _count: Option<u64>) {
        self.reset();
        self.kind = Some(kind);
    }

    fn string_length(&mut self, _length: u64) -> bool {
        true
    }

    fn list_item(&mut self, _item: Element<'_>) {
        self.count += 1;
    }

    fn set_member(&mut self, member: Element<'_>) {
        // An intset is in order, or it is damaged.
        match self.kind {
            Some(Kind::SetIntset) => self.count += 1,
            _ => self.note(member),
        }
    }

    fn zset_member(&mut self, member: Element<'_>, score: f64) {
        self.note(member);
        if score.is_nan() {
            self.problem = Some("a score is not a number");
        }
    }

    fn stream_node(&mut self, _entries: u64) -> bool {
        true
    }

    fn array_item(&mut self, _index: u64, _item: ArrayItem<'_>) {
        self.count += 1;
    }

    fn distinct_fields(&mut self) {
        self.is_distinct = true;
    }

    fn hash_field(&mut self, field: Element<'_>, _value: Element<'_>, expire_at_ms: Option<i64>) {
        self.note(field);
        // Times of the other types are cut to what can be held; see `Hash::set_expire`.
        if matches!(self.kind, Some(Kind::HashListpackEx | Kind::HashListpackExPreGa))
            && expire_at_ms.is_some_and(|ms| ms > MAX_EXPIRE_MS)
        {
            self.problem = Some("a field expires at something that is no time");
        }
    }
}

/// Finds the name of one repeated element.
pub(super) struct Finder<'a> {
    pub(super) fingerprints: &'a Fingerprints,
    /// Sorted.
    pub(super) wanted: &'a [u128],
    pub(super) found: Option<Vec<u8>>,
}

impl Finder<'_> {
    fn look(&mut self, element: Element<'_>) {
        if self.found.is_none() {
            let fingerprint = element.with(|bytes| self.fingerprints.of(0, bytes));
            self.found = self.wanted.binary_search(&fingerprint).is_ok().then(|| element.to_vec());
        }
    }
}

impl Visitor for Finder<'_> {
    fn set_member(&mut self, member: Element<'_>) {
        self.look(member);
    }

    fn zset_member(&mut self, member: Element<'_>, _score: f64) {
        self.look(member);
    }

    fn hash_field(&mut self, field: Element<'_>, _value: Element<'_>, _expire_at_ms: Option<i64>) {
        self.look(field);
    }
}
