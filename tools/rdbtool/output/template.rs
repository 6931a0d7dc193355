//! `--format TEMPLATE`: one line per key as the user lays it out.
//!
//! `{name}` stands for something of the key ([`FIELDS`] has the names), `{{` and `}}` for braces; `\t`, `\n`, `\r`, `\0`
//! and `\\` are escapes, and a line ends with a newline by itself. What the file does not say is `-`. A key is escaped
//! on a terminal and its bytes elsewhere; `{key_json}` is safe everywhere. Values are only decoded for `{elements}`.

use super::Format;
use super::keys::write_key;
use crate::opened::FileReader;
use ironkeep::cli::format::sink::{Sink, write_json};
use ironkeep::cli::json;
use ironkeep::cli::utc::Utc;
use ironkeep::rdb::{self, KeyHeader, Kind, Visitor};
use ironkeep::value::stream::StreamId;
use ironkeep::value::{ArrayItem, Element, Module};

/// What can stand between braces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Db,
    Key,
    KeyJson,
    Type,
    Encoding,
    Elements,
    Bytes,
    Offset,
    ExpireAtMs,
    ExpireAt,
    Ttl,
    IdleSeconds,
    Frequency,
}

const FIELDS: [(&str, Field); 13] = [
    ("db", Field::Db),
    ("key", Field::Key),
    ("key_json", Field::KeyJson),
    ("type", Field::Type),
    ("encoding", Field::Encoding),
    ("elements", Field::Elements),
    ("bytes", Field::Bytes),
    ("offset", Field::Offset),
    ("expire_at_ms", Field::ExpireAtMs),
    ("expire_at", Field::ExpireAt),
    ("ttl", Field::Ttl),
    ("idle_seconds", Field::IdleSeconds),
    ("frequency", Field::Frequency),
];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Field(Field),
}

/// A template that was understood.
#[derive(Clone, Debug)]
pub struct Template(Vec<Part>);

impl std::str::FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut plain = Vec::new();
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            let next = rest.as_str().chars().next();
            match (character, next) {
                ('{', Some('{')) | ('}', Some('}')) => {
                    rest.next();
                    plain.push(character as u8); // a brace is ASCII
                }
                ('{', _) => {
                    let (name, behind) = rest.as_str().split_once('}').ok_or("a { has no }: write {{ for a brace")?;
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                    parts.push(Part::Field(field(name)?));
                    rest = behind.chars();
                }
                ('}', _) => return Err("a } has no {: write }} for a brace".to_owned()),
                ('\\', _) => plain.push(escape(rest.next())?),
                _ => plain.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        plain.push(b'\n');
        parts.push(Part::Text(plain));
        Ok(Template(parts))
    }
}

fn field(name: &str) -> Result<Field, String> {
    FIELDS.iter().find(|(known, _)| *known == name).map(|(_, field)| *field).ok_or_else(|| {
        let names = FIELDS.map(|(name, _)| name).join(", ");
        format!("there is no {{{name}}}: there are {names}")
    })
}

fn escape(letter: Option<char>) -> Result<u8, String> {
    match letter {
        Some('t') => Ok(b'\t'),
        Some('n') => Ok(b'\n'),
        Some('r') => Ok(b'\r'),
        Some('0') => Ok(0),
        Some('\\') => Ok(b'\\'),
        _ => Err("a \\ is followed by t, n, r, 0 or \\".to_owned()),
    }
}

/// The writer of lines.
pub struct Lines {
    sink: Sink,
    template: Template,
    escaped: bool,
    counts: bool,
    key: Option<KeyHeader>,
    elements: u64,
    now_ms: i64,
}

impl Lines {
    /// `on_terminal`: names are escaped; `now_ms`: what a time to live counts from.
    pub fn new(sink: Sink, template: Template, on_terminal: bool, now_ms: i64) -> Lines {
        let counts = template.0.contains(&Part::Field(Field::Elements));
        Lines { sink, template, escaped: on_terminal, counts, key: None, elements: 0, now_ms }
    }

