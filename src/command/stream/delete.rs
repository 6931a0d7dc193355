//! XDELEX and XACKDEL: entries are deleted together with what groups hold of them, or only where none holds them any more.
//!
//! The log gets the XACKs and the XDEL that they come to, which every server knows.

use crate::value::Stream;
use crate::value::stream::StreamId;

use super::super::args::{self, is};
use super::super::{CommandError, Context, Outcome};
use super::parse_id;

/// What becomes of the entry's places in the groups' pending lists.
#[derive(Clone, Copy)]
enum References {
    Keep,
    Delete,
    /// The entry is deleted only if every group has been given it, and has acknowledged it.
    Acked,
}

/// What the reply says of an entry: it is not there, it was deleted, some group still needs it.
const MISSING: i64 = -1;
const DELETED: i64 = 1;
const HELD: i64 = 2;

/// Reads `[KEEPREF | DELREF | ACKED] IDS numids id [id ...]`, in any order.
fn parse(mut rest: Words<'_>) -> Result<(References, Vec<StreamId>), CommandError> {
    let (mut references, mut ids) = (None, None);
    while let [option, tail @ ..] = rest {
        let chosen = match option {
            word if is(word, "KEEPREF") => References::Keep,
            word if is(word, "DELREF") => References::Delete,
            word if is(word, "ACKED") => References::Acked,
            word if is(word, "IDS") && ids.is_none() => {
                let (listed, behind) = split_ids(tail)?;
                (ids, rest) = (Some(listed), behind);
                continue;
            }
            _ => return Err(CommandError::Syntax),
        };
        if references.replace(chosen).is_some() {
            return Err(CommandError::Syntax);
        }
        rest = tail;
    }
    let ids = ids.ok_or(CommandError::Syntax)?.iter().map(|text| parse_id(text, 0)).collect::<Result<_, _>>()?;
    Ok((references.unwrap_or(References::Keep), ids))
}

type Words<'a> = &'a [&'a [u8]];

/// The ids behind their number, and what follows.
fn split_ids<'a>(words: Words<'a>) -> Result<(Words<'a>, Words<'a>), CommandError> {
    let [count, rest @ ..] = words else { return Err(CommandError::Syntax) };
    let count = args::int(count).ok().and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0);
    let count = count.ok_or(CommandError::text("ERR Number of IDs must be a positive integer"))?;
    rest.split_at_checked(count)
        .ok_or(CommandError::text("ERR The `numids` parameter must match the number of arguments"))
}

/// What was done, for the log.
#[derive(Default)]
struct Done {
    deleted: Vec<StreamId>,
    /// By group.
    acknowledged: Vec<(Vec<u8>, Vec<StreamId>)>,
}

impl Done {
    /// Takes the entry out of the group's pending list; false if it is not there.
    fn ack(&mut self, stream: &mut Stream, name: &[u8], id: StreamId) -> bool {
        let is_acknowledged = stream.group_mut(name).is_some_and(|group| group.ack(id));
        if is_acknowledged {
            match self.acknowledged.iter_mut().find(|(known, _)| known == name) {
                Some((_, ids)) => ids.push(id),
                None => self.acknowledged.push((name.to_vec(), vec![id])),
            }
        }
        is_acknowledged
    }

    fn delete(&mut self, stream: &mut Stream, id: StreamId, references: References) -> i64 {
        match references {
            References::Keep => {}
            References::Delete => {
                for name in stream.groups().map(|(name, _)| name.to_vec()).collect::<Vec<_>>() {
                    self.ack(stream, &name, id);
                }
            }
            References::Acked if is_held(stream, id) => return if stream.contains(id) { HELD } else { MISSING },
            References::Acked => {}
        }
        if !stream.delete(id) {
            return MISSING;
        }
        self.deleted.push(id);
        DELETED
    }

    fn log(self, context: &mut Context<'_>, key: &[u8]) {
        let texts = |ids: &[StreamId]| ids.iter().map(|id| id.to_text()).collect::<Vec<_>>();
        context.changed(self.deleted.len() + self.acknowledged.iter().map(|(_, ids)| ids.len()).sum::<usize>());
        for (name, ids) in &self.acknowledged {
            let head = [b"XACK".to_vec(), key.to_vec(), name.clone()];
            context.log_as(&[&head[..], &texts(ids)].concat());
        }
        if !self.deleted.is_empty() {
            let head = [b"XDEL".to_vec(), key.to_vec()];
            context.log_as(&[&head[..], &texts(&self.deleted)].concat());
        }
    }
}

/// Whether some group has yet to be given the entry, or to acknowledge it. Where there is no group, none ever has.
fn is_held(stream: &Stream, id: StreamId) -> bool {
    let mut groups = stream.groups().map(|(_, group)| group).peekable();
    groups.peek().is_none()
        || groups.any(|group| {
            let is_given_back = group.nacked().iter().any(|nacked| nacked.id == id);
            id > group.last_id() || group.pending(id).is_some() || is_given_back
        })
}

/// `key [KEEPREF | DELREF | ACKED] IDS numids id [id ...]`
pub(super) fn xdelex(context: &mut Context<'_>) -> Outcome {
    let (references, ids) = parse(&context.args[2..])?;
    each(context, &ids, |stream, id, done| done.delete(stream, id, references))
}

/// `key group [KEEPREF | DELREF | ACKED] IDS numids id [id ...]`
pub(super) fn xackdel(context: &mut Context<'_>) -> Outcome {
    let name = context.args[2];
    let (references, ids) = parse(&context.args[3..])?;
    each(context, &ids, |stream, id, done| {
        if !done.ack(stream, name, id) {
            return MISSING;
        }
        match done.delete(stream, id, references) {
            HELD => HELD,
            // What was pending may have been deleted before.
            _ => DELETED,
        }
    })
}

/// Answers what `delete` says of each entry; of no stream it is that they are missing.
fn each(
    context: &mut Context<'_>,
    ids: &[StreamId],
    mut delete: impl FnMut(&mut Stream, StreamId, &mut Done) -> i64,
) -> Outcome {
    let (key, mut done) = (context.args[1], Done::default());
    let codes: Vec<i64> = match context.write_stream(key)? {
        Some(stream) => ids.iter().map(|id| delete(stream, *id, &mut done)).collect(),
        None => vec![MISSING; ids.len()],
    };
    done.log(context, key);
    let reply = context.reply.array(codes.len());
    for code in codes {
        context.reply.int(code);
    }
    Ok(reply)
}
