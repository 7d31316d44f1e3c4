//! What this server keeps, in forms that other systems read.
//!
//! [`influx`] writes line protocol with the headers of InfluxDB's own export, [`whisper`] a tree of whisper files.

pub mod influx;
#[cfg(test)]
mod tests;
pub mod whisper;
