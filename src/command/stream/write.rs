//! XADD, XTRIM, XDEL and XSETID.

use crate::value::stream::{AppendError, Counters, Keep, StreamId, Trim};

use super::super::{CommandError, Context, Outcome, args};
use super::{INVALID_ID, parse_id, reply_id};

/// The most entries that a trim with `~` and no LIMIT removes.
const MOST_LIMIT: usize = 1_000_000;
/// The same where nodes have no limit of entries.
const DEFAULT_LIMIT: usize = 10_000;

const EXHAUSTED: CommandError =
    CommandError::text("ERR The stream has exhausted the last possible ID, unable to add more items");
const ID_TOO_SMALL: CommandError =
    CommandError::text("ERR The ID specified in XADD is equal or smaller than the target stream top item");
const NO_STRATEGY: CommandError = CommandError::text("ERR syntax error, XTRIM must be called with a trimming strategy");
const TWO_STRATEGIES: CommandError =
    CommandError::text("ERR syntax error, MAXLEN and MINID options at the same time are not compatible");

/// Which id an XADD asks for.
#[derive(Clone, Copy)]
enum NewId {
    /// `*`
    Clock,
    /// `ms-*`
    Open(u64),
    Given(StreamId),
}

/// The options of XADD and XTRIM, up to the id.
#[derive(Default)]
struct Options {
    no_mkstream: bool,
    keep: Option<Keep>,
    approximate: bool,
    limit: Option<usize>,
    /// Position of the first argument that is no option.
    end: usize,
}

impl Options {
    /// Reads options from the third argument on; with `is_add` up to the id, else to the end.
    fn parse(context: &Context<'_>, is_add: bool) -> Result<Self, CommandError> {
        let mut options = Self { end: 2, ..Self::default() };
        while let Some(option) = context.args.get(options.end) {
            let rest = &context.args[options.end + 1..];
            options.end += match *option {
                b"*" if is_add => break,
                word if args::is(word, "MAXLEN") && !rest.is_empty() => options.strategy(rest, max_len)?,
                word if args::is(word, "MINID") && !rest.is_empty() => options.strategy(rest, min_id)?,
                word if args::is(word, "LIMIT") && !rest.is_empty() => options.take_limit(rest[0])?,
                word if args::is(word, "NOMKSTREAM") && is_add => {
                    options.no_mkstream = true;
                    1
                }
                _ if is_add => break,
                _ => return Err(CommandError::Syntax),
            };
        }
        Ok(options)
    }

    /// What is wrong with options that have all been read. A log may hold a LIMIT where a client may not write one.
    fn check(&self, context: &Context<'_>, is_add: bool) -> Result<(), CommandError> {
        if self.limit.is_some_and(|limit| limit > 0) && self.keep.is_none() {
            return Err(CommandError::err("syntax error, LIMIT cannot be used without specifying a trimming strategy"));
        }
        if self.keep.is_none() && !is_add {
            return Err(NO_STRATEGY);
        }
        if self.limit.is_some() && !self.approximate && !context.is_replay {
            return Err(CommandError::err("syntax error, LIMIT cannot be used without the special ~ option"));
        }
        Ok(())
    }

    /// Reads `[~|=] threshold`; returns how many arguments the option has, its name too.
    fn strategy(
        &mut self,
        rest: &[&[u8]],
        threshold: fn(&[u8]) -> Result<Keep, CommandError>,
    ) -> Result<usize, CommandError> {
        if self.keep.is_some() {
            return Err(TWO_STRATEGIES);
        }
        let (at, approximate) = match rest {
            [b"~", _, ..] => (1, true),
            [b"=", _, ..] => (1, false),
            _ => (0, false),
        };
        self.approximate = approximate;
        self.keep = Some(threshold(rest[at])?);
        Ok(at + 2)
    }

    fn take_limit(&mut self, text: &[u8]) -> Result<usize, CommandError> {
        let limit = usize::try_from(args::int(text)?);
        self.limit = Some(limit.map_err(|_| CommandError::err("The LIMIT argument must be >= 0."))?);
        Ok(2)
    }

    fn trim(&self, context: &Context<'_>) -> Option<Trim> {
        let per_node = context.limits().stream_node_max_entries;
        let usual = if per_node == 0 { DEFAULT_LIMIT } else { per_node.saturating_mul(100).min(MOST_LIMIT) };
        let limit = match self.approximate && !context.is_replay {
            true => self.limit.unwrap_or(usual),
            false => 0,
        };
        Some(Trim { keep: self.keep?, approximate: self.approximate, limit })
    }
}

