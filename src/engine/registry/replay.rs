//! Definitions from the log or from a segment become names again.

use rhythmite_model::{Definition, Error, Result, RollupRule, SeriesId, TableId};

use super::change::check_key;
use super::directory::Directory;
use super::journal::Change;

impl Directory {
    /// Applies a definition that is on disk already. Applying it again changes nothing.
    ///
    /// `note` says whether it goes to the journal: what comes from the log does, what comes from a segment does not.
    ///
    /// # Errors
    /// `Corrupt` if it contradicts what is known.
    pub(super) fn apply(&mut self, definition: &Definition, note: bool) -> Result<()> {
        let change = match definition {
            Definition::Table { id, policy, name, kind } => {
                if id.0 > TableId::MAX.0 {
                    return Err(Error::corrupt(format!("table number {} is out of range", id.0)));
                }
                match self.table(*id) {
                    Some(t) if t.policy == *policy && t.name == *name && t.kind == *kind => return Ok(()),
                    Some(t) => {
                        let known = t.name.clone();
                        return Err(Error::corrupt(format!("table {} is {known:?} and also {name:?}", id.0)));
                    }
                    None if self.find_table(*policy, name).is_some() => {
                        return Err(Error::corrupt(format!("table {name:?} has two numbers, one is {}", id.0)));
                    }
                    None => self.add_table(*id, *policy, name, *kind),
                }
                Change::Table(*id)
            }
            Definition::Field { table, id, name, field_type } => {
                let Some(t) = self.table(*table) else { return self.gone_table(*table) };
                let at = usize::from(id.0);
                if at < t.fields.len() {
                    return match self.field(*table, *id) {
                        Some((known, known_type)) if known == name && known_type == *field_type => Ok(()),
                        _ => Err(Error::corrupt(format!("field {at} of table {} is not {name:?}", table.0))),
                    };
                }
                if at > t.fields.len() || self.find_field(*table, name).is_some() {
                    return Err(Error::corrupt(format!("field {at} ({name:?}) of table {} is out of order", table.0)));
                }
                self.add_field(*table, name, *field_type)?;
                Change::Field(*table, *id)
            }
            Definition::Series { id, key, rollup } => {
                if let Some(slot) = self.slot(*id) {
                    if self.key(slot) == key {
                        return Ok(());
                    }
                    return Err(Error::corrupt(format!("series {:#x} is {:?} and also {key:?}", id.0, self.key(slot))));
                }
                let Some(slot) = self.restore_series(*id, key, *rollup)? else { return Ok(()) };
                Change::Series(slot)
            }
            Definition::Rollup { id, rollup } => {
                let Some(slot) = self.slot(*id) else { return Ok(()) };
                if self.rollup(slot) == Some(*rollup) {
                    return Ok(());
                }
                self.set_rollup(slot, Some(*rollup));
                Change::Rollup(slot.0)
            }
            Definition::DropTable { id } => {
                if self.table(*id).is_none() {
                    return Ok(());
                }
                let slots = self.remove_table(*id);
                if note {
                    self.journal.push(Change::DropTable(*id));
                }
                for slot in slots {
                    if note { self.journal.push(Change::Dead(slot)) } else { self.release(slot) }
                }
                return Ok(());
            }
            Definition::DropSeries { id } => {
                self.forget_series(*id, note);
                return Ok(());
            }
        };
        if note {
            self.journal.push(change);
        }
        Ok(())
    }

    /// Takes a series out, if it is there.
    pub(super) fn forget_series(&mut self, id: SeriesId, note: bool) {
        let Some(slot) = self.slot(id) else { return };
        self.remove_series(slot.0);
        if note {
            self.journal.push(Change::DropSeries(slot.0, id));
        } else {
            self.release(slot.0);
        }
    }

    /// Adds a series with a number that it has already. `None` if its table is gone.
    pub(super) fn restore_series(
        &mut self,
        id: SeriesId,
        key: &str,
        rollup: Option<RollupRule>,
    ) -> Result<Option<u32>> {
        let Some(table) = self.table(id.table()) else { return self.gone_table(id.table()).map(|()| None) };
        let kind = table.kind;
        if id != SeriesId::new(id.table(), 0, id.0 as u32) {
            return Err(Error::corrupt(format!("series {:#x} has an unknown allocator", id.0)));
        }
        if self.slot_of_sequence(id).is_some() {
            return Err(Error::corrupt(format!("series {:#x}: its sequence number is used twice", id.0)));
        }
        check_key(kind, key).map_err(|e| Error::corrupt(e.message().to_owned()))?;
        let slot = self.add_series(id, key, rollup)?;
        self.next_sequence = self.next_sequence.max(u64::from(id.0 as u32) + 1);
        Ok(Some(slot.0))
    }

    /// A definition of a table that is not there: fine if the table was dropped later on, as segments leave out what
    /// is gone.
    fn gone_table(&self, id: TableId) -> Result<()> {
        if (id.0 as usize) < self.tables.len() {
            return Ok(());
        }
        Err(Error::corrupt(format!("a definition of table number {}, which was never made", id.0)))
    }
}
