//! `rhythmite check`: whether everything in the data directory of a stopped server is as it was written; and `--repair`.
//!
//! In the order of events: the lock; the catalogue (SQLite's own check, foreign keys) and the copy of its rows; the
//! registry's segments; the log, read as a start would; every live file, on as many threads as there are cores: all
//! four parts against their checksums, every row against the index, names against the registry, the record in the
//! catalogue against the file; what lies there and belongs to nothing.
//!
//! Repair makes again what can be proven to be what it was: the catalogue from its copy, an index from its points, names
//! files from the registry. What cannot is moved to `quarantine/<time>/` with a list of what and why, and goes out of
//! the catalogue after that. **Nothing is ever deleted.** Damage of the log and of registry segments is told and left:
//! giving up acknowledged writes is a person's decision.
//!
//! Memory: the records of the catalogue, the names, and on each thread the index of one file and a batch of its rows.

mod files;
mod quarantine;
mod report;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use rhythmite_engine::check::{self, Context};
use rhythmite_engine::manifest::{Edit, FileRecord, Manifest, State};
use rhythmite_engine::registry::Registry;
use rhythmite_engine::wal;
use rhythmite_env::Env;
use rhythmite_model::{Error, ErrorKind, Policy, PolicyId, Result};

use crate::catalog::{self, Catalog, Databases};
use crate::import::Progress;
use crate::server::Lock;
use quarantine::Quarantine;
pub use report::{Log, Problem, Report, Status};

/// Looks at the data directory of a stopped server; with `repair`, makes whole what can be.
///
/// # Errors
/// `NotFound` without the directory; `Unavailable` when a server has it, or the disk fails; `Corrupt` when the data are
/// of another version.
pub fn run(
    env: &Env,
    data_dir: &Path,
    repair: bool,
    runtime: &tokio::runtime::Runtime,
    progress: &mut Progress,
) -> Result<Report> {
    if !data_dir.is_dir() {
        return Err(Error::not_found(format!("data_dir {}: no such directory", data_dir.display())));
    }
    let _lock = Lock::take(data_dir)?;
    let report = Report::new(data_dir, repair);
    let quarantine = Quarantine::new(env, data_dir);
    let mut check = Check { env, data_dir, repair, runtime, report, quarantine };
    check.all(progress)?;
    check.report.quarantine = check.quarantine.dir().map(|dir| dir.display().to_string());
    Ok(check.report)
}

struct Check<'a> {
    env: &'a Env,
    data_dir: &'a Path,
    repair: bool,
    runtime: &'a tokio::runtime::Runtime,
    report: Report,
    quarantine: Quarantine<'a>,
}

