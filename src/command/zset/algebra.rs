//! Union, intersection and difference of sorted sets; plain sets take part with a score of 1 each.

use crate::keyspace::{Db, View};
use crate::value::{Element, Limits, Object, Set, Zset};
use smallvec::SmallVec;

use super::super::args::{self, is};
use super::super::set::card_limit;
use super::super::{CommandError, Context, Outcome};
use super::range::store;
use super::{places, write_member};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

/// One operand.
#[derive(Clone, Copy)]
enum Operand<'e> {
    Missing,
    Set(&'e Set),
    Zset(&'e Zset),
}

impl<'e> Operand<'e> {
    fn of(view: Option<View<'e>>) -> Result<Self, CommandError> {
        match view {
            None => Ok(Operand::Missing),
            Some(View::Object(Object::Set(set))) => Ok(Operand::Set(set)),
            Some(View::Object(Object::Zset(zset))) => Ok(Operand::Zset(zset)),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    fn len(self) -> usize {
        match self {
            Operand::Missing => 0,
            Operand::Set(set) => set.len(),
            Operand::Zset(zset) => zset.len(),
        }
    }

    fn score(self, member: &[u8]) -> Option<f64> {
        match self {
            Operand::Missing => None,
            Operand::Set(set) => set.contains(member).then_some(1.0),
            Operand::Zset(zset) => zset.score(member),
        }
    }

    /// Visits members with their scores until `visit` says `false`.
    fn visit(self, mut visit: impl FnMut(Element<'_>, f64) -> bool) {
        match self {
            Operand::Missing => {}
            Operand::Set(set) => {
                set.iter().all(|member| visit(member, 1.0));
            }
            Operand::Zset(zset) => {
                zset.iter().all(|(member, score)| visit(member, score));
            }
        }
    }
}

/// How the scores of one member are made into one.
#[derive(Clone, Copy)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, left: f64, right: f64) -> f64 {
        match self {
            Aggregate::Sum => number(left + right),
            Aggregate::Min => left.min(right),
            Aggregate::Max => left.max(right),
        }
    }
}

/// Infinities that cancel out count as 0.
fn number(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value }
}

/// What stands behind the keys.
struct Options {
    /// One for each key.
    weights: SmallVec<[f64; 8]>,
    aggregate: Aggregate,
    with_scores: bool,
}

impl Options {
    fn parse(rest: &[&[u8]], keys: usize, operation: Operation, stores: bool) -> Result<Self, CommandError> {
        let weights = SmallVec::from_elem(1.0, keys);
        let mut options = Self { weights, aggregate: Aggregate::Sum, with_scores: false };
        let weighs = operation != Operation::Difference;
        let mut rest = rest;
        while let [option, tail @ ..] = rest {
            rest = match option {
                word if is(word, "WEIGHTS") && weighs && tail.len() >= keys => {
                    for (weight, text) in options.weights.iter_mut().zip(tail) {
                        let not_float = CommandError::text("ERR weight value is not a float");
                        *weight = args::float(text).map_err(|_| not_float)?;
                    }
                    &tail[keys..]
                }
                word if is(word, "AGGREGATE") && weighs && !tail.is_empty() => {
                    options.aggregate = match tail[0] {
                        word if is(word, "SUM") => Aggregate::Sum,
                        word if is(word, "MIN") => Aggregate::Min,
                        word if is(word, "MAX") => Aggregate::Max,
                        _ => return Err(CommandError::Syntax),
                    };
                    &tail[1..]
                }
                word if is(word, "WITHSCORES") && !stores => {
                    options.with_scores = true;
                    tail
                }
                _ => return Err(CommandError::Syntax),
            };
        }
        Ok(options)
    }
}

/// Arguments, or a part of them.
type Words<'a> = &'a [&'a [u8]];

/// `numkeys key ...`: the keys, and what stands behind them.
fn keys<'a>(arguments: Words<'a>, name: &'static str) -> Result<(Words<'a>, Words<'a>), CommandError> {
    let count = args::int(arguments[0])?;
    if count < 1 {
        return Err(CommandError::err(format!("at least 1 input key is needed for '{name}' command")));
    }
    let count = usize::try_from(count).ok().filter(|&count| count < arguments.len());
    Ok(arguments[1..].split_at(count.ok_or(CommandError::Syntax)?))
}

fn operands<'e>(db: Db<'e>, keys: &[&[u8]]) -> Result<SmallVec<[Operand<'e>; 8]>, CommandError> {
    db.into_values(keys).into_iter().map(Operand::of).collect()
}

