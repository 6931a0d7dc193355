//! Function libraries: their code, which files keep, and what their functions are, which Lua tells.
//!
//! A library of a file is compiled before the first command that needs it, as whoever loads the file has no Lua. One that
//! does not compile stays as it is, to be listed and written again.

use crate::lua::Registered;

/// A library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    pub name: Vec<u8>,
    pub engine: Vec<u8>,
    pub code: Vec<u8>,
    pub state: LibraryState,
}

/// What is known of a library's functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LibraryState {
    /// It came with a file, and has not been looked into.
    NotCompiled,
    /// Why it can't be called.
    Broken(String),
    Compiled(Vec<Registered>),
}

/// All libraries, by name.
#[derive(Debug, Clone, Default)]
pub struct Functions {
    libraries: Vec<Library>,
    /// Some are not compiled.
    is_unfinished: bool,
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
        self.is_unfinished = true;
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

    /// Adds a library whose functions are known, in the place of one of the same name.
    pub fn insert(&mut self, library: Library) {
        match self.libraries.binary_search_by(|other| other.name.cmp(&library.name)) {
            Ok(at) => self.libraries[at] = library,
            Err(at) => self.libraries.insert(at, library),
        }
    }

    pub fn get(&self, name: &[u8]) -> Option<&Library> {
        self.libraries.iter().find(|library| library.name == name)
    }

    /// The library that has a function of this name, in any case, and the function.
    pub fn find(&self, name: &[u8]) -> Option<(&Library, &Registered)> {
        self.libraries.iter().find_map(|library| {
            let is_meant = |function: &&Registered| function.name.as_bytes().eq_ignore_ascii_case(name);
            Some((library, library.functions().iter().find(is_meant)?))
        })
    }

    /// A library that can't be called and seems to have a function of this name, and why.
    pub fn find_broken(&self, name: &[u8]) -> Option<(&Library, &str)> {
        self.libraries.iter().find_map(|library| match &library.state {
            LibraryState::Broken(reason) => {
                let names = library.function_names();
                let has_it = names.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name));
                has_it.then_some((library, reason.as_str()))
            }
            _ => None,
        })
    }

    /// Hands out the libraries that are not compiled, with the code of each: the caller says what became of them.
    pub fn take_unfinished(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        if !std::mem::take(&mut self.is_unfinished) {
            return Vec::new();
        }
        let unfinished = self.libraries.iter().filter(|library| library.state == LibraryState::NotCompiled);
        unfinished.map(|library| (library.name.clone(), library.code.clone())).collect()
    }

    /// Says what became of a library.
    pub fn set_state(&mut self, name: &[u8], state: LibraryState) {
        if let Some(library) = self.libraries.iter_mut().find(|library| library.name == name) {
            library.state = state;
        }
    }

    /// The state of Lua is gone: all are to be compiled again.
    pub fn forget_compiled(&mut self) {
        for library in &mut self.libraries {
            library.state = LibraryState::NotCompiled;
            self.is_unfinished = true;
        }
    }

    /// How many functions there are.
    pub fn count(&self) -> usize {
        self.libraries.iter().map(Library::count).sum()
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
        Ok(Self { name, engine, code: code.to_vec(), state: LibraryState::NotCompiled })
    }

    /// The functions that can be called.
    pub fn functions(&self) -> &[Registered] {
        match &self.state {
            LibraryState::Compiled(functions) => functions,
            _ => &[],
        }
    }

    /// How many functions it has, as far as is known.
    pub fn count(&self) -> usize {
        match &self.state {
            LibraryState::Compiled(functions) => functions.len(),
            _ => self.function_names().len(),
        }
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
