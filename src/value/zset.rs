//! Sorted sets: one listpack of member, score pairs in order, or a table of scores beside the members in order.
//!
//! The order is by score, then by the member's bytes; `-0` and `0` are equal scores, but the sign is kept. A packed set
//! turns into the other form (`skiplist`, as clients know it) when it would hold more than
//! `zset-max-listpack-entries` members or one longer than `zset-max-listpack-value`, and stays there.

use super::ordered::{Ordered, Scored, compare};
use super::packed::Checked;
use super::packed::listpack::{ListpackIter, MAX_BYTES};
use super::{Either, Element, Limits, Listpack, PackedError, hash_of};
use crate::codec::number::{parse_f64, write_f64};
use crate::cow::PackedMap;
use std::cmp::Ordering;

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

/// A sorted set; see the module.
#[derive(Clone, Debug, Default)]
pub struct Zset(Repr);

#[derive(Clone, Debug)]
enum Repr {
    Packed(Listpack),
    Table(Box<Table>),
}

#[derive(Clone, Debug)]
struct Table {
    scores: PackedMap,
    order: Ordered,
}

impl Default for Repr {
    fn default() -> Self {
        Repr::Packed(Listpack::new())
    }
}

impl Zset {
    /// An empty sorted set.
    pub fn new() -> Self {
        Zset::default()
    }

    /// Loader: an empty sorted set that so many members are about to come into, all distinct. Where they are too many to
    /// be packed it is a table at once.
    pub fn with_count(count: usize, limits: &Limits) -> Self {
        if count <= limits.zset_max_listpack_entries {
            return Zset::new();
        }
        Zset(Repr::Table(Box::new(Table::from_pairs(&Listpack::new()))))
    }

    /// Loader: takes member, score pairs. A member twice, a missing score or one that is no number is an error; pairs
    /// out of order are put in order, and `limits` decide the encoding.
    pub fn from_listpack(pack: Listpack, limits: &Limits) -> Result<Self, PackedError> {
        if Zset::keeps(pack.checked(), limits)? {
            return Ok(Zset(Repr::Packed(pack)));
        }
        let mut zset = Zset::new();
        for (member, score) in (Pairs { items: pack.iter() }) {
            member.with(|member| zset.insert_exact(member, score, limits));
        }
        Ok(zset)
    }

