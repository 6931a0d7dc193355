//! The value types and opcodes of the format as tables: one row per number and lineage.
//!
//! Numbers 22, 23, 242 and 243 mean different things by lineage, so no number is looked up without one. Rows beyond
//! what this library decodes are here too: a file that holds them is refused by name instead of with a number.

/// Which family of servers wrote a file. The magic tells (`REDIS` or `VALKEY`), and in a DUMP payload, which has no
/// magic, the version number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lineage {
    /// Redis, and every Valkey up to 8.1, which writes Redis' version 11.
    Redis,
    /// Valkey from 9.0 on.
    Valkey,
}

impl Lineage {
    /// The lineage of a version number outside of a file: Valkey left the numbers below 80 to Redis.
    pub fn of_version(version: u32) -> Lineage {
        if version >= 80 { Lineage::Valkey } else { Lineage::Redis }
    }
}

/// What the first nine bytes of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The family of the writer.
    pub lineage: Lineage,
    /// The RDB version: 1..=15 for Redis, 80 and 81 for Valkey.
    pub version: u32,
}

impl std::fmt::Display for Header {
    /// The magic as it stands in the file: `REDIS0011`, `VALKEY080`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.lineage {
            Lineage::Redis => write!(f, "REDIS{:04}", self.version),
            Lineage::Valkey => write!(f, "VALKEY{:03}", self.version),
        }
    }
}

/// A value type: what stands behind a type byte. [`KINDS`] has a row for each; `object` has the layouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    String,
    List,
    Set,
    Zset,
    Hash,
    Zset2,
    ModulePreGa,
    Module2,
    HashZipmap,
    ListZiplist,
    SetIntset,
    ZsetZiplist,
    HashZiplist,
    ListQuicklist,
    StreamListpacks,
    HashListpack,
    ZsetListpack,
    ListQuicklist2,
    StreamListpacks2,
    SetListpack,
    StreamListpacks3,
    HashMetadataPreGa,
    HashListpackExPreGa,
    HashMetadata,
    HashListpackEx,
    ValkeyHash2,
    ValkeyPathHash,
    StreamListpacks4,
    StreamListpacks5,
    Array,
    HashTemplateListpack,
    HashTemplateListpackRef,
    HashTemplateArray,
    HashTemplateArrayRef,
    Gcra,
}

/// One row of the table of value types.
#[derive(Debug)]
pub struct KindRow {
    /// The type.
    pub kind: Kind,
    /// The byte in the file.
    pub number: u8,
    /// The family that gives the number this meaning; `None` where both do.
    pub lineage: Option<Lineage>,
    /// The name in the servers' sources, without its prefix.
    pub name: &'static str,
    /// What TYPE answers.
    pub type_name: &'static str,
    /// How the elements lie in the file, in the words of OBJECT ENCODING.
    pub encoding: &'static str,
    /// The first RDB version with it.
    pub since: u32,
    /// Whether this library decodes it.
    pub supported: bool,
}

const fn row(
    kind: Kind,
    number: u8,
    name: &'static str,
    type_name: &'static str,
    encoding: &'static str,
    since: u32,
) -> KindRow {
    KindRow { kind, number, lineage: None, name, type_name, encoding, since, supported: true }
}

const fn redis(row: KindRow) -> KindRow {
    KindRow { lineage: Some(Lineage::Redis), ..row }
}

const fn valkey(row: KindRow) -> KindRow {
    KindRow { lineage: Some(Lineage::Valkey), ..row }
}

const fn known_by_name(row: KindRow) -> KindRow {
    KindRow { supported: false, ..row }
}

