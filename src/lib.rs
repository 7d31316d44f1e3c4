//! Rhythmite: one server where a Graphite stack, a StatsD and an InfluxDB stood.
//!
//! ```text
//! adapter -> ingest -> engine <- query <- api
//! ```
//!
//! In reading order: what is set ([`config`]), what is counted ([`counters`], [`offenders`]) and of whom
//! ([`senders`]), how points come in ([`adapter`], [`ingest`], [`import`]) and are passed on ([`relay`]), where databases and files are listed
//! ([`catalog`]) and tested ([`check`]), who may ask ([`auth`]), how points go out ([`query`], [`api`], [`export`]), how
//! changed storage schemas reach the series that are there ([`schema`]), the server's own series
//! ([`selfstat`]), and what wires it all ([`server`], [`cli`]). The engine and the formats of the old world are packages
//! of their own.

pub mod config;
pub mod counters;
pub mod offenders;
mod seldom;
pub mod senders;

pub mod adapter;
pub mod import;
pub mod ingest;
pub mod relay;

pub mod auth;
pub mod catalog;
pub mod check;

pub mod api;
pub mod export;
pub mod query;
pub mod schema;

pub mod selfstat;

pub mod cli;
pub mod server;
