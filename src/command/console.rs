//! For tests: types requests into an engine, and shows the replies and the log as text.

use crate::engine::clock::Clock;
use crate::engine::params::Config;
use crate::engine::{Engine, Session};
use crate::resp::Protocol;

use super::replay::Replay;
use super::spec::{FLAG_NAMES, Keys};
use super::{Command, execute};

/// The time at which these tests begin, in Unix ms.
pub(super) const START_MS: i64 = 1_000_000_000_000;

pub(super) struct Console {
    pub(super) engine: Engine,
    pub(super) session: Session,
}

impl Console {
    pub(super) fn new() -> Self {
        let mut engine = Engine::new(Config::default(), Clock::fixed(START_MS), fastrand::Rng::with_seed(7));
        engine.journal.set_on(true);
        let mut session = Session::replay();
        session.protocol = Protocol::Resp3;
        Self { engine, session }
    }

    /// The reply to words between spaces, its lines joined by spaces.
    pub(super) fn run(&mut self, line: &str) -> String {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let mut out = Vec::new();
        execute(&mut self.engine, &mut self.session, &words, &mut out);
        let text = String::from_utf8_lossy(&out).into_owned();
        let shown = text.split("\r\n").filter(|line| !line.starts_with('$')).collect::<Vec<_>>().join(" ");
        shown.trim_end().to_owned()
    }

    /// Runs `line => reply` lines; `log => ...` shows what was logged since the last time, one operation after the
    /// other with ` | ` between.
    pub(super) fn script(&mut self, script: &str) {
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (request, expected) = line.split_once(" =>").expect("a line is `request => reply`");
            let got = if request == "log" { self.log() } else { self.run(request) };
            assert_eq!(got, expected.trim_start(), "{request}");
        }
    }

    pub(super) fn log(&mut self) -> String {
        let bytes = self.engine.journal.take_pending(Vec::new());
        self.engine.journal.forget_selected_db();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut operations: Vec<String> = Vec::new();
        for line in text.split("\r\n").filter(|line| !line.starts_with('$') && !line.is_empty()) {
            match operations.last_mut() {
                _ if line.starts_with('*') => operations.push(String::new()),
                Some(operation) => {
                    operation.push_str(if operation.is_empty() { "" } else { " " });
                    operation.push_str(line);
                }
                None => unreachable!("a record begins with its count"),
            }
        }
        operations.retain(|operation| operation != "SELECT 0");
        operations.join(" | ")
    }

    /// Runs one record of a log, with the journal off as during a start.
    pub(super) fn replay(&mut self, line: &str) {
        self.engine.journal.set_on(false);
        self.engine.journal.begin_unit();
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        Replay::new().run(&mut self.engine, &words).expect("the record can be replayed");
        self.engine.journal.end_unit();
        self.engine.journal.set_on(true);
    }
}

/// Compares rows with what Redis 8.0.6 says of its commands, or Valkey 9.1.2 of those that only that has.
pub(super) fn assert_rows_are_those_of_redis<'a>(rows: impl IntoIterator<Item = &'a Command>) {
    let references = [
        include_str!("../../testdata/reference/redis-8.0.6.commands.json"),
        include_str!("../../testdata/reference/valkey-9.1.2.commands.json"),
    ];
    let references =
        references.map(|text| serde_json::from_str::<serde_json::Value>(text).expect("a reference is JSON"));
    let mut wrong = Vec::new();
    for row in rows {
        let name = row.name;
        let upper = name.to_ascii_uppercase();
        let mut named = references.iter().flat_map(|commands| [&commands[&upper], &commands[name]]);
        let expected = named.find(|row| !row.is_null());
        let expected = expected.unwrap_or_else(|| panic!("{name} is not in the references"));
        let mut differ = |what: &str, expected: &serde_json::Value, ours: serde_json::Value| {
            if *expected != ours {
                wrong.push(format!("{what} of {name}: {ours}, not {expected}"));
            }
        };
        let (first, last, step) = match row.keys {
            Keys::Range { first, last, step } => (first as i64, i64::from(last), step as i64),
            Keys::FirstAnd(_) | Keys::Counted { also: 1, .. } => (1, 1, 1),
            Keys::ShownAt(at, _) => (at as i64, at as i64, 1),
            Keys::None | Keys::Counted { .. } | Keys::Found(_) => (0, 0, 0),
        };
        differ("arity", &expected["arity"], serde_json::json!(i64::from(row.arity)));
        differ("first key", &expected["first_key"], serde_json::json!(first));
        differ("last key", &expected["last_key"], serde_json::json!(last));
        differ("key step", &expected["step"], serde_json::json!(step));
        let mut flags: Vec<&str> = FLAG_NAMES.iter().filter(|(bit, _)| row.is(*bit)).map(|(_, flag)| *flag).collect();
        flags.sort_unstable();
        differ("flags", &expected["flags"], serde_json::json!(flags));
        let mut categories: Vec<String> = super::spec::CATEGORY_NAMES
            .iter()
            .filter(|(bit, _)| row.categories() & bit != 0)
            .map(|(_, category)| format!("@{category}"))
            .collect();
        categories.sort_unstable();
        differ("categories", &expected["acl"], serde_json::json!(categories));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
