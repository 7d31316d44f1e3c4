//! The log as its users see it: what was acknowledged comes back, once and in order, whatever happened in between.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proptest::prelude::*;
use rhythmite_env::sim::{Fault, SimFs, Unsynced};
use rhythmite_env::{Env, Fs};
use rhythmite_model::{Batch, Column, ErrorKind, FieldId, Result, Rows, SeriesId, TableId, Tier};

use super::codec::tests::{any_batch, bits};
use super::record::{Record, SECTOR_BYTES};
use super::segment::path_of;
use super::*;

const DIR: &str = "/wal";

/// Remembers what was applied; may be held up, and may panic.
#[derive(Default)]
struct Seen {
    applied: Mutex<Vec<u64>>,
    gate: Mutex<()>,
    slow: Duration,
    panics: bool,
}

impl Applier for Seen {
    fn apply(&self, seq: u64, _: Arc<Batch>) {
        assert!(!self.panics, "as the test wants");
        drop(self.gate.lock());
        std::thread::sleep(self.slow);
        self.applied.lock().push(seq);
    }
}

/// A batch that can be told from others, of about `bytes` bytes.
fn batch(value: i64, bytes: usize) -> Arc<Batch> {
    let mut filler = Column::new(rhythmite_model::FieldType::String);
    let mut state = value as u64;
    let text: String = (0..bytes)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b' ' + (state >> 58) as u8)
        })
        .collect();
    assert!(filler.push(rhythmite_model::FieldValue::String(&text)));
    let rows = Rows {
        table: TableId(1),
        tier: Tier::RAW,
        series: vec![SeriesId::new(TableId(1), 0, 1)],
        times_ns: vec![value],
        fields: vec![(FieldId(0), Column::Integer(vec![value])), (FieldId(1), filler)],
    };
    Arc::new(Batch { rows: vec![rows], ..Batch::default() })
}

fn value_of(batch: &Batch) -> i64 {
    batch.rows[0].times_ns[0]
}

/// Batches with their numbers, as a start finds them.
type Replayed = Vec<(u64, Batch)>;

/// A disk and how the log on it is opened.
struct Log {
    fs: Arc<dyn Fs>,
    options: Options,
    flushed_seq: u64,
    synced_seq: u64,
    seen: Arc<Seen>,
}

impl Log {
    fn on(fs: &SimFs) -> Self {
        Self::at(Arc::new(fs.clone()), Path::new(DIR))
    }

    fn at(fs: Arc<dyn Fs>, dir: &Path) -> Self {
        let mut options = Options::new(dir);
        options.segment_bytes_max = 4096;
        Self { fs, options, flushed_seq: 0, synced_seq: 0, seen: Arc::default() }
    }

    fn env(&self) -> Env {
        Env { fs: self.fs.clone(), ..Env::real() }
    }

    fn try_open(&self) -> Result<(Wal, ReplayReport, Replayed)> {
        let mut replayed = Vec::new();
        let mut sink = |seq, batch| {
            replayed.push((seq, batch));
            Ok(())
        };
        let (wal, report) = Wal::open(
            self.env(),
            self.options.clone(),
            self.flushed_seq,
            self.synced_seq,
            &mut sink,
            self.seen.clone(),
        )?;
        Ok((wal, report, replayed))
    }

    fn open(&self) -> Wal {
        self.try_open().unwrap().0
    }

    /// Numbers and values of what a start finds.
    fn replayed(&self) -> Vec<(u64, i64)> {
        let (_, report, replayed) = self.try_open().unwrap();
        assert_eq!(report.batches, replayed.len() as u64);
        replayed.iter().map(|(seq, batch)| (*seq, value_of(batch))).collect()
    }

    fn segment(&self, number: u64) -> PathBuf {
        path_of(&self.options.dir, number)
    }

    fn bytes(&self, number: u64) -> Vec<u8> {
        self.fs.read(&self.segment(number), 1 << 30).unwrap()
    }

    fn put_bytes(&self, number: u64, bytes: &[u8]) {
        let file = self.fs.create(&self.segment(number)).unwrap();
        file.write_all_at(bytes, 0).unwrap();
    }

    fn files(&self) -> usize {
        self.fs.list(&self.options.dir).unwrap().len()
    }
}

fn write(wal: &Wal, value: i64) -> Result<u64> {
    let (seq, commit) = wal.append(&batch(value, 20), Durability::Sync)?;
    commit.wait()?;
    Ok(seq)
}

