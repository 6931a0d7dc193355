//! Sets and their algebra.

use crate::codec::number;
use crate::resp::Encoder;
use crate::value::{Element, Object, Set};

use super::args::{self, is};
use super::generic::{ScanOptions, parse_cursor};
use super::sample::{self, SampleSize};
use super::spec::{
    ALL_KEYS, CAT_SET, Command, DENYOOM, FAST, Keys, MOVABLE_KEYS, ONE_KEY, READONLY, TWO_KEYS, WRITE, command,
};
use super::typed::{self, Page};
use super::{CommandError, Context, Outcome};

pub const COMMANDS: &[Command] = &[
    command("sadd", -3, WRITE | DENYOOM | FAST, ONE_KEY, CAT_SET, "1.0.0", sadd),
    command("srem", -3, WRITE | FAST, ONE_KEY, CAT_SET, "1.0.0", srem),
    command("sismember", 3, READONLY | FAST, ONE_KEY, CAT_SET, "1.0.0", sismember),
    command("smismember", -3, READONLY | FAST, ONE_KEY, CAT_SET, "6.2.0", smismember),
    command("scard", 2, READONLY | FAST, ONE_KEY, CAT_SET, "1.0.0", scard),
    command("smembers", 2, READONLY, ONE_KEY, CAT_SET, "1.0.0", smembers),
    command("spop", -2, WRITE | FAST, ONE_KEY, CAT_SET, "1.0.0", spop),
    command("srandmember", -2, READONLY, ONE_KEY, CAT_SET, "1.0.0", srandmember),
    command("smove", 4, WRITE | FAST, TWO_KEYS, CAT_SET, "1.0.0", smove),
    command("sinter", -2, READONLY, ALL_KEYS, CAT_SET, "1.0.0", sinter),
    command("sinterstore", -3, WRITE | DENYOOM, ALL_KEYS, CAT_SET, "1.0.0", sinterstore),
    command("sintercard", -3, READONLY | MOVABLE_KEYS, COUNTED, CAT_SET, "7.0.0", sintercard),
    command("sunion", -2, READONLY, ALL_KEYS, CAT_SET, "1.0.0", sunion),
    command("sunionstore", -3, WRITE | DENYOOM, ALL_KEYS, CAT_SET, "1.0.0", sunionstore),
    command("sdiff", -2, READONLY, ALL_KEYS, CAT_SET, "1.0.0", sdiff),
    command("sdiffstore", -3, WRITE | DENYOOM, ALL_KEYS, CAT_SET, "1.0.0", sdiffstore),
    command("sscan", -3, READONLY, ONE_KEY, CAT_SET, "2.8.0", sscan),
];

const COUNTED: Keys = Keys::Counted { count_at: 1, also: 0 };

/// SREM of a large SPOP is logged in records of at most that many members.
const MEMBERS_PER_RECORD: usize = 1024;

fn sadd(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let limits = context.limits();
    let set = typed::create::<Set>(context, args[1])?;
    let added = args[2..].iter().filter(|member| set.insert(member, &limits)).count();
    context.changed(added);
    Ok(context.reply.count(added))
}

fn srem(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let (Some(set), _) = typed::write::<Set>(context, args[1])? else { return Ok(context.reply.int(0)) };
    let removed = args[2..].iter().filter(|member| set.remove(member)).count();
    if removed > 0 {
        context.remove_if_empty(args[1]);
        context.changed(removed);
    }
    Ok(context.reply.count(removed))
}

fn sismember(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let (set, reply) = typed::read::<Set>(context, args[1])?;
    Ok(reply.int(i64::from(set.is_some_and(|set| set.contains(args[2])))))
}

fn smismember(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let (set, reply) = typed::read::<Set>(context, args[1])?;
    let header = reply.array(args.len() - 2);
    for member in &args[2..] {
        reply.int(i64::from(set.is_some_and(|set| set.contains(member))));
    }
    Ok(header)
}

fn scard(context: &mut Context<'_>) -> Outcome {
    let key = context.args[1];
    let (set, reply) = typed::read::<Set>(context, key)?;
    Ok(reply.count(set.map_or(0, Set::len)))
}

fn smembers(context: &mut Context<'_>) -> Outcome {
    let key = context.args[1];
    let (set, reply) = typed::read::<Set>(context, key)?;
    let header = reply.set(set.map_or(0, Set::len));
    set.into_iter().flat_map(Set::iter).for_each(|member| write_member(reply, member));
    Ok(header)
}

