//! Sorted blocks made one, without sorting: they are walked side by side, and each row is copied once.
//!
//! A tree of what each block has next gives the smallest series; what a block has of it is one range of rows. The ranges of
//! a series mostly follow one another in time, and are copied so; where not, point is woven with point. A block that has
//! the smallest series again and again, for senders go through their series in turn, is copied up to the next series that
//! another block has.
//!
//! Beside its blocks and the rows it returns it holds the numbers of some [`PICKS`] rows.

use std::ops::Range;

use rhythmite_model::Column;

use super::block::{Block, Chunk, Fields, gallop};

/// Rows that are gathered at once, column by column: their numbers stay in the first-level cache.
const PICKS: usize = 1024;
/// So many rows that follow one another in a block are copied as they are, fewer one by one.
const STRETCH_ROWS: usize = 16;
/// After so many series of one block in turn it is looked how many more there are.
const STREAK: u32 = 8;

/// All rows of `blocks`, which have `fields`, by (series, time). Of rows with equal series and time the one with the
/// largest arrival stays, of equal arrivals that of the last block.
///
/// PERF: against sorting all rows again. Proof: `cargo bench --bench memtable -- merge`.
pub(super) fn merge(fields: &Fields, blocks: &[&Block]) -> Chunk {
    let mut out = Out::new(fields, blocks);
    let mut heads = Heads::new(blocks.iter().map(|b| b.series().first().copied()));
    let mut at = vec![0; blocks.len()];
    let mut of_series: Vec<Cursor> = Vec::new();
    let mut last = (0, 0);
    let mut streak = 0;
    while let Some((series, number)) = heads.first() {
        if last.0 != series {
            out.push_series(&mut of_series);
        }
        streak = if last.1 == number { streak + 1 } else { 0 };
        last = (series, number);
        let (block, start) = (blocks[number], at[number]);
        if streak >= STREAK
            && let end = heads.second().map_or(block.len(), |next| block.seek(start, next))
            && end > start
        {
            out.push(number, start..end);
            at[number] = end;
        } else {
            let mut end = start + 1;
            while end < block.len() && end - start < STRETCH_ROWS && block.series()[end] == series {
                end += 1;
            }
            if end - start == STRETCH_ROWS {
                end = block.series_rows(start).end;
            }
            of_series.push(Cursor { number, rows: start..end });
            at[number] = end;
        }
        heads.replace(number, block.series().get(at[number]).copied());
    }
    out.push_series(&mut of_series);
    out.finish()
}

/// The next series of each block: a tournament whose inner nodes keep who lost there.
struct Heads {
    /// Series and number of a block, which is so the smaller of equals; [`Heads::NONE`] for a block without more. The
    /// first is who won, and the leaves are not kept.
    keys: Vec<u64>,
}

impl Heads {
    const NONE: u64 = u64::MAX;

    fn new(series: impl ExactSizeIterator<Item = Option<u32>>) -> Self {
        let places = series.len().next_power_of_two();
        // Nobody has played yet: whoever comes first to a place waits there for the other.
        let mut heads = Self { keys: vec![0; places] };
        let all = series.map(Some).chain(std::iter::repeat(None)).take(places).enumerate();
        for (number, series) in all {
            heads.replace(number, series.flatten());
        }
        heads
    }

    fn replace(&mut self, number: usize, series: Option<u32>) {
        let mut key = series.map_or(Self::NONE, |series| u64::from(series) << 32 | number as u64);
        let mut place = (self.keys.len() + number) / 2;
        while place > 0 {
            let other = self.keys[place];
            self.keys[place] = key.max(other);
            key = key.min(other);
            place /= 2;
        }
        self.keys[0] = key;
    }

    /// The smallest series, and the first block that has it.
    fn first(&self) -> Option<(u32, usize)> {
        let key = self.keys[0];
        (key != Self::NONE).then_some(((key >> 32) as u32, key as u32 as usize))
    }

    /// The smallest series of another block.
    fn second(&self) -> Option<u32> {
        let (_, number) = self.first()?;
        let mut place = (self.keys.len() + number) / 2;
        let mut second = Self::NONE;
        while place > 0 {
            second = second.min(self.keys[place]);
            place /= 2;
        }
        (second != Self::NONE).then_some((second >> 32) as u32)
    }
}

/// Rows of a block.
struct Cursor {
    number: usize,
    rows: Range<usize>,
}

