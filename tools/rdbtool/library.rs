//! What the first line of a function library says of it: `#!<engine> name=<name>`.

/// The engine and the name of a library, as far as its code tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Library<'a> {
    pub engine: Option<&'a [u8]>,
    pub name: Option<&'a [u8]>,
}

impl<'a> Library<'a> {
    /// Reads the first line of `code`. The engine's name ends at the first space; the parameters are `key=value`.
    pub fn of(code: &'a [u8]) -> Library<'a> {
        let line = code.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let Some(line) = line.strip_prefix(b"#!") else { return Library::default() };
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let engine = words.next();
        let name = words.find_map(|word| word.strip_prefix(b"name="));
        Library { engine, name: name.map(unquoted) }
    }
}

fn unquoted(word: &[u8]) -> &[u8] {
    match word {
        [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] => inner,
        _ => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engine_and_name_come_from_the_first_line() {
        let library = Library::of(b"#!lua name=mylib\nredis.register_function('f', f)");
        assert_eq!(library, Library { engine: Some(b"lua"), name: Some(b"mylib") });
        assert_eq!(Library::of(b"return 1"), Library::default());
        assert_eq!(Library::of(b"#!js").name, None);
    }
}
