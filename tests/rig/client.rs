//! A blocking client of the protocol's second version. Every wait is bounded.

use ironkeep::resp::encode_request;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The longest wait for one reply, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Simple(String),
    Error(String),
    Int(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Value>),
}

impl Value {
    /// The bytes of a bulk or simple string.
    pub fn bytes(self) -> Vec<u8> {
        match self {
            Value::Bulk(bytes) => bytes,
            Value::Simple(text) => text.into_bytes(),
            other => panic!("a string was expected, not {other:?}"),
        }
    }

    pub fn text(self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }

    pub fn array(self) -> Vec<Value> {
        match self {
            Value::Array(items) => items,
            other => panic!("an array was expected, not {other:?}"),
        }
    }

    pub fn int(&self) -> i64 {
        match self {
            Value::Int(value) => *value,
            other => panic!("an integer was expected, not {other:?}"),
        }
    }

    pub fn is_error(&self) -> bool {
        matches!(self, Value::Error(_))
    }

    /// The value behind `name` in a map that came as a flat array.
    pub fn field(&self, name: &str) -> Option<&Value> {
        let Value::Array(items) = self else { return None };
        items.chunks_exact(2).find(|pair| pair[0] == Value::Bulk(name.as_bytes().to_vec())).map(|pair| &pair[1])
    }
}

pub struct Client {
    stream: BufReader<TcpStream>,
    out: Vec<u8>,
}

impl Client {
    pub fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), out: Vec::new() })
    }

    /// Adds a request to those that [`Client::flush`] sends.
    pub fn queue<A: AsRef<[u8]>>(&mut self, arguments: &[A]) {
        encode_request(&mut self.out, arguments);
    }

    pub fn flush(&mut self) -> io::Result<()> {
        let sent = self.stream.get_mut().write_all(&self.out);
        self.out.clear();
        sent
    }

    /// Sends one request and waits for its reply.
    pub fn ask<A: AsRef<[u8]>>(&mut self, arguments: &[A]) -> io::Result<Value> {
        self.queue(arguments);
        self.flush()?;
        self.reply()
    }

    /// As [`Client::ask`], for tests to which a broken connection or an error reply is a failure.
    pub fn call<A: AsRef<[u8]>>(&mut self, arguments: &[A]) -> Value {
        let name = String::from_utf8_lossy(arguments[0].as_ref()).into_owned();
        match self.ask(arguments).unwrap_or_else(|error| panic!("{name}: {error}")) {
            Value::Error(error) => panic!("{name}: {error}"),
            reply => reply,
        }
    }

    /// [`Client::call`] with the words of a line.
    pub fn line(&mut self, line: &str) -> Value {
        self.call(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Waits until no rewrite is under way or due, and the last one went well.
    pub fn wait_for_rewrite(&mut self) {
        for _ in 0..600 {
            let info = self.line("INFO persistence").text();
            if info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0") {
                assert!(info.contains("aof_last_bgrewrite_status:ok"), "{info}");
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the rewrite did not end within 30 s");
    }

    /// Sends many requests at once; any error is a failure.
    pub fn pipeline(&mut self, requests: &[Vec<Vec<u8>>]) -> Vec<Value> {
        let mut replies = Vec::with_capacity(requests.len());
        // Both ends could wait for each other if all were sent before the first reply is read.
        for batch in requests.chunks(128) {
            batch.iter().for_each(|request| self.queue(request));
            self.flush().unwrap();
            for request in batch {
                let reply = self.reply().unwrap();
                assert!(!reply.is_error(), "{}: {reply:?}", request[0].escape_ascii());
                replies.push(reply);
            }
        }
        replies
    }

    /// Waits for one reply.
    pub fn reply(&mut self) -> io::Result<Value> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        let Some(line) = line.strip_suffix(b"\r\n") else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        let text = String::from_utf8_lossy(&line[1..]).into_owned();
        let number = || text.parse::<i64>().map_err(|_| io::Error::from(io::ErrorKind::InvalidData));
        match line[0] {
            b'+' => Ok(Value::Simple(text)),
            b'-' => Ok(Value::Error(text)),
            b':' => Ok(Value::Int(number()?)),
            b'$' => match usize::try_from(number()?) {
                Err(_) => Ok(Value::Null),
                Ok(len) => {
                    let mut bytes = vec![0; len + 2];
                    self.stream.read_exact(&mut bytes)?;
                    bytes.truncate(len);
                    Ok(Value::Bulk(bytes))
                }
            },
            b'*' => match usize::try_from(number()?) {
                Err(_) => Ok(Value::Null),
                Ok(count) => (0..count).map(|_| self.reply()).collect::<io::Result<_>>().map(Value::Array),
            },
            other => Err(io::Error::other(format!("a reply that begins with {other}"))),
        }
    }

    /// Whether anything comes within this time.
    #[allow(dead_code)] // for the tests, which the benches share this module with
    pub fn has_come(&mut self, within: Duration) -> bool {
        self.stream.get_ref().set_read_timeout(Some(within)).unwrap();
        let has_come = self.stream.fill_buf().is_ok_and(|bytes| !bytes.is_empty());
        self.stream.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
        has_come
    }

    /// Waits for one reply of either version of the protocol, and returns its bytes.
    pub fn raw_reply(&mut self) -> io::Result<Vec<u8>> {
        let (mut reply, mut missing) = (Vec::new(), 1);
        while missing > 0 {
            let start = reply.len();
            self.stream.read_until(b'\n', &mut reply)?;
            let Some(line) = reply[start..].strip_suffix(b"\r\n") else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            let count = std::str::from_utf8(&line[1..]).ok().and_then(|text| text.parse::<usize>().ok());
            missing -= 1;
            match (line[0], count) {
                (b'*' | b'~' | b'>', Some(count)) => missing += count,
                (b'%', Some(count)) => missing += 2 * count,
                (b'$' | b'=' | b'!', Some(len)) => {
                    let start = reply.len();
                    reply.resize(start + len + 2, 0);
                    self.stream.read_exact(&mut reply[start..])?;
                }
                _ => {}
            }
        }
        Ok(reply)
    }
}
