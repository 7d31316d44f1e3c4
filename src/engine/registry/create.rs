//! Making names, and taking them away.

use std::sync::atomic::Ordering;

use parking_lot::RwLockWriteGuard;
use rhythmite_model::{
    Definition, Error, FieldId, FieldType, KeyKind, PolicyId, Result, RollupRule, SeriesId, TableId,
};

use super::change::check_key;
use super::directory::{Directory, Scope, Slot};
use super::journal::Change;
use super::key;
use super::{HOUR_S, Registry};

/// Makes names under the write lock: all of what one guard makes, or nothing.
///
/// The order that keeps the log complete: create, hand [`definitions`](Self::definitions) to the log's queue, then
/// [`commit`](Self::commit). Nobody else can use a new name before its definition is on its way. A guard that is
/// dropped without a commit (the log has refused, a later name was refused) takes back what it made.
pub struct Creator<'a> {
    directory: RwLockWriteGuard<'a, Directory>,
    registry: &'a Registry,
    now_s: i64,
    definitions: Vec<Definition>,
    changes: Vec<Change>,
    old_rules: Vec<(Slot, Option<RollupRule>)>,
    /// The series made last.
    last: Option<Slot>,
}

impl std::ops::Deref for Creator<'_> {
    type Target = Directory;

    fn deref(&self) -> &Directory {
        &self.directory
    }
}

impl<'a> Creator<'a> {
    pub(super) fn new(registry: &'a Registry, directory: RwLockWriteGuard<'a, Directory>, now_s: i64) -> Self {
        Self {
            directory,
            registry,
            now_s,
            definitions: Vec::new(),
            changes: Vec::new(),
            old_rules: Vec::new(),
            last: None,
        }
    }

    /// What has been made so far, in order.
    pub fn definitions(&self) -> &[Definition] {
        &self.definitions
    }

    /// Keeps what was made, carries out the drops, and returns the definitions.
    pub fn commit(mut self) -> Vec<Definition> {
        self.old_rules.clear();
        for change in std::mem::take(&mut self.changes) {
            self.directory.journal.push(change);
            match change {
                Change::DropTable(id) => {
                    for slot in self.directory.remove_table(id) {
                        self.directory.journal.push(Change::Dead(slot));
                    }
                }
                Change::DropSeries(slot, _) => self.directory.remove_series(slot),
                _ => continue,
            }
            self.registry.drops.fetch_add(1, Ordering::Release);
        }
        std::mem::take(&mut self.definitions)
    }

    /// The table with this name, made if need be.
    ///
    /// # Errors
    /// `Invalid` if it exists with another kind of key, or at a limit.
    pub fn create_table(&mut self, policy: PolicyId, name: &str, kind: KeyKind) -> Result<TableId> {
        if let Some(table) = self.directory.find_table(policy, name) {
            if table.kind != kind {
                return Err(Error::invalid(format!("table {name:?} exists and its series are named differently")));
            }
            return Ok(table.id);
        }
        self.check_len(name, "table name")?;
        let limit = self.registry.limits.tables_per_policy;
        let next = self.directory.tables.len();
        if self.directory.table_names.get(&policy).map_or(0, |t| t.len()) >= limit {
            self.directory.refused.tables += 1;
            return Err(Error::invalid(format!("table {name:?}: the policy has {limit} tables, which is the limit")));
        }
        if next > TableId::MAX.0 as usize {
            self.directory.refused.tables += 1;
            return Err(Error::invalid(format!("table {name:?}: all 16,777,216 table numbers have been used")));
        }
        let id = TableId(next as u32);
        self.directory.add_table(id, policy, name, kind);
        self.changes.push(Change::Table(id));
        self.definitions.push(Definition::Table { id, policy, name: name.into(), kind });
        Ok(id)
    }

