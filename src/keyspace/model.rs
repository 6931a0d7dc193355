//! Random commands and snapshots against std maps: every snapshot must read what the map held when it was taken.

use std::collections::HashMap;

use crate::value::{Limits, List, Object};

use super::{Expiry, Keyspace, Snapshot, SnapshotTooOld, View};

type Model = HashMap<Vec<u8>, (Vec<Vec<u8>>, Option<i64>)>;

fn render(value: View<'_>) -> Vec<Vec<u8>> {
    match value {
        View::Compact(compact) => render(View::Object(&compact.to_object())),
        View::Object(Object::List(list)) => list.iter().map(|item| item.to_vec()).collect(),
        other => vec![other.string().expect("the model stores strings and lists").to_vec()],
    }
}

fn contents(snapshot: Snapshot) -> Model {
    let mut all = Model::new();
    let visited: Result<(), std::convert::Infallible> = snapshot.visit(
        |_, _| Ok(true),
        |_, entry| {
            assert!(all.insert(entry.key.to_vec(), (render(entry.value), entry.expire_at_ms)).is_none());
            Ok(())
        },
    );
    let Ok(()) = visited;
    all
}

fn change(keyspace: &mut Keyspace, model: &mut Model, random: &mut fastrand::Rng) {
    let key = format!("key:{}", random.u16(..400)).into_bytes();
    let mut db = keyspace.db(0);
    let mut slot = model.get_mut(&key);
    match random.u8(..10) {
        0..3 => {
            let value = "v".repeat(random.usize(..5_000)).into_bytes();
            db.set_string(&key, &value, Expiry::Clear);
            model.insert(key, (vec![value], None));
        }
        3 => {
            let value = random.i64(..);
            db.set_int(&key, value, Expiry::Keep);
            let expiry = slot.and_then(|(_, expiry)| *expiry);
            model.insert(key, (vec![value.to_string().into_bytes()], expiry));
        }
        4..6 => {
            let at = random.bool().then(|| random.i64(..));
            assert_eq!(db.set_expire_at_ms(&key, at), slot.is_some());
            slot.iter_mut().for_each(|(_, expiry)| *expiry = at);
        }
        6..8 => {
            let item = random.u32(..).to_string().into_bytes();
            let is_list = db.get(&key).is_none_or(|view| view.type_name() == "list");
            if is_list {
                let made = db.object_or_insert(&key, || Object::List(List::new()));
                let Some(Object::List(list)) = made else { unreachable!("checked before") };
                list.push_back(&item, &Limits::default());
                model.entry(key).or_default().0.push(item);
            }
        }
        8 => assert_eq!(db.remove(&key), model.remove(&key).is_some()),
        _ => {
            let taken = db.take(&key).map(|(object, expiry)| (render(View::Object(&object)), expiry));
            assert_eq!(taken, model.remove(&key));
        }
    }
}

/// How many snapshots are taken and closed again at once.
fn pass_epochs(keyspace: &mut Keyspace, count: usize) {
    for _ in 0..count {
        drop(keyspace.snapshot().unwrap());
    }
}

/// Random changes and overlapping snapshots from some epoch on; `leap`: at most so many epochs pass at once.
fn run(first_epoch: u64, steps: usize, leap: usize) -> Keyspace {
    let mut random = fastrand::Rng::with_seed(7);
    let mut keyspace = Keyspace::new(2);
    keyspace.epochs.start_at(first_epoch);
    let mut model = Model::new();
    let mut open: Vec<(Snapshot, Model)> = Vec::new();
    let mut threads = Vec::new();
    for step in 0..steps {
        change(&mut keyspace, &mut model, &mut random);
        assert_eq!(keyspace.counts(0).0, model.len());
        match random.u8(..100) {
            0 if open.len() < 4 => open.push((keyspace.snapshot().unwrap(), model.clone())),
            1 if !open.is_empty() => {
                let (snapshot, expected) = open.swap_remove(random.usize(..open.len()));
                threads.push(std::thread::spawn(move || assert_eq!(contents(snapshot), expected)));
            }
            2 => drop(keyspace.reclaim()),
            3 if step % 5 == 0 => {
                keyspace.clear();
                model.clear();
            }
            4 => {
                // A thread that gets no time must not hold its snapshot over more epochs than an entry can tell.
                threads.drain(..).for_each(|thread| thread.join().expect("the snapshot equals the model"));
                pass_epochs(&mut keyspace, random.usize(..=leap));
            }
            _ => {}
        }
    }
    for (snapshot, expected) in open {
        assert_eq!(contents(snapshot), expected);
    }
    threads.into_iter().for_each(|thread| thread.join().expect("the snapshot equals the model"));
    while keyspace.reclaim() {}
    assert_eq!(keyspace.deferred(), (0, 0));
    assert_eq!(contents(keyspace.snapshot().unwrap()), model);
    keyspace
}

#[test]
fn snapshots_read_what_was_there_when_they_were_taken() {
    run(0, if cfg!(miri) { 300 } else { 30_000 }, 0);
}

