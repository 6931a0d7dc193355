//! The versions that can be written, what each of them can hold, and what is lost where one cannot.
//!
//! A version knows the types and opcodes whose row in [`kind`](super::kind) is not younger than it. Data that an older
//! type can say is written in that; what none can say is a [`Feature`]. A feature that is data is an error, or, where
//! the caller agreed to lose it, dropped and counted; a hint, from which no server derives what a key holds, is dropped
//! and counted in any case.

use std::collections::BTreeMap;
use std::fmt;

use super::kind::{Header, Kind, Lineage};
use super::object;
use crate::value::Object;

/// A version that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// Redis 2.6 to 3.0.
    Rdb6,
    /// Redis 3.2: lists in nodes, remarks.
    Rdb7,
    /// Redis 4.0: binary scores, modules.
    Rdb8,
    /// Redis 5.0 to 6.2: streams.
    Rdb9,
    /// Redis 7.0: listpacks, functions.
    Rdb10,
    /// Redis 7.2 and every Valkey: the highest that all current servers load.
    Rdb11,
    /// Redis 7.4 to 8.4: field expiry.
    Rdb12,
    /// Redis 8.6: key metadata, streams that know their producers.
    Rdb13,
    /// Redis 8.8: arrays.
    Rdb14,
    /// Redis 8.10: hashes by template.
    Rdb15,
    /// Valkey 9: field expiry in its own way.
    Valkey80,
}

/// The Redis version whose types Valkey 9 shares.
const VALKEY_SHARES: u32 = 11;

impl Version {
    /// Every version, Redis' first, each lineage ascending.
    pub const ALL: [Version; 11] = [
        Version::Rdb6,
        Version::Rdb7,
        Version::Rdb8,
        Version::Rdb9,
        Version::Rdb10,
        Version::Rdb11,
        Version::Rdb12,
        Version::Rdb13,
        Version::Rdb14,
        Version::Rdb15,
        Version::Valkey80,
    ];

    /// The lowest version that today's servers share and that can hold the value.
    pub fn needed(object: &Object) -> Version {
        let holds_all =
            |version: &Version| object::lacking(object, *version).all(|feature| feature.row().weight == Weight::Hint);
        [Version::Rdb11, Version::Rdb12, Version::Rdb13].into_iter().find(holds_all).unwrap_or(Version::Rdb14)
    }

    /// The number in the header.
    pub fn number(self) -> u16 {
        match self {
            Version::Rdb6 => 6,
            Version::Rdb7 => 7,
            Version::Rdb8 => 8,
            Version::Rdb9 => 9,
            Version::Rdb10 => 10,
            Version::Rdb11 => 11,
            Version::Rdb12 => 12,
            Version::Rdb13 => 13,
            Version::Rdb14 => 14,
            Version::Rdb15 => 15,
            Version::Valkey80 => 80,
        }
    }

    /// What the first nine bytes of a file of this version say.
    pub fn header(self) -> Header {
        let version = u32::from(self.number());
        Header { lineage: Lineage::of_version(version), version }
    }

    /// The version of a number, if it can be written.
    pub fn of(number: u32) -> Option<Version> {
        Self::ALL.into_iter().find(|version| u32::from(version.number()) == number)
    }

    /// The version that a user names: `6` to `15`, `valkey-80`, `valkey80`.
    pub fn named(name: &str) -> Option<Version> {
        match name {
            "valkey-80" | "valkey80" => Some(Version::Valkey80),
            _ => name.parse().ok().and_then(Version::of),
        }
    }

    /// The version to write what stood in a file with this header: the same where it can be written, else the nearest that
    /// knows its types.
    pub fn nearest(header: Header) -> Version {
        Version::of(header.version).unwrap_or(match header.lineage {
            Lineage::Redis => Version::Rdb6,
            Lineage::Valkey => Version::Valkey80,
        })
    }

    /// Whether a server that reads this version knows the type.
    pub fn knows(self, kind: Kind) -> bool {
        kind.is_known_to(self.header())
    }

