//! The rules of the house, held against every source file: which folder may import which, how long files and functions
//! may be, and where files, the clock, tokio and `unsafe` may appear.
//!
//! Each rule is a function from sources to violations, and a test beside it shows that it catches one. Lengths hold for
//! tests as well as for code, imports and `unsafe` too; what tests may do freely is touch files, the clock and tokio.

mod source;

use source::{Source, block_end, line_at, paths, tokens, tree};
use std::collections::BTreeSet;
use std::fmt;

/// Folders of `src` from the bottom up; those in one row are neighbours, which may import each other one way.
const LAYERS: &[&[&str]] = &[
    &["allocator", "cow", "codec", "calendar", "disk"],
    &["resp", "value"],
    &["rdb", "aof", "lua"],
    &["keyspace"],
    &["engine"],
    &["command"],
    &["persist"],
    &["backup"],
    &["server"],
];
/// `cli` stands beside the tower: only binaries use it, and it uses the formats and what is below them.
const BELOW_CLI: &[&str] = &["codec", "disk", "resp", "value", "rdb", "aof"];

const MAX_FILE_LINES: usize = 900;
const MAX_DOOR_LINES: usize = 60;
const MAX_FUNCTION_LINES: usize = 70;

const MAY_BE_UNSAFE: &[&str] = &[
    "src/allocator.rs",
    "src/cow/",
    "src/keyspace/entry.rs",
    "src/codec/prefetch.rs",
    "src/codec/cycles.rs",
    "src/server/seat.rs",
];
const MAY_TOUCH_FILES: &[&str] = &["src/disk/"];
const MAY_TELL_TIME: &[&str] =
    &["src/disk/s3/", "src/engine/clock.rs", "src/persist/", "src/server/", "src/cli/", "tools/"];
const MAY_BE_ASYNC: &[&str] = &["src/disk/s3/", "src/persist/", "src/server/", "src/main.rs"];
const EMPTY_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "common", "manager", "managers", "misc"];

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    path: String,
    line: usize,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.path, self.line, self.what)
    }
}

fn violation(source: &Source, line: usize, what: impl Into<String>) -> Violation {
    Violation { path: source.path.clone(), line, what: what.into() }
}

fn rank(layer: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&layer))
}

/// The folders of `src` that a file imports, with lines.
fn imports(source: &Source) -> Vec<(String, usize)> {
    let depth = source.modules().len();
    let mut found = Vec::new();
    for path in paths(&source.code) {
        let ups = path.parts.iter().take_while(|part| *part == "super").count();
        let target = match path.parts[0].as_str() {
            "crate" => path.parts.get(1),
            // Up to the root and down again. An inline module is one deeper, whose own `super` names no folder.
            "super" if ups >= depth => path.parts.get(ups),
            _ => None,
        };
        if let Some(target) = target {
            found.push((target.clone(), path.line));
        }
    }
    found
}

/// Imports point down; neighbours import each other one way only; nothing in the tower imports `cli`.
fn imports_point_down(sources: &[Source]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut among_neighbours = BTreeSet::new();
    for source in sources {
        let Some(from) = source.layer() else { continue };
        if from != "cli" && rank(from).is_none() {
            found.push(violation(source, 1, format!("`{from}` has no place among the layers")));
        }
        for (to, line) in imports(source) {
            if to == from || (to != "cli" && rank(&to).is_none()) {
                continue;
            }
            let is_allowed = match (rank(from), rank(&to)) {
                (Some(above), Some(below)) => above >= below,
                _ => from == "cli" && BELOW_CLI.contains(&to.as_str()),
            };
            if !is_allowed {
                found.push(violation(source, line, format!("`{from}` may not import `{to}`")));
            } else if rank(from) == rank(&to) {
                if among_neighbours.contains(&(to.clone(), from.to_owned())) {
                    found.push(violation(source, line, format!("`{from}` and `{to}` import each other")));
                }
                among_neighbours.insert((from.to_owned(), to));
            }
        }
    }
    found
}

fn files_are_short(sources: &[Source]) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in sources {
        let count = source.text.lines().count();
        let most = if source.path == "src/main.rs" { MAX_DOOR_LINES } else { MAX_FILE_LINES };
        if count > most {
            found.push(violation(source, count, format!("{count} lines, {most} are the most")));
        }
    }
    found
}

/// From the line with `fn` to the one with the closing brace.
fn functions_are_short(sources: &[Source]) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in sources {
        let tokens = tokens(&source.code);
        for pair in tokens.windows(2) {
            // `fn(...)` is a type.
            if pair[0].text != "fn" || pair[1].text == "(" {
                continue;
            }
            let Some(end) = block_end(&source.code, pair[0].at) else { continue };
            let line = line_at(&source.code, pair[0].at);
            let count = line_at(&source.code, end) - line + 1;
            if count > MAX_FUNCTION_LINES {
                let what = format!("`{}` has {count} lines, {MAX_FUNCTION_LINES} are the most", pair[1].text);
                found.push(violation(source, line, what));
            }
        }
    }
    found
}

