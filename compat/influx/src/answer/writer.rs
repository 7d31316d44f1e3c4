use std::num::NonZeroUsize;

use super::accept::Format;
use super::csv::CsvEncoder;
use super::json::JsonEncoder;
use super::msgpack::MsgPackEncoder;
use super::shape::{Cell, Response, SeriesHead, StatementEnd};
use super::time::Epoch;

/// What the client asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerOptions {
    /// The form.
    pub format: Format,
    /// Indented JSON.
    pub pretty: bool,
    /// The unit of times; `None` for the form's own.
    pub epoch: Option<Epoch>,
    /// Rows per chunk; `None` for one document.
    pub chunk_rows: Option<NonZeroUsize>,
}

impl AnswerOptions {
    /// Rows per chunk if a client asks for chunks without a size it means.
    pub const DEFAULT_CHUNK_ROWS: NonZeroUsize = NonZeroUsize::new(10_000).expect("it is not zero");

    /// [`AnswerOptions::chunk_rows`] from a query's `chunked` and `chunk_size`; a size of zero or one
    /// that is no number is the default.
    pub fn chunk_rows_from_params(chunked: &str, chunk_size: &str) -> Option<NonZeroUsize> {
        (chunked == "true").then(|| chunk_size.parse().unwrap_or(Self::DEFAULT_CHUNK_ROWS))
    }
}

/// Writes an answer piece by piece; see the module for the order of calls. Wrong order panics.
#[derive(Debug)]
pub struct AnswerWriter {
    encoder: Encoder,
    chunk_rows: Option<NonZeroUsize>,
    in_document: bool,
    statement_id: u32,
    /// Whether this statement is split into chunks.
    chunked: bool,
    /// Whether the open document's result has a series already.
    has_series: bool,
    /// The open series, kept for its next chunk.
    head: Option<SeriesHead<'static>>,
    rows_in_chunk: usize,
}

impl AnswerWriter {
    /// A writer at the start of an answer.
    pub fn new(options: &AnswerOptions) -> Self {
        Self {
            encoder: Encoder::new(options),
            chunk_rows: options.chunk_rows,
            in_document: false,
            statement_id: 0,
            chunked: false,
            has_series: false,
            head: None,
            rows_in_chunk: 0,
        }
    }

    /// Begins a statement. `whole` keeps it in one chunk whatever its rows, as InfluxDB does with
    /// `SHOW MEASUREMENTS`.
    pub fn begin_statement(&mut self, statement_id: u32, whole: bool) {
        self.statement_id = statement_id;
        self.chunked = self.chunk_rows.is_some() && !whole;
        self.begin_part();
    }

    /// Begins a series.
    pub fn begin_series(&mut self, head: &SeriesHead<'_>) {
        if self.chunked {
            if self.has_series {
                self.next_chunk();
            }
            self.head = Some(head.to_owned_head());
        }
        self.encoder.begin_series(head);
        self.has_series = true;
        self.rows_in_chunk = 0;
    }

