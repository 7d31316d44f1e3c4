//! The engine as a whole, against a map.

mod commit;
mod crash;
mod decoded;
mod deletes;
mod model;
mod partitions;
mod world;
