//! GEOSEARCH and its elders: members in a circle or a box, shown or stored.

use crate::resp::{Encoder, Reply};
use crate::value::geo::{Area, Position, Shape};
use crate::value::{Object, Zset};

use super::super::args::{self, is};
use super::super::{CommandError, Context, Outcome, typed};
use super::{metres_per, place_of, position};

/// Which command asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `GEORADIUS key longitude latitude radius unit`
    Place {
        may_store: bool,
    },
    /// `GEORADIUSBYMEMBER key member radius unit`
    Member {
        may_store: bool,
    },
    Search,
    SearchStore,
}

impl Form {
    /// Where the options begin.
    fn options_at(self) -> usize {
        match self {
            Form::Place { .. } => 6,
            Form::Member { .. } => 5,
            Form::Search => 2,
            Form::SearchStore => 3,
        }
    }

    fn is_search(self) -> bool {
        matches!(self, Form::Search | Form::SearchStore)
    }
}

pub(super) fn georadius(context: &mut Context<'_>) -> Outcome {
    run(context, Form::Place { may_store: true })
}

pub(super) fn georadius_ro(context: &mut Context<'_>) -> Outcome {
    run(context, Form::Place { may_store: false })
}

pub(super) fn georadiusbymember(context: &mut Context<'_>) -> Outcome {
    run(context, Form::Member { may_store: true })
}

pub(super) fn georadiusbymember_ro(context: &mut Context<'_>) -> Outcome {
    run(context, Form::Member { may_store: false })
}

pub(super) fn geosearch(context: &mut Context<'_>) -> Outcome {
    run(context, Form::Search)
}

pub(super) fn geosearchstore(context: &mut Context<'_>) -> Outcome {
    run(context, Form::SearchStore)
}

/// Where the keys stand that GEORADIUS may store into. It takes the last of them.
pub(super) fn stored_at(arguments: &[&[u8]], options_at: usize) -> Vec<usize> {
    let is_store = |at: &usize| is(arguments[at - 1], "STORE") || is(arguments[at - 1], "STOREDIST");
    (options_at + 1..arguments.len()).filter(is_store).collect()
}

/// A shape, and how many metres the unit has in which it was given.
struct Extent {
    shape: Shape,
    metres_per_unit: f64,
}

impl Extent {
    fn circle(radius: &[u8], unit: &[u8]) -> Result<Self, CommandError> {
        let radius = length(radius, "need numeric radius")?;
        if radius < 0.0 {
            return Err(CommandError::err("radius cannot be negative"));
        }
        let metres_per_unit = metres_per(unit)?;
        Ok(Self { shape: Shape::Circle { radius_m: radius * metres_per_unit }, metres_per_unit })
    }

    fn rectangle(width: &[u8], height: &[u8], unit: &[u8]) -> Result<Self, CommandError> {
        let (width, height) = (length(width, "need numeric width")?, length(height, "need numeric height")?);
        if width < 0.0 || height < 0.0 {
            return Err(CommandError::err("height or width cannot be negative"));
        }
        let metres_per_unit = metres_per(unit)?;
        let shape = Shape::Box { width_m: width * metres_per_unit, height_m: height * metres_per_unit };
        Ok(Self { shape, metres_per_unit })
    }

    /// `count longitude latitude ...`, with the centre, and how many arguments that are.
    fn polygon(values: &[&[u8]]) -> Result<(Self, Position, usize), CommandError> {
        let count = args::int(values[0]).map_err(|_| CommandError::err("invalid number of vertices"))?;
        let numbers = &values[1..];
        let count = usize::try_from(count).ok().filter(|count| *count >= 3 && *count <= numbers.len() / 2);
        let few = || CommandError::err("GEOSEARCH BYPOLYGON must have at least 3 vertices");
        let numbers = &numbers[..2 * count.ok_or_else(few)?];
        let corners: Result<Vec<Position>, _> =
            numbers.chunks_exact(2).map(|pair| position(pair[0], pair[1])).collect();
        let corners = corners?;
        let centre = Shape::centre_of(&corners);
        Ok((Self { shape: Shape::Polygon { corners }, metres_per_unit: 1.0 }, centre, 1 + numbers.len()))
    }
}

fn length(text: &[u8], error: &'static str) -> Result<f64, CommandError> {
    args::float(text).map_err(|_| CommandError::err(error))
}

/// What a request asks for, beside the key.
#[derive(Default)]
struct Options<'a> {
    /// The place; `Some(None)` where a member's was asked for of a key that isn't there.
    centre: Option<Option<Position>>,
    is_centre_member: bool,
    extent: Option<Extent>,
    is_box: bool,
    is_polygon: bool,
    with_distance: bool,
    with_score: bool,
    with_position: bool,
    /// 0 for all.
    count: usize,
    takes_any: bool,
    is_ascending: Option<bool>,
    store: Option<&'a [u8]>,
    stores_distance: bool,
}

