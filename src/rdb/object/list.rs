//! Lists.
//!
//! ```text
//! 1  LIST             n, n strings
//! 10 LIST_ZIPLIST     a ziplist
//! 14 LIST_QUICKLIST   n, n ziplists
//! 18 LIST_QUICKLIST_2 n, n x (1 and a string, which is one element; or 2 and a listpack)
//! ```

use std::io::{self, Read, Write};

use super::gather::{Gathered, gather_pack};
use super::{Layout, Pack, Scratch, build_by_elements};
use crate::rdb::error::Error;
use crate::rdb::event::Visitor;
use crate::rdb::input::Input;
use crate::rdb::kind::Kind;
use crate::rdb::output::Output;
use crate::rdb::packed::ZiplistBuilder;
use crate::rdb::version::Version;
use crate::value::{Limits, List, ListNode, Object, Shape};

const PLAIN: u64 = 1;
const PACKED: u64 = 2;
const UNKNOWN_NODE: &str = "a list node is neither plain nor packed";

/// One node of a list in the file.
enum Node {
    Plain(Vec<u8>),
    Packed(Pack),
}

/// Calls `take` for every node of a packed list.
fn nodes<R: Read>(
    input: &mut Input<R>,
    kind: Kind,
    take: impl FnMut(Node) -> Result<(), &'static str>,
) -> Result<(), Error> {
    input.part = "a list node";
    let count = if kind == Kind::ListZiplist { 1 } else { input.length()? };
    some_nodes(input, kind, count, take)
}

/// Calls `take` for the next `count` nodes.
fn some_nodes<R: Read>(
    input: &mut Input<R>,
    kind: Kind,
    count: u64,
    mut take: impl FnMut(Node) -> Result<(), &'static str>,
) -> Result<(), Error> {
    for _ in 0..count {
        let offset = input.offset();
        let node = if kind != Kind::ListQuicklist2 {
            Node::Packed(Pack::read(input, Layout::Ziplist, 1)?)
        } else {
            match input.length()? {
                PLAIN => Node::Plain(input.blob()?),
                PACKED => Node::Packed(Pack::read(input, Layout::Listpack, 1)?),
                _ => return Err(input.damaged_at(offset, UNKNOWN_NODE)),
            }
        };
        take(node).map_err(|what| input.damaged_at(offset, what))?;
    }
    Ok(())
}

pub(super) fn visit<R: Read>(
    input: &mut Input<R>,
    kind: Kind,
    visitor: &mut dyn Visitor,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    if kind == Kind::List {
        input.part = "a list item";
        let count = input.length()?;
        visitor.begin(kind, Some(count));
        for _ in 0..count {
            visitor.list_item(input.element(&mut scratch.first)?);
        }
        return Ok(());
    }
    visitor.begin(kind, None);
    nodes(input, kind, |node| {
        match node {
            Node::Plain(bytes) => visitor.list_item((&bytes).into()),
            Node::Packed(pack) => pack.list.iter().for_each(|item| visitor.list_item(item)),
        }
        Ok(())
    })
}

pub(super) fn build<R: Read>(
    input: &mut Input<R>,
    kind: Kind,
    limits: &Limits,
    scratch: &mut Scratch,
) -> Result<Option<Object>, Error> {
    if kind == Kind::List {
        return build_by_elements(input, kind, limits, scratch);
    }
    let mut list = List::new();
    nodes(input, kind, |node| push_node(&mut list, node, limits))?;
    Ok(settled(list, limits))
}

