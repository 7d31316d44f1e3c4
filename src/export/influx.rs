//! `rhythmite export influx`: databases as line protocol, in the form of `influx_inspect export` of InfluxDB 1.x, which
//! `influx -import` and `rhythmite import influx` read.
//!
//! Statements that make databases and policies come first, then policy by policy the points, series by series, each
//! point with all its fields on one line. Everything by Graphite's names is left out: it has no measurements.
//!
//! Memory is a piece of time of a few series. A series or field whose name has no form in line protocol is left out and
//! counted.

use std::io::Write;
use std::sync::Arc;

use rhythmite_engine::{Engine, SeriesFilter, SeriesPoints, Snapshot};
use rhythmite_influx::influxql::{CreateDatabase, CreateRetentionPolicy, DatabasePolicy, Statement};
use rhythmite_influx::line_protocol::{ParseOptions, Precision, for_each_point, write_keyed_line};
use rhythmite_model::{Error, FieldId, FieldValue, KeyKind, PolicyId, Result, SeriesId, TableId, Tier};

use crate::catalog::{Database, Databases, RetentionPolicy};
use crate::query::slices::Slices;

/// Series that are read together.
const SERIES_AT_ONCE: usize = 256;
/// Values that are read together, about.
const PIECE_VALUES: u64 = 1 << 20;
/// Text that is written at a time.
const WRITE_BYTES: usize = 256 * 1024;

/// What is exported.
#[derive(Clone, Debug)]
pub struct Options {
    /// One database; all without it.
    pub database: Option<String>,
    /// One policy of it; all without it.
    pub policy: Option<String>,
    /// Times, both ends included, in nanoseconds since the epoch.
    pub times_ns: (i64, i64),
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Series with points.
    pub series: u64,
    /// Lines.
    pub points: u64,
    /// Values.
    pub values: u64,
    /// Series, and points, that line protocol cannot carry.
    pub left_out: u64,
}

/// One line of figures.
impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { series, points, values, left_out } = self;
        write!(f, "{series} series, {points} points, {values} values; {left_out} left out")
    }
}

/// Writes databases.
///
/// # Errors
/// `NotFound` for a database or policy that is not there, `Unavailable` for the disk or `out`, `Corrupt` for damaged
/// files.
pub fn export(engine: &Engine, databases: &Databases, options: &Options, out: &mut dyn Write) -> Result<Summary> {
    let chosen: Vec<&Database> = match &options.database {
        Some(name) => {
            vec![databases.get(name).ok_or_else(|| Error::not_found(format!("database not found: {name}")))?]
        }
        None => databases.iter().collect(),
    };
    let mut export = Export {
        engine,
        snapshot: engine.snapshot(),
        times_ns: options.times_ns,
        text: String::new(),
        out,
        summary: Summary::default(),
    };
    let policies = |database: &Database| -> Result<Vec<RetentionPolicy>> {
        let shown = database.policies.iter().filter(|p| !p.internal);
        let wanted = |p: &&RetentionPolicy| options.policy.as_ref().is_none_or(|name| p.policy.name == *name);
        let found: Vec<_> = shown.filter(wanted).cloned().collect();
        match (&options.policy, found.is_empty() && options.database.is_some()) {
            (Some(name), true) => Err(Error::not_found(format!("retention policy not found: {name}"))),
            _ => Ok(found),
        }
    };
    export.text.push_str("# INFLUXDB EXPORT\n# DDL\n");
    for database in &chosen {
        export.statements(database, &policies(database)?);
    }
    export.text.push_str("# DML\n");
    for database in chosen {
        for policy in policies(database)? {
            let name = &policy.policy.name;
            export.text.push_str(&format!("# CONTEXT-DATABASE:{}\n# CONTEXT-RETENTION-POLICY:{name}\n", database.name));
            export.policy(policy.policy.id)?;
        }
    }
    export.flush()?;
    Ok(export.summary)
}

struct Export<'a> {
    engine: &'a Engine,
    snapshot: Snapshot,
    times_ns: (i64, i64),
    text: String,
    out: &'a mut dyn Write,
    summary: Summary,
}