/// What only some places may name.
fn named_only_in(
    sources: &[Source],
    places: &[&str],
    what: &str,
    is_meant: impl Fn(&source::Named) -> bool,
) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| !source.is_test() && !source.is_in(places)) {
        let tests = source.test_lines();
        for path in paths(&source.code).iter().filter(|path| is_meant(path)) {
            if !tests.iter().any(|lines| lines.contains(&path.line)) {
                found.push(violation(source, path.line, format!("{what} belongs in {}", places.join(", "))));
            }
        }
    }
    found
}

fn files_are_touched_in_disk(sources: &[Source]) -> Vec<Violation> {
    named_only_in(sources, MAY_TOUCH_FILES, "touching files", |path| {
        path.parts.len() > 1 && matches!(path.parts[0].as_str(), "std" | "tokio" | "rustix") && path.parts[1] == "fs"
    })
}

fn time_is_passed_in(sources: &[Source]) -> Vec<Violation> {
    named_only_in(sources, MAY_TELL_TIME, "asking for the time", |path| {
        path.contains(&["SystemTime", "now"])
            || path.contains(&["Instant", "now"])
            || path.starts_with(&["rustix", "time"])
    })
}

fn tokio_stays_in_its_layers(sources: &[Source]) -> Vec<Violation> {
    named_only_in(sources, MAY_BE_ASYNC, "tokio", |path| path.parts[0] == "tokio")
}

fn unsafe_stays_in_its_modules(sources: &[Source]) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| !source.is_in(MAY_BE_UNSAFE)) {
        for token in tokens(&source.code).iter().filter(|token| token.text == "unsafe") {
            let line = line_at(&source.code, token.at);
            found.push(violation(source, line, format!("`unsafe` belongs in {}", MAY_BE_UNSAFE.join(", "))));
        }
    }
    found
}

fn files_say_what_they_are(sources: &[Source]) -> Vec<Violation> {
    let is_silent = |source: &&Source| !source.text.starts_with("//!");
    sources.iter().filter(is_silent).map(|source| violation(source, 1, "does not open with `//!`")).collect()
}

fn names_mean_something(sources: &[Source]) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in sources {
        for name in source.path.trim_end_matches(".rs").split('/') {
            if name.split('_').any(|word| EMPTY_NAMES.contains(&word)) {
                found.push(violation(source, 1, format!("`{name}` says nothing")));
            }
        }
    }
    found
}

/// Fails with one line for each violation in the project.
fn hold(rule: fn(&[Source]) -> Vec<Violation>) {
    let found = rule(&tree());
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} violations:\n{}", lines.len(), lines.join("\n"));
}

const NOTHING: [usize; 0] = [];

/// The lines that a rule finds wrong in one file.
fn caught(rule: fn(&[Source]) -> Vec<Violation>, path: &str, text: &str) -> Vec<usize> {
    rule(&[Source::new(path, text)]).iter().map(|violation| violation.line).collect()
}

#[test]
fn the_project_imports_downwards() {
    hold(imports_point_down);
}

#[test]
fn an_import_that_points_up_is_caught() {
    let catch = |path: &str, text: &str| caught(imports_point_down, path, text);
    assert_eq!(catch("src/rdb/reader.rs", "//! x\nuse crate::engine::Engine;\n"), [2]);
    assert_eq!(catch("src/value/list.rs", "use crate::{\n    codec::glob,\n    rdb::{Reader, Writer},\n};\n"), [3, 3]);
    assert_eq!(catch("src/keyspace/mod.rs", "fn f() -> crate::command::Outcome {}\n"), [1]);
    assert_eq!(catch("src/rdb/object/list.rs", "use super::super::super::server;\n"), [1]);
    assert_eq!(catch("src/server/mod.rs", "use crate::cli::json;\n"), [1]);
    assert_eq!(catch("src/cli/json.rs", "use crate::engine::Engine;\n"), [1]);
    assert_eq!(catch("src/extras/mod.rs", ""), [1]);
    let one_way = Source::new("src/aof/log.rs", "use crate::rdb::Reader;");
    let other_way = Source::new("src/rdb/reader.rs", "use crate::aof::Log;");
    assert_eq!(imports_point_down(&[one_way, other_way]).len(), 1);
}

#[test]
fn what_is_allowed_or_only_text_is_not_caught() {
    let catch = |path: &str, text: &str| caught(imports_point_down, path, text);
    assert_eq!(catch("src/cow/segments.rs", "use crate::codec::prefetch;\nuse super::sequence;"), NOTHING);
    assert_eq!(
        catch(
            "src/rdb/mod.rs",
            "//! See [`crate::server`].\n/* crate::server /* */ */ const A: &str = \"crate::server\";"
        ),
        NOTHING
    );
    assert_eq!(
        catch("src/rdb/mod.rs", "const A: &[u8] = br#\"crate::server\"#; fn f<'a>(q: char) { q == '\"'; }"),
        NOTHING
    );
    assert_eq!(catch("src/command/generic/copy.rs", "use super::super::{Context, context};"), NOTHING);
    assert_eq!(catch("tools/rdbtool/main.rs", "use ironkeep::server;"), NOTHING);
}

