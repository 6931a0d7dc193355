//! XCLAIM and XAUTOCLAIM: taking over what another consumer was given.
//!
//! Each entry that changes hands is logged as an XCLAIM that says all of its new state. A pending entry that is no
//! longer in the stream is dropped instead, and logged in the same form: its replay finds no entry either.

use std::collections::BTreeMap;

use crate::codec::number::parse_i64;
use crate::resp::Encoder;
use crate::value::Stream;
use crate::value::stream::{Group, Pending, StreamId};

use super::super::{CommandError, Context, Outcome, args};
use super::{Claim, INVALID_ID, Member, look, no_group, parse_id, parse_start, reply_entry, reply_id};

/// XAUTOCLAIM looks at no more than this many pending entries for each that it may claim.
const ATTEMPTS: usize = 10;
/// Entries that XAUTOCLAIM claims without COUNT.
const USUAL_COUNT: usize = 100;
/// The servers' bound: 16 bytes for each must fit in memory.
const MOST_COUNT: i64 = i64::MAX / 16;

/// How entries are claimed.
#[derive(Clone, Copy)]
struct Terms {
    min_idle_ms: i64,
    delivery_ms: i64,
    retry_count: Option<u64>,
    force: bool,
    just_id: bool,
    last_id: Option<StreamId>,
}

/// What became of one entry.
enum Verdict {
    /// It is not pending, or was delivered too short a time ago.
    Passed,
    /// It was pending, but is no longer in the stream: its consumer and state as they were.
    Dropped {
        consumer: Vec<u8>,
        claim: Claim,
    },
    Claimed(Claim),
}

impl Terms {
    /// Decides over one entry. `stream` is a look at the state before, for the entry itself.
    fn judge(&self, stream: &Stream, group: &Group, id: StreamId, now: i64) -> Verdict {
        let pending = group.pending(id);
        let last_id = group.last_id();
        if !stream.contains(id) {
            return pending.map_or(Verdict::Passed, |pending| Verdict::Dropped {
                consumer: pending.consumer.to_vec(),
                claim: Claim { id, delivery_ms: pending.delivery_ms, count: pending.count, last_id },
            });
        }
        let before = match pending {
            Some(pending) if now.saturating_sub(pending.delivery_ms) < self.min_idle_ms => return Verdict::Passed,
            Some(pending) => pending.count,
            None if self.force => 1,
            None => return Verdict::Passed,
        };
        let count = self.retry_count.unwrap_or(if self.just_id { before } else { before.saturating_add(1) });
        Verdict::Claimed(Claim { id, delivery_ms: self.delivery_ms, count, last_id })
    }

    fn reply(&self, reply: &mut Encoder<'_>, stream: &Stream, id: StreamId) {
        match stream.get(id).filter(|_| !self.just_id) {
            Some(entry) => reply_entry(reply, &entry),
            None => reply_id(reply, id),
        };
    }
}

/// Puts verdicts into effect and logs them; returns how many changed something.
fn carry_out(context: &mut Context<'_>, member: Member<'_>, verdicts: &[Verdict]) -> Result<usize, CommandError> {
    let now = context.now_ms();
    let Some(group) = context.write_stream(member.key)?.and_then(|stream| stream.group_mut(member.group)) else {
        return Ok(0);
    };
    for verdict in verdicts {
        match verdict {
            Verdict::Passed => {}
            Verdict::Dropped { claim, .. } => {
                group.ack(claim.id);
            }
            Verdict::Claimed(Claim { id, delivery_ms, count, .. }) => {
                let (id, delivery_ms, count) = (*id, *delivery_ms, *count);
                group.deliver(Pending { id, consumer: member.consumer, delivery_ms, count });
                group.set_active(member.consumer, Some(now));
            }
        }
    }
    let mut effects = 0;
    for verdict in verdicts {
        match verdict {
            Verdict::Passed => continue,
            Verdict::Dropped { consumer, claim } => Member { consumer, ..member }.log_claim(context, *claim),
            Verdict::Claimed(claim) => member.log_claim(context, *claim),
        }
        effects += 1;
    }
    context.changed(effects);
    Ok(effects)
}

