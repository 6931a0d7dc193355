//! Ours beside real servers in one run: all servers take turns, round after round, so that whatever else the machine does
//! falls on all of them. Prints medians as Markdown tables.
//!
//! ```text
//! cargo bench --bench compare -- [TABLE ...] [--OPTION VALUE ...]
//! cargo bench --bench compare -- throughput --rounds 7
//! ```
//!
//! Each table is a row of [`TABLES`], with its options and what they usually are. Without a name those run that are marked.
//! Peers that are not at hand are left out.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)] // a tool for us alone

#[path = "../../tests/rig/mod.rs"]
#[allow(dead_code, unused_imports)] // it is there for the tests
mod rig;

mod commands;
mod complexity;
mod contest;
mod durability;
mod io_threads;
mod load;
mod memory;
mod slow_disk;
mod snapshots;
mod throughput;
mod turns;

use contest::Options;

/// A table that can be asked for.
struct Table {
    name: &'static str,
    /// Runs where no table is named.
    is_usual: bool,
    /// Its options without dashes, and what they are where they are not given.
    options: &'static [(&'static str, &'static str)],
    run: fn(&Options),
}

const TABLES: &[Table] = &[
    Table { name: "throughput", is_usual: true, options: throughput::OPTIONS, run: throughput::run },
    Table { name: "commands", is_usual: true, options: commands::OPTIONS, run: commands::run },
    Table { name: "complexity", is_usual: false, options: complexity::OPTIONS, run: complexity::run },
    Table { name: "slowdisk", is_usual: true, options: slow_disk::OPTIONS, run: slow_disk::run },
    Table { name: "durability", is_usual: true, options: durability::OPTIONS, run: durability::run },
    Table { name: "memory", is_usual: false, options: memory::OPTIONS, run: memory::run },
    Table { name: "snapshots", is_usual: false, options: snapshots::OPTIONS, run: snapshots::run },
    Table { name: "turns", is_usual: false, options: turns::OPTIONS, run: turns::run },
    Table { name: "iothreads", is_usual: false, options: io_threads::OPTIONS, run: io_threads::run },
    Table { name: "load", is_usual: false, options: load::OPTIONS, run: load::run },
];

fn main() {
    let (mut names, mut given) = (Vec::new(), Vec::new());
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench"); // cargo says so
    while let Some(word) = words.next() {
        match word.strip_prefix("--") {
            Some(name) => given.push((name.to_owned(), words.next().unwrap_or_else(|| panic!("{word} wants a value")))),
            None => names.push(word),
        }
    }
    if let Some(name) = names.iter().find(|name| TABLES.iter().all(|table| table.name != **name)) {
        panic!("no table {name}; there are {}", TABLES.iter().map(|table| table.name).collect::<Vec<_>>().join(", "));
    }
    let is_wanted =
        |table: &&Table| if names.is_empty() { table.is_usual } else { names.iter().any(|n| n == table.name) };
    let wanted: Vec<&Table> = TABLES.iter().filter(is_wanted).collect();
    let is_known = |name: &String| wanted.iter().any(|table| table.options.iter().any(|option| option.0 == name));
    if let Some((name, _)) = given.iter().find(|(name, _)| !is_known(name)) {
        panic!("no option --{name}; there are {:?}", wanted.iter().map(|table| table.options).collect::<Vec<_>>());
    }
    for table in wanted {
        println!("\n### {}\n", table.name);
        (table.run)(&Options::new(table.options, &given));
    }
}