    /// Writes a row, as long as the columns.
    pub fn row(&mut self, cells: &[Cell<'_>]) {
        if self.chunked && self.chunk_rows.is_some_and(|rows| self.rows_in_chunk == rows.get()) {
            self.encoder.end_series(true);
            self.next_chunk();
            if let Some(head) = &self.head {
                self.encoder.begin_series(head);
            }
            self.has_series = true;
            self.rows_in_chunk = 0;
        }
        self.rows_in_chunk += 1;
        self.encoder.row(cells);
    }

    /// Ends a series; `partial` if a limit cut it short.
    pub fn end_series(&mut self, partial: bool) {
        self.encoder.end_series(partial);
    }

    /// Ends a statement.
    pub fn end_statement(&mut self, end: &StatementEnd) {
        self.encoder.end_result(end);
        if self.chunk_rows.is_some() {
            self.encoder.end_document();
            self.in_document = false;
        }
    }

    /// The bytes that may be sent now; later calls go on behind them. MessagePack gives whole
    /// documents only.
    pub fn take(&mut self) -> Vec<u8> {
        self.encoder.take()
    }

    /// Ends the answer and gives the bytes not taken yet.
    pub fn finish(mut self) -> Vec<u8> {
        if self.chunk_rows.is_none() {
            if !self.in_document {
                self.encoder.begin_document();
            }
            self.encoder.end_document();
        }
        self.encoder.take()
    }

    /// Begins a result, and the document around it if none is open.
    fn begin_part(&mut self) {
        if !self.in_document {
            self.encoder.begin_document();
            self.in_document = true;
        }
        self.encoder.begin_result(self.statement_id);
        self.has_series = false;
    }

    /// Ends a document whose statement goes on, and begins the next.
    fn next_chunk(&mut self) {
        self.encoder.end_result(&StatementEnd { partial: true, ..StatementEnd::default() });
        self.encoder.end_document();
        self.in_document = false;
        self.begin_part();
    }
}

/// Writes an answer that is there as a whole.
pub fn write_response(response: &Response<'_>, options: &AnswerOptions) -> Vec<u8> {
    let mut writer = AnswerWriter::new(options);
    for result in &response.results {
        writer.begin_statement(result.statement_id, false);
        for series in &result.series {
            writer.begin_series(&series.head);
            for row in &series.values {
                writer.row(row);
            }
            writer.end_series(series.partial);
        }
        writer.end_statement(&result.end);
    }
    writer.finish()
}

/// The body of a request refused as a whole: `{"error":"..."}` and its likes.
pub fn write_error(text: &str, options: &AnswerOptions) -> Vec<u8> {
    let mut encoder = Encoder::new(options);
    match &mut encoder {
        Encoder::Json(json) => json.error(text),
        Encoder::Csv(csv) => csv.error(text),
        Encoder::MsgPack(msgpack) => msgpack.error(text),
    }
    encoder.take()
}

/// Takes what was written and leaves room for as much.
fn taken(out: &mut Vec<u8>) -> Vec<u8> {
    let room = Vec::with_capacity(out.len() + out.len() / 8);
    std::mem::replace(out, room)
}

#[derive(Debug)]
enum Encoder {
    Json(JsonEncoder),
    Csv(CsvEncoder),
    MsgPack(MsgPackEncoder),
}

impl Encoder {
    fn new(options: &AnswerOptions) -> Self {
        match options.format {
            Format::Json => Encoder::Json(JsonEncoder::new(options.pretty, options.epoch)),
            Format::Csv => Encoder::Csv(CsvEncoder::new(options.epoch)),
            Format::MsgPack => Encoder::MsgPack(MsgPackEncoder::new(options.epoch)),
        }
    }

    fn take(&mut self) -> Vec<u8> {
        match self {
            Encoder::Json(json) => taken(json.out()),
            Encoder::Csv(csv) => taken(&mut csv.out),
            Encoder::MsgPack(msgpack) => msgpack.take(),
        }
    }

    fn begin_document(&mut self) {
        match self {
            Encoder::Json(json) => json.begin_document(),
            Encoder::Csv(_) => {}
            Encoder::MsgPack(msgpack) => msgpack.begin_document(),
        }
    }

    fn begin_result(&mut self, statement_id: u32) {
        match self {
            Encoder::Json(json) => json.begin_result(statement_id),
            Encoder::Csv(csv) => csv.begin_result(statement_id),
            Encoder::MsgPack(msgpack) => msgpack.begin_result(statement_id),
        }
    }

    fn begin_series(&mut self, head: &SeriesHead<'_>) {
        match self {
            Encoder::Json(json) => json.begin_series(head),
            Encoder::Csv(csv) => csv.begin_series(head),
            Encoder::MsgPack(msgpack) => msgpack.begin_series(head),
        }
    }

    fn row(&mut self, cells: &[Cell<'_>]) {
        match self {
            Encoder::Json(json) => json.row(cells),
            Encoder::Csv(csv) => csv.row(cells),
            Encoder::MsgPack(msgpack) => msgpack.row(cells),
        }
    }

    fn end_series(&mut self, partial: bool) {
        match self {
            Encoder::Json(json) => json.end_series(partial),
            Encoder::Csv(_) => {}
            Encoder::MsgPack(msgpack) => msgpack.end_series(partial),
        }
    }

    fn end_result(&mut self, end: &StatementEnd) {
        match self {
            Encoder::Json(json) => json.end_result(end),
            Encoder::Csv(_) => {}
            Encoder::MsgPack(msgpack) => msgpack.end_result(end),
        }
    }

    fn end_document(&mut self) {
        match self {
            Encoder::Json(json) => json.end_document(),
            Encoder::Csv(_) => {}
            Encoder::MsgPack(msgpack) => msgpack.end_document(),
        }
    }
}
