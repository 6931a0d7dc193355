//! Requests are the same whether their bytes come at once or one by one.

#![no_main]

use ironkeep::resp::request::{Decoder, ProtocolError, RequestLimits, Step};
use libfuzzer_sys::fuzz_target;

type Requests = (Vec<Vec<Vec<u8>>>, Option<ProtocolError>);

/// All requests, and the error that ended them, when `step` more bytes can be seen each time.
fn decode(bytes: &[u8], step: usize, limits: RequestLimits) -> Requests {
    let (mut decoder, mut requests, mut start, mut seen) = (Decoder::new(), Vec::new(), 0, 0);
    loop {
        let buffer = &bytes[start..seen];
        match decoder.decode(buffer, limits) {
            Err(error) => return (requests, Some(error)),
            Ok(Step::Incomplete) if seen == bytes.len() => return (requests, None),
            Ok(Step::Incomplete) => seen = bytes.len().min(seen + step),
            Ok(Step::Request { consumed }) => {
                requests.push(decoder.arguments(buffer).iter().map(|argument| argument.to_vec()).collect());
                start += consumed;
            }
            Ok(Step::Inline { consumed }) => {
                requests.push(decoder.take_inline_words());
                start += consumed;
            }
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    for authenticated in [true, false] {
        let limits = RequestLimits { max_bulk_len: 1 << 20, authenticated };
        assert_eq!(decode(bytes, bytes.len().max(1), limits), decode(bytes, 1, limits));
    }
});
