//! Lists.

mod pop;

use crate::engine::wait::Awaited;
use crate::resp::Encoder;
use crate::value::{Limits, List};

use super::args::{self, is, rank_range};
use super::pop_first;
use super::spec::{
    ALL_KEYS_BUT_LAST, BLOCKING, CAT_LIST, Command, DENYOOM, FAST, Keys, MOVABLE_KEYS, ONE_KEY, READONLY, TWO_KEYS,
    WRITE, command,
};
use super::{CommandError, Context, Outcome, typed};

pub const COMMANDS: &[Command] = &[
    command("lpush", -3, WRITE | DENYOOM | FAST, ONE_KEY, CAT_LIST, "1.0.0", lpush),
    command("rpush", -3, WRITE | DENYOOM | FAST, ONE_KEY, CAT_LIST, "1.0.0", rpush),
    command("lpushx", -3, WRITE | DENYOOM | FAST, ONE_KEY, CAT_LIST, "2.2.0", lpushx),
    command("rpushx", -3, WRITE | DENYOOM | FAST, ONE_KEY, CAT_LIST, "2.2.0", rpushx),
    command("lpop", -2, WRITE | FAST, ONE_KEY, CAT_LIST, "1.0.0", pop::lpop),
    command("rpop", -2, WRITE | FAST, ONE_KEY, CAT_LIST, "1.0.0", pop::rpop),
    command("llen", 2, READONLY | FAST, ONE_KEY, CAT_LIST, "1.0.0", llen),
    command("lindex", 3, READONLY, ONE_KEY, CAT_LIST, "1.0.0", lindex),
    command("lrange", 4, READONLY, ONE_KEY, CAT_LIST, "1.0.0", lrange),
    command("lset", 4, WRITE | DENYOOM, ONE_KEY, CAT_LIST, "1.0.0", lset),
    command("linsert", 5, WRITE | DENYOOM, ONE_KEY, CAT_LIST, "2.2.0", linsert),
    command("lrem", 4, WRITE, ONE_KEY, CAT_LIST, "1.0.0", lrem),
    command("ltrim", 4, WRITE, ONE_KEY, CAT_LIST, "1.0.0", ltrim),
    command("lpos", -3, READONLY, ONE_KEY, CAT_LIST, "6.0.6", lpos),
    command("lmove", 5, WRITE | DENYOOM, TWO_KEYS, CAT_LIST, "6.2.0", pop::lmove),
    command("rpoplpush", 3, WRITE | DENYOOM, TWO_KEYS, CAT_LIST, "1.2.0", pop::rpoplpush),
    command("lmpop", -4, WRITE | MOVABLE_KEYS, COUNTED, CAT_LIST, "7.0.0", pop_first::some::<End>),
    command("blpop", -3, WRITE | BLOCKING, ALL_KEYS_BUT_LAST, CAT_LIST, "2.0.0", pop::blpop),
    command("brpop", -3, WRITE | BLOCKING, ALL_KEYS_BUT_LAST, CAT_LIST, "2.0.0", pop::brpop),
    command("blmove", 6, WRITE | DENYOOM | BLOCKING, TWO_KEYS, CAT_LIST, "6.2.0", pop::blmove),
    command("brpoplpush", 4, WRITE | DENYOOM | BLOCKING, TWO_KEYS, CAT_LIST, "2.2.0", pop::brpoplpush),
    command(
        "blmpop",
        -5,
        WRITE | BLOCKING | MOVABLE_KEYS,
        COUNTED_SECOND,
        CAT_LIST,
        "7.0.0",
        pop_first::wait_for_some::<End>,
    ),
];

const COUNTED: Keys = Keys::Counted { count_at: 1, also: 0 };
const COUNTED_SECOND: Keys = Keys::Counted { count_at: 2, also: 0 };

/// An end of a list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Left,
    Right,
}

impl pop_first::End for End {
    type Value = List;
    const AWAITED: Awaited = Awaited::List;
    const PLACES: usize = 1;

    fn parse(argument: &[u8]) -> Result<Self, CommandError> {
        match argument {
            word if is(word, "LEFT") => Ok(End::Left),
            word if is(word, "RIGHT") => Ok(End::Right),
            _ => Err(CommandError::Syntax),
        }
    }

