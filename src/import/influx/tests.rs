use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rhythmite_env::CpuPool;
use rhythmite_influx::influxql::{Params, parse_query};
use rhythmite_influx::line_protocol::Precision;

use super::lines::{Lines, Piece};
use super::{Input, Options, Summary, dry_run, import};
use crate::auth::Passwords;
use crate::import::Progress;
use crate::query::graphite::tests::world::World;
use crate::query::influxql::{Context, Limits, Request, Users, execute};

const EXPORT: &str = "# INFLUXDB EXPORT: 1677-09-21T00:12:43Z - 2262-04-11T23:47:16Z\n\
    # DDL\n\
    CREATE DATABASE db0 WITH NAME autogen\n\
    DROP DATABASE db0\n\
    # DML\n\
    # CONTEXT-DATABASE:db0\n\
    # CONTEXT-RETENTION-POLICY:autogen\n\
    # writing tsm data\n\
    cpu,host=a usage=1,n=2i 1000\n\
    cpu,host=a usage=3 2000\n\
    cpu,host=a usage=\"text\" 3000\n\
    log,host=a text=\"one\n# CONTEXT-DATABASE:other\ntwo\" 1000\n\
    \n\
    broken\n\
    # CONTEXT-DATABASE: db1 \n\
    # CONTEXT-RETENTION-POLICY: weekly\n\
    mem free=7i 1000\n";

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn options(files: &[&Path]) -> Options {
    Options { files: files.iter().map(|path| path.to_path_buf()).collect(), ..Options::default() }
}

fn context(world: &World, runtime: &tokio::runtime::Runtime) -> Context {
    let cpu = Arc::new(CpuPool::start(1, 1).unwrap());
    let passwords = Arc::new(Passwords::new(cpu.clone(), world.env.random.clone(), Arc::default(), 1));
    Context {
        engine: world.engine.clone(),
        catalog: world.catalog.clone(),
        clock: world.env.clock.clone(),
        runtime: runtime.handle().clone(),
        cpu,
        limits: Limits::default(),
        mistakes: Default::default(),
        counters: Arc::default(),
        users: Users { passwords, guarded: false },
        running: Arc::default(),
    }
}

struct Rig {
    world: World,
    runtime: tokio::runtime::Runtime,
}

impl Rig {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Self { world: World::new(), runtime }
    }

    fn import(&self, options: &Options) -> Summary {
        let context = context(&self.world, &self.runtime);
        import(&self.world.env, self.world.dir.path(), &context, options, &mut Progress::silent()).unwrap()
    }

    /// The rows of a query, as text.
    fn ask(&self, database: &str, query: &str) -> String {
        let context = context(&self.world, &self.runtime);
        let query = parse_query(query, &Params::default()).unwrap();
        let request = Request { database: Some(database.to_owned()), times_as_text: true, ..Request::default() };
        let mut sink = crate::query::influxql::tests::world::Plain::default();
        execute(&context, &request, &query, &mut sink);
        sink.0
    }
}

#[test]
fn an_export_is_read_as_influxdb_would() {
    let (dir, rig) = (Dir::new(), Rig::new());
    let file = dir.put("export", EXPORT.as_bytes());
    let summary = rig.import(&options(&[&file]));
    assert_eq!((summary.files, summary.points, summary.values, summary.refused), (1, 4, 5, 3));
    let problems: Vec<_> = summary.problems.iter().map(|p| p.rsplit_once('/').unwrap().1).collect();
    assert_eq!(
        problems,
        [
            "export:4: only databases and retention policies can be made here, not: DROP DATABASE db0",
            "export:11: field type conflict: input field \"usage\" on measurement \"cpu\" is type string, already exists \
             as type float",
            "export:16: missing fields",
        ]
    );
    assert_eq!(rig.ask("db0", "SELECT usage, n FROM cpu"), "1000,1,2 2000,3,null");
    assert_eq!(rig.ask("db0", "SELECT text FROM log"), "1000,one\n# CONTEXT-DATABASE:other\ntwo");
    assert_eq!(rig.ask("db1", "SELECT free FROM weekly.mem"), "1000,7");
    assert_eq!(summary.exit_code(), 2);
}

