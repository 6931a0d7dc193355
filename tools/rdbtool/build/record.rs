//! From a record of JSON to a key with its value: the exact inverse of `output::record`.
//!
//! The members of a record may come in any order. A value whose type is not known yet is copied and read at the end of
//! the record, as are the expiries of fields that come before their hash. What no record of ours has is a fault: a name
//! that is misspelt must not lose what it names.

use super::json::{Fault, Parser, shown};
use super::{Each, Record};
use super::{array, stream};
use ironkeep::rdb::{KeyMetadata, Version, dump};
use ironkeep::value::{Hash, Insert, Limits, List, Module, Object, Set, StringValue, Zset};
use std::io::Read;
use std::sync::Arc;

/// The members of a record, and of a key's.
const MEMBERS: &str = "a member of a record: db, key, type, encoding, expire_at_ms, idle_seconds, frequency, metadata, \
                       value, field_expire_at_ms, aux, module_aux, function, slot_import or foreign";
const TYPES: &str = "a type: string, list, set, zset, hash, stream, array or module";

/// A key as far as it was read.
#[derive(Default)]
struct Key {
    db: u64,
    key: Option<Vec<u8>>,
    type_name: Option<Vec<u8>>,
    expire_at_ms: Option<i64>,
    idle_seconds: Option<u64>,
    frequency: Option<u8>,
    metadata: Vec<KeyMetadata>,
    value: Option<Object>,
    /// The value's JSON and its line, while the type is not known.
    unread: Option<(u64, Vec<u8>)>,
    expiries: Vec<(Vec<u8>, i64)>,
    /// Whether any member of a key was there.
    begun: bool,
}

/// Reads the record at which the parser stands; everything that it holds goes to `each`.
pub fn read<R: Read>(parser: &mut Parser<R>, limits: &Limits, each: Each<'_>) -> Result<anyhow::Result<()>, Fault> {
    parser.begin_object("a record, which is an object")?;
    let (mut key, mut name, mut first) = (Key::default(), Vec::new(), true);
    let mut outcome = Ok(());
    while parser.next_member(first, &mut name)? {
        let is_apart = match &name[..] {
            b"aux" => read_aux(parser, &mut |record| each(record)),
            b"module_aux" => read_module(parser).map(|module| each(Record::ModuleAux(&module))),
            b"slot_import" => {
                read_slot_import(parser).map(|(job, ranges)| each(Record::SlotImport { job: &job, ranges: &ranges }))
            }
            b"foreign" => parser.copy(&mut Vec::new()).map(|()| each(Record::Foreign)),
            b"function" => read_function(parser).map(|code| each(Record::Function(&code))),
            _ => {
                key.begun = true;
                key.member(parser, &name, limits).map(|()| Ok(()))
            }
        };
        let done = is_apart.map_err(|fault| fault.inside(String::from_utf8_lossy(&name)))?;
        outcome = outcome.and(done);
        first = false;
    }
    if first {
        return Err(parser.refused("a record with members", "an empty one"));
    }
    if key.begun {
        let (db, header, value) = key.finish(parser, limits)?;
        outcome = outcome.and_then(|()| each(Record::Key { db, header: header.meta(), value: (&value).into() }));
    }
    Ok(outcome)
}

/// What stands before a value; owns what [`KeyMeta`](ironkeep::rdb::KeyMeta) borrows.
struct Header {
    key: Vec<u8>,
    expire_at_ms: Option<i64>,
    idle_seconds: Option<u64>,
    frequency: Option<u8>,
    metadata: Vec<KeyMetadata>,
}

impl Header {
    fn meta(&self) -> ironkeep::rdb::KeyMeta<'_> {
        ironkeep::rdb::KeyMeta {
            key: &self.key,
            expire_at_ms: self.expire_at_ms,
            idle_seconds: self.idle_seconds,
            frequency: self.frequency,
            metadata: &self.metadata,
        }
    }
}

