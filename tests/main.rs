//! The one crate of integration tests; each module says what belongs in it.

/// The tools as their users meet them: the binaries, run on files.
mod tools {
    mod rdbtool;
}
