//! The data of the page.

use crate::memory::{EXPIRY_CLASSES, Histogram, Large, Node, Survey, Tally};
use crate::servers;
use ironkeep::cli::escape::{Escaped, Quoted};
use ironkeep::cli::json::{self, Object};
use ironkeep::cli::plural::plural;
use ironkeep::cli::utc::Utc;
use std::collections::BTreeMap;

/// A box is drawn for what has at least this share of the memory.
const SMALLEST_SHARE: u64 = 4_000;
/// Most boxes directly in one other.
const MOST_CHILDREN: usize = 80;

/// Everything, as JSON without a `<`.
pub fn json(name: &str, survey: &Survey, listed: usize) -> String {
    let mut out = Vec::new();
    let mut data = Object::open(&mut out);
    let total = survey.total();
    let settings = &survey.settings;
    data.str("file", name).str("header", &survey.header.to_string()).u64("file_bytes", survey.file_bytes);
    data.str("server", survey.server.name).str("allocator", settings.allocator.name());
    data.str("made_at", &Utc(settings.now_ms).to_string());
    data.u64("used_memory", survey.used_memory()).u64("data_bytes", survey.data_bytes());
    data.u64("table_bytes", survey.tables()).u64("key_bytes", total.bytes).u64("keys", total.keys);
    data.u64("expiring", total.expiring).u64("functions", survey.functions.keys);
    match survey.writer_used {
        Some(used) => data.u64("writer_used", used),
        None => {
            data.member(b"writer_used").extend_from_slice(b"null");
            &mut data
        }
    };
    data.str(
        "writer",
        survey.writer.as_deref().map(|writer| Escaped(writer.as_bytes()).to_string()).unwrap_or_default().as_str(),
    );
    data.array("loaded_by", servers::that_load(survey.header), json::write_str);
    data.array("notes", notes(survey), |out, note| json::write_str(out, &note));
    types(&mut data, survey);
    data.array("databases", &survey.databases, |out, (db, tally)| {
        let mut row = Object::open(out);
        row.u64("db", *db);
        sums(&mut row, tally);
        row.close();
    });
    histogram(&mut data, "sizes", &survey.sizes);
    histogram(&mut data, "elements", &survey.elements);
    data.array("expiry", EXPIRY_CLASSES.iter().zip(&survey.expiry), |out, ((name, _), class)| {
        let mut row = Object::open(out);
        row.str("name", name).u64("keys", class.keys).u64("bytes", class.bytes);
        row.close();
    });
    let largest = survey.largest();
    data.array("largest", largest.iter().take(listed), large);
    tree(&mut data, survey, &largest);
    data.close();
    // JSON has no `<` but inside strings, where it may stand escaped.
    String::from_utf8_lossy(&out).replace('<', "\\u003c")
}

fn notes(survey: &Survey) -> Vec<String> {
    let mut notes = Vec::new();
    let (server, expired) = (survey.server, survey.expired.keys);
    if !server.measured {
        notes.push(format!("The layouts of {} are derived from those of its neighbours, not measured.", server.name));
    }
    if survey.is_writer_unknown() {
        let writer = Escaped(survey.writer.as_deref().unwrap_or_default().as_bytes()).to_string();
        notes.push(format!("The layouts of {writer} are not known. Those of {} are counted.", server.name));
    }
    if expired > 0 {
        notes
            .push(format!("{} expired. A server drops them at load, so they are not counted.", plural(expired, "key")));
    }
    if survey.empty > 0 {
        notes.push(format!("{} without elements. Servers skip them.", plural(survey.empty, "key")));
    }
    if survey.modules > 0 {
        notes.push(format!("{}, counted by their bytes in the file.", plural(survey.modules, "module value")));
    }
    if survey.prefixes.folded {
        let most = survey.settings.max_prefixes;
        notes.push(format!(
            "There are more than {most} prefixes. Small ones are folded, and figures of small ones are lower bounds."
        ));
    }
    notes
}

fn sums(row: &mut Object<'_>, tally: &Tally) {
    row.u64("keys", tally.keys).u64("bytes", tally.bytes).u64("elements", tally.elements);
    row.u64("expiring", tally.expiring).u64("largest", tally.largest);
}

fn types(data: &mut Object<'_>, survey: &Survey) {
    let mut types: Vec<_> = survey.by_type().into_iter().collect();
    types.sort_by_key(|(_, tally)| std::cmp::Reverse(tally.bytes));
    data.array("types", types, |out, (type_name, tally)| {
        let mut row = Object::open(out);
        row.str("name", type_name);
        sums(&mut row, &tally);
        let encodings = survey.types.iter().filter(|((of_type, _), _)| *of_type == type_name);
        row.array("encodings", encodings, |out, ((_, encoding), tally)| {
            let mut row = Object::open(out);
            row.str("name", encoding);
            sums(&mut row, tally);
            row.close();
        });
        row.close();
    });
}

