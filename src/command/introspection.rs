//! COMMAND: the command table tells of itself. Everything here is a loop over its rows.

use smallvec::SmallVec;

use crate::codec::{glob, number};
use crate::resp::Reply;

use super::args::is;
use super::connection::help;
use super::spec::{
    CAT_CONNECTION, CATEGORY_NAMES, Command, FLAG_NAMES, Keys, LOADING, MOVABLE_KEYS, NO_KEYS, NO_MANDATORY_KEYS,
    READONLY, STALE, WRITE, command, container,
};
use super::{CommandError, Context, Outcome, hints, table};

pub const COMMANDS: &[Command] = &[Command {
    arity: -1,
    flags: LOADING | STALE,
    run: all_commands,
    ..container("command", CAT_CONNECTION, "2.8.13", SUBCOMMANDS)
}];

const SUBCOMMANDS: &[Command] = &[
    command("count", 2, LOADING | STALE, NO_KEYS, CAT_CONNECTION, "2.8.13", count),
    command("info", -2, LOADING | STALE, NO_KEYS, CAT_CONNECTION, "2.8.13", info),
    command("docs", -2, LOADING | STALE, NO_KEYS, CAT_CONNECTION, "7.0.0", docs),
    command("list", -2, LOADING | STALE, NO_KEYS, CAT_CONNECTION, "7.0.0", list),
    command("getkeys", -3, LOADING | STALE, NO_KEYS, CAT_CONNECTION, "2.8.13", getkeys),
    command("getkeysandflags", -3, LOADING | STALE, NO_KEYS, CAT_CONNECTION, "7.0.0", getkeysandflags),
    command("help", 2, LOADING | STALE, NO_KEYS, CAT_CONNECTION, "5.0.0", command_help),
];

/// A row with the name that it is called by: `get`, `client|list`.
struct Named {
    name: String,
    row: &'static Command,
}

impl Named {
    fn top(row: &'static Command) -> Self {
        Self { name: row.name.to_owned(), row }
    }

    fn sub(container: &'static Command, row: &'static Command) -> Self {
        Self { name: format!("{}|{}", container.name, row.name), row }
    }

    /// The row of `get` or `client|list`, in any case.
    fn find(name: &[u8]) -> Option<Self> {
        let mut parts = name.splitn(2, |byte| *byte == b'|');
        let container = table::find(parts.next()?)?;
        match parts.next() {
            None => Some(Self::top(container)),
            Some(name) => table::find_subcommand(container, name).map(|row| Self::sub(container, row)),
        }
    }

    fn subcommands(&self) -> impl ExactSizeIterator<Item = Self> {
        let container = self.row;
        container.subcommands.iter().map(move |row| Self::sub(container, row))
    }
}

