//! Places: members of sorted sets whose scores are cells of a grid on Earth ([`crate::value::geo`]).

mod search;

use smallvec::SmallVec;

use crate::value::Zset;
use crate::value::geo::Position;

use super::args::{self, is};
use super::spec::{CAT_GEO, Command, DENYOOM, Keys, MOVABLE_KEYS, ONE_KEY, READONLY, TWO_KEYS, WRITE, command};
use super::zset::{AddOptions, add_scored};
use super::{CommandError, Context, Outcome, typed};

const CAT: u32 = CAT_GEO;
const MAY_STORE: u32 = WRITE | DENYOOM | MOVABLE_KEYS;
const BY_PLACE: Keys = Keys::FirstAnd(|arguments| search::stored_at(arguments, 6));
const BY_MEMBER: Keys = Keys::FirstAnd(|arguments| search::stored_at(arguments, 5));

pub const COMMANDS: &[Command] = &[
    command("geoadd", -5, WRITE | DENYOOM, ONE_KEY, CAT, "3.2.0", geoadd),
    command("geodist", -4, READONLY, ONE_KEY, CAT, "3.2.0", geodist),
    command("geohash", -2, READONLY, ONE_KEY, CAT, "3.2.0", geohash),
    command("geopos", -2, READONLY, ONE_KEY, CAT, "3.2.0", geopos),
    command("geosearch", -7, READONLY, ONE_KEY, CAT, "6.2.0", search::geosearch),
    command("geosearchstore", -8, WRITE | DENYOOM, TWO_KEYS, CAT, "6.2.0", search::geosearchstore),
    command("georadius", -6, MAY_STORE, BY_PLACE, CAT, "3.2.0", search::georadius),
    command("georadius_ro", -6, READONLY, ONE_KEY, CAT, "3.2.10", search::georadius_ro),
    command("georadiusbymember", -5, MAY_STORE, BY_MEMBER, CAT, "3.2.0", search::georadiusbymember),
    command("georadiusbymember_ro", -5, READONLY, ONE_KEY, CAT, "3.2.10", search::georadiusbymember_ro),
];

/// A longitude and a latitude.
fn position(longitude: &[u8], latitude: &[u8]) -> Result<Position, CommandError> {
    let position = Position { longitude: args::float(longitude)?, latitude: args::float(latitude)? };
    if position.is_on_grid() {
        return Ok(position);
    }
    let Position { longitude, latitude } = position;
    Err(CommandError::err(format!("invalid longitude,latitude pair {longitude:.6},{latitude:.6}")))
}

/// How many metres a unit has.
fn metres_per(unit: &[u8]) -> Result<f64, CommandError> {
    const UNITS: [(&str, f64); 4] = [("m", 1.0), ("km", 1000.0), ("ft", 0.3048), ("mi", 1609.34)];
    let known = UNITS.iter().find(|(name, _)| is(unit, name));
    known
        .map(|(_, metres)| *metres)
        .ok_or_else(|| CommandError::err("unsupported unit provided. please use M, KM, FT, MI"))
}

/// The place of a member.
fn place_of(zset: Option<&Zset>, member: &[u8]) -> Option<Position> {
    zset?.score(member).map(Position::of_score)
}

fn geoadd(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let (mut options, mut at) = (AddOptions::default(), 2);
    while let Some(word) = args.get(at) {
        match word {
            word if is(word, "NX") => options.only_new = true,
            word if is(word, "XX") => options.only_existing = true,
            word if is(word, "CH") => options.counts_updates = true,
            _ => break,
        }
        at += 1;
    }
    let places = &args[at..];
    if places.is_empty() || !places.len().is_multiple_of(3) || (options.only_new && options.only_existing) {
        return Err(CommandError::Syntax);
    }
    let mut scored = SmallVec::<[(f64, &[u8]); 8]>::with_capacity(places.len() / 3);
    let mut record: Vec<Vec<u8>> = vec![b"ZADD".to_vec()];
    record.extend(args[1..at].iter().map(|word| word.to_vec()));
    for place in places.chunks_exact(3) {
        let score = position(place[0], place[1])?.to_score();
        scored.push((score as f64, place[2])); // at most 54 bits, and even where it has that many
        record.extend([itoa::Buffer::new().format(score).into(), place[2].to_vec()]);
    }
    let added = add_scored(context, options, &scored)?;
    if added.new + added.updated > 0 {
        context.log_as(&record);
    }
    Ok(context.reply.count(if options.counts_updates { added.new + added.updated } else { added.new }))
}

fn geodist(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let metres = match args[4..] {
        [] => 1.0,
        [unit] => metres_per(unit)?,
        _ => return Err(CommandError::Syntax),
    };
    let (zset, reply) = typed::read::<Zset>(context, args[1])?;
    let places = place_of(zset, args[2]).zip(place_of(zset, args[3]));
    Ok(match places {
        Some((one, other)) => search::write_distance(reply, one.distance_m(other) / metres),
        None => reply.null(),
    })
}

fn geohash(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let (zset, reply) = typed::read::<Zset>(context, args[1])?;
    let header = reply.array(args.len() - 2);
    for member in &args[2..] {
        match place_of(zset, member) {
            Some(place) => reply.bulk(&place.geohash()),
            None => reply.null(),
        };
    }
    Ok(header)
}

fn geopos(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let (zset, reply) = typed::read::<Zset>(context, args[1])?;
    let header = reply.array(args.len() - 2);
    for member in &args[2..] {
        match place_of(zset, member) {
            Some(place) => search::write_position(reply, place),
            None => reply.null_array(),
        };
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::super::console::{Console, assert_rows_are_those_of_redis};

    #[test]
    fn rows_are_those_of_redis() {
        assert_rows_are_those_of_redis(super::COMMANDS);
    }

    #[test]
    fn places_are_logged_as_scores_and_searches_as_they_were_typed() {
        Console::new().script(
            "geoadd g ch 13.361389 38.115556 palermo => :1
             log => ZADD g ch 3479099956230698 palermo
             geoadd g 13.361389 38.115556 palermo => :0
             geoadd g xx 1 1 none => :0
             log =>
             georadius g 13 38 100 km store d => :1
             geosearchstore d g fromlonlat 13 38 byradius 100 km => :1
             geosearchstore d g fromlonlat 0 0 byradius 1 m => :0
             geosearchstore d g fromlonlat 0 0 byradius 1 m => :0
             log => georadius g 13 38 100 km store d | geosearchstore d g fromlonlat 13 38 byradius 100 km | \
             geosearchstore d g fromlonlat 0 0 byradius 1 m",
        );
    }
}
