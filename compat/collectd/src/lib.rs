//! How collectd behaves: network protocol, types.db, PUTVAL, write_http's JSON, and the names
//! and rates of write_graphite; InfluxDB's measurements.
//!
//! ```text
//! datagram  -> network (security) -+              +-> graphite (rates) -> name, value
//! PUTVAL    -> putval (types_db)  -+-> ValueList -+
//! JSON body -> json               -+              +-> measurement -> measurement, tags, fields
//! ```
//!
//! Pure: no socket, no clock (`now` is a parameter), no file. Source: collectd 5.12, measured;
//! vectors under `tests/data`.

pub mod graphite;
pub mod json;
pub mod measurement;
pub mod network;
pub mod putval;
mod rates;
mod security;
mod types_db;
mod value;

pub use graphite::Graphite;
pub use measurement::MultiValue;
pub use network::{Decoded, Item, decode};
pub use rates::Rates;
pub use security::{Security, SecurityLevel};
pub use types_db::{BadLine, Source, TypesDb};
pub use value::{Identifier, Kind, Notification, Reject, Severity, Time, Value, ValueList, Values};
