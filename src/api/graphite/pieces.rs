//! Long answers, made piece by piece as the client reads them.
//!
//! A piece takes a tenth of a millisecond, so it is made where it is asked for. What the answer is made of stays in
//! memory meanwhile; a client that does not read for [`PAUSE_MAX`] loses it, and its connection.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::stream;
use rhythmite_graphite::answer::render::Pieces;

use crate::counters::Counters;

/// How long a client may not read.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What is left of an answer.
struct Rest {
    pieces: Option<Pieces>,
    /// Pieces taken: that it grows shows that somebody reads.
    taken: u64,
}

/// The body that `pieces` make.
pub(super) fn body(pieces: Pieces, counters: Arc<Counters>, pause: Duration) -> Body {
    let rest = Arc::new(Mutex::new(Rest { pieces: Some(pieces), taken: 0 }));
    tokio::spawn(watch(Arc::downgrade(&rest), counters, pause));
    let stream = stream::iter(std::iter::from_fn(move || {
        let mut rest = rest.lock().unwrap_or_else(PoisonError::into_inner);
        rest.taken += 1;
        match &mut rest.pieces {
            Some(pieces) => pieces.next().map(|piece| Ok(Bytes::from(piece))),
            None => Some(Err(io::Error::new(io::ErrorKind::TimedOut, "the answer was not read"))),
        }
    }));
    Body::from_stream(stream)
}

/// Drops the answer once nobody has taken a piece of it for as long as `pause`.
async fn watch(rest: Weak<Mutex<Rest>>, counters: Arc<Counters>, pause: Duration) {
    let mut before = 0;
    loop {
        tokio::time::sleep(pause).await;
        let Some(rest) = rest.upgrade() else { return };
        let mut rest = rest.lock().unwrap_or_else(PoisonError::into_inner);
        if rest.taken == before {
            rest.pieces = None;
            counters.graphite_stalled.one();
            return;
        }
        before = rest.taken;
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use futures::StreamExt;
    use jiff::tz::TimeZone;
    use rhythmite_graphite::Series;
    use rhythmite_graphite::answer::{Params, RenderOptions, render};

    use super::*;

    fn pieces() -> Pieces {
        let format = [("format".to_owned(), "json".to_owned())];
        let options = RenderOptions::parse(Params(&format), 9, &TimeZone::UTC).unwrap();
        let series = Series::new("a", 0, 50_000, 1, vec![0.5; 50_000]);
        render::pieces(vec![series], &options, None).unwrap()
    }

    #[tokio::test]
    async fn who_reads_gets_all_of_it_and_who_does_not_loses_it() {
        let counters = Arc::new(Counters::default());
        let whole: Vec<u8> = pieces().flatten().collect();
        let body = |pause| super::body(pieces(), counters.clone(), pause);
        assert_eq!(to_bytes(body(PAUSE_MAX), usize::MAX).await.unwrap(), whole);
        let mut slow = body(Duration::from_secs(2)).into_data_stream();
        let mut read = 0;
        while let Some(piece) = slow.next().await {
            read += piece.unwrap().len();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert_eq!((read, counters.graphite_stalled.get()), (whole.len(), 0));
        let mut stalled = body(Duration::from_millis(50)).into_data_stream();
        assert!(stalled.next().await.unwrap().is_ok());
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(stalled.next().await.unwrap().is_err());
        assert_eq!(counters.graphite_stalled.get(), 1);
    }
}
