//! Reading Rust as text, well enough for the rules of the house: comments and literals are blanked, what is left is
//! cut into words and signs, and paths are spelled out, those inside `use a::{b, c::d}` too. No type or macro is
//! resolved.

use std::path::Path;

/// A source file of the project.
pub struct Source {
    /// From the project's root, with slashes.
    pub path: String,
    pub text: String,
    /// The text with comments and the insides of literals blanked, line for line.
    pub code: String,
    is_test: bool,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let is_test = path.starts_with("tests/") || path.starts_with("benches/");
        Self { path: path.to_owned(), text: text.to_owned(), code: blank(text), is_test }
    }

    /// Whether the file lies in one of `places`: a folder ends with a slash, else it is a file.
    pub fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| if place.ends_with('/') { self.path.starts_with(place) } else { self.path == *place })
    }

    /// Whether all of it is compiled for tests only.
    pub fn is_test(&self) -> bool {
        self.is_test
    }

    /// The files of modules that are declared under `#[cfg(test)]`, in either place where they may lie.
    fn test_modules(&self) -> Vec<String> {
        let tokens: Vec<_> = tokens(&self.code).iter().map(|token| token.text).collect();
        let declaration = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
        let folder = self.path.trim_end_matches("/mod.rs").trim_end_matches("/lib.rs").trim_end_matches(".rs");
        let mut found = Vec::new();
        for window in tokens.windows(declaration.len() + 2) {
            if let Some([name, ";"]) = window.strip_prefix(&declaration) {
                found.push(format!("{folder}/{name}.rs"));
                found.push(format!("{folder}/{name}/mod.rs"));
            }
        }
        found
    }

    /// The folder of `src` that the file belongs to; `None` outside and for the files that hold the doors.
    pub fn layer(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        if matches!(inside, "lib.rs" | "main.rs") {
            return None;
        }
        Some(inside.split(['/', '.']).next().unwrap_or(inside))
    }

    /// The names of the modules down to this file.
    pub fn modules(&self) -> Vec<&str> {
        let inside = self.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        inside.split('/').collect()
    }

    /// The lines between `#[cfg(test)]` and the end of the block that follows it, counted from 1.
    pub fn test_lines(&self) -> Vec<std::ops::RangeInclusive<usize>> {
        let mut found = Vec::new();
        for (at, _) in self.code.match_indices("#[cfg(test)]") {
            if let Some(end) = block_end(&self.code, at) {
                found.push(line_at(&self.code, at)..=line_at(&self.code, end));
            }
        }
        found
    }
}

/// Every Rust file of the project, but what was built.
pub fn tree() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["src", "tools", "tests", "benches"] {
        collect(root, &root.join(folder), &mut found);
    }
    assert!(found.len() > 50, "the sources were not found in {}", root.display());
    mark_tests(found)
}

/// Finds out which files hold tests only, by how their parents declare them.
pub fn mark_tests(mut sources: Vec<Source>) -> Vec<Source> {
    let tests: Vec<String> = sources.iter().flat_map(Source::test_modules).collect();
    for source in &mut sources {
        source.is_test |= tests.contains(&source.path);
    }
    sources
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push(Source::new(path.strip_prefix(root).unwrap().to_str().unwrap(), &text));
        }
    }
}

/// The line, counted from 1, of a byte.
pub fn line_at(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// The end of the first `{...}` behind `from`; `None` where a `;` comes first or the file ends.
pub fn block_end(code: &str, from: usize) -> Option<usize> {
    let mut braces = 0usize;
    let mut brackets = 0usize;
    for (index, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => brackets += 1,
            b')' | b']' => brackets = brackets.saturating_sub(1),
            b';' if braces == 0 && brackets == 0 => return None,
            b'{' => braces += 1,
            b'}' => {
                braces = braces.checked_sub(1)?;
                if braces == 0 {
                    return Some(index);
                }
            }
            _ => {}
        }
    }
    None
}

/// A word or sign of the code; `::` is one.
pub struct Token<'a> {
    pub text: &'a str,
    pub at: usize,
}

/// Cuts blanked code into words and signs.
pub fn tokens(code: &str) -> Vec<Token<'_>> {
    let bytes = code.as_bytes();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let mut end = at + 1;
        if is_word(bytes[at]) {
            while end < bytes.len() && is_word(bytes[end]) {
                end += 1;
            }
        } else if code[at..].starts_with("::") {
            end = at + 2;
        }
        if !bytes[at].is_ascii_whitespace() {
            found.push(Token { text: &code[at..end], at });
        }
        at = end;
    }
    found
}