/// Records of a segment's current use, in order.
fn records(bytes: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    let mut at = SECTOR_BYTES;
    while let Some(record) = Record::at(bytes, at, None) {
        at = record.end;
        records.push(record);
    }
    records
}

fn numbered(values: impl IntoIterator<Item = i64>) -> Vec<(u64, i64)> {
    (1..).zip(values).collect()
}

/// A log of five acknowledged writes, a record each, in segment 1.
fn five() -> (SimFs, Log) {
    let fs = SimFs::new(5);
    let log = Log::on(&fs);
    let wal = log.open();
    (10..15).for_each(|value| assert_eq!(write(&wal, value).unwrap() as i64, value - 9));
    wal.close().unwrap();
    assert_eq!(records(&log.bytes(1)).len(), 5);
    (fs, log)
}

#[test]
fn writes_come_back_from_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::at(Arc::new(rhythmite_env::RealFs), &dir.path().join("wal"));
    for round in 0..3 {
        let (wal, report, replayed) = log.try_open().unwrap();
        assert_eq!((report.last_seq, replayed.len()), (round * 20, round as usize * 20));
        for value in 0..20 {
            let durability = [Durability::Sync, Durability::Interval, Durability::None][value % 3];
            wal.append(&batch(value as i64, 300), durability).unwrap().1.wait().unwrap();
        }
        assert_eq!(wal.drain().unwrap(), (round + 1) * 20);
        assert!(round == 0 || log.files() > 1, "segments were rolled");
    }
    assert_eq!(log.replayed(), numbered((0..60).map(|i| i % 20)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_batches_come_back(batches in prop::collection::vec(any_batch(), 1..8)) {
        let fs = SimFs::new(1);
        let log = Log::on(&fs);
        let wal = log.open();
        for batch in &batches {
            wal.append(&Arc::new(batch.clone()), Durability::Interval).unwrap().1.wait().unwrap();
        }
        wal.close().unwrap();
        fs.crash(Unsynced::Lost);
        let (_, _, replayed) = log.try_open().unwrap();
        prop_assert_eq!(replayed.len(), batches.len());
        for ((_, back), batch) in replayed.iter().zip(&batches) {
            prop_assert_eq!(bits(back), bits(batch));
        }
    }

    #[test]
    fn any_damage_is_refused_or_cut_but_never_a_panic_or_a_phantom(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in prop::option::of(any::<prop::sample::Index>()),
        salvage in any::<bool>(),
    ) {
        let (_, mut log) = five();
        let mut bytes = log.bytes(1);
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        for (at, byte) in damage {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        log.put_bytes(1, &bytes);
        log.options.salvage = salvage;
        if let Ok((_, _, replayed)) = log.try_open() {
            let written = numbered(10..15);
            let back: Vec<_> = replayed.iter().map(|(seq, batch)| (*seq, value_of(batch))).collect();
            prop_assert!(back.iter().all(|b| written.contains(b)) && back.is_sorted(), "{:?}", back);
        }
    }
}

#[test]
fn a_log_cut_at_any_byte_of_its_last_record_keeps_all_before_it() {
    let (_, mut log) = five();
    let whole = log.bytes(1);
    let last = records(&whole).pop().unwrap();
    for cut in last.start..last.block.end {
        for tail in [&[][..], &[0; 2048], &[0xff; 2048]] {
            log.put_bytes(1, &[&whole[..cut], tail].concat());
            let (wal, report, replayed) = log.try_open().unwrap();
            assert_eq!((replayed.len(), report.last_seq), (4, 4), "cut at {cut}");
            drop(wal);
        }
    }
    assert_eq!(log.try_open().unwrap().1.cut, Some((log.segment(1), last.start as u64)), "the cut is reported");
    log.synced_seq = 5;
    let error = log.try_open().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "the catalogue knows that the last was synced");
    log.flushed_seq = 5;
    assert_eq!(log.replayed(), [], "and nobody misses what was flushed");
}

#[test]
fn any_flipped_bit_before_acknowledged_groups_is_refused_and_can_be_salvaged() {
    let (_, mut log) = five();
    let whole = log.bytes(1);
    let second = records(&whole).swap_remove(1);
    for bit in second.start * 8..second.block.end * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        log.put_bytes(1, &damaged);
        log.options.salvage = false;
        let error = log.try_open().err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        for part in [log.segment(1).to_str().unwrap(), "writes 2 to 2", "--wal-salvage"] {
            assert!(error.message().contains(part), "{error}");
        }
        log.options.salvage = true;
        let (_, report, replayed) = log.try_open().unwrap();
        assert_eq!(replayed.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [1, 3, 4, 5], "bit {bit}");
        let [damage] = &report.damages[..] else { panic!("{report:?}") };
        assert_eq!((damage.first_seq, damage.last_seq, damage.offset), (2, 2, second.start as u64));
    }
    log.options.salvage = false;
    log.flushed_seq = 2;
    assert_eq!(log.replayed().len(), 3, "what was flushed is not missed");
}

