//! How StatsD behaves: packet grammar, dialects, the aggregator, admin replies.
//!
//! ```text
//! bytes -> plain | packet | dogstatsd -> keys -> aggregator -> flush
//!           number                       name     timer
//! ```
//!
//! The default dialect is that of npm statsd 0.9.0, answer for answer; the other one is
//! DogStatsD. Pure: no socket, no clock (`now_s` is a parameter), no file. Where we differ on
//! purpose: sample rates that end the reference's process are bad lines; `NaN` is no point; the
//! top 100 percent have their sums; keys come out with sorted tags; the durations among the
//! daemon's own series are those of the flush before; memory is bounded by the options `max_...`.

pub mod admin;
pub mod aggregator;
pub mod config_js;
pub mod dogstatsd;
mod flush;
mod keys;
mod name;
pub mod number;
pub mod options;
pub mod packet;
mod plain;
mod samples;
mod stream;
mod timer;

pub use admin::{Admin, Reply};
pub use aggregator::{Aggregator, Drops, Notice};
pub use flush::{Flush, FlushReport, Stamped};
pub use options::{Dialect, Options, TagStyle};
pub use stream::LineBuffer;
