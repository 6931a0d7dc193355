//! SORT and SORT_RO: the elements of a list, set or sorted set in an order of their own, or of other keys' values, shown
//! with what other keys hold, or stored as a list.
//!
//! BY and GET name other keys by a pattern whose first `*` stands for the element; `->FIELD` behind it looks into a hash.
//! What a pattern names is not among the keys of the request.
//!
//! The order is that of Redis, and stable: elements of a list that compare as equal keep their places, as with the sort of
//! glibc. SORT with STORE is logged as it was typed, so what it stores must not depend on this process's hash tables: the
//! members of a large set are put in the order of their bytes before they are sorted by anything else.

use crate::keyspace::View;
use crate::value::{List, Object};

use super::args::{self, is};
use super::spec::{
    CAT_DANGEROUS, CAT_LIST, CAT_SET, CAT_SORTEDSET, Command, DENYOOM, Keys, MOVABLE_KEYS, READONLY, WRITE, command,
};
use super::{CommandError, Context, Outcome};

const CAT: u32 = CAT_SET | CAT_SORTEDSET | CAT_LIST | CAT_DANGEROUS;

pub const COMMANDS: &[Command] = &[
    command("sort", -2, WRITE | DENYOOM | MOVABLE_KEYS, Keys::FirstAnd(stored_at), CAT, "1.0.0", sort),
    command("sort_ro", -2, READONLY | MOVABLE_KEYS, Keys::FirstAnd(|_| Vec::new()), CAT, "7.0.0", sort_ro),
];

const NOT_NUMBERS: CommandError = CommandError::text("ERR One or more scores can't be converted into double");

/// Where the key stands that the result goes to: behind the last STORE.
fn stored_at(arguments: &[&[u8]]) -> Vec<usize> {
    let (mut at, mut found) = (2, Vec::new());
    while at + 1 < arguments.len() {
        let values = match arguments[at] {
            word if is(word, "LIMIT") => 2,
            word if is(word, "BY") || is(word, "GET") => 1,
            word if is(word, "STORE") => {
                found = vec![at + 1];
                1
            }
            _ => 0,
        };
        at += 1 + values;
    }
    found
}

