//! What bytes prove that look like items: how far a row of them is to be believed, and how much its first key looks like
//! those that stood before.
//!
//! Values that happen to look like items are many (a zero byte is a string type with an empty key), so an item counts
//! for what it proves: a packed value that is valid much, a string with a readable key some, an empty key nothing.

use crate::rdb::event::{Event, KeyHeader};
use crate::rdb::kind::{Header, Lineage};

/// So many items in a row are believed without more.
pub(super) const MOST_ITEMS: u32 = 24;
/// What this many points prove is believed; see [`Run::points`].
pub(super) const ENOUGH_POINTS: u32 = 48;
/// A run that ends at a second fault is believed from here on, and from [`FEWEST_ITEMS`] items.
pub(super) const FEW_POINTS: u32 = 12;
const FEWEST_ITEMS: u32 = 3;
/// The first version with counts behind the choice of a database.
const COUNTS_SINCE: u32 = 7;
/// Fewer keys than this say nothing of those to come.
const FEW_KEYS: u64 = 32;

/// What the keys before the damage looked like.
#[derive(Clone, Debug, Default)]
pub(super) struct Prior {
    kinds: u64,
    keys: u64,
    /// Keys without a control character.
    readable: u64,
}

impl Prior {
    pub(super) fn learn(&mut self, key: &KeyHeader) {
        self.kinds |= 1 << (key.kind as u8);
        self.keys += 1;
        self.readable += u64::from(is_readable(&key.key));
    }

    /// How much a key looks like those before, 0 to 4.
    pub(super) fn likeness(&self, key: &KeyHeader) -> u32 {
        let kind = if self.keys < FEW_KEYS || self.kinds & (1 << (key.kind as u8)) != 0 { 2 } else { 0 };
        let expects_readable = self.keys < FEW_KEYS || self.readable * 10 >= self.keys * 9;
        kind + if !expects_readable || is_readable(&key.key) { 2 } else { 0 }
    }
}

fn is_readable(key: &[u8]) -> bool {
    !key.is_empty() && std::str::from_utf8(key).is_ok_and(|text| !text.chars().any(char::is_control))
}

/// Items that follow one another.
#[derive(Clone, Copy, Default)]
pub(super) struct Run {
    pub(super) items: u32,
    /// What they prove.
    pub(super) points: u32,
    pub(super) ended: Ended,
    /// Where the first item ends, and how much its key looks like those before.
    pub(super) first_end: u64,
    pub(super) first_likeness: u32,
    /// Whether the first item chooses a database and no counts of its keys follow, as they do from version 7 on.
    pub(super) is_bare_select: bool,
    /// Whether it chooses one behind that of the keys before, as servers have it.
    pub(super) is_select_ahead: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Ended {
    /// At the end marker, and nothing but a log or padding behind it.
    AtEnd,
    /// Enough was seen.
    Enough,
    /// At bytes that are no item.
    #[default]
    AtFault,
}

impl Run {
    pub(super) fn is_believed(&self) -> bool {
        match self.ended {
            Ended::AtEnd | Ended::Enough => true,
            Ended::AtFault => self.items >= FEWEST_ITEMS && self.points >= FEW_POINTS,
        }
    }

    /// Notes the likeness of a key that begins the row, and what it proves; its value takes `value_len` bytes.
    pub(super) fn key(&mut self, key: &KeyHeader, value_len: u64, prior: &Prior, header: Header) -> u32 {
        // A choice of a database is worth what the key behind it is, where no counts can stand between.
        let is_behind_select = self.items == 1 && self.is_select_ahead && !has_counts(header);
        if self.items == 0 || is_behind_select {
            self.first_likeness = prior.likeness(key);
        }
        points_of(key, value_len)
    }

    /// What an event of `len` bytes proves that is neither a key nor the end; `None` where it is hardly one. `db` is
    /// the database before it.
    pub(super) fn event(&mut self, event: &Event, len: u64, db: u64) -> Option<u32> {
        Some(match event {
            Event::SelectDb(chosen) if *chosen < 1 << 24 => {
                if self.items == 0 {
                    (self.first_likeness, self.is_bare_select, self.is_select_ahead) = (3, true, *chosen > db);
                }
                1
            }
            Event::ResizeDb { keys, expires } if expires <= keys && *keys < 1 << 48 => {
                self.is_bare_select &= self.items != 1;
                // Alone it may be any byte; behind the choice of a database it is what servers write.
                self.first_likeness =
                    if self.items == 1 && self.first_likeness == 3 { 4 } else { self.first_likeness.min(3) };
                2
            }
            Event::SlotInfo { slot, .. } if *slot < 16384 => {
                self.first_likeness = if self.items == 0 { 3 } else { self.first_likeness };
                2
            }
            Event::Aux { name, .. } if is_readable(name) => 2,
            // Servers sort the fields, which chance hardly does.
            Event::HashTemplate { fields, .. }
                if fields.windows(2).all(|pair| (pair[0].len(), &pair[0]) < (pair[1].len(), &pair[1])) =>
            {
                if fields.len() > 1 { 8 } else { 1 }
            }
            // Stands before any key of Redis Enterprise, and proves nothing.
            Event::Foreign { .. } => 0,
            Event::Function { code } if code.starts_with(b"#!") => ENOUGH_POINTS,
            Event::ModuleAux { .. } | Event::SlotImport { .. } if len > 20 => 2,
            _ => return None,
        })
    }
}

/// What a whole key proves: packed values check themselves, strings hardly.
fn points_of(key: &KeyHeader, value_len: u64) -> u32 {
    if key.key.is_empty() {
        return 0;
    }
    let key_points = match (is_readable(&key.key), key.key.len()) {
        (true, 3..) => 3,
        (true, _) => 1,
        (false, _) => 0,
    };
    let value_points = match key.kind.encoding() {
        "listpack" | "listpackex" | "ziplist" | "intset" | "zipmap" | "quicklist" if value_len > 8 => 8,
        "stream" if value_len > 16 => 8,
        _ if key.expire_at_ms.is_some() => 2,
        _ => u32::from(value_len > 2),
    };
    key_points + value_points
}

/// Whether a file has counts behind each choice of a database.
pub(super) fn has_counts(header: Header) -> bool {
    header.lineage == Lineage::Valkey || header.version >= COUNTS_SINCE
}
