//! An array of Redis 8.8 out of its JSON: `{"insert_index", "items": [[index, form, value], ...]}`.

use super::json::{Fault, Parser, shown};
use super::record::items;
use ironkeep::value::{Array, ArrayItem, Element};
use std::io::Read;

const FORMS: &str = "one of the forms string, int, double and small";

/// An item with its text.
enum Item {
    Text { text: Vec<u8>, is_small: bool },
    Int(i64),
    Double(f64),
}

pub fn read<R: Read>(parser: &mut Parser<R>) -> Result<Array, Fault> {
    parser.begin_object("an array, an object")?;
    let (mut member, mut first) = (Vec::new(), true);
    let (mut insert_index, mut slots) = (None, Vec::new());
    while parser.next_member(first, &mut member)? {
        first = false;
        let read = match &member[..] {
            b"insert_index" => match parser.null()? {
                true => Ok(()),
                false => parser.whole("an index or null").map(|index| insert_index = Some(index)),
            },
            b"items" => items(parser, "the items, an array", |parser| {
                slots.push(read_item(parser)?);
                Ok(())
            }),
            _ => Err(parser.refused("insert_index or items", shown(&member))),
        };
        read.map_err(|fault| fault.inside(String::from_utf8_lossy(&member)))?;
    }
    let mut array = Array::new(insert_index);
    for (index, item) in slots {
        let item = match &item {
            Item::Text { text, is_small: false } => ArrayItem::String(Element::Bytes(text)),
            Item::Text { text, is_small: true } => ArrayItem::SmallString(Element::Bytes(text)),
            Item::Int(number) => ArrayItem::Int(*number),
            Item::Double(number) => ArrayItem::Double(*number),
        };
        if !array.push(index, item) {
            return Err(parser.refused("indexes that ascend", index.to_string()).inside("items"));
        }
    }
    Ok(array)
}

fn read_item<R: Read>(parser: &mut Parser<R>) -> Result<(u64, Item), Fault> {
    const ITEM: &str = "an array of index, form and value";
    parser.begin_array(ITEM)?;
    if !parser.next_item(true)? {
        return Err(parser.refused(ITEM, "an empty one"));
    }
    let index = parser.whole("an index").map_err(|fault| fault.at(0))?;
    let mut form = Vec::new();
    if !parser.next_item(false)? {
        return Err(parser.refused(ITEM, "one item"));
    }
    parser.text(&mut form, FORMS).map_err(|fault| fault.at(1))?;
    if !parser.next_item(false)? {
        return Err(parser.refused(ITEM, "two items"));
    }
    let item = read_value(parser, &form).map_err(|fault| fault.at(2))?;
    if parser.next_item(false)? {
        return Err(parser.unexpected("the end of the item"));
    }
    Ok((index, item))
}

fn read_value<R: Read>(parser: &mut Parser<R>, form: &[u8]) -> Result<Item, Fault> {
    const SMALL: usize = 7;
    match form {
        b"int" => parser.whole("a whole number").map(Item::Int),
        b"double" => parser.double("a number").map(Item::Double),
        b"string" | b"small" => {
            let (mut text, is_small) = (Vec::new(), form == b"small");
            parser.bytes(&mut text, "a string")?;
            match is_small && text.len() > SMALL {
                true => Err(parser.refused("at most seven bytes", format!("{}", text.len()))),
                false => Ok(Item::Text { text, is_small }),
            }
        }
        _ => Err(parser.refused(FORMS, shown(form))),
    }
}
