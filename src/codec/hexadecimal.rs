//! C's hexadecimal floats: `0x1.8p3` is 12.

use super::long_double::{whole_exponent, without};

/// `value * 2^exponent`, or a little more.
#[derive(Debug, Clone, Copy)]
pub struct Hexadecimal {
    /// The first digits, 124 to 128 bits of them.
    pub value: u128,
    pub exponent: i64,
    /// Not all digits behind these are 0.
    pub is_more: bool,
}

impl Hexadecimal {
    /// What stands behind `0x`: digits, a point among them if there is one, and the power of two in decimal behind `p`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (number, exponent) = match text.iter().position(|byte| byte.eq_ignore_ascii_case(&b'p')) {
            Some(at) => (&text[..at], whole_exponent(&text[at + 1..])?),
            None => (text, 0),
        };
        let mut found = Self { value: 0, exponent, is_more: false };
        let (mut has_point, mut digits) = (false, 0);
        for byte in number {
            if *byte == b'.' && !has_point {
                has_point = true;
                continue;
            }
            let digit = char::from(*byte).to_digit(16)?;
            digits += 1;
            if found.value >> 124 == 0 {
                found.value = found.value << 4 | u128::from(digit);
                found.exponent -= if has_point { 4 } else { 0 };
            } else {
                found.is_more |= digit != 0;
                found.exponent += if has_point { 0 } else { 4 };
            }
        }
        (digits > 0).then_some(found)
    }

    /// The nearest double; `None` for what is too large, or too close to 0.
    pub fn to_f64(self) -> Option<f64> {
        const MANTISSA_BITS: i64 = 53;
        const LEAST_EXPONENT: i64 = -1074;
        let Self { value, exponent, is_more } = self;
        if value == 0 {
            return Some(0.0);
        }
        let width = 128 - i64::from(value.leading_zeros());
        let wanted = MANTISSA_BITS.min(width.saturating_add(exponent) - LEAST_EXPONENT);
        if wanted <= 0 {
            return None;
        }
        let excess = (width - wanted).max(0);
        let kept = if excess > 0 { without(value, excess.unsigned_abs(), is_more) } else { value };
        // Two steps, as the power alone may be too small for a double. What is far too large stays so.
        let power = i32::try_from(exponent + excess).unwrap_or(i32::MAX).min(4_000);
        let (first, second) = (power / 2, power - power / 2);
        let found = kept as f64 * 2f64.powi(first) * 2f64.powi(second); // 53 bits, so each step is exact
        found.is_finite().then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_those_of_strtod() {
        for (text, expected) in [
            ("10", Some(16.0)),
            ("1.8p3", Some(12.0)),
            ("1P-1", Some(0.5)),
            (".8", Some(0.5)),
            ("8.", Some(8.0)),
            ("0p9999999999999", Some(0.0)),
            ("1.fffffffffffffp1023", Some(f64::MAX)),
            ("1.fffffffffffff8p1023", None),
            ("1p1024", None),
            ("1p-1074", Some(5e-324)),
            ("1.8p-1074", Some(1e-323)),
            ("1p-1080", None),
            // Ties to even, unless something follows.
            ("20000000000001", Some(9_007_199_254_740_992.0)),
            ("20000000000003", Some(9_007_199_254_740_996.0)),
            ("20000000000001.000000000000000000000000000000000000001", Some(9_007_199_254_740_994.0)),
            ("", None),
            (".", None),
            ("p1", None),
            ("1p", None),
            ("1.2.3", None),
            ("1g", None),
        ] {
            assert_eq!(Hexadecimal::parse(text.as_bytes()).and_then(Hexadecimal::to_f64), expected, "{text}");
        }
    }

    #[test]
    fn every_double_comes_back() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..10_000 {
            let value = f64::from_bits(random.u64(..) >> 1);
            if !value.is_finite() || value == 0.0 {
                continue;
            }
            let (bits, exponent) = (value.to_bits() & ((1 << 52) - 1), (value.to_bits() >> 52) as i64); // eleven bits
            let (lead, exponent) = if exponent == 0 { (0, -1022) } else { (1, exponent - 1023) };
            let text = format!("{lead}.{bits:013x}p{exponent}");
            assert_eq!(Hexadecimal::parse(text.as_bytes()).and_then(Hexadecimal::to_f64), Some(value), "{text}");
        }
    }
}
