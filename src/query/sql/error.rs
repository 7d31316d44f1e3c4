//! DataFusion's errors as ours.

use std::fmt;
use std::time::Duration;

use arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use rhythmite_model::{Error, ErrorKind};

/// Longest message handed on, in bytes: DataFusion lists every column of a wide table.
const MESSAGE_MAX: usize = 2_000;

/// Why a query has ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SqlError {
    /// Its time was over.
    Timeout(Duration),
    /// Anything else.
    Failed(Error),
}

impl From<Error> for SqlError {
    fn from(e: Error) -> Self {
        SqlError::Failed(e)
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SqlError::Timeout(after) => {
                let s = after.as_secs_f64();
                write!(f, "the query was stopped after {s} s ([query] timeout): narrow its time range")
            }
            SqlError::Failed(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for SqlError {}

/// The kind from the innermost error, the message from the whole.
pub(super) fn from_datafusion(e: DataFusionError) -> Error {
    if let DataFusionError::External(inner) = e.find_root()
        && let Some(ours) = inner.downcast_ref::<Error>()
    {
        return ours.clone();
    }
    let kind = match e.find_root() {
        DataFusionError::ResourcesExhausted(_) => ErrorKind::Overloaded,
        DataFusionError::ArrowError(inner, _) if is_spill_limit(inner) => ErrorKind::Overloaded,
        DataFusionError::IoError(_) | DataFusionError::ObjectStore(_) => ErrorKind::Unavailable,
        DataFusionError::ArrowError(inner, _) if matches!(**inner, ArrowError::IoError(..)) => ErrorKind::Unavailable,
        DataFusionError::Internal(_) | DataFusionError::ExecutionJoin(_) => ErrorKind::Internal,
        _ => ErrorKind::Invalid,
    };
    let text = e.strip_backtrace();
    let text = match kind {
        ErrorKind::Overloaded => {
            format!("the query needs more memory than it may have ([query] memory), or disk to spill to: {text}")
        }
        _ => text,
    };
    Error::new(kind, shortened(text))
}

/// The quota of the spill directory has no error of its own.
fn is_spill_limit(e: &ArrowError) -> bool {
    matches!(e, ArrowError::IoError(text, _) if text.contains("used disk space during the spilling"))
}

fn shortened(mut text: String) -> String {
    if text.len() > MESSAGE_MAX {
        text.truncate(text.floor_char_boundary(MESSAGE_MAX));
        text.push_str(" ...");
    }
    text
}
