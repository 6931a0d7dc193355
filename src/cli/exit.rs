//! How a tool ends: its exit code, and the one line on stderr that says why.
//!
//! A tool's `main` hands its work to [`run`], which turns the outcome into an exit code. Errors travel as
//! `anyhow::Error`; one that must not end in "could not read or write" has a [`Failure`] in its chain. A closed pipe
//! (`rdbtool dump F | head`) is nobody's error: it ends the tool quietly.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

/// The exit codes of both tools, the same for every verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Fine, or done as asked.
    Fine = 0,
    /// Findings, differences, or no match.
    Findings = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// Something could not be read or written.
    Unreadable = 3,
    /// A version or feature that this build does not know.
    Unsupported = 4,
    /// Refused for safety.
    Refused = 5,
}

impl Exit {
    /// The number the shell sees.
    pub fn code(self) -> u8 {
        self as u8 // the discriminants above
    }

    /// The exit code that an error stands for: that of the [`Failure`] in its chain, else [`Exit::Unreadable`].
    pub fn of(error: &anyhow::Error) -> Exit {
        error.chain().find_map(|cause| cause.downcast_ref::<Failure>()).map_or(Exit::Unreadable, |failure| failure.exit)
    }
}

/// An error that knows which exit code it deserves.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    /// An error with the exit code `exit`; `message` is one sentence that says what to do next.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Failure {
        Failure { exit, message: message.to_string() }
    }

    /// The same, ready for `return Err(...)` where `anyhow` is spoken.
    pub fn error(exit: Exit, message: impl fmt::Display) -> anyhow::Error {
        Failure::new(exit, message).into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Runs the body of a binary. An error is printed to stderr as one line, the outermost context (the file) first, and
/// every cause behind it.
pub fn run(main: fn() -> anyhow::Result<Exit>) -> ExitCode {
    let exit = match main() {
        Ok(exit) => exit,
        Err(error) if is_closed_pipe(&error) => Exit::Fine,
        Err(error) => {
            // Where stderr is gone too there is nobody left to tell; the exit code still says it.
            let _ = writeln!(io::stderr(), "{}", one_line(&error));
            Exit::of(&error)
        }
    };
    ExitCode::from(exit.code())
}

/// Whether the reader of our output went away.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}

/// The chain as `outermost: ...: cause`. A cause that its parent already spelled out is not said twice, as errors
/// that both display and return their source would make it.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if line.is_empty() {
            line = text;
        } else if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_failure_deep_in_the_chain_decides_the_exit_code() {
        let error = Err::<(), _>(Failure::error(Exit::Unsupported, "RDB version 99 is newer than this build"))
            .context("dump.rdb")
            .unwrap_err();
        assert_eq!(Exit::of(&error), Exit::Unsupported);
        assert_eq!(one_line(&error), "dump.rdb: RDB version 99 is newer than this build");
    }

    #[test]
    fn an_error_of_the_disk_is_unreadable_and_a_closed_pipe_is_known() {
        let missing: anyhow::Error = io::Error::from(io::ErrorKind::NotFound).into();
        assert_eq!(Exit::of(&missing), Exit::Unreadable);
        assert!(!is_closed_pipe(&missing));
        let closed = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("stdout");
        assert!(is_closed_pipe(&closed));
    }
}
