//! How InfluxDB 1.x speaks: line protocol, InfluxQL, the shapes of its answers.

pub mod answer;
pub mod duration;
pub mod influxql;
pub mod line_protocol;