impl Check<'_> {
    fn all(&mut self, progress: &mut Progress) -> Result<()> {
        let inspection = self.runtime.block_on(catalog::inspect(self.env, self.data_dir))?;
        let mut copy_is_new = false;
        let contents = match inspection.contents {
            Some(contents) => contents,
            None => {
                copy_is_new = true;
                match self.catalogue(&inspection.faults)? {
                    Some(contents) => contents,
                    None => return Ok(()),
                }
            }
        };
        if let Some(fault) = inspection.copy_fault {
            let path = catalog::copy_in(self.data_dir);
            let at = self.report.add(&path, fault);
            if self.repair {
                self.quarantine.take(&path, "the copy of the catalogue is damaged")?;
                copy_is_new = true;
                self.report.repaired(at, "written anew from the catalogue");
            }
        }
        let edit = self.data(contents, progress)?;
        if self.repair && (copy_is_new || !edit.is_empty()) {
            let catalog = Catalog::open_in(self.env, self.data_dir)?;
            if !edit.is_empty() {
                catalog.manifest().commit(&edit)?;
            }
            if catalog.copy_failures() > 0 {
                return Err(Error::unavailable("the copy of the catalogue cannot be written"));
            }
        }
        Ok(())
    }

    /// A catalogue that cannot be used: made again, if that is asked for.
    fn catalogue(&mut self, faults: &[String]) -> Result<Option<(Databases, State)>> {
        let path = catalog::path_in(self.data_dir);
        let added: Vec<_> = faults.iter().map(|fault| self.report.add(&path, fault)).collect();
        if !self.repair {
            self.report.note("nothing else was checked: the catalogue says which files live");
            return Ok(None);
        }
        let rescued = match self.runtime.block_on(catalog::rebuild(self.env, self.data_dir)) {
            Ok(rescued) => rescued,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {
                self.report.note(format!("the catalogue cannot be made again, restore a backup: {e}"));
                return Ok(None);
            }
            Err(e) => return Err(e),
        };
        for part in ["", "-wal", "-shm", "-journal"] {
            self.quarantine.take(&self.data_dir.join(format!("catalog.sqlite{part}")), &faults.join("; "))?;
        }
        let failed = |e: std::io::Error| Error::from(e).at(path.display());
        self.env.fs.rename(&rescued.path, &path).map_err(failed)?;
        self.env.fs.sync_dir(self.data_dir).map_err(failed)?;
        added.into_iter().for_each(|at| self.report.repaired(at, "made again from the copy of its rows"));
        Ok(Some(rescued.contents))
    }

    /// Everything that the catalogue names. Returns what must change in it.
    fn data(&mut self, (databases, state): (Databases, State), progress: &mut Progress) -> Result<Edit> {
        let policies: BTreeMap<PolicyId, Policy> =
            databases.policies().map(|p| (p.policy.id, p.policy.clone())).collect();
        let (live, dropped): (Vec<_>, Vec<_>) = state.files.iter().partition(|f| policies.contains_key(&f.policy));
        let (names, found) = check::load_names(self.env, self.data_dir, &state.segments)?;
        let names_are_whole = found.is_empty();
        for problem in found {
            let at = self.report.add(&problem.path, problem.what);
            self.report.advise(at, "names of series are in no other place: restore the file from a backup");
        }
        self.log(names_are_whole.then_some(&names), state.flushed_seq)?;

        let (env, data_dir, flushed_seq) = (self.env, self.data_dir, state.flushed_seq);
        let context = Context { env, data_dir, names: &names, names_are_whole, flushed_seq };
        let found = files::check_all(&context, &policies, &live, progress)?;
        self.report.files = live.len() as u64;
        self.report.segments = state.segments.len() as u64;
        self.report.bytes = live.iter().map(|f| f.bytes).sum();
        self.report.rows = live.iter().map(|f| f.rows).sum();
        let mut edit = Edit::default();
        for (record, problems) in found {
            self.file(&context, &policies[&record.policy], record, problems, &mut edit)?;
        }

        let mut parts = HashSet::new();
        for record in &live {
            let paths = check::paths(self.data_dir, &policies[&record.policy], record)?;
            parts.extend(paths.all().map(Path::to_path_buf));
        }
        let orphans = check::orphans(self.env, self.data_dir, &parts, &state.segments)?;
        for path in &orphans {
            self.report.leftover(path);
            if self.repair {
                self.quarantine.take(path, "belongs to nothing that the catalogue names")?;
            }
        }
        for record in dropped {
            self.report.note(format!("file {} is of a policy that was dropped", record.id));
            edit.remove_files.push(record.id.clone());
        }
        Ok(edit)
    }

    fn log(&mut self, names: Option<&Registry>, flushed_seq: u64) -> Result<()> {
        let dir = self.data_dir.join("wal");
        let mut contradiction = None;
        let mut writes = 0;
        let mut sink = |seq, batch: rhythmite_model::Batch| {
            writes += 1;
            if contradiction.is_none()
                && let Some(names) = names
                && let Err(e) = names.apply(&batch.definitions)
            {
                contradiction = Some(format!("write {seq} contradicts the names: {}", e.message()));
            }
            Ok(())
        };
        let found = wal::inspect(self.env, &dir, flushed_seq, &mut sink)?;
        self.report.log = Log { records: found.records, writes, cut: found.cut.is_some() };
        for damage in found.damages {
            let what = format!(
                "{} at byte {}: the acknowledged writes {} to {} cannot be read",
                damage.what, damage.offset, damage.first_seq, damage.last_seq
            );
            let at = self.report.add(&damage.path, what);
            self.report.advise(at, "restore the file, or give these writes up: `serve --wal-salvage`, once");
        }
        if let Some(what) = contradiction {
            self.report.add(&dir, what);
        }
        Ok(())
    }

    /// Tells what is wrong with one file and repairs it.
    fn file(
        &mut self,
        context: &Context<'_>,
        policy: &Policy,
        record: &FileRecord,
        problems: Vec<check::Problem>,
        edit: &mut Edit,
    ) -> Result<()> {
        let added: Vec<_> = problems.iter().map(|p| (self.report.add(&p.path, &p.what), p.place)).collect();
        let needs_names = !files::is_lost(&problems);
        if !self.repair || !files::can_change(&problems) {
            return Ok(());
        }
        if needs_names && !context.names_are_whole {
            added.iter().for_each(|(at, _)| self.report.advise(*at, "left until the names are whole"));
            return Ok(());
        }
        let why = problems.iter().map(|p| p.what.as_str()).collect::<Vec<_>>().join("; ");
        let quarantine = &mut self.quarantine;
        let mut set_aside = |path: &Path| quarantine.take(path, &why);
        match check::repair(context, policy, record, &problems, &mut set_aside)? {
            Some(now) => {
                for (at, place) in added {
                    if place != check::Place::Contents || files::index_was_lost(&problems) {
                        self.report.repaired(at, "made again");
                    }
                }
                if now != *record {
                    edit.add_files.push(now);
                }
            }
            None => {
                for path in check::paths(self.data_dir, policy, record)?.all() {
                    self.quarantine.take(path, &why)?;
                }
                let rows = record.rows;
                tracing::warn!(file = record.id, rows, "a damaged file was moved to quarantine: its points are gone");
                edit.remove_files.push(record.id.clone());
                let told = format!("out of the catalogue with its {rows} values; what is left of it is in quarantine");
                added.iter().for_each(|(at, _)| self.report.repaired(*at, &told));
                self.report.lost_rows += rows;
            }
        }
        Ok(())
    }
}
