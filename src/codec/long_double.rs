//! Numbers with the 64-bit mantissa of x86's `long double`, in which Redis adds floats (INCRBYFLOAT, HINCRBYFLOAT):
//! reading, adding, printing. Everything is rounded to the nearest, ties to even, as the x87 does it.
//!
//! ```text
//! value = mantissa * 2^exponent,  2^63 <= mantissa < 2^64, or 0 * 2^0
//! ```
//!
//! Numbers below 2^-16382 keep all 64 bits here, where the x87 has fewer; seventeen digits behind the point don't show it.
//! The same rounding gives the powers of ten of [`super::grisu`].

use std::cmp::Ordering;

use super::hexadecimal::Hexadecimal;

/// Redis reads no longer text as such a number.
const MOST_TEXT: usize = 5 * 1024 - 1;
/// The highest bit of the largest finite number, and of the smallest that does not become 0.
const MOST_BIT: i64 = 16_383;
const LEAST_BIT: i64 = -16_446;
/// Decimal exponents that no number of [`MOST_TEXT`] digits brings back into the range.
const MOST_DECIMAL_EXPONENT: i64 = 20_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongDouble {
    is_negative: bool,
    mantissa: u64,
    exponent: i64,
}

/// The sum lies beyond all finite numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Infinite;

/// What a text says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    Finite(LongDouble),
    Infinite,
}

impl LongDouble {
    pub const ZERO: Self = Self { is_negative: false, mantissa: 0, exponent: 0 };
    /// The largest finite number.
    pub const MAX: Self = Self { is_negative: false, mantissa: u64::MAX, exponent: MOST_BIT - 63 };

    /// Reads a number, decimal or [hexadecimal](super::hexadecimal), or `inf`; `None` for anything else, and for what is too large or too
    /// close to 0.
    pub fn parse(text: &[u8]) -> Option<Parsed> {
        let (is_negative, unsigned) = match text {
            [sign @ (b'+' | b'-'), rest @ ..] => (*sign == b'-', rest),
            _ => (false, text),
        };
        if unsigned.eq_ignore_ascii_case(b"inf") || unsigned.eq_ignore_ascii_case(b"infinity") {
            return Some(Parsed::Infinite);
        }
        if text.len() > MOST_TEXT {
            return None;
        }
        let in_range = |value: Self| {
            let is_fit = value.mantissa == 0 || (LEAST_BIT..=MOST_BIT).contains(&value.highest_bit());
            is_fit.then_some(Parsed::Finite(value))
        };
        if let [b'0', b'x' | b'X', digits @ ..] = unsigned {
            let Hexadecimal { value, exponent, is_more } = Hexadecimal::parse(digits)?;
            return in_range(Self::rounded(is_negative, value, exponent, is_more));
        }
        let (digits, exponent) = decimal(unsigned)?;
        if digits.is_empty() {
            return Some(Parsed::Finite(Self { is_negative, ..Self::ZERO }));
        }
        let magnitude = digits.len() as i64 + exponent; // a text is short
        if magnitude.abs() > MOST_DECIMAL_EXPONENT {
            return None;
        }
        in_range(Self { is_negative, ..Self::from_decimal(&digits, exponent) })
    }

    /// Ten to the power of `exponent`: mantissa and binary exponent.
    pub fn power_of_ten(exponent: i64) -> (u64, i64) {
        let power = Self::from_decimal(b"1", exponent);
        (power.mantissa, power.exponent)
    }

    /// The number nearest to `digits * 10^exponent`, which is not 0. Its size is not limited.
    fn from_decimal(digits: &[u8], exponent: i64) -> Self {
        let (mut numerator, mut denominator) = (Natural::of_digits(digits), Natural::of_digits(b"1"));
        let scaled = if exponent < 0 { &mut denominator } else { &mut numerator };
        scaled.multiply_by_power_of_ten(exponent.unsigned_abs());
        // The quotient is to have a bit or two more than are kept, for rounding.
        let shift = denominator.bits() + 65 - numerator.bits();
        let scaled = if shift < 0 { &mut denominator } else { &mut numerator };
        scaled.shift_left(shift.unsigned_abs());
        let (quotient, is_exact) = numerator.divide(denominator);
        Self::rounded(false, quotient, -shift, !is_exact)
    }