/// All rows, subcommands behind their container.
pub(super) fn visit_rows(visit: &mut dyn FnMut(&str, &'static Command)) {
    for row in table::all() {
        let named = Named::top(row);
        visit(&named.name, row);
        named.subcommands().for_each(|sub| visit(&sub.name, sub.row));
    }
}

fn all_commands(context: &mut Context<'_>) -> Outcome {
    let reply = context.reply.array(table::all().count());
    table::all().for_each(|row| {
        describe(context, &Named::top(row));
    });
    Ok(reply)
}

fn count(context: &mut Context<'_>) -> Outcome {
    Ok(context.reply.count(table::all().count()))
}

fn info(context: &mut Context<'_>) -> Outcome {
    let names = &context.args[2..];
    if names.is_empty() {
        return all_commands(context);
    }
    let reply = context.reply.array(names.len());
    for name in names {
        match Named::find(name) {
            Some(named) => describe(context, &named),
            None => context.reply.null(),
        };
    }
    Ok(reply)
}

/// One command in the ten parts of COMMAND INFO: name, arity, flags, first key, last key, step, categories, tips, key
/// specifications, subcommands.
fn describe(context: &mut Context<'_>, named: &Named) -> Reply {
    let row = named.row;
    let reply = context.reply.array(10);
    context.reply.bulk(named.name.as_bytes());
    context.reply.int(i64::from(row.arity));
    let moves = matches!(row.keys, Keys::Counted { .. } | Keys::Found(_));
    words(context, FLAG_NAMES, row.flags | if moves { MOVABLE_KEYS } else { 0 }, "");
    for number in key_range(row.keys) {
        context.reply.int(number);
    }
    words(context, CATEGORY_NAMES, row.categories(), "@");
    let tips = hints::tips(&named.name);
    context.reply.set(tips.len());
    for tip in tips {
        context.reply.bulk(tip.as_bytes());
    }
    match key_specification(row.keys) {
        Some(specification) => {
            context.reply.set(1);
            specification.describe(context, &named.name);
        }
        None => {
            context.reply.set(0);
        }
    }
    context.reply.set(row.subcommands.len());
    for sub in named.subcommands() {
        describe(context, &sub);
    }
    reply
}

/// The words of the bits that are set, as a set of simple strings.
fn words(context: &mut Context<'_>, names: &[(u32, &str)], bits: u32, prefix: &str) {
    let chosen: Vec<&str> = names.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
    context.reply.set(chosen.len());
    for name in chosen {
        context.reply.simple(&format!("{prefix}{name}"));
    }
}

fn simple_words(context: &mut Context<'_>, words: &[&str]) {
    context.reply.set(words.len());
    for word in words {
        context.reply.simple(word);
    }
}

/// First key, last key and step, as far as three numbers can say it.
fn key_range(keys: Keys) -> [i64; 3] {
    let small = |value: usize| i64::try_from(value).unwrap_or(0);
    match keys {
        Keys::Range { first, last, step } => [small(first), i64::from(last), small(step)],
        Keys::Counted { also, .. } if also != 0 => [small(also), small(also), 1],
        Keys::FirstAnd(_) => [1, 1, 1],
        Keys::ShownAt(at, _) => [small(at), small(at), 1],
        Keys::None | Keys::Counted { .. } | Keys::Found(_) => [0, 0, 0],
    }
}

/// Where keys begin, and how many there are from there.
enum Specification {
    Range { index: usize, last: i32, step: usize },
    Counted { index: usize },
}

fn key_specification(keys: Keys) -> Option<Specification> {
    match keys {
        Keys::Range { first, last, step } => {
            let relative = if last < 0 { last } else { last - i32::try_from(first).unwrap_or(0) };
            Some(Specification::Range { index: first, last: relative, step })
        }
        Keys::FirstAnd(_) => Some(Specification::Range { index: 1, last: 0, step: 1 }),
        Keys::ShownAt(index, _) => Some(Specification::Range { index, last: 0, step: 1 }),
        Keys::Counted { count_at, .. } => Some(Specification::Counted { index: count_at }),
        Keys::None | Keys::Found(_) => None,
    }
}

impl Specification {
    fn describe(&self, context: &mut Context<'_>, name: &str) {
        context.reply.map(3);
        context.reply.bulk(b"flags");
        simple_words(context, &hints::key_flags(name, 0));
        let reply = &mut context.reply;
        reply.bulk(b"begin_search");
        let (Self::Range { index, .. } | Self::Counted { index }) = self;
        reply.map(2);
        reply.bulk(b"type");
        reply.bulk(b"index");
        reply.bulk(b"spec");
        reply.map(1);
        reply.bulk(b"index");
        reply.count(*index);
        reply.bulk(b"find_keys");
        reply.map(2);
        reply.bulk(b"type");
        match self {
            Self::Range { last, step, .. } => {
                reply.bulk(b"range");
                reply.bulk(b"spec");
                reply.map(3);
                reply.bulk(b"lastkey");
                reply.int(i64::from(*last));
                reply.bulk(b"keystep");
                reply.count(*step);
                reply.bulk(b"limit");
                reply.int(0);
            }
            Self::Counted { .. } => {
                reply.bulk(b"keynum");
                reply.bulk(b"spec");
                reply.map(3);
                reply.bulk(b"keynumidx");
                reply.int(0);
                reply.bulk(b"firstkey");
                reply.int(1);
                reply.bulk(b"keystep");
                reply.int(1);
            }
        }
    }
}

/// Without names: all commands.
fn docs(context: &mut Context<'_>) -> Outcome {
    let names = &context.args[2..];
    let found: Vec<Named> = match names {
        [] => table::all().map(Named::top).collect(),
        names => names.iter().filter_map(|name| Named::find(name)).collect(),
    };
    let reply = context.reply.map(found.len());
    for named in found {
        document(context, &named);
    }
    Ok(reply)
}

fn document(context: &mut Context<'_>, named: &Named) {
    context.reply.bulk(named.name.as_bytes());
    let subcommands = named.subcommands();
    context.reply.map(if subcommands.len() == 0 { 3 } else { 4 });
    let (usage, group) = (usage(named), group(named.row));
    for (field, text) in [("summary", usage.as_str()), ("since", named.row.since), ("group", group)] {
        context.reply.bulk(field.as_bytes());
        context.reply.bulk(text.as_bytes());
    }
    if subcommands.len() > 0 {
        context.reply.bulk(b"subcommands");
        context.reply.map(subcommands.len());
        subcommands.for_each(|sub| document(context, &sub));
    }
}

/// What the row can say in a sentence: how the command works on keys, and how many arguments it takes.
fn usage(named: &Named) -> String {
    let row = named.row;
    let words = named.name.split('|').count();
    let least = (row.arity.unsigned_abs() as usize).saturating_sub(words); // arities are small
    let quantity = if row.arity < 0 { "at least " } else { "" };
    let arguments = match least {
        0 if row.arity < 0 => "any number of arguments".to_owned(),
        0 => "no arguments".to_owned(),
        1 => format!("{quantity}1 argument"),
        many => format!("{quantity}{many} arguments"),
    };
    match row {
        row if !row.subcommands.is_empty() => "Has subcommands.".to_owned(),
        row if row.is(WRITE) => format!("Changes data; takes {arguments}."),
        row if row.is(READONLY) => format!("Reads data; takes {arguments}."),
        _ => format!("Takes {arguments}."),
    }
}

/// The group of the documentation, from the categories.
fn group(row: &Command) -> &'static str {
    const GROUPS: &[(&str, &str)] = &[
        ("string", "string"),
        ("bitmap", "bitmap"),
        ("hyperloglog", "hyperloglog"),
        ("geo", "geo"),
        ("stream", "stream"),
        ("list", "list"),
        ("set", "set"),
        ("sortedset", "sorted-set"),
        ("hash", "hash"),
        ("transaction", "transactions"),
        ("scripting", "scripting"),
        ("pubsub", "pubsub"),
        ("connection", "connection"),
        ("keyspace", "generic"),
    ];
    let has = |category: &str| CATEGORY_NAMES.iter().any(|(bit, name)| *name == category && row.acl & bit != 0);
    GROUPS.iter().find(|(category, _)| has(category)).map_or("server", |(_, group)| group)
}

