//! What the files of a log are called. `F` is `appendfilename`.
//!
//! ```text
//! F.manifest    F.<seq>.base.rdb    F.<seq>.base.aof    F.<seq>.incr.aof
//! ```

use std::ffi::{OsStr, OsString};

/// Which format a base is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseFormat {
    Rdb,
    Resp,
}

pub fn manifest(append_file_name: &OsStr) -> OsString {
    with_suffix(append_file_name, ".manifest")
}

pub fn base(append_file_name: &OsStr, seq: i64, format: BaseFormat) -> OsString {
    let suffix = match format {
        BaseFormat::Rdb => "rdb",
        BaseFormat::Resp => "aof",
    };
    with_suffix(append_file_name, &format!(".{seq}.base.{suffix}"))
}

pub fn increment(append_file_name: &OsStr, seq: i64) -> OsString {
    with_suffix(append_file_name, &format!(".{seq}.incr.aof"))
}

fn with_suffix(name: &OsStr, suffix: &str) -> OsString {
    let mut name = name.to_owned();
    name.push(suffix);
    name
}

/// What a name says of a file: whether it is an increment, and its number. In this order they are loaded.
pub fn parse(name: &OsStr) -> Option<(bool, i64)> {
    let name = name.as_encoded_bytes();
    let [rdb, resp, increment] = [".base.rdb", ".base.aof", ".incr.aof"].map(|end| name.strip_suffix(end.as_bytes()));
    let is_increment = increment.is_some();
    let rest = rdb.or(resp).or(increment)?;
    let digits = &rest[rest.iter().rposition(|&byte| byte == b'.')? + 1..];
    Some((is_increment, std::str::from_utf8(digits).ok()?.parse().ok()?))
}
