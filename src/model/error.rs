use std::borrow::Cow;
use std::fmt;

/// What the caller can do about an error.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Fix the request.
    Invalid,
    /// The thing named does not exist.
    NotFound,
    /// Retry later; nothing was written.
    Overloaded,
    /// The disk is nearly full; make room or retry later. Nothing was written.
    NoSpace,
    /// Disk, catalogue or peer; retry with backoff.
    Unavailable,
    /// Stored bytes fail a check; stop, keep the file.
    Corrupt,
    /// Our bug.
    Internal,
}

impl ErrorKind {
    /// Whether there is no room for a write at present: nothing of it was done, and the same may be taken later.
    pub fn is_no_room(self) -> bool {
        matches!(self, Self::Overloaded | Self::NoSpace)
    }
}

/// An error with a kind for the caller and a message for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: Cow<'static, str>,
}

/// `Result` with our [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`; the message names the place and the remedy.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into() }
    }

    /// Fix the request.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// The thing named does not exist.
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// Retry later; nothing was written.
    pub fn overloaded(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Overloaded, message)
    }

    /// The disk is nearly full; nothing was written.
    pub fn no_space(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::NoSpace, message)
    }

    /// Disk, catalogue or peer failed; retry with backoff.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// Stored bytes fail a check.
    pub fn corrupt(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// A bug of ours.
    pub fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The text for a person.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Puts `place` in front of the message: `place: message`.
    #[must_use]
    pub fn at(self, place: impl fmt::Display) -> Self {
        Self { kind: self.kind, message: format!("{place}: {}", self.message).into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Self {
        Self::unavailable(e.to_string())
    }
}
