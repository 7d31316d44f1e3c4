//! The files of an engine that is not running: whether they are whole, and making whole what can be.
//!
//! [`file()`] reads all of one SST and says what is wrong with which part. [`repair`] makes a lost or damaged index anew
//! from the points, and names files from the registry; it believes the result only if it agrees with the checksum that
//! the manifest keeps. [`load_names`], [`orphans`] and [`crate::wal::inspect`] look at the rest.
//!
//! Nothing here removes a file: what must go out of the way is given to the caller, who sets it aside. Values that are
//! damaged cannot be made again. Memory: the index of the file at hand, a batch of its rows, and the names if they are
//! written anew.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use rhythmite_env::Env;
use rhythmite_model::{Aggregate, Error, ErrorKind, FieldId, FieldType, KeyKind, Policy, Result, SeriesId, TableId};

use crate::manifest::{FileRecord, SegmentRecord};
use crate::registry::{Directory, Limits, Registry, key, segment_path};
use crate::sst::{self, FieldRow, NamesFile, Rebuilt, SeriesFile, SeriesRow, SstMeta, SstPart, SstPaths, SstReader};
use crate::{layout, orphan};

/// What a problem of a file is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// One of the four files.
    Part(SstPart),
    /// Its record in the manifest: the file itself is whole.
    Record,
    /// Something that neither a new part nor a new record makes right.
    Contents,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// What of it.
    pub place: Place,
    /// What is wrong.
    pub what: String,
}

/// What all files of a data directory are looked at with.
pub struct Context<'a> {
    /// Doors to the outside.
    pub env: &'a Env,
    /// Everything lies below this directory.
    pub data_dir: &'a Path,
    /// Names, with those of the log.
    pub names: &'a Registry,
    /// Whether these are all names: else nothing is compared with them.
    pub names_are_whole: bool,
    /// Every write up to this number is in files.
    pub flushed_seq: u64,
}

/// Files below the data directory that belong to no live one. `live` are the paths of all parts of live SSTs.
///
/// # Errors
/// `Unavailable` when a directory cannot be read.
pub fn orphans(
    env: &Env,
    data_dir: &Path,
    live: &HashSet<PathBuf>,
    segments: &[SegmentRecord],
) -> Result<Vec<PathBuf>> {
    orphan::find(env, data_dir, live, segments)
}

/// The paths of one file's parts.
///
/// # Errors
/// `Invalid` for an id that names no file.
pub fn paths(data_dir: &Path, policy: &Policy, record: &FileRecord) -> Result<SstPaths> {
    SstPaths::new(&layout::dir(data_dir, policy, record.tier, record.partition_ns), &record.id)
}

/// Loads the names, oldest segment first; stops at the first one that is damaged, for the later ones rest on it.
///
/// # Errors
/// `Unavailable` for the disk.
pub fn load_names(env: &Env, data_dir: &Path, segments: &[SegmentRecord]) -> Result<(Registry, Vec<Problem>)> {
    let dir = data_dir.join("names");
    let names = Registry::new(Limits::default(), env.clock.clone());
    let mut problems = Vec::new();
    let mut segments = segments.to_vec();
    segments.sort_by_key(|s| s.id);
    for segment in &segments {
        let path = segment_path(&dir, segment.id);
        let mut problem = |what: String| problems.push(Problem { path: path.clone(), place: Place::Contents, what });
        match env.fs.file_len(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                problem("is missing".to_owned());
                break;
            }
            Err(e) => return Err(Error::from(e).at(path.display())),
            Ok(len) if len != segment.bytes => {
                problem(format!("{len} bytes long, the catalogue says {}", segment.bytes));
            }
            Ok(_) => {}
        }
        match names.load(env, &dir, &[segment.id]) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::Unavailable => return Err(e),
            Err(e) => {
                problem(without_path(&e, &path));
                break;
            }
        }
    }
    Ok((names, problems))
}

