//! How each server keeps keys and values in memory, as far as it costs bytes.
//!
//! Two families. Redis (and Valkey up to 8.0) has chained hash tables: a pointer per bucket and an entry of three words
//! per element. Valkey from 8.1 on has tables of 64-byte buckets with seven pointers each, and keeps a key, its expiry
//! and a short value in one allocation. The rows named `measured` were compared with the server; the others follow from
//! what is known of their differences.

use super::allocator::Allocator;

/// How a key lies beside its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// An entry of a chained table, a string for the key, an object for the value.
    Apart,
    /// The key within the entry.
    InEntry,
    /// Key, expiry and value within the object, where they all fit in `most` bytes. `header` is what precedes them.
    InObject { header: u64, most: u64 },
}

/// One release and what its layouts depend on.
#[derive(Debug)]
pub struct Server {
    /// As `--server` has it.
    pub name: &'static str,
    /// used_memory of the server without a key and with one client, in bytes.
    pub base: u64,
    pub keys: Keys,
    /// Lists of one short node are a bare listpack.
    pub packed_lists: bool,
    /// Small sets of strings are listpacks.
    pub packed_sets: bool,
    /// Members of a set need no entry where they are alone in their bucket.
    pub bare_members: bool,
    /// A chained table doubles when it is full, rather than when one more arrives.
    pub doubles_when_full: bool,
    /// Hash fields with an expiry stay in a listpack of triples.
    pub packed_field_expiry: bool,
    /// Whether the row was compared with the real server.
    pub measured: bool,
}

const REDIS_7_0: Server = Server {
    name: "redis-7.0",
    base: 914_500,
    keys: Keys::Apart,
    packed_lists: false,
    packed_sets: false,
    bare_members: false,
    doubles_when_full: false,
    packed_field_expiry: false,
    measured: true,
};
const REDIS_7_2: Server = Server {
    name: "redis-7.2",
    packed_lists: true,
    packed_sets: true,
    bare_members: true,
    measured: false,
    ..REDIS_7_0
};
const REDIS_7_4: Server = Server { name: "redis-7.4", doubles_when_full: true, packed_field_expiry: true, ..REDIS_7_2 };
const REDIS_8_0: Server = Server { name: "redis-8.0", base: 701_000, measured: true, ..REDIS_7_4 };
const VALKEY_7_2: Server = Server { name: "valkey-7.2", ..REDIS_7_2 };
const VALKEY_8_0: Server = Server { name: "valkey-8.0", keys: Keys::InEntry, doubles_when_full: true, ..REDIS_7_2 };
const VALKEY_8_1: Server =
    Server { name: "valkey-8.1", base: 939_600, keys: Keys::InObject { header: 16, most: 64 }, ..VALKEY_8_0 };
const VALKEY_9_0: Server = Server { name: "valkey-9.0", ..VALKEY_8_1 };
const VALKEY_9_1: Server =
    Server { name: "valkey-9.1", keys: Keys::InObject { header: 8, most: 128 }, measured: true, ..VALKEY_8_1 };

/// The server where neither the user nor the file says one.
pub const DEFAULT: &Server = &REDIS_8_0;

/// Every server whose layouts are known, by family, the newest first.
pub const SERVERS: &[Server] =
    &[REDIS_8_0, REDIS_7_4, REDIS_7_2, REDIS_7_0, VALKEY_9_1, VALKEY_9_0, VALKEY_8_1, VALKEY_8_0, VALKEY_7_2];

/// The server of that name. `valkey-9` and the like mean the newest of their row.
pub fn named(name: &str) -> Result<&'static Server, String> {
    if let Some(server) = SERVERS.iter().find(|server| server.name == name) {
        return Ok(server);
    }
    let of_row = |server: &&Server| server.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    SERVERS.iter().find(of_row).ok_or_else(|| {
        let names: Vec<&str> = SERVERS.iter().map(|server| server.name).collect();
        format!("no layouts are known for `{name}`; known are {}", names.join(", "))
    })
}

/// The server that `writer`, such as `Valkey 9.1.2`, was, or the newest of its family that is older. `None` where none is.
pub fn of_writer(writer: &str) -> Option<&'static Server> {
    let (family, number) = release(writer)?;
    SERVERS.iter().find(|server| {
        let (of_family, of_number) = server.release();
        of_family == family && of_number <= number
    })
}

/// Family, and major and minor number.
type Release = (String, (u32, u32));

/// The release that a writer's name says: `Redis 8.0.6`, or `redis-8.0`.
pub fn release(name: &str) -> Option<Release> {
    let (family, number) = name.split_once([' ', '-'])?;
    let mut parts = number.split('.').map(|part| part.parse().ok());
    Some((family.to_ascii_lowercase(), (parts.next()??, parts.next()??)))
}