#[test]
fn snapshots_stay_right_while_the_count_of_epochs_passes_what_an_entry_keeps_of_it() {
    let mut keyspace = run(65_400, 20_000, 1_300);
    let passed = keyspace.epochs.current() - 65_400;
    assert!(passed > 2 * 65_536, "{passed} epochs are less than two rounds");
    let value = |keyspace: &mut Keyspace| keyspace.db(0).get(b"old").unwrap().string().unwrap().to_vec();
    // The ages at which an entry whose birth was never renewed would look as young as can be.
    for age in [65_535, 1, 1] {
        keyspace.db(0).set_string(b"old", b"before", Expiry::Clear);
        pass_epochs(&mut keyspace, age);
        let snapshot = keyspace.snapshot().unwrap();
        keyspace.db(0).set_string(b"old", b"behind", Expiry::Clear);
        assert_eq!(value(&mut keyspace), b"behind");
        assert_eq!(contents(snapshot)[&b"old"[..]].0, [b"before"]);
    }
}

#[test]
fn a_snapshot_that_is_open_for_too_long_stands_against_others_and_stays_right() {
    let mut keyspace = Keyspace::new(1);
    for number in 0..2_000 {
        keyspace.db(0).set_string(format!("key:{number}").as_bytes(), b"before", Expiry::Clear);
    }
    let oldest = keyspace.snapshot().unwrap();
    let mut count = 0;
    let refused = loop {
        match keyspace.snapshot() {
            Ok(snapshot) => drop(snapshot),
            Err(refused) => break refused,
        }
        count += 1;
        // Entries of every age, also such as are born just after the oldest snapshot.
        let key = format!("key:{}", count % 2_000);
        keyspace.db(0).set_string(key.as_bytes(), b"behind", Expiry::Clear);
    };
    assert_eq!((refused, count), (SnapshotTooOld, (1 << 15) - 1));
    let seen = contents(oldest);
    assert_eq!(seen.len(), 2_000);
    assert!(seen.values().all(|(value, _)| value == &[b"before"]));
    assert!(keyspace.snapshot().is_ok());
    while keyspace.reclaim() {}
    assert_eq!(keyspace.deferred(), (0, 0));
}

fn push(keyspace: &mut Keyspace, db: usize, key: &str, item: &[u8]) {
    let made = keyspace.db(db).into_object_or_insert(key.as_bytes(), || Object::List(List::new()));
    let Some(Object::List(list)) = made else { panic!("{key} is a list") };
    list.push_back(item, &Limits::default());
}

fn push_to_others(keyspace: &mut Keyspace) {
    (0..70).for_each(|number| push(keyspace, 1, &format!("other:{number}"), b"x"));
}

#[test]
fn a_small_collection_is_packed_again_when_others_have_been_changed() {
    let mut keyspace = Keyspace::new(2);
    let is_compact = |keyspace: &mut Keyspace, db| matches!(keyspace.db(db).get(b"list"), Some(View::Compact(_)));
    for items in 1..4_usize {
        push(&mut keyspace, 0, "list", b"an item");
        assert!(!is_compact(&mut keyspace, 0), "it may be changed again soon");
        push_to_others(&mut keyspace);
        assert!(is_compact(&mut keyspace, 0));
        let Some(View::Object(Object::List(list))) = keyspace.db(0).into_value(b"list") else { panic!("a list") };
        assert_eq!(list.len(), items);
    }
    push(&mut keyspace, 0, "list", b"an item");
    keyspace.swap(0, 1);
    for number in 0..70 {
        push(&mut keyspace, 0, &format!("more:{number}"), b"x");
    }
    assert!(is_compact(&mut keyspace, 1), "it was found in the database that its own has become");
    let long = [b'x'; 2_000];
    push(&mut keyspace, 1, "list", &long);
    (0..70).for_each(|number| push(&mut keyspace, 0, &format!("others:{number}"), b"x"));
    assert!(!is_compact(&mut keyspace, 1), "what is longer has a block of its own");
}

#[test]
fn a_key_that_is_gone_or_made_anew_is_not_packed_by_mistake() {
    let mut keyspace = Keyspace::new(2);
    for key in ["removed", "string", "emptied"] {
        push(&mut keyspace, 0, key, b"an item");
    }
    keyspace.db(0).remove(b"removed");
    keyspace.db(0).set_string(b"string", b"text", Expiry::Clear);
    let Some(Some(Object::List(list))) = keyspace.db(0).into_object_used(b"emptied") else { panic!("a list") };
    list.pop_front(&Limits::default());
    push_to_others(&mut keyspace);
    assert!(!keyspace.db(0).contains(b"removed"));
    assert!(matches!(keyspace.db(0).get(b"string"), Some(View::Bytes(b"text"))));
    assert!(matches!(keyspace.db(0).get(b"emptied"), Some(View::Object(object)) if object.is_empty()));
    let several = keyspace.db(1).into_values(&[b"other:0", b"none", b"other:1", b"other:69"]);
    assert!(matches!(several[..], [Some(View::Object(_)), None, Some(View::Object(_)), Some(View::Object(_))]));
}
