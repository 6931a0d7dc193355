//! Programs of other names that a tool answers to.

use std::path::Path;

/// Which of the names a program was called by.
pub fn by(program: &Path, names: &[&'static str]) -> Option<&'static str> {
    let called = program.file_name()?;
    names.iter().copied().find(|name| called == *name)
}
