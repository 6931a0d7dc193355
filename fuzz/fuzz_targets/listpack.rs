//! A listpack from a file, then edited beside a `Vec`. The bytes after the first two are the listpack; a broken one is
//! refused, a whole one keeps its elements, whatever is done to it.

#![no_main]

use ironkeep::value::Listpack;
use libfuzzer_sys::fuzz_target;

fn texts(list: &Listpack) -> Vec<Vec<u8>> {
    list.iter().map(|element| element.with(|text| text.to_vec())).collect()
}

fuzz_target!(|bytes: &[u8]| {
    let [place, length, rest @ ..] = bytes else { return };
    let Ok(mut list) = Listpack::from_bytes(rest) else { return };
    let mut model = texts(&list);
    assert_eq!(model.len(), list.len());
    let backward: Vec<_> = (0..model.len()).map(|index| list.nth(index).map(|e| e.with(|t| t.to_vec()))).collect();
    assert!(backward.iter().zip(&model).all(|(found, text)| found.as_ref() == Some(text)));

    let text: Vec<u8> = rest.iter().copied().take(usize::from(*length)).collect();
    list.push_back(&text);
    model.push(text.clone());
    list.push_front(&text);
    model.insert(0, text.clone());
    let index = usize::from(*place) % model.len();
    let at = list.seek(index).expect("the index is below the count");
    list.insert(at, b"-129");
    model.insert(index, b"-129".to_vec());
    let at = list.seek(index / 2).expect("the index is below the count");
    list.replace(at, &text);
    model[index / 2] = text;
    let at = list.seek(index).expect("the index is below the count");
    list.remove(at);
    model.remove(index);
    assert_eq!(texts(&list), model);
    let again = Listpack::from_bytes(&list.into_bytes()).expect("what was edited is whole");
    assert_eq!(texts(&again), model);
});