/// As `build`, of a list of nodes.
pub(super) fn gather<R: Read>(
    input: &mut Input<R>,
    limits: &Limits,
    out: &mut Vec<u8>,
) -> Result<Option<Gathered>, Error> {
    input.part = "a list node";
    let kind = Kind::ListQuicklist2;
    let (count, offset, mut list) = (input.length()?, input.offset(), List::new());
    if count == 1 {
        let node = match input.length()? {
            PLAIN => Node::Plain(input.blob()?),
            PACKED => {
                let start = input.offset();
                match gather_pack(input, Shape::List, limits, out)? {
                    Ok(gathered) => return Ok(Some(gathered)),
                    Err(bytes) => Node::Packed(Pack::of(input, start, &bytes, Layout::Listpack, 1)?),
                }
            }
            _ => return Err(input.damaged_at(offset, UNKNOWN_NODE)),
        };
        push_node(&mut list, node, limits).map_err(|what| input.damaged_at(offset, what))?;
    } else {
        some_nodes(input, kind, count, |node| push_node(&mut list, node, limits))?;
    }
    Ok(settled(list, limits).map(Gathered::Object))
}

fn push_node(list: &mut List, node: Node, limits: &Limits) -> Result<(), &'static str> {
    match node {
        Node::Plain(bytes) => {
            list.push_plain(bytes);
            Ok(())
        }
        // Servers pass over a node without elements too.
        Node::Packed(pack) if pack.list.is_empty() => Ok(()),
        Node::Packed(pack) => list.push_packed(pack.list, limits).map_err(|error| error.what),
    }
}

fn settled(mut list: List, limits: &Limits) -> Option<Object> {
    list.settle(limits);
    (!list.is_empty()).then_some(Object::List(list))
}

/// Redis up to 3.0 keeps a list packed up to so many items of so many bytes (`list-max-ziplist-entries` and `-value`).
const MOST_PACKED_ITEMS: usize = 512;
const LONGEST_PACKED_ITEM: usize = 64;
/// Bytes of a node from Redis 3.2 on (`list-max-ziplist-size -2`).
const NODE_BYTES: usize = 8192;
/// An item beyond this goes into no ziplist.
const LONGEST_ZIPLIST_ITEM: usize = 1 << 30;

pub(super) fn kind_for(list: &List, version: Version) -> Kind {
    let none_beyond = |limit| list.iter().all(|item| item.len() <= limit);
    if version.knows(Kind::ListQuicklist2) {
        Kind::ListQuicklist2
    } else if version.knows(Kind::ListQuicklist) && none_beyond(LONGEST_ZIPLIST_ITEM) {
        Kind::ListQuicklist
    } else if list.len() <= MOST_PACKED_ITEMS && none_beyond(LONGEST_PACKED_ITEM) {
        Kind::ListZiplist
    } else {
        Kind::List
    }
}

pub(super) fn write<W: Write>(output: &mut Output<W>, list: &List, kind: Kind) -> io::Result<()> {
    match kind {
        Kind::ListQuicklist2 => write_nodes(output, list),
        Kind::ListQuicklist => {
            let mut count = 0;
            ziplists(list, |_| {
                count += 1;
                Ok(())
            })?;
            output.count(count);
            ziplists(list, |node| output.blob(&node))
        }
        Kind::ListZiplist => {
            let mut pack = ZiplistBuilder::new();
            list.iter().for_each(|item| pack.push(item));
            output.blob(&pack.finish())
        }
        _ => {
            output.count(list.len());
            list.iter().try_for_each(|item| output.element(item))
        }
    }
}

/// The items in ziplists of a node's size, or of one item. What it gives is the same at every call.
fn ziplists(list: &List, mut take: impl FnMut(Vec<u8>) -> io::Result<()>) -> io::Result<()> {
    let mut pack = ZiplistBuilder::new();
    for item in list.iter() {
        if !pack.is_empty() && pack.byte_len_with(item) > NODE_BYTES {
            take(std::mem::take(&mut pack).finish())?;
        }
        pack.push(item);
    }
    if pack.is_empty() { Ok(()) } else { take(pack.finish()) }
}

fn write_nodes<W: Write>(output: &mut Output<W>, list: &List) -> io::Result<()> {
    output.count(list.node_count());
    for node in list.nodes() {
        match node {
            ListNode::Packed(pack) => {
                output.length(PACKED);
                output.blob(pack.as_bytes())?;
            }
            ListNode::Plain(bytes) => {
                output.length(PLAIN);
                output.blob(bytes)?;
            }
        }
    }
    Ok(())
}
