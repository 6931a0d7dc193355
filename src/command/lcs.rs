//! LCS: the longest common subsequence of two strings, its length, or where it stands in both.

use super::args::{self, is};
use super::spec::{CAT_STRING, Command, READONLY, TWO_KEYS, command};
use super::{CommandError, Context, Outcome};
use crate::keyspace::View;

pub const COMMANDS: &[Command] = &[command("lcs", -3, READONLY, TWO_KEYS, CAT_STRING, "7.0.0", lcs)];

#[derive(Default)]
struct Options {
    is_len: bool,
    is_idx: bool,
    has_match_len: bool,
    min_match_len: usize,
}

impl Options {
    fn parse(arguments: &[&[u8]]) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut rest = arguments;
        while let [option, tail @ ..] = rest {
            rest = tail;
            if is(option, "IDX") {
                options.is_idx = true;
            } else if is(option, "LEN") {
                options.is_len = true;
            } else if is(option, "WITHMATCHLEN") {
                options.has_match_len = true;
            } else if let (true, [len, tail @ ..]) = (is(option, "MINMATCHLEN"), tail) {
                options.min_match_len = usize::try_from(args::int(len)?).unwrap_or(0);
                rest = tail;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        if options.is_idx && options.is_len {
            return Err(CommandError::err("If you want both the length and indexes, please just use IDX."));
        }
        Ok(options)
    }
}

/// The length of the longest common subsequence of every pair of beginnings.
struct Table {
    lens: Vec<u32>,
    width: usize,
}

impl Table {
    /// Takes 4 bytes for each pair.
    fn new(left: &[u8], right: &[u8]) -> Result<Self, CommandError> {
        let no_room = || CommandError::err("Insufficient memory, failed allocating transient memory for LCS");
        let width = right.len() + 1;
        let size = width.checked_mul(left.len() + 1).ok_or_else(no_room)?;
        let mut lens = Vec::new();
        lens.try_reserve_exact(size).map_err(|_| no_room())?;
        lens.resize(width, 0);
        for byte in left {
            let above = lens.len() - width;
            lens.push(0);
            for (at, other) in right.iter().enumerate() {
                let len = if byte == other {
                    lens[above + at] + 1
                } else {
                    lens[above + at + 1].max(lens[above + width + at])
                };
                lens.push(len);
            }
        }
        Ok(Self { lens, width })
    }

    fn len(&self, left: usize, right: usize) -> u32 {
        self.lens[left * self.width + right]
    }
}

/// A run of bytes that both have: where it begins in either, and how long it is.
struct Match {
    left: usize,
    right: usize,
    len: usize,
}

/// The runs that make up the subsequence, last first. Of several subsequences it is Redis's.
fn matches(table: &Table, left: &[u8], right: &[u8]) -> Vec<Match> {
    let mut matches: Vec<Match> = Vec::new();
    let (mut i, mut j) = (left.len(), right.len());
    while i > 0 && j > 0 {
        if left[i - 1] == right[j - 1] {
            match matches.last_mut().filter(|last| last.left == i && last.right == j) {
                Some(last) => *last = Match { left: i - 1, right: j - 1, len: last.len + 1 },
                None => matches.push(Match { left: i - 1, right: j - 1, len: 1 }),
            }
            (i, j) = (i - 1, j - 1);
        } else if table.len(i - 1, j) > table.len(i, j - 1) {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    matches
}

fn lcs(context: &mut Context<'_>) -> Outcome {
    let keys = &context.args[1..3];
    let views = context.engine.keyspace.db(context.session.db).into_values(keys);
    let text =
        |view: Option<View<'_>>| view.map_or(Some(Vec::new()), |view| view.string().map(|string| string.to_vec()));
    let strings: Option<Vec<Vec<u8>>> = views.into_iter().map(text).collect();
    let strings = strings.ok_or(CommandError::err("The specified keys must contain string values"))?;
    let options = Options::parse(&context.args[3..])?;
    let (left, right) = (&strings[0], &strings[1]);
    let table = Table::new(left, right)?;
    let len = table.len(left.len(), right.len());
    if options.is_len {
        return Ok(context.reply.int(len.into()));
    }
    let matches = matches(&table, left, right);
    if !options.is_idx {
        let bytes: Vec<u8> =
            matches.iter().rev().flat_map(|found| &left[found.left..found.left + found.len]).copied().collect();
        return Ok(context.reply.bulk(&bytes));
    }
    let shown: Vec<_> = matches.iter().filter(|found| found.len >= options.min_match_len).collect();
    let reply = context.reply.map(2);
    context.reply.bulk(b"matches");
    context.reply.array(shown.len());
    for found in shown {
        context.reply.array(2 + usize::from(options.has_match_len));
        for start in [found.left, found.right] {
            context.reply.array(2);
            context.reply.count(start);
            context.reply.count(start + found.len - 1);
        }
        if options.has_match_len {
            context.reply.count(found.len);
        }
    }
    context.reply.bulk(b"len");
    context.reply.int(len.into());
    Ok(reply)
}
