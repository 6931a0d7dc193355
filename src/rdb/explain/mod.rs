//! The bytes of a file with their meaning: a walk that says of every byte what it is.
//!
//! [`explain`] reads as [`Reader`](super::Reader) does, by the same tables and primitives, and hands a [`Witness`] one
//! [`Piece`] after the other: an opcode, a length with how it is encoded, a string, an entry of a packed value. The pieces
//! of a file follow each other without gap or overlap, from its first byte to the last of its checksum. What a compressed
//! string holds inside has no place in the file: such pieces say so, and their offsets count from its unpacked start.
//!
//! At damage the walk ends with a piece for what was read of the part that is broken, and the error that says where.

mod packed;
mod stream;
mod trace;
mod value;

use std::io::Read;

use super::error::{Cause, Error};
use super::input::Input;
use super::kind::{Header, Kind, Lineage, Opcode, OpcodeRow};
use super::reader::{read_command, read_header};
use crate::value::Module;
use trace::Trace;

/// Bytes of a piece that are given as they stand; of a longer one, its first.
pub const HEAD: usize = 64;

/// Some bytes of a file and what they mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// File offset of the first byte; of a piece inside of a compressed string, its offset in what that unpacks to.
    pub offset: u64,
    /// How many bytes.
    pub len: u64,
    /// The first of them, up to [`HEAD`].
    pub head: Vec<u8>,
    /// How deep inside of other things: 0 is an opcode or type.
    pub depth: usize,
    /// What it is: `AUX`, `length of the key`, `field`.
    pub what: String,
    /// What it says, and how that is encoded.
    pub meaning: String,
    /// Whether it lies inside of a compressed string.
    pub unpacked: bool,
}

/// Takes the pieces.
pub trait Witness {
    /// Whether the key (database and name) is wanted, or with `None` what belongs to no key. What is not wanted is
    /// passed over.
    fn wants(&mut self, key: Option<(u64, &[u8])>) -> bool {
        let _ = key;
        true
    }
    /// The next piece.
    fn piece(&mut self, piece: Piece);
    /// Whether nothing more is wanted; the walk then ends as if the file did.
    fn is_done(&self) -> bool {
        false
    }
}

/// Walks the file and gives `witness` its pieces.
pub fn explain<R: Read>(inner: R, witness: &mut dyn Witness) -> Result<(), Error> {
    let unknown = Header { lineage: Lineage::Redis, version: 0 };
    let mut walk = Walk { trace: Trace::new(Input::new(inner, unknown), witness), db: 0 };
    let walked = walk.file();
    // What was read of a broken part has not become a piece yet.
    walked.inspect_err(|error| walk.trace.flush_broken(error))
}

/// A walk under way.
struct Walk<'w, R> {
    trace: Trace<'w, R>,
    db: u64,
}