    fn verb(self) -> &'static [u8] {
        if self == End::Left { b"LPOP" } else { b"RPOP" }
    }

    fn len(list: &List) -> usize {
        list.len()
    }

    fn pop_to(self, list: &mut List, count: usize, limits: &Limits, reply: &mut Encoder<'_>, _: bool) {
        let last = list.len().saturating_sub(1);
        let from_left = list.iter().take(if self == End::Left { count } else { 0 });
        let from_right = list.iter_rev_from(last).take(if self == End::Right { count } else { 0 });
        for item in from_left.chain(from_right) {
            item.with(|text| reply.bulk(text));
        }
        let start = if self == End::Left { 0 } else { list.len() - count };
        list.remove_range(start, count, limits);
    }
}

impl End {
    fn push(self, list: &mut List, item: &[u8], limits: &Limits) {
        match self {
            End::Left => list.push_front(item, limits),
            End::Right => list.push_back(item, limits),
        }
    }

    /// Where the element at this end stands among `len`.
    fn position(self, len: usize) -> usize {
        if self == End::Left { 0 } else { len.saturating_sub(1) }
    }

    fn pop(self, list: &mut List, limits: &Limits) -> Option<Vec<u8>> {
        match self {
            End::Left => list.pop_front(limits),
            End::Right => list.pop_back(limits),
        }
    }
}

fn lpush(context: &mut Context<'_>) -> Outcome {
    push(context, End::Left)
}

fn rpush(context: &mut Context<'_>) -> Outcome {
    push(context, End::Right)
}

fn push(context: &mut Context<'_>, end: End) -> Outcome {
    let args = context.args;
    let limits = context.limits();
    let list = typed::create::<List>(context, args[1])?;
    args[2..].iter().for_each(|item| end.push(list, item, &limits));
    let len = list.len();
    context.changed(args.len() - 2);
    Ok(context.reply.count(len))
}

fn lpushx(context: &mut Context<'_>) -> Outcome {
    push_to_existing(context, End::Left)
}

fn rpushx(context: &mut Context<'_>) -> Outcome {
    push_to_existing(context, End::Right)
}

fn push_to_existing(context: &mut Context<'_>, end: End) -> Outcome {
    let key = context.args[1];
    match typed::read::<List>(context, key)? {
        (Some(_), _) => push(context, end),
        (None, reply) => Ok(reply.int(0)),
    }
}

fn llen(context: &mut Context<'_>) -> Outcome {
    let key = context.args[1];
    let (list, reply) = typed::read::<List>(context, key)?;
    Ok(reply.count(list.map_or(0, List::len)))
}

/// The position that an index means, negative ones from the end; `None` if there is none.
fn position(index: i64, len: usize) -> Option<usize> {
    let from_end = || len.checked_sub(usize::try_from(index.unsigned_abs()).ok()?);
    let position = if index < 0 { from_end() } else { usize::try_from(index).ok() };
    position.filter(|&position| position < len)
}

fn lindex(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let (Some(list), reply) = typed::read::<List>(context, args[1])? else { return Ok(context.reply.null()) };
    Ok(match position(args::int(args[2])?, list.len()).and_then(|position| list.get(position)) {
        Some(item) => item.with(|text| reply.bulk(text)),
        None => reply.null(),
    })
}

fn lrange(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let (start, end) = (args::int(args[2])?, args::int(args[3])?);
    let (list, reply) = typed::read::<List>(context, args[1])?;
    let Some((list, (start, count))) = list.and_then(|list| Some((list, rank_range(start, end, list.len())?))) else {
        return Ok(reply.array(0));
    };
    let header = reply.array(count);
    for item in list.iter_from(start).take(count) {
        item.with(|text| reply.bulk(text));
    }
    Ok(header)
}

fn lset(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let limits = context.limits();
    let (list, _) = typed::write::<List>(context, args[1])?;
    let list = list.ok_or(CommandError::NoSuchKey)?;
    // Real servers keep 32 bits of the index, and log the command as it came.
    let index = i64::from(args::int(args[2])? as i32);
    let position = position(index, list.len()).ok_or(CommandError::IndexOutOfRange)?;
    list.set(position, args[3], &limits);
    context.changed(1);
    Ok(context.reply.ok())
}