/// Every value type, in the order of [`Kind`].
pub const KINDS: [KindRow; 35] = [
    row(Kind::String, 0, "STRING", "string", "string", 1),
    row(Kind::List, 1, "LIST", "list", "linkedlist", 1),
    row(Kind::Set, 2, "SET", "set", "hashtable", 1),
    row(Kind::Zset, 3, "ZSET", "zset", "skiplist", 1),
    row(Kind::Hash, 4, "HASH", "hash", "hashtable", 1),
    row(Kind::Zset2, 5, "ZSET_2", "zset", "skiplist", 8),
    known_by_name(row(Kind::ModulePreGa, 6, "MODULE_PRE_GA", "module", "module", 8)),
    row(Kind::Module2, 7, "MODULE_2", "module", "module", 8),
    row(Kind::HashZipmap, 9, "HASH_ZIPMAP", "hash", "zipmap", 2),
    row(Kind::ListZiplist, 10, "LIST_ZIPLIST", "list", "ziplist", 2),
    row(Kind::SetIntset, 11, "SET_INTSET", "set", "intset", 2),
    row(Kind::ZsetZiplist, 12, "ZSET_ZIPLIST", "zset", "ziplist", 2),
    row(Kind::HashZiplist, 13, "HASH_ZIPLIST", "hash", "ziplist", 4),
    row(Kind::ListQuicklist, 14, "LIST_QUICKLIST", "list", "quicklist", 7),
    row(Kind::StreamListpacks, 15, "STREAM_LISTPACKS", "stream", "stream", 9),
    row(Kind::HashListpack, 16, "HASH_LISTPACK", "hash", "listpack", 10),
    row(Kind::ZsetListpack, 17, "ZSET_LISTPACK", "zset", "listpack", 10),
    row(Kind::ListQuicklist2, 18, "LIST_QUICKLIST_2", "list", "quicklist", 10),
    row(Kind::StreamListpacks2, 19, "STREAM_LISTPACKS_2", "stream", "stream", 10),
    row(Kind::SetListpack, 20, "SET_LISTPACK", "set", "listpack", 11),
    row(Kind::StreamListpacks3, 21, "STREAM_LISTPACKS_3", "stream", "stream", 11),
    redis(row(Kind::HashMetadataPreGa, 22, "HASH_METADATA_PRE_GA", "hash", "hashtable", 12)),
    redis(row(Kind::HashListpackExPreGa, 23, "HASH_LISTPACK_EX_PRE_GA", "hash", "listpackex", 12)),
    redis(row(Kind::HashMetadata, 24, "HASH_METADATA", "hash", "hashtable", 12)),
    redis(row(Kind::HashListpackEx, 25, "HASH_LISTPACK_EX", "hash", "listpackex", 12)),
    valkey(row(Kind::ValkeyHash2, 22, "HASH_2", "hash", "hashtable", 80)),
    valkey(known_by_name(row(Kind::ValkeyPathHash, 23, "PATH_HASH", "hash", "hashtable", 81))),
    redis(row(Kind::StreamListpacks4, 26, "STREAM_LISTPACKS_4", "stream", "stream", 13)),
    redis(row(Kind::StreamListpacks5, 27, "STREAM_LISTPACKS_5", "stream", "stream", 14)),
    redis(row(Kind::Array, 28, "ARRAY", "array", "array", 14)),
    redis(row(Kind::HashTemplateListpack, 29, "HASH_TMPL_LP", "hash", "listpack", 15)),
    redis(row(Kind::HashTemplateListpackRef, 30, "HASH_TMPL_LP_REF", "hash", "listpack", 15)),
    redis(row(Kind::HashTemplateArray, 31, "HASH_TMPL_ARRAY", "hash", "array", 15)),
    redis(row(Kind::HashTemplateArrayRef, 32, "HASH_TMPL_ARRAY_REF", "hash", "array", 15)),
    redis(known_by_name(row(Kind::Gcra, 33, "GCRA", "gcra", "gcra", 15))),
];

/// The row of every type byte below 34, for one lineage.
type ByNumber = [Option<Kind>; 34];

const REDIS_KINDS: ByNumber = by_number(Lineage::Redis);
const VALKEY_KINDS: ByNumber = by_number(Lineage::Valkey);

const fn by_number(lineage: Lineage) -> ByNumber {
    let mut table: ByNumber = [None; 34];
    let mut index = 0;
    while index < KINDS.len() {
        let row = &KINDS[index];
        assert!(row.kind as usize == index, "KINDS stands in the order of Kind");
        let here = match row.lineage {
            None => true,
            Some(of) => of as u8 == lineage as u8,
        };
        if here {
            assert!(table[row.number as usize].is_none(), "one meaning per number and lineage");
            table[row.number as usize] = Some(row.kind);
        }
        index += 1;
    }
    table
}

impl Kind {
    /// The meaning of a type byte in a file of `lineage`; `None` where no server gives it one.
    pub fn of(number: u8, lineage: Lineage) -> Option<Kind> {
        let table = match lineage {
            Lineage::Redis => &REDIS_KINDS,
            Lineage::Valkey => &VALKEY_KINDS,
        };
        table.get(usize::from(number)).copied().flatten()
    }

