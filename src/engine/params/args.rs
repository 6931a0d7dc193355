//! The command line: `ironkeep [redis.conf] [-] [--directive value ...] [-]`, which is a configuration in words.
//!
//! It is not a set of flags, so no library for those reads it. A word behind `--name` belongs to that directive until
//! the next `--name`; the first one does so even when it begins with `--` (except behind `--save`, where nothing means
//! the empty list). `--name value` may also be one quoted word.

use std::path::PathBuf;

use crate::resp::request::split_words;

/// What a start of the server was asked to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Invocation {
    pub config_file: Option<PathBuf>,
    /// Whether `-` asks for directives on standard input.
    pub stdin: bool,
    /// Name and values of each directive, in order.
    pub directives: Vec<Vec<Vec<u8>>>,
}

/// The first meaning of a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    Run(Invocation),
    Version,
    Help,
    /// `--check-system`
    CheckSystem,
    /// `--test-memory`
    TestMemory,
}

/// Reads the arguments behind the program's name.
pub fn parse(arguments: &[Vec<u8>]) -> Request {
    match arguments {
        [flag, ..] if flag == b"-v" || flag == b"--version" => return Request::Version,
        [flag, ..] if flag == b"-h" || flag == b"--help" => return Request::Help,
        [flag] if flag == b"--check-system" => return Request::CheckSystem,
        [flag, ..] if flag == b"--test-memory" => return Request::TestMemory,
        _ => {}
    }
    let mut invocation = Invocation::default();
    let mut words = arguments.iter().enumerate();
    let last = arguments.len().saturating_sub(1);
    // A name has come and wants its first value, whatever that looks like.
    let mut wants_value = false;
    for (index, word) in words.by_ref() {
        if index == 0 && !word.starts_with(b"-") {
            invocation.config_file = Some(path(word));
        } else if word == b"-" && (index == 0 || index == last || invocation.is_first_option(index)) && !wants_value {
            invocation.stdin = true;
        } else if let (Some(name), false) = (word.strip_prefix(b"--"), wants_value) {
            wants_value = invocation.begin(name, arguments.get(index + 1));
        } else {
            invocation.add_value(word);
            wants_value = false;
        }
    }
    Request::Run(invocation)
}

impl Invocation {
    /// Whether the word at `index` stands right behind the configuration file.
    fn is_first_option(&self, index: usize) -> bool {
        index == 1 && self.config_file.is_some()
    }

    /// Starts a directive; whether it still wants its first value.
    fn begin(&mut self, name: &[u8], next: Option<&Vec<u8>>) -> bool {
        let mut words = split_words(name).unwrap_or_else(|| vec![name.to_vec()]);
        let complete = words.len() > 1;
        let is_save = words.first().is_some_and(|word| word.eq_ignore_ascii_case(b"save"));
        let clears = is_save && !complete && next.is_none_or(|next| next.starts_with(b"--"));
        if clears {
            words.push(Vec::new());
        }
        self.directives.push(words);
        !complete && !clears
    }

    fn add_value(&mut self, word: &[u8]) {
        match self.directives.last_mut() {
            Some(directive) => directive.push(word.to_vec()),
            // A stray word before any directive is reported as an unknown one.
            None => self.directives.push(vec![word.to_vec()]),
        }
    }
}

#[cfg(unix)]
fn path(word: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(word))
}

#[cfg(not(unix))]
fn path(word: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(word).into_owned())
}
