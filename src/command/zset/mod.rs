//! Sorted sets.

mod algebra;
mod pop;
mod range;
#[cfg(test)]
mod tests;

use crate::resp::{Encoder, Protocol};
use crate::value::{Element, Insert, Limits, Zset};

use super::args::{self, is};
use super::spec::{
    ALL_KEYS_BUT_LAST, BLOCKING, CAT_SORTEDSET, Command, DENYOOM, FAST, Keys, MOVABLE_KEYS, ONE_KEY, READONLY,
    TWO_KEYS, WRITE, command,
};
use super::{CommandError, Context, Outcome, pop_first, typed};

const CAT: u32 = CAT_SORTEDSET;
const COUNTED: Keys = Keys::Counted { count_at: 1, also: 0 };
const COUNTED_SECOND: Keys = Keys::Counted { count_at: 2, also: 0 };
const TARGET_AND_COUNTED: Keys = Keys::Counted { count_at: 2, also: 1 };

pub const COMMANDS: &[Command] = &[
    command("zadd", -4, WRITE | DENYOOM | FAST, ONE_KEY, CAT, "1.2.0", zadd),
    command("zincrby", 4, WRITE | DENYOOM | FAST, ONE_KEY, CAT, "1.2.0", zincrby),
    command("zrem", -3, WRITE | FAST, ONE_KEY, CAT, "1.2.0", zrem),
    command("zcard", 2, READONLY | FAST, ONE_KEY, CAT, "1.2.0", zcard),
    command("zscore", 3, READONLY | FAST, ONE_KEY, CAT, "1.2.0", zscore),
    command("zmscore", -3, READONLY | FAST, ONE_KEY, CAT, "6.2.0", zmscore),
    command("zrank", -3, READONLY | FAST, ONE_KEY, CAT, "2.0.0", zrank),
    command("zrevrank", -3, READONLY | FAST, ONE_KEY, CAT, "2.0.0", zrevrank),
    command("zcount", 4, READONLY | FAST, ONE_KEY, CAT, "2.0.0", range::zcount),
    command("zlexcount", 4, READONLY | FAST, ONE_KEY, CAT, "2.8.9", range::zlexcount),
    command("zrange", -4, READONLY, ONE_KEY, CAT, "1.2.0", range::zrange),
    command("zrevrange", -4, READONLY, ONE_KEY, CAT, "1.2.0", range::zrevrange),
    command("zrangebyscore", -4, READONLY, ONE_KEY, CAT, "1.0.5", range::zrangebyscore),
    command("zrevrangebyscore", -4, READONLY, ONE_KEY, CAT, "2.2.0", range::zrevrangebyscore),
    command("zrangebylex", -4, READONLY, ONE_KEY, CAT, "2.8.9", range::zrangebylex),
    command("zrevrangebylex", -4, READONLY, ONE_KEY, CAT, "2.8.9", range::zrevrangebylex),
    command("zrangestore", -5, WRITE | DENYOOM, TWO_KEYS, CAT, "6.2.0", range::zrangestore),
    command("zremrangebyrank", 4, WRITE, ONE_KEY, CAT, "2.0.0", range::zremrangebyrank),
    command("zremrangebyscore", 4, WRITE, ONE_KEY, CAT, "1.2.0", range::zremrangebyscore),
    command("zremrangebylex", 4, WRITE, ONE_KEY, CAT, "2.8.9", range::zremrangebylex),
    command("zpopmin", -2, WRITE | FAST, ONE_KEY, CAT, "5.0.0", pop::zpopmin),
    command("zpopmax", -2, WRITE | FAST, ONE_KEY, CAT, "5.0.0", pop::zpopmax),
    command("zmpop", -4, WRITE | MOVABLE_KEYS, COUNTED, CAT, "7.0.0", pop_first::some::<pop::End>),
    command("bzpopmin", -3, WRITE | FAST | BLOCKING, ALL_KEYS_BUT_LAST, CAT, "5.0.0", pop::bzpopmin),
    command("bzpopmax", -3, WRITE | FAST | BLOCKING, ALL_KEYS_BUT_LAST, CAT, "5.0.0", pop::bzpopmax),
    command(
        "bzmpop",
        -5,
        WRITE | BLOCKING | MOVABLE_KEYS,
        COUNTED_SECOND,
        CAT,
        "7.0.0",
        pop_first::wait_for_some::<pop::End>,
    ),
    command("zrandmember", -2, READONLY, ONE_KEY, CAT, "6.2.0", pop::zrandmember),
    command("zscan", -3, READONLY, ONE_KEY, CAT, "2.8.0", pop::zscan),
    command("zunion", -3, READONLY | MOVABLE_KEYS, COUNTED, CAT, "6.2.0", algebra::zunion),
    command("zinter", -3, READONLY | MOVABLE_KEYS, COUNTED, CAT, "6.2.0", algebra::zinter),
    command("zdiff", -3, READONLY | MOVABLE_KEYS, COUNTED, CAT, "6.2.0", algebra::zdiff),
    command("zunionstore", -4, WRITE | DENYOOM | MOVABLE_KEYS, TARGET_AND_COUNTED, CAT, "2.0.0", algebra::zunionstore),
    command("zinterstore", -4, WRITE | DENYOOM | MOVABLE_KEYS, TARGET_AND_COUNTED, CAT, "2.0.0", algebra::zinterstore),
    command("zdiffstore", -4, WRITE | DENYOOM | MOVABLE_KEYS, TARGET_AND_COUNTED, CAT, "6.2.0", algebra::zdiffstore),
    command("zintercard", -3, READONLY | MOVABLE_KEYS, COUNTED, CAT, "7.0.0", algebra::zintercard),
];

