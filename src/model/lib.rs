//! The nouns every room shares: errors, ids, field types and values, columns, batches, series keys.
//!
//! Pure: no clock, socket, file, tokio or arrow. Anything here may be used anywhere.

mod aggregate;
mod batch;
mod column;
mod error;
mod id;
mod policy;
pub mod sketch;
mod tombstone;
mod value;

pub use aggregate::{Aggregate, Aggregates};
pub use batch::{Batch, Definition, KeyKind, RollupRule, Rows, Tier};
pub use column::{Column, Strings};
pub use error::{Error, ErrorKind, Result};
pub use id::{FieldId, PolicyId, SeriesId, TableId};
pub use policy::{Level, Policy};
pub use tombstone::{SeriesSet, Tombstone};
pub use value::{FieldType, FieldValue};
