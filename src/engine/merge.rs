//! Several sorted pieces of one stream made one: of equal times the newest write wins.

use std::ops::Range;
use std::sync::Arc;

use rhythmite_model::Column;

use crate::decoded::Run;
use crate::memtable::Block;
use crate::overlap::{Span, contested, within};
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

    /// The first and the last time; it is not empty.
    fn span_ns(&self) -> Span {
        let times_ns = self.times_ns();
        (times_ns[0], times_ns[times_ns.len() - 1])
    }

    /// Some of its rows, counted from its first.
    fn slice(&self, part: Range<usize>) -> Piece {
        match self {
            Piece::Owned { rank, .. } => {
                let (mut times_ns, mut values) =
                    (Vec::with_capacity(part.len()), Column::with_capacity(self.values().0.field_type(), part.len()));
                self.extend(part, &mut times_ns, &mut values);
                Piece::Owned { rank: *rank, times_ns, values }
            }
            Piece::Cached { rank, run, rows } => {
                Piece::Cached { rank: *rank, run: run.clone(), rows: rows.start + part.start..rows.start + part.end }
            }
            Piece::Shared { rank, block, rows, column } => {
                let rows = rows.start + part.start..rows.start + part.end;
                Piece::Shared { rank: *rank, block: block.clone(), rows, column: *column }
            }
        }
    }

    /// Adds what lies in none of the spans to `beside`, what lies in one of them to the list of that span.
    fn cut(self, spans: &[Span], beside: &mut Vec<Piece>, over: &mut [Vec<Piece>]) {
        let (first, last) = self.span_ns();
        let mut row = 0;
        let mut number = spans.partition_point(|span| span.1 < first);
        while let Some(span) = spans.get(number).filter(|span| within(**span, (first, last)).is_some()) {
            if span.0 <= first && last <= span.1 {
                over[number].push(self);
                return;
            }
            let times_ns = self.times_ns();
            let from = row + times_ns[row..].partition_point(|t| *t < span.0);
            let to = from + times_ns[from..].partition_point(|t| *t <= span.1);
            if row < from {
                beside.push(self.slice(row..from));
            }
            if from < to {
                over[number].push(self.slice(from..to));
            }
            (row, number) = (to, number + 1);
        }
        match row {
            0 => beside.push(self),
            row if row < self.times_ns().len() => beside.push(self.slice(row..self.times_ns().len())),
            _ => {}
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

/// Makes pieces of one type, none of them empty, ascend in time and be apart: where some overlap, their points there become one
/// piece, and what they have beside stays where it is.
pub(crate) fn set_apart(pieces: &mut Vec<Piece>) {
    // PERF: most of what overlaps does so at an end. Proof: `cargo bench -p rhythmite-engine --bench overlaps`.
    let mut spans: Vec<Span> = pieces.iter().map(Piece::span_ns).collect();
    let contested = contested(&mut spans);
    if !contested.is_empty() {
        let mut over: Vec<Vec<Piece>> = contested.iter().map(|_| Vec::new()).collect();
        for piece in std::mem::take(pieces) {
            piece.cut(&contested, pieces, &mut over);
        }
        for mut parts in over {
            match parts.len() {
                0 | 1 => pieces.append(&mut parts),
                _ => {
                    let (times_ns, values) = merge(parts);
                    pieces.push(Piece::Owned { rank: 0, times_ns, values });
                }
            }
        }
    }
    pieces.sort_by_key(|piece| piece.times_ns()[0]);
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

    fn cached(rank: u64, times_ns: std::ops::Range<i64>) -> Piece {
        let rows = 0..times_ns.clone().count();
        let values = Column::Integer(times_ns.clone().map(|t| t * 10 + rank as i64).collect());
        Piece::Cached { rank, run: Arc::new(Run { times_ns: Arc::new(times_ns.collect()), values }), rows }
    }

    #[test]
    fn what_lies_beside_others_stays_where_it_is() {
        let long = cached(1, 0..100);
        let run = match &long {
            Piece::Cached { run, .. } => run.clone(),
            _ => unreachable!("it was made so"),
        };
        let mut pieces = vec![cached(2, 90..120), long, cached(3, 40..42)];
        set_apart(&mut pieces);
        let form = |piece: &Piece| match piece {
            Piece::Cached { run: found, rows, .. } => (Arc::ptr_eq(found, &run), false, rows.len()),
            _ => (false, true, piece.times_ns().len()),
        };
        let expected = [(true, false, 40), (false, true, 2), (true, false, 48), (false, true, 10), (false, false, 20)];
        assert_eq!(pieces.iter().map(form).collect::<Vec<_>>(), expected);
        let (times, values) = join(pieces);
        assert_eq!(times, (0..120).collect::<Vec<_>>());
        let newest = |t| if (40..42).contains(&t) { 3 } else { 1 + i64::from(t >= 90) };
        assert_eq!(values, Column::Integer((0..120).map(|t| t * 10 + newest(t)).collect()));
    }

    #[test]
    fn a_piece_in_a_gap_of_another_is_not_copied() {
        let mut pieces = vec![cached(1, 10..12), {
            let times_ns = Arc::new(vec![0, 1, 50, 51]);
            let values = Column::Integer(vec![0; 4]);
            Piece::Cached { rank: 2, run: Arc::new(Run { times_ns, values }), rows: 0..4 }
        }];
        set_apart(&mut pieces);
        assert!(pieces.iter().all(|piece| matches!(piece, Piece::Cached { .. })));
        assert_eq!(join(pieces).0, [0, 1, 10, 11, 50, 51]);
    }
}
