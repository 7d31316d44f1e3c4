//! The changes that the directory is made of; see `create.rs` and `replay.rs` for who makes them.

use std::sync::atomic::AtomicU32;

use rhythmite_model::{Error, FieldType, KeyKind, PolicyId, Result, RollupRule, SeriesId, TableId};
use roaring::RoaringBitmap;

use super::directory::{DEAD, Directory, Field, NO_RULE, NO_SLOT, Record, Slot, Table};
use super::key;
use super::paths;
use super::postings::Posting;
use super::tags::TagIndex;
use super::text::Arena;

/// Changes. None of them looks at limits or notes anything in the journal.
impl Directory {
    pub(super) fn table_mut(&mut self, id: TableId) -> Option<&mut Table> {
        self.tables.get_mut(id.0 as usize)?.as_deref_mut()
    }

    pub(super) fn add_table(&mut self, id: TableId, policy: PolicyId, name: &str, kind: KeyKind) {
        let at = id.0 as usize;
        self.reserve_tables(id.0 + 1);
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

    /// Makes places for the table numbers below `end`: those without a table were given out and are gone.
    pub(super) fn reserve_tables(&mut self, end: u32) {
        if self.tables.len() < end as usize {
            self.tables.resize_with(end as usize, || None);
        }
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
    /// `Overloaded` if the arena or the slots are used up, `Corrupt` if the table has a series of this key; nothing has
    /// been made then.
    pub(super) fn add_series(&mut self, id: SeriesId, key: &str, rollup: Option<RollupRule>) -> Result<Slot> {
        let Some(table) = self.table(id.table()) else { return Err(no_table(id)) };
        let scope = table.scope();
        let hash = self.numbers.hash(scope.code(), key.as_bytes());
        let head = self.find_hashed(hash, scope, key.as_bytes());
        if let Some(head) = head {
            let mut all = std::iter::once(Slot(head)).chain(self.older_series(Slot(head)));
            if all.any(|slot| self.series_id(slot).table() == id.table()) {
                return Err(Error::corrupt(format!("series {key:?} has two numbers, one is {:#x}", id.0)));
            }
        }
        self.add_hashed(id, key, rollup, hash, head)
    }

    /// The same of a key with this hash, of which `head` is the current series, and none is in the table.
    ///
    /// # Errors
    /// As [`Directory::add_series`], but for the last.
    pub(super) fn add_hashed(
        &mut self,
        id: SeriesId,
        key: &str,
        rollup: Option<RollupRule>,
        hash: u32,
        head: Option<u32>,
    ) -> Result<Slot> {
        let Some(table) = self.table(id.table()) else { return Err(no_table(id)) };
        let (kind, scope) = (table.kind, table.scope());
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
        let mut current = true;
        match head {
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

fn no_table(id: SeriesId) -> Error {
    Error::internal(format!("series {:#x} of a table that does not exist", id.0))
}

/// Whether a new series of this key could be indexed.
///
/// # Errors
/// `Invalid`, see [`paths::check_depth`].
pub(super) fn check_key(kind: KeyKind, key: &str) -> Result<()> {
    if key::is_tagged(kind, key) { Ok(()) } else { paths::check_depth(key) }
}
