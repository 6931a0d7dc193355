//! One Lua state: the scripts or libraries compiled in it, and running one of them.

use std::cell::RefCell;
use std::rc::Rc;

use mlua::{Function, HookTriggers, Lua, MultiValue, Table, Value, VmState};
use smallvec::SmallVec;

use crate::resp::{Encoder, Reply};

use super::api::{self, Service, State};
use super::convert::{Answer, Replies, push_argument};
use super::host::{Host, LogLevel};
use super::library::{self, Registered};
use super::raised::{self, Raised, reply_error};
use super::sandbox::Sandbox;

/// Instructions between two looks at the time.
const PULSE: u32 = 100_000;

/// Whose code an interpreter runs: each has its own globals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// EVAL and kin: `KEYS` and `ARGV` are globals.
    Scripts,
    /// FCALL: keys and arguments are what a function is called with.
    Functions,
}

/// Why a script has no reply of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// With its code word.
    pub text: Vec<u8>,
    /// It is the error of a command, which was counted when that ran.
    pub is_counted: bool,
}

/// A Lua state.
pub struct Interpreter {
    lua: Lua,
    kind: Kind,
    globals: Table,
    run: Function,
    /// What stands behind `redis`.
    api: Table,
    /// Compiled scripts by their SHA-1, or functions by their name.
    compiled: Table,
    /// Of a library that is being loaded: `redis` as it sees that, and `redis` as its functions do.
    loading: Option<(Table, Table)>,
    registering: library::Registering,
    state: Rc<State>,
}

impl Interpreter {
    /// An empty one. `version` is what `redis.REDIS_VERSION` says.
    pub fn new(kind: Kind, version: &str) -> mlua::Result<Self> {
        let state = Rc::new(State::default());
        let mut made = None;
        let sandbox = Sandbox::new(&state, |lua| {
            let libraries = lua.create_table()?;
            let api = api::table(lua, &state, version, kind == Kind::Scripts)?;
            libraries.raw_set("redis", &api)?;
            libraries.raw_set("cjson", super::cjson::table(lua)?)?;
            libraries.raw_set("cmsgpack", super::cmsgpack::table(lua)?)?;
            libraries.raw_set("struct", super::structs::table(lua)?)?;
            libraries.raw_set("bit", super::bit::table(lua)?)?;
            made = Some(api);
            Ok(libraries)
        })?;
        let Sandbox { lua, globals, run, protect } = sandbox;
        let api = made.map_or_else(|| lua.create_table(), Ok)?;
        let registering = library::Registering::default();
        let loading = match kind {
            Kind::Scripts => None,
            Kind::Functions => {
                forward_calls(&lua, &api, &state)?;
                let table = api::loading_table(&lua, &state, version)?;
                library::add_register_function(&lua, &table, &registering)?;
                library::refuse_other_names(&lua, &table)?;
                Some((protect.call(table)?, globals.raw_get("redis")?))
            }
        };
        let compiled = lua.create_table()?;
        set_hook(&lua, &state, PULSE)?;
        Ok(Self { lua, kind, globals, run, api, compiled, loading, registering, state })
    }

    /// Bytes that Lua holds.
    pub fn used_memory(&self) -> usize {
        self.lua.used_memory()
    }

    /// Compiles a script and keeps it by its name; the error is Lua's own, with the line.
    pub fn compile(&self, name: &str, code: &[u8]) -> Result<(), Vec<u8>> {
        let function = self.chunk(code, "@user_script")?;
        self.compiled.raw_set(name, function).map_err(|error| error.to_string().into_bytes())
    }

    fn chunk(&self, code: &[u8], name: &str) -> Result<Function, Vec<u8>> {
        let chunk = self.lua.load(code).set_name(name).set_mode(mlua::chunk::ChunkMode::Text);
        chunk.into_function().map_err(|error| match error {
            mlua::Error::SyntaxError { message, .. } => message.into_bytes(),
            other => other.to_string().into_bytes(),
        })
    }

    /// Forgets a script or function.
    pub fn forget(&self, name: &str) {
        // Setting a field to nil takes no memory, which is all that could fail.
        let _ = self.compiled.raw_set(name, Value::Nil);
    }

