//! All names, and how they are looked up. Changes are made by [`Creator`](super::Creator) and by replay only.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};

use rhythmite_model::{Error, FieldId, FieldType, KeyKind, PolicyId, Result, RollupRule, SeriesId, TableId};
use roaring::RoaringBitmap;

use super::journal::Journal;
use super::key;
use super::paths::{self, GlobStep, PathIndex, Want};
use super::postings::Posting;
use super::stats::{HeapBytes, Refused, Stats};
use super::tags::{TagExpr, TagIndex};
use super::text::{Arena, Numbers, Paged, Symbol, Symbols, Text};

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

    fn code(self) -> u64 {
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

const NO_SLOT: u32 = u32::MAX;
const NO_RULE: u32 = 0;
const DEAD: u32 = u32::MAX;

/// 24 bytes.
pub(super) struct Record {
    pub(super) id: SeriesId,
    pub(super) key: Text,
    /// Number of the rule plus one, `NO_RULE`, or `DEAD` for a series that is gone.
    rule: u32,
    /// The series that came after this one last time.
    next: AtomicU32,
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

/// Slots by sequence number, in pages that go when all of their series are gone.
#[derive(Default)]
struct Sequences {
    pages: Vec<(u16, Option<Box<[u32]>>)>,
}

const SEQUENCE_PAGE: usize = 4096;

impl Sequences {
    fn get(&self, sequence: u32) -> Option<u32> {
        let (_, page) = self.pages.get(sequence as usize / SEQUENCE_PAGE)?;
        page.as_ref().map(|p| p[sequence as usize % SEQUENCE_PAGE]).filter(|&slot| slot != NO_SLOT)
    }

    fn set(&mut self, sequence: u32, slot: u32) {
        let at = sequence as usize / SEQUENCE_PAGE;
        if self.pages.len() <= at {
            self.pages.resize_with(at + 1, Default::default);
        }
        let (live, page) = &mut self.pages[at];
        let place =
            &mut page.get_or_insert_with(|| vec![NO_SLOT; SEQUENCE_PAGE].into())[sequence as usize % SEQUENCE_PAGE];
        *live += u16::from(*place == NO_SLOT);
        *place = slot;
    }

    fn remove(&mut self, sequence: u32) {
        let Some((live, page)) = self.pages.get_mut(sequence as usize / SEQUENCE_PAGE) else { return };
        if let Some(slots) = page {
            *live -= u16::from(slots[sequence as usize % SEQUENCE_PAGE] != NO_SLOT);
            slots[sequence as usize % SEQUENCE_PAGE] = NO_SLOT;
            if *live == 0 {
                *page = None;
            }
        }
    }

    fn heap_bytes(&self) -> usize {
        let full = self.pages.iter().filter(|(_, page)| page.is_some()).count();
        full * SEQUENCE_PAGE * 4 + self.pages.capacity() * size_of::<(u16, Option<Box<[u32]>>)>()
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
    arena: Arena,
    /// Bytes of the arena that belong to series that are gone.
    arena_dead_bytes: usize,
    records: Paged<Record>,
    /// Slots that can be used again.
    free: Vec<u32>,
    live: usize,
    numbers: Numbers,
    sequences: Sequences,
    /// The next older series of the same path.
    older: HashMap<u32, u32>,
    rules: Vec<RollupRule>,
    rule_numbers: HashMap<(u8, u32, i64), u32>,
    pub(super) tables: Vec<Option<Box<Table>>>,
    pub(super) table_names: HashMap<PolicyId, BTreeMap<String, TableId>>,
    pub(super) symbols: Symbols,
    paths: PathIndex,
    pub(super) census: HashMap<Scope, Census>,
    /// One above the largest sequence number ever used.
    pub(super) next_sequence: u64,
    pub(super) journal: Journal,
    pub(super) refused: Refused,
}

/// Look-ups by key: the path of every row that comes in.
impl Directory {
    /// The series with exactly this (canonical) key. A path that is in several tables gives its current series.
    pub fn find_series(&self, scope: Scope, key: &[u8]) -> Option<Slot> {
        self.find_hashed(self.numbers.hash(scope.code(), key), scope, key).map(Slot)
    }

    fn find_hashed(&self, hash: u32, scope: Scope, key: &[u8]) -> Option<u32> {
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

    /// The untagged paths that the whole of `glob` matches.
    ///
    /// # Errors
    /// `Invalid` if there are more than `limit` results, or if the glob has more than
    /// [`PATH_DEPTH_MAX`](super::PATH_DEPTH_MAX) segments.
    pub fn find_paths(&self, glob: &[GlobStep<'_>], want: Want, limit: usize) -> Result<Found> {
        let found = self.paths.find(&self.symbols, glob, want, limit)?;
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
            refused: self.refused,
        }
    }
}

/// Changes. None of them looks at limits or notes anything in the journal.
impl Directory {
    pub(super) fn table_mut(&mut self, id: TableId) -> Option<&mut Table> {
        self.tables.get_mut(id.0 as usize)?.as_deref_mut()
    }

    pub(super) fn add_table(&mut self, id: TableId, policy: PolicyId, name: &str, kind: KeyKind) {
        let at = id.0 as usize;
        if self.tables.len() <= at {
            self.tables.resize_with(at + 1, || None);
        }
        let table = Table {
            id,
            policy,
            name: name.into(),
            kind,
            fields: Vec::new(),
            series: Posting::default(),
            tags: TagIndex::default(),
        };
        self.tables[at] = Some(Box::new(table));
        self.table_names.entry(policy).or_default().insert(name.into(), id);
    }

    /// Takes a table and its series out; gives the slots that held them.
    pub(super) fn remove_table(&mut self, id: TableId) -> Vec<u32> {
        let Some(table) = self.table_mut(id) else { return Vec::new() };
        // The tag index goes as a whole: nothing needs to be taken out of it series by series.
        table.tags = TagIndex::default();
        let slots: Vec<u32> = table.series.to_bitmap().into_iter().collect();
        for &slot in &slots {
            self.remove_series(slot);
        }
        if let Some(table) = self.tables[id.0 as usize].take()
            && let Some(names) = self.table_names.get_mut(&table.policy)
        {
            names.remove(&table.name);
            if names.is_empty() {
                self.table_names.remove(&table.policy);
            }
        }
        slots
    }

    pub(super) fn add_field(&mut self, table: TableId, name: &str, field_type: FieldType) -> Result<()> {
        let name = self.symbols.intern(name)?;
        if let Some(table) = self.table_mut(table) {
            table.fields.push(Field { name, field_type });
        }
        Ok(())
    }

    /// Makes a series, and makes it the current one of its key if it is the newest of it.
    ///
    /// # Errors
    /// `Overloaded` if the arena or the slots are used up; nothing has been made then.
    pub(super) fn add_series(&mut self, id: SeriesId, key: &str, rollup: Option<RollupRule>) -> Result<Slot> {
        let (kind, scope) = match self.table(id.table()) {
            Some(table) => (table.kind, table.scope()),
            None => return Err(Error::internal(format!("series {:#x} of a table that does not exist", id.0))),
        };
        let rule = self.rule_number(rollup);
        let text = self.arena.push(key)?;
        let record = Record { id, key: text, rule, next: AtomicU32::new(NO_SLOT) };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.records[slot] = record;
                slot
            }
            None if self.records.len() >= NO_SLOT as usize => {
                return Err(Error::overloaded("the registry holds 4,294,967,295 series, which is its limit"));
            }
            None => {
                self.records.push(record);
                (self.records.len() - 1) as u32
            }
        };
        self.live += 1;
        self.sequences.set(id.0 as u32, slot);
        self.census.entry(scope).or_default().series += 1;
        let hash = self.numbers.hash(scope.code(), key.as_bytes());
        let mut current = true;
        match self.find_hashed(hash, scope, key.as_bytes()).filter(|&s| s != slot) {
            None => self.numbers.insert(hash, slot),
            Some(head) if self.records[head].id.0 as u32 > id.0 as u32 => {
                // Loaded out of order: it goes behind the newer ones.
                current = false;
                let mut newer = head;
                while let Some(&next) = self.older.get(&newer)
                    && self.records[next].id.0 as u32 > id.0 as u32
                {
                    newer = next;
                }
                if let Some(rest) = self.older.insert(newer, slot) {
                    self.older.insert(slot, rest);
                }
            }
            Some(head) => {
                self.numbers.replace(hash, head, Some(slot));
                self.older.insert(slot, head);
            }
        }
        self.index(id.table(), kind, key, slot, current).inspect_err(|_| {
            self.remove_series(slot);
            self.free.push(slot);
        })?;
        Ok(Slot(slot))
    }

    fn index(&mut self, id: TableId, kind: KeyKind, key: &str, slot: u32, current: bool) -> Result<()> {
        let table = self.tables[id.0 as usize].as_deref_mut().expect("the caller has looked it up");
        table.series.insert(slot);
        if !key::is_tagged(kind, key) {
            if current {
                self.paths.insert(&mut self.symbols, key, slot)?;
            }
            return Ok(());
        }
        for (ordinal, (k, v)) in key::tags(kind, key).enumerate() {
            table.tags.insert(&mut self.symbols, ordinal, (&k, &v), slot)?;
        }
        Ok(())
    }

    /// Takes a series out. Its slot is not free yet: text and number stay readable until it is given to
    /// [`release`](Self::release).
    pub(super) fn remove_series(&mut self, slot: u32) {
        let record = &self.records[slot];
        if record.rule == DEAD {
            return;
        }
        let (id, text) = (record.id, record.key);
        let Some(table) = self.tables.get_mut(id.table().0 as usize).and_then(|t| t.as_deref_mut()) else {
            return;
        };
        let (kind, scope) = (table.kind, table.scope());
        let key = self.arena.get(text);
        table.series.remove(slot);
        // Without a key in the index the table is on its way out as a whole.
        if key::is_tagged(kind, key) && table.tags.key_count() > 0 {
            for (ordinal, (k, v)) in key::tags(kind, key).enumerate() {
                table.tags.remove(&self.symbols, ordinal, (&k, &v), slot);
            }
        }
        let hash = self.numbers.hash(scope.code(), key.as_bytes());
        let older = self.older.remove(&slot);
        match self.find_hashed(hash, scope, self.arena.bytes(text)) {
            Some(head) if head == slot => {
                self.numbers.replace(hash, slot, older);
                if !key::is_tagged(kind, self.arena.get(text)) {
                    let key = self.arena.get(text);
                    match older {
                        // The way to the leaf exists: nothing is made that could fail.
                        Some(older) => drop(self.paths.insert(&mut self.symbols, key, older)),
                        None => self.paths.remove(&self.symbols, key),
                    }
                }
            }
            Some(head) => {
                let mut newer = head;
                while let Some(&next) = self.older.get(&newer) {
                    if next == slot {
                        match older {
                            Some(older) => self.older.insert(newer, older),
                            None => self.older.remove(&newer),
                        };
                        break;
                    }
                    newer = next;
                }
            }
            None => {}
        }
        self.sequences.remove(id.0 as u32);
        if let Some(census) = self.census.get_mut(&scope) {
            census.series = census.series.saturating_sub(1);
        }
        self.live -= 1;
        self.arena_dead_bytes += text.cost();
        self.records[slot].rule = DEAD;
    }

    /// Lets the slot of a series that is gone be used again.
    pub(super) fn release(&mut self, slot: u32) {
        self.free.push(slot);
    }

    /// Makes the series in `slot`, which exists, the current one of its path.
    pub(super) fn make_current(&mut self, slot: Slot) -> Result<()> {
        let record = &self.records[slot.0];
        let Some(table) = self.table(record.id.table()) else { return Ok(()) };
        let (kind, scope, text) = (table.kind, table.scope(), record.key);
        let hash = self.numbers.hash(scope.code(), self.arena.bytes(text));
        let Some(head) = self.find_hashed(hash, scope, self.arena.bytes(text)).filter(|&h| h != slot.0) else {
            return Ok(());
        };
        let key = self.arena.get(text);
        if !key::is_tagged(kind, key) {
            self.paths.insert(&mut self.symbols, key, slot.0)?;
        }
        let rest = self.older.remove(&slot.0);
        let mut newer = head;
        while let Some(&next) = self.older.get(&newer) {
            if next == slot.0 {
                match rest {
                    Some(rest) => self.older.insert(newer, rest),
                    None => self.older.remove(&newer),
                };
                break;
            }
            newer = next;
        }
        self.older.insert(slot.0, head);
        self.numbers.replace(hash, head, Some(slot.0));
        Ok(())
    }

    pub(super) fn set_rollup(&mut self, slot: Slot, rollup: Option<RollupRule>) {
        let rule = self.rule_number(rollup);
        let record = &mut self.records[slot.0];
        if record.rule != DEAD {
            record.rule = rule;
        }
    }

    fn rule_number(&mut self, rollup: Option<RollupRule>) -> u32 {
        let Some(rule) = rollup else { return NO_RULE };
        let key = (rule.method, rule.x_files_factor.to_bits(), rule.imported_until_s);
        *self.rule_numbers.entry(key).or_insert_with(|| {
            self.rules.push(rule);
            self.rules.len() as u32
        })
    }

    /// Makes room for this many more series.
    pub(super) fn reserve(&mut self, more: usize) {
        self.numbers.reserve(more);
    }

    /// Copies the texts that are still needed into a new arena when more than half of the old one, and more than
    /// `floor` bytes, belong to series that are gone.
    pub(super) fn compact_keys(&mut self, floor: usize) -> Result<()> {
        if self.arena_dead_bytes < floor || self.arena_dead_bytes * 2 < self.arena.heap_bytes() {
            return Ok(());
        }
        let free: RoaringBitmap = self.free.iter().copied().collect();
        let mut arena = Arena::default();
        let mut dead = 0;
        for slot in 0..self.records.len() as u32 {
            let record = &mut self.records[slot];
            let text = if free.contains(slot) { "" } else { self.arena.get(record.key) };
            record.key = arena.push(text)?;
            dead += if record.rule == DEAD { record.key.cost() } else { 0 };
        }
        self.arena = arena;
        self.arena_dead_bytes = dead;
        Ok(())
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

/// Whether a new series of this key could be indexed.
///
/// # Errors
/// `Invalid`, see [`paths::check_depth`].
pub(super) fn check_key(kind: KeyKind, key: &str) -> Result<()> {
    if key::is_tagged(kind, key) { Ok(()) } else { paths::check_depth(key) }
}