fn linsert(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let limits = context.limits();
    let behind = match args[2] {
        word if is(word, "BEFORE") => 0,
        word if is(word, "AFTER") => 1,
        _ => return Err(CommandError::Syntax),
    };
    let (Some(list), reply) = typed::write::<List>(context, args[1])? else { return Ok(context.reply.int(0)) };
    let Some(pivot) = list.iter().position(|item| item.eq_bytes(args[3])) else { return Ok(reply.int(-1)) };
    list.insert(pivot + behind, args[4], &limits);
    let header = reply.count(list.len());
    context.changed(1);
    Ok(header)
}

fn lrem(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let limits = context.limits();
    let count = args::int(args[2])?;
    if count == i64::MIN {
        let (least, greatest) = (-i64::MAX, i64::MAX);
        return Err(CommandError::err(format!("value is out of range, value must between {least} and {greatest}")));
    }
    let most = if count == 0 { usize::MAX } else { usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX) };
    let (Some(list), _) = typed::write::<List>(context, args[1])? else { return Ok(context.reply.int(0)) };
    let len = list.len();
    // Positions in descending order, so that removing one leaves the others where they are.
    let positions: Vec<usize> = if count < 0 {
        let from_end = list.iter_rev_from(len - 1).enumerate().filter(|(_, item)| item.eq_bytes(args[3]));
        from_end.map(|(distance, _)| len - 1 - distance).take(most).collect()
    } else {
        let from_start = list.iter().enumerate().filter(|(_, item)| item.eq_bytes(args[3]));
        let mut positions: Vec<usize> = from_start.map(|(position, _)| position).take(most).collect();
        positions.reverse();
        positions
    };
    positions.iter().for_each(|&position| list.remove_range(position, 1, &limits));
    if !positions.is_empty() {
        context.remove_if_empty(args[1]);
        context.changed(positions.len());
    }
    Ok(context.reply.count(positions.len()))
}

fn ltrim(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let limits = context.limits();
    let (start, end) = (args::int(args[2])?, args::int(args[3])?);
    let (Some(list), _) = typed::write::<List>(context, args[1])? else { return Ok(context.reply.ok()) };
    let len = list.len();
    let (start, count) = rank_range(start, end, len).unwrap_or((len, 0));
    list.remove_range(start + count, len - start - count, &limits);
    list.remove_range(0, start, &limits);
    let removed = len - list.len();
    if removed == len {
        context.remove(args[1]);
    }
    context.changed(removed);
    if removed == 0 {
        // Nothing to log; but who watches it is told, as by Redis.
        context.engine.key_changed(context.session.db, args[1]);
    }
    Ok(context.reply.ok())
}

/// The options of LPOS.
struct Search {
    /// From the end, if so.
    is_reverse: bool,
    /// Matches to pass over.
    skip: usize,
    /// How many positions to return, 0 for all; without it the reply is one position alone.
    count: Option<usize>,
    /// How many elements to look at, 0 for all.
    max_len: usize,
}