/// The options of ZADD.
#[derive(Clone, Copy, Default)]
pub(super) struct AddOptions {
    pub(super) only_new: bool,
    pub(super) only_existing: bool,
    only_greater: bool,
    only_less: bool,
    pub(super) counts_updates: bool,
    is_increment: bool,
}

impl AddOptions {
    /// Reads options up to the first score; returns how many arguments they took.
    fn parse(arguments: &[&[u8]]) -> (Self, usize) {
        let mut options = Self::default();
        for (index, argument) in arguments.iter().enumerate() {
            let flag = match argument {
                word if is(word, "NX") => &mut options.only_new,
                word if is(word, "XX") => &mut options.only_existing,
                word if is(word, "GT") => &mut options.only_greater,
                word if is(word, "LT") => &mut options.only_less,
                word if is(word, "CH") => &mut options.counts_updates,
                word if is(word, "INCR") => &mut options.is_increment,
                _ => return (options, index),
            };
            *flag = true;
        }
        (options, arguments.len())
    }

    fn check(self, pairs: usize) -> Result<(), CommandError> {
        if self.only_new && self.only_existing {
            return Err(CommandError::text("ERR XX and NX options at the same time are not compatible"));
        }
        if u8::from(self.only_greater) + u8::from(self.only_less) + u8::from(self.only_new) > 1 {
            return Err(CommandError::text("ERR GT, LT, and/or NX options at the same time are not compatible"));
        }
        if self.is_increment && pairs > 1 {
            return Err(CommandError::text("ERR INCR option supports a single increment-element pair"));
        }
        Ok(())
    }

    fn has_conditions(self) -> bool {
        self.only_new || self.only_existing || self.only_greater || self.only_less || self.is_increment
    }

    /// The score that the member is to get; `None` if the options forbid it.
    fn new_score(self, former: Option<f64>, score: f64) -> Result<Option<f64>, CommandError> {
        let Some(former) = former else { return Ok((!self.only_existing).then_some(score)) };
        let new = if self.is_increment { former + score } else { score };
        if new.is_nan() {
            return Err(CommandError::NanScore);
        }
        let is_forbidden = self.only_new || (self.only_greater && new <= former) || (self.only_less && new >= former);
        Ok((!is_forbidden).then_some(new))
    }
}

/// What adding did.
#[derive(Default)]
pub(super) struct Added {
    pub(super) new: usize,
    pub(super) updated: usize,
    /// Of the last member, unless the options forbade it.
    score: Option<f64>,
}

fn zadd(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let (options, taken) = AddOptions::parse(&args[2..]);
    let pairs = &args[2 + taken..];
    if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    options.check(pairs.len() / 2)?;
    let added = add(context, options, pairs)?;
    if options.is_increment {
        return Ok(match added.score {
            Some(score) => context.reply.double(score),
            None => context.reply.null(),
        });
    }
    Ok(context.reply.count(if options.counts_updates { added.new + added.updated } else { added.new }))
}

fn zincrby(context: &mut Context<'_>) -> Outcome {
    let pairs = &context.args[2..];
    if AddOptions::parse(pairs).1 > 0 {
        return Err(CommandError::Syntax); // as ZADD, whose options it does not take
    }
    let added = add(context, AddOptions { is_increment: true, ..AddOptions::default() }, pairs)?;
    Ok(context.reply.double(added.score.unwrap_or(0.0)))
}

