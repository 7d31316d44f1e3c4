//! The nouns every room shares: errors, field types and values, series identity.
//!
//! Pure: no clock, socket, file, tokio or arrow. Anything here may be used anywhere.

mod error;
mod id;
mod value;

pub use error::{Error, ErrorKind, Result};
pub use id::{FieldId, PolicyId, SeriesId, Slot, TableId};
pub use value::{FieldType, FieldValue};