impl Export<'_> {
    fn statements(&mut self, database: &Database, policies: &[RetentionPolicy]) {
        let first = policies.iter().position(|p| database.default == Some(p.policy.id)).unwrap_or(0);
        let others = policies.iter().enumerate().filter(|(at, _)| *at != first);
        for (at, policy) in policies.iter().enumerate().skip(first).take(1).chain(others) {
            let duration_ns = policy.policy.levels.first().map_or(0, |level| level.retention_ns);
            let replication = u32::try_from(policy.replica_n).unwrap_or(1);
            let name = policy.policy.name.clone();
            let statement = if at == first {
                let policy = DatabasePolicy {
                    name: Some(name),
                    duration_ns: Some(duration_ns),
                    replication: Some(replication),
                    shard_duration_ns: Some(policy.shard_ns),
                };
                Statement::CreateDatabase(CreateDatabase { name: database.name.clone(), policy: Some(policy) })
            } else {
                Statement::CreateRetentionPolicy(CreateRetentionPolicy {
                    name,
                    database: database.name.clone(),
                    duration_ns,
                    replication,
                    shard_duration_ns: Some(policy.shard_ns),
                    default: false,
                })
            };
            self.text.push_str(&format!("{statement}\n"));
        }
    }

    fn policy(&mut self, policy: PolicyId) -> Result<()> {
        let mut tables: Vec<(String, TableId)> = {
            let names = self.engine.registry().read();
            let tagged = names.tables(policy).filter(|table| table.kind() == KeyKind::Tagged);
            tagged.map(|table| (table.name().to_owned(), table.id())).collect()
        };
        tables.sort();
        tables.into_iter().try_for_each(|(_, table)| self.table(table))
    }

    fn table(&mut self, table: TableId) -> Result<()> {
        let (series, fields) = {
            let names = self.engine.registry().read();
            let mut series: Vec<(SeriesId, Arc<str>)> = names
                .series_by_key(table, None)
                .into_iter()
                .map(|slot| (names.series_id(slot), names.key(slot).into()))
                .collect();
            series.sort_unstable_by_key(|(id, _)| *id);
            let fields: Vec<(FieldId, String)> =
                names.fields(table).map(|(id, name, _)| (id, name.to_owned())).collect();
            (series, fields)
        };
        for some in series.chunks(SERIES_AT_ONCE) {
            let (good, bad): (Vec<_>, Vec<_>) = some.iter().partition(|(_, key)| is_writable(key));
            self.summary.left_out += bad.len() as u64;
            let ids: Arc<[SeriesId]> = good.iter().map(|(id, _)| *id).collect();
            let (filter, (min_ns, max_ns)) = (SeriesFilter::List(ids), self.times_ns);
            let weights = self.snapshot.weigh(table, Tier::RAW, &filter, None, &(min_ns..=max_ns), PIECE_VALUES)?;
            let mut slices = Slices::new(&weights, self.times_ns, true);
            let mut seen = std::collections::BTreeSet::new();
            while let Some(slice) = slices.next(PIECE_VALUES) {
                let scanned = self.snapshot.scan(table, Tier::RAW, filter.clone(), None, slice.0..=slice.1)?;
                for points in scanned {
                    let points = points?;
                    let Ok(at) = good.binary_search_by_key(&points.series, |(id, _)| *id) else { continue };
                    seen.insert(points.series);
                    self.lines(&good[at].1, &points, &fields)?;
                }
            }
            self.summary.series += seen.len() as u64;
        }
        Ok(())
    }

    /// The points of a series, each on a line.
    fn lines(&mut self, key: &str, points: &SeriesPoints, fields: &[(FieldId, String)]) -> Result<()> {
        let name = |id: FieldId| fields.iter().find(|(known, _)| *known == id).map(|(_, name)| name.as_str());
        let streams: Vec<_> = points.streams.iter().filter_map(|stream| Some((name(stream.field)?, stream))).collect();
        let mut next = vec![0; streams.len()];
        loop {
            let heads = streams.iter().zip(&next).filter_map(|((_, stream), at)| stream.times_ns.get(*at));
            let Some(&time_ns) = heads.min() else { return Ok(()) };
            let here =
                streams.iter().zip(&next).filter(|((_, stream), at)| stream.times_ns.get(**at) == Some(&time_ns));
            let here = here.map(|((name, stream), at)| (*name, stream.values.get(*at)));
            // NaN has no form; the fields beside it have.
            let finite = |(_, value): &(&str, FieldValue<'_>)| !matches!(value, FieldValue::Float(v) if !v.is_finite());
            let here: Vec<_> = here.filter(finite).collect();
            let values = here.len() as u64;
            match write_keyed_line(&mut self.text, key, here, time_ns) {
                Ok(()) => {
                    self.summary.points += 1;
                    self.summary.values += values;
                }
                Err(_) => self.summary.left_out += 1,
            }
            for ((_, stream), at) in streams.iter().zip(&mut next) {
                *at += usize::from(stream.times_ns.get(*at) == Some(&time_ns));
            }
            if self.text.len() >= WRITE_BYTES {
                self.flush()?;
            }
        }
    }

    fn flush(&mut self) -> Result<()> {
        let written = self.out.write_all(self.text.as_bytes());
        self.text.clear();
        written.map_err(|e| Error::unavailable(format!("the export cannot be written: {e}")))
    }
}

