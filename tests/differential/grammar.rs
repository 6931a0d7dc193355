//! Requests that are well formed, made up by the lines of `testdata/differential/requests.txt`.
//!
//! ```text
//! WORD            itself
//! (a b|c)         one of several
//! [a b|c]         one of several, or nothing
//! X...            one to four times
//! <string>        a key that usually holds a string; <any> is a key of any type
//! <value> <member> <field> <number> <index> <float> <id> ...    see [`Grammar::hole`]
//! <pair:A:B>      <A> and <B>
//! ```

use fastrand::Rng;

/// A part of a line.
#[derive(Debug, Clone)]
enum Part {
    Word(String),
    Hole(String),
    /// Alternatives, of which none may be taken where it is optional.
    Choice {
        of: Vec<Vec<Part>>,
        is_optional: bool,
    },
    Repeated(Box<Part>),
}

/// All lines.
pub struct Grammar {
    lines: Vec<Vec<Part>>,
}

impl Grammar {
    pub fn new() -> Self {
        let text = include_str!("../../testdata/differential/requests.txt");
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(|line| {
            let mut rest = line;
            let parts = sequence(&mut rest);
            assert!(parts.len() == 1 && rest.is_empty(), "{line}: `{rest}` is left");
            parts.into_iter().next().unwrap()
        });
        Self { lines: lines.collect() }
    }

    /// The names of the commands.
    pub fn commands(&self) -> std::collections::BTreeSet<String> {
        let name = |line: &Vec<Part>| match &line[0] {
            Part::Word(word) => word.to_ascii_lowercase(),
            other => panic!("a line begins with a command's name, not {other:?}"),
        };
        self.lines.iter().map(name).collect()
    }

    /// A request of any line.
    pub fn request(&self, random: &mut Rng) -> Vec<String> {
        let mut words = Vec::new();
        fill(&self.lines[random.usize(..self.lines.len())], random, &mut words);
        words
    }
}

/// Alternatives up to the end of the text, or to the bracket that closes them.
fn sequence(rest: &mut &str) -> Vec<Vec<Part>> {
    let mut alternatives = vec![Vec::new()];
    loop {
        *rest = rest.trim_start_matches(' ');
        let Some(first) = rest.chars().next() else { return alternatives };
        let part = match first {
            ')' | ']' => return alternatives,
            '|' => {
                *rest = &rest[1..];
                alternatives.push(Vec::new());
                continue;
            }
            '(' | '[' => {
                *rest = &rest[1..];
                let of = sequence(rest);
                *rest = &rest[1..];
                Part::Choice { of, is_optional: first == '[' }
            }
            '<' => {
                let end = rest.find('>').expect("a hole is closed");
                let name = rest[1..end].to_owned();
                *rest = &rest[end + 1..];
                Part::Hole(name)
            }
            _ => {
                let ends = |letter: char| matches!(letter, ' ' | '|' | ')' | ']' | '<');
                let end = rest.find(ends).unwrap_or(rest.len());
                let word = rest[..end].to_owned();
                *rest = &rest[end..];
                Part::Word(word)
            }
        };
        let part = match rest.strip_prefix("...") {
            Some(behind) => {
                *rest = behind;
                Part::Repeated(Box::new(part))
            }
            None => part,
        };
        // `#<small>` and `<small>-*` are one word of the request.
        let is_joined = !rest.starts_with([' ', '|', ')', ']']) && !rest.is_empty();
        alternatives.last_mut().unwrap().push(part);
        if is_joined {
            alternatives.last_mut().unwrap().push(Part::Word("\u{1}".to_owned()));
        }
    }
}

fn fill(parts: &[Part], random: &mut Rng, words: &mut Vec<String>) {
    let mut joins = false;
    for part in parts {
        let start = words.len();
        match part {
            Part::Word(mark) if mark == "\u{1}" => {
                joins = true;
                continue;
            }
            Part::Word(word) => words.push(word.clone()),
            Part::Hole(name) => hole(name, random, words),
            Part::Choice { of, is_optional } => {
                if !is_optional || random.bool() {
                    fill(&of[random.usize(..of.len())], random, words);
                }
            }
            Part::Repeated(part) => {
                for _ in 0..random.usize(1..=4) {
                    fill(std::slice::from_ref(part), random, words);
                }
            }
        }
        if std::mem::take(&mut joins) && start > 0 && start < words.len() {
            let word = words.remove(start);
            words[start - 1].push_str(&word);
        }
    }
}

