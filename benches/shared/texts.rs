//! Texts and keys as applications have them.

pub type Request = Vec<Vec<u8>>;

/// Words that sentences are made of.
const WORDS: usize = 2_000;

/// What applications store: tokens, sentences, JSON, numbers, now and then something binary.
pub struct Texts {
    random: fastrand::Rng,
    words: Vec<String>,
}

impl Texts {
    pub fn with_seed(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let words = (0..WORDS).map(|_| (0..random.usize(2..10)).map(|_| random.lowercase()).collect()).collect();
        Self { random, words }
    }

    /// One text of about `len` bytes.
    fn text(&mut self, len: usize) -> Vec<u8> {
        let random = &mut self.random;
        match random.u8(..20) {
            0 => (0..len).map(|_| random.u8(..)).collect(),
            1..4 => random.u64(..).to_string().into_bytes(),
            4..10 => (0..len).map(|_| random.alphanumeric() as u8).collect(), // ASCII
            10..13 => format!(
                r#"{{"id":{},"{}":"{}"}}"#,
                random.u32(..),
                self.words[random.usize(..WORDS)],
                (0..len.saturating_sub(25)).map(|_| random.alphanumeric()).collect::<String>(),
            )
            .into_bytes(),
            _ => {
                let mut text = Vec::with_capacity(len + 10);
                while text.len() < len {
                    text.extend_from_slice(self.words[random.usize(..WORDS)].as_bytes());
                    text.push(b' ');
                }
                text
            }
        }
    }

    /// What collections hold: ids, numbers, words.
    fn element(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        match random.u8(..8) {
            0..2 => random.u32(..).to_string().into_bytes(),
            2..4 => format!("user:{}", random.u32(..10_000_000)).into_bytes(),
            4..6 => self.words[random.usize(..WORDS)].clone().into_bytes(),
            6 => random.u8(..).to_string().into_bytes(),
            _ => self.text(16),
        }
    }

    /// The requests that make one key: a string in twelve of thirty-two, a stream in one, a set, list, hash or sorted
    /// set in the others; one collection in four hundred is large.
    pub fn requests(&mut self, index: u64) -> Vec<Request> {
        let key = format!("app:{}:{index}", self.random.u8(..)).into_bytes();
        let mut made = Vec::new();
        let verb: &[u8] = match self.random.u8(..32) {
            0..12 => b"SET",
            12..17 => b"SADD",
            17..22 => b"RPUSH",
            22..27 => b"HSET",
            27..31 => b"ZADD",
            _ => b"XADD",
        };
        let is_large = self.random.u16(..400) == 0;
        let count = if is_large { self.random.usize(300..1_000) } else { self.random.usize(2..16) };
        let of_numbers = self.random.bool();
        let mut request = vec![verb.to_vec(), key.clone()];
        match verb {
            b"SET" => {
                let len = self.random.usize(5..400);
                request.push(self.text(len));
            }
            b"SADD" if of_numbers => request.extend((0..count).map(|_| self.random.u32(..).to_string().into_bytes())),
            b"SADD" | b"RPUSH" => request.extend((0..count).map(|_| self.element())),
            b"HSET" => {
                for field in 0..count {
                    request.extend([format!("f{field}").into_bytes(), self.element()]);
                }
            }
            b"ZADD" => {
                for _ in 0..count {
                    let score = format!("{:.2}", self.random.f64() * 1e4);
                    request.extend([score.into_bytes(), self.element()]);
                }
            }
            _ => {
                for entry in 0..count {
                    let id = format!("{}-{entry}", 1_700_000_000_000 + index).into_bytes();
                    let fields = [b"temperature".to_vec(), self.element(), b"humidity".to_vec(), self.element()];
                    made.push([verb.to_vec(), key.clone(), id].into_iter().chain(fields).collect());
                }
                request.clear();
            }
        }
        made.extend((!request.is_empty()).then_some(request));
        if index.is_multiple_of(5) {
            made.push(vec![b"PEXPIREAT".to_vec(), key, b"4000000000000".to_vec()]);
        }
        made
    }
}
