//! How StatsD behaves: packet grammar, dialects, the aggregator, admin replies.
//!
//! ```text
//! bytes -> packet | dogstatsd -> keys -> aggregator -> flush
//!           number               name     timer
//! ```
//!
//! The default dialect is that of npm statsd 0.9.0, answer for answer; the other one is
//! DogStatsD. Pure: no socket, no clock (`now_s` is a parameter), no file. Where we differ on
//! purpose: sample rates that end the reference's process are bad lines; two lines of a stream's
//! chunk are never one; `NaN` is no point; percentiles of 100 or more from the top have their
//! sums; memory is bounded by the options `max_...`.

pub mod admin;
pub mod aggregator;
pub mod dogstatsd;
mod flush;
mod keys;
mod name;
pub mod number;
pub mod options;
pub mod packet;
mod stream;
mod timer;

pub use admin::{Admin, Reply};
pub use aggregator::{Aggregator, Drops, Notice};
pub use flush::{Flush, FlushReport, Stamped};
pub use options::{Dialect, Options};
pub use stream::LineBuffer;