    fn write_field(&mut self, field: Field, key: &KeyHeader, end_offset: u64) {
        let out = self.sink.buffer();
        let number = match field {
            Field::Db => Some(key.db),
            Field::Elements => Some(self.elements),
            Field::Bytes => Some(end_offset - key.offset),
            Field::Offset => Some(key.offset),
            Field::IdleSeconds => key.idle_seconds,
            Field::Frequency => key.frequency.map(u64::from),
            Field::Key => return write_key(out, &key.key, self.escaped),
            Field::KeyJson => return write_json(out, Element::Bytes(&key.key)),
            Field::Type => return out.extend_from_slice(key.kind.type_name().as_bytes()),
            Field::Encoding => return out.extend_from_slice(key.kind.encoding().as_bytes()),
            Field::ExpireAtMs | Field::ExpireAt | Field::Ttl => {
                return match (field, key.expire_at_ms) {
                    (_, None) => out.push(b'-'),
                    (Field::ExpireAt, Some(at_ms)) => out.extend_from_slice(Utc(at_ms).to_string().as_bytes()),
                    (Field::Ttl, Some(at_ms)) => {
                        json::write_i64(out, at_ms.saturating_sub(self.now_ms).div_euclid(1000))
                    }
                    (_, Some(at_ms)) => json::write_i64(out, at_ms),
                };
            }
        };
        match number {
            Some(number) => json::write_u64(out, number),
            None => out.push(b'-'),
        }
    }
}

impl Format for Lines {
    fn sink(&mut self) -> &mut Sink {
        &mut self.sink
    }

    fn begin_key(&mut self, key: &KeyHeader) {
        self.sink.begin_record();
        self.key = Some(key.clone());
    }

    fn take(&mut self, reader: &mut FileReader) -> Result<(), rdb::Error> {
        if self.counts { reader.value(self) } else { reader.skip() }
    }

    fn end_key(&mut self, end_offset: u64) {
        let Some(key) = self.key.take() else { return };
        let parts = std::mem::take(&mut self.template.0);
        for part in &parts {
            match part {
                Part::Text(text) => self.sink.buffer().extend_from_slice(text),
                Part::Field(field) => self.write_field(*field, &key, end_offset),
            }
        }
        self.template.0 = parts;
        self.sink.spill();
    }
}

impl Visitor for Lines {
    fn begin(&mut self, _kind: Kind, _count: Option<u64>) {
        self.elements = 0;
    }

    fn string(&mut self, _value: Element<'_>) {
        self.elements = 1;
    }

    fn list_item(&mut self, _item: Element<'_>) {
        self.elements += 1;
    }

    fn set_member(&mut self, _member: Element<'_>) {
        self.elements += 1;
    }

    fn zset_member(&mut self, _member: Element<'_>, _score: f64) {
        self.elements += 1;
    }

    fn hash_field(&mut self, _field: Element<'_>, _value: Element<'_>, _expire_at_ms: Option<i64>) {
        self.elements += 1;
    }

    fn stream_entry(&mut self, _id: StreamId, _fields: &[(Element<'_>, Element<'_>)]) {
        self.elements += 1;
    }

    fn array_item(&mut self, _index: u64, _item: ArrayItem<'_>) {
        self.elements += 1;
    }

    fn module(&mut self, _value: &Module) {
        self.elements = 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_text_fields_and_escapes() {
        let Template(parts) = r"{{{db}}}\t{key}".parse().unwrap();
        let text = |text: &[u8]| Part::Text(text.to_vec());
        let wanted = [text(b"{"), Part::Field(Field::Db), text(b"}\t"), Part::Field(Field::Key), text(b"\n")];
        assert_eq!(parts, wanted);
        for (wrong, says) in [("{kye}", "there are db, key"), ("{key", "has no }"), ("a}", "has no {"), (r"\q", "t, n")]
        {
            let error = wrong.parse::<Template>().unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
