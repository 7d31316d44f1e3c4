//! All names, and how they are looked up. Changes are made by [`Creator`](super::Creator) and by replay only.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rhythmite_model::{FieldId, FieldType, KeyKind, PolicyId, Result, RollupRule, SeriesId, SeriesSet, TableId};
use roaring::RoaringBitmap;

use super::journal::Journal;
use super::paths::{GlobStep, PathIndex, Want};
use super::postings::Posting;
use super::sequences::Sequences;
use super::stats::{HeapBytes, Refused, RefusedSeries, Stats};
use super::tags::{TagExpr, TagIndex};
use super::text::{Arena, Numbers, Paged, Symbol, Symbols, Text};
use super::values::{TagValues, TagValuesNews};

/// A series' place in memory: dense, small, never stored. Good for as long as the guard it was got from; a place
/// carried over to a later guard must be verified (by [`Directory::series_id`] or by comparing keys), for the place
/// of a dropped series is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

/// Within what a key is unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Keys with measurement and tags: one policy.
    Policy(PolicyId),
    /// All Graphite paths.
    Paths,
}

impl Scope {
    /// The scope of the tables of `kind` in `policy`.
    pub fn of(kind: KeyKind, policy: PolicyId) -> Self {
        match kind {
            KeyKind::Tagged => Scope::Policy(policy),
            KeyKind::Path => Scope::Paths,
        }
    }

    pub(super) fn code(self) -> u64 {
        match self {
            Scope::Policy(policy) => u64::from(policy.0),
            Scope::Paths => u64::MAX,
        }
    }
}

/// What [`Directory::find_paths`] found, in the order of the nodes' texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The current series of each path; older ones by [`Directory::older_series`].
    pub leaves: Vec<Slot>,
    /// Paths that have paths below them.
    pub branches: Vec<String>,
}

pub(super) const NO_SLOT: u32 = u32::MAX;
pub(super) const NO_RULE: u32 = 0;
pub(super) const DEAD: u32 = u32::MAX;

/// 24 bytes.
pub(super) struct Record {
    pub(super) id: SeriesId,
    pub(super) key: Text,
    /// Number of the rule plus one, `NO_RULE`, or `DEAD` for a series that is gone.
    pub(super) rule: u32,
    /// The series that came after this one last time.
    pub(super) next: AtomicU32,
}

pub(super) struct Field {
    pub(super) name: Symbol,
    pub(super) field_type: FieldType,
}

/// One table.
pub struct Table {
    pub(super) id: TableId,
    pub(super) policy: PolicyId,
    pub(super) name: String,
    pub(super) kind: KeyKind,
    pub(super) fields: Vec<Field>,
    pub(super) series: Posting,
    pub(super) tags: TagIndex,
}

impl Table {
    /// Its number.
    pub fn id(&self) -> TableId {
        self.id
    }

    /// The policy that its rows are kept by.
    pub fn policy(&self) -> PolicyId {
        self.policy
    }

    /// Measurement.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How its series are named.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Number of series.
    pub fn series_count(&self) -> u64 {
        self.series.len()
    }

    /// Number of fields.
    pub fn field_count(&self) -> usize {
        self.fields.len()
    }

    pub(super) fn scope(&self) -> Scope {
        Scope::of(self.kind, self.policy)
    }
}

/// How many series a scope has.
#[derive(Clone, Copy, Default)]
pub(super) struct Census {
    pub(super) series: u64,
    pub(super) hour: i64,
    pub(super) new_this_hour: u64,
}

/// Every name of the process. Reached through the guards of a [`Registry`](super::Registry).
#[derive(Default)]
pub struct Directory {
    pub(super) arena: Arena,
    /// Bytes of the arena that belong to series that are gone.
    pub(super) arena_dead_bytes: usize,
    pub(super) records: Paged<Record>,
    /// Slots that can be used again.
    pub(super) free: Vec<u32>,
    pub(super) live: usize,
    pub(super) numbers: Numbers,
    pub(super) sequences: Sequences,
    /// The next older series of the same path.
    pub(super) older: HashMap<u32, u32>,
    pub(super) rules: Vec<RollupRule>,
    pub(super) rule_numbers: HashMap<(u8, u32, i64), u32>,
    pub(super) tables: Vec<Option<Box<Table>>>,
    pub(super) table_names: HashMap<PolicyId, BTreeMap<String, TableId>>,
    pub(super) symbols: Symbols,
    pub(super) paths: PathIndex,
    pub(super) census: HashMap<Scope, Census>,
    /// One above the largest sequence number ever used.
    pub(super) next_sequence: u64,
    pub(super) journal: Journal,
    pub(super) refused: Refused,
    pub(super) refused_series: RefusedSeries,
    /// Finds that a limit ended.
    pub(super) refused_finds: AtomicU64,
}

