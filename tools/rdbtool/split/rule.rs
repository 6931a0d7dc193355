//! Which part a key goes to.

use super::nodes::Node;
use crate::part::Counts;
use crate::slots::Slots;
use ironkeep::codec::crc64::crc64;
use ironkeep::rdb::KeyHeader;
use ironkeep::value::slot::{SLOTS, slot_of};
use memchr::memmem;
use std::collections::{HashMap, HashSet};

/// How keys are shared out.
pub enum Rule {
    /// By slot; a part each.
    Slots(Vec<Slots>),
    /// By the node that has the slot.
    Nodes(Vec<Node>),
    /// By database.
    Db,
    /// By what stands before the `depth`th separator.
    Prefix { separator: Vec<u8>, depth: usize },
    /// By CRC-64 of the key, modulo the number of parts.
    Hash(u64),
    /// As many keys in a row as fit.
    Size(u64),
}

/// What the keys of a part have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Group {
    /// The rule's so-manieth.
    Numbered(usize),
    Db(u64),
    Prefix(Vec<u8>),
    /// Nothing: no prefix, or a slot that nobody has.
    Rest,
}

/// A part as the first pass found it.
pub struct Found {
    /// Fit for a file name.
    pub label: String,
    pub counts: Counts,
}

/// Shares keys out: a first pass learns the parts, further passes ask for them.
pub struct Sharer {
    rule: Rule,
    parts: Vec<Found>,
    by_group: HashMap<Group, usize>,
    labels: HashSet<String>,
    /// Under [`Rule::Size`], which key is the first of each part, and how full the last is.
    starts: Vec<u64>,
    filled: u64,
}

/// So many equal ranges of slots, as `redis-cli --cluster create` makes them.
pub fn equal_slots(parts: u64) -> Vec<Slots> {
    let slots = u64::from(SLOTS);
    let first = |part: u64| u16::try_from((2 * part * slots + parts) / (2 * parts)).unwrap_or(SLOTS); // rounded
    (0..parts)
        .map(|part| {
            let mut slots = Slots::none();
            slots.add(first(part)..=first(part + 1) - 1);
            slots
        })
        .collect()
}

impl Sharer {
    /// Parts that the rule names are there even if no key goes to them.
    pub fn new(rule: Rule) -> Sharer {
        let named = match &rule {
            Rule::Slots(parts) => parts.len(),
            Rule::Nodes(nodes) => nodes.len(),
            Rule::Hash(parts) => usize::try_from(*parts).unwrap_or(usize::MAX),
            Rule::Db | Rule::Prefix { .. } | Rule::Size(_) => 0,
        };
        let (parts, by_group, labels) = Default::default();
        let mut sharer = Sharer { rule, parts, by_group, labels, starts: Vec::new(), filled: 0 };
        for index in 0..named {
            sharer.part_named(Group::Numbered(index));
        }
        sharer
    }

    pub fn parts(&self) -> &[Found] {
        &self.parts
    }

    /// Takes note of the next key, which takes `bytes` in the file.
    pub fn learn(&mut self, key: &KeyHeader, ordinal: u64, bytes: u64) {
        if let Rule::Size(most) = self.rule {
            if self.starts.is_empty() || self.filled + bytes > most {
                self.starts.push(ordinal);
                self.filled = 0;
            }
            self.filled += bytes;
        }
        let group = self.group_of(key, ordinal);
        let index = self.part_named(group);
        self.parts[index].counts.add(key);
    }

    /// The part of a key that was learnt.
    pub fn part_of(&self, key: &KeyHeader, ordinal: u64) -> Option<usize> {
        self.by_group.get(&self.group_of(key, ordinal)).copied()
    }

    fn group_of(&self, key: &KeyHeader, ordinal: u64) -> Group {
        let numbered = |found: Option<usize>| found.map_or(Group::Rest, Group::Numbered);
        match &self.rule {
            Rule::Slots(parts) => {
                let slot = slot_of(&key.key);
                numbered(parts.iter().position(|slots| slots.contains(slot)))
            }
            Rule::Nodes(nodes) => {
                let slot = slot_of(&key.key);
                numbered(nodes.iter().position(|node| node.slots.contains(slot)))
            }
            Rule::Db => Group::Db(key.db),
            Rule::Prefix { separator, depth } => {
                prefix(&key.key, separator, *depth).map_or(Group::Rest, |prefix| Group::Prefix(prefix.to_vec()))
            }
            // Below the number of parts, which is in memory.
            Rule::Hash(parts) => Group::Numbered((crc64(&key.key) % parts) as usize),
            Rule::Size(_) => Group::Numbered(self.starts.partition_point(|start| *start <= ordinal) - 1),
        }
    }