/// The result of an operation on operands with their weights, zeros with their signs.
fn compute(operation: Operation, operands: &[Operand<'_>], options: &Options, limits: &Limits) -> Zset {
    let mut weighted: SmallVec<[(Operand<'_>, f64); 8]> =
        operands.iter().copied().zip(options.weights.iter().copied()).collect();
    if operation != Operation::Difference {
        // From the smallest on, as in Redis: the order decides the last bits of a sum.
        weighted.sort_by_key(|(operand, _)| operand.len());
    }
    let mut result = Zset::new();
    let Some((&(first, weight), others)) = weighted.split_first() else { return result };
    match operation {
        Operation::Union => {
            for (operand, weight) in weighted {
                operand.visit(|member, score| {
                    let score = number(score * weight);
                    member.with(|text| {
                        let former = result.score(text);
                        let score = former.map_or(score, |former| options.aggregate.of(former, score));
                        result.insert_exact(text, score, limits)
                    });
                    true
                });
            }
        }
        Operation::Intersection => first.visit(|member, score| {
            let combine = |sum: f64, (operand, weight): &(Operand<'_>, f64), text: &[u8]| {
                Some(options.aggregate.of(sum, number(operand.score(text)? * weight)))
            };
            member.with(|text| {
                let start = number(score * weight);
                let score = others.iter().try_fold(start, |sum, operand| combine(sum, operand, text));
                if let Some(score) = score {
                    result.insert_exact(text, score, limits);
                }
            });
            true
        }),
        Operation::Difference => first.visit(|member, score| {
            member.with(|text| {
                if !others.iter().any(|(operand, _)| operand.score(text).is_some()) {
                    result.insert_exact(text, score, limits);
                }
            });
            true
        }),
    }
    result
}

pub(super) fn zunion(context: &mut Context<'_>) -> Outcome {
    show(context, Operation::Union, "zunion")
}

pub(super) fn zinter(context: &mut Context<'_>) -> Outcome {
    show(context, Operation::Intersection, "zinter")
}

pub(super) fn zdiff(context: &mut Context<'_>) -> Outcome {
    show(context, Operation::Difference, "zdiff")
}

fn show(context: &mut Context<'_>, operation: Operation, name: &'static str) -> Outcome {
    let (keys, rest) = keys(&context.args[1..], name)?;
    let limits = context.limits();
    let db = context.engine.keyspace.db(context.session.db);
    let operands = operands(db, keys)?;
    let options = Options::parse(rest, keys.len(), operation, false)?;
    let result = compute(operation, &operands, &options, &limits);
    let places = places(&context.reply, result.len(), options.with_scores);
    let header = context.reply.array(places);
    result.iter().for_each(|member| write_member(&mut context.reply, member, options.with_scores));
    Ok(header)
}

pub(super) fn zunionstore(context: &mut Context<'_>) -> Outcome {
    compute_and_store(context, Operation::Union, "zunionstore")
}

pub(super) fn zinterstore(context: &mut Context<'_>) -> Outcome {
    compute_and_store(context, Operation::Intersection, "zinterstore")
}

pub(super) fn zdiffstore(context: &mut Context<'_>) -> Outcome {
    compute_and_store(context, Operation::Difference, "zdiffstore")
}

fn compute_and_store(context: &mut Context<'_>, operation: Operation, name: &'static str) -> Outcome {
    let (keys, rest) = keys(&context.args[2..], name)?;
    let limits = context.limits();
    let db = context.engine.keyspace.db(context.session.db);
    let operands = operands(db, keys)?;
    let options = Options::parse(rest, keys.len(), operation, true)?;
    let mut result = compute(operation, &operands, &options, &limits);
    drop(operands);
    result.forget_packed_signs();
    store(context, result)
}

pub(super) fn zintercard(context: &mut Context<'_>) -> Outcome {
    let (keys, rest) = keys(&context.args[1..], "zintercard")?;
    let db = context.engine.keyspace.db(context.session.db);
    let mut operands = operands(db, keys)?;
    let limit = card_limit(rest)?;
    operands.sort_by_key(|operand| operand.len());
    let mut found = 0;
    if let Some((first, others)) = operands.split_first() {
        first.visit(|member, _| {
            found += usize::from(member.with(|text| others.iter().all(|operand| operand.score(text).is_some())));
            found < limit
        });
    }
    Ok(context.reply.count(found))
}