/// A path as it is named in the code, and where.
pub struct Named {
    pub parts: Vec<String>,
    pub line: usize,
}

impl Named {
    pub fn starts_with(&self, parts: &[&str]) -> bool {
        self.parts.len() >= parts.len() && self.parts.iter().zip(parts).all(|(a, b)| a == b)
    }

    pub fn contains(&self, parts: &[&str]) -> bool {
        self.parts.windows(parts.len()).any(|window| window.iter().zip(parts).all(|(a, b)| a == b))
    }
}

/// Every path of two parts or more.
pub fn paths(code: &str) -> Vec<Named> {
    let tokens = tokens(code);
    let (mut found, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let is_start = is_name(tokens[at].text) && (at == 0 || tokens[at - 1].text != "::");
        if is_start && tokens.get(at + 1).is_some_and(|next| next.text == "::") {
            at = spell(code, &tokens, at, &[], &mut found);
        } else {
            at += 1;
        }
    }
    found
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Spells out the path that begins at token `at`, behind `prefix`; returns the token behind it.
fn spell(code: &str, tokens: &[Token<'_>], mut at: usize, prefix: &[String], found: &mut Vec<Named>) -> usize {
    let mut parts = prefix.to_vec();
    let line = line_at(code, tokens[at].at);
    loop {
        match tokens.get(at) {
            Some(token) if is_name(token.text) || token.text == "*" => parts.push(token.text.to_owned()),
            Some(token) if token.text == "{" => return spell_group(code, tokens, at + 1, &parts, found),
            _ => break,
        }
        at += 1;
        if tokens.get(at).is_none_or(|token| token.text != "::") {
            break;
        }
        at += 1;
    }
    found.push(Named { parts, line });
    at
}

fn spell_group(code: &str, tokens: &[Token<'_>], mut at: usize, prefix: &[String], found: &mut Vec<Named>) -> usize {
    while let Some(token) = tokens.get(at) {
        match token.text {
            "}" => return at + 1,
            "," => at += 1,
            "as" => at += 2,
            text if is_name(text) || text == "*" => at = spell(code, tokens, at, prefix, found),
            _ => at += 1,
        }
    }
    at
}

/// Puts blanks in the place of comments and of what stands in literals; lines stay.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at).min(bytes.len());
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8(out).expect("whole literals and comments are blanked")
}

/// The end of the comment or literal at `at`; `at` itself where there is none.
fn literal_end(bytes: &[u8], at: usize) -> usize {
    let is_after_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    match &bytes[at..] {
        [b'/', b'/', ..] => at + bytes[at..].iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len() - at),
        [b'/', b'*', ..] => comment_end(bytes, at),
        [b'"', ..] => quoted_end(bytes, at + 1, b'"'),
        [b'r', b'"' | b'#', ..] if !is_after_word => raw_end(bytes, at + 1).unwrap_or(at),
        [b'b' | b'c', b'r', b'"' | b'#', ..] if !is_after_word => raw_end(bytes, at + 2).unwrap_or(at),
        // A lifetime has no closing quote behind one character.
        [b'\'', b'\\', ..] => quoted_end(bytes, at + 1, b'\''),
        [b'\'', first, ..] => {
            let end = at + 1 + char_len(*first);
            if bytes.get(end) == Some(&b'\'') { end + 1 } else { at }
        }
        _ => at,
    }
}

fn char_len(first: u8) -> usize {
    match first {
        0..0xC0 => 1,
        0xC0..0xE0 => 2,
        0xE0..0xF0 => 3,
        0xF0.. => 4,
    }
}

fn comment_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0usize;
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted_end(bytes: &[u8], mut at: usize, quote: u8) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of `#"..."#` from its first sign behind the `r`; `None` for a raw name.
fn raw_end(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at..].iter().take_while(|&&byte| byte == b'#').count();
    let start = at + hashes;
    if bytes.get(start) != Some(&b'"') {
        return None;
    }
    let closing: Vec<u8> = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
    let len = bytes[start + 1..].windows(closing.len()).position(|window| window == closing)?;
    Some(start + 1 + len + closing.len())
}
