//! Scripts of requests and replies, `testdata/commands/GROUP/NAME.txt`: read here, run in process by
//! `src/command/scripts.rs`, and against servers by `tests/commands.rs`.
//!
//! ```text
//! # a comment
//! > COMMAND ARGUMENT ...      quoted as in redis.conf; `~>` where the integers of the reply are not to be compared,
//!                             `?>` where nothing is but its kind: INFO, MEMORY STATS
//! REPLY                       what Redis 8.0 answers over RESP2: line ends as spaces, unprintable bytes as \xNN
//! 3: REPLY                    over RESP3, where it is another
//! valkey: REPLY               of Valkey 9.1, where it is another; `valkey 3:` over RESP3
//! ironkeep: REPLY             ours, where it is meant to be another; the comment in front says why
//! ```
//!
//! A script that begins with [`OVER_A_SOCKET`] is not run in process.

/// The first line of a script of what a session by itself cannot do: saves, messages to other clients.
#[allow(dead_code)] // for the one that runs scripts in process
pub const OVER_A_SOCKET: &str = "# Over a socket only.";

/// How much of a reply is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    All,
    AllButIntegers,
    Kind,
}

impl Compared {
    /// What stands in front of a request.
    pub fn mark(self) -> &'static str {
        match self {
            Compared::All => "> ",
            Compared::AllButIntegers => "~> ",
            Compared::Kind => "?> ",
        }
    }
}

/// One request, and what is answered.
#[derive(Debug)]
pub struct Step {
    /// The comments in front.
    #[allow(dead_code)] // for the one that writes scripts anew
    pub comments: Vec<String>,
    pub request: String,
    pub compared: Compared,
    /// Who answers (`""`, `"3"`, `"valkey"`, `"valkey 3"`, ...), and what.
    pub replies: Vec<(String, String)>,
}

/// Reads a script.
pub fn parse(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut comments = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let marks = [Compared::All, Compared::AllButIntegers, Compared::Kind];
        let request = marks.iter().find_map(|compared| Some((line.strip_prefix(compared.mark())?, *compared)));
        if line.starts_with('#') {
            comments.push(line.to_owned());
        } else if let Some((request, compared)) = request {
            let comments = std::mem::take(&mut comments);
            steps.push(Step { comments, request: request.to_owned(), compared, replies: Vec::new() });
        } else {
            let step = steps.last_mut().expect("a reply follows a request");
            let who = ["3", "valkey", "valkey 3", "ironkeep", "ironkeep 3"];
            let marked = who.iter().find_map(|who| Some((*who, line.strip_prefix(who)?.strip_prefix(": ")?)));
            let (who, reply) = marked.unwrap_or(("", line));
            step.replies.push((who.to_owned(), reply.to_owned()));
        }
    }
    steps
}

impl Step {
    /// What `server` (`redis`, `valkey`, `ironkeep`) answers; empty where nothing is recorded.
    pub fn expected(&self, server: &str, is_resp3: bool) -> &str {
        let of = |who: &str| self.replies.iter().find(|(whose, _)| whose == who).map(|(_, reply)| reply.as_str());
        let resp3 = |who: &str| if is_resp3 { of(who) } else { None };
        let own = resp3(&format!("{server} 3")).or_else(|| of(server));
        own.or_else(|| resp3("3")).or_else(|| of("")).unwrap_or_default()
    }

    /// A reply as scripts have it. `NOW` stands for a time of about the present.
    pub fn show(&self, reply: &[u8]) -> String {
        let text = reply.escape_ascii().to_string();
        if self.compared == Compared::Kind {
            return text.chars().take(1).collect();
        }
        let text = text.replace("\\r\\n", " ").replace("\\'", "'").replace("\\\"", "\"");
        let words = text.trim_end().split(' ').map(|word| {
            let digits = word.split('-').next().unwrap_or_default().trim_start_matches(':');
            if self.compared == Compared::AllButIntegers && word.starts_with(':') {
                ":N".to_owned()
            } else if digits.len() == 13 && digits.starts_with("17") && digits.bytes().all(|byte| byte.is_ascii_digit())
            {
                word.replacen(digits, "NOW", 1)
            } else {
                word.to_owned()
            }
        });
        words.collect::<Vec<_>>().join(" ")
    }
}