/// Whether a row is wanted, by its full name and by itself.
type RowFilter = Box<dyn Fn(&str, &Command) -> bool>;

/// `LIST [FILTERBY MODULE name | ACLCAT category | PATTERN glob]`
fn list(context: &mut Context<'_>) -> Outcome {
    let keep: RowFilter = match context.args[2..] {
        [] => Box::new(|_, _| true),
        [filter, kind, _] if is(filter, "FILTERBY") && is(kind, "MODULE") => Box::new(|_, _| false),
        [filter, kind, category] if is(filter, "FILTERBY") && is(kind, "ACLCAT") => {
            let bit = category_bit(category).unwrap_or(0);
            Box::new(move |_, row| row.categories() & bit != 0)
        }
        [filter, kind, pattern] if is(filter, "FILTERBY") && is(kind, "PATTERN") => {
            let pattern = pattern.to_vec();
            Box::new(move |name, _| glob::matches_ignoring_case(&pattern, name.as_bytes()))
        }
        _ => return Err(CommandError::Syntax),
    };
    let mut names = Vec::new();
    visit_rows(&mut |name, row| {
        if keep(name, row) {
            names.push(name.to_owned());
        }
    });
    let reply = context.reply.array(names.len());
    for name in names {
        context.reply.bulk(name.as_bytes());
    }
    Ok(reply)
}

