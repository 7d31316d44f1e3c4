//! The engine as a whole, against a map.

mod commit;
mod crash;
mod model;
mod partitions;
mod world;