    /// Runs what was compiled under this name, and writes what it gives.
    pub fn run(
        &self,
        name: &str,
        (keys, arguments): (&[&[u8]], &[&[u8]]),
        host: &mut dyn Host,
        reply: &mut Encoder<'_>,
    ) -> Result<Reply, Failure> {
        let mut errors = Vec::new();
        let outcome = self.with_host(host, |call, pcall| {
            let (keys, arguments) = (self.list(keys)?, self.list(arguments)?);
            let function: Function = self.compiled.raw_get(name)?;
            let (is_fine, value): (bool, Value) = match self.kind {
                Kind::Scripts => {
                    self.api.raw_set("call", call)?;
                    self.api.raw_set("pcall", pcall)?;
                    self.globals.raw_set("KEYS", keys)?;
                    self.globals.raw_set("ARGV", arguments)?;
                    self.run.call(function)?
                }
                Kind::Functions => {
                    *self.state.calls.borrow_mut() = Some((call, pcall));
                    self.run.call((function, keys, arguments))?
                }
            };
            if !is_fine {
                return Ok(Err(failure(&value, name)));
            }
            let mut answer = Answer { reply, protocol: self.state.protocol.get(), errors: Vec::new() };
            let written = answer.write(&value);
            errors = answer.errors;
            Ok(Ok(written))
        });
        let reply = outcome.unwrap_or_else(|error| Err(broken(&error)))?;
        for text in errors {
            host.count_error(&text);
        }
        Ok(reply)
    }

    /// Runs the code of a library, and keeps the functions that it registers, unless their names are taken. The error is the
    /// whole text behind `ERR `.
    pub fn load(
        &self,
        code: &[u8],
        host: &mut dyn Host,
        is_taken: impl Fn(&str) -> bool,
    ) -> Result<Vec<Registered>, Vec<u8>> {
        let said = |what: &str, text: &[u8]| [what.as_bytes(), text].concat();
        let function = self.chunk(code, "@user_function").map_err(|text| said("Error compiling function: ", &text))?;
        let Some((loading, running)) = &self.loading else { return Err(b"scripts have no libraries".to_vec()) };
        self.registering.begin();
        let outcome = self.with_host(host, |_, _| {
            self.globals.raw_set("redis", loading)?;
            let outcome: mlua::Result<(bool, Value)> = self.run.call(function);
            self.globals.raw_set("redis", running)?;
            outcome
        });
        let registered = self.registering.end();
        let failed = match outcome {
            Ok((true, _)) => None,
            Ok((false, value)) => Some(error_field(&value)),
            Err(error) => Some(broken(&error).text),
        };
        if let Some(text) = failed {
            return Err(said("Error registering functions: ", &text));
        }
        if registered.is_empty() {
            return Err(b"No functions registered".to_vec());
        }
        if let Some((taken, _)) = registered.iter().find(|(function, _)| is_taken(&function.name)) {
            return Err(format!("Function {} already exists", taken.name).into_bytes());
        }
        for (function, callback) in &registered {
            let kept = self.compiled.raw_set(function.name.as_str(), callback);
            kept.map_err(|error| error.to_string().into_bytes())?;
        }
        Ok(registered.into_iter().map(|(function, _)| function).collect())
    }

    fn list(&self, texts: &[&[u8]]) -> mlua::Result<Table> {
        let table = self.lua.create_table_with_capacity(texts.len(), 0)?;
        for (at, text) in (1..).zip(texts) {
            table.raw_seti(at, self.lua.create_string(text)?)?;
        }
        Ok(table)
    }

    /// Lends the host to the functions that need it, for as long as `work` takes: `redis.call` and `redis.pcall` are handed
    /// to it.
    fn with_host<R>(
        &self,
        host: &mut dyn Host,
        work: impl FnOnce(Function, Function) -> mlua::Result<R>,
    ) -> mlua::Result<R> {
        self.state.reset();
        let (host, buffers) = (RefCell::new(host), RefCell::new(Buffers::default()));
        let state = &*self.state;
        let outcome = self.lua.scope(|scope| {
            let service = scope.create_function(|_, (number, given): (u8, MultiValue)| {
                serve(&mut **host.borrow_mut(), state, number, given)
            })?;
            *state.service.borrow_mut() = Some(service);
            let call = |lua: &Lua, given: MultiValue, raises: bool| {
                buffers.borrow_mut().call(lua, &mut **host.borrow_mut(), state, (given, raises))
            };
            work(
                scope.create_function(move |lua, given| call(lua, given, true))?,
                scope.create_function(move |lua, given| call(lua, given, false))?,
            )
        });
        state.service.take();
        state.calls.take();
        if state.killed.take().is_some() {
            set_hook(&self.lua, &self.state, PULSE)?;
        }
        outcome
    }
}

/// Room for the arguments and the reply of one command.
#[derive(Default)]
struct Buffers {
    text: Vec<u8>,
    reply: Vec<u8>,
}

