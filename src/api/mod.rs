//! Every HTTP endpoint: one room for each interface, each giving a router.

pub mod graphite;
pub mod influx;
