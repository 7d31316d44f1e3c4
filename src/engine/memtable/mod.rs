//! Points in memory: appended, sealed into sorted blocks, merged.
//!
//! A [`Generation`] holds everything between two flushes. Rows of one table, level and set of fields are appended to a
//! chunk; a full chunk is sealed (sorted) into an immutable [`Block`], and sixteen blocks of a size are merged into one,
//! so that a look-up meets few of them. Readers take the blocks and never hold a writer up: a large open chunk is sealed
//! for them, a small one copied.
//!
//! Each set of fields has a buffer of its own, which costs some hundred bytes before the first row. A table has at most
//! [`FIELD_SETS_MAX`] buffers of several fields; rows of further sets are taken apart into a buffer per field. Readers
//! see no difference, for points are merged field by field.
//!
//! Bounded by its caller, who asks [`Generation::bytes`] and freezes the generation in time. Never touches disk.

mod block;
mod merge;
mod sort;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use rhythmite_model::{Batch, Column, FieldId, FieldType, Rows, TableId, Tier};

use block::Chunk;
pub use block::{Block, Fields};

/// Rows of a chunk when it is sealed: sorting it stays in the second-level cache for a few columns.
const CHUNK_ROWS: usize = 64 * 1024;
/// Rows that a reader who must not wait may sort.
const AT_HAND_ROWS: usize = 256;
/// A reader seals an open chunk of this many rows and copies a smaller one: a copy costs tens of microseconds.
const READER_SEALS_ROWS: usize = 4 * 1024;
/// Blocks of one size class that are merged into one.
const MERGE_BLOCKS: usize = 16;
/// A block of this many rows is not merged again: it would hold a core for too long.
const MERGE_ROWS_MAX: usize = 8 * 1024 * 1024;

/// Sets of several fields of one table and level that have a buffer of their own: a reader walks all of them.
const FIELD_SETS_MAX: usize = 256;

/// What rows of a buffer have in common, beside table and level.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Shape {
    allocator: u8,
    fields: Fields,
}

/// The buffers of one table and level.
type Buffers = HashMap<Shape, Arc<Buffer>>;

/// Rows of one shape.
struct Buffer {
    shape: Shape,
    state: Mutex<BufferState>,
}

struct BufferState {
    open: Chunk,
    /// The open chunk as readers last saw it: (rows, sorted copy).
    view: Option<(usize, Arc<Block>)>,
    /// Memory of the copy.
    view_bytes: usize,
    blocks: Vec<Arc<Block>>,
    /// A merge is under way; its inputs are still in `blocks`.
    merging: bool,
}

/// Sorted rows of one table and level, with the head of their series ids.
#[derive(Clone)]
pub struct Part {
    /// High half of the series ids: table and allocator.
    pub series_head: u64,
    /// The rows.
    pub block: Arc<Block>,
}

/// Everything written between two flushes.
#[derive(Default)]
pub struct Generation {
    buffers: RwLock<HashMap<(TableId, Tier), Buffers>>,
    bytes: AtomicUsize,
    rows: AtomicUsize,
}

impl Generation {
    /// Adds a batch. `arrival` orders writes within the generation: the larger one wins.
    pub fn append(&self, batch: &Batch, arrival: u32) {
        batch.rows.iter().filter(|rows| !rows.is_empty()).for_each(|rows| self.append_rows(rows, arrival));
    }

    fn append_rows(&self, rows: &Rows, arrival: u32) {
        // A batch almost always has one allocator; split where it changes.
        let mut start = 0;
        while start < rows.len() {
            let head = rows.series[start].0 >> 32;
            let end = start + rows.series[start..].iter().position(|s| s.0 >> 32 != head).unwrap_or(rows.len() - start);
            match self.buffer(rows, &rows.fields, head as u8) {
                Some(buffer) => buffer.append(rows, &rows.fields, start..end, arrival, &self.bytes),
                None => {
                    for field in rows.fields.chunks(1) {
                        let buffer = self.buffer(rows, field, head as u8).expect("one field always has a buffer");
                        buffer.append(rows, field, start..end, arrival, &self.bytes);
                    }
                }
            }
            start = end;
        }
        self.rows.fetch_add(rows.len(), Ordering::Relaxed);
    }

