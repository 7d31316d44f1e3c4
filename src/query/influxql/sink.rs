use rhythmite_influx::answer::{Cell, Message, SeriesHead};

/// Takes an answer piece by piece, in this order: for each statement `begin_statement`; for each of its series
/// `begin_series`, `row`s, `end_series`; `message`s and at most one `error`, between series; `end_statement`.
pub trait ResultSink {
    /// A statement begins; `whole` if its answer is never split into chunks.
    fn begin_statement(&mut self, statement_id: u32, whole: bool);

    /// A series begins.
    fn begin_series(&mut self, head: &SeriesHead<'_>);

    /// A row of the series, as long as its columns.
    fn row(&mut self, cells: &[Cell<'_>]);

    /// The series ends; `partial` if a limit cut it short.
    fn end_series(&mut self, partial: bool);

    /// Something the client should know about the statement.
    fn message(&mut self, message: Message);

    /// The statement has failed, perhaps behind some series.
    fn error(&mut self, text: &str);

    /// The statement ends.
    fn end_statement(&mut self);
}
