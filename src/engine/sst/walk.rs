//! The streams of a file in its order, holding one piece of the index at a time.

use std::sync::Arc;

use rhythmite_model::{Result, SeriesId};

use super::index::{StreamEntry, Streams};
use super::reader::SstReader;

/// Goes through the series of a file, forward only. A piece is loaded when a series within it is asked for.
pub struct Walk<'a> {
    reader: &'a SstReader,
    /// Number of the piece it is in; that of all pieces at the end.
    piece: usize,
    /// Its streams, if they are loaded.
    streams: Option<Arc<Streams>>,
    /// The series it is at, among those of the piece.
    position: usize,
    /// Pieces that are not in memory are not loaded.
    at_hand: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(reader: &'a SstReader, at_hand: bool) -> Self {
        Self { reader, piece: 0, streams: None, position: 0, at_hand }
    }

    /// The first series that is not below `series` nor below the one it is at; `None` at the end.
    ///
    /// # Errors
    /// `Corrupt` and those of the disk, of a piece that cannot be loaded.
    pub fn seek(&mut self, series: SeriesId) -> Result<Option<SeriesId>> {
        let pieces = self.reader.pieces();
        if pieces.get(self.piece).is_some_and(|piece| piece.last < series.0) {
            // Mostly it is the next one.
            let behind = self.piece + 1;
            let near = pieces.get(behind).is_none_or(|next| series.0 <= next.last);
            let further = || pieces[behind..].partition_point(|piece| piece.last < series.0);
            self.enter(behind + if near { 0 } else { further() });
        }
        match pieces.get(self.piece) {
            Some(piece) if self.position > 0 || series.0 > piece.first => {
                let from = self.position;
                let streams = self.load()?;
                let position = streams.seek(from, series);
                let found = streams.series[position];
                self.position = position;
                Ok(Some(SeriesId(found)))
            }
            Some(piece) => Ok(Some(SeriesId(piece.first))),
            None => Ok(None),
        }
    }

    /// The series it is at; `None` at the end.
    ///
    /// # Errors
    /// As [`Walk::seek`].
    pub fn series(&mut self) -> Result<Option<SeriesId>> {
        self.seek(SeriesId(0))
    }

    /// Goes to the next series, if there is one.
    pub fn advance(&mut self) {
        self.position += 1;
        if self.reader.pieces().get(self.piece).is_some_and(|piece| self.position >= piece.series as usize) {
            self.enter(self.piece + 1);
        }
    }

    /// The streams of the series it is at, ascending by field; none at the end.
    ///
    /// # Errors
    /// As [`Walk::seek`].
    pub fn streams(&mut self) -> Result<impl Iterator<Item = StreamEntry> + '_> {
        let position = self.position;
        let ended = self.piece >= self.reader.pieces().len();
        let streams = if ended { None } else { Some(self.load()?) };
        Ok(streams.into_iter().flat_map(move |streams| {
            let series = SeriesId(streams.series[position]);
            streams.range_at(position).map(move |i| streams.entry(series, i))
        }))
    }

    fn enter(&mut self, piece: usize) {
        (self.piece, self.streams, self.position) = (piece, None, 0);
    }

    fn load(&mut self) -> Result<&Arc<Streams>> {
        if self.streams.is_none() {
            self.streams = Some(match self.at_hand {
                true => self.reader.piece_at_hand(self.piece)?,
                false => self.reader.piece(self.piece)?,
            });
        }
        Ok(self.streams.as_ref().expect("it was just loaded"))
    }
}

/// Every stream of a file, in its order; ends with the first error.
pub struct Entries<'a> {
    reader: &'a SstReader,
    /// The next piece.
    next: usize,
    streams: Arc<Streams>,
    /// Series and stream that come next.
    series: usize,
    stream: usize,
}

impl<'a> Entries<'a> {
    pub(super) fn new(reader: &'a SstReader) -> Self {
        Self { reader, next: 0, streams: Arc::new(Streams::new(0)), series: 0, stream: 0 }
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<StreamEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.stream >= self.streams.len() {
            if self.next >= self.reader.pieces().len() {
                return None;
            }
            match self.reader.piece(self.next) {
                Ok(streams) => self.streams = streams,
                Err(e) => {
                    self.next = self.reader.pieces().len();
                    (self.streams, self.stream) = (Arc::new(Streams::new(0)), 0);
                    return Some(Err(e));
                }
            }
            self.next += 1;
            (self.series, self.stream) = (0, 0);
        }
        if self.stream >= self.streams.first_stream[self.series + 1] as usize {
            self.series += 1;
        }
        let entry = self.streams.entry(SeriesId(self.streams.series[self.series]), self.stream);
        self.stream += 1;
        Some(Ok(entry))
    }
}
