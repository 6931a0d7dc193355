//! The decimal digits of doubles, by Grisu2 (Florian Loitsch, "Printing Floating-Point Numbers Quickly and Accurately
//! with Integers", PLDI 2010), with the choices of the implementation that Redis 7.2 and later print with.
//!
//! The digits always read back as the same double, but in one of some hundred cases they are not those of it that are
//! closest, or one more than needed: so printing like Redis takes this algorithm, not a better one.

use std::sync::LazyLock;

use super::long_double::LongDouble;

/// A number of 64 bits times a power of two.
#[derive(Clone, Copy)]
struct Scaled {
    bits: u64,
    exponent: i64,
}

/// Powers of ten are kept in steps, from the first on.
const FIRST_POWER: i64 = -348;
const STEP: i64 = 8;
const POWERS: usize = 87;
/// The products that digits are made of have an exponent in this range, so that their whole part fits 32 bits.
const LEAST_EXPONENT: i64 = -60;
const MOST_EXPONENT: i64 = -32;
/// Of a double.
const FRACTION_BITS: u32 = 52;
const EXPONENT_BIAS: i64 = 1075;

static POWERS_OF_TEN: LazyLock<[Scaled; POWERS]> = LazyLock::new(|| {
    std::array::from_fn(|at| {
        let (bits, exponent) = LongDouble::power_of_ten(FIRST_POWER + at as i64 * STEP); // 87 of them
        Scaled { bits, exponent }
    })
});

impl Scaled {
    fn normalized(self) -> Self {
        let shift = self.bits.leading_zeros();
        Self { bits: self.bits << shift, exponent: self.exponent - i64::from(shift) }
    }

    /// The upper half of the product, rounded.
    fn times(self, other: Self) -> Self {
        let product = u128::from(self.bits) * u128::from(other.bits) + (1 << 63);
        Self { bits: (product >> 64) as u64, exponent: self.exponent + other.exponent + 64 }
    }
}

/// The power of ten that brings a number with this exponent into the range, and its decimal exponent.
fn power_for(exponent: i64) -> (Scaled, i64) {
    const LOG10_OF_2: f64 = 0.301_029_995_663_981_14;
    let guess = -((exponent + POWERS as i64) as f64) * LOG10_OF_2; // small numbers
    let mut at = ((guess as i64 - FIRST_POWER) / STEP) as usize; // of a double, always within the table
    loop {
        let product = exponent + POWERS_OF_TEN[at].exponent + 64;
        if product < LEAST_EXPONENT {
            at += 1;
        } else if product > MOST_EXPONENT {
            at -= 1;
        } else {
            return (POWERS_OF_TEN[at], FIRST_POWER + at as i64 * STEP); // below the table's length
        }
    }
}

/// The digits of a positive finite number as text, and the power of ten of the last.
///
/// ```
/// assert_eq!(ironkeep::codec::grisu::digits(0.00125), (b"125".as_slice().into(), -5));
/// ```
pub fn digits(value: f64) -> (smallvec::SmallVec<[u8; 20]>, i64) {
    let (fraction, biased) = (value.to_bits() & ((1 << FRACTION_BITS) - 1), value.to_bits() >> FRACTION_BITS);
    let hidden = 1 << FRACTION_BITS;
    let number = match biased.cast_signed() {
        0 => Scaled { bits: fraction, exponent: 1 - EXPONENT_BIAS },
        biased => Scaled { bits: fraction | hidden, exponent: biased - EXPONENT_BIAS },
    };
    // Half-way to the neighbours: the lower one is nearer below a power of two.
    let upper = Scaled { bits: number.bits * 2 + 1, exponent: number.exponent - 1 }.normalized();
    let closeness = if number.bits == hidden { 2 } else { 1 };
    let lower = Scaled { bits: (number.bits << closeness) - 1, exponent: number.exponent - closeness };
    let lower = Scaled { bits: lower.bits << (lower.exponent - upper.exponent), exponent: upper.exponent };
    let (power, decimal_exponent) = power_for(upper.exponent);
    let (number, mut upper, mut lower) = (number.normalized().times(power), upper.times(power), lower.times(power));
    // The products may be off by one.
    upper.bits -= 1;
    lower.bits += 1;
    let mut generator = Generator {
        digits: smallvec::SmallVec::new(),
        delta: upper.bits - lower.bits,
        target: upper.bits - number.bits,
    };
    let exponent = generator.generate(upper);
    (generator.digits, exponent - decimal_exponent)
}

/// Makes the digits of the upper bound until what is left lies within the interval.
struct Generator {
    digits: smallvec::SmallVec<[u8; 20]>,
    /// From the lower bound to the upper one, and from the number to it.
    delta: u64,
    target: u64,
}

impl Generator {
    /// Returns the power of ten of the last digit.
    fn generate(&mut self, upper: Scaled) -> i64 {
        let fraction_bits = upper.exponent.unsigned_abs() as u32; // 32 to 60
        let one = 1u64 << fraction_bits;
        let (mut whole, mut fraction) = (upper.bits >> fraction_bits, upper.bits & (one - 1));
        for place in (0..10).rev() {
            let unit = 10u64.pow(place);
            self.push(whole / unit);
            whole %= unit;
            let rest = (whole << fraction_bits) + fraction;
            if rest <= self.delta {
                self.approach(rest, unit << fraction_bits, self.target);
                return i64::from(place);
            }
        }
        let (mut place, mut unit) = (0, 1u64);
        loop {
            fraction *= 10;
            self.delta *= 10;
            unit = unit.wrapping_mul(10);
            place -= 1;
            self.push(fraction >> fraction_bits);
            fraction &= one - 1;
            if fraction < self.delta {
                self.approach(fraction, one, self.target.wrapping_mul(unit));
                return place;
            }
        }
    }

    fn push(&mut self, digit: u64) {
        if digit != 0 || !self.digits.is_empty() {
            self.digits.push(b'0' + digit as u8); // below ten
        }
    }

    /// Lowers the last digit as long as that comes closer to the number.
    fn approach(&mut self, mut rest: u64, unit: u64, target: u64) {
        let Some(last) = self.digits.last_mut() else { return };
        while rest < target
            && self.delta - rest >= unit
            && (rest + unit < target || target - rest > rest + unit - target)
        {
            *last -= 1;
            rest += unit;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_back(value: f64) -> f64 {
        let (digits, exponent) = digits(value);
        format!("{}e{exponent}", std::str::from_utf8(&digits).unwrap()).parse().unwrap()
    }

    #[test]
    fn the_digits_read_back_as_the_number() {
        let mut random = fastrand::Rng::with_seed(11);
        for value in [f64::MIN_POSITIVE, f64::MAX, 5e-324, 1.0, 1e23, 9.5, 0.1, 2f64.powi(-1022), 2f64.powi(60)] {
            assert_eq!(read_back(value), value);
        }
        for _ in 0..100_000 {
            let value = f64::from_bits(random.u64(..)).abs();
            if value.is_finite() && value > 0.0 {
                assert_eq!(read_back(value), value);
            }
        }
    }

    #[test]
    fn a_few_are_not_the_closest_or_shortest_and_those_are_the_ones_of_redis() {
        for (value, expected, exponent) in [
            (849_672.254_9, "8496722549000001", -10),
            (9_236_890_440.156_6, "9236890440156601", -6),
            (707_459_681.080_1, "7074596810801001", -7),
        ] {
            assert_eq!(digits(value), (expected.as_bytes().into(), exponent));
        }
    }
}