#[test]
fn an_unacknowledged_group_may_be_torn_and_what_lies_behind_it_never_comes_back() {
    let fs = SimFs::new(2);
    let mut log = Log::on(&fs);
    log.options.interval = Duration::ZERO;
    let wal = log.open();
    write(&wal, 10).unwrap();
    for value in 11..15 {
        let groups = wal.stats().groups;
        wal.append(&batch(value, 20), Durability::None).unwrap().1.wait().unwrap();
        while wal.stats().groups == groups {
            std::thread::yield_now();
        }
    }
    fs.crash(Unsynced::Kept);
    drop(wal);
    let mut bytes = log.bytes(1);
    let third = records(&bytes).swap_remove(2);
    bytes[third.block.start] ^= 1;
    log.put_bytes(1, &bytes);
    let (wal, report, replayed) = log.try_open().unwrap();
    assert_eq!((replayed.len(), report.last_seq), (2, 2), "cut in front of the damage, not refused");
    assert_eq!(report.cut, Some((log.segment(1), third.start as u64)));
    assert_eq!(write(&wal, 22).unwrap(), 3);
    assert_eq!(write(&wal, 23).unwrap(), 4);
    drop(wal);
    assert_eq!(log.replayed(), numbered([10, 11, 22, 23]), "numbers are used again, old bytes are not");
    // Even if the damage heals, the cut stands.
    bytes[third.block.start] ^= 1;
    log.put_bytes(1, &bytes);
    assert_eq!(log.replayed(), numbered([10, 11, 22, 23]));
}

#[test]
fn a_missing_or_headless_segment_is_refused() {
    let fs = SimFs::new(3);
    let mut log = Log::on(&fs);
    let wal = log.open();
    (0..24).for_each(|value| assert_eq!(write(&wal, value).unwrap() as i64, value + 1));
    drop(wal);
    let firsts: Vec<u64> = (1..=4).map(|n| records(&log.bytes(n))[0].first_seq).collect();
    let sectors: Vec<Vec<u8>> = (1..=4).map(|n| log.bytes(n)).collect();
    for missing in [1, 2] {
        log.fs.remove(&log.segment(missing)).unwrap();
        let error = log.try_open().err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let range = format!("writes {} to {}", firsts[missing as usize - 1], firsts[missing as usize] - 1);
        assert!(error.message().contains(&range), "{error}");
        log.put_bytes(missing, &sectors[missing as usize - 1]);
    }
    for damage in [0u8, 0xff] {
        let mut bytes = sectors[1].clone();
        bytes[..SECTOR_BYTES].fill(damage);
        log.put_bytes(2, &bytes);
        let error = log.try_open().err().unwrap();
        assert!(error.message().contains(log.segment(2).to_str().unwrap()), "{error}");
        log.options.salvage = true;
        assert_eq!(log.replayed(), numbered(0..24), "salvage finds the records without the header");
        log.options.salvage = false;
    }
}

/// Writes, rolls, releases, rests; returns what was appended and what was acknowledged, and the released number.
fn script(log: &Log) -> (Vec<i64>, Vec<i64>, u64) {
    let (mut appended, mut acked, mut released) = (Vec::new(), Vec::new(), 0);
    let Ok((wal, _, _)) = log.try_open() else { return (appended, acked, 0) };
    for value in 1..40 {
        appended.push(value);
        match wal.append(&batch(value, value as usize * 13 % 700), Durability::Sync) {
            Ok((seq, commit)) => {
                assert_eq!(seq as i64, value);
                if commit.wait().is_err() {
                    break;
                }
            }
            Err(_) => break,
        }
        acked.push(value);
        if value % 9 == 0 {
            released = value as u64 - 4;
            let _ = wal.release(released);
        }
        if value == 20 {
            let _ = wal.idle();
        }
    }
    drop(wal);
    (appended, acked, released)
}

