//! How many nodes the radix tree has in which Redis files a stream's nodes, which XINFO STREAM tells; without the tree.
//!
//! The keys of that tree are the 16 bytes of ids. A fork of the keys is one node, a run of bytes before a fork or an end
//! is one, and an end is one. What one key adds to the others follows from its neighbours, so that the number is kept
//! up to date with a few searches whenever a stream's node comes or goes.

use super::StreamId;
use super::ordered::Ordered;

/// Bytes of a key.
const KEY: usize = 16;

/// The nodes that `id` adds to the tree of `others`, which it is not among: as many as go when it leaves them.
pub fn share<V: Clone>(others: &Ordered<V>, id: StreamId) -> usize {
    let Some(nearest) = around(others, id, id).max_by_key(|other| common(id, *other)) else {
        return 2;
    };
    // The key leaves the path of its nearest neighbour at this byte, has its end, and a run before it if bytes are left.
    let byte = common(id, nearest);
    let own = 1 + usize::from(byte + 1 < KEY);
    let (low, high) = sharing(nearest, byte);
    let fork_after = others.range(low, high).next().into_iter().chain(others.floor(high));
    let fork_after = fork_after.map(|(other, _)| common(nearest, other)).min().unwrap_or(KEY);
    if fork_after == byte {
        return own;
    }
    // A run is cut in two by a new fork, either part of which may be empty.
    let run_start = around(others, low, high).map(|other| common(nearest, other) + 1).max().unwrap_or(0);
    own + usize::from(run_start < byte) + usize::from(byte + 1 < fork_after)
}

/// The last id below `low` and the first one above `high`.
fn around<V: Clone>(others: &Ordered<V>, low: StreamId, high: StreamId) -> impl Iterator<Item = StreamId> {
    let below = low.decr().and_then(|id| others.floor(id));
    let above = high.incr().and_then(|id| others.range_from(id).next());
    below.into_iter().chain(above).map(|(id, _)| id)
}

/// How many bytes two ids have in common at their beginning.
fn common(a: StreamId, b: StreamId) -> usize {
    let bits = (number(a) ^ number(b)).leading_zeros();
    usize::try_from(bits / 8).expect("at most 16")
}

/// The least and the greatest id that begin with the first bytes of `id`, which are not all.
fn sharing(id: StreamId, bytes: usize) -> (StreamId, StreamId) {
    let rest = u128::MAX >> (8 * bytes);
    let id = number(id);
    (StreamId::from_bytes((id & !rest).to_be_bytes()), StreamId::from_bytes((id | rest).to_be_bytes()))
}

fn number(id: StreamId) -> u128 {
    u128::from_be_bytes(id.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nodes of the tree of these keys, which are sorted and share their first `depth` bytes, counted one by one.
    fn count(keys: &[[u8; KEY]], depth: usize) -> usize {
        let (Some(first), Some(last)) = (keys.first(), keys.last()) else {
            return 0;
        };
        let fork = (depth..KEY).find(|at| first[*at] != last[*at]).unwrap_or(KEY);
        let run = usize::from(fork > depth);
        if fork == KEY {
            return run + 1;
        }
        let below: usize = keys.chunk_by(|a, b| a[fork] == b[fork]).map(|group| count(group, fork + 1)).sum();
        run + 1 + below
    }

    #[test]
    fn what_each_key_adds_and_takes_makes_up_the_tree() {
        for seed in 0..40 {
            let mut rng = fastrand::Rng::with_seed(seed);
            // Few different bytes, so that keys fork at every depth, next to each other and far apart.
            let values = [0, 1, 127, 255];
            let fixed = rng.usize(0..KEY);
            let mut keys = Ordered::default();
            let mut nodes = 0;
            for _ in 0..300 {
                let bytes =
                    std::array::from_fn(|at| if at < fixed && rng.u8(0..9) > 0 { 7 } else { values[rng.usize(0..4)] });
                let id = if rng.bool() { StreamId::from_bytes(bytes) } else { StreamId::new(1 << 40, rng.u64(0..600)) };
                if keys.remove(id).is_some() {
                    nodes -= share(&keys, id);
                } else {
                    nodes += share(&keys, id);
                    keys.insert(id, ());
                }
                let listed: Vec<_> = keys.iter().map(|(id, ())| id.to_bytes()).collect();
                assert_eq!(nodes, count(&listed, 0), "seed {seed}, {} keys", listed.len());
            }
            let left: Vec<_> = keys.iter().map(|(id, ())| id).collect();
            for id in left {
                keys.remove(id);
                nodes -= share(&keys, id);
            }
            assert_eq!(nodes, 0);
        }
    }
}
