//! A visitor that makes a value of what it is told.

use crate::rdb::event::Visitor;
use crate::rdb::kind::Kind;
use crate::value::{Element, Hash, Insert, Limits, List, Module, Object, Set, Stream, StringValue, Zset};

/// Builds an [`Object`] from its elements. Useful on its own for what else can be told as elements.
pub(in crate::rdb) struct Builder<'a> {
    limits: &'a Limits,
    object: Option<Object>,
    /// The first thing that no value can hold.
    problem: Option<&'static str>,
}

impl<'a> Builder<'a> {
    pub(in crate::rdb) fn new(limits: &'a Limits) -> Self {
        Builder { limits, object: None, problem: None }
    }

    /// The value; `None` if it is a collection that got no element.
    pub(in crate::rdb) fn finish(self) -> Result<Option<Object>, &'static str> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        Ok(self.object.filter(|object| match object {
            Object::List(value) => !value.is_empty(),
            Object::Set(value) => !value.is_empty(),
            Object::Zset(value) => !value.is_empty(),
            Object::Hash(value) => !value.is_empty(),
            Object::String(_) | Object::Stream(_) | Object::Module(_) => true,
        }))
    }
}

impl Visitor for Builder<'_> {
    fn begin(&mut self, kind: Kind, _count: Option<u64>) {
        self.object = match kind.type_name() {
            "list" => Some(Object::List(List::new())),
            "set" => Some(Object::Set(Set::new())),
            "zset" => Some(Object::Zset(Zset::new())),
            "hash" => Some(Object::Hash(Hash::new())),
            _ => None,
        };
    }

    fn string(&mut self, value: Element<'_>) {
        self.object = Some(Object::String(match value {
            Element::Int(value) => StringValue::from(value),
            Element::Bytes(bytes) => StringValue::from(bytes),
        }));
    }

    fn list_item(&mut self, item: Element<'_>) {
        if let Some(Object::List(list)) = &mut self.object {
            item.with(|item| list.push_back(item, self.limits));
        }
    }

    fn set_member(&mut self, member: Element<'_>) {
        if let Some(Object::Set(set)) = &mut self.object
            && !member.with(|member| set.insert(member, self.limits))
        {
            self.problem = Some("a set holds a member twice");
        }
    }

    fn zset_member(&mut self, member: Element<'_>, score: f64) {
        if score.is_nan() {
            self.problem = Some("a score is not a number");
        } else if let Some(Object::Zset(zset)) = &mut self.object
            && member.with(|member| zset.insert(member, score, self.limits)) != Insert::Added
        {
            self.problem = Some("a sorted set holds a member twice");
        }
    }

    fn hash_field(&mut self, field: Element<'_>, value: Element<'_>, expire_at_ms: Option<i64>) {
        let Some(Object::Hash(hash)) = &mut self.object else { return };
        field.with(|field| {
            if !value.with(|value| hash.set(field, value, self.limits)) {
                self.problem = Some("a hash holds a field twice");
            }
            if expire_at_ms.is_some() {
                hash.set_expire(field, expire_at_ms, self.limits);
            }
        });
    }

    fn stream(&mut self, stream: &Stream) {
        self.object = Some(Object::Stream(stream.clone()));
    }

    fn module(&mut self, module: &Module) {
        self.object = Some(Object::Module(module.clone()));
    }
}
