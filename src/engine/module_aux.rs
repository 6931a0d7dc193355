//! What modules stored beside the keys of a file, opaque: kept as it came, and written again by every save.
//!
//! Like function libraries, and as in a server that has the modules, it survives FLUSHALL.

use crate::value::Module;

/// The pieces that came with the file that was loaded, in its order.
#[derive(Debug, Clone, Default)]
pub struct ModuleAux {
    /// Those that a module wants to be told before its keys are loaded.
    pub before_keys: Vec<Module>,
    /// Those that may speak of keys, and so stand behind them.
    pub behind_keys: Vec<Module>,
}