fn histogram(data: &mut Object<'_>, name: &str, histogram: &Histogram) {
    data.array(name, histogram.rows(), |out, (least, most, class)| {
        let mut row = Object::open(out);
        row.u64("least", least).u64("most", most).u64("keys", class.keys).u64("bytes", class.bytes);
        row.close();
    });
}

fn large(out: &mut Vec<u8>, key: &Large) {
    let mut row = Object::open(out);
    row.u64("bytes", key.bytes).str("key", &Quoted(&key.key).to_string()).str("type", key.type_name);
    row.str("encoding", key.encoding).u64("elements", key.elements).u64("longest", key.longest).u64("db", key.db);
    if let Some(at_ms) = key.expire_at_ms {
        row.str("expires", &Utc(at_ms).to_string());
    }
    row.close();
}

/// The largest keys by the prefix that they lie right under.
type ByPrefix<'a> = BTreeMap<Vec<u8>, Vec<(&'a [u8], u64)>>;

fn tree(data: &mut Object<'_>, survey: &Survey, largest: &[Large]) {
    let mut by_prefix = ByPrefix::new();
    for key in largest {
        let len = survey.prefixes.prefix_len(&key.key);
        let (prefix, name) = key.key.split_at(len);
        by_prefix.entry(prefix.to_vec()).or_default().push((name, key.bytes));
    }
    let root = &survey.prefixes.root;
    let least = (root.total.bytes / SMALLEST_SHARE).max(1);
    node(
        data.member(b"tree"),
        "all keys",
        "root",
        root,
        &mut Path { prefix: Vec::new(), by_prefix: &by_prefix, least },
    );
}

/// Where the tree is being written.
struct Path<'a> {
    prefix: Vec<u8>,
    by_prefix: &'a ByPrefix<'a>,
    least: u64,
}

fn leaf(out: &mut Vec<u8>, name: &str, kind: &str, keys: u64, bytes: u64) {
    let mut row = Object::open(out);
    row.str("name", name).str("kind", kind).u64("keys", keys).u64("bytes", bytes);
    row.close();
}

/// What is drawn inside a box.
enum Inside<'a> {
    Prefix(&'a [u8], &'a Node),
    Key(&'a [u8]),
}

fn node(out: &mut Vec<u8>, name: &str, kind: &str, of: &Node, path: &mut Path<'_>) {
    let mut row = Object::open(out);
    row.str("name", name).str("kind", kind).u64("keys", of.total.keys).u64("bytes", of.total.bytes);
    let keys = path.by_prefix.get(&path.prefix).map(Vec::as_slice).unwrap_or_default();
    let mut inside: Vec<(u64, u64, Inside<'_>)> = of
        .children
        .iter()
        .map(|(name, child)| (child.total.bytes, child.total.keys, Inside::Prefix(name, child)))
        .chain(keys.iter().map(|(name, bytes)| (*bytes, 1, Inside::Key(name))))
        .filter(|(bytes, ..)| *bytes >= path.least)
        .collect();
    inside.sort_by_key(|(bytes, ..)| std::cmp::Reverse(*bytes));
    inside.truncate(MOST_CHILDREN);
    let shown = inside.iter().fold((0, 0), |sum: (u64, u64), (bytes, keys, _)| (sum.0 + bytes, sum.1 + keys));
    // A key whose prefix was folded and came again may be counted here and there.
    let (rest_bytes, rest_keys) = (of.total.bytes.saturating_sub(shown.0), of.total.keys.saturating_sub(shown.1));
    if !inside.is_empty() {
        let children = row.member(b"children");
        children.push(b'[');
        for (index, (bytes, keys, one)) in inside.into_iter().enumerate() {
            if index > 0 {
                children.push(b',');
            }
            match one {
                Inside::Prefix(part, child) => {
                    let len = path.prefix.len();
                    path.prefix.extend_from_slice(part);
                    node(children, &Escaped(part).to_string(), "prefix", child, path);
                    path.prefix.truncate(len);
                }
                Inside::Key(part) => leaf(children, &Escaped(part).to_string(), "key", keys, bytes),
            }
        }
        if rest_keys > 0 {
            children.push(b',');
            leaf(children, &format!("({})", plural(rest_keys, "other")), "rest", rest_keys, rest_bytes);
        }
        children.push(b']');
    }
    row.close();
}
