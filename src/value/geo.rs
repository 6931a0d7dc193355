//! Places on Earth as sorted sets keep them: a score of 52 bits, a cell of a grid that is halved 26 times each way.
//!
//! The bits of longitude and latitude alternate, longitude first (highest), so that cells close to each other tend to
//! have close scores, and a coarser cell is a range of scores. Longitudes lie in -180..180 degrees, latitudes in
//! -85.05112878..85.05112878 (EPSG:3857, where the Mercator map is a square); cells are of equal degrees, not of equal
//! size. Distances are those of the haversine formula on a sphere of 6372797.560856 m.
//!
//! ```text
//! bit 51 50 49 48 ... 1  0
//!     lo la lo la ... lo la        the first halving, the second, ..., the 26th
//! ```
//!
//! A search asks nine cells around its centre, in a fixed order which clients see in unsorted results: [`Area::cells`].
//! The arithmetic keeps to the operations of Redis one by one, since their last bits are visible too.

use std::f64::consts::PI;

/// How often the grid is halved each way for a score.
const MOST_STEPS: u32 = 26;
pub const MOST_LONGITUDE: f64 = 180.0;
pub const MOST_LATITUDE: f64 = 85.051_128_78;
const EARTH_RADIUS_M: f64 = 6_372_797.560_856;
/// Half the circumference at the equator on the Mercator map.
const MERCATOR_MOST_M: f64 = 20_037_726.37;
const RADIANS_PER_DEGREE: f64 = PI / 180.0;

/// A place, in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Position {
    pub longitude: f64,
    pub latitude: f64,
}

/// The integer of a score. Those of places are whole and small; of the others it is what x86-64 makes of them, whose
/// answers everybody knows, as C does not say.
fn bits_of_score(score: f64) -> u64 {
    const TOP: f64 = 9_223_372_036_854_775_808.0; // 2^63
    let signed = |score: f64| if (-TOP..TOP).contains(&score) { score as i64 as u64 } else { 1 << 63 };
    if score >= TOP { signed(score - TOP) ^ 1 << 63 } else { signed(score) }
}

impl Position {
    /// Whether the grid has it.
    pub fn is_on_grid(self) -> bool {
        self.longitude.abs() <= MOST_LONGITUDE && self.latitude.abs() <= MOST_LATITUDE
    }

    /// The score of its cell.
    ///
    /// ```
    /// use ironkeep::value::geo::Position;
    /// let palermo = Position { longitude: 13.361389, latitude: 38.115556 };
    /// assert_eq!(palermo.to_score(), 3479099956230698);
    /// ```
    pub fn to_score(self) -> u64 {
        Cell::around(self, MOST_STEPS).first_score()
    }

    /// The middle of a score's cell.
    pub fn of_score(score: f64) -> Self {
        let bounds = Cell::of_bits(bits_of_score(score), MOST_STEPS).bounds();
        Self {
            longitude: ((bounds.west + bounds.east) / 2.0).clamp(-MOST_LONGITUDE, MOST_LONGITUDE),
            latitude: ((bounds.south + bounds.north) / 2.0).clamp(-MOST_LATITUDE, MOST_LATITUDE),
        }
    }

    /// Metres to another place.
    pub fn distance_m(self, other: Position) -> f64 {
        let half_width = ((radians(other.longitude) - radians(self.longitude)) / 2.0).sin();
        if half_width == 0.0 {
            return self.latitude_distance_m(other);
        }
        let (latitude, other_latitude) = (radians(self.latitude), radians(other.latitude));
        let half_height = ((other_latitude - latitude) / 2.0).sin();
        let haversine = half_height * half_height + latitude.cos() * other_latitude.cos() * half_width * half_width;
        2.0 * EARTH_RADIUS_M * haversine.sqrt().asin()
    }

    /// Metres to the other's latitude.
    fn latitude_distance_m(self, other: Position) -> f64 {
        EARTH_RADIUS_M * (radians(other.latitude) - radians(self.latitude)).abs()
    }

    /// The place as a geohash of 11 letters, as geohash.org has them: its latitudes reach the poles. The 11th letter
    /// would need three more bits than a score has, and is always `0`.
    pub fn geohash(self) -> [u8; 11] {
        const LETTERS: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let longitude = fraction(self.longitude, MOST_LONGITUDE, MOST_STEPS);
        let latitude = fraction(self.latitude, 90.0, MOST_STEPS);
        let bits = interleave(latitude) | interleave(longitude) << 1;
        std::array::from_fn(|at| match at {
            10 => b'0',
            at => LETTERS[(bits >> (52 - (at + 1) * 5)) as usize & 31], // five bits
        })
    }
}