    fn part_named(&mut self, group: Group) -> usize {
        if let Some(index) = self.by_group.get(&group) {
            return *index;
        }
        let mut label = self.label(&group);
        // Some file systems take `A` and `a` for one name.
        while !self.labels.insert(label.to_ascii_lowercase()) {
            label = format!("{label}~{:08x}", crc64(label.as_bytes()) >> 32);
        }
        self.parts.push(Found { label, counts: Counts::default() });
        self.by_group.insert(group, self.parts.len() - 1);
        self.parts.len() - 1
    }

    fn label(&self, group: &Group) -> String {
        match (group, &self.rule) {
            (Group::Numbered(index), Rule::Slots(parts)) => {
                file_name(format!("slots-{}", parts[*index].to_string().replace(',', "_")).as_bytes())
            }
            (Group::Numbered(index), Rule::Nodes(nodes)) => file_name(format!("node-{}", nodes[*index].id).as_bytes()),
            (Group::Numbered(index), Rule::Hash(_)) => format!("hash-{index}"),
            (Group::Numbered(index), _) => format!("part-{:05}", index + 1),
            (Group::Db(db), _) => format!("db-{db}"),
            (Group::Prefix(prefix), _) => file_name(&[b"prefix-", prefix.as_slice()].concat()),
            (Group::Rest, _) => "rest".to_owned(),
        }
    }
}

/// What stands before the `depth`th separator; of a key with fewer, what stands before its last.
fn prefix<'a>(key: &'a [u8], separator: &[u8], depth: usize) -> Option<&'a [u8]> {
    let mut end = None;
    let mut from = 0;
    for _ in 0..depth {
        let Some(at) = memmem::find(&key[from..], separator) else { break };
        end = Some(from + at);
        from += at + separator.len();
    }
    end.map(|end| &key[..end])
}

/// The longest label; 255 bytes are the limit of most file systems, and `.rdb` and a pattern come on top.
const LONGEST: usize = 120;

/// Letters, digits, `-` and `_` stay, and dots inside; any other byte is `%` and two hex digits. What is too long is cut, with a checksum.
fn file_name(text: &[u8]) -> String {
    let mut name = String::with_capacity(text.len());
    for &byte in text {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => name.push(char::from(byte)),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    if name.len() > LONGEST {
        name.truncate(LONGEST);
        name.push_str(&format!("~{:016x}", crc64(text)));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ranges_are_those_of_redis_cli_and_cover_all_slots() {
        let ranges = |parts| equal_slots(parts).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(ranges(3), ["0-5460", "5461-10922", "10923-16383"]);
        assert_eq!(ranges(1), ["0-16383"]);
        for parts in [2, 5, 7, 16383, 16384] {
            let all: Vec<u16> = equal_slots(parts).iter().flat_map(|slots| slots.ranges()).flatten().collect();
            assert_eq!(all, (0..SLOTS).collect::<Vec<_>>(), "{parts}");
        }
    }

    #[test]
    fn a_prefix_ends_before_the_separator_of_its_depth_or_the_last_there_is() {
        assert_eq!(prefix(b"a:b:c", b":", 1), Some(&b"a"[..]));
        assert_eq!(prefix(b"a:b:c", b":", 2), Some(&b"a:b"[..]));
        assert_eq!(prefix(b"a:b:c", b":", 9), Some(&b"a:b"[..]));
        assert_eq!(prefix(b":b", b":", 1), Some(&b""[..]));
        assert_eq!(prefix(b"a::b::c", b"::", 2), Some(&b"a::b"[..]));
        assert_eq!(prefix(b"abc", b":", 1), None);
    }

    #[test]
    fn names_are_safe_for_any_file_system_and_differ_where_prefixes_do() {
        assert_eq!(file_name(b"user-1_x.y"), "user-1_x.y");
        assert_eq!(file_name(b"../a/b%\xff\0"), "..%2fa%2fb%25%ff%00");
        let (long, other) = (file_name(&[b'x'; 300]), file_name(&[b'x'; 301]));
        assert!(long.len() < 150 && long != other);
        let mut sharer = Sharer::new(Rule::Prefix { separator: b":".to_vec(), depth: 1 });
        for prefix in ["A", "a", "rest"] {
            sharer.part_named(Group::Prefix(prefix.into()));
        }
        sharer.part_named(Group::Rest);
        let labels: Vec<&str> = sharer.parts().iter().map(|part| part.label.as_str()).collect();
        assert_eq!((labels[0], labels[2], labels[3]), ("prefix-A", "prefix-rest", "rest"));
        assert!(labels[1].starts_with("prefix-a~"));
    }
}
