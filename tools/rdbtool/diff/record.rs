//! Byte strings within sorted records.
//!
//! ```text
//! sorted = byte ... 0 0, where a 0 of the string is 0 255: two compare as the strings do
//! sized  = length u32 LE, bytes
//! ```

/// Appends a string that sorts as itself, before all that it is the beginning of.
pub fn put_sorted(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == 0) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&[0, 255]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(&[0, 0]);
}

/// Takes what [`put_sorted`] appended from the front of `record`; `None` where it is not there.
pub fn take_sorted(record: &mut &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let at = record.iter().position(|byte| *byte == 0)?;
        out.extend_from_slice(&record[..at]);
        let mark = *record.get(at + 1)?;
        *record = &record[at + 2..];
        match mark {
            0 => return Some(out),
            _ => out.push(0),
        }
    }
}

/// Appends a string with its length in front.
pub fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    // Longer strings than 4 GiB cannot be records: the sorter refuses them.
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Takes what [`put_sized`] appended.
pub fn take_sized<'a>(record: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = u32::from_le_bytes(take_array(record)?);
    let (bytes, rest) = record.split_at_checked(usize::try_from(len).ok()?)?;
    *record = rest;
    Some(bytes)
}

/// Takes `N` bytes.
pub fn take_array<const N: usize>(record: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, rest) = record.split_first_chunk::<N>()?;
    *record = rest;
    Some(*bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_sort_as_they_are_and_come_back() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut word =
            || -> Vec<u8> { (0..random.usize(0..5)).map(|_| [0, 1, 254, 255][random.usize(0..4)]).collect() };
        let packed = |bytes: &[u8], behind: u8| {
            let mut out = Vec::new();
            put_sorted(&mut out, bytes);
            out.push(behind);
            out
        };
        for _ in 0..5_000 {
            let (left, right) = (word(), word());
            let order = packed(&left, 9).cmp(&packed(&right, 0));
            assert!(order == left.cmp(&right) || left == right);
            let record = packed(&left, 7);
            let mut rest = &record[..];
            assert_eq!((take_sorted(&mut rest), rest), (Some(left), &[7][..]));
        }
        assert_eq!(take_sorted(&mut &b"ab"[..]), None);
        assert_eq!(take_sized(&mut &[9, 0, 0, 0, 1][..]), None);
    }
}
