use std::fmt;

use rhythmite_influx::influxql::CompileError;
use rhythmite_model::{Error, ErrorKind};

/// Why a statement failed, in the words the client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    text: String,
    transient: bool,
}

/// Result of a part of a statement.
pub(super) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), transient: false }
    }

    /// Whether the same may go well later: the disk, or too many writes.
    pub(super) fn is_transient(&self) -> bool {
        self.transient
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let transient = error.kind().is_no_room() || error.kind() == ErrorKind::Unavailable;
        Self { text: error.to_string(), transient }
    }
}

impl From<CompileError> for Failure {
    fn from(error: CompileError) -> Self {
        Self::new(error.to_string())
    }
}
