//! Specifications of the server as a whole: a process of its own, talked to from outside.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod auth;
mod check;
mod collectd;
mod commands;
mod crash;
mod hostile;
mod influx;
mod limits;
mod protocols;
mod receivers;
mod schema;
mod support;
