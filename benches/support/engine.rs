//! What benches of a whole engine share: a catalogue in memory, a policy, numbers from outside.

use parking_lot::Mutex;
use rhythmite_engine::manifest::{Edit, Manifest, State};
use rhythmite_model::{Aggregates, Level, Policy, PolicyId, Result};

/// The policy that tables of a bench belong to.
pub const POLICY: PolicyId = PolicyId(1);

/// A policy that keeps raw points for ever, in partitions of a day.
pub fn policy() -> Policy {
    Policy {
        id: POLICY,
        database: "d".to_owned(),
        name: "p".to_owned(),
        levels: vec![Level { step_ns: 0, retention_ns: 0 }],
        partition_ns: 86_400_000_000_000,
        max_idle_ns: 0,
        aggregates: Aggregates::USUAL,
    }
}

/// A catalogue in memory, where nothing is deleted.
#[derive(Default)]
pub struct Memory(Mutex<State>);

impl Manifest for Memory {
    fn load(&self) -> Result<State> {
        Ok(self.0.lock().clone())
    }

    fn commit(&self, edit: &Edit) -> Result<()> {
        let mut state = self.0.lock();
        state.files.retain(|f| !edit.remove_files.contains(&f.id));
        state.files.extend(edit.add_files.clone());
        state.segments.retain(|s| !edit.remove_segments.contains(&s.id));
        state.segments.extend(edit.add_segments.clone());
        state.flushed_seq = edit.flushed_seq.unwrap_or(state.flushed_seq);
        Ok(())
    }
}

/// A number from the environment.
pub fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}