#[test]
fn files_of_the_project_are_short() {
    hold(files_are_short);
}

#[test]
fn a_long_file_is_caught() {
    assert_eq!(caught(files_are_short, "src/rdb/reader.rs", &"// x\n".repeat(901)), [901]);
    assert_eq!(caught(files_are_short, "src/rdb/reader.rs", &"// x\n".repeat(900)), NOTHING);
    assert_eq!(caught(files_are_short, "src/main.rs", &"// x\n".repeat(61)), [61]);
}

#[test]
fn functions_of_the_project_are_short() {
    hold(functions_are_short);
}

#[test]
fn a_long_function_is_caught() {
    let long = |body: &str, count: usize| {
        format!("struct A(fn(u8));\nfn short() {{}}\n{}{}}}\n", body, "    x();\n".repeat(count))
    };
    assert_eq!(caught(functions_are_short, "src/rdb/reader.rs", &long("fn long(a: [u8; 4]) {\n", 69)), [3]);
    assert_eq!(caught(functions_are_short, "src/rdb/reader.rs", &long("fn long() {\n", 68)), NOTHING);
    let braces_in_text = long("fn long() {\n'}'; \"}\"; r\"}\"; /* } */ // }\n", 68);
    assert_eq!(caught(functions_are_short, "tests/kill.rs", &braces_in_text), [3]);
    assert_eq!(caught(functions_are_short, "src/disk/mod.rs", "trait T {\n    fn f(a: [u8; 4]);\n}\n"), NOTHING);
}

#[test]
fn files_are_touched_only_through_the_disk() {
    hold(files_are_touched_in_disk);
}

#[test]
fn a_file_touched_elsewhere_is_caught() {
    let catch = |path: &str, text: &str| caught(files_are_touched_in_disk, path, text);
    assert_eq!(catch("src/aof/log.rs", "use std::{io, fs::File};"), [1]);
    assert_eq!(catch("tools/aoftool/main.rs", "fn f() {\n    std::fs::remove_file(\"x\");\n}"), [2]);
    assert_eq!(catch("src/persist/append.rs", "use tokio::fs::File;"), [1]);
    assert_eq!(catch("src/aof/log.rs", "#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n"), NOTHING);
    assert_eq!(catch("src/aof/log.rs", "#[cfg(test)]\nmod tests {}\nuse std::fs;\n"), [3]);
    assert_eq!(catch("src/disk/real.rs", "use std::fs;"), NOTHING);
    let parent = Source::new("src/rdb/mod.rs", "#[cfg(test)]\nmod corpus;\nmod reader;\n");
    let children = ["corpus", "reader"].map(|name| Source::new(&format!("src/rdb/{name}.rs"), "use std::fs;"));
    let sources = source::mark_tests(std::iter::once(parent).chain(children).collect());
    let paths: Vec<_> = files_are_touched_in_disk(&sources).into_iter().map(|violation| violation.path).collect();
    assert_eq!(paths, ["src/rdb/reader.rs"]);
}

#[test]
fn the_time_is_asked_only_at_the_edges() {
    hold(time_is_passed_in);
}

#[test]
fn a_clock_elsewhere_is_caught() {
    assert_eq!(caught(time_is_passed_in, "src/command/string.rs", "\nlet a = std::time::SystemTime::now();"), [2]);
    assert_eq!(caught(time_is_passed_in, "src/keyspace/db.rs", "let a = Instant::now();"), [1]);
    assert_eq!(caught(time_is_passed_in, "src/engine/clock.rs", "let a = Instant::now();"), NOTHING);
}

#[test]
fn tokio_appears_only_in_tasks_and_sockets() {
    hold(tokio_stays_in_its_layers);
}

#[test]
fn tokio_elsewhere_is_caught() {
    assert_eq!(caught(tokio_stays_in_its_layers, "src/engine/mod.rs", "use tokio::sync::mpsc;"), [1]);
    assert_eq!(caught(tokio_stays_in_its_layers, "src/server/mod.rs", "use tokio::sync::mpsc;"), NOTHING);
}

#[test]
fn unsafe_appears_only_where_the_design_names_it() {
    hold(unsafe_stays_in_its_modules);
}

#[test]
fn unsafe_elsewhere_is_caught() {
    assert_eq!(caught(unsafe_stays_in_its_modules, "src/rdb/reader.rs", "// unsafe\nunsafe { x() }"), [2]);
    assert_eq!(caught(unsafe_stays_in_its_modules, "src/keyspace/entry.rs", "unsafe { x() }"), NOTHING);
}

#[test]
fn every_file_says_what_it_is() {
    hold(files_say_what_they_are);
}

#[test]
fn a_file_without_a_word_is_caught() {
    assert_eq!(caught(files_say_what_they_are, "src/rdb/reader.rs", "use std::io;"), [1]);
}

#[test]
fn every_name_means_something() {
    hold(names_mean_something);
}

#[test]
fn an_empty_name_is_caught() {
    assert_eq!(caught(names_mean_something, "src/rdb/string_utils.rs", ""), [1]);
    assert_eq!(caught(names_mean_something, "src/common/mod.rs", ""), [1]);
}
