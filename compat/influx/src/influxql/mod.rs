//! InfluxQL as InfluxDB 1.8 reads it: text to statements, and the checks before one runs.
//!
//! In order: [`parse_query`] turns text (and bound [`Params`]) into [`Statement`]s, which print
//! back with `Display`; [`compile()`] checks a SELECT against the rules of the language and resolves
//! its time range, its windows and its calls; [`Compiled::resolve`] gives names their types and
//! expands wildcards. [`reduce()`] folds what is constant, on the way and for others. Error texts are
//! those of 1.x, word for word, because clients and people know them.
//!
//! Limits: [`NESTING_MAX`] levels of parentheses and subqueries, [`DEPTH_MAX`] levels of an
//! expression. Nothing here reads data, a clock or the machine's time zones.

mod compile;
mod condition;
mod duration;
mod expr;
mod lexer;
mod params;
mod parser;
mod privilege;
mod reduce;
mod regex;
mod schema;
mod select;
mod statement;
mod time;
mod token;

pub use compile::{CompileError, Compiled, Mistakes, Window, check, compile};
pub use condition::{TIME_MAX_NS, TIME_MIN_NS, TimeRange, time_range};
pub use duration::{DurationLiteral, parse_duration};
pub use expr::{Binary, Call, DataType, Expr, Literal, VarRef, Wildcard};
pub use params::{Param, Params};
pub use parser::{DEPTH_MAX, NESTING_MAX, ParseError, parse_expr, parse_query, parse_statement};
pub use privilege::{Required, redact};
pub use reduce::{Known, reduce};
pub use regex::Regex;
pub use schema::{Columns, Schema, is_math, type_of};
pub use select::{Field, Fill, Measurement, MeasurementName, SelectStatement, SortField, Source};
pub use statement::{
    AlterRetentionPolicy, Counted, CreateContinuousQuery, CreateDatabase, CreateRetentionPolicy, CreateSubscription,
    DatabasePolicy, KeyMatch, Privilege, Query, Show, ShowCardinality, ShowClauses, Statement,
};
pub use time::{Rfc3339, Zone, is_time_literal, parse_time};
pub use token::{BinaryOp, Ident, Pos, Quoted};