/// Look-ups by key: the path of every row that comes in.
impl Directory {
    /// The series with exactly this (canonical) key. A path that is in several tables gives its current series.
    pub fn find_series(&self, scope: Scope, key: &[u8]) -> Option<Slot> {
        self.find_hashed(self.numbers.hash(scope.code(), key), scope, key).map(Slot)
    }

    pub(super) fn find_hashed(&self, hash: u32, scope: Scope, key: &[u8]) -> Option<u32> {
        self.numbers.find(hash, |slot| {
            let record = &self.records[slot];
            self.arena.bytes(record.key) == key && self.scope_of(record) == Some(scope)
        })
    }

    /// The series that followed `previous` the last time, if it is in `scope`, and its key.
    pub fn predict(&self, scope: Scope, previous: Slot) -> Option<(Slot, &[u8])> {
        let next = self.records.get(previous.0)?.next.load(Ordering::Relaxed);
        let record = self.records.get(next).filter(|r| r.rule != DEAD)?;
        (self.scope_of(record) == Some(scope)).then(|| (Slot(next), self.arena.bytes(record.key)))
    }

    /// Notes that `this` came after `previous`.
    pub fn learn(&self, previous: Slot, this: Slot) {
        if let Some(record) = self.records.get(previous.0)
            && record.next.load(Ordering::Relaxed) != this.0
        {
            record.next.store(this.0, Ordering::Relaxed);
        }
    }

    /// [`find_series`](Self::find_series), first trying what followed `previous` and learning what does.
    pub fn find_after(&self, scope: Scope, previous: Option<Slot>, key: &[u8]) -> Option<Slot> {
        if let Some(previous) = previous
            && let Some((slot, text)) = self.predict(scope, previous)
            && text == key
        {
            return Some(slot);
        }
        let slot = self.find_series(scope, key)?;
        if let Some(previous) = previous {
            self.learn(previous, slot);
        }
        Some(slot)
    }

    fn scope_of(&self, record: &Record) -> Option<Scope> {
        self.table(record.id.table()).map(Table::scope)
    }
}

/// Series by number.
impl Directory {
    /// The place of a series; `None` if it is gone or was never made.
    pub fn slot(&self, id: SeriesId) -> Option<Slot> {
        let slot = self.sequences.get(id.0 as u32)?;
        (self.records[slot].id == id).then_some(Slot(slot))
    }

    /// Whether a number was given out at some time: rows of such a series that is not there belong to a dropped one.
    pub fn was_made(&self, id: SeriesId) -> bool {
        u64::from(id.0 as u32) < self.next_sequence
    }

    /// The slot of a sequence number, whatever the rest of its series' number is.
    pub(super) fn slot_of_sequence(&self, id: SeriesId) -> Option<u32> {
        self.sequences.get(id.0 as u32)
    }

    /// The number of the series in `slot`. Of a series that is gone it is still the old one.
    pub fn series_id(&self, slot: Slot) -> SeriesId {
        self.records[slot.0].id
    }

    /// The canonical key.
    pub fn key(&self, slot: Slot) -> &str {
        self.arena.get(self.records[slot.0].key)
    }

    /// The rule of a Graphite series.
    pub fn rollup(&self, slot: Slot) -> Option<RollupRule> {
        match self.records[slot.0].rule {
            NO_RULE | DEAD => None,
            rule => Some(self.rules[rule as usize - 1]),
        }
    }

    /// Earlier series of the same path, in other tables (the path's policy has changed), newest first.
    pub fn older_series(&self, slot: Slot) -> impl Iterator<Item = Slot> {
        std::iter::successors(self.older.get(&slot.0).copied(), |s| self.older.get(s).copied()).map(Slot)
    }

    /// The numbers of the series in a set, ascending.
    pub fn ids(&self, slots: &RoaringBitmap) -> Vec<SeriesId> {
        let mut ids: Vec<_> = slots.iter().map(|slot| self.records[slot].id).collect();
        ids.sort_unstable();
        ids
    }

    /// The series of a table (those in `within`) in the order of their keys. Sorts: n log n text comparisons.
    pub fn series_by_key(&self, table: TableId, within: Option<&RoaringBitmap>) -> Vec<Slot> {
        let Some(table) = self.table(table) else { return Vec::new() };
        let mut set = table.series.to_bitmap();
        if let Some(within) = within {
            set &= within;
        }
        let mut slots: Vec<_> = set.into_iter().map(Slot).collect();
        slots.sort_unstable_by_key(|&slot| self.key(slot));
        slots
    }