fn radians(degrees: f64) -> f64 {
    degrees * RADIANS_PER_DEGREE
}

fn degrees(radians: f64) -> f64 {
    radians / RADIANS_PER_DEGREE
}

/// Where a coordinate lies between `-most` and `most`, in cells of the grid that is halved so often.
fn fraction(degrees: f64, most: f64, steps: u32) -> u32 {
    ((degrees + most) / (most + most) * f64::from(1u32 << steps)) as u32 // 2^26 at most
}

/// Puts a zero in front of each bit.
fn interleave(bits: u32) -> u64 {
    (0..32).fold(0, |spread, bit| spread | u64::from(bits >> bit & 1) << (2 * bit))
}

/// Every second bit, from the lowest on.
fn deinterleave(bits: u64) -> u32 {
    (0..32).fold(0, |packed, bit| packed | ((bits >> (2 * bit) & 1) as u32) << bit)
}

/// A cell of the grid that is halved `steps` times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    longitude: u32,
    latitude: u32,
    steps: u32,
}

/// The edges of a cell or search, in degrees.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    west: f64,
    south: f64,
    east: f64,
    north: f64,
}

impl Cell {
    fn around(position: Position, steps: u32) -> Self {
        let longitude = fraction(position.longitude, MOST_LONGITUDE, steps);
        let latitude = fraction(position.latitude, MOST_LATITUDE, steps);
        Self { longitude, latitude, steps }
    }

    fn of_bits(bits: u64, steps: u32) -> Self {
        Self { longitude: deinterleave(bits >> 1), latitude: deinterleave(bits), steps }
    }

    fn bits(self) -> u64 {
        interleave(self.latitude) | interleave(self.longitude) << 1
    }

    fn first_score(self) -> u64 {
        self.bits() << (2 * (MOST_STEPS - self.steps))
    }

    /// Scores in the cell: the first, and the first behind it.
    fn scores(self) -> (u64, u64) {
        (self.first_score(), (self.bits() + 1) << (2 * (MOST_STEPS - self.steps)))
    }

    fn bounds(self) -> Bounds {
        let cells = f64::from(1u32 << self.steps);
        let edge = |index: f64, most: f64| -most + index / cells * (most + most);
        let (longitude, latitude) = (f64::from(self.longitude), f64::from(self.latitude));
        Bounds {
            west: edge(longitude, MOST_LONGITUDE),
            east: edge(longitude + 1.0, MOST_LONGITUDE),
            south: edge(latitude, MOST_LATITUDE),
            north: edge(latitude + 1.0, MOST_LATITUDE),
        }
    }

    /// The cell so many cells to the east and to the north (-1, 0 or 1); round the Earth where the grid ends.
    fn neighbour(self, east: i32, north: i32) -> Self {
        let mask = (1u32 << self.steps) - 1;
        let moved = |index: u32, by: i32| if by == 0 { index } else { index.wrapping_add_signed(by) & mask };
        Self { longitude: moved(self.longitude, east), latitude: moved(self.latitude, north), steps: self.steps }
    }
}

/// What a search looks for places in. Lengths are in metres.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    Circle {
        radius_m: f64,
    },
    /// With the centre in its middle.
    Box {
        width_m: f64,
        height_m: f64,
    },
    /// Its sides are straight in degrees.
    Polygon {
        corners: Vec<Position>,
    },
}

impl Shape {
    /// Where a polygon of these corners has its centre: their mean as points of a sphere, brought back to its surface.
    pub fn centre_of(corners: &[Position]) -> Position {
        let mean = |of: &dyn Fn(f64, f64) -> f64| {
            let parts = corners.iter().map(|corner| of(radians(corner.longitude), radians(corner.latitude)));
            parts.sum::<f64>() / corners.len() as f64 // few
        };
        let east = mean(&|longitude, latitude| latitude.cos() * longitude.sin());
        let front = mean(&|longitude, latitude| latitude.cos() * longitude.cos());
        let north = mean(&|_, latitude| latitude.sin());
        Position { longitude: degrees(east.atan2(front)), latitude: degrees(north.atan2(front.hypot(east))) }
    }
}

