//! What lists and sorted sets share of BLPOP and BZPOPMIN, LMPOP and ZMPOP, and the waiting forms of these: the first of
//! some keys that has anything gives what stands at one of its ends.

use crate::codec::number;
use crate::engine::wait::Awaited;
use crate::resp::{Encoder, Reply};
use crate::value::Limits;

use super::args::is;
use super::typed::{self, Collection};
use super::waiting::{self, Wait};
use super::{CommandError, Context, Outcome};

/// An end of a collection.
pub(super) trait End: Copy {
    type Value: Collection;
    const AWAITED: Awaited;
    /// Places in a flat reply that an element takes: one for itself, and one for its score.
    const PLACES: usize;

    fn parse(word: &[u8]) -> Result<Self, CommandError>;

    /// What a pop at this end is logged as.
    fn verb(self) -> &'static [u8];

    fn len(value: &Self::Value) -> usize;

    /// Takes out `count` elements, which must be there, and replies with them, the outermost first; with those of several
    /// places as arrays of their own, or flat.
    fn pop_to(self, value: &mut Self::Value, count: usize, limits: &Limits, reply: &mut Encoder<'_>, is_flat: bool);
}

/// `key ... timeout`: replies with the first key that has anything, and the one element at its end.
pub(super) fn wait_for_one<E: End>(context: &mut Context<'_>, end: E) -> Outcome {
    let args = context.args;
    let limits = context.limits();
    let (keys, timeout) = (&args[1..args.len() - 1], args[args.len() - 1]);
    let timeout = waiting::seconds(timeout, context.now_ms())?;
    for &key in keys {
        let (Some(value), reply) = typed::write::<E::Value>(context, key)? else { continue };
        let header = reply.array(1 + E::PLACES);
        reply.bulk(key);
        end.pop_to(value, 1, &limits, reply, true);
        context.remove_if_empty(key);
        context.changed(1);
        context.log_as(&[end.verb(), key]);
        return Ok(header);
    }
    Ok(context.wait_for(Wait::new(keys, E::AWAITED, timeout)))
}

/// `numkeys key ... word [COUNT count]`.
struct Request<'a, E> {
    keys: &'a [&'a [u8]],
    end: E,
    count: usize,
}

impl<'a, E: End> Request<'a, E> {
    fn parse(args: &'a [&'a [u8]]) -> Result<Self, CommandError> {
        let positive = |argument: &[u8], what: &str| {
            let value = number::parse_i64(argument).filter(|&value| value > 0);
            let value = value.and_then(|value| usize::try_from(value).ok());
            value.ok_or_else(|| CommandError::err(format!("{what} should be greater than 0")))
        };
        let key_count = positive(args[0], "numkeys")?;
        let rest = &args[1..];
        if key_count >= rest.len() {
            return Err(CommandError::Syntax);
        }
        let (keys, options) = rest.split_at(key_count);
        let end = E::parse(options[0])?;
        let (mut count, mut rest) = (None, &options[1..]);
        while let [option, tail @ ..] = rest {
            // A bad number is told before what is wrong behind it.
            rest = match tail {
                [value, tail @ ..] if count.is_none() && is(option, "COUNT") => {
                    count = Some(positive(value, "count")?);
                    tail
                }
                _ => return Err(CommandError::Syntax),
            };
        }
        Ok(Self { keys, end, count: count.unwrap_or(1) })
    }

    /// None where no key has anything.
    fn carry_out(&self, context: &mut Context<'_>) -> Result<Option<Reply>, CommandError> {
        let limits = context.limits();
        for &key in self.keys {
            let (Some(value), reply) = typed::write::<E::Value>(context, key)? else { continue };
            let count = self.count.min(E::len(value));
            let header = reply.array(2);
            reply.bulk(key);
            reply.array(count);
            self.end.pop_to(value, count, &limits, reply, false);
            context.remove_if_empty(key);
            context.changed(count);
            context.log_as(&[self.end.verb(), key, itoa::Buffer::new().format(count).as_bytes()]);
            return Ok(Some(header));
        }
        Ok(None)
    }
}

/// LMPOP and ZMPOP.
pub(super) fn some<E: End>(context: &mut Context<'_>) -> Outcome {
    let request = Request::<E>::parse(&context.args[1..])?;
    Ok(match request.carry_out(context)? {
        Some(reply) => reply,
        None => context.reply.null_array(),
    })
}

/// BLMPOP and BZMPOP.
pub(super) fn wait_for_some<E: End>(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let request = Request::<E>::parse(&args[2..])?;
    let timeout = waiting::seconds(args[1], context.now_ms())?;
    Ok(match request.carry_out(context)? {
        Some(reply) => reply,
        None => context.wait_for(Wait::new(request.keys, E::AWAITED, timeout)),
    })
}
