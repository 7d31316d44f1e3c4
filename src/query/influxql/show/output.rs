//! Rows on their way to the sink: pages, the limit on rows, the interrupt.

use std::borrow::Cow;

use rhythmite_influx::answer::{Cell, SeriesHead};
use rhythmite_influx::influxql::ShowClauses;

use crate::query::influxql::context::{Context, Request};
use crate::query::influxql::failure::{Failure, Result};
use crate::query::influxql::sink::ResultSink;

/// Rows between two looks at the interrupt.
const ROWS_PER_CHECK: u64 = 1024;

/// Writes a statement's series.
pub(super) struct Output<'a> {
    context: &'a Context,
    request: &'a Request,
    sink: &'a mut dyn ResultSink,
    /// Rows written, over all series.
    rows: u64,
}

impl<'a> Output<'a> {
    pub(super) fn new(context: &'a Context, request: &'a Request, sink: &'a mut dyn ResultSink) -> Self {
        Self { context, request, sink, rows: 0 }
    }

    /// Fails when the query must stop.
    pub(super) fn check(&self) -> Result<()> {
        match self.request.interrupt.reason(&*self.context.clock) {
            Some(reason) => Err(Failure::new(reason)),
            None => Ok(()),
        }
    }

    /// Begins a series; [`row`](Self::row)s and [`end`](Self::end) follow.
    pub(super) fn begin(&mut self, name: &str, tags: &[(&str, &str)], columns: &[&str]) {
        self.sink.begin_series(&SeriesHead {
            name: Cow::Borrowed(name),
            tags: tags.iter().map(|&(key, value)| (Cow::Borrowed(key), Cow::Borrowed(value))).collect(),
            columns: columns.iter().map(|&column| Cow::Borrowed(column)).collect(),
        });
    }

    /// Writes a row; false if the limit on rows is reached and it was not written.
    pub(super) fn row(&mut self, cells: &[Cell<'_>]) -> Result<bool> {
        let limit = self.context.limits.rows_max;
        if limit > 0 && self.rows >= limit {
            return Ok(false);
        }
        if self.rows.is_multiple_of(ROWS_PER_CHECK) {
            self.check()?;
        }
        self.rows += 1;
        self.sink.row(cells);
        Ok(true)
    }

    /// Ends a series; `whole` is false if the limit on rows cut it short.
    pub(super) fn end(&mut self, whole: bool) {
        self.sink.end_series(!whole);
    }

    /// A series as a whole, even without rows.
    pub(super) fn series<'c>(
        &mut self,
        name: &str,
        columns: &[&str],
        rows: impl IntoIterator<Item = Vec<Cell<'c>>>,
    ) -> Result<()> {
        self.tagged(name, &[], columns, rows)
    }

    /// [`series`](Self::series) with tags.
    pub(super) fn tagged<'c>(
        &mut self,
        name: &str,
        tags: &[(&str, &str)],
        columns: &[&str],
        rows: impl IntoIterator<Item = Vec<Cell<'c>>>,
    ) -> Result<()> {
        self.begin(name, tags, columns);
        let mut whole = Ok(true);
        for row in rows {
            whole = self.row(&row);
            if !matches!(whole, Ok(true)) {
                break;
            }
        }
        self.end(*whole.as_ref().unwrap_or(&true));
        whole.map(|_| ())
    }
}

/// Which part of a list is wanted.
#[derive(Clone, Copy)]
pub(super) struct Page {
    offset: usize,
    limit: usize,
}

impl Page {
    /// `LIMIT` and `OFFSET`.
    pub(super) fn of_rows(clauses: &ShowClauses) -> Self {
        Self::new(clauses.limit, clauses.offset)
    }

    /// `SLIMIT` and `SOFFSET`.
    pub(super) fn of_series(clauses: &ShowClauses) -> Self {
        Self::new(clauses.slimit, clauses.soffset)
    }

    fn new(limit: u64, offset: u64) -> Self {
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Self { offset: size(offset), limit: if limit == 0 { usize::MAX } else { size(limit) } }
    }

    /// The wanted part of a list.
    pub(super) fn cut<I: Iterator>(self, items: I) -> impl Iterator<Item = I::Item> {
        items.skip(self.offset).take(self.limit)
    }

    /// The wanted part of the next `count` items of a longer list; the page of what follows them is left.
    pub(super) fn advance(&mut self, count: usize) -> std::ops::Range<usize> {
        let start = self.offset.min(count);
        let end = start.saturating_add(self.limit).min(count);
        self.offset -= start;
        if self.limit != usize::MAX {
            self.limit -= end - start;
        }
        start..end
    }

    /// Whether nothing more is wanted.
    pub(super) fn is_done(self) -> bool {
        self.limit == 0
    }
}