/// Reads all of one live file.
///
/// # Errors
/// `Unavailable` for the disk.
pub fn file(context: &Context<'_>, policy: &Policy, record: &FileRecord) -> Result<Vec<Problem>> {
    let paths = paths(context.data_dir, policy, record)?;
    let mut found = Found { paths: &paths, problems: Vec::new() };
    for part in [SstPart::Points, SstPart::Series, SstPart::Fields] {
        if is_missing(context.env, paths.part(part))? {
            found.part(part, "is missing");
        }
    }
    match Rebuilt::from_index(context.env, &paths) {
        Ok((_, checksum)) if checksum == record.checksum => {}
        Ok(_) => found.part(SstPart::Index, "is not the one that the catalogue names"),
        Err(e) => found.error(SstPart::Index, e)?,
    }
    if found.has(SstPart::Index) {
        // Whether the other parts are whole, the checksum of their index says, made again.
        if !found.has(SstPart::Points) {
            match Rebuilt::read(context.env, &paths) {
                Ok(rebuilt) => {
                    if checksum(context.env, &paths, rebuilt) != Some(record.checksum) {
                        let what = "without the index nothing says whether it and its names are as they were written";
                        found.add(&paths.points, Place::Contents, what);
                    }
                }
                Err(e) => found.error(SstPart::Points, e)?,
            }
        }
        return Ok(found.problems);
    }
    if found.has(SstPart::Points) {
        return Ok(found.problems);
    }
    let dir = paths.points.parent().unwrap_or(context.data_dir);
    let reader = match SstReader::open(context.env, dir, &record.id) {
        Ok(reader) => reader,
        Err(e) => {
            found.error(SstPart::Points, e)?;
            return Ok(found.problems);
        }
    };
    for part in [SstPart::Points, SstPart::Series, SstPart::Fields] {
        if !found.has(part)
            && let Err(e) = reader.verify_part(part)
        {
            found.error(part, e)?;
        }
    }
    if !found.has(SstPart::Points)
        && let Err(e) = reader.verify_rows()
    {
        found.error(SstPart::Points, e)?;
    }
    found.compare_record(&reader.meta(), policy, record, context.flushed_seq);
    if context.names_are_whole {
        compare_names(context, &reader, record.tier.is_rolled(), &mut found)?;
    }
    Ok(found.problems)
}

/// Makes a file whole of which [`file()`] has found these problems. What is replaced is given to `set_aside` first, which
/// moves it away; a file that is not there is no error to it. Returns the file's record from now on, which the caller
/// commits; `None` when the file is lost.
///
/// # Errors
/// `Unavailable` for the disk; those of `set_aside`. The repair can be repeated.
pub fn repair(
    context: &Context<'_>,
    policy: &Policy,
    record: &FileRecord,
    problems: &[Problem],
    set_aside: &mut dyn FnMut(&Path) -> Result<()>,
) -> Result<Option<FileRecord>> {
    let paths = paths(context.data_dir, policy, record)?;
    let has = |part| problems.iter().any(|p| p.place == Place::Part(part));
    if has(SstPart::Points) {
        return Ok(None);
    }
    let mut making = Making { context, policy, paths: &paths, written: Vec::new() };
    let made = if has(SstPart::Index) {
        making.index(record, set_aside)
    } else if has(SstPart::Series) || has(SstPart::Fields) {
        making.names(record, [has(SstPart::Series), has(SstPart::Fields)], set_aside)
    } else if problems.iter().any(|p| p.place == Place::Record) {
        let dir = paths.points.parent().unwrap_or(context.data_dir);
        Ok(Some(corrected(record, &SstReader::open(context.env, dir, &record.id)?.meta())))
    } else {
        Ok(Some(record.clone()))
    };
    making.discard();
    match made {
        Err(e) if e.kind() == ErrorKind::Corrupt => Ok(None),
        made => made,
    }
}

/// What was found of one file so far.
struct Found<'a> {
    paths: &'a SstPaths,
    problems: Vec<Problem>,
}

