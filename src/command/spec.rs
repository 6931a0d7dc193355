//! What a row of the command table says.

use super::{Context, Outcome};

/// A command, or a subcommand of one.
#[derive(Debug)]
pub struct Command {
    /// In lower case; of a subcommand, its own word only.
    pub name: &'static str,
    /// Arguments with the command's name (and the subcommand's); at least that many if negative.
    pub arity: i32,
    pub flags: u32,
    pub keys: Keys,
    /// Categories beyond those that follow from the flags.
    pub acl: u32,
    /// The first Redis version that had it.
    pub since: &'static str,
    pub run: fn(&mut Context<'_>) -> Outcome,
    pub subcommands: &'static [Command],
}

/// Where the keys stand among the arguments.
#[derive(Debug, Clone, Copy)]
pub enum Keys {
    None,
    /// From `first` to `last` (negative: from the end) in steps of `step`.
    Range {
        first: usize,
        last: i32,
        step: usize,
    },
    /// The argument at `count_at` says how many keys follow it; `also` is one more key in front, if not 0.
    Counted {
        count_at: usize,
        also: usize,
    },
    /// As the function says: the argument positions of the keys.
    Found(fn(&[&[u8]]) -> Vec<usize>),
    /// The first argument, and those that the function finds among the options.
    FirstAnd(fn(&[&[u8]]) -> Vec<usize>),
    /// As the function says, usually at this position.
    ShownAt(usize, fn(&[&[u8]]) -> Vec<usize>),
}

/// The first argument is the only key.
pub const ONE_KEY: Keys = Keys::Range { first: 1, last: 1, step: 1 };
/// The first two arguments are keys.
pub const TWO_KEYS: Keys = Keys::Range { first: 1, last: 2, step: 1 };
/// All arguments are keys.
pub const ALL_KEYS: Keys = Keys::Range { first: 1, last: -1, step: 1 };
/// All arguments are keys but the last, which is a timeout.
pub const ALL_KEYS_BUT_LAST: Keys = Keys::Range { first: 1, last: -2, step: 1 };
pub const NO_KEYS: Keys = Keys::None;

macro_rules! bits {
    ($(#[$outer:meta])* $names:ident: $($(#[$inner:meta])* $constant:ident = $name:literal,)*) => {
        bits!(@constants 0u32; $($(#[$inner])* $constant,)*);
        $(#[$outer])*
        pub const $names: &[(u32, &str)] = &[$(($constant, $name),)*];
    };
    (@constants $bit:expr; $(#[$inner:meta])* $constant:ident, $($rest:tt)*) => {
        $(#[$inner])*
        pub const $constant: u32 = 1 << ($bit);
        bits!(@constants $bit + 1; $($rest)*);
    };
    (@constants $bit:expr;) => {};
}

/// Changes nothing, but replicas hear of it: read-only scripts may not call it, and CLIENT PAUSE WRITE holds it. A flag that
/// no server shows.
pub const MAY_REPLICATE: u32 = 1 << 31;

/// Refused where the configuration does not allow it, at once also inside MULTI. A flag that no server shows.
pub const PROTECTED: u32 = 1 << 30;

bits! {
    /// Flags as COMMAND spells them.
    FLAG_NAMES:
    WRITE = "write",
    READONLY = "readonly",
    DENYOOM = "denyoom",
    ADMIN = "admin",
    PUBSUB = "pubsub",
    NOSCRIPT = "noscript",
    BLOCKING = "blocking",
    /// May be called while a file is being loaded.
    LOADING = "loading",
    STALE = "stale",
    SKIP_MONITOR = "skip_monitor",
    SKIP_SLOWLOG = "skip_slowlog",
    ASKING = "asking",
    FAST = "fast",
    /// May be called before AUTH.
    NO_AUTH = "no_auth",
    NO_ASYNC_LOADING = "no_async_loading",
    /// Not allowed inside MULTI.
    NO_MULTI = "no_multi",
    MOVABLE_KEYS = "movablekeys",
    ALLOW_BUSY = "allow_busy",
    NO_MANDATORY_KEYS = "no_mandatory_keys",
}

bits! {
    /// Categories as ACL CAT spells them.
    CATEGORY_NAMES:
    CAT_KEYSPACE = "keyspace",
    CAT_READ = "read",
    CAT_WRITE = "write",
    CAT_SET = "set",
    CAT_SORTEDSET = "sortedset",
    CAT_LIST = "list",
    CAT_HASH = "hash",
    CAT_STRING = "string",
    CAT_BITMAP = "bitmap",
    CAT_HYPERLOGLOG = "hyperloglog",
    CAT_GEO = "geo",
    CAT_STREAM = "stream",
    CAT_PUBSUB = "pubsub",
    CAT_ADMIN = "admin",
    CAT_FAST = "fast",
    CAT_SLOW = "slow",
    CAT_BLOCKING = "blocking",
    CAT_DANGEROUS = "dangerous",
    CAT_CONNECTION = "connection",
    CAT_TRANSACTION = "transaction",
    CAT_SCRIPTING = "scripting",
}

/// A row of the table.
pub const fn command(
    name: &'static str,
    arity: i32,
    flags: u32,
    keys: Keys,
    acl: u32,
    since: &'static str,
    run: fn(&mut Context<'_>) -> Outcome,
) -> Command {
    Command { name, arity, flags, keys, acl, since, run, subcommands: &[] }
}

/// A row whose second word chooses among subcommands.
pub const fn container(name: &'static str, acl: u32, since: &'static str, subcommands: &'static [Command]) -> Command {
    Command { name, arity: -2, flags: 0, keys: Keys::None, acl, since, run: super::execute::no_subcommand, subcommands }
}

impl Command {
    pub fn is(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Whether `count` arguments, the name among them, are as many as it wants.
    pub fn accepts(&self, count: usize) -> bool {
        let wanted = self.arity.unsigned_abs() as usize; // arities are small
        if self.arity < 0 { count >= wanted } else { count == wanted }
    }

    /// All categories, those that follow from the flags among them.
    pub fn categories(&self) -> u32 {
        let mut all = self.acl;
        for (flag, category) in [
            (WRITE, CAT_WRITE),
            (READONLY, if self.acl & CAT_SCRIPTING == 0 { CAT_READ } else { 0 }),
            (ADMIN, CAT_ADMIN | CAT_DANGEROUS),
            (FAST, CAT_FAST),
            (BLOCKING, CAT_BLOCKING),
            (PUBSUB, CAT_PUBSUB),
        ] {
            if self.is(flag) {
                all |= category;
            }
        }
        if all & CAT_FAST == 0 { all | CAT_SLOW } else { all }
    }

    /// Positions of the keys among `count` arguments, where these stand in a range; none else.
    pub fn plain_key_positions(&self, count: usize) -> impl Iterator<Item = usize> + use<> {
        let (first, behind, step) = match self.keys {
            Keys::Range { first, last, .. } if last < 0 && count < last.unsigned_abs() as usize => (first, first, 1),
            Keys::Range { first, last, step } if last < 0 => (first, count + 1 - last.unsigned_abs() as usize, step),
            Keys::Range { first, last, step } => (first, count.min(last.unsigned_abs() as usize + 1), step),
            _ => (0, 0, 1),
        };
        (first..behind.max(first)).step_by(step)
    }

    /// Positions of the keys among `arguments`.
    pub fn key_positions(&self, arguments: &[&[u8]]) -> smallvec::SmallVec<[usize; 8]> {
        let end = arguments.len();
        match self.keys {
            Keys::None => smallvec::SmallVec::new(),
            Keys::Range { first, last, step } => {
                let behind =
                    if last < 0 { end.saturating_sub(last.unsigned_abs() as usize - 1) } else { last as usize + 1 };
                (first..behind.min(end)).step_by(step).collect()
            }
            Keys::Counted { count_at, also } => {
                let count = arguments.get(count_at).and_then(|text| crate::codec::number::parse_u64(text)).unwrap_or(0);
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                let first = count_at + 1;
                let also = (also != 0 && also < end).then_some(also);
                also.into_iter().chain(first..first.saturating_add(count).min(end).max(first)).collect()
            }
            Keys::Found(find) | Keys::ShownAt(_, find) => find(arguments).into(),
            Keys::FirstAnd(find) => std::iter::once(1).chain(find(arguments)).collect(),
        }
    }
}
