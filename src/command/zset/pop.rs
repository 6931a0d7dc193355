//! Members taken from an end (at once, or as soon as there are any), at random, or a page at a time.

use crate::codec::number;
use crate::engine::wait::Awaited;
use crate::resp::Encoder;
use crate::value::{Element, Limits, Zset};

use super::super::args::{self, is};
use super::super::generic::{ScanOptions, parse_cursor};
use super::super::pop_first;
use super::super::sample::{self, SampleSize};
use super::super::typed::{self, Page};
use super::super::{CommandError, Context, Outcome};
use super::{places, write_member};

/// An end of a sorted set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Min,
    Max,
}

impl pop_first::End for End {
    type Value = Zset;
    const AWAITED: Awaited = Awaited::Zset;
    const PLACES: usize = 2;

    fn parse(word: &[u8]) -> Result<Self, CommandError> {
        match word {
            word if is(word, "MIN") => Ok(End::Min),
            word if is(word, "MAX") => Ok(End::Max),
            _ => Err(CommandError::Syntax),
        }
    }

    fn verb(self) -> &'static [u8] {
        if self == End::Min { b"ZPOPMIN" } else { b"ZPOPMAX" }
    }

    fn len(zset: &Zset) -> usize {
        zset.len()
    }

    fn pop_to(self, zset: &mut Zset, count: usize, _: &Limits, reply: &mut Encoder<'_>, is_flat: bool) {
        self.pop(zset, count, |(member, score)| {
            if !is_flat {
                reply.array(2);
            }
            write_flat(reply, member, score);
        });
    }
}

impl End {
    /// Takes out `count` members, which must be there, and shows them to `write`, the outermost first.
    fn pop(self, zset: &mut Zset, count: usize, mut write: impl FnMut((crate::value::Element<'_>, f64))) {
        let len = zset.len();
        let start = match self {
            End::Min => {
                zset.iter_from(0).take(count).for_each(&mut write);
                0
            }
            End::Max => {
                zset.iter_rev_from(len.saturating_sub(1)).take(count).for_each(&mut write);
                len - count
            }
        };
        zset.remove_rank_range(start, count);
    }
}

pub(super) fn zpopmin(context: &mut Context<'_>) -> Outcome {
    pop(context, End::Min)
}

pub(super) fn zpopmax(context: &mut Context<'_>) -> Outcome {
    pop(context, End::Max)
}

fn pop(context: &mut Context<'_>, end: End) -> Outcome {
    let args = context.args;
    if args.len() > 3 {
        return Err(CommandError::Syntax);
    }
    let count = args.get(2).map(|count| args::count(count)).transpose()?;
    let (Some(zset), reply) = typed::write::<Zset>(context, args[1])? else { return Ok(context.reply.array(0)) };
    let taken = count.unwrap_or(1).min(zset.len());
    let header = match count {
        // Without a count the one member and its score stand side by side, even in RESP3.
        None => reply.array(2),
        Some(_) => {
            let places = places(reply, taken, true);
            reply.array(places)
        }
    };
    end.pop(zset, taken, |(member, score)| match count {
        None => write_flat(reply, member, score),
        Some(_) => write_member(reply, (member, score), true),
    });
    if zset.is_empty() {
        context.remove(args[1]);
    }
    context.changed(taken);
    Ok(header)
}

fn write_flat(reply: &mut Encoder<'_>, member: crate::value::Element<'_>, score: f64) {
    member.with(|text| reply.bulk(text));
    reply.double(score);
}

pub(super) fn bzpopmin(context: &mut Context<'_>) -> Outcome {
    pop_first::wait_for_one(context, End::Min)
}

pub(super) fn bzpopmax(context: &mut Context<'_>) -> Outcome {
    pop_first::wait_for_one(context, End::Max)
}

pub(super) fn zrandmember(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let mut random = context.engine.random.fork();
    let Some(count) = args.get(2) else {
        let (zset, reply) = typed::read::<Zset>(context, args[1])?;
        return Ok(match zset.and_then(|zset| zset.random(&mut random)) {
            Some((member, _)) => member.with(|text| reply.bulk(text)),
            None => reply.null(),
        });
    };
    let with_scores = args.len() == 4 && is(args[3], "WITHSCORES");
    let size = SampleSize::parse(count, with_scores)?;
    if args.len() > 3 && !with_scores {
        return Err(CommandError::Syntax);
    }
    let (Some(zset), reply) = typed::read::<Zset>(context, args[1])? else { return Ok(context.reply.array(0)) };
    if !size.is_distinct {
        let places = places(reply, size.count, with_scores);
        let header = reply.array(places);
        for _ in 0..size.count {
            if let Some(member) = zset.random(&mut random) {
                write_member(reply, member, with_scores);
            }
        }
        return Ok(header);
    }
    let dimensions = (zset.len(), size.count);
    let draw = |random: &mut fastrand::Rng| zset.random(random);
    let chosen =
        sample::distinct(dimensions, &mut random, zset.iter_rev_from(zset.len() - 1), draw, |member| member.0.to_vec());
    let places = places(reply, chosen.len(), with_scores);
    let header = reply.array(places);
    chosen.into_iter().for_each(|member| write_member(reply, member, with_scores));
    Ok(header)
}

pub(super) fn zscan(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let cursor = parse_cursor(args[2])?;
    let (zset, reply) = typed::read::<Zset>(context, args[1])?;
    let mut page = Page::new(reply.protocol());
    let mut next = 0;
    if let Some(zset) = zset {
        let options = ScanOptions::parse(&args[3..], false)?;
        if options.no_values {
            return Err(CommandError::text("ERR NOVALUES option can only be used in HSCAN"));
        }
        // As in Redis, the shortest text is that of a listpack; a table's scores are told with 17 digits.
        let write = if zset.encoding() == "listpack" { number::write_f64 } else { number::write_f64_g17 };
        next = zset.scan(cursor, options.count, &mut |member, score| {
            if member.with(|name| options.admits(name)) {
                let mut text = Vec::with_capacity(24);
                write(&mut text, score);
                page.push(member);
                page.push(Element::from(&text));
            }
        });
    }
    Ok(page.write_scan(reply, next))
}