    /// The buffer of rows of these fields; `None` when they are several and their table has too many such sets.
    fn buffer(&self, rows: &Rows, fields: &[(FieldId, Column)], allocator: u8) -> Option<Arc<Buffer>> {
        let key = (rows.table, rows.tier);
        let shape = Shape { allocator, fields: fields.iter().map(|(id, column)| (*id, column.field_type())).collect() };
        let known = |buffers: &Buffers| match buffers.get(&shape) {
            Some(buffer) => Some(Some(buffer.clone())),
            // Buffers of one field count too: the bound is soft by their number, which the fields of a table bound.
            None => (shape.fields.len() > 1 && buffers.len() >= FIELD_SETS_MAX).then_some(None),
        };
        if let Some(known) = self.buffers.read().get(&key).and_then(known) {
            return known;
        }
        let mut all = self.buffers.write();
        let buffers = all.entry(key).or_default();
        if let Some(known) = known(buffers) {
            return known;
        }
        let buffer = Arc::new(Buffer::new(shape.clone()));
        self.bytes.fetch_add(buffer.fixed_bytes(), Ordering::Relaxed);
        buffers.insert(shape, buffer.clone());
        Some(buffer)
    }

    /// Memory held, in bytes (a small overestimate: growth is counted, duplicates dropped by sorting are not). With what
    /// the buffers themselves cost, and the copies made for readers.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Rows appended.
    pub fn rows(&self) -> usize {
        self.rows.load(Ordering::Relaxed)
    }

    /// Whether nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    /// Tables and levels that have rows, ascending.
    pub fn tables(&self) -> Vec<(TableId, Tier)> {
        let mut tables: Vec<_> = self.buffers.read().keys().copied().collect();
        tables.sort_unstable();
        tables
    }

    /// The rows of a table at one level, as of now.
    pub fn parts(&self, table: TableId, tier: Tier) -> Vec<Part> {
        let buffers: Vec<_> = {
            let all = self.buffers.read();
            all.get(&(table, tier)).into_iter().flat_map(|b| b.values()).cloned().collect()
        };
        let mut parts = Vec::new();
        for buffer in buffers {
            let series_head = u64::from(table.0) << 40 | u64::from(buffer.shape.allocator) << 32;
            parts.extend(buffer.blocks(&self.bytes).into_iter().map(|block| Part { series_head, block }));
        }
        parts
    }

    /// Whether [`parts`](Self::parts) has next to nothing to do.
    pub fn is_at_hand(&self, table: TableId, tier: Tier) -> bool {
        let all = self.buffers.read();
        all.get(&(table, tier)).into_iter().flat_map(|b| b.values()).all(|buffer| buffer.is_at_hand())
    }

    /// Merges small blocks into larger ones where enough of them wait. Returns whether anything was done: call again
    /// until not. Meant for a background thread; appends and reads go on meanwhile.
    pub fn merge_once(&self) -> bool {
        let buffers: Vec<_> = self.buffers.read().values().flat_map(|b| b.values()).cloned().collect();
        // Every buffer gets its turn: `any` would stop at the first that had work.
        let merged = buffers.iter().filter(|buffer| buffer.merge_once()).count();
        merged > 0
    }
}

impl Buffer {
    fn new(shape: Shape) -> Self {
        let open = Chunk::new(&shape.fields);
        let state = BufferState { open, view: None, view_bytes: 0, blocks: Vec::new(), merging: false };
        Self { shape, state: Mutex::new(state) }
    }

    /// What it costs before the first row, with its place among the others.
    fn fixed_bytes(&self) -> usize {
        let field = size_of::<Column>() + 2 * size_of::<(FieldId, FieldType)>();
        size_of::<Self>() + size_of::<(Shape, Arc<Self>)>() * 2 + self.shape.fields.len() * field
    }

