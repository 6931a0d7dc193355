//! Files that only the holder of a key can read: [age](https://age-encryption.org/v1) around what is packed.
//!
//! Whoever makes a backup knows recipients only, and yet reads back what was written: each file is also encrypted to a key that
//! is made for it and forgotten with it ([`Keys::for_one_file`]).

use std::io::{self, BufReader, Read, Write};

use age::DecryptError;
use age::stream::{StreamReader, StreamWriter};
use age::x25519::{Identity, Recipient};

/// To whom is encrypted, and what opens.
#[derive(Clone, Default)]
pub struct Keys {
    recipients: Vec<Recipient>,
    identities: Vec<Identity>,
}

impl Keys {
    /// Those of recipients, `age1...` with spaces between them; an empty text is none, and nothing is encrypted.
    pub fn to_recipients(text: &str) -> Result<Self, String> {
        let parse = |word: &str| word.parse().map_err(|error| format!("{word} is no recipient of age: {error}"));
        let recipients = text.split_whitespace().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { recipients, identities: Vec::new() })
    }

    /// Adds those of a file of `age-keygen`: `AGE-SECRET-KEY-1...` in lines, and comments.
    pub fn with_identities(mut self, content: &str) -> Result<Self, String> {
        let lines = content.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
        for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            self.identities
                .push(line.parse().map_err(|error| format!("line {number} is no identity of age: {error}"))?);
        }
        Ok(self)
    }

    /// Whether what is written is encrypted.
    pub fn encrypts(&self) -> bool {
        !self.recipients.is_empty()
    }

    /// With a key for one file that is written and read back.
    pub(super) fn for_one_file(&self) -> Self {
        let mut keys = self.clone();
        if self.encrypts() {
            let identity = Identity::generate();
            keys.recipients.push(identity.to_public());
            keys.identities.push(identity);
        }
        keys
    }

    /// What is written to a file goes through this; as it is without a recipient.
    pub(super) fn encrypt<W: Write>(&self, out: W) -> io::Result<Encrypting<W>> {
        if !self.encrypts() {
            return Ok(Encrypting::Plain(out));
        }
        let recipients = self.recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(recipients).map_err(io::Error::other)?;
        Ok(Encrypting::Age(encryptor.wrap_output(out)?))
    }

    /// What is in an encrypted file. `PermissionDenied` where no key is at hand that opens it.
    pub(super) fn decrypt<R: Read>(&self, source: R) -> io::Result<StreamReader<BufReader<R>>> {
        let identities = self.identities.iter().map(|identity| identity as &dyn age::Identity);
        let source = BufReader::with_capacity(1 << 16, source);
        age::Decryptor::new_buffered(source).and_then(|file| file.decrypt(identities)).map_err(|error| match error {
            DecryptError::Io(error) => error,
            DecryptError::NoMatchingKeys => {
                let reason = "it is encrypted, and none of the keys at hand opens it: `--identity FILE` names one";
                io::Error::new(io::ErrorKind::PermissionDenied, reason)
            }
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        })
    }
}

/// A file that is written, encrypted or not.
pub(super) enum Encrypting<W: Write> {
    Plain(W),
    Age(StreamWriter<W>),
}

impl<W: Write> Encrypting<W> {
    /// Writes what is held back.
    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(out) => Ok(out),
            Self::Age(out) => out.finish(),
        }
    }
}

impl<W: Write> Write for Encrypting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Age(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Age(out) => out.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encrypted(keys: &Keys, text: &[u8]) -> Vec<u8> {
        let mut out = keys.encrypt(Vec::new()).unwrap();
        out.write_all(text).unwrap();
        out.finish().unwrap()
    }

    fn opened(keys: &Keys, file: &[u8]) -> Result<Vec<u8>, io::ErrorKind> {
        let mut text = Vec::new();
        let read = keys.decrypt(file).and_then(|mut source| source.read_to_end(&mut text));
        read.map(|_| text).map_err(|error| error.kind())
    }

    #[test]
    fn a_file_opens_with_its_identity_and_with_the_key_it_was_made_with() {
        let identity = Identity::generate();
        let keys = Keys::to_recipients(&format!(" {} ", identity.to_public())).unwrap();
        let once = keys.for_one_file();
        let file = encrypted(&once, b"secret");
        use age::secrecy::ExposeSecret;
        let known = format!("# created: today\n\n{}\n", identity.to_string().expose_secret());
        assert_eq!(opened(&once, &file), Ok(b"secret".to_vec()));
        assert_eq!(opened(&Keys::default().with_identities(&known).unwrap(), &file), Ok(b"secret".to_vec()));
        assert_eq!(opened(&keys, &file), Err(io::ErrorKind::PermissionDenied));
        assert_eq!(opened(&keys.for_one_file(), &file), Err(io::ErrorKind::PermissionDenied));
        assert_eq!(opened(&once, &file[..file.len() - 1]), Err(io::ErrorKind::InvalidData));
        assert_eq!(encrypted(&Keys::default().for_one_file(), b"plain"), b"plain");
    }

    #[test]
    fn what_is_no_key_is_told() {
        assert!(Keys::to_recipients("age1x").err().unwrap().contains("age1x is no recipient of age"));
        assert!(Keys::default().with_identities("# a\nAGE-SECRET").err().unwrap().starts_with("line 2 is no identity"));
    }
}
