//! An ordered map by stream id that is cheap to share: of it are made a stream's nodes and the pending lists.
//!
//! Entries lie sorted in short runs, each behind an `Arc`, listed in one shared index. A clone is one counted pointer;
//! the first write afterwards copies the index (24 bytes for every 128 entries) and the one run it changes.

use super::StreamId;
use std::sync::Arc;

/// A run is split when it grows beyond this many entries.
const RUN: usize = 128;

/// See the module's text.
#[derive(Debug, Clone)]
pub struct Ordered<V> {
    /// Runs in order, none empty, each with the id that it begins with.
    runs: Arc<Vec<(StreamId, Arc<Run<V>>)>>,
    len: usize,
}

type Run<V> = Vec<(StreamId, V)>;

impl<V> Default for Ordered<V> {
    fn default() -> Self {
        Self { runs: Arc::default(), len: 0 }
    }
}

impl<V: Clone> Ordered<V> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn get(&self, id: StreamId) -> Option<&V> {
        let (_, run) = self.runs.get(self.run_of(id))?;
        let at = run.binary_search_by_key(&id, |entry| entry.0).ok()?;
        Some(&run[at].1)
    }

    /// Puts `value` at `id` and returns what was there.
    pub fn insert(&mut self, id: StreamId, value: V) -> Option<V> {
        let index = self.run_of(id);
        let runs = Arc::make_mut(&mut self.runs);
        let Some((first, run)) = runs.get_mut(index) else {
            runs.push((id, Arc::new(vec![(id, value)])));
            self.len += 1;
            return None;
        };
        let run = Arc::make_mut(run);
        match run.binary_search_by_key(&id, |entry| entry.0) {
            Ok(at) => return Some(std::mem::replace(&mut run[at].1, value)),
            Err(at) => run.insert(at, (id, value)),
        }
        *first = run[0].0;
        if run.len() > RUN {
            // Ids mostly grow: a full last run stays full, any other is halved.
            let at = if run[RUN].0 == id { RUN } else { RUN / 2 };
            let tail = run.split_off(at);
            runs.insert(index + 1, (tail[0].0, Arc::new(tail)));
        }
        self.len += 1;
        None
    }

    pub fn remove(&mut self, id: StreamId) -> Option<V> {
        let index = self.run_of(id);
        let at = self.runs.get(index)?.1.binary_search_by_key(&id, |entry| entry.0).ok()?;
        let runs = Arc::make_mut(&mut self.runs);
        let (first, run) = &mut runs[index];
        let run = Arc::make_mut(run);
        let (_, value) = run.remove(at);
        self.len -= 1;
        match run.first() {
            Some(entry) => *first = entry.0,
            None => drop(runs.remove(index)),
        }
        Some(value)
    }

    /// The value at `id`, to be changed; the path to it is no longer shared afterwards.
    pub fn get_mut(&mut self, id: StreamId) -> Option<&mut V> {
        let index = self.run_of(id);
        let at = self.runs.get(index)?.1.binary_search_by_key(&id, |entry| entry.0).ok()?;
        Some(&mut Arc::make_mut(&mut Arc::make_mut(&mut self.runs)[index].1)[at].1)
    }

    /// The value with the greatest id, as [`Ordered::get_mut`] gives it.
    pub fn last_mut(&mut self) -> Option<&mut V> {
        let (_, run) = Arc::make_mut(&mut self.runs).last_mut()?;
        Arc::make_mut(run).last_mut().map(|(_, value)| value)
    }

    pub fn first(&self) -> Option<(StreamId, &V)> {
        self.runs.first()?.1.first().map(|(id, value)| (*id, value))
    }

    pub fn last(&self) -> Option<(StreamId, &V)> {
        self.runs.last()?.1.last().map(|(id, value)| (*id, value))
    }

    /// The entry with the greatest id that is not above `id`.
    pub fn floor(&self, id: StreamId) -> Option<(StreamId, &V)> {
        let (_, run) = self.runs.get(self.run_of(id))?;
        let at = run.partition_point(|entry| entry.0 <= id).checked_sub(1)?;
        Some((run[at].0, &run[at].1))
    }

    /// The entries with ids from `start` to `end`, both included, in order.
    pub fn range(&self, start: StreamId, end: StreamId) -> impl DoubleEndedIterator<Item = (StreamId, &V)> {
        let from = self.run_of(start);
        let to = self.runs.partition_point(|(first, _)| *first <= end).max(from);
        let clipped = self.runs[from..to].iter().flat_map(move |(_, run)| {
            let to = run.partition_point(|entry| entry.0 <= end);
            let from = run.partition_point(|entry| entry.0 < start).min(to);
            &run[from..to]
        });
        clipped.map(|(id, value)| (*id, value))
    }

    /// The entries with ids from `start` on, in order.
    pub fn range_from(&self, start: StreamId) -> impl DoubleEndedIterator<Item = (StreamId, &V)> {
        self.range(start, StreamId::MAX)
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (StreamId, &V)> {
        self.runs.iter().flat_map(|(_, run)| run.iter()).map(|(id, value)| (*id, value))
    }

    /// Bytes held, roughly.
    pub fn footprint(&self) -> usize {
        self.len * size_of::<(StreamId, V)>() + self.runs.len() * 64
    }

    /// The index of the only run that can hold `id`.
    fn run_of(&self, id: StreamId) -> usize {
        self.runs.partition_point(|(first, _)| *first <= id).saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn it_agrees_with_a_btree_and_clones_never_change() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut map = Ordered::default();
        let mut model = BTreeMap::new();
        let mut kept: Vec<(Ordered<u32>, BTreeMap<StreamId, u32>)> = Vec::new();
        for step in 0..40_000u32 {
            let id = StreamId::new(rng.u64(0..40), rng.u64(0..60));
            match rng.u8(0..5) {
                0 | 1 => assert_eq!(map.insert(id, step), model.insert(id, step)),
                2 => {
                    let id = StreamId::new(100, u64::from(step));
                    assert_eq!(map.insert(id, step), model.insert(id, step));
                }
                3 => assert_eq!(map.remove(id), model.remove(&id)),
                _ => {
                    assert_eq!(map.get(id), model.get(&id));
                    let tail: Vec<_> = map.range_from(id).take(5).collect();
                    let expected: Vec<_> = model.range(id..).take(5).map(|(id, value)| (*id, value)).collect();
                    assert_eq!(tail, expected);
                    let end = StreamId::new(rng.u64(0..40), 0);
                    if id <= end {
                        let back = model.range(id..=end).rev().map(|(id, value)| (*id, value));
                        assert!(map.range(id, end).rev().eq(back));
                    } else {
                        assert_eq!(map.range(id, end).count(), 0);
                    }
                    let below = model.range(..=id).next_back().map(|(id, value)| (*id, value));
                    assert_eq!(map.floor(id), below);
                    assert_eq!(map.last(), model.last_key_value().map(|(id, value)| (*id, value)));
                    assert_eq!(map.first(), model.first_key_value().map(|(id, value)| (*id, value)));
                    if let Some(value) = map.last_mut() {
                        *value ^= 1;
                        *model.last_entry().unwrap().get_mut() ^= 1;
                    }
                    if let Some(value) = map.get_mut(id) {
                        *value += 1;
                        *model.get_mut(&id).unwrap() += 1;
                    }
                }
            }
            assert_eq!(map.len(), model.len());
            if step % 4_000 == 0 {
                kept.push((map.clone(), model.clone()));
            }
        }
        kept.push((map, model));
        for (map, model) in kept {
            assert!(map.iter().eq(model.iter().map(|(id, value)| (*id, value))));
            assert!(map.iter().rev().eq(model.iter().rev().map(|(id, value)| (*id, value))));
        }
    }

    #[test]
    fn removing_everything_leaves_nothing() {
        let mut map = Ordered::default();
        for seq in 0..1000 {
            map.insert(StreamId::new(1, seq), ());
        }
        for seq in (0..1000).rev() {
            assert_eq!(map.remove(StreamId::new(1, seq)), Some(()));
            assert_eq!(map.remove(StreamId::new(1, seq)), None);
        }
        assert!(map.len() == 0 && map.iter().next().is_none());
    }
}