    /// The field with this name, made if need be.
    ///
    /// # Errors
    /// `Invalid` if it exists with another type, or at a limit; `NotFound` without such a table.
    pub fn create_field(&mut self, table: TableId, name: &str, field_type: FieldType) -> Result<FieldId> {
        let Some(t) = self.directory.table(table) else { return Err(no_table(table)) };
        let (table_name, count) = (t.name.clone(), t.fields.len());
        if let Some((id, existing)) = self.directory.find_field(table, name) {
            if existing != field_type {
                self.directory.refused.field_types += 1;
                return Err(Error::invalid(format!(
                    "field type conflict: field {name:?} of {table_name:?} is of type {existing}, not {field_type}"
                )));
            }
            return Ok(id);
        }
        self.check_len(name, "field name")?;
        let limit = self.registry.limits.fields_per_table.min(usize::from(u16::MAX));
        if count >= limit {
            self.directory.refused.fields += 1;
            return Err(Error::invalid(format!(
                "field {name:?}: table {table_name:?} has {limit} fields, which is the limit"
            )));
        }
        self.directory.add_field(table, name, field_type)?;
        let id = FieldId(count as u16);
        self.changes.push(Change::Field(table, id));
        self.definitions.push(Definition::Field { table, id, name: name.into(), field_type });
        Ok(id)
    }

    /// The series of this table with this canonical key, made if need be. It becomes the current series of its key: a
    /// path whose policy has changed is found there from now on (until a restart, when the newest series is).
    ///
    /// `rollup` is used for a new series only; see [`set_rollup`](Self::set_rollup).
    ///
    /// # Errors
    /// `Invalid` or `Overloaded` at a limit; `NotFound` without such a table.
    pub fn create_series(&mut self, table: TableId, key: &str, rollup: Option<RollupRule>) -> Result<SeriesId> {
        let Some(t) = self.directory.table(table) else { return Err(no_table(table)) };
        let (kind, scope) = (t.kind, t.scope());
        let hash = self.directory.numbers.hash(scope.code(), key.as_bytes());
        let head = self.directory.find_hashed(hash, scope, key.as_bytes());
        if let Some(head) = head.map(Slot) {
            let same = |&slot: &Slot| self.directory.series_id(slot).table() == table;
            let existing = std::iter::once(head).chain(self.directory.older_series(head)).find(same);
            if let Some(slot) = existing {
                self.directory.make_current(slot)?;
                return Ok(self.directory.series_id(slot));
            }
        }
        self.check_new_series(table, kind, scope, key)?;
        let sequence = u32::try_from(self.directory.next_sequence)
            .map_err(|_| Error::overloaded("all 4,294,967,296 series numbers have been used"))?;
        let id = SeriesId::new(table, 0, sequence);
        let slot = self.directory.add_hashed(id, key, rollup, hash, head)?;
        // Whoever sends new series sends them in the same order again.
        if let Some(last) = self.last.replace(slot) {
            self.directory.learn(last, slot);
        }
        self.directory.next_sequence += 1;
        let hour = self.hour();
        let census = self.directory.census.entry(scope).or_default();
        if census.hour != hour {
            (census.hour, census.new_this_hour) = (hour, 0);
        }
        census.new_this_hour += 1;
        self.changes.push(Change::Series(slot.0));
        self.definitions.push(Definition::Series { id, key: key.into(), rollup });
        Ok(id)
    }

    /// Gives a series another rule; nothing happens if it has it already or does not exist.
    pub fn set_rollup(&mut self, id: SeriesId, rollup: RollupRule) {
        let Some(slot) = self.directory.slot(id) else { return };
        let old = self.directory.rollup(slot);
        if old != Some(rollup) {
            self.old_rules.push((slot, old));
            self.directory.set_rollup(slot, Some(rollup));
            self.changes.push(Change::Rollup(slot.0));
            self.definitions.push(Definition::Rollup { id, rollup });
        }
    }