fn write_member(reply: &mut Encoder<'_>, member: Element<'_>) {
    member.with(|text| reply.bulk(text));
}

fn spop(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    match args.len() {
        2 => spop_one(context),
        3 => spop_many(context, args::count(args[2])?),
        _ => Err(CommandError::Syntax),
    }
}

fn spop_one(context: &mut Context<'_>) -> Outcome {
    let key = context.args[1];
    let mut random = context.engine.random.fork();
    let (set, _) = typed::write::<Set>(context, key)?;
    let Some(member) = set.and_then(|set| set.pop_random(&mut random)) else { return Ok(context.reply.null()) };
    context.remove_if_empty(key);
    context.changed(1);
    context.log_as(&[b"SREM", key, &member]);
    Ok(context.reply.bulk(&member))
}

fn spop_many(context: &mut Context<'_>, count: usize) -> Outcome {
    /// Members that go for each that stays.
    const MOVED_FROM: usize = 5;
    let key = context.args[1];
    let limits = context.limits();
    let mut random = context.engine.random.fork();
    let (Some(set), reply) = typed::write::<Set>(context, key)? else { return Ok(context.reply.set(0)) };
    if count == 0 {
        return Ok(reply.set(0));
    }
    let len = set.len();
    if count >= len {
        let header = reply.set(len);
        set.iter().for_each(|member| write_member(reply, member));
        context.remove(key);
        context.changed(len);
        let verb = context.removal_verb();
        context.log_as(&[verb, key]);
        return Ok(header);
    }
    let header = reply.set(count);
    let mut members = Vec::with_capacity(count);
    while members.len() < count {
        let Some(member) = set.pop_random(&mut random) else { break };
        reply.bulk(&member);
        members.push(member);
    }
    // As Redis does where little is left of much: a new set, in whatever encoding it fits.
    if count / MOVED_FROM >= set.len() {
        let first = set.iter().next().map(|member| member.to_vec()).unwrap_or_default();
        let mut fewer = Set::expecting(&first, set.len(), &limits);
        for member in set.iter() {
            member.with(|member| fewer.insert(member, &limits));
        }
        *set = fewer;
    }
    context.changed(count);
    for batch in members.chunks(MEMBERS_PER_RECORD) {
        let record: Vec<&[u8]> = [b"SREM", key].into_iter().chain(batch.iter().map(Vec::as_slice)).collect();
        context.log_as(&record);
    }
    Ok(header)
}

fn srandmember(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let mut random = context.engine.random.fork();
    if args.len() > 3 {
        return Err(CommandError::Syntax);
    }
    let Some(count) = args.get(2) else {
        let (set, reply) = typed::read::<Set>(context, args[1])?;
        return Ok(match set.and_then(|set| set.random(&mut random)) {
            Some(member) => member.with(|text| reply.bulk(text)),
            None => reply.null(),
        });
    };
    let size = SampleSize::parse(count, false)?;
    let (Some(set), reply) = typed::read::<Set>(context, args[1])? else { return Ok(context.reply.array(0)) };
    if !size.is_distinct {
        let header = reply.array(size.count);
        for _ in 0..size.count {
            set.random(&mut random).into_iter().for_each(|member| write_member(reply, member));
        }
        return Ok(header);
    }
    let dimensions = (set.len(), size.count);
    let draw = |random: &mut fastrand::Rng| set.random(random);
    let chosen = sample::distinct(dimensions, &mut random, set.iter(), draw, Element::to_vec);
    let header = reply.array(chosen.len());
    chosen.into_iter().for_each(|member| write_member(reply, member));
    Ok(header)
}

fn smove(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let [_, source, target, member] = *args else { return Err(CommandError::Syntax) };
    let limits = context.limits();
    let Some(is_there) = typed::read::<Set>(context, source)?.0.map(|set| set.contains(member)) else {
        return Ok(context.reply.int(0));
    };
    typed::read::<Set>(context, target)?;
    if !is_there || source == target {
        return Ok(context.reply.int(i64::from(is_there)));
    }
    if let (Some(set), _) = typed::write::<Set>(context, source)? {
        set.remove(member);
    }
    context.remove_if_empty(source);
    typed::create::<Set>(context, target)?.insert(member, &limits);
    context.changed(1);
    Ok(context.reply.int(1))
}

