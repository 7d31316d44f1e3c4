use std::fmt;

use rhythmite_influx::influxql::CompileError;
use rhythmite_model::Error;

/// Why a statement failed, in the words the client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure(String);

/// Result of a part of a statement.
pub(super) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

impl From<CompileError> for Failure {
    fn from(error: CompileError) -> Self {
        Self(error.to_string())
    }
}