#[test]
fn a_crash_at_any_moment_keeps_what_was_acknowledged_exactly_once() {
    let all = {
        let fs = SimFs::new(0);
        assert_eq!(script(&Log::on(&fs)).1.len(), 39);
        fs.counts().ops
    };
    assert!(all > 100, "{all}");
    for op in 1..=all {
        for seed in 0..6 {
            let fs = SimFs::new(seed);
            let mut log = Log::on(&fs);
            fs.fail_at(op, Fault::PowerOff);
            let (appended, acked, released) = script(&log);
            fs.crash(if seed == 0 { Unsynced::Lost } else { Unsynced::Torn(op * 31 + seed) });
            log.flushed_seq = released;
            log.synced_seq = if seed % 2 == 0 { acked.len() as u64 } else { 0 };
            // Twice, with a write and a strict crash between: what a start decides must stand.
            let first = log.replayed();
            let values: Vec<i64> = first.iter().map(|(_, value)| *value).collect();
            let due = &appended[released as usize..];
            assert!(due.starts_with(&values), "op {op} seed {seed}: {values:?} is no head of {due:?}");
            assert!(values.len() + released as usize >= acked.len(), "op {op} seed {seed}: acknowledged, lost");
            let wal = log.open();
            let seq = write(&wal, 1_000).unwrap();
            assert_eq!(seq, released + values.len() as u64 + 1);
            drop(wal);
            fs.crash(Unsynced::Lost);
            let mut expected = first;
            expected.push((seq, 1_000));
            assert_eq!(log.replayed(), expected, "op {op} seed {seed}");
        }
    }
}

#[test]
fn writers_share_syncs_and_batches_are_applied_in_order() {
    let fs = SimFs::new(4);
    let mut log = Log::on(&fs);
    log.options.segment_bytes_max = 1 << 20;
    log.seen = Arc::new(Seen { slow: Duration::from_micros(300), ..Seen::default() });
    let wal = log.open();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let wal = &wal;
            scope.spawn(move || (0..50).for_each(|i| assert!(write(wal, thread * 100 + i).is_ok())));
        }
    });
    wal.drain().unwrap();
    let stats = wal.stats();
    assert_eq!((stats.appends, stats.last_seq, stats.durable_seq), (400, 400, 400));
    assert!(stats.syncs * 2 < stats.appends && stats.groups * 2 < stats.appends, "{stats:?}");
    assert_eq!(*log.seen.applied.lock(), (1..=400).collect::<Vec<u64>>());
    assert_eq!(stats.queue_bytes, 0);
    drop(wal);
    assert_eq!(log.replayed().len(), 400);
}

