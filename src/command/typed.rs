//! The collection that a key holds, borrowed apart from the reply, so that elements go out without a copy.

use crate::keyspace::{Db, View};
use crate::resp::{Encoder, Protocol, Reply};
use crate::value::{Element, Hash, List, Object, Set, Zset};

use smallvec::SmallVec;

use super::{CommandError, Context};

/// A type of collection.
pub(super) trait Collection: Sized {
    fn empty() -> Object;
    fn of(object: &Object) -> Option<&Self>;
    fn of_mut(object: &mut Object) -> Option<&mut Self>;
}

macro_rules! collections {
    ($($kind:ident)*) => {
        $(impl Collection for $kind {
            fn empty() -> Object {
                Object::$kind($kind::new())
            }

            fn of(object: &Object) -> Option<&Self> {
                if let Object::$kind(value) = object { Some(value) } else { None }
            }

            fn of_mut(object: &mut Object) -> Option<&mut Self> {
                if let Object::$kind(value) = object { Some(value) } else { None }
            }
        })*
    };
}

collections! { List Set Hash Zset }

/// The key's collection to read, and the reply to write; an error if the key holds another type.
pub(super) fn read<'e, 'a, T: Collection>(
    context: &'e mut Context<'a>,
    key: &[u8],
) -> Result<(Option<&'e T>, &'e mut Encoder<'a>), CommandError> {
    let found = match context.engine.keyspace.db(context.session.db).into_value_used(key) {
        None => {
            context.engine.stats.keyspace_misses += 1;
            None
        }
        Some(View::Object(object)) => {
            context.engine.stats.keyspace_hits += 1;
            Some(T::of(object).ok_or(CommandError::WrongType)?)
        }
        Some(_) => return Err(CommandError::WrongType),
    };
    Ok((found, &mut context.reply))
}

/// Several keys' collections to read, of a database; an error if one of them holds another type.
pub(super) fn read_all<'e, T: Collection>(
    db: Db<'e>,
    keys: &[&[u8]],
) -> Result<SmallVec<[Option<&'e T>; 8]>, CommandError> {
    let of = |view| match view {
        None => Ok(None),
        Some(View::Object(object)) => T::of(object).map(Some).ok_or(CommandError::WrongType),
        Some(_) => Err(CommandError::WrongType),
    };
    db.into_values(keys).into_iter().map(of).collect()
}

/// The key's collection to change, and the reply to write; an error if the key holds another type.
pub(super) fn write<'e, 'a, T: Collection>(
    context: &'e mut Context<'a>,
    key: &[u8],
) -> Result<(Option<&'e mut T>, &'e mut Encoder<'a>), CommandError> {
    let found = match context.engine.keyspace.db(context.session.db).into_object_used(key) {
        None => None,
        Some(object) => Some(object.and_then(T::of_mut).ok_or(CommandError::WrongType)?),
    };
    Ok((found, &mut context.reply))
}

/// The key's collection to change, made empty if there is none, which the caller must fill; an error if the key holds
/// another type.
pub(super) fn create<'e, T: Collection>(context: &'e mut Context<'_>, key: &[u8]) -> Result<&'e mut T, CommandError> {
    let db = context.engine.keyspace.db(context.session.db);
    db.into_object_or_insert(key, T::empty).and_then(T::of_mut).ok_or(CommandError::WrongType)
}

/// The reply of SSCAN, HSCAN and ZSCAN: the next cursor, then the elements, whose number is known only at the end.
pub(super) struct Page {
    encoded: Vec<u8>,
    count: usize,
    protocol: Protocol,
}

impl Page {
    pub(super) fn new(protocol: Protocol) -> Self {
        Self { encoded: Vec::new(), count: 0, protocol }
    }

    pub(super) fn push(&mut self, element: Element<'_>) {
        element.with(|text| Encoder::new(&mut self.encoded, self.protocol).bulk(text));
        self.count += 1;
    }

    /// The whole reply of a scan.
    pub(super) fn write_scan(self, reply: &mut Encoder<'_>, next: u64) -> Reply {
        let header = reply.array(2);
        reply.bulk(itoa::Buffer::new().format(next).as_bytes());
        reply.array(self.count);
        reply.raw(&self.encoded);
        header
    }

    /// The elements as a set.
    pub(super) fn write_set(self, reply: &mut Encoder<'_>) -> Reply {
        let header = reply.set(self.count);
        reply.raw(&self.encoded);
        header
    }
}