impl<'a> Options<'a> {
    fn parse(form: Form, args: &[&'a [u8]], zset: Option<&Zset>) -> Result<Self, CommandError> {
        let mut options = Self::default();
        match form {
            Form::Place { .. } => {
                options.centre = Some(Some(position(args[2], args[3])?));
                options.extent = Some(Extent::circle(args[4], args[5])?);
            }
            // Of a key that isn't there not even the radius is read.
            Form::Member { .. } if zset.is_none() => {}
            Form::Member { .. } => {
                options.centre = Some(member_place(zset, args[2])?);
                options.extent = Some(Extent::circle(args[3], args[4])?);
            }
            Form::Search => {}
            Form::SearchStore => options.store = Some(args[1]),
        }
        let mut rest = &args[form.options_at()..];
        while let [word, tail @ ..] = rest {
            rest = if options.take_flag(form, word) {
                tail
            } else {
                let taken = options.take_value(form, word, tail, zset)?;
                &tail[taken..]
            };
        }
        options.check(form, args[0])?;
        Ok(options)
    }

    /// Takes an option that stands alone.
    fn take_flag(&mut self, form: Form, word: &[u8]) -> bool {
        match word {
            word if is(word, "WITHDIST") => self.with_distance = true,
            word if is(word, "WITHHASH") => self.with_score = true,
            word if is(word, "WITHCOORD") => self.with_position = true,
            word if is(word, "ANY") => self.takes_any = true,
            word if is(word, "ASC") => self.is_ascending = Some(true),
            word if is(word, "DESC") => self.is_ascending = Some(false),
            word if is(word, "STOREDIST") && form == Form::SearchStore => self.stores_distance = true,
            _ => return false,
        }
        true
    }

    /// Takes an option with what follows it; returns how many arguments those are.
    fn take_value(
        &mut self,
        form: Form,
        word: &[u8],
        values: &[&'a [u8]],
        zset: Option<&Zset>,
    ) -> Result<usize, CommandError> {
        let may_store = matches!(form, Form::Place { may_store } | Form::Member { may_store } if may_store);
        let is_search = form.is_search();
        match (word, values) {
            (word, [count, ..]) if is(word, "COUNT") => {
                let count = usize::try_from(args::int(count)?).ok().filter(|count| *count > 0);
                self.count = count.ok_or_else(|| CommandError::err("COUNT must be > 0"))?;
                Ok(1)
            }
            (word, [key, ..]) if may_store && (is(word, "STORE") || is(word, "STOREDIST")) => {
                self.store = Some(key);
                self.stores_distance = is(word, "STOREDIST");
                Ok(1)
            }
            (word, [member, ..]) if is_search && is(word, "FROMMEMBER") && !self.has_place() && !self.is_polygon => {
                self.centre = Some(member_place(zset, member)?);
                self.is_centre_member = true;
                Ok(1)
            }
            (word, [longitude, latitude, ..])
                if is_search && is(word, "FROMLONLAT") && !self.is_centre_member && !self.is_polygon =>
            {
                self.centre = Some(Some(position(longitude, latitude)?));
                Ok(2)
            }
            (word, [radius, unit, ..]) if is_search && is(word, "BYRADIUS") && !self.is_box && !self.is_polygon => {
                self.extent = Some(Extent::circle(radius, unit)?);
                Ok(2)
            }
            (word, [width, height, unit, ..])
                if is_search && is(word, "BYBOX") && (self.extent.is_none() || self.is_box) && !self.is_polygon =>
            {
                self.extent = Some(Extent::rectangle(width, height, unit)?);
                self.is_box = true;
                Ok(3)
            }
            (word, [_, ..]) if is_search && is(word, "BYPOLYGON") && self.centre.is_none() && self.extent.is_none() => {
                let (extent, centre, taken) = Extent::polygon(values)?;
                (self.extent, self.centre, self.is_polygon) = (Some(extent), Some(Some(centre)), true);
                Ok(taken)
            }
            _ => Err(CommandError::Syntax),
        }
    }

    /// Whether the centre was given as a place.
    fn has_place(&self) -> bool {
        self.centre.is_some() && !self.is_centre_member
    }

    fn check(&mut self, form: Form, name: &[u8]) -> Result<(), CommandError> {
        let name = args::printable(name);
        if self.store.is_some() && (self.with_distance || self.with_score || self.with_position) {
            let what = if form == Form::SearchStore { "GEOSEARCHSTORE" } else { "STORE option in GEORADIUS" };
            let text = format!("{what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options");
            return Err(CommandError::err(text));
        }
        if form.is_search() && self.centre.is_none() {
            let text = format!("exactly one of FROMMEMBER or FROMLONLAT can be specified for {name}");
            return Err(CommandError::err(text));
        }
        if form.is_search() && self.extent.is_none() {
            return Err(CommandError::err(format!("exactly one of BYRADIUS and BYBOX can be specified for {name}")));
        }
        if self.takes_any && self.count == 0 {
            return Err(CommandError::err("the ANY argument requires COUNT argument"));
        }
        // The closest ones are meant.
        if self.count > 0 && !self.takes_any && self.is_ascending.is_none() {
            self.is_ascending = Some(true);
        }
        Ok(())
    }
}

/// The place of a member that must be there, if the key is.
fn member_place(zset: Option<&Zset>, member: &[u8]) -> Result<Option<Position>, CommandError> {
    if zset.is_none() {
        return Ok(None);
    }
    let place = place_of(zset, member).ok_or_else(|| CommandError::err("could not decode requested zset member"))?;
    Ok(Some(place))
}

/// A member that lies in the area.
struct Found {
    member: Vec<u8>,
    /// From the centre, in the unit of the request.
    distance: f64,
    score: f64,
    position: Position,
}

fn run(context: &mut Context<'_>, form: Form) -> Outcome {
    let args = context.args;
    let key = args[if form == Form::SearchStore { 2 } else { 1 }];
    let (zset, _) = typed::read::<Zset>(context, key)?;
    let options = Options::parse(form, args, zset)?;
    let found = match (zset, options.centre.flatten(), &options.extent) {
        (Some(zset), Some(centre), Some(extent)) => find(zset, centre, extent, &options),
        _ => Vec::new(),
    };
    match options.store {
        Some(target) => store(context, target, &found, &options),
        None => Ok(show(&mut context.reply, &found, &options)),
    }
}

/// The members in the area, in the order and number that are wanted.
fn find(zset: &Zset, centre: Position, extent: &Extent, options: &Options<'_>) -> Vec<Found> {
    let area = Area { centre, shape: extent.shape.clone() };
    let enough = if options.takes_any { options.count } else { usize::MAX };
    let mut found = Vec::new();
    for (first, behind) in area.cells() {
        let start = zset.rank_of_score(first as f64, false); // whole, and at most 54 bits
        let within = zset.iter_from(start).take_while(|(_, score)| *score < behind as f64); // as above
        for (member, score) in within {
            if found.len() >= enough {
                break;
            }
            let position = Position::of_score(score);
            if let Some(distance_m) = area.distance_m(position) {
                let distance = distance_m / extent.metres_per_unit;
                found.push(Found { member: member.to_vec(), distance, score, position });
            }
        }
    }
    if let Some(is_ascending) = options.is_ascending {
        found.sort_by(|one, other| {
            let order = one.distance.total_cmp(&other.distance);
            if is_ascending { order } else { order.reverse() }
        });
    }
    if options.count > 0 {
        found.truncate(options.count);
    }
    found
}

fn show(reply: &mut Encoder<'_>, found: &[Found], options: &Options<'_>) -> Reply {
    let parts = [options.with_distance, options.with_score, options.with_position];
    let count = 1 + parts.into_iter().filter(|is_wanted| *is_wanted).count();
    let header = reply.array(found.len());
    for place in found {
        if count > 1 {
            reply.array(count);
        }
        reply.bulk(&place.member);
        if options.with_distance {
            write_distance(reply, place.distance);
        }
        if options.with_score {
            reply.int(place.score as i64); // what encodes a place is whole
        }
        if options.with_position {
            write_position(reply, place.position);
        }
    }
    header
}

fn store(context: &mut Context<'_>, target: &[u8], found: &[Found], options: &Options<'_>) -> Outcome {
    let limits = context.limits();
    let mut result = Zset::new();
    for place in found {
        let score = if options.stores_distance { place.distance } else { place.score };
        result.insert(&place.member, score, &limits);
    }
    if !result.is_empty() {
        context.db_mut().insert(target, Object::Zset(result), None);
        context.changed(found.len());
    } else if context.remove(target) {
        context.changed(1);
    }
    Ok(context.reply.count(found.len()))
}

/// A distance with four places behind the point.
pub(super) fn write_distance(reply: &mut Encoder<'_>, distance: f64) -> Reply {
    let scaled = (distance * 10_000.0).round_ties_even() as u64; // no distance on Earth comes near the limit
    reply.bulk(format!("{}.{:04}", scaled / 10_000, scaled % 10_000).as_bytes())
}

pub(super) fn write_position(reply: &mut Encoder<'_>, position: Position) -> Reply {
    let header = reply.array(2);
    reply.double(position.longitude);
    reply.double(position.latitude);
    header
}