/// The bit of a category's name, in any case.
pub(super) fn category_bit(name: &[u8]) -> Option<u32> {
    CATEGORY_NAMES.iter().find(|(_, known)| is(name, known)).map(|(bit, _)| *bit)
}

fn getkeys(context: &mut Context<'_>) -> Outcome {
    let (_, keys) = keys_of(context)?;
    let reply = context.reply.array(keys.len());
    for key in keys {
        context.reply.bulk(key);
    }
    Ok(reply)
}

fn getkeysandflags(context: &mut Context<'_>) -> Outcome {
    let (name, keys) = keys_of(context)?;
    let request = &context.args[2..];
    let reply = context.reply.array(keys.len());
    for (nth, key) in keys.into_iter().enumerate() {
        context.reply.array(2);
        context.reply.bulk(key);
        simple_words(context, &hints::key_flags_of_request(&name, nth, request));
    }
    Ok(reply)
}

/// The full name of the command that stands behind COMMAND GETKEYS, and its keys.
fn keys_of<'a>(context: &Context<'a>) -> Result<(String, Vec<&'a [u8]>), CommandError> {
    let request = &context.args[2..];
    let unknown = || CommandError::err("Invalid command specified");
    let top = table::find(request[0]).ok_or_else(unknown)?;
    let named = match request.get(1) {
        Some(name) if !top.subcommands.is_empty() => {
            Named::sub(top, table::find_subcommand(top, name).ok_or_else(unknown)?)
        }
        _ => Named::top(top),
    };
    if matches!(named.row.keys, Keys::None) || hints::has_no_keys(&named.name) {
        return Err(CommandError::err("The command has no key arguments"));
    }
    if !named.row.accepts(request.len()) {
        return Err(CommandError::err("Invalid number of arguments specified for command"));
    }
    let has_count = match named.row.keys {
        Keys::Counted { count_at, .. } => {
            let most = request.len().saturating_sub(count_at + 1);
            number::parse_u64(request[count_at]).is_some_and(|count| (1..=most as u64).contains(&count))
        }
        _ => true,
    };
    let positions = if has_count { named.row.key_positions(request) } else { SmallVec::new() };
    // A script need not have keys.
    if positions.is_empty() && !named.row.is(NO_MANDATORY_KEYS) {
        return Err(CommandError::err("Invalid arguments specified for command"));
    }
    Ok((named.name, positions.into_iter().map(|position| request[position]).collect()))
}

fn command_help(context: &mut Context<'_>) -> Outcome {
    Ok(help(
        context,
        "COMMAND",
        &[
            ("(no subcommand)", "Return details about all commands."),
            ("COUNT", "Return the total number of commands in this server."),
            ("LIST [FILTERBY (MODULE <name>|ACLCAT <category>|PATTERN <pattern>)]", "Return the names of commands."),
            ("INFO [<command-name> ...]", "Return details about the commands, all of them if no names are given."),
            ("DOCS [<command-name> ...]", "Return documentation about the commands."),
            ("GETKEYS <full-command>", "Return the keys from a full command."),
            ("GETKEYSANDFLAGS <full-command>", "Return the keys and the access flags from a full command."),
        ],
    ))
}

