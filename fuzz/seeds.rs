//! Makes the first corpus of every target out of the real servers' files in testdata/: whole small files, and the values
//! of keys in the layouts in which they stand there.

use ironkeep::rdb::{Event, Header, KeyHeader, Kind, Options, Reader};
use std::path::{Path, PathBuf};

/// A fuzzer changes small inputs faster.
const MOST_BYTES: usize = 3_000;
/// Files of one type from one server.
const PER_TYPE: usize = 4;

fn put(target: &str, name: &str, content: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    std::fs::write(folder.join(name), content).expect("a file can be written");
}

/// What a string holds that is neither compressed nor a number: 6, 14 or 32 bits of length, then its bytes.
fn plain(raw: &[u8]) -> Option<&[u8]> {
    match *raw {
        [first, ref rest @ ..] if first >> 6 == 0 => rest.get(..usize::from(first)),
        [first, second, ref rest @ ..] if first >> 6 == 1 => {
            rest.get(..usize::from(u16::from_be_bytes([first & 0x3f, second])))
        }
        _ => None,
    }
}

fn seed(name: &str, header: Header, key: &KeyHeader, raw: &[u8]) {
    let mut file = format!("{header}").into_bytes();
    file.extend_from_slice(&[0xfe, 0, key.kind.number(), 1, b'k']);
    file.extend_from_slice(raw);
    file.push(0xff);
    if header.version >= 5 {
        file.extend_from_slice(&[0; 8]);
    }
    put("reader", name, &file);
    put("check", name, &file);
    let version = u8::try_from(header.version).expect("versions are small");
    put("dump", name, &[&[version, key.kind.number()], raw].concat());
    let streams = [Kind::StreamListpacks, Kind::StreamListpacks2, Kind::StreamListpacks3];
    if let Some(choice) = streams.iter().position(|kind| *kind == key.kind) {
        put("stream", name, &[&[choice as u8], raw].concat());
    }
    let Some(packed) = plain(raw) else { return };
    match key.kind.encoding() {
        "ziplist" => put("ziplist", name, packed),
        "zipmap" => put("zipmap", name, packed),
        "intset" => put("intset", name, &[&[7; 8], packed].concat()),
        "listpack" => put("listpack", name, &[&[1, 20], packed].concat()),
        "string" => put("lzf", name, &[&[100, 0], packed].concat()),
        _ => {}
    }
}

fn seeds_of(path: &Path) {
    let server = path.parent().and_then(Path::file_name).expect("a folder per server").to_string_lossy().into_owned();
    let file = std::fs::File::open(path).expect("a file of the corpus");
    let mut reader = Reader::new(file, Options::default()).expect("a whole file");
    let header = reader.header();
    let mut made = std::collections::HashMap::<Kind, usize>::new();
    loop {
        match reader.next().expect("a whole file") {
            Event::Key(key) => {
                let mut raw = Vec::new();
                reader.copy_value(&mut raw).expect("a whole file");
                let count = made.entry(key.kind).or_default();
                if raw.len() <= MOST_BYTES && *count < PER_TYPE {
                    *count += 1;
                    seed(&format!("{server}-{}-{count}", key.kind.name()), header, &key, &raw);
                }
            }
            Event::End { .. } => return,
            _ => {}
        }
    }
}

fn main() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/corpus");
    let servers = std::fs::read_dir(corpus).expect("the corpus is there");
    let folders: Vec<PathBuf> =
        servers.map(|entry| entry.expect("a name").path()).filter(|path| path.is_dir()).collect();
    for path in folders.iter().map(|folder| folder.join("types.rdb")).filter(|path| path.exists()) {
        seeds_of(&path);
    }
    for folder in &folders {
        seeds_of_logs(folder, &folder.file_name().expect("a folder per server").to_string_lossy());
    }
    put("config", "short", b"appendonly yes\nsave 60 1000\n# a comment\nmaxmemory 1gb\nappendfsync \"always\"\n");
    put("request", "mixed", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\r\n\r\nPING 'a b' \"\\x00\"\r\n*0\r\n");
}

/// The beginnings of logs, which are requests too, and the manifests below a folder.
fn seeds_of_logs(folder: &Path, name: &str) {
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a name").path()) {
        let name = format!("{name}-{}", entry.file_name().expect("a name").to_string_lossy());
        if entry.is_dir() {
            seeds_of_logs(&entry, &name);
        } else if name.ends_with(".manifest") {
            put("manifest", &name, &std::fs::read(&entry).expect("a file of the corpus"));
        } else if name.ends_with(".aof") {
            let bytes = std::fs::read(&entry).expect("a file of the corpus");
            let start = &bytes[..bytes.len().min(MOST_BYTES)];
            put("log", &name, start);
            put("request", &name, start);
        }
    }
}