    /// Whether a file of this version can hold what `feature` means.
    pub fn holds(self, feature: Feature) -> bool {
        let row = feature.row();
        row.redis.is_some_and(|since| since <= self.shared()) || (self == Version::Valkey80 && row.is_valkey)
    }

    /// The Redis version up to which this one shares all types and opcodes.
    pub(super) fn shared(self) -> u32 {
        match self {
            Version::Valkey80 => VALKEY_SHARES,
            _ => u32::from(self.number()),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Version::Valkey80 => f.write_str("valkey-80"),
            _ => self.number().fmt(f),
        }
    }
}

/// Something that not every version can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Feature {
    /// Fields of a hash that expire. Dropped, the fields stay without expiry.
    FieldExpiry,
    /// A stream. Dropped, the key is missing.
    Stream,
    /// A module's value. Dropped, the key is missing.
    Module,
    /// An array. Dropped, the key is missing.
    Array,
    /// What modules attached to a key.
    KeyMetadata,
    /// The producers of a stream and what they sent, by which it finds repeated messages.
    StreamProducers,
    /// Pending entries of a group that belong to no consumer. Dropped, they are not pending any more.
    StreamUnowned,
    /// A function library.
    Function,
    /// Module data that belongs to no key.
    ModuleAux,
    /// The import of slots that was under way.
    SlotImport,
    /// How much was ever added to a stream, what was deleted from it, and how far its groups have read, where it does
    /// not follow from the entries.
    StreamCounters,
    /// When a consumer last got an entry, where that is not when it was last seen.
    ActiveTime,
    /// When a key was last used, or how often.
    Access,
    /// A named remark of the writer.
    Remark,
}

/// One row of the table of features.
#[derive(Debug)]
pub struct FeatureRow {
    /// The feature.
    pub feature: Feature,
    /// For programs: `field-expiry`.
    pub name: &'static str,
    /// What a key or file with it is: `has fields that expire`.
    pub phrase: &'static str,
    /// The first version of Redis with it.
    pub redis: Option<u32>,
    /// Whether Valkey's 80 has it, beyond what it shares with Redis.
    pub is_valkey: bool,
    /// What goes with it where it is dropped.
    pub weight: Weight,
}

/// What it means to drop a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// The whole key goes.
    Key,
    /// A part of the key, or something beside the keys.
    Part,
    /// Nothing that a client could have stored: dropped without asking, and counted.
    Hint,
}

const fn row(
    feature: Feature,
    name: &'static str,
    phrase: &'static str,
    redis: Option<u32>,
    weight: Weight,
) -> FeatureRow {
    FeatureRow { feature, name, phrase, redis, is_valkey: false, weight }
}

const fn in_valkey(row: FeatureRow) -> FeatureRow {
    FeatureRow { is_valkey: true, ..row }
}

/// Every feature, in the order of [`Feature`].
pub const FEATURES: [FeatureRow; 14] = [
    in_valkey(row(Feature::FieldExpiry, "field-expiry", "has fields that expire", Some(12), Weight::Part)),
    row(Feature::Stream, "stream", "is a stream", Some(9), Weight::Key),
    row(Feature::Module, "module", "is a module's value", Some(8), Weight::Key),
    row(Feature::Array, "array", "is an array", Some(14), Weight::Key),
    row(Feature::KeyMetadata, "key-metadata", "has metadata of modules", Some(13), Weight::Part),
    row(Feature::StreamProducers, "stream-producers", "is a stream that knows its producers", Some(13), Weight::Part),
    row(Feature::StreamUnowned, "stream-unowned", "has pending entries without a consumer", Some(14), Weight::Part),
    row(Feature::Function, "function", "has function libraries", Some(10), Weight::Part),
    row(Feature::ModuleAux, "module-aux", "has module data beside the keys", Some(9), Weight::Part),
    in_valkey(row(Feature::SlotImport, "slot-import", "has a slot import under way", None, Weight::Part)),
    row(Feature::StreamCounters, "stream-counters", "has counters beyond its entries", Some(10), Weight::Hint),
    row(Feature::ActiveTime, "active-time", "has consumers with a time of activity", Some(11), Weight::Hint),
    row(Feature::Access, "access", "has an access time or frequency", Some(9), Weight::Hint),
    row(Feature::Remark, "remark", "has remarks", Some(7), Weight::Hint),
];

