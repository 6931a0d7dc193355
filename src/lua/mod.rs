//! Lua 5.1 as scripts and functions know it: the sandbox, the libraries, and the values between Lua and the protocol.
//!
//! An [`Interpreter`] keeps compiled scripts by their SHA-1, or libraries by their name, and runs one of them at a time for a
//! [`Host`], which is how `redis.call` reaches the commands. It knows no keys, no clock and no client: a layer above tells.
//!
//! ```text
//! EVAL -> command::scripting -> Interpreter::run -> the script -> redis.call -> Host::call -> command::execute
//!                                                 <- convert::to_lua  <- the reply's bytes <-
//! ```
//!
//! The sandbox is that of Redis 8.0: no files and no processes, every global table read-only, a global that is not there an
//! error. Lua 5.1 has no read-only tables, so scripts see empty tables in front of the real ones, whose metatables read
//! through and refuse writes ([`sandbox`]). `cjson`, `cmsgpack`, `struct` and `bit` are written here, after what the
//! libraries of these names do in a real server. Memory is Lua's own business; `unsafe` is mlua's.

mod api;
mod arguments;
mod bit;
mod cjson;
mod cmsgpack;
mod convert;
mod host;
mod interpreter;
mod library;
mod raised;
mod sandbox;
pub mod shebang;
mod structs;

pub use host::{Effects, Host, LogLevel};
pub use interpreter::{Failure, Interpreter, Kind};
pub use library::Registered;
