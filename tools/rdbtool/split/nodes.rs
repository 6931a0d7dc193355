//! Who has which slots, as CLUSTER NODES and nodes.conf tell it.
//!
//! ```text
//! <id> <address> <flags> <master or -> <ping> <pong> <epoch> <link> <slot> ...
//! slot = number | first-last | [slot->-id] | [slot-<-id]     the last two are on their way and count where they are
//! vars currentEpoch 6 lastVoteEpoch 0                        in nodes.conf only
//! ```

use crate::slots::{self, Slots};
use nom::branch::alt;
use nom::bytes::complete::{tag, take_till1, take_while1};
use nom::character::complete::{char, space1};
use nom::combinator::{all_consuming, eof, map, recognize, value};
use nom::multi::{count, separated_list1};
use nom::sequence::{delimited, terminated};
use nom::{IResult, Parser};
use std::ops::RangeInclusive;

/// A node with slots.
#[derive(Debug, PartialEq, Eq)]
pub struct Node {
    pub id: String,
    pub address: String,
    pub slots: Slots,
}

/// The nodes that have slots, in the order of the file. An error gives the number of the line that is none.
pub fn parse(text: &str) -> Result<Vec<Node>, usize> {
    let mut nodes = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with("vars ") {
            continue;
        }
        let (_, (id, address, slots)) = all_consuming(node).parse(line).map_err(|_| index + 1)?;
        if !slots.ranges().is_empty() {
            nodes.push(Node { id: id.to_owned(), address: address.to_owned(), slots });
        }
    }
    Ok(nodes)
}

fn word(text: &str) -> IResult<&str, &str> {
    take_till1(|c: char| c == ' ')(text)
}

fn node(text: &str) -> IResult<&str, (&str, &str, Slots)> {
    let id = take_while1(|c: char| c.is_ascii_alphanumeric());
    let (text, (id, _, address, _)) = (id, space1, word, space1).parse(text)?;
    // Flags, master, ping, pong, epoch; then the state of the link, which may end the line.
    let (text, _) = count(terminated(word, space1), 5).parse(text)?;
    let (text, _) = alt((tag("connected"), tag("disconnected"))).parse(text)?;
    if text.is_empty() {
        return Ok((text, (id, address, Slots::none())));
    }
    let (text, ranges) = delimited(space1, separated_list1(space1, slot), eof).parse(text)?;
    let mut slots = Slots::none();
    ranges.into_iter().flatten().for_each(|range| slots.add(range));
    Ok((text, (id, address, slots)))
}

/// A range, or `None` for slots on their way.
fn slot(text: &str) -> IResult<&str, Option<RangeInclusive<u16>>> {
    let on_its_way = recognize((char('['), take_till1(|c: char| c == ']' || c == ' '), char(']')));
    alt((value(None, on_its_way), map(slots::range, Some))).parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From a cluster of Redis 7.0 with a slot on its way, in the form of nodes.conf.
    const NODES: &str = "\
07c37dfeb235213a872192d90877d0cd55635b91 127.0.0.1:30004@31004,,tls-port=0,shard-id=x slave e7d1 0 1426238317239 4 connected
e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca 127.0.0.1:30001@31001 myself,master - 0 0 1 connected 0-5460 7000 [93->-292f]
292f8b365bb7edb5e285caf0b7e6ddc7265d2f4f 127.0.0.1:30003@31003,host master,fail - 0 1426238318243 3 disconnected 5461-6999 7001-16383 [77-<-e7d1]
6ec23923021cf3ffec47632106199cb7f496ce01 :0@0 master,noaddr - 0 0 5 connected
vars currentEpoch 6 lastVoteEpoch 0
";

    #[test]
    fn masters_with_slots_are_found_and_slots_on_their_way_stay_where_they_are() {
        let nodes = parse(NODES).unwrap();
        let told: Vec<(&str, String)> = nodes.iter().map(|node| (&node.id[..4], node.slots.to_string())).collect();
        assert_eq!(told, [("e7d1", "0-5460,7000".to_owned()), ("292f", "5461-6999,7001-16383".to_owned())]);
        assert_eq!(nodes[1].address, "127.0.0.1:30003@31003,host");
        assert_eq!(parse("what is this"), Err(1));
        assert_eq!(parse(&NODES.replace("7001-16383", "7001-16384")), Err(3));
    }
}
