//! What a check says: to people and, as JSON, to programs.

use std::fmt;
use std::path::{Path, PathBuf};

use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing is wrong.
    Clean,
    /// Something is wrong, and still is.
    Problems,
    /// All that was wrong is repaired, or moved out of the way.
    Repaired,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, below the data directory.
    pub path: String,
    /// What is wrong.
    pub what: String,
    /// What was done about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repaired: Option<String>,
    /// What a person can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<&'static str>,
}

/// What is in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Log {
    /// Groups of writes that can be read.
    pub records: u64,
    /// Writes that are in no file yet; the next start replays them.
    pub writes: u64,
    /// Whether it ends with a group that was being written, which nobody was told of.
    pub cut: bool,
}

/// All that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// See [`Report::status`].
    pub status: Status,
    /// The directory.
    pub data_dir: String,
    /// Live files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Values in them.
    pub rows: u64,
    /// Live registry segments.
    pub segments: u64,
    /// The log.
    pub log: Log,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Files that belong to nothing: left by a crash, harmless; the next start removes them.
    pub leftovers: Vec<String>,
    /// What else there is to say.
    pub notes: Vec<String>,
    /// Values in files that repair moved away.
    pub lost_rows: u64,
    /// Where repair moved files to.
    pub quarantine: Option<String>,
    #[serde(skip)]
    root: PathBuf,
    #[serde(skip)]
    repair: bool,
}

impl Report {
    pub(super) fn new(data_dir: &Path, repair: bool) -> Self {
        Self {
            status: Status::Clean,
            data_dir: data_dir.display().to_string(),
            files: 0,
            bytes: 0,
            rows: 0,
            segments: 0,
            log: Log::default(),
            problems: Vec::new(),
            leftovers: Vec::new(),
            notes: Vec::new(),
            lost_rows: 0,
            quarantine: None,
            root: data_dir.to_owned(),
            repair,
        }
    }

    /// Adds a problem; returns its place.
    pub(super) fn add(&mut self, path: &Path, what: impl Into<String>) -> usize {
        let (path, what) = (self.below(path), what.into());
        self.problems.push(Problem { path, what, repaired: None, advice: None });
        self.judge();
        self.problems.len() - 1
    }

    pub(super) fn repaired(&mut self, at: usize, how: &str) {
        self.problems[at].repaired = Some(how.to_owned());
        self.judge();
    }

    pub(super) fn advise(&mut self, at: usize, advice: &'static str) {
        self.problems[at].advice = Some(advice);
    }

    pub(super) fn leftover(&mut self, path: &Path) {
        self.leftovers.push(self.below(path));
        self.judge();
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The status of the process: 0 clean, 2 problems, 3 repaired. 1 is left to a check that could not run.
    pub fn exit_code(&self) -> u8 {
        match self.status {
            Status::Clean => 0,
            Status::Problems => 2,
            Status::Repaired => 3,
        }
    }

    fn below(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }

    fn judge(&mut self) {
        self.status = if self.problems.iter().any(|p| p.repaired.is_none()) {
            Status::Problems
        } else if self.repair && !(self.problems.is_empty() && self.leftovers.is_empty()) {
            Status::Repaired
        } else {
            Status::Clean
        };
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} files with {} values in {}, {} segments of names, {} writes in the log",
            self.data_dir,
            HumanCount(self.files),
            HumanCount(self.rows),
            HumanBytes(self.bytes),
            HumanCount(self.segments),
            HumanCount(self.log.writes),
        )?;
        for problem in &self.problems {
            writeln!(f, "problem   {}: {}", problem.path, problem.what)?;
            if let Some(repaired) = &problem.repaired {
                writeln!(f, "          repaired: {repaired}")?;
            } else if let Some(advice) = problem.advice {
                writeln!(f, "          {advice}")?;
            }
        }
        self.leftovers.iter().try_for_each(|path| writeln!(f, "leftover  {path}"))?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note      {note}"))?;
        if let Some(dir) = &self.quarantine {
            writeln!(f, "moved to  {dir}")?;
        }
        if self.lost_rows > 0 {
            writeln!(f, "{} values are in quarantine and in no answer", HumanCount(self.lost_rows))?;
        }
        let open = self.problems.iter().filter(|p| p.repaired.is_none()).count();
        match self.status {
            Status::Clean => writeln!(f, "clean"),
            Status::Problems => writeln!(f, "{open} problems"),
            Status::Repaired => writeln!(f, "repaired"),
        }
    }
}