    /// Appends rows; `bytes` is kept under the lock, so that nothing is taken from it before it is added.
    ///
    /// The rows of one write stay in one chunk: they have one arrival number, so between blocks nothing would tell which
    /// of two rows with the same series and time came later. A chunk may pass [`CHUNK_ROWS`] by one write.
    fn append(
        &self,
        rows: &Rows,
        fields: &[(FieldId, Column)],
        range: std::ops::Range<usize>,
        arrival: u32,
        bytes: &AtomicUsize,
    ) {
        let mut state = self.state.lock();
        let view_bytes = state.view_bytes;
        if state.open.len() > 0 && state.open.len() + range.len() > CHUNK_ROWS {
            self.seal(&mut state);
        }
        let open = &mut state.open;
        let before = open.heap_bytes();
        open.series.extend(rows.series[range.clone()].iter().map(|s| s.0 as u32));
        open.times_ns.extend_from_slice(&rows.times_ns[range.clone()]);
        open.arrivals.resize(open.times_ns.len(), arrival);
        for (to, (_, from)) in open.columns.iter_mut().zip(fields) {
            to.extend_from(from, range.clone());
        }
        bytes.fetch_add(open.heap_bytes() - before, Ordering::Relaxed);
        if state.open.len() >= CHUNK_ROWS {
            self.seal(&mut state);
        }
        bytes.fetch_sub(view_bytes - state.view_bytes, Ordering::Relaxed);
    }

    fn seal(&self, state: &mut BufferState) {
        let chunk = std::mem::replace(&mut state.open, Chunk::new(&self.shape.fields));
        (state.view, state.view_bytes) = (None, 0);
        state.blocks.push(Arc::new(Block::seal(&self.shape.fields, &chunk)));
    }

    /// The rows as of now; a copy of the open chunk counts among `bytes` as long as it is kept.
    fn blocks(&self, bytes: &AtomicUsize) -> Vec<Arc<Block>> {
        let mut state = self.state.lock();
        let view_bytes = state.view_bytes;
        if state.open.len() >= READER_SEALS_ROWS {
            self.seal(&mut state);
        }
        let mut blocks = state.blocks.clone();
        let rows = state.open.len();
        if rows > 0 {
            let view = match &state.view {
                Some((seen, block)) if *seen == rows => block.clone(),
                _ => Arc::new(Block::seal(&self.shape.fields, &state.open)),
            };
            state.view_bytes = view.heap_bytes();
            state.view = Some((rows, view.clone()));
            blocks.push(view);
        }
        bytes.fetch_add(state.view_bytes, Ordering::Relaxed);
        bytes.fetch_sub(view_bytes, Ordering::Relaxed);
        blocks
    }

    /// Whether the rows are sorted, but for a few.
    fn is_at_hand(&self) -> bool {
        let state = self.state.lock();
        let rows = state.open.len();
        rows <= AT_HAND_ROWS || state.view.as_ref().is_some_and(|(seen, _)| *seen == rows)
    }

    fn merge_once(&self) -> bool {
        let inputs = {
            let mut state = self.state.lock();
            if state.merging {
                return false;
            }
            let Some(inputs) = ripe(&state.blocks) else { return false };
            state.merging = true;
            inputs
        };
        let merged = Block::merge(&self.shape.fields, &inputs.iter().map(Arc::as_ref).collect::<Vec<_>>());
        let mut state = self.state.lock();
        state.blocks.retain(|block| !inputs.iter().any(|input| Arc::ptr_eq(input, block)));
        state.blocks.push(Arc::new(merged));
        state.merging = false;
        true
    }
}

/// Enough blocks of one size class to merge: classes are powers of [`MERGE_BLOCKS`].
fn ripe(blocks: &[Arc<Block>]) -> Option<Vec<Arc<Block>>> {
    let class = |rows: usize| rows.max(1).ilog2() / MERGE_BLOCKS.ilog2();
    let mut classes: Vec<Vec<&Arc<Block>>> = Vec::new();
    for block in blocks.iter().filter(|b| b.len() < MERGE_ROWS_MAX) {
        let class = class(block.len()) as usize;
        classes.resize_with(classes.len().max(class + 1), Vec::new);
        classes[class].push(block);
    }
    let enough = classes.into_iter().find(|c| c.len() >= MERGE_BLOCKS)?;
    Some(enough.into_iter().take(MERGE_BLOCKS).cloned().collect())
}

#[cfg(test)]
mod tests;
