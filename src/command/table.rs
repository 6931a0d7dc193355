//! The table of all commands, and finding one in it.

use std::sync::OnceLock;

use super::Command;

/// The groups, in the order of the documentation.
/// One place in memory: a constant may have several, and rows are known by their address.
static GROUPS: &[&[Command]] = &[
    super::string::COMMANDS,
    super::compare::COMMANDS,
    super::increx::COMMANDS,
    super::lcs::COMMANDS,
    super::bitmap::COMMANDS,
    super::hyperloglog::COMMANDS,
    super::stream::COMMANDS,
    super::list::COMMANDS,
    super::set::COMMANDS,
    super::hash::COMMANDS,
    super::zset::COMMANDS,
    super::geo::COMMANDS,
    super::generic::COMMANDS,
    super::sort::COMMANDS,
    super::connection::COMMANDS,
    super::client::COMMANDS,
    super::config_cmd::COMMANDS,
    super::introspection::COMMANDS,
    super::info::COMMANDS,
    super::server_cmd::COMMANDS,
    super::replication::COMMANDS,
    super::slowlog::COMMANDS,
    super::latency::COMMANDS,
    super::acl::COMMANDS,
    super::memory::COMMANDS,
    super::transaction::COMMANDS,
    super::pubsub::COMMANDS,
    super::monitor::COMMANDS,
    super::persistence::COMMANDS,
    super::backup::COMMANDS,
    super::scripting::COMMANDS,
    super::functions::COMMANDS,
    super::debug::COMMANDS,
];

/// All commands.
pub fn all() -> impl Iterator<Item = &'static Command> {
    GROUPS.iter().copied().flatten()
}

/// The longest name of a command or subcommand.
const MAX_NAME: usize = 32;
const BUCKETS: usize = 1024;

/// The command of that name, in any case.
pub fn find(name: &[u8]) -> Option<&'static Command> {
    static INDEX: OnceLock<Vec<Vec<&'static Command>>> = OnceLock::new();
    let index = INDEX.get_or_init(|| {
        let mut buckets = vec![Vec::new(); BUCKETS];
        all().for_each(|command| buckets[bucket(command.name.as_bytes())].push(command));
        buckets
    });
    if name.len() > MAX_NAME {
        return None;
    }
    index[bucket(name)].iter().copied().find(|command| name.eq_ignore_ascii_case(command.name.as_bytes()))
}

/// The subcommand of that name, in any case.
pub fn find_subcommand(command: &'static Command, name: &[u8]) -> Option<&'static Command> {
    command.subcommands.iter().find(|subcommand| name.eq_ignore_ascii_case(subcommand.name.as_bytes()))
}

/// FNV-1a over the lower-case name; names are ours, so nobody can make them collide.
fn bucket(name: &[u8]) -> usize {
    let hash = name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (hash >> 32) as usize % BUCKETS // any bits do
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_in_any_case_and_only_once() {
        let mut names = std::collections::HashSet::new();
        for command in all() {
            assert!(names.insert(command.name), "{} stands twice", command.name);
            assert!(command.name.len() <= MAX_NAME && command.name == command.name.to_ascii_lowercase());
            assert!(std::ptr::eq(find(command.name.to_ascii_uppercase().as_bytes()).unwrap(), command));
        }
        assert!(find(b"nosuch").is_none());
    }

    #[test]
    fn every_row_is_that_of_a_real_server() {
        // Younger than the references: of these the documentation tells arity and flags.
        let younger = ["backup", "delex", "digest", "increx", "xackdel", "xdelex"];
        let rows = all().filter(|row| !younger.contains(&row.name));
        super::super::console::assert_rows_are_those_of_redis(rows);
    }
}
