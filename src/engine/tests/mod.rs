//! The engine as a whole, against a map.

mod background;
mod commit;
mod crash;
mod decoded;
mod deletes;
mod ends;
mod expiry;
mod fuzz;
mod memtable_limit;
mod model;
mod oracle;
mod partitions;
mod sim;
mod space;
mod straight;
mod sums;
mod tiers;
mod transfer;
mod world;
