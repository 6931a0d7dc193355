//! Numbers as the protocol spells them, both ways.
//!
//! Integers are strict: an optional minus, no plus, no leading zero, no space, nothing behind. That is what decides
//! whether a string counts as an integer anywhere in Redis, and so it must not be more generous.

use super::grisu;
use super::hexadecimal::Hexadecimal;

/// Parses a 64-bit signed integer of canonical form; anything else is `None`.
///
/// ```
/// use ironkeep::codec::number::parse_i64;
/// assert_eq!(parse_i64(b"-9223372036854775808"), Some(i64::MIN));
/// assert_eq!(parse_i64(b"+1"), None);
/// assert_eq!(parse_i64(b"01"), None);
/// assert_eq!(parse_i64(b"-0"), None);
/// ```
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut magnitude: u64 = 0;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // 19 digits never exceed 9.99e18, which u64 holds.
        magnitude = magnitude * 10 + u64::from(digit);
    }
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// Parses an unsigned integer of canonical form.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    match text {
        [b'0'] => Some(0),
        [b'1'..=b'9', ..] if text.iter().all(u8::is_ascii_digit) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

/// Parses a floating point number as a score or increment: decimal or exponent notation, `inf`, `+inf`, `-inf`,
/// `infinity`, any case, and C's [hexadecimal](super::hexadecimal) floats. NaN, spaces and an empty string are `None`.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    if let Some(value) = parse_short_decimal(text) {
        return Some(value);
    }
    let text = std::str::from_utf8(text).ok()?;
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if let Some(hex) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        let magnitude = Hexadecimal::parse(hex.as_bytes())?.to_f64()?;
        return Some(if text.starts_with('-') { -magnitude } else { magnitude });
    }
    let value: f64 = text.parse().ok()?;
    // What is too large, or too close to 0, is refused. An infinity or a zero that is spelled has only these letters.
    let is_spelled = match value {
        0.0 => unsigned.bytes().take_while(|byte| !byte.eq_ignore_ascii_case(&b'e')).all(|byte| b"0.".contains(&byte)),
        value => value.is_finite() || unsigned.starts_with(['i', 'I']),
    };
    (!value.is_nan() && is_spelled).then_some(value)
}

/// A decimal of few digits, as most scores are: both it and the power of ten are exact doubles, and so their quotient
/// is the double that is nearest.
fn parse_short_decimal(text: &[u8]) -> Option<f64> {
    const MOST_DIGITS: usize = 15;
    if text.len() > MOST_DIGITS + 2 {
        return None;
    }
    let unsigned = text.strip_prefix(b"-").unwrap_or(text);
    let (mut digits, mut whole_len) = (0u64, None);
    for (at, byte) in unsigned.iter().enumerate() {
        match byte {
            b'0'..=b'9' => digits = digits * 10 + u64::from(byte - b'0'),
            b'.' if whole_len.is_none() => whole_len = Some(at),
            _ => return None,
        }
        if at > MOST_DIGITS {
            return None;
        }
    }
    let places = match whole_len {
        None => 0,
        Some(at) => unsigned.len() - at - 1,
    };
    if unsigned.is_empty() || whole_len.is_some() && (places == 0 || places + 1 == unsigned.len()) {
        return None;
    }
    let value = digits as f64 / *POWERS_OF_TEN.get(places)?; // at most 16 digits of which one may be a point
    Some(if unsigned.len() < text.len() { -value } else { value })
}

/// All are exact.
const POWERS_OF_TEN: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// The digits of a value that has at most two places behind the point, and how many places it has, at least one: the
/// shortest decimal that reads back as it, found without searching for it. (With more places [`grisu`] finds longer ones
/// for a few values.)
pub fn short_decimal(value: f64) -> Option<(i64, u32)> {
    const MOST: f64 = 1e15;
    POWERS_OF_TEN[1..=2].iter().zip(1..).find_map(|(power, places)| {
        let digits = (value * power).round();
        (digits != 0.0 && digits.abs() < MOST && digits / power == value).then_some((digits as i64, places)) // whole, below 2^53
    })
}

/// Appends what [`short_decimal`] gave; the value is not negative.
pub fn write_short_decimal(out: &mut Vec<u8>, digits: i64, places: u32) {
    let power = 10i64.pow(places); // at most two
    write_i64(out, digits / power);
    let start = out.len();
    write_i64(out, digits % power + power); // a one in front keeps the zeros
    out[start] = b'.';
}

/// Appends the decimal form of `value`.
pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends `value` as Redis >= 7.2 prints doubles in replies: whole numbers up to 2^62 without a point, otherwise digits
/// that read back ([`grisu`]), in positional notation when the decimal exponent lies in a range of about -7..21, else
/// with an exponent (`1e+21`, `1.5e-7`). Infinities are `inf` and `-inf`.
pub fn write_f64(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        return out.extend_from_slice(b"nan");
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value > 0.0 { b"inf" } else { b"-inf" });
    }
    if value == 0.0 {
        return out.extend_from_slice(if value.is_sign_negative() { b"-0" } else { b"0" });
    }
    // Whole doubles up to 2^62 print as integers; the cast is exact there.
    if value.abs() <= 4_611_686_018_427_387_904.0 && value.trunc() == value {
        return write_i64(out, value as i64);
    }
    if value < 0.0 {
        out.push(b'-');
    }
    if let Some((digits, places)) = short_decimal(value.abs()) {
        return write_short_decimal(out, digits, places);
    }
    let (digits, exponent) = grisu::digits(value.abs());
    lay_out(out, &digits, exponent);
}