impl Buffers {
    fn call(
        &mut self,
        lua: &Lua,
        host: &mut dyn Host,
        state: &State,
        (given, raises): (MultiValue, bool),
    ) -> mlua::Result<Value> {
        self.text.clear();
        self.reply.clear();
        let ends: Option<SmallVec<[usize; 8]>> =
            given.iter().map(|argument| push_argument(argument, &mut self.text).then_some(self.text.len())).collect();
        match ends {
            None => {
                self.reply.extend_from_slice(b"-ERR Lua redis lib command arguments must be strings or integers\r\n")
            }
            Some(ends) if ends.is_empty() => {
                self.reply.extend_from_slice(b"-ERR Please specify at least one argument for this redis lib call\r\n");
            }
            Some(ends) => {
                let mut start = 0;
                let arguments: crate::resp::request::Arguments<'_> =
                    ends.iter().map(|&end| &self.text[std::mem::replace(&mut start, end)..end]).collect();
                host.call(&arguments, state.protocol.get(), state.effects.get(), &mut self.reply);
            }
        }
        match self.reply.strip_prefix(b"-") {
            Some(text) if raises => Err(mlua::Error::external(Raised::counted(text.trim_ascii_end()))),
            _ => Replies::new(lua, &self.reply).value(),
        }
    }
}

fn serve(host: &mut dyn Host, state: &State, number: u8, given: MultiValue) -> mlua::Result<Value> {
    if number == Service::Pulse as u8 {
        state.killed.set(host.pulse());
    } else if number == Service::Log as u8 {
        let mut given = given.into_iter();
        let level = match given.next().and_then(|level| level.as_usize()) {
            Some(0) => LogLevel::Debug,
            Some(1) => LogLevel::Verbose,
            Some(2) => LogLevel::Notice,
            _ => LogLevel::Warning,
        };
        if let Some(Value::String(text)) = given.next() {
            host.log(level, &text.as_bytes());
        }
    } else {
        let mut text = Vec::new();
        let mut ends = Vec::new();
        for argument in &given {
            if !push_argument(argument, &mut text) {
                return Err(reply_error(
                    "ERR redis.acl_check_cmd() require a command name and its arguments as strings",
                ));
            }
            ends.push(text.len());
        }
        let mut start = 0;
        let arguments: Vec<&[u8]> = ends.iter().map(|&end| &text[std::mem::replace(&mut start, end)..end]).collect();
        return api::may_call_answer(host.may_call(&arguments));
    }
    Ok(Value::Nil)
}

/// `redis.call` and `redis.pcall` of functions, which may keep them from one call to the next.
fn forward_calls(lua: &Lua, api: &Table, state: &Rc<State>) -> mlua::Result<()> {
    for (name, raises) in [("call", true), ("pcall", false)] {
        let state = Rc::clone(state);
        let forward = lua.create_function(move |_, given: MultiValue| {
            let calls = state.calls.borrow().clone();
            match calls {
                Some((call, pcall)) => (if raises { call } else { pcall }).call::<Value>(given),
                None => Err(reply_error("ERR redis.call can only be called inside a script invocation")),
            }
        })?;
        api.raw_set(name, forward)?;
    }
    Ok(())
}

fn set_hook(lua: &Lua, state: &Rc<State>, every: u32) -> mlua::Result<()> {
    let shared = Rc::clone(state);
    lua.set_global_hook(HookTriggers::new().every_nth_instruction(every), move |lua, debug| {
        if shared.killed.get().is_none() {
            shared.serve(Service::Pulse, MultiValue::new())?;
        }
        let Some(text) = shared.killed.get() else { return Ok(VmState::Continue) };
        // What runs the script is to come to its end, and to tell of the error.
        if raised::is_sandbox(debug) {
            return Ok(VmState::Continue);
        }
        // Whatever catches the error is to meet the next one at its next instruction.
        set_hook(lua, &shared, 1)?;
        Err(reply_error(text))
    })
}

fn error_field(value: &Value) -> Vec<u8> {
    let text = value.as_table().and_then(|table| table.raw_get::<mlua::LuaString>("err").ok());
    text.map_or_else(|| b"ERR unknown error".to_vec(), |text| text.as_bytes().to_vec())
}

/// What the handler has made of an error, as a reply that names script and place.
fn failure(value: &Value, name: &str) -> Failure {
    let mut text = error_field(value);
    let field = |name: &str| value.as_table()?.raw_get::<Value>(name).ok().filter(|field| !field.is_nil());
    let place = field("source").and_then(|source| source.to_string().ok());
    if let (Some(source), Some(line)) = (place, field("line").and_then(|line| line.as_i64())) {
        text.extend_from_slice(format!(" script: {name}, on {source}:{line}.").as_bytes());
    }
    Failure { text, is_counted: field("ignore_error_stats_update").is_some() }
}

/// What even the handler could not catch: no memory, most likely.
fn broken(error: &mlua::Error) -> Failure {
    Failure { text: format!("ERR {error}").into_bytes(), is_counted: false }
}