pub(super) fn xclaim(context: &mut Context<'_>) -> Outcome {
    let request = context.args;
    let member = Member { key: request[1], group: request[2], consumer: request[3] };
    require_group(context, member)?;
    let now = context.now_ms();
    let min_idle_ms = parse_min_idle(request[4], "XCLAIM")?;
    let ids: Vec<_> = request[5..].iter().map_while(|text| StreamId::parse(text, 0)).collect();
    let mut terms = parse_terms(&request[5 + ids.len()..], now)?;
    terms.min_idle_ms = min_idle_ms;
    let moved = move_group(context, member, terms.last_id)?;
    member.seen(context)?;
    let Some(stream) = look(context, member.key)? else { return Ok(context.reply.array(0)) };
    let mut verdicts = Vec::with_capacity(ids.len());
    let (start, mut claimed) = (context.reply.len(), 0);
    if let Some(group) = stream.group(member.group) {
        // An id that stands twice is claimed twice, so each is judged on what the one before has left.
        let mut judged: BTreeMap<StreamId, Option<Claim>> = BTreeMap::new();
        for id in ids {
            let verdict = match judged.get(&id) {
                Some(Some(before)) => terms.judge_again(*before, now),
                Some(None) => Verdict::Passed,
                None => terms.judge(&stream, group, id, now),
            };
            match &verdict {
                Verdict::Passed => {}
                Verdict::Dropped { .. } => drop(judged.insert(id, None)),
                Verdict::Claimed(claim) => {
                    judged.insert(id, Some(*claim));
                    terms.reply(&mut context.reply, &stream, id);
                    claimed += 1;
                }
            }
            verdicts.push(verdict);
        }
    }
    let reply = context.reply.array_since(start, claimed);
    drop(stream);
    if carry_out(context, member, &verdicts)? == 0 && moved {
        log_moved(context, member)?;
    }
    Ok(reply)
}

/// Moves the group on to `last_id` if that is further; true if it was.
fn move_group(context: &mut Context<'_>, member: Member<'_>, last_id: Option<StreamId>) -> Result<bool, CommandError> {
    let Some(last_id) = last_id else { return Ok(false) };
    match context.write_stream(member.key)?.and_then(|stream| stream.group_mut(member.group)) {
        Some(group) if group.last_id() < last_id => {
            group.set_last_id(last_id);
            Ok(true)
        }
        _ => Ok(false),
    }
}

fn log_moved(context: &mut Context<'_>, member: Member<'_>) -> Result<(), CommandError> {
    let position = context
        .read_stream(member.key)?
        .and_then(|stream| stream.group(member.group))
        .map(|group| (group.last_id(), group.entries_read()));
    if let Some((last_id, entries_read)) = position {
        context.changed(1);
        member.log_position(context, last_id, entries_read);
    }
    Ok(())
}

fn require_group(context: &mut Context<'_>, member: Member<'_>) -> Result<(), CommandError> {
    let exists = context.read_stream(member.key)?.is_some_and(|stream| stream.group(member.group).is_some());
    if exists { Ok(()) } else { Err(no_group(member.key, member.group, "")) }
}

fn parse_min_idle(text: &[u8], command: &str) -> Result<i64, CommandError> {
    let min_idle_ms = parse_i64(text).map(|min_idle_ms| min_idle_ms.max(0));
    min_idle_ms.ok_or_else(|| CommandError::err(format_args!("Invalid min-idle-time argument for {command}")))
}

/// Reads the options of XCLAIM.
fn parse_terms(mut rest: &[&[u8]], now: i64) -> Result<Terms, CommandError> {
    let mut terms =
        Terms { min_idle_ms: 0, delivery_ms: now, retry_count: None, force: false, just_id: false, last_id: None };
    while let [option, tail @ ..] = rest {
        rest = tail;
        if args::is(option, "FORCE") {
            terms.force = true;
        } else if args::is(option, "JUSTID") {
            terms.just_id = true;
        } else if let [value, tail @ ..] = tail {
            rest = tail;
            terms.take(option, value, now)?;
        } else {
            return Err(unrecognized(option));
        }
    }
    Ok(terms)
}

