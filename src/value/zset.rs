//! Sorted sets.
use super::{Element, Limits, Listpack, PackedError};
use crate::codec::number::parse_f64;

/// What an insertion did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insert {
    /// The member is new.
    Added,
    /// The member had another score.
    Updated,
    /// The member had this score.
    Unchanged,
}

#[derive(Clone, Debug, Default)]
pub struct Zset {
    items: Vec<(f64, Vec<u8>)>,
}

impl Zset {
    pub fn new() -> Self {
        Zset::default()
    }
    pub fn len(&self) -> usize {
        self.items.len()
    }
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
    pub fn encoding(&self) -> &'static str {
        "skiplist"
    }
    pub fn footprint(&self) -> usize {
        0
    }
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        self.items.iter().find(|i| i.1 == member).map(|i| i.0)
    }
    /// `score` must not be NaN.
    pub fn insert(&mut self, member: &[u8], score: f64, _limits: &Limits) -> Insert {
        let r = match self.remove(member) {
            None => Insert::Added,
            Some(old) if old == score => Insert::Unchanged,
            Some(_) => Insert::Updated,
        };
        let at = self.items.partition_point(|i| (i.0, &i.1[..]) < (score, member));
        self.items.insert(at, (score, member.to_vec()));
        r
    }
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let at = self.rank(member)?;
        Some(self.items.remove(at).0)
    }
    pub fn rank(&self, member: &[u8]) -> Option<usize> {
        self.items.iter().position(|i| i.1 == member)
    }
    pub fn iter(&self) -> impl Iterator<Item = (Element<'_>, f64)> + '_ {
        self.iter_from(0)
    }
    pub fn iter_from(&self, rank: usize) -> impl Iterator<Item = (Element<'_>, f64)> + '_ {
        self.items.iter().skip(rank).map(|i| (Element::from(&i.1), i.0))
    }
    /// Descending, starting at ascending rank `rank`.
    pub fn iter_rev_from(&self, rank: usize) -> impl Iterator<Item = (Element<'_>, f64)> + '_ {
        self.items.iter().take(rank.saturating_add(1)).rev().map(|i| (Element::from(&i.1), i.0))
    }
    /// Number of members strictly below the bound: score < s, or <= s if exclusive.
    pub fn rank_of_score(&self, score: f64, exclusive: bool) -> usize {
        self.items.partition_point(|i| i.0 < score || exclusive && i.0 == score)
    }
    /// The same by member bytes.
    pub fn rank_of_lex(&self, bound: &[u8], exclusive: bool) -> usize {
        self.items.partition_point(|i| &i.1[..] < bound || exclusive && i.1 == bound)
    }
    pub fn remove_rank_range(&mut self, start: usize, count: usize) {
        let end = start.saturating_add(count).min(self.len());
        if start < end {
            self.items.drain(start..end);
        }
    }
    pub fn scan(&self, _cursor: u64, _count: usize, visit: &mut dyn FnMut(Element<'_>, f64)) -> u64 {
        for (m, s) in self.iter() {
            visit(m, s);
        }
        0
    }
    pub fn random(&self, rng: &mut fastrand::Rng) -> Option<(Element<'_>, f64)> {
        if self.is_empty() { None } else { self.iter_from(rng.usize(..self.len())).next() }
    }
    pub fn as_listpack(&self) -> Option<&Listpack> {
        None
    }
    /// Loader: member, score pairs; sorted here if they are not.
    pub fn from_listpack(pack: Listpack, limits: &Limits) -> Result<Self, PackedError> {
        let items: Vec<_> = pack.iter().map(|e| e.to_vec()).collect();
        let mut zset = Zset::new();
        for pair in items.chunks(2) {
            let score =
                pair.get(1).and_then(|s| parse_f64(s)).ok_or(PackedError::new(0, "a member without a score"))?;
            if zset.insert(&pair[0], score, limits) != Insert::Added {
                return Err(PackedError::new(0, "a member twice"));
            }
        }
        Ok(zset)
    }
}