    /// The number nearest to `value * 2^exponent`, or to a little more of it.
    fn rounded(is_negative: bool, value: u128, exponent: i64, is_more: bool) -> Self {
        if value == 0 {
            return Self { is_negative, ..Self::ZERO };
        }
        let excess = 64 - i64::from(value.leading_zeros());
        if excess <= 0 {
            let mantissa = (value << excess.unsigned_abs()) as u64; // its highest bit is now bit 63
            return Self { is_negative, mantissa, exponent: exponent + excess };
        }
        let rounded = without(value, excess.unsigned_abs(), is_more);
        let carry = i64::from(rounded >> 64 != 0);
        Self { is_negative, mantissa: (rounded >> carry) as u64, exponent: exponent + excess + carry } // 64 bits are left
    }

    /// The power of two of the highest bit.
    fn highest_bit(self) -> i64 {
        self.exponent + 63
    }

    pub fn negated(self) -> Self {
        Self { is_negative: !self.is_negative, ..self }
    }

    /// Which of both is larger. Zeros are equal.
    pub fn compare(self, other: Self) -> Ordering {
        let sign = |number: Self| match number.mantissa {
            0 => 0,
            _ if number.is_negative => -1,
            _ => 1,
        };
        let by_size = (self.exponent, self.mantissa).cmp(&(other.exponent, other.mantissa));
        sign(self).cmp(&sign(other)).then(match sign(self) {
            0 => Ordering::Equal,
            1 => by_size,
            _ => by_size.reverse(),
        })
    }

    /// The sum, rounded.
    pub fn plus(self, other: Self) -> Result<Self, Infinite> {
        let (large, small) = match (self.mantissa, other.mantissa) {
            (0, _) => (other, self),
            (_, 0) => (self, other),
            _ if (self.exponent, self.mantissa) >= (other.exponent, other.mantissa) => (self, other),
            _ => (other, self),
        };
        // 62 bits behind the mantissa: what a smaller one shifts out of these can't decide but a tie.
        const BEHIND: u32 = 62;
        let distance = u32::try_from(large.exponent - small.exponent).unwrap_or(u32::MAX);
        let high = u128::from(large.mantissa) << BEHIND;
        let whole = u128::from(small.mantissa) << BEHIND;
        let low = whole.checked_shr(distance).unwrap_or(0);
        let is_cut = small.mantissa != 0 && (distance >= u128::BITS || low << distance != whole);
        let sum = match large.is_negative == small.is_negative {
            true => high + low,
            // What was cut off would have taken a little more away.
            false => high - low - u128::from(is_cut),
        };
        let sum = Self::rounded(large.is_negative, sum, large.exponent - i64::from(BEHIND), is_cut);
        if sum.mantissa != 0 && sum.highest_bit() > MOST_BIT { Err(Infinite) } else { Ok(sum) }
    }

    /// The product, rounded, and from there to the next integer above; what is beyond 64 bits is the least or the greatest.
    pub fn times_and_up(self, factor: u32) -> i64 {
        let product =
            Self::rounded(self.is_negative, u128::from(self.mantissa) * u128::from(factor), self.exponent, false);
        if product.mantissa != 0 && product.exponent >= 0 {
            return if product.is_negative { i64::MIN } else { i64::MAX };
        }
        let shift = u32::try_from(-product.exponent).unwrap_or(u32::MAX);
        let whole = product.mantissa.checked_shr(shift).unwrap_or(0);
        let is_exact = whole.checked_shl(shift).unwrap_or(0) == product.mantissa;
        let whole = i64::try_from(whole).unwrap_or(i64::MAX);
        if product.is_negative { -whole } else { whole.saturating_add(i64::from(!is_exact)) }
    }

    /// Appends the number as C's `%.17Lf` prints it, without zeros at the end of the fraction.
    ///
    /// ```
    /// use ironkeep::codec::long_double::{LongDouble, Parsed};
    /// let number = |text: &str| match LongDouble::parse(text.as_bytes()) {
    ///     Some(Parsed::Finite(number)) => number,
    ///     _ => panic!(),
    /// };
    /// let mut text = Vec::new();
    /// number("138.41").plus(number("6.05")).unwrap().write(&mut text);
    /// assert_eq!(text, b"144.46000000000000001");
    /// ```
    pub fn write(self, out: &mut Vec<u8>) {
        const PLACES: usize = 17;
        let mut digits = if self.exponent >= 0 {
            let mut whole = Natural(vec![self.mantissa as u32, (self.mantissa >> 32) as u32]); // its halves
            whole.shift_left(self.exponent.unsigned_abs());
            whole.into_decimal() + &"0".repeat(PLACES)
        } else {
            // 64 and 57 bits.
            let scaled = u128::from(self.mantissa) * 10u128.pow(PLACES as u32); // seventeen
            let shift = u32::try_from(-self.exponent).unwrap_or(u32::MAX);
            let kept = scaled.checked_shr(shift).unwrap_or(0);
            let rest = scaled - kept.checked_shl(shift).unwrap_or(0);
            // Nothing reaches the half of 2^128 and more.
            let is_up = 1u128.checked_shl(shift - 1).is_some_and(|half| rest > half || (rest == half && kept & 1 == 1));
            (kept + u128::from(is_up)).to_string()
        };
        if digits.len() <= PLACES {
            digits.insert_str(0, &"0".repeat(PLACES + 1 - digits.len()));
        }
        let (whole, fraction) = digits.split_at(digits.len() - PLACES);
        let fraction = fraction.trim_end_matches('0');
        if self.is_negative && (whole != "0" || !fraction.is_empty()) {
            out.push(b'-');
        }
        out.extend_from_slice(whole.as_bytes());
        if !fraction.is_empty() {
            out.push(b'.');
            out.extend_from_slice(fraction.as_bytes());
        }
    }
}