/// The options of SORT.
struct Options<'a> {
    is_descending: bool,
    is_alpha: bool,
    offset: i64,
    /// Negative for all.
    count: i64,
    by: Option<&'a [u8]>,
    /// BY named a pattern without `*`: the order is the value's own.
    is_unsorted: bool,
    get: Vec<&'a [u8]>,
    store: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(mut rest: &[&'a [u8]], may_store: bool) -> Result<Self, CommandError> {
        let mut options = Self {
            is_descending: false,
            is_alpha: false,
            offset: 0,
            count: -1,
            by: None,
            is_unsorted: false,
            get: Vec::new(),
            store: None,
        };
        while let [option, tail @ ..] = rest {
            rest = tail;
            match (*option, tail) {
                (word, _) if is(word, "ASC") => options.is_descending = false,
                (word, _) if is(word, "DESC") => options.is_descending = true,
                (word, _) if is(word, "ALPHA") => options.is_alpha = true,
                (word, [offset, count, tail @ ..]) if is(word, "LIMIT") => {
                    (options.offset, options.count) = (args::int(offset)?, args::int(count)?);
                    rest = tail;
                }
                (word, [key, tail @ ..]) if is(word, "STORE") && may_store => {
                    options.store = Some(key);
                    rest = tail;
                }
                (word, [pattern, tail @ ..]) if is(word, "BY") => {
                    options.by = Some(pattern);
                    options.is_unsorted |= !pattern.contains(&b'*');
                    rest = tail;
                }
                (word, [pattern, tail @ ..]) if is(word, "GET") => {
                    options.get.push(pattern);
                    rest = tail;
                }
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(options)
    }

    /// The places of the result that are wanted, among so many: the first, and the one behind the last.
    fn window(&self, len: usize) -> (usize, usize) {
        let start = usize::try_from(self.offset).unwrap_or(0).min(len);
        let end = usize::try_from(self.count).map_or(len, |count| start.saturating_add(count).min(len));
        (start, end)
    }
}

fn sort(context: &mut Context<'_>) -> Outcome {
    run(context, true)
}

fn sort_ro(context: &mut Context<'_>) -> Outcome {
    run(context, false)
}

fn run(context: &mut Context<'_>, may_store: bool) -> Outcome {
    let args = context.args;
    let mut options = Options::parse(&args[2..], may_store)?;
    let mut elements = elements(context, args[1], &mut options)?;
    let (start, end) = options.window(elements.len());
    if !options.is_unsorted {
        elements = sorted(context, elements, &options)?;
    }
    let chosen = elements.drain(start..end).collect();
    match options.store {
        Some(target) => store(context, target, chosen, &options.get),
        None => show(context, chosen, &options.get),
    }
}

/// What the key holds, in its own order, or the reverse of it where it is to stay in that. A set that is stored, or that a script
/// sees, must have some order, and so gets that of its bytes. A packed sorted set is packed no more afterwards, as in
/// Redis.
fn elements(context: &mut Context<'_>, key: &[u8], options: &mut Options<'_>) -> Result<Vec<Vec<u8>>, CommandError> {
    unpack_zset(context, key);
    let is_scripted = context.session.is_scripted;
    let mut elements: Vec<Vec<u8>> = match context.value(key) {
        None => return Ok(Vec::new()),
        Some(View::Object(Object::List(list))) => list.iter().map(|item| item.to_vec()).collect(),
        Some(View::Object(Object::Zset(zset))) => zset.iter().map(|(member, _)| member.to_vec()).collect(),
        Some(View::Object(Object::Set(set))) => {
            let mut members: Vec<Vec<u8>> = set.iter().map(|member| member.to_vec()).collect();
            if options.is_unsorted && (options.store.is_some() || is_scripted) {
                (options.is_unsorted, options.is_alpha, options.by) = (false, true, None);
            }
            if set.as_packed().is_none() && !options.is_unsorted {
                members.sort_unstable();
            }
            return Ok(members);
        }
        Some(_) => return Err(CommandError::WrongType),
    };
    if options.is_unsorted && options.is_descending {
        elements.reverse();
    }
    Ok(elements)
}

fn unpack_zset(context: &mut Context<'_>, key: &[u8]) {
    let mut db = context.db_mut();
    let is_packed = matches!(db.get(key), Some(View::Object(Object::Zset(zset))) if zset.as_listpack().is_some());
    if is_packed && let Some(Object::Zset(zset)) = db.object_mut(key) {
        zset.unpack();
    }
}

/// What elements are compared by.
enum Weight {
    Number(f64),
    /// The value that BY names, if there is one: none comes first.
    Text(Option<Vec<u8>>),
    /// The element itself.
    Own,
}

fn sorted(
    context: &mut Context<'_>,
    elements: Vec<Vec<u8>>,
    options: &Options<'_>,
) -> Result<Vec<Vec<u8>>, CommandError> {
    let mut weighed = Vec::with_capacity(elements.len());
    let mut are_numbers = true;
    for element in elements {
        let named = options.by.map(|pattern| look_up(context, pattern, &element));
        let weight = match named {
            None if options.is_alpha => Weight::Own,
            Some(value) if options.is_alpha => Weight::Text(value),
            Some(None) => Weight::Number(0.0),
            None => number_of(&element, &mut are_numbers),
            Some(Some(value)) => number_of(&value, &mut are_numbers),
        };
        weighed.push((weight, element));
    }
    if !are_numbers {
        return Err(NOT_NUMBERS);
    }
    weighed.sort_by(|(weight, element), (other_weight, other)| {
        let order = match (weight, other_weight) {
            (Weight::Number(one), Weight::Number(other_one)) => {
                one.total_cmp(other_one).then_with(|| element.cmp(other))
            }
            (Weight::Text(one), Weight::Text(other_one)) => one.cmp(other_one),
            _ => element.cmp(other),
        };
        if options.is_descending { order.reverse() } else { order }
    });
    Ok(weighed.into_iter().map(|(_, element)| element).collect())
}

/// As Redis 8 reads it: up to a NUL, if there is one. It takes nothing at all for 0 here, and what is too large for infinite.
fn number_of(text: &[u8], are_numbers: &mut bool) -> Weight {
    let text = memchr::memchr(0, text).map_or(text, |end| &text[..end]);
    let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    let value = if text.is_empty() { Some(0.0) } else { parsed };
    let value = value.filter(|value: &f64| !value.is_nan());
    *are_numbers &= value.is_some();
    // Both zeros are one place in the order.
    Weight::Number(value.unwrap_or(0.0) + 0.0)
}

/// What the key holds that the pattern names for this element; `#` is the element.
fn look_up(context: &mut Context<'_>, pattern: &[u8], element: &[u8]) -> Option<Vec<u8>> {
    if pattern == b"#" {
        return Some(element.to_vec());
    }
    let star = memchr::memchr(b'*', pattern)?;
    let (prefix, behind) = (&pattern[..star], &pattern[star + 1..]);
    let arrow = behind.windows(2).position(|pair| pair == b"->").filter(|at| at + 2 < behind.len());
    let (suffix, field) = match arrow {
        Some(at) => (&behind[..at], Some(&behind[at + 2..])),
        None => (behind, None),
    };
    let key = [prefix, element, suffix].concat();
    if !context.is_replay {
        context.engine.expire_on_access(context.session.db, &key);
    }
    match (context.value(&key)?, field) {
        (View::Object(Object::Hash(hash)), Some(field)) => hash.get(field).map(|value| value.to_vec()),
        (_, Some(_)) => None,
        (view, None) => view.string().map(|value| value.to_vec()),
    }
}

fn show(context: &mut Context<'_>, elements: Vec<Vec<u8>>, get: &[&[u8]]) -> Outcome {
    let header = context.reply.array(elements.len() * get.len().max(1));
    for element in elements {
        if get.is_empty() {
            context.reply.bulk(&element);
        }
        for pattern in get {
            match look_up(context, pattern, &element) {
                Some(value) => context.reply.bulk(&value),
                None => context.reply.null(),
            };
        }
    }
    Ok(header)
}

/// Stores the result as a list, an empty string where a pattern names nothing.
fn store(context: &mut Context<'_>, target: &[u8], elements: Vec<Vec<u8>>, get: &[&[u8]]) -> Outcome {
    let limits = context.limits();
    let mut result = List::new();
    for element in elements {
        if get.is_empty() {
            result.push_back(&element, &limits);
        }
        for pattern in get {
            result.push_back(&look_up(context, pattern, &element).unwrap_or_default(), &limits);
        }
    }
    let len = result.len();
    if len > 0 {
        context.db_mut().insert(target, Object::List(result), None);
        context.changed(len);
    } else if context.remove(target) {
        context.changed(1);
    }
    Ok(context.reply.count(len))
}

#[cfg(test)]
mod tests {
    use super::super::console::{Console, assert_rows_are_those_of_redis};

    #[test]
    fn rows_are_those_of_redis() {
        assert_rows_are_those_of_redis(super::COMMANDS);
    }

    #[test]
    fn what_is_stored_is_logged_as_it_was_typed_and_replayed_to_the_same() {
        let mut console = Console::new();
        let members: Vec<String> = (0..600).map(|n| format!("m{n}")).collect();
        console.run(&format!("sadd s {}", members.join(" ")));
        console.log();
        // All weigh the same, and the set is a hash table: only the order of the bytes is left.
        console.script("sort s by none_* alpha store d => :600");
        assert_eq!(console.log(), "sort s by none_* alpha store d");
        let stored = console.run("lrange d 0 -1");
        let mut other = Console::new();
        other.run(&format!("sadd s {}", members.iter().rev().cloned().collect::<Vec<_>>().join(" ")));
        other.replay("sort s by none_* alpha store d");
        assert_eq!(other.run("lrange d 0 -1"), stored);
    }

    #[test]
    fn what_sort_shows_is_not_logged_but_what_it_finds_expired_is() {
        let mut console = Console::new();
        console.script(
            "rpush l 2 1 => :2
             psetex w_1 1 9 => +OK
             log => rpush l 2 1 | SET w_1 9 PXAT 1000000000001
             sort l => *2 1 2
             log =>",
        );
        console.engine.clock.advance(5);
        console.script(
            "sort l by w_* => *2 1 2
             log => DEL w_1
             sort none store l => :0
             log => sort none store l",
        );
    }
}