/// What was taken so far.
struct Out<'a> {
    blocks: &'a [&'a Block],
    chunk: Chunk,
    /// Rows still to be gathered: number of the block and of the row.
    picks: Vec<(u32, u32)>,
}

impl<'a> Out<'a> {
    fn new(fields: &Fields, blocks: &'a [&'a Block]) -> Self {
        let rows = blocks.iter().map(|b| b.len()).sum();
        let chunk = Chunk {
            series: Vec::with_capacity(rows),
            times_ns: Vec::with_capacity(rows),
            arrivals: Vec::with_capacity(rows),
            columns: fields.iter().map(|&(_, t)| Column::with_capacity(t, rows)).collect(),
        };
        Self { blocks, chunk, picks: Vec::with_capacity(PICKS + STRETCH_ROWS) }
    }

    fn push(&mut self, number: usize, rows: Range<usize>) {
        if rows.len() < STRETCH_ROWS {
            self.picks.extend(rows.map(|row| (number as u32, row as u32)));
            if self.picks.len() >= PICKS {
                self.gather();
            }
            return;
        }
        self.gather();
        let (chunk, block) = (&mut self.chunk, self.blocks[number]);
        chunk.series.extend_from_slice(&block.series()[rows.clone()]);
        chunk.times_ns.extend_from_slice(&block.times_ns()[rows.clone()]);
        chunk.arrivals.extend_from_slice(&block.arrivals()[rows.clone()]);
        for (i, column) in chunk.columns.iter_mut().enumerate() {
            column.extend_from(block.column(i), rows.clone());
        }
    }

    /// The rows of one series, of several blocks, none of them empty; takes them away.
    fn push_series(&mut self, of_blocks: &mut Vec<Cursor>) {
        if let [one] = &of_blocks[..] {
            self.push(one.number, one.rows.clone());
            of_blocks.clear();
            return;
        }
        let first = |cursor: &Cursor| self.blocks[cursor.number].times_ns()[cursor.rows.start];
        let last = |cursor: &Cursor| self.blocks[cursor.number].times_ns()[cursor.rows.end - 1];
        let apart = |of_blocks: &[Cursor]| of_blocks.windows(2).all(|two| last(&two[0]) < first(&two[1]));
        if !apart(of_blocks) {
            of_blocks.sort_by_key(first);
        }
        if apart(of_blocks) {
            of_blocks.drain(..).for_each(|cursor| self.push(cursor.number, cursor.rows));
            return;
        }
        while let Some(time) = of_blocks.iter().map(|cursor| self.time(cursor)).min() {
            let newest = of_blocks.iter().filter(|cursor| self.time(cursor) == time);
            let newest = newest.max_by_key(|cursor| (self.arrival(cursor), cursor.number)).expect("one has this time");
            let (number, row) = (newest.number, newest.rows.start);
            // With what follows it before any of the others goes on.
            let others = of_blocks.iter().filter(|cursor| cursor.number != number);
            let times = &self.blocks[number].times_ns()[..newest.rows.end];
            let end = match others.map(|cursor| self.time_behind(cursor, time)).min() {
                Some(next) => gallop(times, row + 1, |t| *t < next),
                None => times.len(),
            };
            self.push(number, row..end);
            for cursor in &mut *of_blocks {
                if cursor.number == number {
                    cursor.rows.start = end;
                } else if self.time(cursor) == time {
                    cursor.rows.start += 1;
                }
            }
            of_blocks.retain(|cursor| !cursor.rows.is_empty());
        }
    }

    fn time(&self, cursor: &Cursor) -> i64 {
        self.blocks[cursor.number].times_ns()[cursor.rows.start]
    }

    /// Time of the first row behind `time`, which is not behind that of the first row; the largest when there is none.
    fn time_behind(&self, cursor: &Cursor, time: i64) -> i64 {
        let times = &self.blocks[cursor.number].times_ns()[cursor.rows.clone()];
        let at = usize::from(times[0] == time);
        times.get(at).copied().unwrap_or(i64::MAX)
    }

    fn arrival(&self, cursor: &Cursor) -> u32 {
        self.blocks[cursor.number].arrivals()[cursor.rows.start]
    }

    fn gather(&mut self) {
        if self.picks.is_empty() {
            return;
        }
        let Self { blocks, chunk, picks } = self;
        let series: Vec<_> = blocks.iter().map(|b| b.series()).collect();
        chunk.series.extend(picks.iter().map(|&(number, row)| series[number as usize][row as usize]));
        let times: Vec<_> = blocks.iter().map(|b| b.times_ns()).collect();
        chunk.times_ns.extend(picks.iter().map(|&(number, row)| times[number as usize][row as usize]));
        let arrivals: Vec<_> = blocks.iter().map(|b| b.arrivals()).collect();
        chunk.arrivals.extend(picks.iter().map(|&(number, row)| arrivals[number as usize][row as usize]));
        for (i, column) in chunk.columns.iter_mut().enumerate() {
            column.extend_picked(&blocks.iter().map(|b| b.column(i)).collect::<Vec<_>>(), picks);
        }
        picks.clear();
    }

    fn finish(mut self) -> Chunk {
        self.gather();
        // Points that were written again and again.
        if self.chunk.len() < self.chunk.times_ns.capacity() / 2 {
            self.chunk.shrink_to_fit();
        }
        self.chunk
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rhythmite_model::{FieldId, FieldType, FieldValue};

    use super::*;

    type Row = (u32, i64, u32);

    fn fields() -> Fields {
        [(FieldId(0), FieldType::Integer), (FieldId(3), FieldType::String)].into()
    }

    /// Rows whose values tell them apart.
    fn chunk(rows: impl Iterator<Item = (usize, Row)>) -> Chunk {
        let mut chunk = Chunk::new(&fields());
        for (number, (series, time_ns, arrival)) in rows {
            chunk.series.push(series);
            chunk.times_ns.push(time_ns);
            chunk.arrivals.push(arrival);
            let text = format!("row {number}");
            assert!(chunk.columns[0].push(FieldValue::Integer(number as i64)));
            assert!(chunk.columns[1].push(FieldValue::String(&text)));
        }
        chunk
    }

    fn check(of_blocks: &[Vec<Row>]) {
        let all: Vec<(usize, Row)> = of_blocks.iter().flatten().copied().enumerate().collect();
        let mut left = &all[..];
        let blocks: Vec<Block> = of_blocks
            .iter()
            .map(|rows| {
                let own;
                (own, left) = left.split_at(rows.len());
                Block::seal(&fields(), &chunk(own.iter().copied()))
            })
            .collect();
        let sorted = Block::seal(&fields(), &chunk(all.into_iter()));
        let merged = Block::merge(&fields(), &blocks.iter().collect::<Vec<_>>());
        assert_eq!(format!("{merged:?}"), format!("{sorted:?}"), "of {of_blocks:?}");
    }

    /// `series` in turn, `rounds` rounds of them from `round` on.
    fn turns(series: Range<u32>, round: i64, rounds: i64, arrival: u32) -> Vec<Row> {
        (round..round + rounds).flat_map(|time| series.clone().map(move |s| (s, time, arrival))).collect()
    }

    #[test]
    fn blocks_as_senders_fill_them() {
        check(&[]);
        check(&[vec![], vec![]]);
        // One behind the other, and begun again.
        check(&[turns(0..3_000, 0, 1, 0), turns(3_000..5_000, 0, 1, 1), turns(0..4_000, 1, 1, 2)]);
        // All series in each; with as many rows as are copied at once, and one more or less.
        for rounds in [1, STRETCH_ROWS as i64 - 1, STRETCH_ROWS as i64, STRETCH_ROWS as i64 + 1] {
            check(&(0..5).map(|n| turns(0..100, n * rounds, rounds, n as u32)).collect::<Vec<_>>());
        }
        // Two senders, one a little behind; the last two overlap.
        check(&[turns(7..9, 0, 40, 0), turns(7..9, 40, 10, 1), turns(8..9, 45, 40, 2)]);
        // The same again.
        check(&[turns(0..50, 0, 30, 3), turns(0..50, 0, 30, 2), turns(0..50, 0, 30, 3), turns(0..50, 0, 30, 0)]);
        // The ends of what numbers can be.
        check(&[
            vec![(u32::MAX, i64::MAX, 1), (0, i64::MIN, 0)],
            vec![(u32::MAX, i64::MAX, 0), (u32::MAX, i64::MIN, 0)],
        ]);
    }

    proptest! {
        #[test]
        fn it_is_what_sorting_all_rows_gives(
            few in any::<bool>(),
            blocks in prop::collection::vec(
                prop::collection::vec(
                    (prop_oneof![4 => 0_u32..4, 2 => 0_u32..400, 1 => any::<u32>()], 0_i64..60, 0_u32..4), 0..150),
                0..8)
        ) {
            let mut blocks = blocks;
            if few {
                blocks.iter_mut().flatten().for_each(|row| row.1 %= 4);
            }
            check(&blocks);
        }
    }
}
