//! The engine's points as Arrow record batches: a DataFusion table over [`Snapshot::scan`].
//!
//! In the order of events: [`QueryScope`] fixes what one query sees (snapshot, clock); [`TableSchema`] says which columns
//! a table has; [`TsTable`] takes the filters of a query apart: conditions on `time` become a time range (`time.rs`), those
//! on tags and on `path` a list of series from the registry's indexes (`select.rs`), without touching a point;
//! [`TsScanExec`] walks the series of its partition and hands them to `rows.rs`, which makes batches of them.
//!
//! A condition that compares a field with a constant is the scan's too (`predicate.rs`): its field is read first, the others
//! only of series, and in the range of time, in which rows meet it.
//!
//! Plans that are no more than a question to one table ([`TsQuery`]) are answered without DataFusion's operators: groups by
//! `agg`, rows by `choose.rs`.
//!
//! Rows come series by series, by time; where series are long, slice of time by slice of time. The fields of one series are joined by time: a row stands for
//! a time at which any field of the series has a value. So of fields that a query does not name the times are read, too,
//! unless the query leaves out rows without the named ones (`WHERE usage IS NOT NULL`).
//!
//! Levels: where a policy has coarser ones, each moment is read from the finest level whose retention still covers it,
//! as seen from the query's own `now`. Of Graphite's coarser levels a row is a window, its value what the series' method and
//! xFilesFactor make of it; no moment is in two rows.
//!
//! Where raw points have gone an aggregate of fields that no tier answers is refused (`refuse.rs`).
//!
//! Limits: a partition holds the points of one series at a time (in one slice of time, sized for a series of average
//! length) and one batch; the points are charged to the query's memory pool. It never collects, never blocks on a socket, and knows no SQL text.
//!
//! [`Snapshot::scan`]: rhythmite_engine::Snapshot::scan

mod agg;
mod align;
mod backwards;
mod choose;
mod exec;
mod leaf;
mod predicate;
mod provider;
mod query;
mod refuse;
mod rows;
mod schema;
pub(in crate::query) mod scope;
mod select;
#[cfg(test)]
mod tests;
mod time;

pub use agg::TsAggExec;
pub use exec::TsScanExec;
pub use provider::TsTable;
pub use query::{TsQuery, TsShape};
pub use refuse::refuse_gone;
pub use schema::{ColumnKind, TAG_COLUMNS_MAX, TableSchema, tag_column_name};
pub use scope::QueryScope;