#[test]
fn a_full_queue_refuses_and_counts() {
    let fs = SimFs::new(4);
    let mut log = Log::on(&fs);
    log.options.queue_bytes_max = 20_000;
    let wal = log.open();
    let held = log.seen.gate.lock();
    let mut commits = Vec::new();
    let error = loop {
        match wal.append(&batch(7, 500), Durability::Sync) {
            Ok((_, commit)) => commits.push(commit),
            Err(e) => break e,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    assert!((5..40).contains(&commits.len()), "{}", commits.len());
    let stats = wal.stats();
    assert_eq!((stats.refused_queue_full, stats.appends), (1, commits.len() as u64));
    assert!(stats.queue_bytes <= 20_000);
    drop(held);
    let n = commits.len();
    commits.into_iter().for_each(|commit| commit.wait().unwrap());
    assert_eq!(wal.drain().unwrap(), n as u64);
    wal.append(&batch(8, 50_000), Durability::Sync).unwrap().1.wait().expect("an empty queue takes any batch");
    drop(wal);
    assert_eq!(log.replayed().len(), n + 1, "what was refused is nowhere");
}

#[test]
fn a_full_log_refuses_until_something_is_released() {
    let fs = SimFs::new(4);
    let mut log = Log::on(&fs);
    log.options.wal_bytes_max = 16 << 10;
    let wal = log.open();
    let mut value = 0;
    let error = loop {
        match write(&wal, value) {
            Ok(_) => value += 1,
            Err(e) => break e,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    assert!((20..33).contains(&value), "{value}");
    assert_eq!(wal.stats().refused_wal_full, 1);
    wal.release(value as u64).unwrap();
    write(&wal, value).unwrap();
}

#[test]
fn a_long_segment_is_not_kept_for_the_little_that_came_late() {
    let fs = SimFs::new(4);
    let mut log = Log::on(&fs);
    log.options.segment_bytes_max = 64 << 20;
    let wal = log.open();
    let mut last = 0;
    while wal.stats().live_bytes < 5 << 20 {
        last = wal
            .append(&batch(1, 300_000), Durability::Sync)
            .map(|(seq, commit)| commit.wait().map(|()| seq))
            .unwrap()
            .unwrap();
    }
    // As a flush does: what is in files is released while others write.
    let late = write(&wal, 2).unwrap();
    wal.release(last).unwrap();
    assert_eq!(wal.stats().segments, 1, "the late one is not released");
    write(&wal, 3).unwrap();
    assert_eq!(wal.stats().segments, 2);
    wal.release(late).unwrap();
    let stats = wal.stats();
    assert_eq!((stats.segments, stats.spares), (1, 1));
    assert!(stats.live_bytes < 4096, "{}", stats.live_bytes);
    wal.release(late + 1).unwrap();
    assert_eq!((wal.stats().segments, wal.stats().live_bytes), (0, 0), "nothing is left to keep");
    wal.idle().unwrap();
    assert_eq!(log.files(), 0);
    drop(wal);
    log.flushed_seq = late + 1;
    assert_eq!(log.replayed(), []);
}

#[test]
fn files_are_written_over_and_given_back() {
    let fs = SimFs::new(4);
    let mut log = Log::on(&fs);
    let wal = log.open();
    for value in 0..200 {
        let seq = write(&wal, value).unwrap();
        wal.release(seq - 1).unwrap();
        assert!(log.files() <= 4, "{}", log.files());
    }
    (0..60).for_each(|value| assert!(write(&wal, value).is_ok()));
    assert!(wal.stats().segments > 6);
    wal.release(259).unwrap();
    let stats = wal.stats();
    assert_eq!(
        (stats.segments, stats.spares, log.files()),
        (1, 2, 3),
        "one write is not released, two files are spare"
    );
    wal.idle().unwrap();
    assert_eq!(log.files(), 1);
    wal.release(260).unwrap();
    wal.idle().unwrap();
    assert_eq!((log.files(), wal.stats().live_bytes), (0, 0));
    assert_eq!(write(&wal, 1).unwrap(), 261);
    drop(wal);
    log.flushed_seq = 260;
    assert_eq!(log.replayed(), [(261, 1)]);
}

#[test]
fn a_spare_that_holds_little_is_cut_when_nobody_writes() {
    let fs = SimFs::new(4);
    let mut log = Log::on(&fs);
    log.options.segment_bytes_max = 1 << 20;
    let wal = log.open();
    let length = |log: &Log| {
        log.fs.list(&log.options.dir).unwrap().iter().map(|path| log.fs.open(path).unwrap().len().unwrap()).sum::<u64>()
    };
    while wal.stats().segments < 2 {
        let appended = wal.append(&batch(1, 30_000), Durability::Sync).unwrap();
        appended.1.wait().unwrap();
    }
    let last = wal.stats().last_seq;
    wal.release(last).unwrap();
    // A trickle goes on, into a file that was written before.
    write(&wal, 7).unwrap();
    assert!(wal.stats().slack_bytes >= 1 << 19, "{}", wal.stats().slack_bytes);
    let before = length(&log);
    wal.idle().unwrap();
    assert_eq!(wal.stats().slack_bytes, 0);
    assert!(length(&log) < 8_192 && before > 1 << 20, "{before} bytes, then {}", length(&log));
    (8..40).for_each(|value| assert!(write(&wal, value).is_ok()));
    drop(wal);
    log.flushed_seq = last;
    let expected: Vec<_> = (7..40).map(|value| (last + 1 + (value - 7) as u64, value)).collect();
    assert_eq!(log.replayed(), expected);
}

#[test]
fn a_failing_disk_seals_the_log() {
    type Break = fn(&SimFs);
    let breaks: [(&str, Break); 4] = [
        ("sync", |fs| fs.fail_syncs(true)),
        ("space", |fs| fs.set_space(Some(700))),
        ("write", |fs| fs.fail_at(fs.counts().ops + 1, Fault::Error)),
        ("short write", |fs| fs.fail_at(fs.counts().ops + 1, Fault::ShortWrite)),
    ];
    for (what, break_disk) in breaks {
        let fs = SimFs::new(9);
        let log = Log::on(&fs);
        let wal = log.open();
        (0..3).for_each(|value| assert_eq!(write(&wal, value).unwrap() as i64, value + 1));
        break_disk(&fs);
        let refused = wal.append(&batch(3, 2_000), Durability::Sync).unwrap().1.wait().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable, "{what}");
        assert!(refused.message().contains("read-only and must be restarted"), "{what}: {refused}");
        assert!(wal.is_failed(), "{what}");
        fs.fail_syncs(false);
        fs.set_space(None);
        let ops = fs.counts().ops;
        for durability in [Durability::Sync, Durability::Interval, Durability::None] {
            assert_eq!(wal.append(&batch(4, 0), durability).err(), Some(refused.clone()), "{what}");
        }
        assert_eq!(wal.drain(), Err(refused.clone()), "{what}");
        assert_eq!(wal.close(), Err(refused), "{what}");
        assert_eq!(fs.counts().ops, ops, "{what}: nothing is tried again");
        assert_eq!(*log.seen.applied.lock(), [1, 2, 3], "{what}");
        fs.crash(Unsynced::Lost);
        assert_eq!(log.replayed(), numbered(0..3), "{what}");
    }
}

#[test]
fn a_panic_while_applying_leaves_nobody_waiting() {
    let fs = SimFs::new(9);
    let mut log = Log::on(&fs);
    log.seen = Arc::new(Seen { panics: true, ..Seen::default() });
    let wal = log.open();
    assert_eq!(write(&wal, 1).unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(wal.drain().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(write(&wal, 2).unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn interval_writes_reach_the_disk_by_themselves_and_none_only_the_system() {
    let run = |durability, unsynced| {
        let fs = SimFs::new(9);
        let mut log = Log::on(&fs);
        log.options.interval = Duration::from_millis(5);
        let wal = log.open();
        let (_, commit) = wal.append(&batch(1, 10), durability).unwrap();
        commit.wait().unwrap();
        while wal.stats().groups == 0 || (durability == Durability::Interval && wal.stats().durable_seq == 0) {
            std::thread::sleep(Duration::from_millis(1));
        }
        fs.crash(unsynced);
        drop(wal);
        assert!(log.seen.applied.lock().is_empty(), "the caller applies");
        log.replayed()
    };
    assert_eq!(run(Durability::Interval, Unsynced::Lost), numbered([1]));
    assert_eq!(run(Durability::None, Unsynced::Kept), numbered([1]));
    assert_eq!(run(Durability::None, Unsynced::Lost), []);
}

#[test]
fn a_segment_is_on_disk_before_the_next_begins() {
    let fs = SimFs::new(9);
    let mut log = Log::on(&fs);
    log.options.interval = Duration::ZERO;
    let wal = log.open();
    for value in 0..30 {
        let groups = wal.stats().groups;
        wal.append(&batch(value, 20), Durability::None).unwrap().1.wait().unwrap();
        while wal.stats().groups == groups {
            std::thread::yield_now();
        }
    }
    let stats = wal.stats();
    assert!(stats.segments > 2 && stats.durable_seq < 30, "{stats:?}");
    let mut epochs: Vec<u64> = (1..=stats.segments).map(|n| records(&log.bytes(n))[0].epoch).collect();
    epochs.sort_unstable();
    epochs.dedup();
    assert_eq!(epochs.len() as u64, stats.segments, "every use of a file has its own epoch");
    fs.crash(Unsynced::Lost);
    drop(wal);
    assert_eq!(log.replayed(), numbered(0..stats.durable_seq as i64));
}

#[test]
fn a_batch_too_long_is_invalid() {
    let fs = SimFs::new(9);
    let wal = Log::on(&fs).open();
    let rows = Rows {
        table: TableId(1),
        tier: Tier::RAW,
        series: vec![SeriesId(0); 1 << 22],
        times_ns: vec![0; 1 << 22],
        fields: vec![(FieldId(0), Column::Boolean(vec![true; 1 << 22]))],
    };
    let error = wal.append(&Arc::new(Batch { rows: vec![rows], ..Batch::default() }), Durability::Sync).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(wal.stats().last_seq, 0);
}

#[test]
fn a_refusing_reader_ends_the_replay() {
    let (_, log) = five();
    let mut calls = 0;
    let mut sink = |seq, _| {
        calls += 1;
        if seq == 3 { Err(rhythmite_model::Error::internal("enough")) } else { Ok(()) }
    };
    let error = Wal::open(log.env(), log.options.clone(), 0, 0, &mut sink, log.seen.clone()).err().unwrap();
    assert_eq!((error.message(), calls), ("enough", 3));
}
