//! Whole files. Whatever the bytes: no panic, no memory beyond what came, and the four ways through a value agree on
//! where it ends and whether it is whole.

#![no_main]

use ironkeep::rdb::{Discard, Error, Event, Options, Reader};
use ironkeep::value::Limits;
use libfuzzer_sys::fuzz_target;

#[derive(Clone, Copy)]
enum Way {
    Build,
    Gather,
    Visit,
    Skip,
}

/// Offsets behind each value, and where it ended.
fn walk(bytes: &[u8], way: Way) -> (Vec<u64>, Option<Error>) {
    let mut ends = Vec::new();
    let mut reader = match Reader::new(bytes, Options { verify: false }) {
        Ok(reader) => reader,
        Err(error) => return (ends, Some(error)),
    };
    loop {
        match reader.next() {
            Ok(Event::End { .. }) => return (ends, None),
            Ok(Event::Key(_)) => {
                let outcome = match way {
                    Way::Build => reader.object(&Limits::default()).map(|_| ()),
                    Way::Gather => reader.gather(&Limits::default(), &mut Vec::new()).map(|_| ()),
                    Way::Visit => reader.value(&mut Discard),
                    Way::Skip => reader.skip(),
                };
                if let Err(error) = outcome {
                    return (ends, Some(error));
                }
                ends.push(reader.offset());
            }
            Ok(_) => {}
            Err(error) => return (ends, Some(error)),
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let (built, build_error) = walk(bytes, Way::Build);
    let (gathered, gather_error) = walk(bytes, Way::Gather);
    let (visited, visit_error) = walk(bytes, Way::Visit);
    let (skipped, skip_error) = walk(bytes, Way::Skip);
    let told = |error: Option<Error>| error.map(|error| error.to_string());
    assert_eq!((&built, told(build_error)), (&gathered, told(gather_error)), "who gathers sees what who builds sees");
    // Each of these looks less closely than the one before it, so it gets at least as far.
    assert!(visited.starts_with(&built), "what can be built can be visited, and ends at the same place");
    assert!(skipped.starts_with(&visited), "what can be visited can be skipped, and ends at the same place");
    assert!(visit_error.is_some() || skip_error.is_none(), "what is whole to a visit is whole to a skip");
});