    /// Loader: whether a listpack of pairs stays one, being in order and within the limits. A member twice, a missing
    /// score or one that is no number is an error.
    pub(super) fn keeps(pack: Checked<'_>, limits: &Limits) -> Result<bool, PackedError> {
        let mut in_order = true;
        let mut previous: Option<(Element<'_>, f64)> = None;
        let mut items = pack.iter();
        while let Some(member) = items.next() {
            let score = items.next().ok_or(PackedError::new(pack.end(), "a member without a score"))?;
            let score = number_in(score).ok_or(PackedError::new(pack.end(), "a score that is no number"))?;
            if let Some((before, lower)) = previous
                && in_order
                && lower >= score
            {
                let order = before.with(|before| member.with(|member| compare((lower, before), (score, member))));
                in_order = order == Ordering::Less;
            }
            previous = Some((member, score));
        }
        if pack.has_twice(2) {
            return Err(PackedError::new(pack.end(), "a member twice in a sorted set"));
        }
        // Redis too looks at the count alone here: what was packed once is not too long to stay so.
        Ok(in_order && pack.len() / 2 <= limits.zset_max_listpack_entries && pack.byte_len() <= MAX_BYTES)
    }

    /// How many members.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Packed(pack) => pack.len() / 2,
            Repr::Table(table) => table.scores.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `listpack` or `skiplist`.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Repr::Packed(_) => "listpack",
            Repr::Table(_) => "skiplist",
        }
    }

    /// Bytes held, approximately.
    pub fn footprint(&self) -> usize {
        match &self.0 {
            Repr::Packed(pack) => pack.footprint(),
            Repr::Table(table) => table.scores.footprint() + table.order.footprint(),
        }
    }

    /// The member, score pairs as the RDB stores them, of a packed set.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        match &self.0 {
            Repr::Packed(pack) => Some(pack),
            Repr::Table(_) => None,
        }
    }

    /// What [`super::Compact`] keeps of it, as it was.
    pub(super) fn of_packed(pack: Listpack) -> Self {
        Zset(Repr::Packed(pack))
    }

    /// Its listpack, to be filled anew.
    pub(super) fn packed_mut(&mut self) -> Option<&mut Listpack> {
        if let Repr::Packed(pack) = &mut self.0 { Some(pack) } else { None }
    }

    /// The member's score.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.0 {
            Repr::Packed(pack) => {
                let at = pack.next(pack.find(pack.first(), member, 2)?)?;
                Some(score_of(pack.get(at)))
            }
            Repr::Table(table) => table.scores.get(member).map(score_in),
        }
    }

    /// Gives `member` the score, which must not be NaN. As in Redis a zero loses its sign where the set is packed.
    pub fn insert(&mut self, member: &[u8], score: f64, limits: &Limits) -> Insert {
        self.insert_with(member, score, limits, |score| score + 0.0)
    }

    /// [`insert`](Self::insert) of what a file holds, or of a result, a zero's sign with it.
    pub fn insert_exact(&mut self, member: &[u8], score: f64, limits: &Limits) -> Insert {
        let is_other_zero = |old: f64| old == 0.0 && old.is_sign_negative() != score.is_sign_negative();
        if score == 0.0 && self.score(member).is_some_and(is_other_zero) {
            self.remove(member);
            self.insert_with(member, score, limits, |score| score);
            return Insert::Updated;
        }
        self.insert_with(member, score, limits, |score| score)
    }

    fn insert_with(&mut self, member: &[u8], score: f64, limits: &Limits, packed: fn(f64) -> f64) -> Insert {
        assert!(!score.is_nan(), "NaN is refused before it reaches a sorted set");
        if let Repr::Table(table) = &mut self.0 {
            return table.insert(member, score);
        }
        let old = self.score(member);
        if old == Some(score) {
            return Insert::Unchanged;
        }
        if let Repr::Packed(pack) = &self.0 {
            let too_long = member.len() > limits.zset_max_listpack_value || pack.byte_len() + member.len() > MAX_BYTES;
            if old.is_none() && (self.len() >= limits.zset_max_listpack_entries || too_long) {
                self.unpack();
            }
        }
        match &mut self.0 {
            Repr::Packed(pack) => {
                if old.is_some() {
                    remove_pair(pack, member);
                }
                insert_pair(pack, member, packed(score));
            }
            Repr::Table(table) => return table.insert(member, score),
        }
        if old.is_some() { Insert::Updated } else { Insert::Added }
    }

    /// Takes the sign from each zero of a packed set, as where a command had packed it.
    pub fn forget_packed_signs(&mut self) {
        let Repr::Packed(pack) = &mut self.0 else { return };
        let is_signed = |score: f64| score == 0.0 && score.is_sign_negative();
        let signed = (Pairs { items: pack.iter() }).filter(|pair| is_signed(pair.1)).map(|pair| pair.0.to_vec());
        for member in signed.collect::<Vec<_>>() {
            remove_pair(pack, &member);
            insert_pair(pack, &member, 0.0);
        }
    }

    /// Makes a table of a packed set, whatever the limits say.
    pub fn unpack(&mut self) {
        if let Repr::Packed(pack) = &self.0 {
            self.0 = Repr::Table(Box::new(Table::from_pairs(pack)));
        }
    }

    /// Takes `member` out and returns its score.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let score = self.score(member)?;
        match &mut self.0 {
            Repr::Packed(pack) => remove_pair(pack, member),
            Repr::Table(table) => {
                table.order.remove((score, member));
                table.scores.remove(member);
            }
        }
        Some(score)
    }

    /// How many members come before `member`.
    pub fn rank(&self, member: &[u8]) -> Option<usize> {
        match &self.0 {
            Repr::Packed(pack) => (Pairs { items: pack.iter() }).position(|pair| pair.0.eq_bytes(member)),
            Repr::Table(table) => table.scores.get(member).map(|score| table.order.rank((score_in(score), member))),
        }
    }

    /// All members in order.
    pub fn iter(&self) -> impl Iterator<Item = (Element<'_>, f64)> + '_ {
        self.iter_from(0)
    }

    /// Members from ascending rank `rank` upwards.
    pub fn iter_from(&self, rank: usize) -> impl Iterator<Item = (Element<'_>, f64)> + '_ {
        match &self.0 {
            Repr::Packed(pack) => {
                let at = rank.checked_mul(2).and_then(|index| pack.seek(index)).unwrap_or(pack.end());
                Either::Left(Pairs { items: pack.iter_at(at) })
            }
            Repr::Table(table) => Either::Right(table.order.iter_from(rank).map(pair)),
        }
    }

    /// Members from ascending rank `rank` (or the last) downwards.
    pub fn iter_rev_from(&self, rank: usize) -> impl Iterator<Item = (Element<'_>, f64)> + '_ {
        match &self.0 {
            Repr::Packed(pack) => {
                let behind = rank.checked_add(1).and_then(|rank| rank.checked_mul(2));
                let at = behind.and_then(|index| pack.seek(index)).unwrap_or(pack.end());
                Either::Left(PairsBackwards { items: pack.iter_before(at) })
            }
            Repr::Table(table) => Either::Right(table.order.iter_rev_from(rank).map(pair)),
        }
    }

    /// Visits up to `count` members from ascending rank `rank` upwards, without their scores.
    pub fn visit_members(&self, rank: usize, count: usize, mut visit: impl FnMut(Element<'_>)) {
        let Repr::Packed(pack) = &self.0 else {
            return self.iter_from(rank).take(count).for_each(|(member, _)| visit(member));
        };
        let Some(at) = rank.checked_mul(2).and_then(|index| pack.seek(index)) else { return };
        let mut items = pack.iter_at(at);
        for _ in 0..count {
            let Some(member) = items.next() else { return };
            visit(member);
            items.skip_one();
        }
    }

    /// How many members have a lower score, or no higher one if `exclusive`: the rank at which a range that begins at
    /// `score` (or behind it) begins.
    pub fn rank_of_score(&self, score: f64, exclusive: bool) -> usize {
        match &self.0 {
            Repr::Table(table) => table.order.rank_of_score(score, exclusive),
            Repr::Packed(_) => self.prefix(|other, _| other < score || (exclusive && other == score)),
        }
    }

    /// The same by the member's bytes, where all scores are equal.
    pub fn rank_of_lex(&self, bound: &[u8], exclusive: bool) -> usize {
        self.prefix(|_, member| member < bound || (exclusive && member == bound))
    }

    /// Takes out up to `count` members from rank `start` on.
    pub fn remove_rank_range(&mut self, start: usize, count: usize) {
        match &mut self.0 {
            Repr::Packed(pack) => {
                if let Some(at) = start.checked_mul(2).and_then(|index| pack.seek(index)) {
                    pack.remove_many(at, count.saturating_mul(2));
                }
            }
            Repr::Table(table) => {
                if start == 0 && count >= table.order.len() {
                    *self = Zset::new();
                    return;
                }
                // A clone is cheap, and stays as it is while the members that it names go.
                let before = table.order.clone();
                table.order.remove_range(start, count);
                for (_, member) in before.iter_from(start).take(count) {
                    table.scores.remove(member);
                }
            }
        }
    }

    /// Visits members from `cursor` on, at least `count` if there are as many; returns where to go on, 0 at the end.
    /// A packed set is visited whole.
    pub fn scan(&self, cursor: u64, count: usize, visit: &mut dyn FnMut(Element<'_>, f64)) -> u64 {
        match &self.0 {
            Repr::Packed(pack) => {
                (Pairs { items: pack.iter() }).for_each(|(member, score)| visit(member, score));
                0
            }
            Repr::Table(table) => {
                table.scores.scan(cursor, count, &mut |member, score| visit(Element::Bytes(member), score_in(score)))
            }
        }
    }

    /// A uniformly random member.
    pub fn random(&self, rng: &mut fastrand::Rng) -> Option<(Element<'_>, f64)> {
        if self.is_empty() {
            return None;
        }
        match &self.0 {
            Repr::Packed(_) => self.iter_from(rng.usize(..self.len())).next(),
            Repr::Table(table) => {
                table.scores.random(rng).map(|(member, score)| (Element::Bytes(member), score_in(score)))
            }
        }
    }

    fn prefix(&self, holds: impl Fn(f64, &[u8]) -> bool) -> usize {
        match &self.0 {
            Repr::Packed(pack) => {
                let pairs = Pairs { items: pack.iter() };
                pairs.take_while(|(member, score)| member.with(|member| holds(*score, member))).count()
            }
            Repr::Table(table) => table.order.prefix(|(score, member)| holds(score, member)),
        }
    }
}

impl Table {
    fn from_pairs(pack: &Listpack) -> Self {
        let mut table = Table { scores: PackedMap::new(hash_of), order: Ordered::default() };
        for (member, score) in (Pairs { items: pack.iter() }) {
            member.with(|member| table.insert(member, score));
        }
        table
    }

    fn insert(&mut self, member: &[u8], score: f64) -> Insert {
        let seek = self.scores.seek(member);
        let insert = match seek.value(&self.scores).map(score_in) {
            Some(old) if old == score => return Insert::Unchanged,
            Some(old) => {
                self.order.rescore((old, member), score);
                Insert::Updated
            }
            None => {
                self.order.insert((score, member));
                Insert::Added
            }
        };
        self.scores.put(seek, member, &score.to_le_bytes());
        insert
    }
}

/// Member, score pairs of a listpack.
struct Pairs<'a> {
    items: ListpackIter<'a>,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Element<'a>, f64);

    fn next(&mut self) -> Option<Self::Item> {
        let member = self.items.next()?;
        Some((member, score_of(self.items.next()?)))
    }
}

/// The same from the end.
struct PairsBackwards<'a> {
    items: ListpackIter<'a>,
}

impl<'a> Iterator for PairsBackwards<'a> {
    type Item = (Element<'a>, f64);

    fn next(&mut self) -> Option<Self::Item> {
        let score = score_of(self.items.next_back()?);
        Some((self.items.next_back()?, score))
    }
}

fn pair((score, member): Scored<'_>) -> (Element<'_>, f64) {
    (Element::Bytes(member), score)
}

/// A score in a listpack: checked when it was taken in, or written by us.
fn score_of(text: Element<'_>) -> f64 {
    number_in(text).unwrap_or(0.0)
}

fn number_in(text: Element<'_>) -> Option<f64> {
    match text {
        // Integers up to 2^53 are exact, larger ones round as Redis rounds them.
        Element::Int(value) => Some(value as f64),
        Element::Bytes(bytes) => parse_f64(bytes),
    }
}

/// A score in a cell of the table.
fn score_in(cell: &[u8]) -> f64 {
    f64::from_le_bytes(cell.try_into().expect("a score is stored in eight bytes"))
}

fn insert_pair(pack: &mut Listpack, member: &[u8], score: f64) {
    let mut text = Vec::with_capacity(24);
    write_f64(&mut text, score);
    let mut at = pack.first();
    while let Some(place) = at {
        let behind = pack.next(place).expect("a score follows its member");
        let other = (score_of(pack.get(behind)), pack.get(place));
        let order = other.0.partial_cmp(&score).expect("a score is never NaN");
        if order.then_with(|| other.1.cmp_bytes(member)) == Ordering::Greater {
            return pack.insert_all(place, &[member, &text]);
        }
        at = pack.next(behind);
    }
    pack.insert_all(pack.end(), &[member, &text]);
}

fn remove_pair(pack: &mut Listpack, member: &[u8]) {
    if let Some(at) = pack.find(pack.first(), member, 2) {
        pack.remove_many(at, 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn sorted(model: &BTreeMap<Vec<u8>, f64>) -> Vec<(Vec<u8>, f64)> {
        let mut pairs: Vec<_> = model.iter().map(|(member, score)| (member.clone(), *score)).collect();
        pairs.sort_by(|left, right| compare((left.1, &left.0), (right.1, &right.0)));
        pairs
    }

    fn check(zset: &Zset, model: &BTreeMap<Vec<u8>, f64>) {
        let pairs = sorted(model);
        assert_eq!(zset.len(), pairs.len());
        let got: Vec<_> = zset.iter().map(|(member, score)| (member.to_vec(), score)).collect();
        assert_eq!(got, pairs);
        for rank in [0, 1, pairs.len() / 2, pairs.len(), usize::MAX] {
            assert!(zset.iter_from(rank).map(|pair| pair.1).eq(pairs.iter().skip(rank).map(|pair| pair.1)));
            let down = pairs.iter().take(rank.saturating_add(1)).rev();
            assert!(zset.iter_rev_from(rank).map(|pair| pair.0.to_vec()).eq(down.map(|pair| pair.0.clone())));
            let mut members = Vec::new();
            zset.visit_members(rank, 7, |member| members.push(member.to_vec()));
            assert!(members.iter().eq(pairs.iter().skip(rank).take(7).map(|pair| &pair.0)));
        }
        for (rank, (member, score)) in pairs.iter().enumerate() {
            assert_eq!((zset.rank(member), zset.score(member)), (Some(rank), Some(*score)));
        }
        for bound in -5..5 {
            let bound = f64::from(bound);
            assert_eq!(zset.rank_of_score(bound, false), pairs.iter().filter(|pair| pair.1 < bound).count());
            assert_eq!(zset.rank_of_score(bound, true), pairs.iter().filter(|pair| pair.1 <= bound).count());
        }
        let mut met = BTreeMap::new();
        let mut cursor = 0;
        loop {
            cursor = zset.scan(cursor, 3, &mut |member, score| {
                met.insert(member.to_vec(), score);
            });
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(&met, model);
    }

    #[test]
    fn a_sorted_set_behaves_as_its_model_and_clones_stay_as_they_were() {
        for entries in [0, 20, 10_000] {
            let limits = Limits { zset_max_listpack_entries: entries, ..Limits::default() };
            let mut rng = fastrand::Rng::with_seed(entries as u64);
            let (mut zset, mut model) = (Zset::new(), BTreeMap::new());
            let mut clones = Vec::new();
            for step in 0..3000 {
                let member = rng.u32(..400).to_string().into_bytes();
                let score = f64::from(rng.i32(-8..8)) / 2.0;
                if rng.u32(..100) < if step % 1500 < 1000 { 70 } else { 20 } {
                    let expected = match model.insert(member.clone(), score) {
                        None => Insert::Added,
                        Some(old) if old == score => Insert::Unchanged,
                        Some(_) => Insert::Updated,
                    };
                    assert_eq!(zset.insert(&member, score, &limits), expected);
                } else if rng.u8(..20) == 0 {
                    let start = rng.usize(..50);
                    for (member, _) in sorted(&model).iter().skip(start).take(7) {
                        model.remove(member);
                    }
                    zset.remove_rank_range(start, 7);
                } else {
                    assert_eq!(zset.remove(&member), model.remove(&member));
                }
                if step % 211 == 0 {
                    clones.push((zset.clone(), model.clone()));
                }
            }
            for (zset, model) in &clones {
                check(zset, model);
            }
        }
    }

    #[test]
    fn the_encoding_changes_where_redis_changes_it() {
        let limits = Limits::default();
        let mut zset = Zset::new();
        for member in 0..128 {
            zset.insert(format!("m{member}").as_bytes(), 1.5, &limits);
        }
        assert_eq!(zset.encoding(), "listpack");
        let copy = Zset::from_listpack(zset.as_listpack().unwrap().clone(), &limits).unwrap();
        assert_eq!(copy.as_listpack(), zset.as_listpack());
        zset.insert(b"one more", 1.0, &limits);
        assert_eq!(zset.encoding(), "skiplist");
        let mut long = Zset::new();
        long.insert(&[b'x'; 64], f64::INFINITY, &limits);
        assert_eq!(long.encoding(), "listpack");
        long.insert(&[b'x'; 65], f64::NEG_INFINITY, &limits);
        assert_eq!((long.encoding(), long.len()), ("skiplist", 2));
    }

    #[test]
    fn members_of_one_score_are_found_by_their_bytes() {
        for limits in [Limits::default(), Limits { zset_max_listpack_entries: 0, ..Limits::default() }] {
            let mut zset = Zset::new();
            for member in 0..100 {
                zset.insert(format!("{member:03}").as_bytes(), 0.0, &limits);
            }
            assert_eq!(zset.rank_of_lex(b"050", false), 50);
            assert_eq!(zset.rank_of_lex(b"050", true), 51);
            assert_eq!(zset.rank_of_lex(b"0505", false), 51);
            assert_eq!(zset.rank_of_lex(b"", true), 0);
            assert_eq!(zset.rank_of_lex(b"zzz", true), 100);
        }
    }

    type InsertOne = fn(&mut Zset, &[u8], f64, &Limits) -> Insert;

    #[test]
    fn the_sign_of_a_zero_score_is_kept_but_where_a_command_packs_it() {
        let large = Limits { zset_max_listpack_entries: 0, ..Limits::default() };
        let mut zset = Zset::new();
        zset.insert(b"a", -0.0, &Limits::default());
        assert!(zset.score(b"a").unwrap().is_sign_positive());
        for (limits, insert) in [(Limits::default(), Zset::insert_exact as InsertOne), (large, Zset::insert)] {
            let mut zset = Zset::new();
            insert(&mut zset, b"a", -0.0, &limits);
            zset.insert(b"b", 0.0, &limits);
            assert!(zset.score(b"a").unwrap().is_sign_negative());
            assert_eq!(zset.insert(b"a", 0.0, &limits), Insert::Unchanged);
            assert_eq!(zset.rank(b"b"), Some(1));
            assert_eq!(zset.insert_exact(b"a", 0.0, &limits), Insert::Updated);
            assert!(zset.score(b"a").unwrap().is_sign_positive() && zset.len() == 2);
            zset.insert_exact(b"b", -0.0, &limits);
            let is_packed = zset.as_listpack().is_some();
            zset.forget_packed_signs();
            assert_eq!(zset.score(b"b").unwrap().is_sign_positive(), is_packed);
        }
    }

    #[test]
    fn broken_pairs_are_refused_and_unsorted_ones_are_sorted() {
        let limits = Limits::default();
        let pack = |items: &[&[u8]]| items.iter().copied().collect::<Listpack>();
        assert!(Zset::from_listpack(pack(&[b"a"]), &limits).is_err());
        assert!(Zset::from_listpack(pack(&[b"a", b"nan"]), &limits).is_err());
        assert!(Zset::from_listpack(pack(&[b"a", b"1", b"a", b"2"]), &limits).is_err());
        let zset = Zset::from_listpack(pack(&[b"b", b"2", b"a", b"1"]), &limits).unwrap();
        assert_eq!(zset.rank(b"a"), Some(0));
    }
}