impl Key {
    fn member<R: Read>(&mut self, parser: &mut Parser<R>, name: &[u8], limits: &Limits) -> Result<(), Fault> {
        match name {
            b"db" => self.db = parser.whole("the number of a database")?,
            b"key" => {
                let mut key = Vec::new();
                parser.bytes(&mut key, "the key, a string")?;
                self.key = Some(key);
            }
            b"type" => {
                let mut type_name = Vec::new();
                parser.text(&mut type_name, TYPES)?;
                self.type_name = Some(type_name);
            }
            // How the value lay in the file that it came from; what is written has an encoding of its own.
            b"encoding" => parser.text(&mut Vec::new(), "the name of an encoding")?,
            b"expire_at_ms" => self.expire_at_ms = Some(parser.whole("a Unix time in ms")?),
            b"idle_seconds" => self.idle_seconds = Some(parser.whole("a number of seconds")?),
            b"frequency" => self.frequency = Some(parser.whole("a counter up to 255")?),
            b"value" => match &self.type_name {
                Some(type_name) => self.value = Some(read_value(parser, type_name, limits)?),
                None => {
                    let mut copy = Vec::new();
                    parser.peek()?;
                    let line = parser.line();
                    parser.copy(&mut copy)?;
                    self.unread = Some((line, copy));
                }
            },
            b"metadata" => items(parser, "what modules attached to the key, an array", |parser| {
                self.metadata.push(read_metadata(parser)?);
                Ok(())
            })?,
            b"field_expire_at_ms" => self.read_expiries(parser, limits)?,
            _ => return Err(parser.refused(MEMBERS, shown(name))),
        }
        Ok(())
    }

    fn read_expiries<R: Read>(&mut self, parser: &mut Parser<R>, limits: &Limits) -> Result<(), Fault> {
        parser.begin_object("an object of field and Unix time in ms")?;
        let (mut name, mut first) = (Vec::new(), true);
        while parser.next_member(first, &mut name)? {
            first = false;
            let field = bytes_of_name(parser, &name)?;
            let at_ms = parser.whole("a Unix time in ms").map_err(|fault| fault.inside(shown(&name)))?;
            match &mut self.value {
                Some(Object::Hash(hash)) => {
                    if !hash.set_expire(&field, Some(at_ms), limits) {
                        return Err(parser.refused("a field of the hash", shown(&name)));
                    }
                }
                _ => self.expiries.push((field, at_ms)),
            }
        }
        Ok(())
    }

    fn finish<R: Read>(self, parser: &Parser<R>, limits: &Limits) -> Result<(u64, Header, Object), Fault> {
        let Key { db, expire_at_ms, idle_seconds, frequency, metadata, mut value, .. } = self;
        let missing = |name: &str| parser.refused(format!("a record with a {name}"), "one without");
        let key = self.key.ok_or_else(|| missing("key"))?;
        let type_name = self.type_name.ok_or_else(|| missing("type"))?;
        if let Some((line, json)) = self.unread {
            let mut parser = Parser::from_line(&json[..], line);
            value = Some(read_value(&mut parser, &type_name, limits).map_err(|fault| fault.inside("value"))?);
        }
        let mut value = value.ok_or_else(|| missing("value"))?;
        for (field, at_ms) in self.expiries {
            let Object::Hash(hash) = &mut value else {
                return Err(parser.refused("field_expire_at_ms with a hash", "it with another type"));
            };
            if !hash.set_expire(&field, Some(at_ms), limits) {
                let fault = parser.refused("a field of the hash", shown(&field));
                return Err(fault.inside("field_expire_at_ms"));
            }
        }
        Ok((db, Header { key, expire_at_ms, idle_seconds, frequency, metadata }, value))
    }
}

/// The byte string that a member's name stands for.
fn bytes_of_name<R: Read>(parser: &Parser<R>, name: &[u8]) -> Result<Vec<u8>, Fault> {
    if !name.starts_with(b"base64:") {
        return Ok(name.to_vec());
    }
    let bytes = std::str::from_utf8(name).ok().and_then(ironkeep::cli::json::bytes_of);
    bytes.ok_or_else(|| parser.refused("padded base64 behind base64:", shown(name)))
}

fn read_value<R: Read>(parser: &mut Parser<R>, type_name: &[u8], limits: &Limits) -> Result<Object, Fault> {
    match type_name {
        b"string" => {
            let mut bytes = Vec::new();
            parser.bytes(&mut bytes, "the value of a string")?;
            Ok(Object::String(StringValue::from(bytes)))
        }
        b"list" => read_list(parser, limits),
        b"set" => read_set(parser, limits),
        b"zset" => read_zset(parser, limits),
        b"hash" => read_hash(parser, limits),
        b"stream" => stream::read(parser, limits).map(|value| Object::Stream(Box::new(value))),
        b"array" => array::read(parser).map(Object::Array),
        b"module" => read_module(parser).map(Object::Module),
        _ => Err(parser.refused(TYPES, shown(type_name))),
    }
}

