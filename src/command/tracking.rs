//! CLIENT TRACKING and its kin: what clients cache, and how they hear that it has changed.

use std::collections::BTreeSet;

use crate::engine::tracking::{Mode, Tracker};
use crate::engine::{Engine, Session};

use super::args::{self, is};
use super::spec::READONLY;
use super::{Command, CommandError, Context, Outcome, table};

/// A command of the client begins.
#[inline]
pub(super) fn begin(engine: &mut Engine, session: &Session) {
    if !engine.tracking.is_idle() {
        engine.tracking.begin(session.id);
    }
}

/// What the client has read is remembered, if it is to hear of it.
#[inline]
pub(super) fn remember(engine: &mut Engine, session: &Session, command: &Command, arguments: &[&[u8]]) {
    if !engine.tracking.is_idle() && command.is(READONLY) && engine.tracking.get(session.id).is_some() {
        for position in command.key_positions(arguments) {
            engine.tracking.read(session.id, arguments[position]);
        }
    }
}

/// CLIENT CACHING is for the next command, or the next transaction.
#[inline]
pub(super) fn end_cue(engine: &mut Engine, session: &Session, arguments: &[&[u8]]) {
    if engine.tracking.is_idle() || session.transaction.is_some() {
        return;
    }
    if let Some(tracker) = engine.tracking.get_mut(session.id).filter(|tracker| tracker.is_cued) {
        tracker.is_cued = table::find(arguments[0]).is_some_and(|command| command.name == "client");
    }
}

/// What TRACKING ON was given.
#[derive(Default)]
struct Options {
    redirect: u64,
    is_broadcast: bool,
    is_opt_in: bool,
    is_opt_out: bool,
    is_deaf_to_itself: bool,
    prefixes: Vec<Vec<u8>>,
}

