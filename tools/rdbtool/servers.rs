//! Which servers load which versions of the format, with their default configuration.
//!
//! A Redis loads every `REDIS` version up to its own and no `VALKEY` file. A Valkey loads `REDIS` up to 11, treats 12
//! to 79 as foreign, and from 9.0 on loads its own. Modules, and databases beyond `databases`, are another matter.

use ironkeep::rdb::{Header, Lineage};

/// A range of releases and the newest version of each lineage that they load.
struct Server {
    name: &'static str,
    redis: u32,
    valkey: u32,
}

const fn redis(name: &'static str, version: u32) -> Server {
    Server { name, redis: version, valkey: 0 }
}

const SERVERS: &[Server] = &[
    redis("Redis 2.4", 2),
    redis("Redis 2.6-3.0", 6),
    redis("Redis 3.2", 7),
    redis("Redis 4.0", 8),
    redis("Redis 5.0-6.2", 9),
    redis("Redis 7.0", 10),
    redis("Redis 7.2", 11),
    redis("Redis 7.4-8.4", 12),
    redis("Redis 8.6", 13),
    redis("Redis 8.8", 14),
    redis("Redis 8.10", 15),
    Server { name: "Valkey 7.2-8.1", redis: 11, valkey: 0 },
    Server { name: "Valkey 9.0-9.1", redis: 11, valkey: 80 },
    Server { name: "Valkey 9.2", redis: 11, valkey: 81 },
];

/// The releases that load a file with this header.
pub fn that_load(header: Header) -> impl Iterator<Item = &'static str> {
    SERVERS
        .iter()
        .filter(move |server| match header.lineage {
            Lineage::Redis => header.version <= server.redis,
            Lineage::Valkey => header.version <= server.valkey,
        })
        .map(|server| server.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(lineage: Lineage, version: u32) -> Vec<&'static str> {
        that_load(Header { lineage, version }).collect()
    }

    #[test]
    fn version_11_is_the_newest_that_both_families_load() {
        let shared = names(Lineage::Redis, 11);
        assert!(shared.contains(&"Redis 7.2") && shared.contains(&"Valkey 9.0-9.1"));
        assert!(!shared.contains(&"Redis 7.0"));
        assert!(names(Lineage::Redis, 12).iter().all(|name| name.starts_with("Redis")));
        assert_eq!(names(Lineage::Valkey, 80), ["Valkey 9.0-9.1", "Valkey 9.2"]);
    }
}
