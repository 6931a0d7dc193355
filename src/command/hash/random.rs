//! Random fields of a hash.

use crate::resp::{Encoder, Protocol};
use crate::value::Element;

use super::super::args::is;
use super::super::sample::{self, SampleSize};
use super::super::{CommandError, Context, Outcome};
use super::read;

pub(super) fn hrandfield(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let mut random = context.engine.random.fork();
    let Some(count) = args.get(2) else {
        let (hash, reply) = read(context, args[1])?;
        return Ok(match hash.and_then(|hash| hash.random(&mut random)) {
            Some((field, _)) => field.with(|text| reply.bulk(text)),
            None => reply.null(),
        });
    };
    let with_values = args.len() == 4 && is(args[3], "WITHVALUES");
    let size = SampleSize::parse(count, with_values)?;
    if args.len() > 3 && !with_values {
        return Err(CommandError::Syntax);
    }
    let (hash, reply) = read(context, args[1])?;
    let Some(hash) = hash else { return Ok(reply.array(0)) };
    if !size.is_distinct {
        let header = reply.array(places(reply, size.count, with_values));
        for _ in 0..size.count {
            if let Some(pair) = hash.random(&mut random) {
                write_pair(reply, pair, with_values);
            }
        }
        return Ok(header);
    }
    let chosen = sample::distinct(
        (hash.len(), size.count),
        &mut random,
        hash.iter().map(|(field, value, _)| (field, value)),
        |random| hash.random(random),
        |pair| pair.0.to_vec(),
    );
    let header = reply.array(places(reply, chosen.len(), with_values));
    chosen.into_iter().for_each(|pair| write_pair(reply, pair, with_values));
    Ok(header)
}

/// RESP3 puts a field and its value in an array of their own.
fn places(reply: &Encoder<'_>, count: usize, with_values: bool) -> usize {
    if with_values && reply.protocol() == Protocol::Resp2 { count * 2 } else { count }
}

fn write_pair(reply: &mut Encoder<'_>, (field, value): (Element<'_>, Element<'_>), with_value: bool) {
    if with_value && reply.protocol() == Protocol::Resp3 {
        reply.array(2);
    }
    field.with(|text| reply.bulk(text));
    if with_value {
        value.with(|text| reply.bulk(text));
    }
}