impl Options {
    fn parse(engine: &Engine, mut rest: &[&[u8]]) -> Result<Self, CommandError> {
        let mut options = Self::default();
        while let [option, tail @ ..] = rest {
            rest = tail;
            match option.to_ascii_uppercase().as_slice() {
                b"REDIRECT" if !tail.is_empty() => {
                    if options.redirect != 0 {
                        return Err(CommandError::err("A client can only redirect to a single other client"));
                    }
                    let client = u64::try_from(args::int(tail[0])?).ok().filter(|&id| engine.clients.get(id).is_some());
                    let unknown = || CommandError::err("The client ID you want redirect to does not exist");
                    options.redirect = client.ok_or_else(unknown)?;
                    rest = &tail[1..];
                }
                b"PREFIX" if !tail.is_empty() => {
                    options.prefixes.push(tail[0].to_vec());
                    rest = &tail[1..];
                }
                b"BCAST" => options.is_broadcast = true,
                b"OPTIN" => options.is_opt_in = true,
                b"OPTOUT" => options.is_opt_out = true,
                b"NOLOOP" => options.is_deaf_to_itself = true,
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(options)
    }

    fn mode(&self) -> Mode {
        match (self.is_broadcast, self.is_opt_in, self.is_opt_out) {
            (true, ..) => Mode::Broadcast,
            (_, true, _) => Mode::OptIn,
            (_, _, true) => Mode::OptOut,
            _ => Mode::Reads,
        }
    }

    /// Refuses what does not go together, or with what is in force.
    fn check(&self, before: Option<&Tracker>) -> Result<(), CommandError> {
        if !self.prefixes.is_empty() && !self.is_broadcast {
            return Err(CommandError::err("PREFIX option requires BCAST mode to be enabled"));
        }
        if before.is_some_and(|before| (before.mode == Mode::Broadcast) != self.is_broadcast) {
            return Err(CommandError::err(
                "You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it \
                 with a different mode.",
            ));
        }
        if self.is_broadcast && (self.is_opt_in || self.is_opt_out) {
            return Err(CommandError::err("OPTIN and OPTOUT are not compatible with BCAST"));
        }
        if self.is_opt_in && self.is_opt_out {
            return Err(CommandError::err("You can't specify both OPTIN mode and OPTOUT mode"));
        }
        let is_other = |before: &Tracker| {
            (self.is_opt_in && before.mode == Mode::OptOut) || (self.is_opt_out && before.mode == Mode::OptIn)
        };
        if before.is_some_and(is_other) {
            return Err(CommandError::err(
                "You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it \
                 with a different mode.",
            ));
        }
        if self.is_broadcast { self.check_prefixes(before) } else { Ok(()) }
    }

    /// No prefix of a client may be the beginning of another, so that each change is told once.
    fn check_prefixes(&self, before: Option<&Tracker>) -> Result<(), CommandError> {
        let overlap = |one: &[u8], other: &[u8]| one.starts_with(other) || other.starts_with(one);
        let refuse = |one: &[u8], what: &str, other: &[u8]| {
            Err(CommandError::err(format!(
                "Prefix '{}' overlaps with {what} prefix '{}'. Prefixes for a single client must not overlap.",
                args::printable(one),
                args::printable(other)
            )))
        };
        for (at, prefix) in self.prefixes.iter().enumerate() {
            for known in before.into_iter().flat_map(|before| &before.prefixes) {
                if overlap(prefix, known) {
                    return refuse(prefix, "an existing", known);
                }
            }
            for other in &self.prefixes[at + 1..] {
                if overlap(prefix, other) {
                    return refuse(prefix, "another provided", other);
                }
            }
        }
        Ok(())
    }
}

/// `TRACKING ON|OFF [REDIRECT id] [PREFIX prefix ...] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]`
pub(super) fn tracking(context: &mut Context<'_>) -> Outcome {
    let client = context.session.id;
    let options = Options::parse(context.engine, &context.args[3..])?;
    match context.args[2] {
        mode if is(mode, "OFF") => context.engine.tracking.remove(client),
        mode if is(mode, "ON") => {
            let before = context.engine.tracking.get(client);
            options.check(before)?;
            let mode = options.mode();
            let mut prefixes = before.map(|before| before.prefixes.clone()).unwrap_or_default();
            prefixes.extend(options.prefixes);
            if mode == Mode::Broadcast && prefixes.is_empty() {
                prefixes = BTreeSet::from([Vec::new()]);
            }
            let tracker = Tracker {
                mode,
                protocol: context.session.protocol,
                redirect: options.redirect,
                is_deaf_to_itself: options.is_deaf_to_itself,
                is_cued: before.is_some_and(|before| before.is_cued),
                is_broken: false,
                prefixes,
            };
            context.engine.tracking.insert(client, tracker);
        }
        _ => return Err(CommandError::Syntax),
    }
    Ok(context.reply.ok())
}

/// `CACHING YES|NO`, in front of the command that it is about.
pub(super) fn caching(context: &mut Context<'_>) -> Outcome {
    let client = context.session.id;
    let Some(tracker) = context.engine.tracking.get_mut(client) else {
        return Err(CommandError::err(
            "CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ));
    };
    let wanted = match context.args[2] {
        answer if is(answer, "YES") => Mode::OptIn,
        answer if is(answer, "NO") => Mode::OptOut,
        _ => return Err(CommandError::Syntax),
    };
    if tracker.mode != wanted {
        return Err(CommandError::err(if wanted == Mode::OptIn {
            "CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode."
        } else {
            "CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."
        }));
    }
    tracker.is_cued = true;
    Ok(context.reply.ok())
}

pub(super) fn trackinginfo(context: &mut Context<'_>) -> Outcome {
    let tracker = context.engine.tracking.get(context.session.id);
    let mut flags = vec![if tracker.is_some() { "on" } else { "off" }];
    if let Some(tracker) = tracker {
        let (mode, cued) = match tracker.mode {
            Mode::Reads => (None, None),
            Mode::Broadcast => (Some("bcast"), None),
            Mode::OptIn => (Some("optin"), Some("caching-yes")),
            Mode::OptOut => (Some("optout"), Some("caching-no")),
        };
        flags.extend(mode.into_iter().chain(cued.filter(|_| tracker.is_cued)));
        flags.extend(tracker.is_deaf_to_itself.then_some("noloop"));
        flags.extend(tracker.is_broken.then_some("broken_redirect"));
    }
    let redirect = tracker.map_or(-1, |tracker| i64::try_from(tracker.redirect).unwrap_or(i64::MAX));
    let prefixes = tracker.map(|tracker| &tracker.prefixes);
    let reply = context.reply.map(3);
    context.reply.bulk(b"flags");
    context.reply.set(flags.len());
    for flag in flags {
        context.reply.bulk(flag.as_bytes());
    }
    context.reply.bulk(b"redirect");
    context.reply.int(redirect);
    context.reply.bulk(b"prefixes");
    context.reply.array(prefixes.map_or(0, BTreeSet::len));
    for prefix in prefixes.into_iter().flatten() {
        context.reply.bulk(prefix);
    }
    Ok(reply)
}

pub(super) fn getredir(context: &mut Context<'_>) -> Outcome {
    let tracker = context.engine.tracking.get(context.session.id);
    let redirect = tracker.map_or(-1, |tracker| i64::try_from(tracker.redirect).unwrap_or(i64::MAX));
    Ok(context.reply.int(redirect))
}