/// Reads an array, item by item.
pub fn items<R: Read>(
    parser: &mut Parser<R>,
    expected: &str,
    mut each: impl FnMut(&mut Parser<R>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    parser.begin_array(expected)?;
    let mut index = 0;
    while parser.next_item(index == 0)? {
        each(parser).map_err(|fault| fault.at(index))?;
        index += 1;
    }
    Ok(())
}

fn read_list<R: Read>(parser: &mut Parser<R>, limits: &Limits) -> Result<Object, Fault> {
    let (mut list, mut item) = (List::new(), Vec::new());
    items(parser, "the items of a list, an array", |parser| {
        parser.bytes(&mut item, "an item, a string")?;
        list.push_back(&item, limits);
        Ok(())
    })?;
    Ok(Object::List(list))
}

fn read_set<R: Read>(parser: &mut Parser<R>, limits: &Limits) -> Result<Object, Fault> {
    let (mut set, mut member) = (Set::new(), Vec::new());
    items(parser, "the members of a set, an array", |parser| {
        parser.bytes(&mut member, "a member, a string")?;
        match set.insert(&member, limits) {
            true => Ok(()),
            false => Err(parser.refused("a member that did not come before", shown(&member))),
        }
    })?;
    Ok(Object::Set(set))
}

fn read_zset<R: Read>(parser: &mut Parser<R>, limits: &Limits) -> Result<Object, Fault> {
    const PAIR: &str = "an array of member and score";
    let (mut zset, mut member) = (Zset::new(), Vec::new());
    items(parser, "the members of a sorted set, an array", |parser| {
        parser.begin_array(PAIR)?;
        if !parser.next_item(true)? {
            return Err(parser.refused(PAIR, "an empty one"));
        }
        parser.bytes(&mut member, "a member, a string").map_err(|fault| fault.at(0))?;
        if !parser.next_item(false)? {
            return Err(parser.refused(PAIR, "one item"));
        }
        let score = parser.double("a score").map_err(|fault| fault.at(1))?;
        if parser.next_item(false)? {
            return Err(parser.unexpected("the end of the pair"));
        }
        if score.is_nan() {
            return Err(parser.refused("a score that servers can order", "\"nan\""));
        }
        match zset.insert_exact(&member, score, limits) {
            Insert::Added => Ok(()),
            _ => Err(parser.refused("a member that did not come before", shown(&member))),
        }
    })?;
    Ok(Object::Zset(zset))
}

fn read_hash<R: Read>(parser: &mut Parser<R>, limits: &Limits) -> Result<Object, Fault> {
    parser.begin_object("the fields of a hash, an object")?;
    let (mut hash, mut name, mut value, mut first) = (Hash::new(), Vec::new(), Vec::new(), true);
    while parser.next_member(first, &mut name)? {
        first = false;
        parser.bytes(&mut value, "the value of a field, a string").map_err(|fault| fault.inside(shown(&name)))?;
        let is_new = match name.starts_with(b"base64:") {
            true => hash.set(&bytes_of_name(parser, &name)?, &value, limits),
            false => hash.set(&name, &value, limits),
        };
        if !is_new {
            return Err(parser.refused("a field that did not come before", shown(&name)));
        }
    }
    Ok(Object::Hash(hash))
}

/// Reads `{"module", "version", "raw"}`.
fn read_module<R: Read>(parser: &mut Parser<R>) -> Result<Module, Fault> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const NAME: &str = "nine characters of A-Z, a-z, 0-9, - and _";
    parser.begin_object("an object with module, version and raw")?;
    let (mut member, mut text, mut first) = (Vec::new(), Vec::new(), true);
    let (mut id, mut version, mut raw) = (None, None, None);
    while parser.next_member(first, &mut member)? {
        first = false;
        match &member[..] {
            b"module" => {
                parser.text(&mut text, NAME)?;
                let digits = text.iter().map(|byte| ALPHABET.iter().position(|letter| letter == byte));
                let digits: Option<Vec<usize>> = digits.collect();
                let digits = digits.filter(|digits| digits.len() == 9);
                let digits = digits.ok_or_else(|| parser.refused(NAME, shown(&text)).inside("module"))?;
                id = Some(digits.iter().fold(0_u64, |id, &digit| id << 6 | digit as u64)); // below 64
            }
            b"version" => {
                version = Some(parser.whole::<u64>("a version below 1024")?).filter(|version| *version < 1024)
            }
            b"raw" => {
                let mut bytes = Vec::new();
                parser.bytes(&mut bytes, "the bytes of the module, a string").map_err(|fault| fault.inside("raw"))?;
                raw = Some(bytes);
            }
            _ => return Err(parser.refused("module, version or raw", shown(&member))),
        }
    }
    let (Some(id), Some(version), Some(raw)) = (id, version, raw) else {
        return Err(parser.refused("an object with module, version below 1024 and raw", "one without"));
    };
    Ok(Module { id: id << 10 | version, raw: Arc::new(opcodes(parser, raw)?) })
}