/// Appends `value` as C's `%.17g` prints it.
pub fn write_f64_g17(out: &mut Vec<u8>, value: f64) {
    write_f64_g(out, value, 17);
}

/// Appends `value` as C's `%.*g` prints it, with so many significant digits, which are 1 to 17.
///
/// ```
/// let mut out = Vec::new();
/// ironkeep::codec::number::write_f64_g(&mut out, 1e15 / 3.0, 14);
/// assert_eq!(out, b"3.3333333333333e+14");
/// ```
pub fn write_f64_g(out: &mut Vec<u8>, value: f64, precision: usize) {
    if !value.is_finite() {
        return write_f64(out, value);
    }
    let behind_point = precision - 1;
    let scientific = format!("{value:.behind_point$e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| {
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() }
    };
    let most = precision as i32; // at most 17
    if (-4..most).contains(&exponent) {
        let decimals = usize::try_from(most - 1 - exponent).unwrap_or(0);
        out.extend_from_slice(trim(&format!("{value:.decimals$}")).as_bytes());
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        out.extend_from_slice(format!("{}e{sign}{:02}", trim(mantissa), exponent.abs()).as_bytes());
    }
}

/// Places the point the way the Grisu2 printer in Redis does.
fn lay_out(out: &mut Vec<u8>, digits: &[u8], exponent: i64) {
    let count = digits.len() as i64; // at most 17
    let scientific = exponent + count - 1;
    if exponent >= 0 && scientific.abs() < count + 7 {
        out.extend_from_slice(digits);
        out.resize(out.len() + exponent as usize, b'0'); // non-negative by the condition
        return;
    }
    if exponent < 0 && (exponent > -7 || scientific.abs() < 4) {
        let point = count + exponent;
        if point <= 0 {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + point.unsigned_abs() as usize, b'0');
            out.extend_from_slice(digits);
        } else {
            let (whole, fraction) = digits.split_at(point as usize); // positive by the condition
            out.extend_from_slice(whole);
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
        return;
    }
    out.push(digits[0]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
    out.extend_from_slice(if scientific < 0 { b"e-" } else { b"e+" });
    write_i64(out, scientific.abs());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: f64) -> String {
        let mut out = Vec::new();
        write_f64(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn short_decimals_are_what_the_long_way_gives() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut short = 0;
        for _ in 0..50_000 {
            let most = 10u64.pow(random.u32(1..18));
            let digits = random.u64(..most);
            let power = 10u64.pow(random.u32(0..7));
            let sign = if random.bool() { "-" } else { "" };
            let text = match random.u8(..4) {
                0 => format!("{sign}{digits}"),
                _ => format!("{sign}{}.{:0width$}", digits / power, digits % power, width = random.usize(1..8)),
            };
            let expected: f64 = text.parse().unwrap();
            assert_eq!(parse_f64(text.as_bytes()).unwrap().to_bits(), expected.to_bits(), "{text}");
            let value = expected.abs();
            if value.trunc() != value
                && let Some((digits, places)) = short_decimal(value)
            {
                short += 1;
                let mut out = Vec::new();
                write_short_decimal(&mut out, digits, places);
                let mut long = Vec::new();
                let (digits, exponent) = grisu::digits(value);
                lay_out(&mut long, &digits, exponent);
                assert_eq!(out, long);
            }
        }
        assert!(short > 2_000, "{short}");
        for text in ["", "-", "--1", "1-", " 1", "1 ", "+-1", "0x", "0x+1", "nan", "-NaN", "1e", "ten"] {
            assert_eq!(parse_f64(text.as_bytes()), None, "{text}");
        }
        for text in ["", "-", ".", "-.", "1.", ".5", "1..2", "--1", "1e5", "0x10", "+1", " 1", "1-"] {
            assert_eq!(parse_short_decimal(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn doubles_print_as_redis_prints_them() {
        for (value, expected) in [
            (0.1, "0.1"),
            (3.0, "3"),
            (-2.5, "-2.5"),
            (1e21, "1e+21"),
            (1e100, "1e+100"),
            (1.5e-10, "1.5e-10"),
            (1e-5, "0.00001"),
            (123456789.125, "123456789.125"),
            (17179869184.5, "17179869184.5"),
            (f64::INFINITY, "inf"),
            (-0.0, "-0"),
            (1e16, "10000000000000000"),
            (4e18, "4000000000000000000"),
            (9223372036854775807.0, "9223372036854776000"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(text(value), expected);
            assert_eq!(text(value).parse::<f64>().unwrap().to_bits(), value.to_bits());
        }
    }

    #[test]
    fn every_integer_survives_and_near_misses_do_not() {
        for value in [0, 1, -1, 9, 10, i64::MAX, i64::MIN, 1234567890123] {
            assert_eq!(parse_i64(value.to_string().as_bytes()), Some(value));
        }
        for text in
            ["", "-", "00", "1 ", " 1", "9223372036854775808", "-9223372036854775809", "1.0", "99999999999999999999"]
        {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn floats_reject_what_redis_rejects() {
        assert_eq!(parse_f64(b"+inf"), Some(f64::INFINITY));
        assert_eq!(parse_f64(b"-Infinity"), Some(f64::NEG_INFINITY));
        assert_eq!(parse_f64(b"0x10"), Some(16.0));
        for text in ["", "nan", " 1", "1 ", "1x", "--1", "+-1"] {
            assert_eq!(parse_f64(text.as_bytes()), None, "{text}");
        }
    }
}
