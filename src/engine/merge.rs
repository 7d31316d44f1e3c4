//! Several sorted pieces of one stream made one: of equal times the newest write wins.

use std::ops::Range;
use std::sync::Arc;

use rhythmite_model::Column;

use crate::decoded::Run;
use crate::memtable::Block;
use crate::scan::Stretch;

/// A sorted run of one stream's points.
pub(crate) enum Piece {
    /// Decoded from a file.
    Owned {
        /// Order of the source: the larger is newer.
        rank: u64,
        /// Ascending, each once.
        times_ns: Vec<i64>,
        /// As many values.
        values: Column,
    },
    /// Rows of a run that is kept decoded.
    Cached {
        /// Order of the source: the larger is newer.
        rank: u64,
        /// The run.
        run: Arc<Run>,
        /// Its rows.
        rows: Range<usize>,
    },
    /// Rows of a block in memory.
    Shared {
        /// Order of the source: the larger is newer. Blocks of one generation share it, arrivals decide between them.
        rank: u64,
        /// The block.
        block: Arc<Block>,
        /// Its rows.
        rows: Range<usize>,
        /// Number of the column in the block.
        column: usize,
    },
}

impl Piece {
    fn rank(&self) -> u64 {
        match self {
            Piece::Owned { rank, .. } | Piece::Cached { rank, .. } | Piece::Shared { rank, .. } => *rank,
        }
    }

    pub(crate) fn times_ns(&self) -> &[i64] {
        match self {
            Piece::Owned { times_ns, .. } => times_ns,
            Piece::Cached { run, rows, .. } => &run.times_ns[rows.clone()],
            Piece::Shared { block, rows, .. } => &block.times_ns()[rows.clone()],
        }
    }

    /// Where the points are.
    pub(crate) fn stretch(&self) -> Stretch<'_> {
        match self {
            Piece::Owned { times_ns, values, .. } => Stretch { times_ns, values, rows: 0..times_ns.len() },
            Piece::Cached { run, rows, .. } => {
                Stretch { times_ns: &run.times_ns, values: &run.values, rows: rows.clone() }
            }
            Piece::Shared { block, rows, column, .. } => {
                Stretch { times_ns: block.times_ns(), values: block.column(*column), rows: rows.clone() }
            }
        }
    }

    /// The points alone.
    pub(crate) fn into_points(self) -> (Vec<i64>, Column) {
        match self {
            Piece::Owned { times_ns, values, .. } => (times_ns, values),
            shared => {
                let (mut times_ns, mut out) = room(std::slice::from_ref(&shared));
                shared.extend(0..shared.times_ns().len(), &mut times_ns, &mut out);
                (times_ns, out)
            }
        }
    }

    fn arrival(&self, row: usize) -> u32 {
        match self {
            Piece::Owned { .. } | Piece::Cached { .. } => 0,
            Piece::Shared { block, rows, .. } => block.arrivals()[rows.start + row],
        }
    }

    fn values(&self) -> (&Column, usize) {
        match self {
            Piece::Owned { values, .. } => (values, 0),
            Piece::Cached { run, rows, .. } => (&run.values, rows.start),
            Piece::Shared { block, rows, column, .. } => (block.column(*column), rows.start),
        }
    }

    fn extend(&self, rows: Range<usize>, times_ns: &mut Vec<i64>, out: &mut Column) {
        times_ns.extend_from_slice(&self.times_ns()[rows.clone()]);
        let (values, offset) = self.values();
        out.extend_from(values, rows.start + offset..rows.end + offset);
    }
}

/// Makes pieces of one type, none of them empty, ascend in time and be apart: those of which any overlap become one.
pub(crate) fn set_apart(pieces: &mut Vec<Piece>) {
    pieces.sort_by_key(|p| p.times_ns()[0]);
    let apart = pieces.windows(2).all(|w| w[0].times_ns().last() < w[1].times_ns().first());
    if !apart {
        let (times_ns, values) = merge(std::mem::take(pieces));
        pieces.push(Piece::Owned { rank: 0, times_ns, values });
    }
}

/// One stream of pieces that ascend and are apart.
pub(crate) fn join(pieces: Vec<Piece>) -> (Vec<i64>, Column) {
    let (mut times_ns, mut out) = room(&pieces);
    pieces.iter().for_each(|p| p.extend(0..p.times_ns().len(), &mut times_ns, &mut out));
    (times_ns, out)
}

/// Room for all rows of some pieces.
fn room(pieces: &[Piece]) -> (Vec<i64>, Column) {
    let rows = pieces.iter().map(|p| p.times_ns().len()).sum();
    let field_type = pieces.first().map(|p| p.values().0.field_type()).expect("a stream has at least one piece");
    (Vec::with_capacity(rows), Column::with_capacity(field_type, rows))
}

/// Merges pieces of one type, none of them empty. Times ascend in the result, each once.
fn merge(pieces: Vec<Piece>) -> (Vec<i64>, Column) {
    let (mut times_ns, mut out) = room(&pieces);
    // The pieces are sorted runs, which the standard stable sort finds and merges.
    let mut order: Vec<(i64, u64, u32, u32, u32)> = Vec::with_capacity(times_ns.capacity());
    for (number, piece) in pieces.iter().enumerate() {
        let rank = piece.rank();
        order.extend(
            piece.times_ns().iter().enumerate().map(|(i, &t)| (t, rank, piece.arrival(i), number as u32, i as u32)),
        );
    }
    order.sort_by_key(|&(time, rank, arrival, ..)| (time, rank, arrival));
    let mut run: Option<(u32, Range<usize>)> = None;
    for (i, &(time, _, _, piece, row)) in order.iter().enumerate() {
        if order.get(i + 1).is_some_and(|next| next.0 == time) {
            continue;
        }
        let row = row as usize;
        match &mut run {
            Some((p, rows)) if *p == piece && rows.end == row => rows.end += 1,
            _ => {
                if let Some((p, rows)) = run.take() {
                    pieces[p as usize].extend(rows, &mut times_ns, &mut out);
                }
                run = Some((piece, row..row + 1));
            }
        }
    }
    if let Some((p, rows)) = run {
        pieces[p as usize].extend(rows, &mut times_ns, &mut out);
    }
    (times_ns, out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_newest_source_wins(pieces in prop::collection::vec(prop::collection::btree_map(0_i64..40, 0_i64..1000, 1..20), 1..6)) {
            let mut model = std::collections::BTreeMap::new();
            pieces.iter().for_each(|p| model.extend(p.clone()));
            let owned = pieces
                .iter()
                .enumerate()
                .map(|(rank, p)| Piece::Owned {
                    rank: rank as u64,
                    times_ns: p.keys().copied().collect(),
                    values: Column::Integer(p.values().copied().collect()),
                })
                .rev()
                .collect();
            let mut pieces: Vec<Piece> = owned;
            set_apart(&mut pieces);
            let (times, values) = join(pieces);
            prop_assert_eq!(times, model.keys().copied().collect::<Vec<_>>());
            prop_assert_eq!(values, Column::Integer(model.values().copied().collect()));
        }
    }
}
