//! DEBUG, for tests and for those who know what they do: allowed by `enable-debug-command`.

use std::ops::RangeInclusive;

use sha1::{Digest, Sha1};

use crate::codec::number;
use crate::engine::jobs::{Blocking, run_blocking};
use crate::engine::params::Permission;
use crate::engine::{Engine, Session};
use crate::keyspace::View;
use crate::value::{ArrayItem, Element, Object};

use super::acl::unknown_or_wrong;
use super::args::{self, is};
use super::spec::{ADMIN, CAT_ADMIN, Command, LOADING, NO_KEYS, NOSCRIPT, PROTECTED, STALE, command};
use super::{CommandError, Context, Outcome};

pub const COMMANDS: &[Command] =
    &[command("debug", -2, ADMIN | NOSCRIPT | LOADING | STALE | PROTECTED, NO_KEYS, CAT_ADMIN, "1.0.0", debug)];

/// Whether the configuration lets the client call it.
pub(super) fn check_allowed(engine: &Engine, session: &Session) -> Result<(), CommandError> {
    match engine.config.enable_debug_command {
        Permission::Yes => Ok(()),
        Permission::Local if session.is_local => Ok(()),
        Permission::Local | Permission::No => Err(CommandError::DebugNotAllowed),
    }
}

fn debug(context: &mut Context<'_>) -> Outcome {
    check_allowed(context.engine, context.session)?;
    let (name, count) = (context.args[1], context.args.len());
    let found = SUBCOMMANDS.iter().find(|(word, counts, _)| is(name, word) && counts.contains(&count));
    let (_, _, run) = found.ok_or_else(|| unknown_or_wrong(name, "DEBUG"))?;
    run(context)
}

/// With how many arguments each is called, DEBUG itself among them. No rows of the command table: COMMAND doesn't tell of
/// them.
type Subcommand = (&'static str, RangeInclusive<usize>, fn(&mut Context<'_>) -> Outcome);

const SUBCOMMANDS: &[Subcommand] = &[
    ("digest", 2..=2, digest),
    ("digest-value", 2..=usize::MAX, digest_value),
    ("reload", 2..=usize::MAX, reload),
    ("loadaof", 2..=usize::MAX, load_log),
    ("object", 3..=3, object),
    ("sleep", 3..=3, sleep),
    ("set-active-expire", 3..=3, set_active_expire),
    // Switches of the test suites of Redis that have nothing to switch here.
    ("quicklist-packed-threshold", 3..=3, ok),
    ("set-disable-deny-scripts", 3..=3, ok),
    ("change-repl-id", 2..=2, ok),
    ("log", 3..=3, ok),
    ("help", 2..=2, debug_help),
];

fn ok(context: &mut Context<'_>) -> Outcome {
    Ok(context.reply.ok())
}

fn sleep(_context: &mut Context<'_>) -> Outcome {
    Err(CommandError::err("DEBUG SLEEP is not built: it would stop the log with the clients"))
}

/// What is no number is 0, as with the real servers.
fn set_active_expire(context: &mut Context<'_>) -> Outcome {
    context.engine.is_active_expiry_on = args::int(context.args[2]).unwrap_or(0) != 0;
    Ok(context.reply.ok())
}

fn debug_help(context: &mut Context<'_>) -> Outcome {
    Ok(super::connection::help(
        context,
        "DEBUG",
        &[
            ("DIGEST", "Output a hex signature representing the current DB content."),
            ("DIGEST-VALUE <key> [<key> ...]", "Output a hex signature of the values of all the specified keys."),
            ("LOADAOF", "Flush the AOF buffers on disk and reload the AOF in memory."),
            ("OBJECT <key>", "Show low level info about `key` and associated value."),
            ("RELOAD [NOSAVE]", "Save the RDB on disk and reload it back to memory."),
        ],
    ))
}

fn reload(context: &mut Context<'_>) -> Outcome {
    let mut save_first = true;
    for option in &context.args[2..] {
        match option {
            option if is(option, "NOSAVE") => save_first = false,
            _ => return Err(CommandError::err("DEBUG RELOAD only supports the NOSAVE option")),
        }
    }
    match run_blocking(context.engine, Blocking::ReloadFromRdb { save_first }) {
        Ok(()) => Ok(context.reply.ok()),
        Err(_) => Err(CommandError::err("Error trying to load the RDB dump, check server logs.")),
    }
}

fn load_log(context: &mut Context<'_>) -> Outcome {
    match run_blocking(context.engine, Blocking::ReloadFromLog) {
        Ok(()) => Ok(context.reply.ok()),
        Err(_) => Err(CommandError::err("Error trying to load the AOF files, check server logs.")),
    }
}

fn object(context: &mut Context<'_>) -> Outcome {
    let key = context.args[2];
    let clock = context.engine.keyspace.access.clone();
    let db = context.db_mut();
    let entry = db.entry(key).ok_or(CommandError::NoSuchKey)?;
    let idle = clock.idle_seconds(entry.access);
    let (object, access, encoding) = (entry.value.to_object(), entry.access, entry.value.encoding());
    // A payload is the type, the value, a version and a checksum: 11 bytes beside the value as the RDB has it.
    let version = context.engine.rdb_version(crate::rdb::Version::needed(&object));
    let len = crate::rdb::dump::encode(&object, version).map_or(0, |payload| payload.len().saturating_sub(11));
    let text = format!(
        "Value at:0x0 refcount:1 encoding:{encoding} serializedlength:{len} lru:{access} lru_seconds_idle:{idle}"
    );
    Ok(context.reply.simple(&text))
}