#[test]
fn compressed_files_are_the_same() {
    let (dir, rig) = (Dir::new(), Rig::new());
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(b"# CONTEXT-DATABASE:d\nm v=1 1\n").unwrap();
    let mut gz = gz.finish().unwrap();
    // Two members, as of two files put together.
    let mut more = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    more.write_all(b"m v=2 2\n").unwrap();
    gz.extend(more.finish().unwrap());
    let zstd = zstd::encode_all(&b"# CONTEXT-DATABASE:d\nm v=3 3\nm v=4 4"[..], 1).unwrap();
    let files = [dir.put("a.gz", &gz), dir.put("b", &zstd)];
    let summary = rig.import(&options(&[&files[0], &files[1]]));
    assert_eq!((summary.files, summary.points, summary.refused), (2, 4, 0));
    assert_eq!(rig.ask("d", "SELECT v FROM m"), "1,1 2,2 3,3 4,4");
    let cut = dir.put("cut.gz", &gz[..gz.len() - 9]);
    let context = context(&rig.world, &rig.runtime);
    let failed = import(&rig.world.env, rig.world.dir.path(), &context, &options(&[&cut]), &mut Progress::silent());
    assert!(failed.is_err(), "a damaged file is an error");
}

#[test]
fn what_is_imported_is_skipped_until_it_changes() {
    let (dir, rig) = (Dir::new(), Rig::new());
    let file = dir.put("f", b"m v=1 1\nm v=2 2\n");
    let options = Options { database: Some("d".into()), precision: Precision::Second, ..options(&[&file]) };
    assert_eq!(rig.import(&options).points, 2);
    let again = rig.import(&options);
    assert_eq!((again.files, again.skipped, again.points), (0, 1, 0));
    dir.put("f", b"m v=1 1\nm v=2 2\nm v=3 3\n");
    assert_eq!(rig.import(&options).points, 3);
    assert_eq!(rig.ask("d", "SELECT v FROM m"), "1000000000,1 2000000000,2 3000000000,3");
}

#[test]
fn a_dry_run_writes_nothing() {
    let (dir, rig) = (Dir::new(), Rig::new());
    let file = dir.put("export", EXPORT.as_bytes());
    let summary = dry_run(&rig.world.env, &options(&[&file]), &mut Progress::silent()).unwrap();
    // What only the stored types tell is not seen.
    assert_eq!((summary.points, summary.values, summary.refused), (5, 6, 2));
    assert!(rig.world.catalog.databases().get("db0").is_none());
}

#[test]
fn lines_without_a_database_are_refused() {
    let (dir, rig) = (Dir::new(), Rig::new());
    let file = dir.put("f", b"m v=1 1\nm v=2 2\n");
    let summary = rig.import(&options(&[&file]));
    assert_eq!((summary.points, summary.refused, summary.problems.len()), (0, 2, 1));
}

/// Wherever reading is interrupted between two parts, it goes on there.
#[test]
fn reading_goes_on_where_it_ended() {
    fn rest(lines: &mut Lines) -> Vec<(u64, String)> {
        let mut all = Vec::new();
        while let Some(part) = lines.next().unwrap() {
            let text = match part.kind {
                Piece::Body(body) => String::from_utf8_lossy(body).into_owned(),
                other => format!("{other:?}"),
            };
            all.push((part.line, text));
        }
        all
    }
    let dir = Dir::new();
    let file = dir.put("export", EXPORT.as_bytes());
    let open = || Input::open(&file).unwrap();
    let all = rest(&mut Lines::new(open()));
    assert_eq!(all.len(), 8, "{all:?}");
    for stop in 0..all.len() {
        let mut lines = Lines::new(open());
        for _ in 0..stop {
            lines.next().unwrap().unwrap();
        }
        let mut resumed = Lines::resume(open(), lines.offset(), lines.line(), lines.in_ddl()).unwrap();
        assert_eq!(rest(&mut resumed), all[stop..], "after {stop}");
    }
}