impl<R: Read> Walk<'_, R> {
    fn file(&mut self) -> Result<(), Error> {
        let is_wanted = self.trace.witness.wants(None);
        self.trace.hold();
        let header = self.trace.span("header", |input| read_header(input), |header, _| header.to_string())?;
        self.trace.input.header = header;
        self.trace.release(is_wanted);
        while !self.trace.witness.is_done() {
            if self.item()? {
                return self.trace.behind_the_end();
            }
        }
        Ok(())
    }

    /// Walks the next thing between keys, or a key; says whether it was the end.
    fn item(&mut self) -> Result<bool, Error> {
        // Whether it belongs to a key that is wanted shows only when the key has come.
        self.trace.hold();
        loop {
            let offset = self.trace.input.offset();
            self.trace.input.part = "an opcode or type";
            let lineage = self.trace.input.header.lineage;
            let number = self.trace.opcode(|number| name_of(number, lineage))?;
            if let Some(kind) = Kind::of(number, lineage) {
                self.key(kind, offset)?;
                return Ok(false);
            }
            let Some(row) = Opcode::of(number, lineage) else {
                return Err(Error::new(offset, "an opcode or type", Cause::UnknownNumber(number)));
            };
            self.trace.input.part = row.name;
            self.trace.depth = 1;
            let is_of_key = self.operands(row, offset)?;
            self.trace.depth = 0;
            if !is_of_key {
                let is_wanted = self.trace.witness.wants(None);
                self.trace.release(is_wanted);
                return Ok(row.opcode == Opcode::Eof);
            }
        }
    }

    fn key(&mut self, kind: Kind, offset: u64) -> Result<(), Error> {
        let header = self.trace.input.header;
        if !kind.row().supported && !value::is_walked(kind) {
            let cause = Cause::Unsupported { name: kind.name(), number: kind.number(), header };
            return Err(Error::new(offset, "the value's type", cause));
        }
        self.trace.depth = 1;
        self.trace.input.part = "a key";
        let key = self.trace.text("key")?;
        let is_wanted = self.trace.witness.wants(Some((self.db, &key)));
        self.trace.release(is_wanted);
        self.trace.input.part = "the value";
        let walked = if is_wanted { value::walk(&mut self.trace, kind) } else { value::pass(&mut self.trace, kind) };
        self.trace.depth = 0;
        walked.map_err(|error| error.with_key(&key))
    }

    /// Walks what follows an opcode; says whether that says something of the next key.
    fn operands(&mut self, row: &'static OpcodeRow, offset: u64) -> Result<bool, Error> {
        let trace = &mut self.trace;
        match row.opcode {
            Opcode::ExpireMs => trace.ms("expires at")?,
            Opcode::ExpireSeconds => trace.seconds("expires at")?,
            Opcode::Frequency => {
                trace.fixed::<1>("access frequency", |[count]| format!("{count} (logarithmic counter)"))?
            }
            Opcode::Idle => _ = trace.length("seconds since the last access")?,
            Opcode::KeyMeta => return self.key_metadata().map(|()| true),
            Opcode::SelectDb => self.db = trace.length("database")?,
            Opcode::ResizeDb => trace.lengths(&["keys", "keys with an expiry"])?,
            Opcode::SlotInfo => trace.lengths(&["slot", "keys", "keys with an expiry"])?,
            Opcode::Aux => trace.strings(&["name", "value"])?,
            Opcode::Function => trace.strings(&["code"])?,
            Opcode::FunctionPreGa => function_of_candidate(trace)?,
            Opcode::ModuleAux => {
                let name =
                    |id: u64| format!("{} (encoding version {})", module(id).name(), module(id).encoding_version());
                trace.length_as("module id", name)?;
                value::module_opcodes(trace)?;
            }
            Opcode::SlotImport => {
                trace.strings(&["job"])?;
                trace.each("ranges", |trace| trace.lengths(&["first slot", "last slot"]))?;
            }
            Opcode::HashTemplate => {
                let id = trace.length("template id")?;
                let mut fields = Vec::new();
                trace.each("fields", |trace| trace.text("field").map(|field| fields.push(field)))?;
                trace.input.templates.insert(offset, id, fields.into());
            }
            Opcode::EnterpriseRamLru | Opcode::EnterpriseSlotNum => trace.lengths(&["value"])?,
            Opcode::Eof => self.checksum()?,
            Opcode::ValkeyUpdate => {
                trace.span("command", |input| read_command(input), |arguments, _| command_text(arguments))?;
            }
            Opcode::Enterprise | Opcode::Dragonfly => {
                let cause = Cause::Unsupported { name: row.name, number: row.numbers.0, header: trace.input.header };
                return Err(Error::new(offset, "an opcode", cause));
            }
        }
        Ok(matches!(row.opcode, Opcode::ExpireMs | Opcode::ExpireSeconds | Opcode::Frequency | Opcode::Idle))
    }

    /// 243 of Redis: remarks of classes about the next key.
    fn key_metadata(&mut self) -> Result<(), Error> {
        self.trace.each("classes of metadata", |trace| {
            trace.fixed::<4>("class", |bytes| format!("{:#010x}", u32::from_le_bytes(bytes)))?;
            value::module_opcodes(trace)
        })
    }

    fn checksum(&mut self) -> Result<(), Error> {
        const SINCE: u32 = 5;
        if self.trace.input.header.version < SINCE {
            return Ok(());
        }
        self.trace.input.part = "the checksum";
        let found = self.trace.input.checksum();
        self.trace.fixed::<8>("checksum", |bytes| match u64::from_le_bytes(bytes) {
            0 => "0: the writer had checksums switched off".to_owned(),
            expected if expected == found => format!("{expected:016x}, correct"),
            expected => format!("{expected:016x}, WRONG: the bytes before it give {found:016x}"),
        })
    }
}

/// What an opcode or type byte means, in one line.
fn name_of(number: u8, lineage: Lineage) -> (String, String) {
    if let Some(kind) = Kind::of(number, lineage) {
        return ("type".to_owned(), format!("{number} {} ({})", kind.name(), kind.type_name()));
    }
    match Opcode::of(number, lineage) {
        Some(row) => ("opcode".to_owned(), format!("{number} {}", row.name)),
        None => ("opcode or type".to_owned(), format!("{number}: no type and no opcode")),
    }
}