#[cfg(test)]
mod tests {
    use super::super::console::{Console, assert_rows_are_those_of_redis};
    use super::*;

    #[test]
    fn the_rows_are_those_of_redis() {
        assert_rows_are_those_of_redis(super::COMMANDS);
    }

    #[test]
    fn the_subcommands_are_those_of_redis() {
        // What only Valkey has is as it has it.
        let texts = [
            include_str!("../../testdata/reference/redis-8.0.6.commands.json"),
            include_str!("../../testdata/reference/valkey-9.1.2.commands.json"),
        ];
        let references = texts.map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap());
        for name in
            ["acl", "client", "cluster", "command", "commandlog", "config", "latency", "memory", "module", "slowlog"]
        {
            let container = table::find(name.as_bytes()).unwrap();
            for sub in Named::top(container).subcommands() {
                let rows = references.iter().map(|commands| &commands[name]["subcommands"][&sub.name]);
                let expected = rows.into_iter().find(|row| !row.is_null()).expect("one of both has it");
                assert_eq!(expected["arity"], i64::from(sub.row.arity), "arity of {}", sub.name);
                let mut flags: Vec<&str> =
                    FLAG_NAMES.iter().filter(|(bit, _)| sub.row.is(*bit)).map(|(_, flag)| *flag).collect();
                flags.sort_unstable();
                assert_eq!(expected["flags"], serde_json::json!(flags), "flags of {}", sub.name);
                let categories = CATEGORY_NAMES.iter().filter(|(bit, _)| sub.row.categories() & bit != 0);
                let mut categories: Vec<String> = categories.map(|(_, name)| format!("@{name}")).collect();
                categories.sort_unstable();
                assert_eq!(expected["acl"], serde_json::json!(categories), "categories of {}", sub.name);
            }
        }
    }

    #[test]
    fn a_command_describes_itself_as_redis_does() {
        Console::new().script(
            "command info get => *1 *10 get :2 ~2 +readonly +fast :1 :1 :1 ~3 +@read +@string +@fast ~0 ~1 %3 flags ~2 \
             +RO +access begin_search %2 type index spec %1 index :1 find_keys %2 type range spec %3 lastkey :0 \
             keystep :1 limit :0 ~0
             command info nosuch => *1 _
             command info config|get => *1 *10 config|get :-3 ~4 +admin +noscript +loading +stale :0 :0 :0 ~3 +@admin \
             +@slow +@dangerous ~0 ~0 ~0",
        );
    }

    #[test]
    fn keys_of_a_request_are_found() {
        Console::new().script(
            "command getkeys mset a b c d => *2 a c
             command getkeys get => -ERR Invalid number of arguments specified for command
             command getkeys foo => -ERR Invalid command specified
             command getkeys ping => -ERR The command has no key arguments
             command getkeys object encoding a => *1 a
             command getkeysandflags get a => *1 *2 a ~2 +RO +access",
        );
    }

    #[test]
    fn lists_are_narrowed() {
        Console::new().script(
            "command list filterby pattern CONFIG|GE* => *1 config|get
             command list filterby aclcat nosuch => *0
             command list filterby module x => *0
             command list filterby foo bar => -ERR syntax error
             command list filterby pattern get => *1 get",
        );
    }

    #[test]
    fn every_row_is_described_and_documented() {
        let mut console = Console::new();
        let count = table::all().count();
        assert_eq!(console.run("command count"), format!(":{count}"));
        assert!(console.run("command").starts_with(&format!("*{count} *10 ")));
        assert!(console.run("command docs").starts_with(&format!("%{count} ")));
        assert_eq!(
            console.run("command docs get nosuch"),
            "%1 get %3 summary Reads data; takes 1 argument. since 1.0.0 group string"
        );
    }
}