/// What is no sequence of a module's opcodes would make all that follows it in a file unreadable.
fn opcodes<R: Read>(parser: &Parser<R>, raw: Vec<u8>) -> Result<Vec<u8>, Fault> {
    let raw = Arc::new(raw);
    let object = Object::Module(Module { id: 0, raw: Arc::clone(&raw) });
    let encoded = dump::encode(&object, Version::Rdb11).ok();
    let decoded = encoded.and_then(|payload| dump::decode(&payload, &Limits::default()).ok());
    if decoded.is_none() {
        return Err(parser.refused("the opcodes of a module's value, up to their end", "other bytes").inside("raw"));
    }
    drop(object);
    Ok(Arc::unwrap_or_clone(raw))
}

/// Reads `{"class", "raw"}`.
fn read_metadata<R: Read>(parser: &mut Parser<R>) -> Result<KeyMetadata, Fault> {
    parser.begin_object("an object with class and raw")?;
    let (mut member, mut bytes, mut first) = (Vec::new(), Vec::new(), true);
    let (mut class, mut raw) = (None, None);
    while parser.next_member(first, &mut member)? {
        first = false;
        parser.bytes(&mut bytes, "a string").map_err(|fault| fault.inside(String::from_utf8_lossy(&member)))?;
        match &member[..] {
            b"class" => class = <[u8; 4]>::try_from(&bytes[..]).ok(),
            b"raw" => raw = Some(std::mem::take(&mut bytes)),
            _ => return Err(parser.refused("class or raw", shown(&member))),
        }
    }
    match (class, raw) {
        (Some(class), Some(raw)) => Ok(KeyMetadata { class, raw: opcodes(parser, raw)? }),
        _ => Err(parser.refused("a class of four bytes, and raw", "an object without")),
    }
}

/// Reads `{"job", "ranges"}`.
fn read_slot_import<R: Read>(parser: &mut Parser<R>) -> Result<SlotImport, Fault> {
    parser.begin_object("an object with job and ranges")?;
    let (mut member, mut first) = (Vec::new(), true);
    let (mut job, mut ranges) = (Vec::new(), Vec::new());
    while parser.next_member(first, &mut member)? {
        first = false;
        let read = match &member[..] {
            b"job" => parser.bytes(&mut job, "the name of the job"),
            b"ranges" => items(parser, "the ranges, an array", |parser| {
                let mut ends = Vec::new();
                items(parser, "the first and the last slot", |parser| {
                    ends.push(parser.whole("a slot")?);
                    Ok(())
                })?;
                match ends[..] {
                    [from, to] => ranges.push((from, to)),
                    _ => return Err(parser.refused("two slots", format!("{}", ends.len()))),
                }
                Ok(())
            }),
            _ => Err(parser.refused("job or ranges", shown(&member))),
        };
        read.map_err(|fault| fault.inside(String::from_utf8_lossy(&member)))?;
    }
    Ok((job, ranges))
}

/// A job and its ranges.
type SlotImport = (Vec<u8>, Vec<(u64, u64)>);

fn read_aux<R: Read>(parser: &mut Parser<R>, each: Each<'_>) -> Result<anyhow::Result<()>, Fault> {
    parser.begin_object("an object of name and value")?;
    let (mut name, mut value, mut first) = (Vec::new(), Vec::new(), true);
    let mut outcome = Ok(());
    while parser.next_member(first, &mut name)? {
        first = false;
        parser.bytes(&mut value, "a string").map_err(|fault| fault.inside(shown(&name)))?;
        let name = bytes_of_name(parser, &name)?;
        outcome = outcome.and_then(|()| each(Record::Aux { name: &name, value: &value }));
    }
    Ok(outcome)
}

/// Reads `{"engine"?, "name"?, "code"}`, of which the code says the rest.
fn read_function<R: Read>(parser: &mut Parser<R>) -> Result<Vec<u8>, Fault> {
    parser.begin_object("an object with the code of a library")?;
    let (mut member, mut text, mut first, mut code) = (Vec::new(), Vec::new(), true, None);
    while parser.next_member(first, &mut member)? {
        first = false;
        parser.bytes(&mut text, "a string").map_err(|fault| fault.inside(shown(&member)))?;
        match &member[..] {
            b"code" => code = Some(std::mem::take(&mut text)),
            b"engine" | b"name" => {}
            _ => return Err(parser.refused("engine, name or code", shown(&member))),
        }
    }
    code.ok_or_else(|| parser.refused("the code of the library", "no member of that name"))
}