impl Terms {
    /// Takes an option that has a value.
    fn take(&mut self, option: &[u8], value: &[u8], now: i64) -> Result<(), CommandError> {
        let number = |name: &str| {
            parse_i64(value).ok_or_else(|| CommandError::err(format_args!("Invalid {name} option argument for XCLAIM")))
        };
        // A time that lies ahead, or before the epoch, is the present.
        let past = |time: i64| if (0..=now).contains(&time) { time } else { now };
        if args::is(option, "IDLE") {
            self.delivery_ms = past(now.saturating_sub(number("IDLE")?));
        } else if args::is(option, "TIME") {
            self.delivery_ms = past(number("TIME")?);
        } else if args::is(option, "RETRYCOUNT") {
            self.retry_count = u64::try_from(number("RETRYCOUNT")?).ok();
        } else if args::is(option, "LASTID") {
            self.last_id = Some(parse_id(value, 0)?);
        } else {
            return Err(unrecognized(option));
        }
        Ok(())
    }

    /// Decides over an entry that this command has just claimed.
    fn judge_again(&self, before: Claim, now: i64) -> Verdict {
        if now.saturating_sub(before.delivery_ms) < self.min_idle_ms {
            return Verdict::Passed;
        }
        let more = if self.just_id { before.count } else { before.count.saturating_add(1) };
        Verdict::Claimed(Claim { count: self.retry_count.unwrap_or(more), ..before })
    }
}

fn unrecognized(option: &[u8]) -> CommandError {
    CommandError::err(format_args!("Unrecognized XCLAIM option '{}'", args::printable(option)))
}

pub(super) fn xautoclaim(context: &mut Context<'_>) -> Outcome {
    let request = context.args;
    let member = Member { key: request[1], group: request[2], consumer: request[3] };
    let min_idle_ms = parse_min_idle(request[4], "XAUTOCLAIM")?;
    let first = parse_start(request[5])?;
    let (count, just_id) = parse_auto_options(&request[6..])?;
    require_group(context, member)?;
    member.seen(context)?;
    let now = context.now_ms();
    let terms = Terms { min_idle_ms, delivery_ms: now, retry_count: None, force: false, just_id, last_id: None };
    let Some(stream) = look(context, member.key)? else { return Err(INVALID_ID) };
    let Some(group) = stream.group(member.group) else { return Err(INVALID_ID) };
    let mut verdicts = Vec::new();
    let mut attempts = count.saturating_mul(ATTEMPTS);
    let mut pending = group.pending_from(first).map(|pending| pending.id);
    let mut next = pending.next();
    while let Some(id) = next.filter(|_| attempts > 0 && verdicts.len() < count) {
        attempts -= 1;
        match terms.judge(&stream, group, id, now) {
            Verdict::Passed => {}
            verdict => verdicts.push(verdict),
        }
        next = pending.next();
    }
    let reply = &mut context.reply;
    reply.array(3);
    reply_id(reply, next.unwrap_or(StreamId::MIN));
    let claimed = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Claimed(_))).count();
    reply.array(claimed);
    for verdict in &verdicts {
        if let Verdict::Claimed(claim) = verdict {
            terms.reply(reply, &stream, claim.id);
        }
    }
    let written = reply.array(verdicts.len() - claimed);
    for verdict in &verdicts {
        if let Verdict::Dropped { claim, .. } = verdict {
            reply_id(reply, claim.id);
        }
    }
    drop(pending);
    drop(stream);
    carry_out(context, member, &verdicts)?;
    Ok(written)
}

/// Reads `[COUNT n] [JUSTID]`.
fn parse_auto_options(mut rest: &[&[u8]]) -> Result<(usize, bool), CommandError> {
    let (mut count, mut just_id) = (USUAL_COUNT, false);
    while let [option, tail @ ..] = rest {
        match tail {
            [value, tail @ ..] if args::is(option, "COUNT") => {
                let wanted = parse_i64(value).filter(|wanted| (1..=MOST_COUNT).contains(wanted));
                count = wanted
                    .and_then(|wanted| usize::try_from(wanted).ok())
                    .ok_or_else(|| CommandError::err("COUNT must be > 0"))?;
                rest = tail;
            }
            tail if args::is(option, "JUSTID") => {
                just_id = true;
                rest = tail;
            }
            _ => return Err(CommandError::Syntax),
        }
    }
    Ok((count, just_id))
}
