//! Data of the systems that this server replaces, read into the engine of a stopped server.
//!
//! [`whisper`] reads a tree of whisper files, [`influx`] line protocol with the headers of InfluxDB's export.

pub mod influx;
mod journal;
mod load;
mod progress;
#[cfg(test)]
mod tests;
mod walk;
pub mod whisper;

pub use progress::Progress;
pub use whisper::Summary;