/// An operation of set algebra.
#[derive(Clone, Copy)]
enum Operation {
    Intersection,
    Union,
    Difference,
}

impl Operation {
    /// Visits the members of the result until `visit` says `false`; the union's are not told apart.
    fn visit(self, sets: &[Option<&Set>], visit: &mut dyn FnMut(Element<'_>) -> bool) {
        match self {
            Operation::Intersection => visit_intersection(sets, visit),
            Operation::Union => {
                for set in sets.iter().flatten() {
                    if !set.iter().all(&mut *visit) {
                        return;
                    }
                }
            }
            Operation::Difference => {
                let Some((Some(first), others)) = sets.split_first() else { return };
                let in_others = |text: &[u8]| others.iter().flatten().any(|other| other.contains(text));
                first.iter().filter(|member| !member.with(in_others)).all(visit);
            }
        }
    }
}

/// Goes through the smallest set and looks its members up in the others.
fn visit_intersection(sets: &[Option<&Set>], visit: &mut dyn FnMut(Element<'_>) -> bool) {
    let Some(mut sets) = sets.iter().copied().collect::<Option<Vec<&Set>>>() else { return };
    sets.sort_by_key(|set| set.len());
    let Some((smallest, others)) = sets.split_first() else { return };
    let in_others = |text: &[u8]| others.iter().all(|other| other.contains(text));
    smallest.iter().filter(|member| member.with(in_others)).all(visit);
}

fn sinter(context: &mut Context<'_>) -> Outcome {
    compute(context, Operation::Intersection)
}

fn sunion(context: &mut Context<'_>) -> Outcome {
    let keys = &context.args[1..];
    let result = collect(context, keys, Operation::Union)?;
    let header = context.reply.set(result.len());
    result.iter().for_each(|member| write_member(&mut context.reply, member));
    Ok(header)
}

fn sdiff(context: &mut Context<'_>) -> Outcome {
    compute(context, Operation::Difference)
}

fn compute(context: &mut Context<'_>, operation: Operation) -> Outcome {
    let keys = &context.args[1..];
    let db = context.engine.keyspace.db(context.session.db);
    let sets = typed::read_all::<Set>(db, keys)?;
    let mut page = Page::new(context.reply.protocol());
    operation.visit(&sets, &mut |member| {
        page.push(member);
        true
    });
    Ok(page.write_set(&mut context.reply))
}

/// The result as a set of its own.
fn collect(context: &mut Context<'_>, keys: &[&[u8]], operation: Operation) -> Result<Set, CommandError> {
    let limits = context.limits();
    let db = context.engine.keyspace.db(context.session.db);
    let sets = typed::read_all::<Set>(db, keys)?;
    let mut result = Set::new();
    operation.visit(&sets, &mut |member| {
        member.with(|text| result.insert(text, &limits));
        true
    });
    Ok(result)
}

fn sinterstore(context: &mut Context<'_>) -> Outcome {
    store(context, Operation::Intersection)
}

fn sunionstore(context: &mut Context<'_>) -> Outcome {
    store(context, Operation::Union)
}

fn sdiffstore(context: &mut Context<'_>) -> Outcome {
    store(context, Operation::Difference)
}

fn store(context: &mut Context<'_>, operation: Operation) -> Outcome {
    let (target, keys) = (context.args[1], &context.args[2..]);
    let result = collect(context, keys, operation)?;
    let len = result.len();
    if len > 0 {
        context.db_mut().insert(target, Object::Set(result), None);
        context.changed(len);
    } else if context.remove(target) {
        context.changed(1);
    }
    Ok(context.reply.count(len))
}

fn sintercard(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let count = number::parse_i64(args[1]).filter(|&count| count > 0);
    let count = count.ok_or(CommandError::text("ERR numkeys should be greater than 0"))?;
    let count = usize::try_from(count).ok().filter(|&count| count <= args.len() - 2);
    let count = count.ok_or(CommandError::text("ERR Number of keys can't be greater than number of args"))?;
    let (keys, options) = args[2..].split_at(count);
    let limit = card_limit(options)?;
    let db = context.engine.keyspace.db(context.session.db);
    let sets = typed::read_all::<Set>(db, keys)?;
    let mut found = 0;
    Operation::Intersection.visit(&sets, &mut |_| {
        found += 1;
        found < limit
    });
    Ok(context.reply.count(found))
}

/// The `LIMIT` of SINTERCARD and ZINTERCARD; 0 is none.
pub(super) fn card_limit(options: &[&[u8]]) -> Result<usize, CommandError> {
    let mut limit = 0;
    for pair in options.chunks(2) {
        let [option, value] = pair else { return Err(CommandError::Syntax) };
        if !is(option, "LIMIT") {
            return Err(CommandError::Syntax);
        }
        limit = args::count(value).map_err(|_| CommandError::err("LIMIT can't be negative"))?;
    }
    Ok(if limit == 0 { usize::MAX } else { limit })
}

fn sscan(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let cursor = parse_cursor(args[2])?;
    let (set, reply) = typed::read::<Set>(context, args[1])?;
    let mut page = Page::new(reply.protocol());
    let mut next = 0;
    if let Some(set) = set {
        let options = ScanOptions::parse(&args[3..], false)?;
        if options.no_values {
            return Err(CommandError::text("ERR NOVALUES option can only be used in HSCAN"));
        }
        next = set.scan(cursor, options.count, &mut |member| {
            if member.with(|name| options.admits(name)) {
                page.push(member);
            }
        });
    }
    Ok(page.write_scan(reply, next))
}

#[cfg(test)]
mod tests {
    use super::super::console::{Console, assert_rows_are_those_of_redis};

    #[test]
    fn rows_are_those_of_redis() {
        assert_rows_are_those_of_redis(super::COMMANDS);
    }

    #[test]
    fn members_are_added_found_moved_and_removed() {
        Console::new().script(
            "sadd s 1 2 3 => :3
             sadd s 3 => :0
             smismember s 1 9 => *2 :1 :0
             sismember s 2 => :1
             smembers s => ~3 1 2 3
             smove s t 3 => :1
             smove s t 3 => :0
             smove s s 1 => :1
             scard s => :2
             srem s 1 2 9 => :2
             exists s => :0
             log => sadd s 1 2 3 | smove s t 3 | srem s 1 2 9
             sscan t 0 => *2 0 *1 3
             sscan t 0 novalues => -ERR NOVALUES option can only be used in HSCAN",
        );
    }

    #[test]
    fn pops_are_logged_by_the_members_that_left() {
        let mut console = Console::new();
        console.script(
            "sadd s a => :1
             spop s => a
             exists s => :0
             sadd s a b => :2
             spop s 0 => ~0
             spop none => _
             spop none 3 => ~0
             log => sadd s a | SREM s a | sadd s a b",
        );
        console.run("spop s 2");
        assert_eq!(console.log(), "DEL s");
        let members: String = (0..2000).map(|n| format!(" {n}")).collect();
        console.run(&format!("sadd s{members}"));
        console.log();
        let reply = console.run("spop s 1500");
        let logged = console.log();
        let popped: Vec<&str> = reply.split(' ').skip(1).collect();
        let records: Vec<Vec<&str>> = logged.split(" | ").map(|record| record.split(' ').collect()).collect();
        assert_eq!((records.len(), records[1].len(), records[2].len()), (4, 1026, 478));
        assert_eq!([&records[1][2..], &records[2][2..]].concat(), popped);
        assert_eq!(console.run("scard s"), ":500");
    }

    #[test]
    fn algebra_replies_and_stores() {
        Console::new().script(
            "sadd a 1 2 3 4 => :4
             sadd b 3 4 5 => :3
             sinter a b => ~2 3 4
             sunion a b none => ~5 1 2 3 4 5
             sdiff a b none => ~2 1 2
             sdiff none a => ~0
             sinter a none => ~0
             sintercard 2 a b => :2
             sintercard 2 a b limit 1 => :1
             sinterstore d a b => :2
             sunionstore d a b => :5
             sdiffstore d b a => :1
             smembers d => ~1 5
             sdiffstore d a a => :0
             exists d => :0
             sdiffstore d a a => :0
             log => sadd a 1 2 3 4 | sadd b 3 4 5 | sinterstore d a b | sunionstore d a b | sdiffstore d b a | sdiffstore d a a
             set s x => +OK
             sinter none s => -WRONGTYPE Operation against a key holding the wrong kind of value
             sunionstore s a => :4",
        );
    }
}
