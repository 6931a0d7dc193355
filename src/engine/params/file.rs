//! The grammar of redis.conf, and the order in which a server takes its settings.
//!
//! A line is a directive and its words, quoted as inline requests are; blank lines and those that begin with `#` are
//! nothing. `include` takes a path or a glob pattern, relative to the working directory: a pattern may match nothing,
//! a plain path must exist. The first `save` line replaces the default points, later ones add to them, `save ""`
//! clears; the command line starts over in the same way. What comes later wins: the file, then standard input, then
//! the command line.

use std::io;
use std::path::{Path, PathBuf};

use nom::bytes::complete::{tag, take_till};
use nom::character::complete::space0;
use nom::combinator::{opt, rest};
use nom::{IResult, Parser};

use super::Config;
use super::args::Invocation;
use super::table::{self, Row};
use crate::resp::request::split_words;

/// How deep files may include each other; a file that includes itself ends here.
const MAX_DEPTH: usize = 16;

/// Where the bytes come from. The engine opens no file itself.
pub struct Sources<'a> {
    /// The contents of a file.
    pub read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
    /// The paths that a glob pattern matches, in order.
    pub expand: &'a dyn Fn(&str) -> io::Result<Vec<PathBuf>>,
    /// All of standard input.
    pub stdin: &'a dyn Fn() -> io::Result<Vec<u8>>,
}

/// Why the settings can't be taken.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Laid out as Redis lays it out, with the file named behind the line.
    #[error(
        "\n*** FATAL CONFIG FILE ERROR (Ironkeep {version}) ***\nReading the configuration file, at line {line} of \
         {origin}\n>>> '{text}'\n{reason}",
        version = env!("CARGO_PKG_VERSION")
    )]
    Line { origin: String, line: usize, text: String, reason: String },
    #[error("Fatal error, can't open config file '{path}': {cause}", path = path.display())]
    Unreadable { path: PathBuf, cause: io::Error },
}

/// The settings that an invocation asks for.
pub fn load(invocation: &Invocation, sources: &Sources<'_>) -> Result<Config, LoadError> {
    let mut loader = Loader { config: Config::default(), sources, save_seen: false, depth: 0 };
    if let Some(path) = &invocation.config_file {
        loader.config.config_file = path.to_string_lossy().into_owned();
        loader.file(path)?;
    }
    if invocation.stdin {
        let text = (sources.stdin)().map_err(|cause| LoadError::Unreadable { path: PathBuf::from("-"), cause })?;
        loader.text(&text, "standard input")?;
    }
    loader.save_seen = false;
    for (index, words) in invocation.directives.iter().enumerate() {
        let position = Position { origin: "the command line", line: index + 1 };
        loader.directive(words, &quoted(words), position)?;
    }
    Ok(loader.config)
}

/// The settings that a file of this text asks for, with what it includes.
pub fn load_text(text: &[u8], sources: &Sources<'_>) -> Result<Config, LoadError> {
    let mut loader = Loader { config: Config::default(), sources, save_seen: false, depth: 0 };
    loader.text(text, "the configuration file")?;
    Ok(loader.config)
}

/// Where a directive stands, for errors.
#[derive(Clone, Copy)]
struct Position<'a> {
    origin: &'a str,
    line: usize,
}

impl Position<'_> {
    fn error(self, text: &str, reason: impl Into<String>) -> LoadError {
        let (origin, text) = (self.origin.to_owned(), text.to_owned());
        LoadError::Line { origin, line: self.line, text, reason: reason.into() }
    }
}

struct Loader<'a> {
    config: Config,
    sources: &'a Sources<'a>,
    /// Whether a `save` of this source has replaced what was before.
    save_seen: bool,
    depth: usize,
}

impl Loader<'_> {
    fn file(&mut self, path: &Path) -> Result<(), LoadError> {
        let unreadable = |cause| LoadError::Unreadable { path: path.to_path_buf(), cause };
        let text = (self.sources.read)(path).map_err(unreadable)?;
        self.text(&text, &path.to_string_lossy())
    }

    fn text(&mut self, text: &[u8], origin: &str) -> Result<(), LoadError> {
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let (_, content) = content(line).expect("the grammar of a line accepts any bytes");
            if content.is_empty() {
                continue;
            }
            let position = Position { origin, line: index + 1 };
            let shown = String::from_utf8_lossy(content);
            let words = split_words(content)
                .ok_or_else(|| position.error(&shown, "Unbalanced quotes in configuration line"))?;
            if !words.is_empty() {
                self.directive(&words, &shown, position)?;
            }
        }
        Ok(())
    }

    fn directive(&mut self, words: &[Vec<u8>], shown: &str, position: Position<'_>) -> Result<(), LoadError> {
        let Some((name, values)) = words.split_first() else {
            return Ok(());
        };
        if name.eq_ignore_ascii_case(b"include") {
            return self.include(values, shown, position);
        }
        let unknown = || position.error(shown, "Bad directive or wrong number of arguments");
        let row = table::find(name).ok_or_else(unknown)?;
        if values.is_empty() {
            return Err(position.error(shown, "wrong number of arguments"));
        }
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        self.assign(row, &values).map_err(|reason| position.error(shown, reason))
    }

    fn assign(&mut self, row: &'static Row, values: &[&[u8]]) -> Result<(), String> {
        if row.name != "save" {
            return self.config.assign(row, values);
        }
        if !self.save_seen {
            self.save_seen = true;
            self.config.save.clear();
        }
        let mut points = self.config.value_of(row);
        let added = row.kind.canonical(values, b"")?;
        if added.is_empty() || points.is_empty() {
            points = added;
        } else {
            points.push(b' ');
            points.extend(added);
        }
        self.config.assign(row, &[&points])
    }

    fn include(&mut self, values: &[Vec<u8>], shown: &str, position: Position<'_>) -> Result<(), LoadError> {
        let [path] = values else {
            return Err(position.error(shown, "wrong number of arguments"));
        };
        let path = std::str::from_utf8(path).map_err(|_| position.error(shown, "the path must be UTF-8 text"))?;
        if self.depth == MAX_DEPTH {
            return Err(position.error(shown, "includes are nested too deep; does a file include itself?"));
        }
        let paths = if path.contains(['*', '?', '[']) {
            (self.sources.expand)(path)
                .map_err(|cause| position.error(shown, format!("can't list '{path}': {cause}")))?
        } else {
            vec![PathBuf::from(path)]
        };
        self.depth += 1;
        for path in paths {
            self.file(&path).map_err(|error| match error {
                LoadError::Unreadable { path, cause } => {
                    position.error(shown, format!("Can't open config file '{}': {cause}", path.display()))
                }
                other => other,
            })?;
        }
        self.depth -= 1;
        Ok(())
    }
}

/// What a line says, without the blanks around it; nothing for a comment.
fn content(line: &[u8]) -> IResult<&[u8], &[u8]> {
    let (line, _) = space0(line)?;
    let (body, comment) = opt(tag(&b"#"[..])).parse(line)?;
    if comment.is_some() {
        return Ok((b"", b""));
    }
    let (_, body) = take_till(|byte| byte == b'\n').and_then(rest).parse(body)?;
    Ok((b"", body.trim_ascii()))
}

/// A directive as it would stand in a file.
fn quoted(words: &[Vec<u8>]) -> String {
    let mut line = String::new();
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            line.push_str(&format!(" \"{}\"", word.escape_ascii()));
        } else {
            line.push_str(&String::from_utf8_lossy(word));
        }
    }
    line
}