/// Adds score, member pairs as they were typed.
fn add(context: &mut Context<'_>, options: AddOptions, pairs: &[&[u8]]) -> Result<Added, CommandError> {
    let mut scored = smallvec::SmallVec::<[(f64, &[u8]); 8]>::with_capacity(pairs.len() / 2);
    for pair in pairs.chunks_exact(2) {
        scored.push((args::float(pair[0])?, pair[1]));
    }
    add_scored(context, options, &scored)
}

/// Adds members with their scores to the command's first key.
pub(super) fn add_scored(
    context: &mut Context<'_>,
    options: AddOptions,
    scored: &[(f64, &[u8])],
) -> Result<Added, CommandError> {
    let key = context.args[1];
    let limits = context.limits();
    let mut added = Added::default();
    if options.only_existing && typed::read::<Zset>(context, key)?.0.is_none() {
        return Ok(added);
    }
    let zset = typed::create::<Zset>(context, key)?;
    for &(score, member) in scored {
        add_one(zset, (member, score), options, &limits, &mut added)?;
    }
    context.changed(added.new + added.updated);
    Ok(added)
}

fn add_one(
    zset: &mut Zset,
    (member, score): (&[u8], f64),
    options: AddOptions,
    limits: &Limits,
    added: &mut Added,
) -> Result<(), CommandError> {
    added.score = if options.has_conditions() { options.new_score(zset.score(member), score)? } else { Some(score) };
    let Some(score) = added.score else { return Ok(()) };
    match zset.insert(member, score, limits) {
        Insert::Added => added.new += 1,
        Insert::Updated => added.updated += 1,
        Insert::Unchanged => {}
    }
    Ok(())
}

fn zrem(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let (Some(zset), _) = typed::write::<Zset>(context, args[1])? else { return Ok(context.reply.int(0)) };
    let removed = args[2..].iter().filter(|member| zset.remove(member).is_some()).count();
    if removed > 0 {
        context.remove_if_empty(args[1]);
        context.changed(removed);
    }
    Ok(context.reply.count(removed))
}

fn zcard(context: &mut Context<'_>) -> Outcome {
    let key = context.args[1];
    let (zset, reply) = typed::read::<Zset>(context, key)?;
    Ok(reply.count(zset.map_or(0, Zset::len)))
}

fn zscore(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let (zset, reply) = typed::read::<Zset>(context, args[1])?;
    Ok(match zset.and_then(|zset| zset.score(args[2])) {
        Some(score) => reply.double(score),
        None => reply.null(),
    })
}

fn zmscore(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let (zset, reply) = typed::read::<Zset>(context, args[1])?;
    let header = reply.array(args.len() - 2);
    for member in &args[2..] {
        match zset.and_then(|zset| zset.score(member)) {
            Some(score) => reply.double(score),
            None => reply.null(),
        };
    }
    Ok(header)
}

fn zrank(context: &mut Context<'_>) -> Outcome {
    rank(context, "zrank", |rank, _| rank)
}

fn zrevrank(context: &mut Context<'_>) -> Outcome {
    rank(context, "zrevrank", |rank, len| len - 1 - rank)
}

fn rank(context: &mut Context<'_>, name: &'static str, of: fn(usize, usize) -> usize) -> Outcome {
    let args = context.args;
    let with_score = match args[3..] {
        [] => false,
        [word] if is(word, "WITHSCORE") => true,
        [_] => return Err(CommandError::Syntax),
        _ => return Err(CommandError::WrongArity(name.to_owned())),
    };
    let (zset, reply) = typed::read::<Zset>(context, args[1])?;
    let found = zset.and_then(|zset| Some((of(zset.rank(args[2])?, zset.len()), zset.score(args[2])?)));
    Ok(match found {
        None if with_score => reply.null_array(),
        None => reply.null(),
        Some((rank, _)) if !with_score => reply.count(rank),
        Some((rank, score)) => {
            let header = reply.array(2);
            reply.count(rank);
            reply.double(score);
            header
        }
    })
}

/// Places that `count` members take in a reply: RESP3 puts a member and its score in an array of their own.
fn places(reply: &Encoder<'_>, count: usize, with_scores: bool) -> usize {
    if with_scores && reply.protocol() == Protocol::Resp2 { count * 2 } else { count }
}

fn write_member(reply: &mut Encoder<'_>, (member, score): (Element<'_>, f64), with_score: bool) {
    if with_score && reply.protocol() == Protocol::Resp3 {
        reply.array(2);
    }
    member.with(|text| reply.bulk(text));
    if with_score {
        reply.double(score);
    }
}