/// Whether a key reads back as itself.
fn is_writable(key: &str) -> bool {
    let line = format!("{key} f=1\n");
    let options = ParseOptions::new(Precision::Nanosecond, 0);
    let (mut lines, mut same) = (0, true);
    for_each_point(line.as_bytes(), &options, |point| {
        lines += 1;
        same &= point.is_ok_and(|point| point.key.canonical() == key);
    });
    lines == 1 && same
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::influx::TimeUnit;
    use crate::query::influxql::tests::world::{World, two_policies};

    const NS: TimeUnit = TimeUnit::Fixed(Precision::Nanosecond);

    fn exported(world: &World, options: &Options) -> (Summary, String) {
        let mut out = Vec::new();
        let databases = world.context.catalog.databases();
        let summary = export(&world.context.engine, &databases, options, &mut out).unwrap();
        (summary, String::from_utf8(out).unwrap())
    }

    fn all() -> Options {
        Options { database: None, policy: None, times_ns: (i64::MIN, i64::MAX) }
    }

    #[test]
    fn points_are_written_with_all_their_fields() {
        let world = two_policies();
        world.write("d", "", NS, "cpu,host=a\\ b v=1,n=2i 1\ncpu,host=a\\ b n=3i 2\nlog s=\"x\\\"\ny\",b=t 5");
        world.write("d", "rp2", NS, "cpu v=1.5 7");
        world.paths(10, &["a.b"]);
        let (summary, text) = exported(&world, &all());
        let expected = "# INFLUXDB EXPORT\n# DDL\n\
            CREATE DATABASE d WITH DURATION 0s REPLICATION 1 SHARD DURATION 1w NAME autogen\n\
            CREATE RETENTION POLICY rp2 ON d DURATION 0s REPLICATION 1 SHARD DURATION 1w\n";
        assert!(text.starts_with(expected), "{text}");
        let lines = text.split_once("# CONTEXT-DATABASE:d\n").unwrap().1;
        let expected = "# CONTEXT-RETENTION-POLICY:autogen\n\
            cpu,host=a\\ b v=1.0,n=2i 1\ncpu,host=a\\ b n=3i 2\nlog s=\"x\\\"\ny\",b=true 5\n\
            # CONTEXT-DATABASE:d\n# CONTEXT-RETENTION-POLICY:rp2\ncpu v=1.5 7\n";
        assert!(lines.starts_with(expected), "{lines}");
        assert_eq!(summary, Summary { series: 3, points: 4, values: 6, left_out: 0 });
    }

    #[test]
    fn times_and_names_narrow_it() {
        let world = two_policies();
        world.write("d", "", NS, "m v=1 1\nm v=2 2\nm v=3 3");
        let lines = |options: &Options| exported(&world, options).1.lines().filter(|l| l.starts_with('m')).count();
        assert_eq!(lines(&Options { times_ns: (2, 3), ..all() }), 2);
        assert_eq!(lines(&Options { database: Some("d".into()), policy: Some("rp2".into()), ..all() }), 0);
        for (database, policy) in [("none", None), ("d", Some("none"))] {
            let options = Options { database: Some(database.into()), policy: policy.map(str::to_owned), ..all() };
            let databases = world.context.catalog.databases();
            assert!(export(&world.context.engine, &databases, &options, &mut Vec::new()).is_err());
        }
    }
}
