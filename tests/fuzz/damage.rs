//! Bytes made by damaging good ones, for the fuzz tests of packages that read bytes from outside. Included by them.
//!
//! Every seed is first cut at each of its bytes (where a parser is costly, at every so manieth). Then come the inputs that once failed (`data/regressions.txt`, a line
//! `KIND HEX` each), then as many at random as `RHYTHMITE_FUZZ_ROUNDS` says (a few thousand without it), or as
//! `RHYTHMITE_FUZZ_SECONDS` leave time for; `RHYTHMITE_FUZZ_SEED` is where to begin. What fails is printed as a line for
//! the regressions. `.ci/fuzz` goes on until it is stopped.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

const ROUNDS: u64 = 5_000;
/// Longest time for one input: a second, and what a debug build on a busy machine takes longer.
const PATIENCE: Duration = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 1 });
/// Longest input; the limits on length have tests of their own.
const BYTES_MAX: usize = 64 << 10;

/// A parser, what it reads when all is well, and pieces that mean something to it.
pub struct Target<'a> {
    pub kind: &'a str,
    pub seeds: Vec<Vec<u8>>,
    pub pieces: &'a [&'a [u8]],
    /// How many times as long as others it may take: of the cuts and the rounds only every so manieth is made.
    pub cost: usize,
    /// Reads it; panics if something is wrong.
    pub read: &'a dyn Fn(&[u8]),
}

/// xorshift64*: the same seed, the same inputs.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Runs all of it.
#[allow(clippy::disallowed_methods, reason = "how long it takes is part of what is tested")]
pub fn run(target: &Target<'_>, regressions: &str) {
    for seed in &target.seeds {
        (0..=seed.len()).step_by(target.cost).for_each(|end| check(target, &seed[..end]));
    }
    for line in regressions.lines().filter(|line| !line.starts_with('#')) {
        let (kind, hex) = line.split_once(' ').expect("KIND HEX");
        if kind == target.kind {
            check(target, &unhex(hex));
        }
    }
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let seconds = number("RHYTHMITE_FUZZ_SECONDS").map(Duration::from_secs);
    let rounds = number("RHYTHMITE_FUZZ_ROUNDS").unwrap_or(if seconds.is_some() { u64::MAX } else { ROUNDS })
        / target.cost as u64;
    let mut random = Random(number("RHYTHMITE_FUZZ_SEED").unwrap_or(1).max(1));
    let begun = Instant::now();
    let mut done = 0;
    while done < rounds && seconds.is_none_or(|seconds| begun.elapsed() < seconds) {
        check(target, &damaged(&mut random, target));
        done += 1;
    }
    if seconds.is_some() {
        println!("{}: {done} inputs in {:?}, nothing found", target.kind, begun.elapsed());
    }
}

fn check(target: &Target<'_>, input: &[u8]) {
    let hex = || input.iter().map(|b| format!("{b:02x}")).collect::<String>();
    // What is slow is slow again; a machine that had other things to do is not, by the time this thread had a processor.
    for time in [wall_time, processor_time, processor_time] {
        let (read, took) = timed(time, || catch_unwind(AssertUnwindSafe(|| (target.read)(input))));
        assert!(read.is_ok(), "\n{} {}\nis what failed: {:?}", target.kind, hex(), String::from_utf8_lossy(input));
        if took < PATIENCE {
            return;
        }
    }
    panic!("\n{} {}\ntook more than {PATIENCE:?}, three times", target.kind, hex());
}

fn timed<T>(time: fn() -> Duration, run: impl FnOnce() -> T) -> (T, Duration) {
    let begun = time();
    let done = run();
    (done, time().saturating_sub(begun))
}

#[allow(clippy::disallowed_methods, reason = "how long it takes is part of what is tested")]
fn wall_time() -> Duration {
    static BEGUN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    BEGUN.get_or_init(Instant::now).elapsed()
}

/// How long this thread has had a processor, where Linux tells it.
fn processor_time() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let ns = told.and_then(|text| text.split(' ').next()?.parse().ok());
    ns.map_or_else(wall_time, Duration::from_nanos)
}

fn damaged(random: &mut Random, target: &Target<'_>) -> Vec<u8> {
    let mut bytes = target.seeds[random.below(target.seeds.len())].clone();
    for _ in 0..=random.below(6) {
        let (a, b) = (random.below(bytes.len() + 1), random.below(bytes.len() + 1));
        let (from, to) = (a.min(b), a.max(b));
        bytes = match random.below(8) {
            0 => [&bytes[..from], &bytes[to..]].concat(),
            1 => [&bytes[..to], &bytes[from..]].concat(),
            2 => [&bytes[..from], target.pieces[random.below(target.pieces.len())], &bytes[from..]].concat(),
            3 => [&bytes[..from], target.pieces[random.below(target.pieces.len())], &bytes[to..]].concat(),
            4 => {
                let other = &target.seeds[random.below(target.seeds.len())];
                [&bytes[..from], &other[random.below(other.len() + 1)..]].concat()
            }
            // Numbers of lengths and types change by little, or to what is largest.
            5 => with(bytes, from, |b| b.wrapping_add(1)),
            6 => with(bytes, from, |_| 0xff),
            _ => {
                let bit = 1 << random.below(8);
                with(bytes, from, |b| b ^ bit)
            }
        };
        bytes.truncate(BYTES_MAX);
    }
    bytes
}

fn with(mut bytes: Vec<u8>, at: usize, change: impl Fn(u8) -> u8) -> Vec<u8> {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = change(*byte);
    }
    bytes
}

/// The bytes that a text of hexadecimal digits stands for.
pub fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hexadecimal digits")).collect()
}