impl Found<'_> {
    fn add(&mut self, path: &Path, place: Place, what: impl Into<String>) {
        self.problems.push(Problem { path: path.to_owned(), place, what: what.into() });
    }

    fn part(&mut self, part: SstPart, what: &str) {
        self.add(self.paths.part(part), Place::Part(part), what);
    }

    /// Damage is a problem; that the disk cannot be read is not known to be one of the file.
    fn error(&mut self, part: SstPart, e: Error) -> Result<()> {
        if e.kind() == ErrorKind::Unavailable {
            return Err(e);
        }
        let what = without_path(&e, self.paths.part(part));
        self.part(part, &what);
        Ok(())
    }

    fn has(&self, part: SstPart) -> bool {
        self.problems.iter().any(|p| p.place == Place::Part(part))
    }

    fn compare_record(&mut self, meta: &SstMeta, policy: &Policy, record: &FileRecord, flushed_seq: u64) {
        let path = self.paths.index.clone();
        if corrected(record, meta) != *record {
            self.add(&path, Place::Record, "its record in the catalogue is not that of the file");
        }
        if record.seq > flushed_seq {
            let what = format!("has writes up to {}, the catalogue has flushed {flushed_seq}", record.seq);
            self.add(&path, Place::Contents, what);
        }
        if let Some(start_ns) = record.partition_ns {
            let end_ns = start_ns.saturating_add(policy.partition_length_of(record.tier));
            if meta.min_time_ns < start_ns || meta.max_time_ns >= end_ns {
                self.add(&path, Place::Contents, "has points outside its partition");
            }
        }
        if (record.level == 0) != record.partition_ns.is_none() {
            self.add(&path, Place::Contents, "only flushed files span partitions");
        }
        if record.min_time_ns > record.max_time_ns || record.min_series > record.max_series {
            self.add(&path, Place::Record, "its record has a range that ends before it begins");
        }
    }
}

/// The message of an error of a file that is named beside it.
fn without_path(e: &Error, path: &Path) -> String {
    let path = path.display().to_string();
    e.message().strip_prefix(&path).map_or(e.message(), |rest| rest.trim_start_matches([':', ' '])).to_owned()
}

fn is_missing(env: &Env, path: &Path) -> Result<bool> {
    match env.fs.file_len(path) {
        Ok(_) => Ok(false),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(Error::from(e).at(path.display())),
    }
}

/// The record with what the file says of itself.
fn corrected(record: &FileRecord, meta: &SstMeta) -> FileRecord {
    FileRecord {
        level: meta.level,
        seq: meta.seq,
        rows: meta.rows,
        bytes: meta.bytes,
        min_time_ns: meta.min_time_ns,
        max_time_ns: meta.max_time_ns,
        min_series: meta.min_series,
        max_series: meta.max_series,
        checksum: meta.checksum,
        ..record.clone()
    }
}

/// Names files have a row for everything in the file, and say what the registry says.
fn compare_names(context: &Context<'_>, reader: &SstReader, rolled: bool, found: &mut Found<'_>) -> Result<()> {
    let names = context.names.read();
    let mut walk = reader.walk();
    let mut unknown = None;
    while let Some(id) = walk.series()?.filter(|_| unknown.is_none()) {
        unknown = (names.slot(id).is_none() && !names.was_made(id)).then_some(id);
        walk.advance();
    }
    if let Some(id) = unknown {
        let what = format!("has points of series {:#x}, which the registry never had", id.0);
        found.add(&found.paths.points.clone(), Place::Contents, what);
    }
    if !found.has(SstPart::Series) {
        let mut wanted = reader.walk();
        let read = sst::read_series(context.env, &found.paths.series, |id, table, key| {
            if wanted.series()? != Some(id) {
                return Err(Error::corrupt(format!("series {:#x} is not the next one of the points", id.0)));
            }
            wanted.advance();
            let known = names.slot(id).map(|slot| (names.table(id.table()).map_or("", |t| t.name()), names.key(slot)));
            match known {
                // Made again by `repair` after a drop: nobody knows its name.
                Some(known) if known != (table, key) && !key.is_empty() => {
                    Err(Error::corrupt(format!("series {:#x} is {key:?}, the registry says {:?}", id.0, known.1)))
                }
                _ => Ok(()),
            }
        });
        let left = wanted.series()?;
        match (read, left) {
            (Err(e), _) => found.error(SstPart::Series, e)?,
            (Ok(()), Some(id)) => found.part(SstPart::Series, &format!("series {:#x} has points but no name", id.0)),
            (Ok(()), None) => {}
        }
    }
    if !found.has(SstPart::Fields) {
        let wanted = reader.entries().map(|e| e.map(|e| (e.series.table(), e.field, e.field_type().name())));
        let mut wanted = wanted.collect::<Result<HashSet<_>>>()?;
        let read = sst::read_fields(context.env, &found.paths.fields, |table, id, name, kind| {
            if let Some((known, field_type)) = field_of(&names, table, id, rolled)
                && (&*known, field_type.name()) != (name, kind)
            {
                let (table, id) = (table.0, id.0);
                return Err(Error::corrupt(format!(
                    "field {id} of table {table} is {name:?}, the registry says {:?}",
                    known
                )));
            }
            wanted.retain(|(t, f, k)| (*t, *f, *k) != (table, id, kind));
            Ok(())
        });
        match (read, wanted.into_iter().next()) {
            (Err(e), _) => found.error(SstPart::Fields, e)?,
            (Ok(()), Some((table, field, _))) => {
                found.part(SstPart::Fields, &format!("field {} of table {} has points but no name", field.0, table.0));
            }
            (Ok(()), None) => {}
        }
    }
    Ok(())
}