    /// The series of a table that are in a set, ascending. Looks at each series of the table.
    pub fn series_of(&self, table: TableId, set: &SeriesSet) -> Vec<SeriesId> {
        let Some(table) = self.table(table) else { return Vec::new() };
        let ids = table.series.to_bitmap().into_iter().map(|slot| self.records[slot].id);
        let mut ids: Vec<_> = ids.filter(|&id| set.contains(id)).collect();
        ids.sort_unstable();
        ids
    }

    /// Series of a table as a set of ids: `within`, or all.
    pub fn set(&self, table: TableId, within: Option<&RoaringBitmap>) -> SeriesSet {
        let slots = self.series(table);
        let mut all: Vec<_> = slots
            .into_iter()
            .map(|slot| (self.records[slot].id, within.is_none_or(|within| within.contains(slot))))
            .collect();
        all.sort_unstable();
        SeriesSet::select(all)
    }

    /// A set without numbers that no series has had yet.
    pub(crate) fn made_so_far(&self, set: &SeriesSet) -> SeriesSet {
        let Some(newest) = self.next_sequence.checked_sub(1) else { return SeriesSet::default() };
        // The number in a run is table, allocator (always 0) and sequence.
        let clip = |&(first, last): &(u64, u64)| (first, last.min(first >> 40 << 40 | newest));
        let runs = set.runs().iter().map(clip).filter(|run| run.0 <= run.1).collect();
        SeriesSet::from_runs(runs).unwrap_or_default()
    }

    /// All series of a table as a set of slots.
    pub fn series(&self, table: TableId) -> RoaringBitmap {
        self.table(table).map(|t| t.series.to_bitmap()).unwrap_or_default()
    }
}

/// Tables and fields.
impl Directory {
    /// A table by number.
    pub fn table(&self, id: TableId) -> Option<&Table> {
        self.tables.get(id.0 as usize)?.as_deref()
    }

    /// A table by name.
    pub fn find_table(&self, policy: PolicyId, name: &str) -> Option<&Table> {
        self.table(*self.table_names.get(&policy)?.get(name)?)
    }

    /// The tables of a policy in the order of their names.
    pub fn tables(&self, policy: PolicyId) -> impl Iterator<Item = &Table> {
        self.table_names.get(&policy).into_iter().flat_map(|names| names.values()).filter_map(|&id| self.table(id))
    }

    /// Every table, in the order of numbers.
    pub fn all_tables(&self) -> impl Iterator<Item = &Table> {
        self.tables.iter().flatten().map(|t| &**t)
    }

    /// A field by name.
    pub fn find_field(&self, table: TableId, name: &str) -> Option<(FieldId, FieldType)> {
        let fields = &self.table(table)?.fields;
        let name = self.symbols.find(name)?;
        let at = fields.iter().position(|f| f.name == name)?;
        Some((FieldId(at as u16), fields[at].field_type))
    }

    /// A field by number.
    pub fn field(&self, table: TableId, id: FieldId) -> Option<(&str, FieldType)> {
        let field = self.table(table)?.fields.get(usize::from(id.0))?;
        Some((self.symbols.text(field.name), field.field_type))
    }

    /// The fields of a table in the order of numbers, which is that of their making.
    pub fn fields(&self, table: TableId) -> impl Iterator<Item = (FieldId, &str, FieldType)> {
        let fields = self.table(table).map(|t| t.fields.as_slice()).unwrap_or_default();
        fields.iter().enumerate().map(|(at, f)| (FieldId(at as u16), self.symbols.text(f.name), f.field_type))
    }
}

/// Searches.
impl Directory {
    /// The series of a table for which a condition on tags holds, as a set of slots (see [`ids`](Self::ids)). Costs a
    /// trial per distinct value of the keys named, and bitmap operations.
    ///
    /// # Errors
    /// `Invalid` if the condition nests too deeply.
    pub fn select(&self, table: TableId, condition: &TagExpr) -> Result<RoaringBitmap> {
        match self.table(table) {
            Some(table) => table.tags.select(&self.symbols, &table.series, condition),
            None => Ok(RoaringBitmap::new()),
        }
    }

    /// Tag keys of the series of these tables (of those in `within`), sorted, with the number of series that have
    /// each.
    pub fn tag_keys(&self, tables: &[TableId], within: Option<&RoaringBitmap>) -> Vec<(&str, u64)> {
        let tables = tables.iter().filter_map(|&t| self.table(t));
        summed(tables.flat_map(|t| t.tags.keys(&self.symbols, within)).collect())
    }

