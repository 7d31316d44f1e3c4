//! What this server keeps, in forms that other systems read.
//!
//! [`influx`] writes line protocol with the headers of InfluxDB's own export.

pub mod influx;
