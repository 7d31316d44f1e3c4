//! Power that goes and disks that fail, at every operation of writing an SST.

use rhythmite_env::sim::{Fault, SimFs, Unsynced};

use super::*;

const DIR: &str = "/data";

fn sample() -> Vec<Stream> {
    vec![floats(1, 0, &(0..150).map(f64::from).collect::<Vec<_>>()), floats(2, 0, &[f64::NAN])]
}

fn disk() -> (SimFs, Env) {
    let fs = SimFs::new(1);
    let env = sim_env(&fs);
    env.fs.create_dir_all(Path::new(DIR)).unwrap();
    env.fs.sync_dir(Path::new("/")).unwrap();
    env.fs.sync_dir(Path::new(DIR)).unwrap();
    (fs, env)
}

fn write_it(env: &Env) -> Result<SstMeta> {
    write_in(env, Path::new(DIR), "c", small(), &sample(), 50)
}

/// Number of changing operations before and in a whole write.
fn operations() -> (u64, u64) {
    let (fs, env) = disk();
    let before = fs.counts().ops;
    write_it(&env).unwrap();
    (before, fs.counts().ops - before)
}

#[test]
fn a_finished_file_survives_the_loss_of_power() {
    let (fs, env) = disk();
    let meta = write_it(&env).unwrap();
    fs.crash(Unsynced::Lost);
    let sst = SstReader::open(&env, Path::new(DIR), "c").unwrap();
    assert_eq!(sst.meta(), meta);
    sst.verify().unwrap();
    check_contents(&sst, &sample());
}

#[test]
fn a_crash_at_any_moment_leaves_no_file_or_the_whole() {
    let (before, count) = operations();
    assert!(count > 15, "{count}");
    for op in 1..=count {
        for unsynced in [Unsynced::Lost, Unsynced::Torn(op), Unsynced::Torn(op + 1000), Unsynced::Kept] {
            let (fs, env) = disk();
            fs.fail_at(before + op, Fault::PowerOff);
            // The last operations clean up; a whole file may be there already.
            let finished = write_it(&env);
            fs.crash(unsynced);
            let what = format!("operation {op} of {count}, {unsynced:?}");
            assert!(finished.is_err(), "{what}: an operation failed unnoticed");
            match SstReader::open(&env, Path::new(DIR), "c") {
                Err(e) => assert_eq!(e.kind(), ErrorKind::NotFound, "{what}: {e}"),
                Ok(sst) => {
                    sst.verify().expect(&what);
                    check_contents(&sst, &sample());
                }
            }
        }
    }
}

#[test]
fn an_error_of_the_disk_is_reported_and_leaves_nothing() {
    let (before, count) = operations();
    for op in 1..=count {
        for fault in [Fault::Error, Fault::ShortWrite] {
            let (fs, env) = disk();
            fs.fail_at(before + op, fault);
            let error = write_it(&env).expect_err("an operation failed");
            assert_eq!(error.kind(), ErrorKind::Unavailable, "operation {op}: {error}");
            let left = env.fs.list(Path::new(DIR)).unwrap();
            assert!(left.is_empty(), "operation {op}, {fault:?}: {left:?}");
        }
    }
}