/// Whether a ray from the place to the east crosses the sides an odd number of times.
fn is_inside(place: Position, corners: &[Position]) -> bool {
    let sides = corners.iter().zip(corners.iter().cycle().skip(1));
    let crosses = |(one, other): &(&Position, &Position)| {
        let slope = (other.longitude - one.longitude) / (other.latitude - one.latitude);
        (one.latitude > place.latitude) != (other.latitude > place.latitude)
            && place.longitude < slope * (place.latitude - one.latitude) + one.longitude
    };
    sides.filter(crosses).count() % 2 == 1
}

/// A shape around a place.
#[derive(Debug, Clone, PartialEq)]
pub struct Area {
    pub centre: Position,
    pub shape: Shape,
}

impl Area {
    /// Metres from the centre to a place inside; `None` for one outside.
    pub fn distance_m(&self, place: Position) -> Option<f64> {
        match self.shape {
            Shape::Polygon { ref corners } => is_inside(place, corners).then(|| self.centre.distance_m(place)),
            Shape::Circle { radius_m } => Some(self.centre.distance_m(place)).filter(|distance| *distance <= radius_m),
            Shape::Box { width_m, height_m } => {
                if place.latitude_distance_m(self.centre) > height_m / 2.0 {
                    return None;
                }
                let same_latitude = Position { latitude: place.latitude, ..self.centre };
                let is_too_wide = place.distance_m(same_latitude) > width_m / 2.0;
                (!is_too_wide).then(|| self.centre.distance_m(place))
            }
        }
    }

    /// The ranges of scores that hold all places inside, each from its first score to the one behind its last, in the
    /// order in which they are asked.
    pub fn cells(&self) -> Vec<(u64, u64)> {
        const ORDER: [(i32, i32); 9] = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        let bounds = self.bounds();
        let mut middle = Cell::around(self.centre, self.steps());
        let is_too_small = middle.neighbour(0, 1).bounds().north < bounds.north
            || middle.neighbour(0, -1).bounds().south > bounds.south
            || middle.neighbour(1, 0).bounds().east < bounds.east
            || middle.neighbour(-1, 0).bounds().west > bounds.west;
        if is_too_small && middle.steps > 1 {
            middle = Cell::around(self.centre, middle.steps - 1);
        }
        let inner = middle.bounds();
        let is_needed = |(east, north): (i32, i32)| {
            middle.steps < 2
                || !(inner.south < bounds.south && north < 0
                    || inner.north > bounds.north && north > 0
                    || inner.west < bounds.west && east < 0
                    || inner.east > bounds.east && east > 0)
        };
        let mut cells: Vec<Cell> = Vec::with_capacity(ORDER.len());
        for (east, north) in ORDER.into_iter().filter(|direction| is_needed(*direction)) {
            let cell = middle.neighbour(east, north);
            // Where few cells span the Earth, one is the neighbour on both sides. Only the one before is looked at, and the
            // very first is not, as in Redis: a place may come twice.
            if cells.len() < 2 || cells.last() != Some(&cell) {
                cells.push(cell);
            }
        }
        cells.into_iter().map(Cell::scores).collect()
    }

    fn bounds(&self) -> Bounds {
        let (half_width, half_height) = match self.shape {
            Shape::Polygon { ref corners } => {
                let of = |of: fn(&Position) -> f64, pick: fn(f64, f64) -> f64| {
                    corners.iter().map(of).reduce(pick).unwrap_or_default()
                };
                return Bounds {
                    west: of(|corner| corner.longitude, f64::min),
                    east: of(|corner| corner.longitude, f64::max),
                    south: of(|corner| corner.latitude, f64::min),
                    north: of(|corner| corner.latitude, f64::max),
                };
            }
            Shape::Circle { radius_m } => (radius_m, radius_m),
            Shape::Box { width_m, height_m } => (width_m / 2.0, height_m / 2.0),
        };
        let Position { longitude, latitude } = self.centre;
        let height = degrees(half_height / EARTH_RADIUS_M);
        // A degree of longitude is shortest at the edge that is nearer to a pole.
        let edge = if latitude < 0.0 { latitude - height } else { latitude + height };
        let width = degrees(half_width / EARTH_RADIUS_M / radians(edge).cos());
        Bounds { west: longitude - width, east: longitude + width, south: latitude - height, north: latitude + height }
    }

