//! Damaged copies of the catalogue whose checksums agree: what is made of one is a catalogue or an error, never a panic.
//!
//! `RHYTHMITE_FUZZ_ROUNDS` and `RHYTHMITE_FUZZ_SEED` as of the engine's files.

use rhythmite_engine::manifest::{Edit, Manifest, TombstoneId, TombstoneRecord};
use rhythmite_env::{Random, SeededRandom};
use rhythmite_model::{SeriesId, SeriesSet, TableId, Tombstone};

use super::tests::record;
use super::*;

/// A copy with rows of every kind.
async fn copy(dir: &Path) -> Vec<u8> {
    let catalog = Catalog::open_in(&Env::real(), dir).unwrap();
    let policy = catalog.create_database("d", NewPolicy::autogen()).await.unwrap().unwrap();
    catalog.create_policy("d", NewPolicy::raw("week", 604_800_000_000_000)).await.unwrap();
    let series = SeriesSet::list([SeriesId(1), SeriesId(5)]);
    let tombstone = Tombstone { table: TableId(0), series, fields: None, times_ns: -5..=i64::MAX };
    let edit = Edit {
        add_files: vec![record("0000000001", policy.id), record("0000000002", policy.id)],
        add_tombstones: vec![TombstoneRecord { id: TombstoneId { seq: 7, ordinal: 0 }, tombstone }],
        flushed_seq: Some(12),
        ..Edit::default()
    };
    tokio::task::spawn_blocking(move || catalog.manifest().commit(&edit)).await.unwrap().unwrap();
    std::fs::read(copy_in(dir)).unwrap()
}

/// Pieces that mean something somewhere.
const PIECES: [&str; 16] = [
    "null",
    "{}",
    "[]",
    "\"\"",
    "-1",
    "9223372036854775808",
    "1e400",
    "{\"hex\":\"0\"}",
    "{\"hex\":\"ff\"}",
    "\\u0000",
    ",",
    "\"",
    "file",
    "policy",
    "[[1],[2]]",
    "0",
];

fn damaged(good: &[u8], chance: &SeededRandom) -> Vec<u8> {
    let below = |n: usize| (chance.next_u64() % n.max(1) as u64) as usize;
    let mut lines: Vec<String> = String::from_utf8_lossy(good).lines().map(|line| line[9..].to_owned()).collect();
    for _ in 0..=below(3) {
        let at = below(lines.len());
        let line = &mut lines[at];
        let place = |line: &str| {
            let mut at = below(line.len() + 1);
            while !line.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let (a, b) = (place(line), place(line));
        let (from, to) = (a.min(b), a.max(b).min(a.min(b) + 40));
        let to = (from..=to).rev().find(|to| line.is_char_boundary(*to)).unwrap_or(from);
        match below(5) {
            0 => drop(lines.remove(at)),
            1 => lines.push(lines[at].clone()),
            // A number or word in place of another leaves the JSON whole.
            2 | 3 => {
                let digits: Vec<usize> =
                    line.match_indices(|c: char| c.is_ascii_digit()).map(|found| found.0).collect();
                if let Some(&at) = digits.get(below(digits.len())) {
                    line.replace_range(at..at + 1, PIECES[below(PIECES.len())]);
                }
            }
            _ => line.replace_range(from..to, PIECES[below(PIECES.len())]),
        }
        if lines.is_empty() {
            break;
        }
    }
    let sealed = lines.iter().map(|json| format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes())));
    sealed.collect::<String>().into_bytes()
}

#[test]
fn damaged_copies_are_made_a_catalogue_of_or_refused() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().expect(name));
    let (rounds, seed) = (number("RHYTHMITE_FUZZ_ROUNDS", 300), number("RHYTHMITE_FUZZ_SEED", 1));
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let env = Env::real();
    let (good, rebuilt) = runtime.block_on(async {
        let good = copy(dir.path()).await;
        (good, rescue::rebuild(&env, dir.path()).await.unwrap())
    });
    assert_eq!(rebuilt.contents.1.files.len(), 2);
    let chance = SeededRandom::new(seed);
    let mut made = 0;
    for round in 0..rounds {
        let bytes = damaged(&good, &chance);
        std::fs::write(copy_in(dir.path()), &bytes).unwrap();
        let (dir, env) = (dir.path().to_owned(), env.clone());
        // A thread of its own: its panic is an error here.
        let rebuild = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(rescue::rebuild(&env, &dir)).is_ok()
        };
        match std::thread::spawn(rebuild).join() {
            Ok(is_made) => made += u64::from(is_made),
            Err(_) => panic!("seed {seed}, round {round} panicked\n{}", String::from_utf8_lossy(&bytes)),
        }
    }
    assert!(made < rounds && (made > 0 || rounds < 100), "{made} of {rounds} were taken");
}
