//! What an engine holds under a key, asked for as a client would, in a form that can be shown and compared.

use ironkeep::command::execute;
use ironkeep::engine::{Engine, Session};
use ironkeep::resp::answer::{Answer, Decoder};

/// A value with its expiry.
#[derive(Debug, PartialEq)]
pub struct Value {
    pub type_name: String,
    pub expire_at_ms: Option<i64>,
    /// In the order of the server; those of hashes and sets by name.
    pub elements: Vec<Element>,
}

/// A part of a value: what names it within the value, and what it is.
///
/// ```text
/// string "" : bytes      list index : item      set member : -      zset member : score
/// hash field : value [expiry in Unix ms]         stream id : fields and values; "groups" : all about them
/// anything else "" : the payload of DUMP
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    pub name: Vec<u8>,
    pub content: Vec<Vec<u8>>,
}

impl Element {
    fn new(name: impl Into<Vec<u8>>, content: Vec<Vec<u8>>) -> Self {
        Self { name: name.into(), content }
    }
}

/// Asks an engine.
pub struct Asker<'a> {
    engine: &'a mut Engine,
    session: Session,
}

impl<'a> Asker<'a> {
    pub fn new(engine: &'a mut Engine) -> Self {
        Self { engine, session: Session::new(0, String::new(), 0) }
    }

    /// The names of all keys of a database, sorted.
    pub fn keys(&mut self, db: usize) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        self.engine.keyspace.db(db).visit(&mut |entry| keys.push(entry.key.to_vec()));
        keys.sort_unstable();
        keys
    }

    pub fn databases(&self) -> usize {
        self.engine.keyspace.db_count()
    }

    /// The value of a key, if it is there.
    pub fn value(&mut self, db: usize, key: &[u8]) -> Option<Value> {
        self.session.db = db;
        let type_name = text(self.ask(&[b"TYPE", key])?);
        if type_name == "none" {
            return None;
        }
        let expire_at_ms = match self.ask(&[b"PEXPIRETIME", key])? {
            Answer::Int(at) if at >= 0 => Some(at),
            _ => None,
        };
        let elements = self.elements(&type_name, key)?;
        Some(Value { type_name, expire_at_ms, elements })
    }

    fn elements(&mut self, type_name: &str, key: &[u8]) -> Option<Vec<Element>> {
        Some(match type_name {
            "string" => vec![Element::new("", vec![bytes(self.ask(&[b"GET", key])?)])],
            "list" => {
                let items = flat(self.ask(&[b"LRANGE", key, b"0", b"-1"])?).into_iter().enumerate();
                items.map(|(index, item)| Element::new(index.to_string(), vec![item])).collect()
            }
            "set" => {
                let mut members = flat(self.ask(&[b"SMEMBERS", key])?);
                members.sort_unstable();
                members.into_iter().map(|member| Element::new(member, Vec::new())).collect()
            }
            "zset" => pairs(self.ask(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"])?),
            "hash" => self.hash(key)?,
            "stream" => self.stream(key)?,
            _ => vec![Element::new("", vec![bytes(self.ask(&[b"DUMP", key])?)])],
        })
    }

    fn hash(&mut self, key: &[u8]) -> Option<Vec<Element>> {
        let mut fields = pairs(self.ask(&[b"HGETALL", key])?);
        fields.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let count = fields.len().to_string();
        let mut request: Vec<&[u8]> = vec![b"HPEXPIRETIME", key, b"FIELDS", count.as_bytes()];
        let names: Vec<Vec<u8>> = fields.iter().map(|field| field.name.clone()).collect();
        request.extend(names.iter().map(Vec::as_slice));
        if let Answer::Array(times) = self.ask(&request)? {
            for (field, time) in fields.iter_mut().zip(times) {
                if let Answer::Int(at @ 0..) = time {
                    field.content.push(at.to_string().into_bytes());
                }
            }
        }
        Some(fields)
    }

    fn stream(&mut self, key: &[u8]) -> Option<Vec<Element>> {
        let mut elements = Vec::new();
        if let Answer::Array(entries) = self.ask(&[b"XRANGE", key, b"-", b"+"])? {
            for entry in entries {
                let mut parts = flat(entry).into_iter();
                elements.push(Element::new(parts.next()?, parts.collect()));
            }
        }
        let info = self.ask(&[b"XINFO", b"STREAM", key, b"FULL", b"COUNT", b"0"])?;
        let mut facts = Vec::new();
        write_facts(&info, &mut facts);
        elements.push(Element::new("groups", facts));
        Some(elements)
    }

    fn ask(&mut self, arguments: &[&[u8]]) -> Option<Answer> {
        let mut out = Vec::new();
        execute(self.engine, &mut self.session, arguments, &mut out);
        Decoder::new().decode(&out).ok()?.1
    }
}

/// When consumers were seen is set anew by a replay, and how a stream lies in memory is no data.
const UNTOLD: &[&[u8]] = &[b"seen-time", b"active-time", b"radix-tree-keys", b"radix-tree-nodes", b"entries"];

/// The scalars of an answer with maps and lists in it, one after the other.
fn write_facts(answer: &Answer, facts: &mut Vec<Vec<u8>>) {
    match answer {
        Answer::Array(items) => {
            let is_map = items.len().is_multiple_of(2) && matches!(items.first(), Some(Answer::Bulk(_)));
            if !is_map {
                return items.iter().for_each(|item| write_facts(item, facts));
            }
            for pair in items.chunks_exact(2) {
                if !pair[0].bytes().is_some_and(|name| UNTOLD.contains(&name)) {
                    pair.iter().for_each(|part| write_facts(part, facts));
                }
            }
        }
        scalar => facts.push(bytes(scalar.clone())),
    }
}

fn bytes(answer: Answer) -> Vec<u8> {
    match answer {
        Answer::Bulk(bytes) | Answer::Simple(bytes) | Answer::Error(bytes) => bytes,
        Answer::Int(value) => value.to_string().into_bytes(),
        _ => Vec::new(),
    }
}

fn text(answer: Answer) -> String {
    String::from_utf8_lossy(&bytes(answer)).into_owned()
}

/// All strings in an answer, in their order.
fn flat(answer: Answer) -> Vec<Vec<u8>> {
    match answer {
        Answer::Array(items) => items.into_iter().flat_map(flat).collect(),
        scalar => vec![bytes(scalar)],
    }
}

fn pairs(answer: Answer) -> Vec<Element> {
    let mut parts = flat(answer).into_iter();
    std::iter::from_fn(|| Some(Element::new(parts.next()?, vec![parts.next()?]))).collect()
}
