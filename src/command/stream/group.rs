//! XGROUP: making, moving and removing groups and their consumers.

use crate::value::stream::{Group, StreamId};

use super::super::{CommandError, Context, Outcome, args};
use super::{no_group_for_key, parse_id, reply_help};

const NEEDS_KEY: CommandError = CommandError::text(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option \
     to create an empty stream automatically.",
);

/// Options of XGROUP CREATE and SETID.
#[derive(Default)]
struct Options {
    make_stream: bool,
    entries_read: Option<u64>,
}

impl Options {
    fn parse(request: &[&[u8]], may_make: bool) -> Result<Self, CommandError> {
        let mut rest = &request[5..];
        let mut options = Self::default();
        while let [option, tail @ ..] = rest {
            match tail {
                [value, tail @ ..] if args::is(option, "ENTRIESREAD") => {
                    options.entries_read = match args::int(value)? {
                        -1 => None,
                        count => Some(
                            u64::try_from(count)
                                .map_err(|_| CommandError::err("value for ENTRIESREAD must be positive or -1"))?,
                        ),
                    };
                    rest = tail;
                }
                tail if args::is(option, "MKSTREAM") && may_make => {
                    options.make_stream = true;
                    rest = tail;
                }
                _ => return Err(wrong_words(request[1])),
            }
        }
        Ok(options)
    }
}

fn wrong_words(subcommand: &[u8]) -> CommandError {
    CommandError::err(format_args!(
        "unknown subcommand or wrong number of arguments for '{}'. Try XGROUP HELP.",
        args::printable(subcommand)
    ))
}

/// `$`, the stream's last id, or an id.
fn parse_position(text: &[u8], last_id: StreamId) -> Result<StreamId, CommandError> {
    if text == b"$" { Ok(last_id) } else { parse_id(text, 0) }
}

/// The key's group, to be changed.
fn existing<'c>(context: &'c mut Context<'_>) -> Result<&'c mut Group, CommandError> {
    let (key, name) = (context.args[2], context.args[3]);
    let stream = context.write_stream(key)?.ok_or(NEEDS_KEY)?;
    stream.group_mut(name).ok_or_else(|| no_group_for_key(key, name))
}

/// Words of an XGROUP CREATE with all of its options.
const MOST_WORDS: usize = 8;

pub(super) fn create(context: &mut Context<'_>) -> Outcome {
    if context.args.len() > MOST_WORDS {
        return Err(wrong_words(context.args[1]));
    }
    let options = Options::parse(context.args, true)?;
    let (key, name) = (context.args[2], context.args[3]);
    let last_id = context.read_stream(key)?.map(|stream| stream.last_id());
    if last_id.is_none() && !options.make_stream {
        return Err(NEEDS_KEY);
    }
    let position = parse_position(context.args[4], last_id.unwrap_or(StreamId::MIN))?;
    if !context.create_stream(key)?.create_group(name, Group::new(position, options.entries_read)) {
        return Err(CommandError::text("BUSYGROUP Consumer Group name already exists"));
    }
    context.changed(1);
    Ok(context.reply.ok())
}

pub(super) fn setid(context: &mut Context<'_>) -> Outcome {
    let options = Options::parse(context.args, false)?;
    let last_id = context.read_stream(context.args[2])?.map_or(StreamId::MIN, |stream| stream.last_id());
    existing(context)?;
    let position = match context.args[4] {
        b"-" => StreamId::MIN,
        b"+" => StreamId::MAX,
        text => parse_position(text, last_id)?,
    };
    let group = existing(context)?;
    group.set_last_id(position);
    group.set_entries_read(options.entries_read);
    context.changed(1);
    Ok(context.reply.ok())
}

pub(super) fn destroy(context: &mut Context<'_>) -> Outcome {
    let (key, name) = (context.args[2], context.args[3]);
    let destroyed = context.write_stream(key)?.ok_or(NEEDS_KEY)?.destroy_group(name);
    context.changed(usize::from(destroyed));
    Ok(context.reply.int(i64::from(destroyed)))
}

pub(super) fn createconsumer(context: &mut Context<'_>) -> Outcome {
    let (now, name) = (context.now_ms(), context.args[4]);
    let created = existing(context)?.create_consumer(name, now);
    context.changed(usize::from(created));
    Ok(context.reply.int(i64::from(created)))
}

pub(super) fn delconsumer(context: &mut Context<'_>) -> Outcome {
    let name = context.args[4];
    let pending = existing(context)?.delete_consumer(name);
    context.changed(usize::from(pending.is_some()));
    Ok(context.reply.count(pending.unwrap_or(0)))
}

pub(super) fn help(context: &mut Context<'_>) -> Outcome {
    Ok(reply_help(&mut context.reply, HELP))
}

const HELP: &[&str] = &[
    "XGROUP <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CREATE <key> <groupname> <id|$> [option]",
    "    Create a new consumer group. Options are:",
    "    * MKSTREAM",
    "      Create the empty stream if it does not exist.",
    "    * ENTRIESREAD entries_read",
    "      Set the group's entries_read counter (internal use).",
    "CREATECONSUMER <key> <groupname> <consumer>",
    "    Create a new consumer in the specified group.",
    "DELCONSUMER <key> <groupname> <consumer>",
    "    Remove the specified consumer.",
    "DESTROY <key> <groupname>",
    "    Remove the specified group.",
    "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
    "    Set the current group ID and entries_read counter.",
    "HELP",
    "    Print this help.",
];
