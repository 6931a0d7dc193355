//! The shortest way from one list to another, found on hashes of their items.
//!
//! What both have at their ends is passed over; between, Myers' greedy search finds the fewest items to take out and put
//! in (An O(ND) Difference Algorithm, 1986). Where that would be more than [`MOST_EDITS`], all between the ends counts
//! as replaced.

/// More edits are not searched for: what is held grows with their square.
const MOST_EDITS: usize = 1_000;

/// Places of items that are only on one side, ascending.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Edit {
    pub removed: Vec<u64>,
    pub added: Vec<u64>,
}

/// The places where `old` and `new` differ.
pub fn between(old: &[u64], new: &[u64]) -> Edit {
    let head = old.iter().zip(new).take_while(|(left, right)| left == right).count();
    let (old, new) = (&old[head..], &new[head..]);
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(left, right)| left == right).count();
    let (old, new) = (&old[..old.len() - tail], &new[..new.len() - tail]);
    let mut edit = search(old, new).unwrap_or_else(|| Edit {
        removed: (0..old.len() as u64).collect(), // usize fits
        added: (0..new.len() as u64).collect(),   // usize fits
    });
    for place in edit.removed.iter_mut().chain(&mut edit.added) {
        *place += head as u64; // usize fits
    }
    edit
}

/// The furthest that `edits` edits get on each diagonal, -edits to edits in steps of two.
type Row = Vec<usize>;

fn search(old: &[u64], new: &[u64]) -> Option<Edit> {
    let mut rows: Vec<Row> = Vec::new();
    for edits in 0..=MOST_EDITS.min(old.len() + new.len()) {
        let mut row = Vec::with_capacity(edits + 1);
        for index in 0..=edits {
            let (mut at, _) = step(rows.last(), edits, index);
            let Some(mut there) = place(at, edits, index, new.len()) else {
                row.push(at);
                continue;
            };
            while at < old.len() && there < new.len() && old[at] == new[there] {
                (at, there) = (at + 1, there + 1);
            }
            row.push(at);
            if at == old.len() && there == new.len() {
                rows.push(row);
                return Some(trace(&rows, edits, index));
            }
        }
        rows.push(row);
    }
    None
}

/// Where the diagonal `index` of `edits` is in the other list; `None` where it has left it.
fn place(at: usize, edits: usize, index: usize, len: usize) -> Option<usize> {
    // The diagonal is old minus new: 2 * index - edits.
    (at + edits).checked_sub(2 * index).filter(|there| *there <= len)
}

/// The start of the diagonal `index` after one more edit, and whether that edit takes an item out.
fn step(before: Option<&Row>, edits: usize, index: usize) -> (usize, bool) {
    let Some(before) = before else { return (0, false) };
    if index == 0 {
        return (before[0], false);
    }
    if index == edits {
        return (before[index - 1] + 1, true);
    }
    if before[index - 1] + 1 > before[index] { (before[index - 1] + 1, true) } else { (before[index], false) }
}

/// Walks back along the rows.
fn trace(rows: &[Row], mut edits: usize, mut index: usize) -> Edit {
    let mut edit = Edit::default();
    while edits > 0 {
        let (at, is_removal) = step(rows.get(edits - 1), edits, index);
        if is_removal {
            edit.removed.push(at as u64 - 1); // usize fits
            index -= 1;
        } else {
            edit.added.push((at + edits - 2 * index) as u64 - 1); // usize fits
        }
        edits -= 1;
    }
    edit.removed.reverse();
    edit.added.reverse();
    edit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(old: &[u64], new: &[u64], edit: &Edit) -> Vec<u64> {
        let mut kept =
            old.iter().enumerate().filter(|(at, _)| !edit.removed.contains(&(*at as u64))).map(|(_, item)| *item);
        (0..new.len())
            .filter_map(|at| if edit.added.contains(&(at as u64)) { Some(new[at]) } else { kept.next() })
            .collect()
    }

    #[test]
    fn what_was_put_in_and_taken_out_is_found() {
        assert_eq!(between(&[1, 2, 3], &[0, 1, 2, 3]), Edit { removed: vec![], added: vec![0] });
        assert_eq!(between(&[1, 2, 3], &[1, 3]), Edit { removed: vec![1], added: vec![] });
        assert_eq!(between(&[1, 2, 3], &[1, 9, 3]), Edit { removed: vec![1], added: vec![1] });
        assert_eq!(between(&[], &[]), Edit::default());
    }

    #[test]
    fn any_edit_leads_to_the_other_list_and_none_is_shorter_than_the_longest_common_part() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..3_000 {
            let mut list = |len| -> Vec<u64> { (0..random.usize(0..len)).map(|_| random.u64(0..4)).collect() };
            let (old, new) = (list(12), list(12));
            let edit = between(&old, &new);
            assert_eq!(apply(&old, &new, &edit), new, "{old:?} to {new:?}: {edit:?}");
            let mut longest = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
            for (row, left) in old.iter().enumerate() {
                for (column, right) in new.iter().enumerate() {
                    longest[row + 1][column + 1] = match left == right {
                        true => longest[row][column] + 1,
                        false => longest[row][column + 1].max(longest[row + 1][column]),
                    };
                }
            }
            let fewest = old.len() + new.len() - 2 * longest[old.len()][new.len()];
            assert_eq!(edit.removed.len() + edit.added.len(), fewest, "{old:?} to {new:?}");
        }
    }

    #[test]
    fn lists_with_little_in_common_are_replaced() {
        let (old, new): (Vec<u64>, Vec<u64>) = ((0..5_000).collect(), (10_000..15_000).collect());
        assert_eq!(between(&old, &new).removed.len(), 5_000);
    }
}