    /// Values of a tag, sorted, with the number of series (of those in `within`) that have each.
    pub fn tag_values(&self, tables: &[TableId], key: &str, within: Option<&RoaringBitmap>) -> Vec<(&str, u64)> {
        let tables = tables.iter().filter_map(|&t| self.table(t));
        summed(tables.flat_map(|t| t.tags.values(&self.symbols, key, within)).collect())
    }

    /// Calls `f` with each value of a tag (that a series of `within` has), in no order; with several tables perhaps more
    /// than once.
    pub fn each_tag_value(
        &self,
        tables: &[TableId],
        key: &str,
        within: Option<&RoaringBitmap>,
        f: &mut dyn FnMut(&str),
    ) {
        let tables = tables.iter().filter_map(|&t| self.table(t));
        tables.flat_map(|t| t.tags.values(&self.symbols, key, within)).for_each(|(value, _)| f(value));
    }

    /// Whether a series of a table has this tag.
    pub fn has_tag(&self, table: TableId, key: &str) -> bool {
        self.table(table).is_some_and(|table| table.tags.has(&self.symbols, key))
    }

    /// Of a tag that a series of a table has: the number of its key, and one that is another whenever a value of it
    /// comes or goes.
    pub fn tag_version(&self, table: TableId, key: &str) -> Option<(u32, u64)> {
        self.table(table)?.tags.version(&self.symbols, key)
    }

    /// What has changed of the values of a tag of one table since `known`: for [`TagValues::with`], which takes longer and
    /// needs no lock.
    pub fn tag_values_news(&self, table: TableId, key: &str, known: &TagValues) -> Option<TagValuesNews> {
        Some(self.table(table)?.tags.news(&self.symbols, key, known))
    }

    /// The numbers, ascending, of those of the values of a tag that a series of `within` has.
    pub fn tag_values_within(&self, table: TableId, key: &str, known: &TagValues, within: &RoaringBitmap) -> Vec<u32> {
        let table = self.table(table);
        table.map(|t| t.tags.values_within(&self.symbols, key, known, within)).unwrap_or_default()
    }

    /// The untagged paths that the whole of `glob` matches.
    ///
    /// # Errors
    /// `Invalid` if there are more than `limit` results, if the glob has more than
    /// [`PATH_DEPTH_MAX`](super::PATH_DEPTH_MAX) segments, or if it takes a second or more.
    pub fn find_paths(&self, glob: &[GlobStep<'_>], want: Want, limit: usize) -> Result<Found> {
        let found = self.paths.find(&self.symbols, glob, want, limit);
        let found = found.inspect_err(|_| {
            self.refused_finds.fetch_add(1, Ordering::Relaxed);
        })?;
        Ok(Found { leaves: found.leaves.into_iter().map(Slot).collect(), branches: found.branches })
    }

    /// Counts and sizes. Walks the indexes: milliseconds per million series.
    pub fn stats(&self) -> Stats {
        let tables = self.all_tables().map(|t| {
            size_of::<Table>() + t.name.len() + t.fields.capacity() * size_of::<Field>() + t.series.heap_bytes()
        });
        let heap = HeapBytes {
            keys: self.arena.heap_bytes() + self.records.heap_bytes() + self.free.capacity() * 4,
            key_hashes: self.numbers.heap_bytes(),
            ids: self.sequences.heap_bytes() + self.older.capacity() * 9,
            symbols: self.symbols.heap_bytes(),
            tags: self.all_tables().map(|t| t.tags.heap_bytes()).sum(),
            paths: self.paths.heap_bytes(),
            tables: tables.sum::<usize>() + self.tables.capacity() * size_of::<usize>(),
            journal: self.journal.heap_bytes(),
        };
        Stats {
            tables: self.all_tables().count(),
            series: self.live,
            paths: self.paths.leaves(),
            symbols: self.symbols.len(),
            dead_slots: self.records.len() - self.live - self.free.len(),
            free_slots: self.free.len(),
            dead_key_bytes: self.arena_dead_bytes,
            unflushed: self.journal.len(),
            heap,
            refused: Refused {
                series: self.refused_series.by_number.load(Ordering::Relaxed),
                series_rate: self.refused_series.by_rate.load(Ordering::Relaxed),
                finds: self.refused_finds.load(Ordering::Relaxed),
                ..self.refused
            },
        }
    }
}

/// Sums the counts of equal texts and sorts them.
fn summed(mut counts: Vec<(&str, u64)>) -> Vec<(&str, u64)> {
    counts.sort_unstable();
    counts.dedup_by(|from, into| {
        let same = from.0 == into.0;
        if same {
            into.1 += from.1;
        }
        same
    });
    counts
}