fn max_len(text: &[u8]) -> Result<Keep, CommandError> {
    let newest = u64::try_from(args::int(text)?);
    newest.map(Keep::Newest).map_err(|_| CommandError::err("The MAXLEN argument must be >= 0."))
}

fn min_id(text: &[u8]) -> Result<Keep, CommandError> {
    parse_id(text, 0).map(Keep::From)
}

pub(super) fn xadd(context: &mut Context<'_>) -> Outcome {
    let options = Options::parse(context, true)?;
    let request = context.args;
    let id_text = *request.get(options.end).ok_or(wrong_arity())?;
    let wanted = parse_new_id(id_text)?;
    options.check(context, true)?;
    let pairs = &request[options.end + 1..];
    if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
        return Err(wrong_arity());
    }
    if matches!(wanted, NewId::Given(StreamId::MIN)) {
        return Err(CommandError::err("The ID specified in XADD must be greater than 0-0"));
    }
    let (key, now, limits) = (request[1], context.now_ms(), context.limits());
    let last_id = context.read_stream(key)?.map(|stream| stream.last_id());
    if last_id.is_none() && options.no_mkstream {
        return Ok(context.reply.null());
    }
    let id = choose_id(wanted, last_id.unwrap_or(StreamId::MIN), now)?;
    let fields: smallvec::SmallVec<[(&[u8], &[u8]); 8]> =
        pairs.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    let trim = options.trim(context);
    let stream = context.create_stream(key)?;
    if let Err(error) = stream.append(id, &fields, &limits) {
        if last_id.is_none() {
            context.remove(key);
        }
        return Err(match error {
            AppendError::NotGreater => ID_TOO_SMALL,
            AppendError::TooLarge => CommandError::err("Elements are too large to be stored"),
        });
    }
    let removed = trim.map_or(0, |trim| stream.trim(trim));
    let kept = trim.filter(|trim| trim.approximate).map(|trim| left_by(stream, trim));
    context.changed(1);
    if (kept.is_some() || !matches!(wanted, NewId::Given(_))) && !context.is_replay {
        log_add(context, &options, kept, id);
    }
    if removed > 0 {
        context.also_tell(&[b"XTRIM", key]);
    }
    Ok(reply_id(&mut context.reply, id))
}

/// The exact trim that leaves what this one has left.
fn left_by(stream: &crate::value::Stream, trim: Trim) -> Keep {
    match trim.keep {
        Keep::Newest(_) => Keep::Newest(stream.len() as u64), // usize has at most 64 bits
        // What was removed were whole nodes below the threshold, so an emptied stream had nothing above it.
        Keep::From(id) if stream.is_empty() => Keep::From(id),
        Keep::From(_) => Keep::From(stream.first_id()),
    }
}

/// Logs an XADD whose id was chosen here, or whose trim may have stopped early.
fn log_add(context: &mut Context<'_>, options: &Options, kept: Option<Keep>, id: StreamId) {
    if !context.engine.journal.is_on() {
        return;
    }
    let request = context.args;
    let id = id.to_text();
    let mut operation: Vec<&[u8]> = Vec::with_capacity(request.len() + 1);
    let threshold;
    match kept {
        None => operation.extend_from_slice(&request[..options.end]),
        Some(kept) => {
            operation.extend_from_slice(&request[..2]);
            if options.no_mkstream {
                operation.push(b"NOMKSTREAM");
            }
            threshold = threshold_of(kept);
            operation.extend_from_slice(&[threshold.0, b"=", &threshold.1]);
        }
    }
    operation.push(&id);
    operation.extend_from_slice(&request[options.end + 1..]);
    context.log_as(&operation);
}

fn threshold_of(kept: Keep) -> (&'static [u8], Vec<u8>) {
    match kept {
        Keep::Newest(newest) => (b"MAXLEN", newest.to_string().into_bytes()),
        Keep::From(id) => (b"MINID", id.to_text()),
    }
}

fn wrong_arity() -> CommandError {
    CommandError::WrongArity("xadd".to_owned())
}

fn parse_new_id(text: &[u8]) -> Result<NewId, CommandError> {
    if text == b"*" {
        return Ok(NewId::Clock);
    }
    match StreamId::parse_open(text) {
        Some(ms) => Ok(NewId::Open(ms)),
        None => StreamId::parse(text, 0).map(NewId::Given).ok_or(INVALID_ID),
    }
}

