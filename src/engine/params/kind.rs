//! Kinds of values: what may be typed, and the one canonical spelling that it gets.
//!
//! The sentences for the user are those of Redis 7 and 8, since clients and test rigs compare them.

use crate::codec::number;

/// What the words behind a directive's name must be.
#[derive(Clone, Copy)]
pub enum Kind {
    /// `yes` or `no`.
    Bool,
    /// A decimal integer within bounds.
    Integer { min: i64, max: i64 },
    /// A decimal integer; one beyond the bounds is taken as the bound.
    Clamped { min: i64, max: i64 },
    /// Permission bits in octal.
    Octal,
    /// A size within bounds: bytes, or a number with `b`, `k` (1000), `kb` (1024), `m`, `mb`, `g`, `gb`. Canonically
    /// in bytes.
    Memory { min: u64, max: u64 },
    /// A time within bounds: seconds, or a number with `s`, `m`, `h`, `d`. Canonically in seconds.
    Duration { max: u64 },
    /// A size, or a share of the memory limit as `5%`.
    MemoryOrPercent,
    /// One of these words.
    Word(&'static [&'static str]),
    /// One or more of these words.
    Words(&'static [&'static str]),
    /// Any single word.
    Text,
    /// A single word that this function accepts.
    Checked(fn(&[u8]) -> Result<(), &'static str>),
    /// One or more words for this function, which also sees the present canonical value.
    List(ListParser),
}

/// Makes the canonical value of the words and the present one.
pub type ListParser = fn(&[&[u8]], &[u8]) -> Result<Vec<u8>, String>;

impl Kind {
    /// The canonical value of `words`. A kind that takes lists splits a single word at its blanks, so that
    /// `--save "60 1"` and CONFIG SET work.
    pub fn canonical(self, words: &[&[u8]], present: &[u8]) -> Result<Vec<u8>, String> {
        if let Self::List(parse) = self {
            return parse(&split_single(words), present);
        }
        if let Self::Words(known) = self {
            return some_of(known, &split_single(words));
        }
        let [word] = words else {
            return Err("wrong number of arguments".to_owned());
        };
        match self {
            Self::Bool => yes_or_no(word),
            Self::Integer { min, max } => integer(word, min, max),
            Self::Clamped { min, max } => clamped(word, min, max),
            Self::Octal => octal(word),
            Self::Memory { min, max } => memory(word, min, max),
            Self::Duration { max } => duration(word, max),
            Self::MemoryOrPercent => memory_or_percent(word),
            Self::Word(known) => one_of(known, word),
            Self::Checked(check) => check(word).map(|()| word.to_vec()).map_err(str::to_owned),
            Self::Text | Self::Words(_) | Self::List(_) => Ok(word.to_vec()),
        }
    }
}

/// The bytes that a size spells, such as `64mb`; `None` where it is none or does not fit.
///
/// ```
/// use ironkeep::engine::params::kind::parse_memory;
/// assert_eq!(parse_memory(b"2k"), Some(2000));
/// assert_eq!(parse_memory(b"1GB"), Some(1 << 30));
/// assert_eq!(parse_memory(b"1 gb"), None);
/// ```
pub fn parse_memory(word: &[u8]) -> Option<u64> {
    let digits = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = word.split_at(digits);
    let unit: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    std::str::from_utf8(number).ok()?.parse::<u64>().ok()?.checked_mul(unit)
}

/// The seconds that a time spells, such as `90` or `7d`; `None` where it is none or does not fit.
///
/// ```
/// use ironkeep::engine::params::kind::parse_duration;
/// assert_eq!(parse_duration(b"90"), Some(90));
/// assert_eq!(parse_duration(b"1h"), Some(3600));
/// assert_eq!(parse_duration(b"1 h"), None);
/// ```
pub fn parse_duration(word: &[u8]) -> Option<u64> {
    let digits = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = word.split_at(digits);
    let unit: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"s" => 1,
        b"m" => 60,
        b"h" => 3600,
        b"d" => 86400,
        _ => return None,
    };
    std::str::from_utf8(number).ok()?.parse::<u64>().ok()?.checked_mul(unit)
}

fn split_single<'a>(words: &[&'a [u8]]) -> Vec<&'a [u8]> {
    match words {
        [single] if !single.is_empty() => single.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).collect(),
        _ => words.to_vec(),
    }
}

fn yes_or_no(word: &[u8]) -> Result<Vec<u8>, String> {
    match word.to_ascii_lowercase().as_slice() {
        b"yes" => Ok(b"yes".to_vec()),
        b"no" => Ok(b"no".to_vec()),
        _ => Err("argument must be 'yes' or 'no'".to_owned()),
    }
}

fn integer(word: &[u8], min: i64, max: i64) -> Result<Vec<u8>, String> {
    let value = number::parse_i64(word).ok_or("argument couldn't be parsed into an integer")?;
    if !(min..=max).contains(&value) {
        return Err(format!("argument must be between {min} and {max} inclusive"));
    }
    Ok(value.to_string().into_bytes())
}

