//! Typed settings and their canonical text, both ways.

use super::Peer;

/// A type that a field of [`super::Config`] may have.
pub trait Field {
    /// The canonical text, as CONFIG GET shows it.
    fn text(&self) -> Vec<u8>;
    /// Takes the value of a canonical text; the error is for the user.
    fn store(&mut self, canonical: &[u8]) -> Result<(), String>;
}

/// Declares an enum whose values are spelled by words; the first is what the blank form holds.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $list:ident { $( $(#[$variant_doc:meta])* $variant:ident = $word:literal, )* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub enum $name { #[default] $( $(#[$variant_doc])* $variant, )* }

        #[doc = concat!("The words of [`", stringify!($name), "`], in the order of its variants.")]
        pub const $list: &[&str] = &[$($word),*];

        impl $name {
            /// The word that spells it.
            pub fn word(self) -> &'static str {
                match self { $( Self::$variant => $word, )* }
            }
        }

        impl Field for $name {
            fn text(&self) -> Vec<u8> {
                self.word().as_bytes().to_vec()
            }

            fn store(&mut self, canonical: &[u8]) -> Result<(), String> {
                *self = match canonical {
                    $( word if word == $word.as_bytes() => Self::$variant, )*
                    _ => return Err("unknown word".to_owned()),
                };
                Ok(())
            }
        }
    };
}

words! {
    /// When the log is synced.
    AppendFsync, APPEND_FSYNC {
        Everysec = "everysec",
        Always = "always",
        No = "no",
    }
}

words! {
    /// The least severity that is logged.
    LogLevel, LOG_LEVELS {
        Debug = "debug",
        Verbose = "verbose",
        Notice = "notice",
        Warning = "warning",
        Nothing = "nothing",
    }
}

words! {
    /// Which keys give way when memory is full.
    EvictionPolicy, EVICTION_POLICIES {
        VolatileLru = "volatile-lru",
        VolatileLfu = "volatile-lfu",
        VolatileRandom = "volatile-random",
        VolatileTtl = "volatile-ttl",
        AllkeysLru = "allkeys-lru",
        AllkeysLfu = "allkeys-lfu",
        AllkeysRandom = "allkeys-random",
        NoEviction = "noeviction",
    }
}

impl EvictionPolicy {
    /// Whether only keys with an expiry may go.
    pub fn is_volatile(self) -> bool {
        matches!(self, Self::VolatileLru | Self::VolatileLfu | Self::VolatileRandom | Self::VolatileTtl)
    }

    /// Whether it goes by how often keys are used.
    pub fn is_lfu(self) -> bool {
        matches!(self, Self::VolatileLfu | Self::AllkeysLfu)
    }
}

words! {
    /// Who may use what is dangerous.
    Permission, PERMISSIONS {
        No = "no",
        Yes = "yes",
        Local = "local",
    }
}

words! {
    /// Whose RESTORE payloads are checked item by item.
    SanitizePayload, SANITIZE_PAYLOAD {
        No = "no",
        Yes = "yes",
        Clients = "clients",
    }
}

words! {
    /// The version that saved RDB files carry.
    RdbVersion, RDB_VERSIONS {
        /// 11, or the lowest above that holds the data: 12 where hash fields expire.
        Auto = "auto",
        /// What Redis 5.0 to 6.2 still read. Function libraries are beyond it: a save that has any fails.
        Rdb9 = "9",
        /// What Redis 7.0 still reads.
        Rdb10 = "10",
        Rdb11 = "11",
        Rdb12 = "12",
        /// What Redis 8.6, 8.8 and 8.10 read; nothing here needs the last.
        Rdb13 = "13",
        Rdb14 = "14",
        Rdb15 = "15",
        /// What Valkey 9 reads with hash field expiry.
        Valkey80 = "valkey-80",
    }
}

words! {
    /// How backups are read back.
    BackupVerify, BACKUP_VERIFY {
        Restore = "restore",
        Quick = "quick",
        None = "none",
    }
}

impl Permission {
    /// Whether it extends to this peer.
    pub fn allows(self, peer: Peer) -> bool {
        self == Self::Yes || (self == Self::Local && peer == Peer::Local)
    }
}

/// A snapshot is due when `changes` happened and more than `seconds` passed since the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavePoint {
    pub seconds: i64,
    pub changes: i64,
}

/// How a signal shuts the server down; none set is `default`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShutdownFlags {
    pub save: bool,
    pub nosave: bool,
    pub now: bool,
    pub force: bool,
}

/// The words of [`ShutdownFlags`].
pub const SHUTDOWN_FLAGS: &[&str] = &["default", "save", "nosave", "now", "force"];

