//! What stands beside the keys of several files, brought together: remarks of the first, function libraries and module
//! data of all.

use super::OnConflict;
use crate::library::Library;
use ironkeep::cli::escape::Quoted;
use ironkeep::rdb::Event;

/// A function library, or the data of a module for one moment of a load; by name and content.
struct Piece {
    name: Vec<u8>,
    event: Event,
}

/// Collects it.
#[derive(Default)]
pub struct Beside {
    remarks: Vec<Event>,
    imports: Vec<Event>,
    functions: Vec<Piece>,
    /// Before the keys and behind them.
    modules: [Vec<Piece>; 2],
    /// What differs between inputs and may not.
    pub undecided: Vec<String>,
}

impl Beside {
    /// Takes what stands in the file of this number; `is_behind` the keys.
    pub fn take(&mut self, event: Event, input: usize, is_behind: bool, policy: OnConflict) {
        match &event {
            Event::Aux { .. } if input == 0 => self.remarks.push(event),
            Event::SlotImport { .. } => self.imports.push(event),
            Event::Function { code } => {
                // A library that does not say its name is its own name.
                let name = Library::of(code).name.unwrap_or(code).to_vec();
                let what = format!("function library {}", Quoted(&name));
                self.undecided.extend(add(&mut self.functions, Piece { name, event }, policy).then_some(what));
            }
            Event::ModuleAux { module, raw, .. } => {
                // Data of one module for different moments of a load differ in their first opcodes.
                let name = [module.as_bytes(), raw.get(..2).unwrap_or_default()].concat();
                let what = format!("data of module {}", Quoted(module.as_bytes()));
                let pieces = &mut self.modules[usize::from(is_behind)];
                self.undecided.extend(add(pieces, Piece { name, event }, policy).then_some(what));
            }
            _ => {}
        }
    }

    /// What is written before the keys.
    pub fn before(&self) -> impl Iterator<Item = &Event> {
        let pieces = self.modules[0].iter().chain(&self.functions).map(|piece| &piece.event);
        self.remarks.iter().chain(&self.imports).chain(pieces)
    }

    /// What is written behind them.
    pub fn behind(&self) -> impl Iterator<Item = &Event> {
        self.modules[1].iter().map(|piece| &piece.event)
    }
}

/// Adds a piece; whether it differs from one of the same name and nothing says which is meant.
fn add(pieces: &mut Vec<Piece>, piece: Piece, policy: OnConflict) -> bool {
    let Some(there) = pieces.iter_mut().find(|there| there.name == piece.name) else {
        pieces.push(piece);
        return false;
    };
    match policy {
        _ if there.event == piece.event => false,
        OnConflict::First => false,
        OnConflict::Last => {
            *there = piece;
            false
        }
        OnConflict::Fail | OnConflict::NewestExpiry | OnConflict::Union => true,
    }
}