    /// The row of this type.
    pub fn row(self) -> &'static KindRow {
        const { assert!(KINDS.len() == Kind::Gcra as usize + 1, "KINDS has a row for every Kind") };
        &KINDS[self as usize] // the discriminant is the index, asserted in `by_number`
    }

    /// Whether servers read this type in a file of `header`'s version.
    pub fn is_known_to(self, header: Header) -> bool {
        let row = self.row();
        row.lineage.is_none_or(|lineage| lineage == header.lineage) && row.since <= header.version
    }

    /// Whether the bytes of a value mean the same in any file. Those that name a template by its number take the
    /// template from their own file, so that they are copied by decoding them.
    pub fn stands_alone(self) -> bool {
        !matches!(self, Kind::HashTemplateListpackRef | Kind::HashTemplateArrayRef)
    }

    /// Whether fields of such a value may have times at which they expire.
    pub fn may_have_field_expiry(self) -> bool {
        use Kind::{HashListpackEx, HashListpackExPreGa, HashMetadata, HashMetadataPreGa, ValkeyHash2};
        matches!(self, HashMetadataPreGa | HashListpackExPreGa | HashMetadata | HashListpackEx | ValkeyHash2)
    }

    /// The name of a type that only Dragonfly writes, in files that are Redis' otherwise. From 30 on they collide with
    /// Redis 8.10's.
    pub fn of_dragonfly(number: u8) -> Option<&'static str> {
        Some(match number {
            30 => "JSON of Dragonfly",
            31 => "HASH_WITH_EXPIRY of Dragonfly",
            32 => "SET_WITH_EXPIRY of Dragonfly",
            33 => "SBF of Dragonfly",
            34..=37 => "a type of Dragonfly",
            _ => return None,
        })
    }

    /// The type byte.
    pub fn number(self) -> u8 {
        self.row().number
    }

    /// The name in the servers' sources: `HASH_LISTPACK`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// What TYPE answers: `string`, `list`, `set`, `zset`, `hash`, `stream`, `module`.
    pub fn type_name(self) -> &'static str {
        self.row().type_name
    }

    /// How the elements lie in the file: `string`, `linkedlist`, `hashtable`, `skiplist`, `zipmap`, `ziplist`,
    /// `intset`, `quicklist`, `listpack`, `listpackex`, `stream`, `module`.
    pub fn encoding(self) -> &'static str {
        self.row().encoding
    }
}

/// What an opcode byte announces. [`OPCODES`] has the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    Eof,
    SelectDb,
    ExpireSeconds,
    ExpireMs,
    ResizeDb,
    Aux,
    Frequency,
    Idle,
    ModuleAux,
    FunctionPreGa,
    Function,
    SlotInfo,
    KeyMeta,
    SlotImport,
    HashTemplate,
    ValkeyUpdate,
    EnterpriseRamLru,
    EnterpriseSlotNum,
    Enterprise,
    Dragonfly,
}

/// One row of the table of opcodes.
#[derive(Debug)]
pub struct OpcodeRow {
    /// The opcode.
    pub opcode: Opcode,
    /// The bytes in the file that mean it: from, to, both included.
    pub numbers: (u8, u8),
    /// The family that gives the number this meaning; `None` where both do.
    pub lineage: Option<Lineage>,
    /// The name in the servers' sources.
    pub name: &'static str,
    /// The first RDB version with it.
    pub since: u32,
    /// Whether this library reads it.
    pub supported: bool,
}

const fn op(opcode: Opcode, number: u8, lineage: Option<Lineage>, name: &'static str, since: u32) -> OpcodeRow {
    OpcodeRow { opcode, numbers: (number, number), lineage, name, since, supported: true }
}

const fn op_by_name(row: OpcodeRow) -> OpcodeRow {
    OpcodeRow { supported: false, ..row }
}

const fn op_range(row: OpcodeRow, last: u8) -> OpcodeRow {
    OpcodeRow { numbers: (row.numbers.0, last), ..row }
}

const REDIS: Option<Lineage> = Some(Lineage::Redis);
const VALKEY: Option<Lineage> = Some(Lineage::Valkey);

