//! How graphite-web 1.1.10 behaves, as pure functions: text and numbers in, values out.
//!
//! The order of events in a render request: [`target`] parses the expressions, [`time`] the
//! range; [`eval`] walks the tree and says which [`fetch`] requests it needs; the server answers
//! them (with [`glob`] deciding what a pattern matches); [`functions`] turn [`series`] into
//! series; [`answer`] writes them in the format asked for.
//!
//! Limits are named constants beside the code they guard: the depth and size of a target, the
//! variants of a pattern, the points a function may make up, the steps of a regular expression.
//!
//! Nothing here waits, reads a clock or touches a file: `now` is part of the request, data come
//! through [`fetch::Fetch`].

pub mod answer;
pub mod carbonapi;
pub mod dashboard;
pub mod draw;
pub mod eval;
pub mod events;
pub mod fetch;
pub mod functions;
pub mod glob;
pub mod python;
pub mod series;
pub mod tags;
pub mod target;
pub mod time;

pub use eval::{Request, run};
pub use fetch::{Fetch, FetchRequest, Folded, Query, RawSeries};
pub use rhythmite_model::{Error, ErrorKind, Result};
pub use series::Series;
