//! How far a file has been imported: a small text file in the data directory for each.
//!
//! ```text
//! rhythmite import influx 1
//! <bytes> <modified_ns> <offset> <line> <lines | statements | whole>
//! <database>
//! <policy>
//! ```
//!
//! It is replaced as a whole, once everything before `offset` (of the text, not of the compressed file) is durable. A
//! file that has changed since (size or time) is read from its beginning.

use std::path::PathBuf;

use rhythmite_env::Env;
use rhythmite_model::{Error, Result};

use super::input::Input;

const HEADER: &str = "rhythmite import influx 1";
/// Names are at most 255 bytes each.
const BYTES_MAX: u64 = 4_096;

/// A place in a file, and what is meant there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) offset: u64,
    pub(super) line: u64,
    pub(super) in_ddl: bool,
    /// Nothing is left to be read.
    pub(super) whole: bool,
    pub(super) database: String,
    pub(super) policy: String,
}

/// The note of one file.
pub(super) struct State<'e> {
    env: &'e Env,
    /// `None` for standard input, of which nothing is noted.
    place: Option<(PathBuf, u64, i64)>,
    position: Option<Position>,
}

impl<'e> State<'e> {
    /// The note of a file; without one, or with one of another version of the file, there is no position.
    ///
    /// # Errors
    /// `Corrupt` if it is something else; `Unavailable` for the disk.
    pub(super) fn open(env: &'e Env, data_dir: &std::path::Path, input: &Input) -> Result<Self> {
        let Some((path, bytes, modified_ns)) = input.identity() else {
            return Ok(Self { env, place: None, position: None });
        };
        let dir = data_dir.join("import");
        env.fs.create_dir_durably(data_dir, &dir)?;
        let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let hash = whole.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let note = dir.join(format!("influx-{hash:016x}.state"));
        let failed = |e: std::io::Error| Error::unavailable(format!("{}: {e}", note.display()));
        let text = match env.fs.read(&note, BYTES_MAX) {
            Ok(text) => Some(text),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(failed(e)),
        };
        let position = match text {
            None => None,
            Some(text) => {
                let parsed = std::str::from_utf8(&text).ok().and_then(parse);
                let (of, position) = parsed.ok_or_else(|| {
                    Error::corrupt(format!("{}: not the note of an import; remove it to begin anew", note.display()))
                })?;
                (of == (bytes, modified_ns)).then_some(position)
            }
        };
        Ok(Self { env, place: Some((note, bytes, modified_ns)), position })
    }

    /// Where to go on.
    pub(super) fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// Notes that everything before a position is durable.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(super) fn note(&mut self, position: &Position) -> Result<()> {
        let Some((path, bytes, modified_ns)) = &self.place else { return Ok(()) };
        let Position { offset, line, in_ddl, whole, database, policy } = position;
        // Such names no database can have; it is read again next time.
        if database.contains(['\n', '\r']) || policy.contains(['\n', '\r']) {
            return Ok(());
        }
        let what = match (whole, in_ddl) {
            (true, _) => "whole",
            (false, true) => "statements",
            (false, false) => "lines",
        };
        let text = format!("{HEADER}\n{bytes} {modified_ns} {offset} {line} {what}\n{database}\n{policy}\n");
        let failed = |e: std::io::Error| Error::unavailable(format!("{}: {e}", path.display()));
        self.env.fs.write_durably(path, text.as_bytes()).map_err(failed)
    }
}

fn parse(text: &str) -> Option<((u64, i64), Position)> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    if lines.next()? != HEADER {
        return None;
    }
    let mut words = lines.next()?.split(' ');
    let mut word = || words.next();
    let of = (word()?.parse().ok()?, word()?.parse().ok()?);
    let (offset, line) = (word()?.parse().ok()?, word()?.parse().ok()?);
    let (in_ddl, whole) = match word()? {
        "lines" => (false, false),
        "statements" => (true, false),
        "whole" => (false, true),
        _ => return None,
    };
    let (database, policy) = (lines.next()?.to_owned(), lines.next()?.to_owned());
    Some((of, Position { offset, line, in_ddl, whole, database, policy }))
}
