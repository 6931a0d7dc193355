//! Small collections that stand inside their entries, unpacked while a command works on them.
//!
//! To be read, one is copied into an object that is kept here and used again, so that reading allocates nothing. To be
//! changed, it becomes an object of its own, in an entry that is *loose*: the last few loose entries stay so, for what is
//! changed once is often changed again; those before them are packed into one block of memory again. A loose entry is
//! named by its place and address and looked up before it is packed, as it may be gone by then.

use std::collections::VecDeque;

use smallvec::SmallVec;

use crate::cow::segments::Place;
use crate::value::{List, Object};

use super::entry::View;

/// Entries that stay loose.
const MOST_LOOSE: usize = 64;
/// Objects that are kept for reading.
const MOST_KEPT: usize = 8;

/// An entry that is to be packed again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loose {
    pub(super) db: usize,
    pub(super) place: Place,
    /// What stood for the entry in its table.
    pub(super) payload: u64,
}

#[derive(Default)]
pub(super) struct Unpacked {
    loose: VecDeque<Loose>,
    for_reading: Vec<Object>,
}

impl Unpacked {
    pub(super) fn loosen(&mut self, loose: Loose) {
        self.loose.push_back(loose);
    }

    /// The oldest loose entry, if there are too many.
    pub(super) fn overdue(&mut self) -> Option<Loose> {
        if self.loose.len() > MOST_LOOSE { self.loose.pop_front() } else { None }
    }

    /// Two databases have exchanged their places.
    pub(super) fn swap(&mut self, first: usize, second: usize) {
        for loose in &mut self.loose {
            loose.db = match loose.db {
                db if db == first => second,
                db if db == second => first,
                db => db,
            };
        }
    }

    /// The view with an object in it where it was compact.
    pub(super) fn unpack<'a>(&'a mut self, view: View<'a>) -> View<'a> {
        let View::Compact(compact) = view else { return view };
        if self.for_reading.is_empty() {
            self.for_reading.push(Object::List(List::new()));
        }
        compact.fill(&mut self.for_reading[0]);
        View::Object(&self.for_reading[0])
    }

    /// As [`Unpacked::unpack`], of several at once.
    pub(super) fn unpack_all<'a>(
        &'a mut self,
        views: impl Iterator<Item = Option<View<'a>>>,
    ) -> SmallVec<[Option<View<'a>>; 8]> {
        let mut views: SmallVec<[Option<View<'a>>; 8]> = views.collect();
        let compact =
            || views.iter().filter_map(|view| if let Some(View::Compact(it)) = view { Some(*it) } else { None });
        let count = compact().count();
        self.for_reading.truncate(count.max(MOST_KEPT));
        while self.for_reading.len() < count {
            self.for_reading.push(Object::List(List::new()));
        }
        compact().zip(&mut self.for_reading).for_each(|(compact, object)| compact.fill(object));
        let mut objects = self.for_reading.iter();
        for view in views.iter_mut().filter(|view| matches!(view, Some(View::Compact(_)))) {
            *view = objects.next().map(View::Object);
        }
        views
    }
}
