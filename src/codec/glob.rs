//! Glob patterns as KEYS, SCAN and CONFIG GET take them: `*`, `?`, `[a-c]`, `[^x]`, and `\` to quote.
//!
//! Matching never backtracks over more than the last star, so that no pattern takes more than
//! `pattern x text` steps.

/// Whether `text` matches the whole of `pattern`.
///
/// ```
/// use ironkeep::codec::glob::matches;
/// assert!(matches(b"h[a-e]llo*", b"hello world"));
/// assert!(!matches(b"h[^e]llo", b"hello"));
/// assert!(matches(br"\*", b"*"));
/// ```
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    matches_with(pattern, text, |byte| byte)
}

/// As [`matches`], without regard to ASCII case.
pub fn matches_ignoring_case(pattern: &[u8], text: &[u8]) -> bool {
    matches_with(pattern, text, |byte| byte.to_ascii_lowercase())
}

fn matches_with(pattern: &[u8], text: &[u8], fold: fn(u8) -> u8) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            star = Some((p, t));
            continue;
        }
        if t == text.len() {
            return pattern[p..].iter().all(|&byte| byte == b'*');
        }
        if let Some(width) = one(&pattern[p..], text[t], fold) {
            p += width;
            t += 1;
            continue;
        }
        match star {
            Some((after_star, consumed)) => {
                p = after_star;
                t = consumed + 1;
                star = Some((after_star, t));
            }
            None => return false,
        }
    }
}

/// How many pattern bytes match the single byte `subject`, if they do.
fn one(pattern: &[u8], subject: u8, fold: fn(u8) -> u8) -> Option<usize> {
    match *pattern.first()? {
        b'?' => Some(1),
        b'[' => class(pattern, fold(subject), fold),
        b'\\' if pattern.len() > 1 => (fold(pattern[1]) == fold(subject)).then_some(2),
        literal => (fold(literal) == fold(subject)).then_some(1),
    }
}

/// A bracket expression; one that is never closed reaches to the end of the pattern, as in Redis.
fn class(pattern: &[u8], subject: u8, fold: fn(u8) -> u8) -> Option<usize> {
    let mut at = 1;
    let negated = pattern.get(at) == Some(&b'^');
    at += usize::from(negated);
    let mut hit = false;
    loop {
        match *pattern.get(at..).unwrap_or_default() {
            [] => break,
            [b'\\', quoted, ..] => {
                hit |= fold(quoted) == subject;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [low, b'-', high, ..] => {
                let (low, high) = (fold(low.min(high)), fold(low.max(high)));
                hit |= (low..=high).contains(&subject);
                at += 3;
            }
            [literal, ..] => {
                hit |= fold(literal) == subject;
                at += 1;
            }
        }
    }
    (hit != negated).then_some(at.min(pattern.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_keys_does() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*b*c", "aXXbYYc", true),
            ("a*b*c", "aXXbYY", false),
            ("?", "", false),
            ("[abc", "b", true),
            ("[^a-c]x", "dx", true),
            ("[c-a]", "b", true),
            (r"[\]]", "]", true),
            ("a**b", "ab", true),
            ("*a", "aaaaaaaaab", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
        assert!(matches_ignoring_case(b"SAVE*", b"save"));
        assert!(!matches(b"SAVE*", b"save"));
    }
}
