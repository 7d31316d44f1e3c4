//! `[memory]`: what the server aims to hold, and which part of it gets how much.
//!
//! Parts that are not named get a share of the budget, within bounds: a memtable beyond 64 MiB makes loading no faster
//! (unless there are so many series that a flush would have a point or two of each), and
//! a cache of decoded points is soon as fast as pages that the system has in memory. What a request brings (its body,
//! its answer) and the names of series come on top; they have limits of their own.

use std::fs;

use rhythmite_model::{Error, Result};
use serde::Deserialize;

use super::value::Size;

const MIB: u64 = 1 << 20;
/// Where the machine does not say how much memory it has.
const MACHINE_BYTES: u64 = 2048 * MIB;
/// The least budget that can be shared out.
const BUDGET_MIN: u64 = 128 * MIB;

/// `[memory]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// What all parts take together; a quarter of the machine's (or the container's) memory if it is not given.
    pub budget: Option<Size>,
    /// Size at which the memtable is flushed; at twice the size writes are refused.
    pub memtable: Option<Size>,
    /// Size of the indexes of files that are kept in memory; others are loaded when they are asked for.
    pub index_cache: Option<Size>,
    /// Points of files that are kept decoded for the next query.
    pub decoded_cache: Option<Size>,
    /// Pages of files that are kept unpacked, points still encoded: many more of them than decoded ones.
    pub page_cache: Option<Size>,
}

/// What each part may take, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// All of it.
    pub budget: u64,
    /// One memtable; there may be two.
    pub memtable: u64,
    /// The same with many series.
    pub memtable_many: u64,
    /// Indexes of files.
    pub index_cache: u64,
    /// Decoded points of files.
    pub decoded_cache: u64,
    /// Unpacked pages of files.
    pub page_cache: u64,
    /// SQL queries together; 0 is no limit.
    pub queries: u64,
}

impl Memory {
    /// What each part gets on a machine with so much memory; `queries` is `[query] memory`.
    ///
    /// # Errors
    /// `Invalid` when the budget is too small, or smaller than what its parts are given.
    pub fn shares(&self, machine_bytes: u64, queries: Option<Size>) -> Result<Shares> {
        let budget = self.budget.map_or((machine_bytes / 4).max(BUDGET_MIN), |budget| budget.0);
        if budget < BUDGET_MIN {
            return Err(Error::invalid(format!("[memory] budget = {budget}: must be at least {BUDGET_MIN}")));
        }
        let share = |given: Option<Size>, part: u64, (least, most): (u64, u64)| {
            given.map_or((budget / part).clamp(least * MIB, most * MIB), |given| given.0)
        };
        let index_cache = share(self.index_cache, 16, (16, 256));
        let decoded_cache = share(self.decoded_cache, 64, (8, 32));
        let page_cache = share(self.page_cache, 64, (4, 32));
        let queries = share(queries, 4, (64, 1024));
        let others = [index_cache, decoded_cache, page_cache, queries].into_iter().fold(0, u64::saturating_add);
        // Two memtables get what the others leave, but no more than half of all.
        let memtable_many = (budget.saturating_sub(others) / 2).min(budget / 4).max(8 * MIB);
        let shares = Shares {
            budget,
            memtable: share(self.memtable, 32, (8, 64)),
            memtable_many: self.memtable.map_or(memtable_many, |given| given.0),
            index_cache,
            decoded_cache,
            page_cache,
            queries,
        };
        let sum = others.saturating_add(shares.memtable_many.saturating_mul(2));
        if self.budget.is_some() && sum > budget {
            return Err(Error::invalid(format!(
                "[memory] budget = {budget}: two memtables, index_cache, decoded_cache, page_cache and [query] memory take {sum} together"
            )));
        }
        Ok(shares)
    }
}

/// Memory of the machine, or of the container if that is less, in bytes.
pub(super) fn of_machine() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").ok();
    let machine = meminfo.as_deref().and_then(total_of).unwrap_or(MACHINE_BYTES);
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limit = |path: &&str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    limits.iter().filter_map(limit).fold(machine, u64::min)
}

fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_of_every_size_get_shares_that_fit() {
        for (machine_mib, [budget, memtable, many, index, decoded, pages, queries]) in [
            (64, [128, 8, 18, 16, 8, 4, 64]),
            (1024, [256, 8, 64, 16, 8, 4, 64]),
            (4096, [1024, 32, 256, 64, 16, 16, 256]),
            (24 * 1024, [6144, 64, 1536, 256, 32, 32, 1024]),
            (1 << 20, [262_144, 64, 65_536, 256, 32, 32, 1024]),
        ] {
            let shares = Memory::default().shares(machine_mib * MIB, None).unwrap();
            let expected = Shares {
                budget: budget * MIB,
                memtable: memtable * MIB,
                memtable_many: many * MIB,
                index_cache: index * MIB,
                decoded_cache: decoded * MIB,
                page_cache: pages * MIB,
                queries: queries * MIB,
            };
            assert_eq!(shares, expected, "{machine_mib}");
            let caches = shares.index_cache + shares.decoded_cache + shares.page_cache;
            let parts = 2 * shares.memtable_many + caches + shares.queries;
            assert!(parts <= shares.budget, "{machine_mib}: {parts}");
        }
    }

    #[test]
    fn a_budget_holds_its_parts() {
        let memory = |budget, memtable: Option<u64>| Memory {
            budget: Some(Size::mib(budget)),
            memtable: memtable.map(Size::mib),
            ..Memory::default()
        };
        for (memory, queries, holds) in [
            (memory(127, None), None, false),
            (memory(128, None), None, true),
            (memory(256, Some(80)), None, true),
            (memory(256, Some(90)), None, false),
            (memory(512, None), Some(600), false),
            (memory(512, None), Some(0), true),
        ] {
            let shares = memory.shares(MACHINE_BYTES, queries.map(Size::mib));
            assert_eq!(shares.is_ok(), holds, "{memory:?} {queries:?} {shares:?}");
        }
    }

    #[test]
    fn the_machine_is_asked() {
        assert_eq!(total_of("MemTotal:       2 kB\nMemFree: 1 kB"), Some(2048));
        assert_eq!(total_of("MemFree: 1 kB"), None);
        assert!(of_machine() > 0);
    }
}
