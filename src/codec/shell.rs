//! Words of a shell line.

/// The text as one word, quoted where it has to be.
///
/// ```
/// use ironkeep::codec::shell::quote;
/// assert_eq!(quote("/data/dump.rdb"), "/data/dump.rdb");
/// assert_eq!(quote("it's here"), r"'it'\''s here'");
/// ```
pub fn quote(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@%,".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}