/// The id of the next entry; an open one is the smallest that is greater than `last`.
fn choose_id(wanted: NewId, last: StreamId, now_ms: i64) -> Result<StreamId, CommandError> {
    if last == StreamId::MAX {
        return Err(EXHAUSTED);
    }
    let id = match wanted {
        NewId::Given(id) => Some(id),
        NewId::Clock => {
            let now = u64::try_from(now_ms).unwrap_or(0);
            if now > last.ms { Some(StreamId::new(now, 0)) } else { last.incr() }
        }
        NewId::Open(ms) if ms == last.ms => last.seq.checked_add(1).map(|seq| StreamId::new(ms, seq)),
        NewId::Open(ms) => Some(StreamId::new(ms, 0)),
    };
    id.filter(|id| *id > last).ok_or(ID_TOO_SMALL)
}

pub(super) fn xtrim(context: &mut Context<'_>) -> Outcome {
    let options = Options::parse(context, false)?;
    options.check(context, false)?;
    let trim = options.trim(context).ok_or(NO_STRATEGY)?;
    let key = context.args[1];
    let Some(stream) = context.write_stream(key)? else {
        return Ok(context.reply.int(0));
    };
    let removed = stream.trim(trim);
    let kept = left_by(stream, trim);
    context.changed(removed);
    if removed > 0 && trim.approximate && !context.is_replay {
        let (option, threshold) = threshold_of(kept);
        context.log_as(&[b"XTRIM", key, option, b"=", &threshold]);
    }
    Ok(context.reply.count(removed))
}

pub(super) fn xdel(context: &mut Context<'_>) -> Outcome {
    let key = context.args[1];
    if context.read_stream(key)?.is_none() {
        return Ok(context.reply.int(0));
    }
    let ids = context.args[2..].iter().map(|text| parse_id(text, 0)).collect::<Result<Vec<_>, _>>()?;
    let deleted = match context.write_stream(key)? {
        Some(stream) => ids.into_iter().filter(|id| stream.delete(*id)).count(),
        None => 0,
    };
    context.changed(deleted);
    Ok(context.reply.count(deleted))
}

pub(super) fn xsetid(context: &mut Context<'_>) -> Outcome {
    let key = context.args[1];
    let id = parse_id(context.args[2], 0)?;
    let (entries_added, max_deleted_id) = parse_counters(&context.args[3..], id)?;
    let Some(stream) = context.write_stream(key)? else {
        return Err(CommandError::NoSuchKey);
    };
    if id < stream.max_deleted_id() {
        return Err(CommandError::err("The ID specified in XSETID is smaller than current max_deleted_entry_id"));
    }
    let len = stream.len() as u64; // usize has at most 64 bits
    if len > 0 && id < stream.top_id() {
        return Err(CommandError::err("The ID specified in XSETID is smaller than the target stream top item"));
    }
    if entries_added.is_some_and(|added| added < len) {
        return Err(CommandError::err(
            "The entries_added specified in XSETID is smaller than the target stream length",
        ));
    }
    let counters = Counters {
        last_id: id,
        max_deleted_id: max_deleted_id.filter(|id| *id != StreamId::MIN).unwrap_or(stream.max_deleted_id()),
        entries_added: entries_added.unwrap_or(stream.entries_added()),
    };
    stream.set_counters(counters).map_err(CommandError::err)?;
    context.changed(1);
    Ok(context.reply.ok())
}

/// Reads `[ENTRIESADDED n] [MAXDELETEDID id]`.
fn parse_counters(mut rest: &[&[u8]], id: StreamId) -> Result<(Option<u64>, Option<StreamId>), CommandError> {
    let (mut added, mut deleted) = (None, None);
    while let [option, value, tail @ ..] = rest {
        if args::is(option, "ENTRIESADDED") {
            let count = u64::try_from(args::int(value)?);
            added = Some(count.map_err(|_| CommandError::err("entries_added must be positive"))?);
        } else if args::is(option, "MAXDELETEDID") {
            let max = parse_id(value, 0)?;
            if id < max {
                return Err(CommandError::err(
                    "The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                ));
            }
            deleted = Some(max);
        } else {
            return Err(CommandError::Syntax);
        }
        rest = tail;
    }
    if rest.is_empty() { Ok((added, deleted)) } else { Err(CommandError::Syntax) }
}