/// Keys usually are of the type that is meant, and sometimes of another.
fn key(prefix: &str, random: &mut Rng) -> String {
    const PREFIXES: [&str; 8] = ["s", "p", "l", "h", "e", "z", "g", "x"];
    let prefix = if prefix == "any" || random.u8(..100) < 4 { PREFIXES[random.usize(..8)] } else { prefix };
    format!("{prefix}{}", random.u8(..3))
}

fn pick(of: &[&str], random: &mut Rng) -> String {
    of[random.usize(..of.len())].to_owned()
}

fn value(random: &mut Rng) -> String {
    match random.u8(..12) {
        0 => "x".repeat(random.usize(..200)),
        1 => random.i64(..).to_string(),
        2 => (random.i64(-1000..1000) as f64 / 8.0).to_string(),
        3 => String::new(),
        4..=7 => random.u8(..20).to_string(),
        _ => pick(&["a", "b", "c", "abc", "hello world", "3.0e3", "-0", "007", "é\0ü", " 1"], random),
    }
}

fn hole(name: &str, random: &mut Rng, words: &mut Vec<String>) {
    if let Some(pair) = name.strip_prefix("pair:") {
        let (first, second) = pair.split_once(':').expect("a pair has two");
        hole(first, random, words);
        return hole(second, random, words);
    }
    if name == "place" {
        words.push((random.i32(-180_000..180_000) as f64 / 1000.0).to_string());
        return words.push((random.i32(-86_000..86_000) as f64 / 1000.0).to_string());
    }
    words.push(match name {
        "string" => key("s", random),
        "hll" => key("p", random),
        "list" => key("l", random),
        "hash" => key("h", random),
        "set" => key("e", random),
        "zset" => key("z", random),
        // All of one score, as what a range by names gives is not specified otherwise.
        "lexset" => format!("y{}", random.u8(..2)),
        "geo" => key("g", random),
        "stream" => key("x", random),
        "any" => key("any", random),
        "value" => value(random),
        "member" | "field" => match random.u8(..6) {
            0 => value(random),
            1 => format!("m{}", random.u8(..200)),
            _ => pick(&["a", "b", "c", "d", "1", "2", "3", "100"], random),
        },
        "number" => match random.u8(..8) {
            0 => random.i64(..).to_string(),
            1 => "9223372036854775807".to_owned(),
            _ => random.i32(-100..100).to_string(),
        },
        "index" => pick(&["0", "1", "2", "-1", "-2", "-3", "5", "-100", "100"], random),
        "small" => random.u8(..6).to_string(),
        "large" => random.u16(1..20_000).to_string(),
        "bit" => pick(&["0", "1", "7", "8", "9", "63", "100", "1000", "4000"], random),
        "float" => match random.u8(..8) {
            0 => pick(&["inf", "-inf", "1e300", "5e-324", "0.1"], random),
            1 => (random.i64(..) as f64 / 1e5).to_string(),
            _ => (f64::from(random.i32(-100..100)) / 4.0).to_string(),
        },
        // Nothing expires within a run, nor is any time told so exactly that two servers differ.
        "seconds" => random.u32(100_000..200_000).to_string(),
        "unix" => random.u32(2_000_000_000..2_100_000_000).to_string(),
        "score" => match random.u8(..6) {
            0 => pick(&["-inf", "+inf", "(0", "(-inf"], random),
            1 => format!("({}", random.i32(-30..30)),
            _ => (f64::from(random.i32(-60..60)) / 2.0).to_string(),
        },
        "lex" => pick(&["-", "+", "[a", "(a", "[b", "(c", "[1", "[m1", "(m5", "["], random),
        "id" => match random.u8(..4) {
            0 => format!("{}", random.u8(..30)),
            _ => format!("{}-{}", random.u8(..12), random.u8(..4)),
        },
        "range" => match random.u8(..4) {
            0 => pick(&["-", "+"], random),
            1 => format!("({}", random.u8(..12)),
            _ => random.u8(..12).to_string(),
        },
        "group" => pick(&["g1", "g2"], random),
        "consumer" => pick(&["c1", "c2", "c3"], random),
        "db" => pick(&["0", "0", "0", "1", "2"], random),
        "pattern" => pick(&["*", "s*", "?1", "[a-m]*", "m*", "nothing"], random),
        other => panic!("<{other}> is no hole"),
    });
}