    /// How often the grid is halved for cells of about the shape's size, so that nine of them hold it.
    fn steps(&self) -> u32 {
        let mut reach_m = match self.shape {
            Shape::Polygon { ref corners } => {
                corners.iter().map(|corner| self.centre.distance_m(*corner)).fold(0.0, f64::max)
            }
            Shape::Circle { radius_m } => radius_m,
            Shape::Box { width_m, height_m } => ((width_m / 2.0).powi(2) + (height_m / 2.0).powi(2)).sqrt(),
        };
        if reach_m == 0.0 {
            return MOST_STEPS;
        }
        let mut steps = 1i32;
        while reach_m < MERCATOR_MOST_M && steps < 64 {
            reach_m *= 2.0;
            steps += 1;
        }
        steps -= 2;
        // Towards the poles a cell is narrower.
        let latitude = self.centre.latitude.abs();
        steps -= i32::from(latitude > 66.0) + i32::from(latitude > 80.0);
        steps.clamp(1, MOST_STEPS.cast_signed()).unsigned_abs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_decodes_to_the_middle_of_its_cell() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..2_000 {
            let position = Position {
                longitude: (random.f64() - 0.5) * 2.0 * MOST_LONGITUDE,
                latitude: (random.f64() - 0.5) * 2.0 * MOST_LATITUDE,
            };
            let back = Position::of_score(position.to_score() as f64);
            assert!(position.distance_m(back) < 0.6, "{position:?} {back:?}");
            assert_eq!(back.to_score(), position.to_score());
        }
    }

    #[test]
    fn nothing_inside_a_shape_lies_outside_of_its_cells() {
        let mut random = fastrand::Rng::with_seed(4);
        let place = |random: &mut fastrand::Rng| Position {
            longitude: (random.f64() - 0.5) * 340.0,
            latitude: (random.f64() - 0.5) * 120.0,
        };
        let mut inside = 0;
        for _ in 0..300 {
            let size_m = 10f64.powf(random.f64() * 5.0 + 1.0);
            let shape = match random.bool() {
                true => Shape::Circle { radius_m: size_m },
                false => Shape::Box { width_m: size_m, height_m: size_m * random.f64() },
            };
            let area = Area { centre: place(&mut random), shape };
            let cells = area.cells();
            let reach = size_m / 100_000.0;
            for _ in 0..50 {
                let near = Position {
                    longitude: area.centre.longitude + (random.f64() - 0.5) * reach,
                    latitude: area.centre.latitude + (random.f64() - 0.5) * reach,
                };
                let near = Position::of_score(near.to_score() as f64);
                if area.distance_m(near).is_some() {
                    inside += 1;
                    let score = near.to_score();
                    assert!(
                        cells.iter().any(|(first, behind)| (*first..*behind).contains(&score)),
                        "{area:?} {near:?}"
                    );
                }
            }
        }
        assert!(inside > 2_000, "{inside}");
    }

    #[test]
    fn a_polygon_has_its_notches_outside() {
        let corner = |longitude, latitude| Position { longitude, latitude };
        // A square of four by four, with a wedge cut out from the east.
        let corners = vec![corner(0., 0.), corner(4., 0.), corner(1., 2.), corner(4., 4.), corner(0., 4.)];
        let area = Area { centre: Shape::centre_of(&corners), shape: Shape::Polygon { corners } };
        assert!(area.centre.distance_m(corner(1.8, 2.0)) < 500.0, "{:?}", area.centre);
        for (place, inside) in [((0.5, 2.0), true), ((3.0, 2.0), false), ((3.0, 0.5), true), ((5.0, 0.5), false)] {
            let place = corner(place.0, place.1);
            let score = place.to_score();
            assert_eq!(area.distance_m(place).is_some(), inside, "{place:?}");
            let is_asked = area.cells().iter().any(|(first, behind)| (*first..*behind).contains(&score));
            assert!(is_asked || !inside, "{place:?}");
        }
    }

    #[test]
    fn a_geohash_is_that_of_the_public_site() {
        let palermo = Position { longitude: 13.361389, latitude: 38.115556 };
        assert_eq!(&Position::of_score(palermo.to_score() as f64).geohash(), b"sqc8b49rny0");
    }
}