impl Search {
    fn parse(options: &[&[u8]]) -> Result<Self, CommandError> {
        let mut search = Self { is_reverse: false, skip: 0, count: None, max_len: 0 };
        for pair in options.chunks(2) {
            let [option, value] = pair else { return Err(CommandError::Syntax) };
            if is(option, "RANK") {
                search.set_rank(args::int(value)?)?;
            } else if is(option, "COUNT") {
                search.count = Some(args::count(value).map_err(|_| CommandError::err("COUNT can't be negative"))?);
            } else if is(option, "MAXLEN") {
                search.max_len = args::count(value).map_err(|_| CommandError::err("MAXLEN can't be negative"))?;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(search)
    }

    fn set_rank(&mut self, rank: i64) -> Result<(), CommandError> {
        if rank == i64::MIN {
            let limit = i64::MAX;
            return Err(CommandError::err(format!("value is out of range, value must between -{limit} and {limit}")));
        }
        if rank == 0 {
            return Err(CommandError::text(
                "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to \
                 start from the end of the list",
            ));
        }
        self.is_reverse = rank < 0;
        self.skip = usize::try_from(rank.unsigned_abs() - 1).unwrap_or(usize::MAX);
        Ok(())
    }

    fn positions(&self, list: &List, wanted: &[u8]) -> Vec<usize> {
        let len = list.len();
        let looked_at = if self.max_len == 0 { len } else { self.max_len };
        let most = match self.count {
            None => 1,
            Some(0) => usize::MAX,
            Some(count) => count,
        };
        if self.is_reverse {
            let items = list.iter_rev_from(len.saturating_sub(1)).take(looked_at).enumerate();
            let matches = items.filter(|(_, item)| item.eq_bytes(wanted));
            matches.skip(self.skip).take(most).map(|(distance, _)| len - 1 - distance).collect()
        } else {
            let matches = list.iter().take(looked_at).enumerate().filter(|(_, item)| item.eq_bytes(wanted));
            matches.skip(self.skip).take(most).map(|(position, _)| position).collect()
        }
    }
}

fn lpos(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let search = Search::parse(&args[3..])?;
    let (list, reply) = typed::read::<List>(context, args[1])?;
    let positions = list.map(|list| search.positions(list, args[2])).unwrap_or_default();
    if search.count.is_none() {
        return Ok(match positions.first() {
            Some(&position) => reply.count(position),
            None => reply.null(),
        });
    }
    let header = reply.array(positions.len());
    for position in positions {
        reply.count(position);
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::super::console::{Console, assert_rows_are_those_of_redis};

    #[test]
    fn rows_are_those_of_redis() {
        assert_rows_are_those_of_redis(super::COMMANDS);
    }

    #[test]
    fn items_are_pushed_popped_and_read_at_both_ends() {
        Console::new().script(
            "rpush l a b c => :3
             lpush l x y => :5
             lpushx none a => :0
             rpushx l z => :6
             lrange l 0 -1 => *6 y x a b c z
             lrange l -2 100 => *2 c z
             lrange l 5 1 => *0
             lindex l -1 => z
             lindex l 6 => _
             lindex l -7 => _
             lpop l => y
             rpop l 2 => *2 z c
             lpop l 0 => *0
             lpop none => _
             lpop none 1 => _
             llen l => :3
             lpop l 99 => *3 x a b
             exists l => :0
             log => rpush l a b c | lpush l x y | rpushx l z | lpop l | rpop l 2 | lpop l 99
             lpop l -1 => -ERR value is out of range, must be positive
             rpop l 1 2 => -ERR wrong number of arguments for 'rpop' command",
        );
    }

    #[test]
    fn items_are_found_replaced_inserted_and_removed() {
        Console::new().script(
            "rpush l a b c b d b => :6
             lpos l b => :1
             lpos l b rank -1 => :5
             lpos l b count 0 => *3 :1 :3 :5
             lpos l b rank -1 count 2 maxlen 3 => *2 :5 :3
             lpos l q => _
             lset l -1 e => +OK
             lset l 6 e => -ERR index out of range
             lset none 0 e => -ERR no such key
             linsert l before c x => :7
             linsert l after e y => :8
             linsert l after q y => :-1
             lrange l 0 -1 => *8 a b x c b d e y
             lrem l -1 b => :1
             lrem l 0 q => :0
             lrange l 0 -1 => *7 a b x c d e y
             ltrim l 1 -3 => +OK
             lrange l 0 -1 => *4 b x c d
             log => rpush l a b c b d b | lset l -1 e | linsert l before c x | linsert l after e y | lrem l -1 b | ltrim l 1 -3
             ltrim l 9 10 => +OK
             exists l => :0",
        );
    }

    #[test]
    fn items_move_between_lists_and_multi_pops_are_logged_as_plain_ones() {
        Console::new().script(
            "rpush l a b c => :3
             lmove l l left right => a
             rpoplpush l m => a
             lmove none m left left => _
             lrange l 0 -1 => *2 b c
             lmpop 2 none l right count 5 => *2 l *2 c b
             lmpop 2 none l left => _
             log => rpush l a b c | lmove l l left right | rpoplpush l m | RPOP l 2
             lmpop 0 l left => -ERR numkeys should be greater than 0
             lmpop 1 m left count 0 => -ERR count should be greater than 0
             set s 1 => +OK
             lmove m s left left => -WRONGTYPE Operation against a key holding the wrong kind of value
             lrange m 0 -1 => *1 a",
        );
    }
}