/// The checksum of the index beside the names files that are there; `None` when one cannot be read.
fn checksum(env: &Env, paths: &SstPaths, mut rebuilt: Rebuilt) -> Option<u32> {
    let (series, fields) = (NamesFile::on_disk(env, &paths.series)?, NamesFile::on_disk(env, &paths.fields)?);
    Some(rebuilt.encode(series.check, fields.check).1)
}

/// Parts being made.
struct Making<'a> {
    context: &'a Context<'a>,
    policy: &'a Policy,
    paths: &'a SstPaths,
    /// Names files under their temporary names.
    written: Vec<SstPart>,
}

impl Making<'_> {
    fn env(&self) -> &Env {
        self.context.env
    }

    /// The index from the points, with the names files as they are or, if they are damaged too, made anew.
    fn index(
        &mut self,
        record: &FileRecord,
        set_aside: &mut dyn FnMut(&Path) -> Result<()>,
    ) -> Result<Option<FileRecord>> {
        let mut rebuilt = Rebuilt::read(self.env(), self.paths)?;
        let facts = *rebuilt.facts();
        let series = (rebuilt.series().first().copied(), rebuilt.series().last().copied());
        let is_the_file = (facts.rows, facts.seq, facts.level) == (record.rows, record.seq, record.level)
            && (facts.min_time_ns, facts.max_time_ns) == (record.min_time_ns, record.max_time_ns)
            && series == (Some(record.min_series.0), Some(record.max_series.0));
        if !is_the_file {
            return Ok(None);
        }
        let old = [&self.paths.series, &self.paths.fields].map(|path| NamesFile::on_disk(self.env(), path));
        let old = old.map(|file| file.map(|f| f.check));
        if let [Some(series), Some(fields)] = old {
            let (bytes, checksum) = rebuilt.encode(series, fields);
            let length = bytes.len() as u64;
            if checksum == record.checksum {
                self.publish_index(&bytes, set_aside)?;
                return Ok(Some(record.clone()));
            }
            // A repair that made names anew and ended before its record was changed.
            if self.env().fs.read(&self.paths.index, length).is_ok_and(|there| there == bytes) {
                let bytes = facts.points.len + series.len + fields.len + length;
                return Ok(Some(FileRecord { bytes, checksum, ..record.clone() }));
            }
        }
        let new = self.write_names(&rebuilt, record.tier.is_rolled(), [true, true])?.map(|file| file.map(|f| f.check));
        for pick in [[true, false], [false, true], [true, true]] {
            let take = |at: usize| if pick[at] { new[at] } else { old[at] };
            let (Some(series), Some(fields)) = (take(0), take(1)) else { continue };
            let (bytes, checksum) = rebuilt.encode(series, fields);
            if checksum == record.checksum {
                self.publish_names(pick, set_aside)?;
                self.publish_index(&bytes, set_aside)?;
                return Ok(Some(record.clone()));
            }
        }
        Ok(None)
    }

    /// Names files from the registry. Those of an older version may come out other than they were: then the index, which
    /// keeps their checksums, and the record change with them.
    fn names(
        &mut self,
        record: &FileRecord,
        pick: [bool; 2],
        set_aside: &mut dyn FnMut(&Path) -> Result<()>,
    ) -> Result<Option<FileRecord>> {
        let (mut rebuilt, _) = Rebuilt::from_index(self.env(), self.paths)?;
        let facts = *rebuilt.facts();
        let new = self.write_names(&rebuilt, record.tier.is_rolled(), pick)?.map(|file| file.map(|f| f.check));
        let (series, fields) = (new[0].unwrap_or(facts.series), new[1].unwrap_or(facts.fields));
        self.publish_names(pick, set_aside)?;
        if (series, fields) == (facts.series, facts.fields) {
            return Ok(Some(record.clone()));
        }
        let (bytes, checksum) = rebuilt.encode(series, fields);
        self.publish_index(&bytes, set_aside)?;
        let bytes = facts.points.len + series.len + fields.len + bytes.len() as u64;
        Ok(Some(FileRecord { bytes, checksum, ..record.clone() }))
    }

    /// Writes the picked ones of series and fields under temporary names.
    fn write_names(&mut self, rebuilt: &Rebuilt, rolled: bool, pick: [bool; 2]) -> Result<[Option<NamesFile>; 2]> {
        let (env, registry) = (self.context.env, self.context.names.read());
        let mut made = [None, None];
        if pick[0] {
            self.written.push(SstPart::Series);
            let mut file = SeriesFile::create(env, &self.paths.series)?;
            for series in rebuilt.series().iter().map(|id| SeriesId(*id)) {
                let table = registry.table(series.table());
                // The name of one that was dropped since is forgotten.
                let path = registry.slot(series).map_or("", |slot| registry.key(slot));
                let (database, policy) = (self.policy.database.as_str(), self.policy.name.as_str());
                let row = SeriesRow { series, database, policy, table: table.map_or("", |t| t.name()), path };
                file.push(&row, key::tags(table.map_or(KeyKind::Tagged, |t| t.kind()), path))?;
                file.write_full()?;
            }
            made[0] = Some(NamesFile::series(file)?);
        }
        if pick[1] {
            let wanted = rebuilt.fields();
            let name = |(table, id, _): &(TableId, FieldId, _)| {
                Some(((*table, *id), field_of(&registry, *table, *id, rolled)?.0.into_owned()))
            };
            let names: HashMap<_, _> = wanted.iter().filter_map(name).collect();
            let row = |(table, id, field_type)| {
                let table_name = registry.table(table).map_or("", |t| t.name());
                let name = names.get(&(table, id)).map_or("", String::as_str);
                FieldRow { table, table_name, id, name, field_type }
            };
            let rows: Vec<_> = wanted.into_iter().map(row).collect();
            self.written.push(SstPart::Fields);
            made[1] = Some(NamesFile::fields(env, &self.paths.fields, &rows)?);
        }
        Ok(made)
    }

    fn publish_names(&mut self, pick: [bool; 2], set_aside: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
        for (picked, part) in pick.into_iter().zip([SstPart::Series, SstPart::Fields]) {
            if picked {
                let path = self.paths.part(part);
                set_aside(path)?;
                NamesFile::publish(self.env(), path)?;
                self.written.retain(|p| *p != part);
            }
        }
        self.sync()
    }

    fn publish_index(&self, bytes: &[u8], set_aside: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
        let path = &self.paths.index;
        set_aside(path)?;
        self.env().fs.write_durably(path, bytes).map_err(|e| Error::from(e).at(path.display()))
    }

    fn sync(&self) -> Result<()> {
        let dir = self.paths.points.parent().unwrap_or(self.context.data_dir);
        self.env().fs.sync_dir(dir).map_err(|e| Error::from(e).at(dir.display()))
    }

    fn discard(&mut self) {
        self.written.drain(..).for_each(|part| NamesFile::discard(self.context.env, self.paths.part(part)));
    }
}

/// Name and type of a field; `rolled`: of an aggregate of one.
fn field_of(names: &Directory, table: TableId, id: FieldId, rolled: bool) -> Option<(Cow<'_, str>, FieldType)> {
    if !rolled {
        return names.field(table, id).map(|(name, field_type)| (Cow::Borrowed(name), field_type));
    }
    let (field, aggregate) = Aggregate::split(id);
    let (name, of) = names.field(table, field)?;
    Some((Cow::Owned(format!("{name}:{}", aggregate?.name())), aggregate?.field_type(of)?))
}