impl Field for ShutdownFlags {
    fn text(&self) -> Vec<u8> {
        let flags = [(self.save, "save"), (self.nosave, "nosave"), (self.now, "now"), (self.force, "force")];
        let words: Vec<&str> = flags.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect();
        if words.is_empty() { b"default".to_vec() } else { words.join(" ").into_bytes() }
    }

    fn store(&mut self, canonical: &[u8]) -> Result<(), String> {
        let has = |word: &str| canonical.split(|byte| *byte == b' ').any(|item| item == word.as_bytes());
        *self = Self { save: has("save"), nosave: has("nosave"), now: has("now"), force: has("force") };
        Ok(())
    }
}

impl Field for Vec<SavePoint> {
    fn text(&self) -> Vec<u8> {
        let points: Vec<String> = self.iter().map(|point| format!("{} {}", point.seconds, point.changes)).collect();
        points.join(" ").into_bytes()
    }

    fn store(&mut self, canonical: &[u8]) -> Result<(), String> {
        let numbers: Option<Vec<i64>> =
            utf8(canonical)?.split_ascii_whitespace().map(|word| word.parse().ok()).collect();
        let numbers = numbers.ok_or("Invalid save parameters")?;
        *self = numbers.chunks_exact(2).map(|pair| SavePoint { seconds: pair[0], changes: pair[1] }).collect();
        Ok(())
    }
}

/// Permission bits of a file, spelled in octal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileMode(pub u32);

impl Field for FileMode {
    fn text(&self) -> Vec<u8> {
        format!("{:o}", self.0).into_bytes()
    }

    fn store(&mut self, canonical: &[u8]) -> Result<(), String> {
        let bits = u32::from_str_radix(utf8(canonical)?, 8);
        self.0 = bits.map_err(|_| "argument couldn't be parsed into an integer".to_owned())?;
        Ok(())
    }
}

impl Field for bool {
    fn text(&self) -> Vec<u8> {
        if *self { b"yes".to_vec() } else { b"no".to_vec() }
    }

    fn store(&mut self, canonical: &[u8]) -> Result<(), String> {
        *self = canonical == b"yes";
        Ok(())
    }
}

macro_rules! number_fields {
    ($($type:ty),*) => { $(
        impl Field for $type {
            fn text(&self) -> Vec<u8> {
                self.to_string().into_bytes()
            }

            fn store(&mut self, canonical: &[u8]) -> Result<(), String> {
                let parsed = utf8(canonical)?.parse();
                *self = parsed.map_err(|_| "argument couldn't be parsed into an integer".to_owned())?;
                Ok(())
            }
        }
    )* };
}

number_fields!(u16, u32, u64, usize, i64);

impl Field for String {
    fn text(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn store(&mut self, canonical: &[u8]) -> Result<(), String> {
        utf8(canonical)?.clone_into(self);
        Ok(())
    }
}

/// Bytes that need not be text, such as a password.
impl Field for Vec<u8> {
    fn text(&self) -> Vec<u8> {
        self.clone()
    }

    fn store(&mut self, canonical: &[u8]) -> Result<(), String> {
        *self = canonical.to_vec();
        Ok(())
    }
}

/// Words parted by blanks.
impl Field for Vec<String> {
    fn text(&self) -> Vec<u8> {
        self.join(" ").into_bytes()
    }

    fn store(&mut self, canonical: &[u8]) -> Result<(), String> {
        *self = utf8(canonical)?.split_ascii_whitespace().map(str::to_owned).collect();
        Ok(())
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| "argument must be UTF-8 text".to_owned())
}
/// `client-output-buffer-limit`; there are no replicas that its third class is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputLimits {
    text: String,
    pub normal: OutputLimit,
    /// Of clients with subscriptions.
    pub pubsub: OutputLimit,
}

/// What one client may leave unread: bytes, and for how long; 0 is without limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutputLimit {
    pub hard: usize,
    pub soft: usize,
    pub soft_seconds: i64,
}

impl Field for OutputLimits {
    fn text(&self) -> Vec<u8> {
        self.text.clone().into_bytes()
    }

    fn store(&mut self, canonical: &[u8]) -> Result<(), String> {
        let text = String::from_utf8_lossy(canonical).into_owned();
        let words: Vec<&str> = text.split(' ').collect();
        let number = |word: &str| word.parse::<i64>().map_err(|error| format!("{word}: {error}"));
        let bytes = |word: &str| number(word).map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let limit = |name: &str| -> Result<OutputLimit, String> {
            let class = words.chunks_exact(4).find(|class| class[0] == name);
            let class = class.ok_or_else(|| format!("no class {name}"))?;
            Ok(OutputLimit { hard: bytes(class[1])?, soft: bytes(class[2])?, soft_seconds: number(class[3])? })
        };
        (self.normal, self.pubsub) = (limit("normal")?, limit("pubsub")?);
        self.text = text;
        Ok(())
    }
}