/// 20 bytes that add up, in the way of Redis: equal data give equal digests, whatever the order of keys, members and
/// fields. Groups of streams, functions and times of expiry are not in it.
#[derive(Default, Clone, Copy)]
struct Signature([u8; 20]);

impl Signature {
    /// Adds data whose order among its neighbours does not matter.
    fn add(&mut self, data: &[u8]) {
        let hash = Sha1::digest(data);
        self.0.iter_mut().zip(hash).for_each(|(mine, other)| *mine ^= other);
    }

    /// Adds data whose order matters.
    fn mix(&mut self, data: &[u8]) {
        self.add(data);
        self.0 = Sha1::digest(self.0).into();
    }

    fn mix_element(&mut self, element: Element<'_>) {
        element.with(|bytes| self.mix(bytes));
    }

    fn add_all(&mut self, parts: &Signature) {
        self.add(&parts.0);
    }

    fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn digest(context: &mut Context<'_>) -> Outcome {
    let mut all = Signature::default();
    for index in 0..context.engine.keyspace.db_count() {
        let db = context.engine.keyspace.db(index);
        if db.is_empty() {
            continue;
        }
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        all.mix(&number.to_be_bytes());
        db.visit(&mut |entry| {
            let mut signature = Signature::default();
            signature.mix(entry.key);
            sign_value(&mut signature, entry.value, entry.expire_at_ms.is_some());
            all.add_all(&signature);
        });
    }
    Ok(context.reply.simple(&all.hex()))
}

fn digest_value(context: &mut Context<'_>) -> Outcome {
    let keys = &context.args[2..];
    let reply = context.reply.array(keys.len());
    for key in keys {
        let mut signature = Signature::default();
        let db = context.db_mut();
        if let Some(entry) = db.entry(key) {
            sign_value(&mut signature, entry.value, entry.expire_at_ms.is_some());
        }
        let hex = signature.hex();
        context.reply.simple(&hex);
    }
    Ok(reply)
}

fn sign_value(signature: &mut Signature, value: View<'_>, has_expiry: bool) {
    if let View::Compact(compact) = value {
        return sign_value(signature, View::Object(&compact.to_object()), has_expiry);
    }
    let type_number: u32 = match value {
        View::Object(Object::List(_)) => 1,
        View::Object(Object::Set(_)) => 2,
        View::Object(Object::Zset(_)) => 3,
        View::Object(Object::Hash(_)) => 4,
        View::Object(Object::Module(_)) => 5,
        View::Object(Object::Stream(_)) => 6,
        View::Object(Object::Array(_)) => 7,
        _ => 0,
    };
    signature.mix(&type_number.to_be_bytes());
    match value {
        View::Object(object) => sign_object(signature, object),
        other => other.string().into_iter().for_each(|string| signature.mix_element(string)),
    }
    if has_expiry {
        signature.add(b"!!expire!!");
    }
}

fn sign_object(signature: &mut Signature, object: &Object) {
    match object {
        Object::String(string) => signature.mix_element(string.element()),
        Object::List(list) => list.iter().for_each(|item| signature.mix_element(item)),
        Object::Set(set) => set.iter().for_each(|member| member.with(|bytes| signature.add(bytes))),
        Object::Hash(hash) => hash.iter().for_each(|(field, value, _)| {
            let mut pair = Signature::default();
            pair.mix_element(field);
            pair.mix_element(value);
            signature.add_all(&pair);
        }),
        Object::Zset(zset) => zset.iter().for_each(|(member, score)| {
            let mut pair = Signature::default();
            let mut text = Vec::new();
            number::write_f64_g17(&mut text, score);
            pair.mix_element(member);
            pair.mix(&text);
            signature.add_all(&pair);
        }),
        Object::Stream(stream) => sign_stream(signature, stream),
        Object::Module(module) => signature.mix(&module.raw),
        Object::Array(array) => array.iter().for_each(|(index, item)| sign_array_item(signature, index, item)),
    }
}

fn sign_array_item(signature: &mut Signature, index: u64, item: ArrayItem<'_>) {
    signature.mix(&index.to_be_bytes());
    match item {
        ArrayItem::String(text) | ArrayItem::SmallString(text) => signature.mix_element(text),
        ArrayItem::Int(value) => signature.mix(&value.to_be_bytes()),
        ArrayItem::Double(value) => signature.mix(&value.to_be_bytes()),
    }
}

fn sign_stream(signature: &mut Signature, stream: &crate::value::Stream) {
    use crate::value::stream::StreamId;
    for entry in stream.range(StreamId::MIN, StreamId::MAX) {
        signature.mix(format!("{}.{}", entry.id.ms, entry.id.seq).as_bytes());
        for (name, value) in entry.fields {
            signature.mix_element(name);
            signature.mix_element(value);
        }
    }
}
