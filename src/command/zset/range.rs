//! Ranges of a sorted set, by rank, score or member: to show, to count, to store, to remove.

use std::cmp::Ordering;

use crate::value::{Element, Object, Zset};

use super::super::args::{self, is, rank_range};
use super::super::{CommandError, Context, Outcome, typed};
use super::{places, write_member};

/// What a range's bounds mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// A bound that may exclude its own value.
#[derive(Clone, Copy)]
struct Bound<T> {
    value: T,
    is_exclusive: bool,
}

#[derive(Clone, Copy)]
enum LexValue<'a> {
    Lowest,
    Highest,
    Member(&'a [u8]),
}

/// A range, its bounds read, the lower first.
#[derive(Clone, Copy)]
enum Range<'a> {
    /// As typed: from the end that the command begins at.
    Rank(i64, i64),
    Score(Bound<f64>, Bound<f64>),
    Lex(Bound<LexValue<'a>>, Bound<LexValue<'a>>),
}

impl<'a> Range<'a> {
    fn parse(by: By, first: &'a [u8], second: &'a [u8], is_reverse: bool) -> Result<Self, CommandError> {
        let (low, high) = if is_reverse { (second, first) } else { (first, second) };
        Ok(match by {
            By::Rank => Range::Rank(args::int(first)?, args::int(second)?),
            By::Score => Range::Score(score_bound(low)?, score_bound(high)?),
            By::Lex => Range::Lex(lex_bound(low)?, lex_bound(high)?),
        })
    }

    /// The ranks in the range, from the lowest: start and the rank behind the end.
    fn ranks(self, zset: &Zset, is_reverse: bool) -> (usize, usize) {
        let len = zset.len();
        match self {
            Range::Rank(start, end) => {
                let (start, count) = rank_range(start, end, len).unwrap_or((0, 0));
                if is_reverse { (len - start - count, len - start) } else { (start, start + count) }
            }
            Range::Score(low, high) => {
                (zset.rank_of_score(low.value, low.is_exclusive), zset.rank_of_score(high.value, !high.is_exclusive))
            }
            Range::Lex(low, high) => {
                if !touches(zset, low, high) {
                    return (0, 0);
                }
                let rank = |value, is_exclusive| match value {
                    LexValue::Lowest => 0,
                    LexValue::Highest => len,
                    LexValue::Member(member) => zset.rank_of_lex(member, is_exclusive),
                };
                (rank(low.value, low.is_exclusive), rank(high.value, !high.is_exclusive))
            }
        }
    }
}

/// Whether the range can hold a member between the first and the last. Where all scores are one it only saves time; where
/// they are not, for which nothing is specified, it is what Redis asks first.
fn touches(zset: &Zset, low: Bound<LexValue<'_>>, high: Bound<LexValue<'_>>) -> bool {
    let order = |member: Element<'_>, bound: Bound<LexValue<'_>>| match bound.value {
        LexValue::Lowest => Ordering::Greater,
        LexValue::Highest => Ordering::Less,
        LexValue::Member(text) => member.cmp_bytes(text),
    };
    let is_within = |member: Element<'_>, bound: Bound<LexValue<'_>>, inside: Ordering| match order(member, bound) {
        Ordering::Equal => !bound.is_exclusive,
        order => order == inside,
    };
    let (first, last) = (zset.iter_from(0).next(), zset.iter_rev_from(zset.len() - 1).next());
    last.is_some_and(|(member, _)| is_within(member, low, Ordering::Greater))
        && first.is_some_and(|(member, _)| is_within(member, high, Ordering::Less))
}

fn score_bound(argument: &[u8]) -> Result<Bound<f64>, CommandError> {
    let (text, is_exclusive) = match argument {
        [b'(', text @ ..] => (text, true),
        text => (text, false),
    };
    let value = bound_value(text).filter(|value| !value.is_nan()).ok_or(CommandError::MinMaxNotFloat)?;
    Ok(Bound { value, is_exclusive })
}