fn clamped(word: &[u8], min: i64, max: i64) -> Result<Vec<u8>, String> {
    let value = number::parse_i64(word).ok_or("argument couldn't be parsed into an integer")?;
    Ok(value.clamp(min, max).to_string().into_bytes())
}

fn octal(word: &[u8]) -> Result<Vec<u8>, String> {
    let bits = std::str::from_utf8(word).ok().and_then(|text| u32::from_str_radix(text, 8).ok());
    match bits {
        Some(bits) if bits <= 0o777 => Ok(format!("{bits:o}").into_bytes()),
        Some(_) => Err("argument must be between 0 and 777 inclusive".to_owned()),
        None => Err("argument couldn't be parsed into an integer".to_owned()),
    }
}

fn duration(word: &[u8], max: u64) -> Result<Vec<u8>, String> {
    let value = parse_duration(word).ok_or("argument must be a time: seconds, or a number with s, m, h or d")?;
    if value > max {
        return Err(format!("argument must be between 0 and {max} seconds inclusive"));
    }
    Ok(value.to_string().into_bytes())
}

fn memory(word: &[u8], min: u64, max: u64) -> Result<Vec<u8>, String> {
    let value = parse_memory(word).ok_or("argument must be a memory value")?;
    if !(min..=max).contains(&value) {
        return Err(format!("argument must be between {min} and {max} inclusive"));
    }
    Ok(value.to_string().into_bytes())
}

fn memory_or_percent(word: &[u8]) -> Result<Vec<u8>, String> {
    let wrong = || "argument must be a memory or percent value".to_owned();
    match word.strip_suffix(b"%") {
        Some(percent) => {
            let percent = number::parse_u64(percent).ok_or_else(wrong)?;
            if percent > 100 {
                return Err("percentage argument must be less or equal to 100".to_owned());
            }
            Ok(format!("{percent}%").into_bytes())
        }
        None => Ok(parse_memory(word).ok_or_else(wrong)?.to_string().into_bytes()),
    }
}

fn one_of(known: &[&str], word: &[u8]) -> Result<Vec<u8>, String> {
    let found = known.iter().find(|candidate| word.eq_ignore_ascii_case(candidate.as_bytes()));
    found
        .map(|found| found.as_bytes().to_vec())
        .ok_or_else(|| format!("argument(s) must be one of the following: {}", known.join(", ")))
}

/// The words in the order of `known`, each once.
fn some_of(known: &[&str], words: &[&[u8]]) -> Result<Vec<u8>, String> {
    if words.is_empty() {
        return Err("wrong number of arguments".to_owned());
    }
    for word in words {
        one_of(known, word)?;
    }
    let given: Vec<&str> = known
        .iter()
        .filter(|candidate| words.iter().any(|word| word.eq_ignore_ascii_case(candidate.as_bytes())))
        .copied()
        .collect();
    if given.contains(&"save") && given.contains(&"nosave") {
        return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".to_owned());
    }
    let chosen: Vec<&str> = given.iter().filter(|word| given.len() == 1 || **word != "default").copied().collect();
    Ok(chosen.join(" ").into_bytes())
}

/// A file name that stays in its folder.
pub fn file_name(word: &[u8]) -> Result<(), &'static str> {
    if word.contains(&b'/') { Err("dbfilename can't be a path, just a filename") } else { Ok(()) }
}

/// The name of the log files: with what is put behind it still a file's, and in a manifest one line.
pub fn log_file_name(word: &[u8]) -> Result<(), &'static str> {
    match word {
        [] => Err("appendfilename can't be empty"),
        word if word.contains(&b'/') => Err("appendfilename can't be a path, just a filename"),
        word if word.len() > 200 => Err("appendfilename can't be longer than 200 bytes"),
        word if word.iter().any(u8::is_ascii_control) => Err("appendfilename can't have control characters"),
        _ => Ok(()),
    }
}

/// The name of the log's folder.
pub fn log_folder_name(word: &[u8]) -> Result<(), &'static str> {
    match word {
        [] => Err("appenddirname can't be empty"),
        word if word.contains(&b'/') => Err("appenddirname can't be a path, just a dirname"),
        _ => Ok(()),
    }
}

/// Save points as pairs of seconds and changes; a single empty word is none.
pub fn save_points(words: &[&[u8]], _present: &[u8]) -> Result<Vec<u8>, String> {
    if matches!(words, [] | [b""]) {
        return Ok(Vec::new());
    }
    let numbers: Option<Vec<i64>> = words.iter().map(|word| number::parse_i64(word)).collect();
    let valid = numbers
        .filter(|numbers| numbers.len() % 2 == 0 && numbers.chunks_exact(2).all(|pair| pair[0] >= 1 && pair[1] >= 0));
    let numbers = valid.ok_or("Invalid save parameters")?;
    let texts: Vec<String> = numbers.iter().map(i64::to_string).collect();
    Ok(texts.join(" ").into_bytes())
}