impl Feature {
    /// The row of this feature.
    pub fn row(self) -> &'static FeatureRow {
        const {
            let mut index = 0;
            while index < FEATURES.len() {
                assert!(FEATURES[index].feature as usize == index, "FEATURES stands in the order of Feature");
                index += 1;
            }
            assert!(FEATURES.len() == Feature::Remark as usize + 1, "FEATURES has a row for every Feature");
        }
        &FEATURES[self as usize] // the discriminant is the index
    }

    /// Which versions can hold it, in words: `version 12 or valkey-80`.
    pub fn holders(self) -> String {
        let row = self.row();
        match (row.redis, row.is_valkey) {
            (Some(since), true) => format!("version {since} or valkey-80"),
            (Some(since), false) => format!("version {since}"),
            (None, _) => "version valkey-80".to_owned(),
        }
    }
}

/// The features of a value, whether a version at hand holds them or not.
pub fn features(object: &Object) -> impl Iterator<Item = Feature> + use<> {
    const {
        let mut index = 0;
        while index < FEATURES.len() {
            let row = &FEATURES[index];
            if let Some(since) = row.redis {
                assert!(since > 6, "version 6 holds none of them");
            }
            index += 1;
        }
    }
    object::lacking(object, Version::Rdb6)
}

/// What a writer dropped, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses(BTreeMap<Feature, Loss>);

/// How often something was dropped, and where first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// How many keys, or things beside keys.
    pub count: u64,
    /// The first keys; empty for what belongs to none.
    pub keys: Vec<Vec<u8>>,
}

impl Losses {
    /// So many keys are named.
    pub const MOST_KEYS: usize = 5;

    /// Counts one, of the key `key` if it belongs to one.
    pub fn add(&mut self, feature: Feature, key: Option<&[u8]>) {
        let loss = self.0.entry(feature).or_default();
        loss.count += 1;
        if let Some(key) = key
            && loss.keys.len() < Self::MOST_KEYS
        {
            loss.keys.push(key.to_vec());
        }
    }

    /// Whether nothing was dropped.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was dropped, data before hints.
    pub fn iter(&self) -> impl Iterator<Item = (Feature, &Loss)> {
        self.0.iter().map(|(feature, loss)| (*feature, loss))
    }

    /// What was dropped of this kind.
    pub fn of(&self, feature: Feature) -> Option<&Loss> {
        self.0.get(&feature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_by_number_and_by_name() {
        for version in Version::ALL {
            assert_eq!(Version::of(u32::from(version.number())), Some(version));
            assert_eq!(Version::named(&version.to_string()), Some(version));
        }
        assert_eq!(Version::named("valkey80"), Some(Version::Valkey80));
        assert_eq!(Version::named("5"), None);
        assert_eq!(Version::Valkey80.header().to_string(), "VALKEY080");
    }

    #[test]
    fn a_type_is_known_from_its_version_on_and_in_its_lineage_only() {
        assert!(Version::Rdb6.knows(Kind::HashZiplist) && !Version::Rdb6.knows(Kind::ListQuicklist));
        assert!(Version::Valkey80.knows(Kind::StreamListpacks3) && !Version::Valkey80.knows(Kind::HashMetadata));
        assert!(Version::Valkey80.knows(Kind::ValkeyHash2) && !Version::Rdb15.knows(Kind::ValkeyHash2));
        assert!(Version::Valkey80.holds(Feature::FieldExpiry) && !Version::Valkey80.holds(Feature::Array));
        assert_eq!(Feature::FieldExpiry.holders(), "version 12 or valkey-80");
        assert!(Version::ALL.into_iter().filter(|version| version.holds(Feature::SlotImport)).count() == 1);
    }
}