/// Every opcode. The most frequent stand first.
pub const OPCODES: [OpcodeRow; 28] = [
    op(Opcode::ExpireMs, 252, None, "EXPIRETIME_MS", 3),
    op(Opcode::Frequency, 249, None, "FREQ", 9),
    op(Opcode::Idle, 248, None, "IDLE", 9),
    op(Opcode::ExpireSeconds, 253, None, "EXPIRETIME", 1),
    op(Opcode::SlotInfo, 244, REDIS, "SLOT_INFO", 12),
    op(Opcode::Eof, 255, None, "EOF", 1),
    op(Opcode::SelectDb, 254, None, "SELECTDB", 1),
    op(Opcode::ResizeDb, 251, None, "RESIZEDB", 7),
    op(Opcode::Aux, 250, None, "AUX", 7),
    op(Opcode::ModuleAux, 247, None, "MODULE_AUX", 9),
    op(Opcode::Function, 245, None, "FUNCTION2", 10),
    op(Opcode::SlotInfo, 244, VALKEY, "SLOT_INFO", 80),
    op(Opcode::FunctionPreGa, 246, None, "FUNCTION_PRE_GA", 10),
    op(Opcode::SlotImport, 243, VALKEY, "SLOT_IMPORT", 80),
    op(Opcode::KeyMeta, 243, REDIS, "KEY_META", 13),
    op(Opcode::HashTemplate, 242, REDIS, "HASH_TEMPLATE", 15),
    op(Opcode::ValkeyUpdate, 242, VALKEY, "UPDATE", 81),
    op(Opcode::EnterpriseRamLru, 107, REDIS, "RAM_LRU of Redis Enterprise", 9),
    op(Opcode::EnterpriseSlotNum, 121, REDIS, "SLOT_NUM of Redis Enterprise", 9),
    op_by_name(op_range(op(Opcode::Enterprise, 101, REDIS, "an opcode of Redis Enterprise", 9), 102)),
    op_by_name(op(Opcode::Dragonfly, 200, REDIS, "FULLSYNC_END of Dragonfly", 9)),
    op_by_name(op(Opcode::Dragonfly, 201, REDIS, "COMPRESSED_ZSTD_BLOB_START of Dragonfly", 9)),
    op_by_name(op(Opcode::Dragonfly, 202, REDIS, "COMPRESSED_LZ4_BLOB_START of Dragonfly", 9)),
    op_by_name(op(Opcode::Dragonfly, 203, REDIS, "COMPRESSED_BLOB_END of Dragonfly", 9)),
    op_by_name(op(Opcode::Dragonfly, 210, REDIS, "JOURNAL_BLOB of Dragonfly", 9)),
    op_by_name(op(Opcode::Dragonfly, 211, REDIS, "JOURNAL_OFFSET of Dragonfly", 9)),
    op_by_name(op(Opcode::Dragonfly, 220, REDIS, "DF_MASK of Dragonfly", 9)),
    op_by_name(op_range(op(Opcode::Dragonfly, 200, REDIS, "an opcode of Dragonfly", 9), 224)),
];

impl Opcode {
    /// The byte that means this opcode, the first of them where there are several.
    pub const fn number(self) -> u8 {
        let mut index = 0;
        while OPCODES[index].opcode as u8 != self as u8 {
            index += 1;
        }
        OPCODES[index].numbers.0
    }

    /// The row of an opcode byte in a file of `lineage`; `None` where no server gives it a meaning.
    pub fn of(number: u8, lineage: Lineage) -> Option<&'static OpcodeRow> {
        OPCODES
            .iter()
            .find(|row| (row.numbers.0..=row.numbers.1).contains(&number) && row.lineage.is_none_or(|of| of == lineage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colliding_numbers_are_told_apart_by_lineage() {
        assert_eq!(Kind::of(22, Lineage::Redis), Some(Kind::HashMetadataPreGa));
        assert_eq!(Kind::of(22, Lineage::Valkey), Some(Kind::ValkeyHash2));
        assert_eq!(Kind::of(23, Lineage::Redis), Some(Kind::HashListpackExPreGa));
        assert_eq!(Kind::of(23, Lineage::Valkey), Some(Kind::ValkeyPathHash));
        assert_eq!(Kind::of(24, Lineage::Valkey), None);
        assert_eq!(Opcode::of(243, Lineage::Redis).unwrap().name, "KEY_META");
        assert_eq!(Opcode::of(243, Lineage::Valkey).unwrap().name, "SLOT_IMPORT");
        assert_eq!(Opcode::of(242, Lineage::Redis).unwrap().name, "HASH_TEMPLATE");
        assert_eq!(Opcode::of(242, Lineage::Valkey).unwrap().name, "UPDATE");
    }

    #[test]
    fn no_byte_is_both_a_type_and_an_opcode() {
        for lineage in [Lineage::Redis, Lineage::Valkey] {
            for number in 0..=255u8 {
                assert!(Kind::of(number, lineage).is_none() || Opcode::of(number, lineage).is_none());
            }
        }
        assert_eq!(Kind::of(8, Lineage::Redis), None);
    }
}