/// Unlike a score, a bound may be nothing, which is 0, and too large, which is infinite, but not hexadecimal.
fn bound_value(text: &[u8]) -> Option<f64> {
    if text.is_empty() {
        return Some(0.0);
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn lex_bound(argument: &[u8]) -> Result<Bound<LexValue<'_>>, CommandError> {
    let (value, is_exclusive) = match argument {
        b"-" => (LexValue::Lowest, false),
        b"+" => (LexValue::Highest, false),
        [b'[', member @ ..] => (LexValue::Member(member), false),
        [b'(', member @ ..] => (LexValue::Member(member), true),
        _ => return Err(CommandError::MinMaxNotLex),
    };
    Ok(Bound { value, is_exclusive })
}

/// A range with all that a command says of it.
struct Request<'a> {
    range: Range<'a>,
    is_reverse: bool,
    with_scores: bool,
    offset: i64,
    /// Negative for all.
    count: i64,
}

/// What the command's name says already.
#[derive(Clone, Copy)]
struct Shape {
    by: Option<By>,
    is_reverse: Option<bool>,
    stores: bool,
}

impl<'a> Request<'a> {
    /// `arguments`: the bounds, then the options.
    fn parse(shape: Shape, arguments: &'a [&'a [u8]]) -> Result<Self, CommandError> {
        let (mut by, mut is_reverse, mut with_scores) = (shape.by, shape.is_reverse, false);
        let (mut offset, mut count) = (0, -1);
        let mut rest = &arguments[2..];
        while let [option, tail @ ..] = rest {
            rest = tail;
            match option {
                word if is(word, "WITHSCORES") && !shape.stores => with_scores = true,
                word if is(word, "LIMIT") => {
                    let [offset_text, count_text, tail @ ..] = tail else { return Err(CommandError::Syntax) };
                    (offset, count) = (args::int(offset_text)?, args::int(count_text)?);
                    rest = tail;
                }
                word if is(word, "REV") && is_reverse.is_none() => is_reverse = Some(true),
                word if is(word, "BYSCORE") && by.is_none() => by = Some(By::Score),
                word if is(word, "BYLEX") && by.is_none() => by = Some(By::Lex),
                _ => return Err(CommandError::Syntax),
            }
        }
        let (by, is_reverse) = (by.unwrap_or(By::Rank), is_reverse.unwrap_or(false));
        if by == By::Rank && count != -1 {
            return Err(CommandError::text(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if by == By::Lex && with_scores {
            return Err(CommandError::text("ERR syntax error, WITHSCORES not supported in combination with BYLEX"));
        }
        let range = Range::parse(by, arguments[0], arguments[1], is_reverse)?;
        Ok(Self { range, is_reverse, with_scores, offset, count })
    }

    /// The members of the range: the rank of the first in the order of the request, and how many.
    fn members(&self, zset: &Zset) -> (usize, usize) {
        let (start, end) = self.range.ranks(zset, self.is_reverse);
        let whole = end.saturating_sub(start);
        let offset = match (self.range, usize::try_from(self.offset)) {
            (Range::Rank(..), _) => Some(0),
            (_, Ok(offset)) => Some(offset),
            // From the range's end, as Redis counts in a large set; of a small one nothing is left.
            (_, Err(_)) if zset.encoding() == "listpack" => None,
            (_, Err(_)) => isize::try_from(self.offset).ok().and_then(|offset| whole.checked_add_signed(offset)),
        };
        let len = offset.map_or(0, |offset| whole.saturating_sub(offset));
        let count = usize::try_from(self.count).map_or(len, |most| most.min(len));
        match offset {
            Some(offset) if count > 0 => (if self.is_reverse { end - 1 - offset } else { start + offset }, count),
            _ => (0, 0),
        }
    }

    /// Visits `count` members from `first` on, in the order of the request.
    fn visit(&self, zset: &Zset, (first, count): (usize, usize), visit: impl FnMut((Element<'_>, f64))) {
        if self.is_reverse {
            zset.iter_rev_from(first).take(count).for_each(visit);
        } else {
            zset.iter_from(first).take(count).for_each(visit);
        }
    }
}

pub(super) fn zrange(context: &mut Context<'_>) -> Outcome {
    show(context, Shape { by: None, is_reverse: None, stores: false })
}

pub(super) fn zrevrange(context: &mut Context<'_>) -> Outcome {
    show(context, Shape { by: Some(By::Rank), is_reverse: Some(true), stores: false })
}

pub(super) fn zrangebyscore(context: &mut Context<'_>) -> Outcome {
    show(context, Shape { by: Some(By::Score), is_reverse: Some(false), stores: false })
}

pub(super) fn zrevrangebyscore(context: &mut Context<'_>) -> Outcome {
    show(context, Shape { by: Some(By::Score), is_reverse: Some(true), stores: false })
}

pub(super) fn zrangebylex(context: &mut Context<'_>) -> Outcome {
    show(context, Shape { by: Some(By::Lex), is_reverse: Some(false), stores: false })
}

pub(super) fn zrevrangebylex(context: &mut Context<'_>) -> Outcome {
    show(context, Shape { by: Some(By::Lex), is_reverse: Some(true), stores: false })
}

fn show(context: &mut Context<'_>, shape: Shape) -> Outcome {
    let args = context.args;
    let request = Request::parse(shape, &args[2..])?;
    let (Some(zset), reply) = typed::read::<Zset>(context, args[1])? else { return Ok(context.reply.array(0)) };
    let (first, count) = request.members(zset);
    let places = places(reply, count, request.with_scores);
    let header = reply.array(places);
    if request.with_scores || request.is_reverse {
        request.visit(zset, (first, count), |member| write_member(reply, member, request.with_scores));
    } else {
        zset.visit_members(first, count, |member| write_member(reply, (member, 0.0), false));
    }
    Ok(header)
}

pub(super) fn zrangestore(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let limits = context.limits();
    let request = Request::parse(Shape { by: None, is_reverse: None, stores: true }, &args[3..])?;
    let mut result = Zset::new();
    if let (Some(zset), _) = typed::read::<Zset>(context, args[2])? {
        request.visit(zset, request.members(zset), |(member, score)| {
            member.with(|text| result.insert(text, score, &limits));
        });
    }
    store(context, result)
}

/// Puts a result into the command's first key, or removes that if the result is empty; replies with its length.
pub(super) fn store(context: &mut Context<'_>, result: Zset) -> Outcome {
    let target = context.args[1];
    let len = result.len();
    if len > 0 {
        context.db_mut().insert(target, Object::Zset(result), None);
        context.changed(len);
    } else if context.remove(target) {
        context.changed(1);
    }
    Ok(context.reply.count(len))
}

pub(super) fn zcount(context: &mut Context<'_>) -> Outcome {
    count(context, By::Score)
}

pub(super) fn zlexcount(context: &mut Context<'_>) -> Outcome {
    count(context, By::Lex)
}

fn count(context: &mut Context<'_>, by: By) -> Outcome {
    let args = context.args;
    let range = Range::parse(by, args[2], args[3], false)?;
    let (zset, reply) = typed::read::<Zset>(context, args[1])?;
    let (start, end) = zset.map_or((0, 0), |zset| range.ranks(zset, false));
    Ok(reply.count(end.saturating_sub(start)))
}

pub(super) fn zremrangebyrank(context: &mut Context<'_>) -> Outcome {
    remove(context, By::Rank)
}

pub(super) fn zremrangebyscore(context: &mut Context<'_>) -> Outcome {
    remove(context, By::Score)
}

pub(super) fn zremrangebylex(context: &mut Context<'_>) -> Outcome {
    remove(context, By::Lex)
}

fn remove(context: &mut Context<'_>, by: By) -> Outcome {
    let args = context.args;
    let range = Range::parse(by, args[2], args[3], false)?;
    let (Some(zset), _) = typed::write::<Zset>(context, args[1])? else { return Ok(context.reply.int(0)) };
    let (start, end) = range.ranks(zset, false);
    let removed = end.saturating_sub(start);
    if removed == zset.len() {
        context.remove(args[1]);
    } else {
        zset.remove_rank_range(start, removed);
    }
    context.changed(removed);
    Ok(context.reply.count(removed))
}
