//! Scripts that EVAL and SCRIPT LOAD have left, by their SHA-1; the Lua states; and the script that runs.
//!
//! A state is made when the first script or function comes. While one runs, its state is lent to whoever runs it, so that it
//! can have the engine too.

use std::collections::HashMap;
use std::rc::Rc;

use crate::lua::shebang::Flags;
use crate::lua::{Interpreter, Kind};

use super::Engine;
use super::clock::Stopwatch;
use super::info::REDIS_VERSION;

/// A SHA-1 in 40 lower-case hexadecimal digits.
pub type Digest = [u8; 40];

/// Scripts kept that only EVAL has brought, as in Redis 8: beyond them the one goes that was not used for longest.
const MOST_PASSING: usize = 500;

/// A script that is there to be called by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    pub code: Box<[u8]>,
    /// None if it says nothing of itself.
    pub flags: Option<Flags>,
    /// It came by SCRIPT LOAD, and stays until SCRIPT FLUSH.
    pub is_kept: bool,
    last_use: u64,
}

/// The script or function that runs.
#[derive(Debug, Clone)]
pub struct Running {
    pub name: String,
    pub is_function: bool,
    /// The request.
    pub command: Vec<Vec<u8>>,
    pub since: Stopwatch,
    /// It has called a command that writes, so it can't be ended.
    pub has_written: bool,
    /// The text of the error that is to end it.
    pub end: Option<&'static str>,
    /// It has run for so long that other clients are told that the server is busy.
    pub is_long: bool,
}

/// Hears what other clients say while a script runs.
pub type Listener = Rc<dyn Fn(&mut Engine)>;

/// The scripts of a server.
#[derive(Default)]
pub struct Scripts {
    by_digest: HashMap<Digest, Script>,
    passing: usize,
    uses: u64,
    code_len: usize,
    /// How many had to go to make room.
    pub evicted: u64,
    pub running: Option<Running>,
    scripts: Option<Box<Interpreter>>,
    functions: Option<Box<Interpreter>>,
}

impl Scripts {
    fn slot(&mut self, kind: Kind) -> &mut Option<Box<Interpreter>> {
        match kind {
            Kind::Scripts => &mut self.scripts,
            Kind::Functions => &mut self.functions,
        }
    }

    /// Lends the state of this kind, made if there is none; to be given back with [`Scripts::give_back`].
    pub fn lend(&mut self, kind: Kind) -> mlua::Result<Box<Interpreter>> {
        match self.slot(kind).take() {
            Some(interpreter) => Ok(interpreter),
            None => Ok(Box::new(Interpreter::new(kind, REDIS_VERSION)?)),
        }
    }

    pub fn give_back(&mut self, kind: Kind, interpreter: Box<Interpreter>) {
        *self.slot(kind) = Some(interpreter);
    }

    /// Forgets a function of the state.
    pub fn forget_function(&mut self, name: &str) {
        if let Some(interpreter) = &self.functions {
            interpreter.forget(name);
        }
    }

    /// Forgets the state of the functions.
    pub fn forget_functions(&mut self) {
        self.functions = None;
    }

    /// The script of this digest, which counts as used.
    pub fn find(&mut self, digest: &Digest) -> Option<&Script> {
        self.uses += 1;
        let script = self.by_digest.get_mut(digest)?;
        script.last_use = self.uses;
        Some(script)
    }

    pub fn contains(&self, digest: &Digest) -> bool {
        self.by_digest.contains_key(digest)
    }

    /// The code of a script.
    pub fn code(&self, digest: &Digest) -> Option<&[u8]> {
        self.by_digest.get(digest).map(|script| &*script.code)
    }

    /// Adds a script that was compiled. Returns the digest of one that goes for it.
    pub fn insert(&mut self, digest: Digest, code: &[u8], flags: Option<Flags>) -> Option<Digest> {
        self.uses += 1;
        let script = Script { code: code.into(), flags, is_kept: false, last_use: self.uses };
        self.code_len += code.len();
        self.passing += 1;
        self.by_digest.insert(digest, script);
        if self.passing <= MOST_PASSING {
            return None;
        }
        let passing = self.by_digest.iter().filter(|(_, script)| !script.is_kept);
        let oldest = *passing.min_by_key(|(_, script)| script.last_use)?.0;
        let gone = self.by_digest.remove(&oldest)?;
        self.code_len -= gone.code.len();
        self.passing -= 1;
        self.evicted += 1;
        Some(oldest)
    }

    /// Has a script stay until SCRIPT FLUSH.
    pub fn keep(&mut self, digest: &Digest) {
        if let Some(script) = self.by_digest.get_mut(digest)
            && !std::mem::replace(&mut script.is_kept, true)
        {
            self.passing -= 1;
        }
    }

    /// Forgets all scripts, and their state.
    pub fn clear(&mut self) {
        self.by_digest.clear();
        (self.passing, self.code_len) = (0, 0);
        self.scripts = None;
    }

    pub fn len(&self) -> usize {
        self.by_digest.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_digest.is_empty()
    }

    /// Bytes of code that is kept here.
    pub fn code_len(&self) -> usize {
        self.code_len
    }

    /// Bytes that the states of scripts and of functions hold.
    pub fn state_memory(&self) -> (usize, usize) {
        let of = |state: &Option<Box<Interpreter>>| state.as_ref().map_or(0, |state| state.used_memory());
        (of(&self.scripts), of(&self.functions))
    }
}
