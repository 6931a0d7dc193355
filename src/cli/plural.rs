//! Counts as people read them: `1 key`, `2 keys`, `0 entries`.

/// The count and its noun, which is given in the singular.
///
/// ```
/// use ironkeep::cli::plural::plural;
/// assert_eq!(plural(1, "key"), "1 key");
/// assert_eq!(plural(0, "function library"), "0 function libraries");
/// ```
pub fn plural(count: u64, noun: &str) -> String {
    match noun.strip_suffix('y') {
        _ if count == 1 => format!("1 {noun}"),
        Some(stem) if !stem.ends_with(['a', 'e', 'o']) => format!("{count} {stem}ies"),
        _ => format!("{count} {noun}s"),
    }
}
