//! Data of the systems that this server replaces, read into the engine of a stopped server.
//!
//! [`whisper`] imports a tree of whisper files, which [`read`] reads and [`verify`] compares with the store; [`influx`]
//! line protocol with the headers of InfluxDB's export.

pub mod influx;
mod journal;
mod load;
mod progress;
pub mod read;
#[cfg(test)]
mod tests;
pub mod verify;
mod walk;
pub mod whisper;

pub use progress::Progress;
pub use verify::Verified;
pub use whisper::Summary;
