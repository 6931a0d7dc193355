//! The first line of a script or library: whose language it is in, and what it may do.
//!
//! ```text
//! #!lua flags=no-writes,allow-oom
//! #!lua name=mylib
//! ```

/// What a script says of itself: bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u8);

impl Flags {
    /// It writes nothing.
    pub const NO_WRITES: Self = Self(1);
    /// It may run where memory is short.
    pub const ALLOW_OOM: Self = Self(2);
    pub const ALLOW_STALE: Self = Self(4);
    pub const NO_CLUSTER: Self = Self(8);
    pub const ALLOW_CROSS_SLOT_KEYS: Self = Self(16);

    const NAMES: [(Self, &'static str); 5] = [
        (Self::NO_WRITES, "no-writes"),
        (Self::ALLOW_OOM, "allow-oom"),
        (Self::ALLOW_STALE, "allow-stale"),
        (Self::NO_CLUSTER, "no-cluster"),
        (Self::ALLOW_CROSS_SLOT_KEYS, "allow-cross-slot-keys"),
    ];

    /// The flag of that name.
    pub fn named(name: &[u8]) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| known.as_bytes() == name).map(|(flag, _)| *flag)
    }

    pub fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    /// The names of those that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| name)
    }
}

impl std::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Why a name of a library or function is refused.
pub const BAD_NAME: &str =
    "Library names can only contain letters, numbers, or underscores(_) and must be at least one character long";

/// Whether a library or function may have this name.
pub fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Why the first line is refused. `Display` is the text behind `ERR `.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShebangError {
    #[error("Invalid script shebang")]
    NoEnd,
    #[error("Unexpected engine in script shebang: {0}")]
    ScriptEngine(String),
    #[error("Unknown lua shebang option: {0}")]
    Option(String),
    #[error("Unexpected flag in script shebang: {0}")]
    Flag(String),
    #[error("Missing library metadata")]
    Missing,
    #[error("Invalid library metadata")]
    NoLibraryEnd,
    #[error("Invalid metadata value given: {0}")]
    Metadata(String),
    #[error("Invalid metadata value, name argument was given multiple times")]
    TwoNames,
    #[error("Library name was not given")]
    NoName,
    #[error("{BAD_NAME}")]
    BadName,
    #[error("Engine '{0}' not found")]
    LibraryEngine(String),
}

/// The words of the first line, `#!` and all; and the code with its line end, so that lines keep their numbers.
fn split(code: &[u8]) -> Option<(Vec<String>, &[u8])> {
    let end = memchr::memchr(b'\n', code)?;
    let words = code[..end].split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
    Some((words.map(|word| String::from_utf8_lossy(word).into_owned()).collect(), &code[end..]))
}

/// Of a script: its flags, none if it does not begin with such a line; and the code.
pub fn of_script(code: &[u8]) -> Result<(Option<Flags>, &[u8]), ShebangError> {
    if !code.starts_with(b"#!") {
        return Ok((None, code));
    }
    let (words, body) = split(code).ok_or(ShebangError::NoEnd)?;
    let engine = words.first().cloned().unwrap_or_default();
    if engine != "#!lua" {
        return Err(ShebangError::ScriptEngine(engine));
    }
    let mut flags = Flags::default();
    for word in &words[1..] {
        let list = word.strip_prefix("flags=").ok_or_else(|| ShebangError::Option(word.clone()))?;
        for name in list.split(',').filter(|_| !list.is_empty()) {
            flags = flags | Flags::named(name.as_bytes()).ok_or_else(|| ShebangError::Flag(name.to_owned()))?;
        }
    }
    Ok((Some(flags), body))
}

/// Of a library: its name, and the code.
pub fn of_library(code: &[u8]) -> Result<(String, &[u8]), ShebangError> {
    if !code.starts_with(b"#!") {
        return Err(ShebangError::Missing);
    }
    let (words, body) = split(code).ok_or(ShebangError::NoLibraryEnd)?;
    let mut name = None;
    for word in &words[1.min(words.len())..] {
        let given = match word.get(..5) {
            Some(key) if key.eq_ignore_ascii_case("name=") => &word[5..],
            _ => return Err(ShebangError::Metadata(word.clone())),
        };
        if name.replace(given.to_owned()).is_some() {
            return Err(ShebangError::TwoNames);
        }
    }
    let name = name.ok_or(ShebangError::NoName)?;
    if !is_name(name.as_bytes()) {
        return Err(ShebangError::BadName);
    }
    let engine = words[0].trim_start_matches("#!");
    if !engine.eq_ignore_ascii_case("lua") {
        return Err(ShebangError::LibraryEngine(engine.to_owned()));
    }
    Ok((name, body))
}