/// Bytes of a string with its header and its end: servers keep the length in 1, 2, 4 or 8 bytes as it needs.
#[inline]
pub fn sds(len: u64) -> u64 {
    let header = match len {
        0..32 => 1,
        32..256 => 3,
        256..65_536 => 5,
        65_536..0x1_0000_0000 => 9,
        _ => 17,
    };
    header + len + 1
}

const POINTER: u64 = 8;
/// Three words: key, value, next.
const ENTRY: u64 = 24;
/// A member and the next one, in a table without values.
const BARE_ENTRY: u64 = 16;
const BUCKET: u64 = 64;
const PER_BUCKET: u64 = 7;

impl Server {
    /// What its name says.
    pub fn release(&self) -> Release {
        release(self.name).unwrap_or_default()
    }

    /// Whether tables have buckets of seven.
    pub fn has_wide_buckets(&self) -> bool {
        matches!(self.keys, Keys::InObject { .. })
    }

    /// The bytes of a table of `count` elements without the elements and their entries.
    pub fn table(&self, count: u64, allocator: Allocator) -> u64 {
        if count == 0 {
            return 0;
        }
        if !self.has_wide_buckets() {
            let wanted = if self.doubles_when_full { count + 1 } else { count };
            return allocator.size(wanted.next_power_of_two().max(4) * POINTER);
        }
        if count <= PER_BUCKET {
            return allocator.size(BUCKET);
        }
        // Sized for 32 elements in five buckets.
        let buckets = (count * 5).div_ceil(32).next_power_of_two();
        allocator.size(buckets * BUCKET) + child_buckets(count, buckets) * allocator.size(BUCKET)
    }

    /// The bytes of the entries of `count` members of a set.
    pub fn set_entries(&self, count: u64, allocator: Allocator) -> u64 {
        if self.has_wide_buckets() {
            return 0;
        }
        if !self.bare_members {
            return count * allocator.size(ENTRY);
        }
        let buckets = (if self.doubles_when_full { count + 1 } else { count }).next_power_of_two().max(4) as f64; // an estimate
        let taken = buckets * (1.0 - (1.0 - 1.0 / buckets).powf(count as f64)); // an estimate
        (count as f64 - taken) as u64 * allocator.size(BARE_ENTRY) // at most the count
    }

    /// The bytes of one entry of a table with values.
    pub fn entry(&self, allocator: Allocator) -> u64 {
        if self.has_wide_buckets() { 0 } else { allocator.size(ENTRY) }
    }

    /// The bytes of the structure in front of a table.
    pub fn table_head(&self) -> u64 {
        if self.has_wide_buckets() { 72 } else { 56 }
    }
}

/// How many buckets hang behind full ones, which give up a place for the pointer: elements fall as by Poisson.
fn child_buckets(count: u64, buckets: u64) -> u64 {
    let mean = count as f64 / buckets as f64; // an estimate, below 7
    let mut chance = (-mean).exp();
    let mut children = 0.0;
    for held in 1..40_u64 {
        chance *= mean / held as f64; // exact
        if held > PER_BUCKET {
            children += chance * (held - PER_BUCKET).div_ceil(PER_BUCKET - 1) as f64; // exact
        }
    }
    (children * buckets as f64) as u64 // an estimate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_means_the_newest_of_its_row() {
        assert_eq!(named("valkey-9").unwrap().name, "valkey-9.1");
        assert_eq!(named("redis-7").unwrap().name, "redis-7.4");
        assert_eq!(named("redis-7.0").unwrap().name, "redis-7.0");
        assert!(named("redis-1").unwrap_err().contains("redis-8.0"));
    }

    #[test]
    fn a_file_is_counted_as_its_writer_would() {
        let name = |writer| of_writer(writer).map(|server| server.name);
        assert_eq!(name("Redis 7.0.15"), Some("redis-7.0"));
        assert_eq!(name("Valkey 9.1.2"), Some("valkey-9.1"));
        assert_eq!(name("Redis 8.4.0"), Some("redis-8.0"), "the nearest below");
        assert_eq!(name("Redis 255.255.255"), Some("redis-8.0"), "a build from the sources");
        assert_eq!([name("Redis 2.4.18"), name("Redis"), name("Redis x.y"), name("")], [None; 4]);
        assert!(SERVERS.iter().all(|server| of_writer(server.name).is_some_and(|found| found.name == server.name)));
    }

    /// Figures that the servers showed: bytes of the main table by number of keys.
    #[test]
    fn tables_are_as_large_as_the_servers_showed() {
        let table = |server: &Server, count| server.table(count, Allocator::Jemalloc);
        assert_eq!(table(&REDIS_7_0, 16_384), 16_384 * 8);
        assert_eq!(table(&REDIS_8_0, 16_384), 32_768 * 8);
        assert_eq!(table(&VALKEY_9_1, 7), 64);
        let measured = 16_385.0 * 16.82;
        let estimate = table(&VALKEY_9_1, 16_385) as f64;
        assert!((estimate / measured - 1.0).abs() < 0.01, "{estimate} and {measured}");
    }
}