    /// Drops a table with its series when the guard commits; until then it is still there. The engine deletes its points.
    pub(crate) fn drop_table(&mut self, id: TableId) {
        if self.directory.table(id).is_some() {
            self.changes.push(Change::DropTable(id));
            self.definitions.push(Definition::DropTable { id });
        }
    }

    /// Drops a series when the guard commits; until then it is still there.
    #[cfg(test)]
    pub(super) fn drop_series(&mut self, id: SeriesId) {
        if let Some(slot) = self.directory.slot(id) {
            self.changes.push(Change::DropSeries(slot.0, id));
            self.definitions.push(Definition::DropSeries { id });
        }
    }

    fn hour(&self) -> i64 {
        self.now_s.div_euclid(HOUR_S)
    }

    /// Drops series whose tombstone is in the same batch: it stands for their definitions.
    pub(crate) fn drop_deleted(&mut self, ids: &[SeriesId]) {
        for &id in ids {
            if let Some(slot) = self.directory.slot(id) {
                self.changes.push(Change::DropSeries(slot.0, id));
            }
        }
    }

    fn check_len(&mut self, text: &str, what: &str) -> Result<()> {
        let limit = self.registry.limits.key_len.min(usize::from(u16::MAX));
        if text.len() > limit {
            self.directory.refused.keys += 1;
            return Err(Error::invalid(format!("a {what} of {} bytes: at most {limit} are taken", text.len())));
        }
        Ok(())
    }

    /// A series that is not made after all does not count among the new ones of the hour.
    fn give_back(&mut self, slot: u32) {
        let (id, hour) = (self.directory.series_id(Slot(slot)), self.hour());
        let Some(scope) = self.directory.table(id.table()).map(|t| t.scope()) else { return };
        if let Some(census) = self.directory.census.get_mut(&scope).filter(|census| census.hour == hour) {
            census.new_this_hour = census.new_this_hour.saturating_sub(1);
        }
    }

    fn check_new_series(&mut self, table: TableId, kind: KeyKind, scope: Scope, key: &str) -> Result<()> {
        self.check_len(key, "series key")?;
        let limits = &self.registry.limits;
        check_key(kind, key).inspect_err(|_| self.directory.refused.keys += 1)?;
        let census = self.directory.census.get(&scope).copied().unwrap_or_default();
        limits.check_series(census, self.hour(), key).inspect_err(|e| self.directory.refused_series.count(e))?;
        let directory = &self.directory;
        let Some(t) = directory.table(table) else { return Err(no_table(table)) };
        let limit = limits.tag_keys_per_table;
        // Which of the keys are new is only asked where it can matter.
        if t.tags.key_count() + key::tags(kind, key).count() > limit {
            let new = key::tags(kind, key).filter(|(k, _)| !t.tags.has_key(&directory.symbols, k)).count();
            if t.tags.key_count() + new > limit {
                let name = t.name.clone();
                self.directory.refused.tag_keys += 1;
                return Err(Error::invalid(format!(
                    "series {key:?} is not made: table {name:?} would have more than {limit} tag keys"
                )));
            }
        }
        Ok(())
    }
}

fn no_table(id: TableId) -> Error {
    Error::not_found(format!("table number {} does not exist", id.0))
}

impl Drop for Creator<'_> {
    fn drop(&mut self) {
        for (slot, rule) in self.old_rules.drain(..).rev() {
            self.directory.set_rollup(slot, rule);
        }
        for change in std::mem::take(&mut self.changes).into_iter().rev() {
            match change {
                Change::Series(slot) => {
                    self.give_back(slot);
                    self.directory.remove_series(slot);
                    self.directory.release(slot);
                }
                Change::Field(table, _) => {
                    if let Some(table) = self.directory.table_mut(table) {
                        table.fields.pop();
                    }
                }
                Change::Table(id) => drop(self.directory.remove_table(id)),
                Change::Rollup(_) | Change::DropTable(_) | Change::DropSeries(..) | Change::Dead(_) => {}
            }
        }
    }
}
