//! Scripts of requests and replies, `testdata/commands/GROUP/NAME.txt`: read here, run in process by
//! `src/command/scripts.rs`, and against servers by `tests/commands.rs`.
//!
//! ```text
//! # a comment
//! > COMMAND ARGUMENT ...      quoted as in redis.conf; `~>` where the integers of the reply are not to be compared
//! REPLY                       what Redis 8.0 answers over RESP2: line ends as spaces, unprintable bytes as \xNN
//! 3: REPLY                    over RESP3, where it is another
//! valkey: REPLY               of Valkey 9.1, where it is another; `valkey 3:` over RESP3
//! ironkeep: REPLY             ours, where it is meant to be another; the comment in front says why
//! ```

/// One request, and what is answered.
#[derive(Debug)]
pub struct Step {
    /// The comments in front.
    #[allow(dead_code)] // for the one that writes scripts anew
    pub comments: Vec<String>,
    pub request: String,
    /// Its integers are those of the moment.
    pub is_loose: bool,
    /// Who answers (`""`, `"3"`, `"valkey"`, `"valkey 3"`, ...), and what.
    pub replies: Vec<(String, String)>,
}

/// Reads a script.
pub fn parse(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut comments = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let request = line.strip_prefix("> ").map(|rest| (rest, false));
        if line.starts_with('#') {
            comments.push(line.to_owned());
        } else if let Some((request, is_loose)) = request.or(line.strip_prefix("~> ").map(|rest| (rest, true))) {
            let comments = std::mem::take(&mut comments);
            steps.push(Step { comments, request: request.to_owned(), is_loose, replies: Vec::new() });
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
        let text = text.replace("\\r\\n", " ").replace("\\'", "'").replace("\\\"", "\"");
        let words = text.trim_end().split(' ').map(|word| {
            let digits = word.split('-').next().unwrap_or_default().trim_start_matches(':');
            if self.is_loose && word.starts_with(':') {
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
