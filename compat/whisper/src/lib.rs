//! Whisper files: header, archives, reading, writing, and the names their paths stand for.
//!
//! A file is a header (method, longest retention, xFilesFactor, archive table; all big-endian) and then
//! one ring of 12-byte slots (time `u32`, value `f64`) per archive, finest first. Slot 0 is the ring's
//! base: the slot of time `t` is `floor((t - base) / step) mod points`. Rings are never cleared, so a
//! slot counts only if it holds exactly the time asked for.
//!
//! Order of events for an importer: [`metric_name`] of the path, [`Whisper::parse`] of the bytes, then
//! [`Whisper::points`] per archive. [`Whisper::fetch`] answers a range as the whisper library does.
//!
//! [`Whisper`] works on a whole file in memory (or mapped); who reads archive by archive takes [`Header::parse`] of the
//! file's beginning, then [`Archive::salvage`] of the bytes at [`Archive::bytes_present`]. Counts in the header are checked against the
//! file's length before they are believed; memory is bounded by the file's length. An archive that does
//! not fit is an error naming it, and the file's other archives stay readable. No archive is ever
//! computed from another one: what the file holds is what comes out.

mod fetch;
mod header;
mod name;
mod ring;
mod write;

pub use fetch::Fetched;
pub use header::{AggregationMethod, Archive, Damage, Header, Whisper};
pub use name::{metric_name, relative_path};
pub use ring::{Point, Salvage};
pub use write::{Ring, write};

/// How much of a file's beginning surely holds the header of one that can be read: of up to some thousand archives.
pub const HEAD_BYTES: usize = 64 << 10;

/// Bytes of the header before the archive table.
const META_BYTES: usize = 16;
/// Bytes of one entry of the archive table.
const ARCHIVE_INFO_BYTES: usize = 12;
/// Bytes of one slot.
const SLOT_BYTES: usize = 12;
