//! Publish and subscribe: who wants to hear of which channels.
//!
//! A message goes as a [letter](super::mail) to every subscriber: first to those of its channel, in the order in which
//! they came, then to those of each pattern that matches it, in the order of the patterns.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use crate::codec::glob;
use crate::resp::{Encoder, Protocol};

use super::mail::Mail;

/// How a subscription chooses its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// By a channel's name.
    Channel,
    /// By a pattern that names match.
    Pattern,
    /// By the name of a shard's channel, which are apart from the others.
    Shard,
}

/// What one client has subscribed to, by [`Kind`].
#[derive(Debug, Default)]
struct Subscriber {
    names: [BTreeSet<Vec<u8>>; 3],
}

/// All subscriptions.
#[derive(Debug, Default)]
pub struct PubSub {
    /// By [`Kind`]: the subscribers of each name, in the order in which they came.
    tables: [BTreeMap<Vec<u8>, Vec<u64>>; 3],
    subscribers: HashMap<u64, Subscriber>,
    /// Of those that speak the newer version.
    resp3: BTreeSet<u64>,
}

impl PubSub {
    /// Nobody listens: the common case, to be left early.
    pub fn is_idle(&self) -> bool {
        self.subscribers.is_empty()
    }

    /// Adds a subscription; false if the client has it already.
    pub fn subscribe(&mut self, client: u64, kind: Kind, name: &[u8]) -> bool {
        let is_new = self.subscribers.entry(client).or_default().names[kind as usize].insert(name.to_vec());
        if is_new {
            self.tables[kind as usize].entry(name.to_vec()).or_default().push(client);
        }
        is_new
    }

    /// Removes a subscription, if the client has it.
    pub fn unsubscribe(&mut self, client: u64, kind: Kind, name: &[u8]) {
        let Some(subscriber) = self.subscribers.get_mut(&client) else { return };
        if !subscriber.names[kind as usize].remove(name) {
            return;
        }
        if subscriber.names.iter().all(BTreeSet::is_empty) {
            self.subscribers.remove(&client);
        }
        let table = &mut self.tables[kind as usize];
        if let Some(clients) = table.get_mut(name) {
            clients.retain(|&other| other != client);
            if clients.is_empty() {
                table.remove(name);
            }
        }
    }

    /// Removes all subscriptions of a client.
    pub fn remove(&mut self, client: u64) {
        for kind in [Kind::Channel, Kind::Pattern, Kind::Shard] {
            self.names(client, kind).iter().for_each(|name| self.unsubscribe(client, kind, name));
        }
        self.resp3.remove(&client);
    }

    /// What the client has subscribed to.
    pub fn names(&self, client: u64, kind: Kind) -> Vec<Vec<u8>> {
        let subscriber = self.subscribers.get(&client);
        subscriber.map(|subscriber| subscriber.names[kind as usize].iter().cloned().collect()).unwrap_or_default()
    }

    /// How many subscriptions of this kind the client has.
    pub fn count(&self, client: u64, kind: Kind) -> usize {
        self.subscribers.get(&client).map_or(0, |subscriber| subscriber.names[kind as usize].len())
    }

    pub fn is_subscriber(&self, client: u64) -> bool {
        self.subscribers.contains_key(&client)
    }

    pub fn subscriber_count(&self) -> usize {
        self.subscribers.len()
    }

    /// Names that anybody has subscribed to, in order, with how many have.
    pub fn subscribed(&self, kind: Kind) -> impl ExactSizeIterator<Item = (&[u8], usize)> {
        self.tables[kind as usize].iter().map(|(name, clients)| (name.as_slice(), clients.len()))
    }

    /// How many have subscribed to this name.
    pub fn subscribers_of(&self, kind: Kind, name: &[u8]) -> usize {
        self.tables[kind as usize].get(name).map_or(0, Vec::len)
    }

    /// Which version of the protocol a client speaks from now on.
    pub fn set_protocol(&mut self, client: u64, protocol: Protocol) {
        match protocol {
            Protocol::Resp2 => self.resp3.remove(&client),
            Protocol::Resp3 => self.resp3.insert(client),
        };
    }

    /// Sends a message to the subscribers of the channel, or of the shard's channel. Returns how many times it goes out.
    pub fn publish(&self, mail: &mut Mail, is_shard: bool, channel: &[u8], text: &[u8]) -> usize {
        let (kind, word): (_, &[u8]) = if is_shard { (Kind::Shard, b"smessage") } else { (Kind::Channel, b"message") };
        let mut receivers = 0;
        if let Some(clients) = self.tables[kind as usize].get(channel) {
            receivers += self.send(mail, clients, &[word, channel, text]);
        }
        if !is_shard {
            let matching = self.tables[Kind::Pattern as usize].iter();
            for (pattern, clients) in matching.filter(|(pattern, _)| glob::matches(pattern, channel)) {
                receivers += self.send(mail, clients, &[b"pmessage", pattern, channel, text]);
            }
        }
        receivers
    }

    fn send(&self, mail: &mut Mail, clients: &[u64], words: &[&[u8]]) -> usize {
        let mut encoded: [Option<Rc<[u8]>>; 2] = [None, None];
        for client in clients {
            let protocol = if self.resp3.contains(client) { Protocol::Resp3 } else { Protocol::Resp2 };
            let message = encoded[protocol as usize].get_or_insert_with(|| encode(protocol, words));
            mail.message(*client, Rc::clone(message));
        }
        clients.len()
    }
}

fn encode(protocol: Protocol, words: &[&[u8]]) -> Rc<[u8]> {
    let mut message = Vec::new();
    let mut encoder = Encoder::new(&mut message, protocol);
    encoder.push(words.len());
    words.iter().for_each(|word| {
        encoder.bulk(word);
    });
    message.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_goes_to_channels_then_patterns_and_to_nobody_who_has_left() {
        let (mut pubsub, mut mail) = (PubSub::default(), Mail::default());
        assert!(pubsub.subscribe(1, Kind::Pattern, b"n*"));
        assert!(pubsub.subscribe(2, Kind::Channel, b"news"));
        assert!(!pubsub.subscribe(2, Kind::Channel, b"news"));
        assert!(pubsub.subscribe(2, Kind::Pattern, b"?ews"));
        assert!(pubsub.subscribe(3, Kind::Shard, b"news"));
        pubsub.set_protocol(2, Protocol::Resp3);
        assert_eq!(pubsub.publish(&mut mail, false, b"news", b"hi"), 3);
        let sent: Vec<(u64, String)> =
            mail.take().iter().map(|letter| (letter.client, String::from_utf8_lossy(&letter.bytes).into())).collect();
        assert_eq!(sent[0], (2, ">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n".to_owned()));
        assert_eq!(sent[1].0, 2, "of the pattern that is first");
        assert_eq!(sent[2], (1, "*4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$2\r\nhi\r\n".to_owned()));
        pubsub.remove(2);
        pubsub.unsubscribe(1, Kind::Pattern, b"n*");
        assert_eq!(pubsub.publish(&mut mail, false, b"news", b"hi"), 0);
        assert_eq!(pubsub.publish(&mut mail, true, b"news", b"hi"), 1);
        pubsub.remove(3);
        assert!(pubsub.is_idle() && pubsub.tables.iter().all(BTreeMap::is_empty));
    }
}