fn module(id: u64) -> Module {
    Module { id, raw: Default::default() }
}

/// A command as one would type it, its beginning where it is long.
fn command_text(arguments: &[Vec<u8>]) -> String {
    const MOST: usize = 8;
    const LONGEST: usize = 40;
    let word = |argument: &Vec<u8>| match argument.get(..LONGEST) {
        Some(start) => format!("\"{}\"...", start.escape_ascii()),
        None => format!("\"{}\"", argument.escape_ascii()),
    };
    let words: Vec<String> = arguments.iter().take(MOST).map(word).collect();
    let more = if arguments.len() > MOST { " ..." } else { "" };
    format!("{}{more} (as clients send it; it came in while the file was written)", words.join(" "))
}

/// 246, of the release candidates of 7.0: name, engine, whether there is a description, that, code.
fn function_of_candidate<R: Read>(trace: &mut Trace<'_, R>) -> Result<(), Error> {
    trace.strings(&["name", "engine"])?;
    if trace.length("has a description")? != 0 {
        trace.strings(&["description"])?;
    }
    trace.strings(&["code"])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps all pieces.
    #[derive(Default)]
    struct All(Vec<Piece>);

    impl Witness for All {
        fn piece(&mut self, piece: Piece) {
            self.0.push(piece);
        }
    }

    /// Where the pieces of the file leave off; they must follow each other.
    fn end_of(pieces: &[Piece]) -> u64 {
        pieces.iter().filter(|piece| !piece.unpacked).fold(0, |end, piece| {
            assert_eq!(piece.offset, end, "{piece:?}");
            assert!(piece.len > 0 && piece.head.len() as u64 == piece.len.min(HEAD as u64), "{piece:?}");
            end + piece.len
        })
    }

    #[test]
    fn every_byte_of_every_sample_is_in_one_piece() {
        let mut count = 0;
        for (path, _) in crate::rdb::corpus::files() {
            let file = std::fs::read(&path).unwrap();
            let mut all = All::default();
            explain(&file[..], &mut all).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert_eq!(end_of(&all.0), file.len() as u64, "{}", path.display());
            count += 1;
        }
        assert!(count >= 40, "{count}");
    }

    /// "explain stopped at the UPDATE of a file that a replica of Valkey 9.2 had been sent": the command is shown, and
    /// what stands behind it.
    #[test]
    fn a_command_within_the_file_is_shown_and_passed() {
        let file =
            b"VALKEY081\xfe\x00\xf2*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\x01v\r\n\x00\x01b\x01c\xff\0\0\0\0\0\0\0\0";
        let mut all = All::default();
        explain(&file[..], &mut all).unwrap();
        assert_eq!(end_of(&all.0), file.len() as u64);
        let command = all.0.iter().find(|piece| piece.what == "command").unwrap();
        assert!(command.meaning.starts_with("\"SET\" \"k\" \"\\x01v\" (as clients"), "{}", command.meaning);
        assert!(all.0.iter().any(|piece| piece.what == "key" && piece.meaning.contains("\"b\"")), "what follows too");
    }

    #[test]
    fn a_cut_anywhere_leaves_pieces_up_to_the_cut() {
        let file = b"REDIS0011\xfe\x00\xfb\x01\x00\xfc\x01\0\0\0\0\0\0\0\x12\x01k\x01\x02\x0c\x0c\0\0\0\x02\0\x01\x01\x81a\x02\xff\xff";
        for end in 0..file.len() {
            let mut all = All::default();
            let error = explain(&file[..end], &mut all).unwrap_err();
            assert!(error.is_cut_short(), "{end}: {error}");
            assert_eq!(end_of(&all.0), end as u64, "{end}: {error}");
        }
    }

    #[test]
    fn flipped_bytes_never_panic_and_leave_no_gap() {
        let files = crate::rdb::corpus::files().into_iter().map(|(path, _)| std::fs::read(path).unwrap());
        let file = files.min_by_key(Vec::len).unwrap();
        for at in (0..file.len()).step_by(file.len() / 500 + 1) {
            let mut broken = file.clone();
            broken[at] ^= 0x55;
            let mut all = All::default();
            let walked = explain(&broken[..], &mut all);
            let end = end_of(&all.0);
            assert!(end <= broken.len() as u64);
            assert!(end == broken.len() as u64 || walked.is_err());
        }
    }
}
