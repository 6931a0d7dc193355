//! The collection that a key holds, borrowed apart from the reply, so that elements go out without a copy.

use crate::keyspace::View;
use crate::resp::Encoder;
use crate::value::{Hash, List, Object, Set, Zset};

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
    let access = context.engine.access_clock();
    let mut db = context.engine.keyspace.db(context.session.db);
    db.set_access(key, access);
    let found = match db.into_value(key) {
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

/// As [`read`], of one of several keys: no reply beside it, and it counts as no access.
pub(super) fn peek<'e, T: Collection>(context: &'e mut Context<'_>, key: &[u8]) -> Result<Option<&'e T>, CommandError> {
    match context.engine.keyspace.db(context.session.db).into_value(key) {
        None => Ok(None),
        Some(View::Object(object)) => T::of(object).map(Some).ok_or(CommandError::WrongType),
        Some(_) => Err(CommandError::WrongType),
    }
}

/// The key's collection to change, and the reply to write; an error if the key holds another type.
pub(super) fn write<'e, 'a, T: Collection>(
    context: &'e mut Context<'a>,
    key: &[u8],
) -> Result<(Option<&'e mut T>, &'e mut Encoder<'a>), CommandError> {
    let access = context.engine.access_clock();
    let mut db = context.engine.keyspace.db(context.session.db);
    db.set_access(key, access);
    let is_there = match db.get(key) {
        None => false,
        Some(View::Object(object)) => T::of(object).map(|_| true).ok_or(CommandError::WrongType)?,
        Some(_) => return Err(CommandError::WrongType),
    };
    let found = if is_there { db.into_object_mut(key).and_then(T::of_mut) } else { None };
    Ok((found, &mut context.reply))
}

/// The key's collection to change, made empty if there is none, which the caller must fill; an error if the key holds
/// another type.
pub(super) fn create<'e, T: Collection>(context: &'e mut Context<'_>, key: &[u8]) -> Result<&'e mut T, CommandError> {
    let access = context.engine.access_clock();
    let mut db = context.engine.keyspace.db(context.session.db);
    db.set_access(key, access);
    db.into_object_or_insert(key, T::empty).and_then(T::of_mut).ok_or(CommandError::WrongType)
}
