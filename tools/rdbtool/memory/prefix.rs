//! Keys by prefix, as a tree that stays small.
//!
//! A key `user:17:name` lies under `user:` and `user:17:`; its last part is its own and no prefix. When there are more
//! prefixes than allowed, the small ones without others below them are folded into "(other)" of the one above, until
//! half are left. A folded prefix that occurs again starts anew, so that figures of small prefixes are lower bounds then;
//! those above and the totals stay right.

use std::collections::HashMap;

use ironkeep::codec::fingerprint::NameHash;

/// Keys and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub keys: u64,
    pub bytes: u64,
    pub largest: u64,
}

impl Sum {
    pub fn add(&mut self, other: Sum) {
        self.keys += other.keys;
        self.bytes += other.bytes;
        self.largest = self.largest.max(other.largest);
    }
}

/// What lies under one prefix.
#[derive(Debug, Default)]
pub struct Node {
    /// All of it.
    pub total: Sum,
    /// What was folded.
    pub other: Sum,
    pub children: HashMap<Box<[u8]>, Node, NameHash>,
}

impl Node {
    /// The children, the largest first.
    pub fn sorted(&self) -> Vec<(&[u8], &Node)> {
        let mut children: Vec<_> = self.children.iter().map(|(name, node)| (&**name, node)).collect();
        children.sort_by(|left, right| right.1.total.bytes.cmp(&left.1.total.bytes).then(left.0.cmp(right.0)));
        children
    }

    /// What lies right here: keys whose last part follows this prefix.
    pub fn own(&self) -> Sum {
        let below = |of: fn(&Sum) -> u64| self.children.values().map(|node| of(&node.total)).sum::<u64>();
        Sum {
            keys: self.total.keys - self.other.keys - below(|sum| sum.keys),
            bytes: self.total.bytes - self.other.bytes - below(|sum| sum.bytes),
            largest: 0,
        }
    }
}

/// The tree of all keys.
pub struct Prefixes {
    pub root: Node,
    /// Whether anything was folded.
    pub folded: bool,
    separator: Vec<u8>,
    depth: usize,
    most: usize,
    count: usize,
}

impl Prefixes {
    /// Prefixes end with `separator`, are at most `depth` parts long, and at most `most` are held.
    pub fn new(separator: &[u8], depth: usize, most: usize) -> Prefixes {
        let separator = separator.to_vec();
        Prefixes { root: Node::default(), folded: false, separator, depth, most: most.max(1), count: 0 }
    }

    /// Counts a key.
    pub fn add(&mut self, key: &[u8], bytes: u64) {
        let sum = Sum { keys: 1, bytes, largest: bytes };
        let mut node = &mut self.root;
        node.total.add(sum);
        let mut rest = key;
        for _ in 0..self.depth {
            let Some(end) = find(rest, &self.separator) else { break };
            let (part, behind) = rest.split_at(end);
            if !node.children.contains_key(part) {
                node.children.insert(part.into(), Node::default());
                self.count += 1;
            }
            let Some(child) = node.children.get_mut(part) else { break };
            (node, rest) = (child, behind);
            node.total.add(sum);
        }
        if self.count > self.most {
            self.fold();
        }
    }

    /// How long the longest prefix of `key` is that it is counted under.
    pub fn prefix_len(&self, key: &[u8]) -> usize {
        let mut len = 0;
        for _ in 0..self.depth {
            let Some(end) = find(&key[len..], &self.separator) else { break };
            len += end;
        }
        len
    }

    /// Folds the small leaves of the tree until at most half of what is allowed is left.
    fn fold(&mut self) {
        self.folded = true;
        while self.count > self.most / 2 {
            let mut sizes = Vec::new();
            leaves(&self.root, &mut sizes);
            let excess = (self.count - self.most / 2).min(sizes.len());
            let (_, &mut limit, _) = sizes.select_nth_unstable(excess - 1);
            self.count -= fold_below(&mut self.root, limit);
        }
    }
}

/// Where the part that ends with the first separator ends.
fn find(key: &[u8], separator: &[u8]) -> Option<usize> {
    match separator {
        [] => None,
        [byte] => memchr::memchr(*byte, key).map(|at| at + 1),
        _ => key.windows(separator.len()).position(|window| window == separator).map(|at| at + separator.len()),
    }
}

fn leaves(node: &Node, sizes: &mut Vec<u64>) {
    for child in node.children.values() {
        if child.children.is_empty() {
            sizes.push(child.total.bytes);
        } else {
            leaves(child, sizes);
        }
    }
}

/// Folds the leaves of at most `limit` bytes; says how many.
fn fold_below(node: &mut Node, limit: u64) -> usize {
    let (mut folded, mut other) = (0, Sum::default());
    node.children.retain(|_, child| {
        let stays = !child.children.is_empty() || child.total.bytes > limit;
        if !stays {
            other.add(child.total);
            folded += 1;
        }
        stays
    });
    node.other.add(other);
    folded + node.children.values_mut().map(|child| fold_below(child, limit)).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lie_under_each_of_their_prefixes() {
        let mut prefixes = Prefixes::new(b":", 2, 100);
        for key in [&b"user:1:name"[..], b"user:1:mail", b"user:2:a:b:c", b"plain", b"user:"] {
            prefixes.add(key, 10);
        }
        let user = &prefixes.root.children[&b"user:"[..]];
        assert_eq!((prefixes.root.total.keys, prefixes.root.own().keys), (5, 1));
        assert_eq!((user.total, user.own().keys), (Sum { keys: 4, bytes: 40, largest: 10 }, 1));
        assert_eq!(user.children[&b"1:"[..]].total.keys, 2);
        assert!(user.children[&b"2:"[..]].children.is_empty(), "no deeper than asked");
    }

    #[test]
    fn small_prefixes_are_folded_and_nothing_is_lost() {
        let mut prefixes = Prefixes::new(b":", 3, 50);
        for index in 0..10_000_u64 {
            prefixes.add(format!("small:{index}:x").as_bytes(), 1);
            prefixes.add(format!("large:{}:x", index % 5).as_bytes(), 100);
        }
        assert!(prefixes.folded && prefixes.count <= 50);
        let [large, small] = [b"large:", b"small:"].map(|name| &prefixes.root.children[&name[..]]);
        assert_eq!((large.total.bytes, large.children.len(), large.own().keys), (1_000_000, 5, 0));
        assert_eq!((small.total.keys, small.own().keys), (10_000, 0));
        assert!(small.other.keys > 9_000);
    }
}