/// Words that are kept as they are.
pub fn any_words(words: &[&[u8]], _present: &[u8]) -> Result<Vec<u8>, String> {
    Ok(words.join(&b' '))
}

/// `host port`, or `no one` for none, which is canonically empty.
pub fn replica_of(words: &[&[u8]], _present: &[u8]) -> Result<Vec<u8>, String> {
    match words {
        [b""] => Ok(Vec::new()),
        [no, one] if no.eq_ignore_ascii_case(b"no") && one.eq_ignore_ascii_case(b"one") => Ok(Vec::new()),
        [_, _] => Ok(words.join(&b' ')),
        _ => Err("wrong number of arguments".to_owned()),
    }
}

/// An ACL rule line. The one that says what is so anyway, as CONFIG REWRITE leaves it behind, is canonically empty.
pub fn user(words: &[&[u8]], _present: &[u8]) -> Result<Vec<u8>, String> {
    let harmless: &[&[u8]] =
        &[b"on", b"nopass", b"sanitize-payload", b"~*", b"&*", b"+@all", b"allkeys", b"allchannels", b"allcommands"];
    match words {
        [b"default", rules @ ..] if rules.contains(&&b"on"[..]) && rules.iter().all(|rule| harmless.contains(rule)) => {
            Ok(Vec::new())
        }
        _ => Ok(words.join(&b' ')),
    }
}

/// Process badness for the kernel's killer: three numbers.
pub fn oom_values(words: &[&[u8]], _present: &[u8]) -> Result<Vec<u8>, String> {
    if words.len() != 3 {
        return Err("wrong number of arguments".to_owned());
    }
    let numbers: Option<Vec<i64>> =
        words.iter().map(|word| number::parse_i64(word).filter(|value| (-2000..=2000).contains(value))).collect();
    let numbers = numbers.ok_or("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")?;
    Ok(numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(" ").into_bytes())
}

/// Percentiles between 0 and 100, or none.
pub fn percentiles(words: &[&[u8]], _present: &[u8]) -> Result<Vec<u8>, String> {
    if matches!(words, [b""]) {
        return Ok(Vec::new());
    }
    let mut canonical = Vec::new();
    for word in words {
        let value = number::parse_f64(word).filter(|value| (0.0..=100.0).contains(value));
        let value = value.ok_or("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]")?;
        if !canonical.is_empty() {
            canonical.push(b' ');
        }
        number::write_f64(&mut canonical, value);
    }
    Ok(canonical)
}

/// The letters of keyspace events, in the order in which Redis 8 shows them; `A` stands for the classes but `n`.
pub fn keyspace_events(words: &[&[u8]], _present: &[u8]) -> Result<Vec<u8>, String> {
    use crate::engine::notify::ALL;
    const OTHERS: &[u8] = b"nKEm";
    let letters = words.concat();
    if !letters.iter().all(|letter| *letter == b'A' || ALL.contains(letter) || OTHERS.contains(letter)) {
        return Err("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".to_owned());
    }
    let has = |letter: &u8| letters.contains(letter);
    let all = has(&b'A') || ALL.iter().all(has);
    let mut canonical = Vec::new();
    if all {
        canonical.push(b'A');
    } else {
        canonical.extend(ALL.iter().filter(|letter| has(letter)));
    }
    canonical.extend(OTHERS.iter().filter(|letter| has(letter)));
    Ok(canonical)
}

/// Limits of reply buffers: `class hard soft seconds` for one or more of normal, replica (or slave) and pubsub. Other
/// classes keep what they have.
pub fn output_limits(words: &[&[u8]], present: &[u8]) -> Result<Vec<u8>, String> {
    const CLASSES: [&str; 3] = ["normal", "slave", "pubsub"];
    if words.is_empty() || !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.".to_owned());
    }
    let present = String::from_utf8_lossy(present).into_owned();
    let mut parts: Vec<String> = present.split(' ').map(str::to_owned).collect();
    parts.resize(12, "0".to_owned());
    for limit in words.chunks_exact(4) {
        let class = match limit[0].to_ascii_lowercase().as_slice() {
            b"replica" => Some(1),
            name => CLASSES.iter().position(|class| class.as_bytes() == name),
        };
        let class = class.ok_or("Invalid client class specified in buffer limit configuration.")?;
        let wrong = "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
        let hard = parse_memory(limit[1]).ok_or(wrong)?;
        let soft = parse_memory(limit[2]).ok_or(wrong)?;
        let seconds = number::parse_u64(limit[3]).ok_or(wrong)?;
        let values = [CLASSES[class].to_owned(), hard.to_string(), soft.to_string(), seconds.to_string()];
        parts.splice(class * 4..class * 4 + 4, values);
    }
    Ok(parts.join(" ").into_bytes())
}
