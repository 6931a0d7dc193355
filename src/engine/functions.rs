//! Function libraries that came with a file: kept, listed, written again. Calling them comes later.

/// A library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    pub name: Vec<u8>,
    pub engine: Vec<u8>,
    pub code: Vec<u8>,
}

/// All libraries, by name.
#[derive(Debug, Clone, Default)]
pub struct Functions {
    libraries: Vec<Library>,
}

/// Why a library's code is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FunctionError {
    #[error("Missing library metadata")]
    MissingMetadata,
    #[error("Library name was not given")]
    MissingName,
    #[error("Library already exists")]
    Exists,
}

impl Functions {
    /// Adds the library whose code begins with `#!<engine> name=<name>`.
    pub fn load(&mut self, code: &[u8], replace: bool) -> Result<&Library, FunctionError> {
        let library = Library::parse(code)?;
        match self.libraries.binary_search_by(|other| other.name.cmp(&library.name)) {
            Ok(_) if !replace => Err(FunctionError::Exists),
            Ok(at) => {
                self.libraries[at] = library;
                Ok(&self.libraries[at])
            }
            Err(at) => {
                self.libraries.insert(at, library);
                Ok(&self.libraries[at])
            }
        }
    }

    /// Removes a library; false if there is none of that name.
    pub fn delete(&mut self, name: &[u8]) -> bool {
        let before = self.libraries.len();
        self.libraries.retain(|library| library.name != name);
        self.libraries.len() < before
    }

    pub fn clear(&mut self) {
        self.libraries.clear();
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Library> {
        self.libraries.iter()
    }
}

impl Library {
    fn parse(code: &[u8]) -> Result<Self, FunctionError> {
        let line = code.strip_prefix(b"#!").ok_or(FunctionError::MissingMetadata)?;
        let line = &line[..memchr::memchr(b'\n', line).unwrap_or(line.len())];
        let mut words = line.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
        let engine = words.next().ok_or(FunctionError::MissingMetadata)?.to_vec();
        let name = words.find_map(|word| word.strip_prefix(b"name=")).ok_or(FunctionError::MissingName)?.to_vec();
        Ok(Self { name, engine, code: code.to_vec() })
    }

    /// The functions that the code registers with a literal name, as far as a reading of the text can tell: in
    /// `redis.register_function('name', ...)` and in `redis.register_function{function_name='name', ...}`.
    pub fn function_names(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.code);
        let calls = text.match_indices("register_function").map(|(at, call)| &text[at + call.len()..]);
        calls.filter_map(|rest| literal_name(rest.trim_start())).collect()
    }
}

fn literal_name(call: &str) -> Option<String> {
    let argument = if let Some(table) = call.strip_prefix('{').or_else(|| call.strip_prefix("({")) {
        let table = &table[..table.find('}').unwrap_or(table.len())];
        table.split("function_name").nth(1)?.trim_start().strip_prefix('=')?
    } else {
        call.strip_prefix('(')?
    };
    let argument = argument.trim_start();
    let quote = argument.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    argument[1..].split(quote).next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_tells_its_name_and_functions() {
        let code = b"#!lua name=lib\nredis.register_function('one', f)\nredis.register_function{function_name=\"two\", callback=f}";
        let mut functions = Functions::default();
        let library = functions.load(code, false).unwrap();
        assert_eq!((library.name.as_slice(), library.engine.as_slice()), (&b"lib"[..], &b"lua"[..]));
        assert_eq!(library.function_names(), ["one", "two"]);
        assert_eq!(functions.load(code, false), Err(FunctionError::Exists));
        assert!(functions.load(code, true).is_ok());
        assert_eq!(functions.load(b"return 1", true), Err(FunctionError::MissingMetadata));
        assert_eq!(functions.load(b"#!lua\n", true), Err(FunctionError::MissingName));
        assert!(functions.delete(b"lib"));
        assert!(!functions.delete(b"lib"));
    }
}