/// The value without its last `excess` bits, one at least, and rounded.
pub(super) fn without(value: u128, excess: u64, is_more: bool) -> u128 {
    let (kept, rest, half) = (value >> excess, value & ((1 << excess) - 1), 1u128 << (excess - 1));
    let is_up = match rest.cmp(&half) {
        Ordering::Less => false,
        Ordering::Equal => is_more || kept & 1 == 1,
        Ordering::Greater => true,
    };
    kept + u128::from(is_up)
}

/// The digits of a decimal number as values without zeros in front, and the power of ten of the last.
fn decimal(text: &[u8]) -> Option<(Vec<u8>, i64)> {
    let (number, exponent) = match text.iter().position(|byte| byte.eq_ignore_ascii_case(&b'e')) {
        Some(at) => (&text[..at], whole_exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    let point = number.iter().position(|byte| *byte == b'.');
    let places = point.map_or(0, |at| number.len() - at - 1);
    let digits: Vec<u8> =
        number.iter().enumerate().filter(|(at, _)| Some(*at) != point).map(|(_, byte)| *byte).collect();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    Some((digits[zeros..].to_vec(), exponent - places as i64)) // a text is short
}

/// The exponent behind `e` or `p`, however long: beyond a limit it makes no difference.
pub(super) fn whole_exponent(text: &[u8]) -> Option<i64> {
    const LIMIT: i64 = 1 << 40;
    let (is_negative, digits) = match text {
        [sign @ (b'+' | b'-'), rest @ ..] => (*sign == b'-', rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0, |value: i64, digit| (value * 10 + i64::from(digit - b'0')).min(LIMIT));
    Some(if is_negative { -value } else { value })
}

/// A natural number of any size, 32 bits at a time from the lowest.
struct Natural(Vec<u32>);

const NINE_DIGITS: u32 = 1_000_000_000;

impl Natural {
    fn of_digits(digits: &[u8]) -> Self {
        let mut number = Self(Vec::new());
        for digit in digits {
            number.multiply_and_add(10, u32::from(digit - b'0'));
        }
        number
    }

    fn multiply_and_add(&mut self, factor: u32, addend: u32) {
        let mut carry = u64::from(addend);
        for limb in &mut self.0 {
            carry += u64::from(*limb) * u64::from(factor);
            *limb = carry as u32; // the lower half
            carry >>= 32;
        }
        if carry > 0 {
            self.0.push(carry as u32); // the upper half
        }
    }

    fn multiply_by_power_of_ten(&mut self, exponent: u64) {
        for _ in 0..exponent / 9 {
            self.multiply_and_add(NINE_DIGITS, 0);
        }
        self.multiply_and_add(10u32.pow((exponent % 9) as u32), 0); // below nine
    }

    fn shift_left(&mut self, bits: u64) {
        self.multiply_and_add(1 << (bits % 32), 0);
        let limbs = (bits / 32) as usize; // at most some thousands
        self.0.splice(..0, std::iter::repeat_n(0, limbs));
    }

    fn shift_right_once(&mut self) {
        let mut carry = 0;
        for limb in self.0.iter_mut().rev() {
            (*limb, carry) = (*limb >> 1 | carry << 31, *limb & 1);
        }
    }

    /// How many bits it has.
    fn bits(&self) -> i64 {
        let top = self.0.iter().rposition(|limb| *limb != 0);
        top.map_or(0, |at| (at as i64 + 1) * 32 - i64::from(self.0[at].leading_zeros())) // some thousands
    }

    fn is_at_least(&self, other: &Self) -> bool {
        let limb = |number: &Self, at: usize| number.0.get(at).copied().unwrap_or(0);
        let differs = (0..self.0.len().max(other.0.len())).rev().find(|at| limb(self, *at) != limb(other, *at));
        differs.is_none_or(|at| limb(self, at) > limb(other, at))
    }

    /// Takes away one that is not larger.
    fn subtract(&mut self, other: &Self) {
        let mut borrow = 0;
        for (at, limb) in self.0.iter_mut().enumerate() {
            let taken = i64::from(other.0.get(at).copied().unwrap_or(0)) + borrow;
            let rest = i64::from(*limb) - taken;
            borrow = i64::from(rest < 0);
            *limb = rest as u32; // modulo 2^32
        }
    }

    /// The quotient, which must have at most 66 bits, and whether nothing is left.
    fn divide(mut self, mut divisor: Self) -> (u128, bool) {
        const HIGHEST_BIT: u64 = 65;
        divisor.shift_left(HIGHEST_BIT);
        let mut quotient = 0;
        for bit in (0..=HIGHEST_BIT).rev() {
            if self.is_at_least(&divisor) {
                self.subtract(&divisor);
                quotient |= 1u128 << bit;
            }
            divisor.shift_right_once();
        }
        (quotient, self.bits() == 0)
    }

    fn into_decimal(mut self) -> String {
        let mut parts = Vec::new();
        while self.bits() > 0 {
            let mut rest = 0;
            for limb in self.0.iter_mut().rev() {
                let value = rest << 32 | u64::from(*limb);
                *limb = (value / u64::from(NINE_DIGITS)) as u32; // the rest was below the divisor
                rest = value % u64::from(NINE_DIGITS);
            }
            parts.push(rest);
        }
        let mut text = parts.pop().unwrap_or(0).to_string();
        parts.iter().rev().for_each(|part| text.push_str(&format!("{part:09}")));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> LongDouble {
        match LongDouble::parse(text.as_bytes()) {
            Some(Parsed::Finite(number)) => number,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn sum(one: &str, other: &str) -> String {
        let mut text = Vec::new();
        number(one).plus(number(other)).unwrap().write(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn sums_are_those_of_redis_on_x86() {
        for (one, other, expected) in [
            ("138.41", "6.05", "144.46000000000000001"),
            ("0.1", "0.2", "0.3"),
            ("3.0e3", "200", "3200"),
            ("10.5", "-10.5", "0"),
            ("-0", "-0", "0"),
            ("1e19", "1", "10000000000000000001"),
            ("1e20", "1", "100000000000000000000"),
            ("1e20", "5", "100000000000000000008"),
            ("1e21", "-0.5", "1000000000000000000000"),
            ("5e-324", "0", "0"),
            ("1", "1e-4000", "1"),
            ("-1", "0.00000000000000001", "-0.99999999999999999"),
            (".5", "5.", "5.5"),
            ("0x10", "0x1.8p3", "28"),
            ("-0X.8P+1", "0", "-1"),
            ("0x1.00000000000000010000000000000000000000000001p64", "0", "18446744073709551618"),
        ] {
            assert_eq!(sum(one, other), expected, "{one} + {other}");
        }
        assert_eq!(sum("2e4000", "0").len(), 4001);
    }

    #[test]
    fn what_is_no_number_or_has_no_place_is_refused() {
        for text in ["", "-", "+", ".", "e5", "1e", "1e+", "1.2.3", " 1", "1 ", "1x", "nan", "1e5000", "1e-5000", "0x"]
            .into_iter()
            .chain(["0x.", "0xp1", "0x1p", "0x1.1.1", "0x1p1.5", "0x-1", "0x1p16384", "0x1p-16447"])
        {
            assert_eq!(LongDouble::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(LongDouble::parse(&b"1".repeat(MOST_TEXT + 1)), None);
        assert_eq!(LongDouble::parse(b"-Infinity"), Some(Parsed::Infinite));
        assert_eq!(number("1e4932").plus(number("1e4932")), Err(Infinite));
        assert_eq!(sum("0e999999999999999999999", "0"), "0");
    }

    /// Where the sum fits into 53 bits, it is that of doubles.
    #[test]
    fn sums_of_integers_are_exact() {
        let mut random = fastrand::Rng::with_seed(9);
        for _ in 0..2_000 {
            let (one, other) = (random.i64(-(1 << 52)..1 << 52), random.i64(-(1 << 52)..1 << 52));
            assert_eq!(sum(&one.to_string(), &other.to_string()), (one + other).to_string());
            let places = |value: i64| format!("{:.10}", value as f64 / 1024.0);
            let exact = places(one + other);
            assert_eq!(sum(&places(one), &places(other)), exact.trim_end_matches('0').trim_end_matches('.'));
        }
    }
}
