//! Bodies of requests: read within the limits, unpacked.
//!
//! All interfaces draw on one budget, [`Bodies`]: a body takes from it while it arrives and until it is dropped. Limits:
//! bytes as sent and unpacked (the caller's), bytes of all bodies, and how long one may pause. A hit is a [`BodyError`]
//! with its status; what is counted is counted here, a 413 by the server.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use flate2::read::MultiGzDecoder;
use futures::StreamExt;
use tokio::time::timeout;

use crate::counters::Counters;

/// The two bytes every gzip file starts with; no line can.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// What is asked of the budget at least, so that small bodies do not ask for each piece.
const GRANT_BYTES: usize = 64 * 1024;

/// The budget of all bodies.
pub struct Bodies {
    bytes_max: usize,
    pause: Duration,
    counters: Arc<Counters>,
    held: AtomicUsize,
}

/// Why there is no body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyError {
    /// 400 for one that breaks off or is no gzip, 408, 413, 415 for an encoding other than gzip, 503.
    pub status: StatusCode,
    /// For the client.
    pub text: String,
}

impl BodyError {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large")
    }
}

/// Bytes that one body may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyMax {
    /// As sent.
    pub sent: usize,
    /// When it is unpacked.
    pub unpacked: usize,
}

impl BodyMax {
    /// As many as sent as unpacked.
    pub fn both(bytes: usize) -> Self {
        Self { sent: bytes, unpacked: bytes }
    }
}

/// Bytes taken from the budget of all bodies; given back when dropped.
struct Grant {
    bodies: Arc<Bodies>,
    bytes: usize,
}

impl Grant {
    fn new(bodies: &Arc<Bodies>) -> Self {
        Self { bodies: bodies.clone(), bytes: 0 }
    }

    /// Makes the grant at least `bytes`.
    fn grow_to(&mut self, bytes: usize) -> Result<(), BodyError> {
        if bytes <= self.bytes {
            return Ok(());
        }
        let more = (bytes - self.bytes).max(GRANT_BYTES);
        let held = self.bodies.held.fetch_add(more, Ordering::Relaxed);
        self.bytes += more;
        if held + more > self.bodies.bytes_max {
            self.bodies.counters.http_busy_bodies.one();
            let text = "too many bytes of requests are held in memory, try again later";
            return Err(BodyError::new(StatusCode::SERVICE_UNAVAILABLE, text));
        }
        Ok(())
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.bodies.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A body as sent, within the limits.
pub struct Received {
    bytes: Vec<u8>,
    grant: Grant,
    packed: bool,
    unpacked_max: usize,
}

/// A body that is in use; counts against the budget until dropped.
pub struct Unpacked {
    bytes: Vec<u8>,
    _grant: Grant,
}

impl std::ops::Deref for Unpacked {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Bodies {
    /// A budget of `bytes_max`; a body that pauses for longer than `pause` is given up.
    pub fn new(bytes_max: usize, pause: Duration, counters: Arc<Counters>) -> Self {
        Self { bytes_max, pause, counters, held: AtomicUsize::new(0) }
    }

    /// Bytes that are held.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Reads a body and unpacks it, on a thread that may be busy if there is anything to unpack.
    ///
    /// # Errors
    /// As [`receive`] and [`Received::unpack`].
    pub async fn read(self: &Arc<Self>, headers: &HeaderMap, body: Body, max: BodyMax) -> Result<Unpacked, BodyError> {
        let received = receive(self, headers, body, max).await?;
        if !received.packed {
            return received.unpack();
        }
        let panicked = |_| BodyError::new(StatusCode::INTERNAL_SERVER_ERROR, "the request has panicked");
        tokio::task::spawn_blocking(|| received.unpack()).await.map_err(panicked)?
    }
}

/// Reads a body.
///
/// # Errors
/// 413 above the limits; 415 for an encoding other than gzip; 503 when too many bodies are held; 408 if the
/// client pauses for too long, 400 if it breaks off.
pub async fn receive(
    bodies: &Arc<Bodies>,
    headers: &HeaderMap,
    body: Body,
    max: BodyMax,
) -> Result<Received, BodyError> {
    let (max, unpacked_max) = (max.sent.min(max.unpacked), max.unpacked);
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|bytes| bytes > max) {
        return Err(BodyError::too_large());
    }
    let packed = is_packed(headers)?;
    let mut grant = Grant::new(bodies);
    let mut bytes = Vec::new();
    let mut pieces = body.into_data_stream();
    let late = |_| {
        bodies.counters.http_body_timeouts.one();
        BodyError::new(StatusCode::REQUEST_TIMEOUT, "the rest of the body did not come in time")
    };
    while let Some(piece) = timeout(bodies.pause, pieces.next()).await.map_err(late)? {
        let piece =
            piece.map_err(|error| BodyError::new(StatusCode::BAD_REQUEST, format!("cannot read the body: {error}")))?;
        if bytes.len() + piece.len() > max {
            return Err(BodyError::too_large());
        }
        grant.grow_to(bytes.len() + piece.len())?;
        if bytes.is_empty() {
            // What is declared is not believed further than the first grants.
            bytes.reserve(declared.unwrap_or(0).min(GRANT_BYTES).max(piece.len()));
        }
        bytes.extend_from_slice(&piece);
    }
    let packed = packed || bytes.starts_with(&GZIP_MAGIC);
    Ok(Received { bytes, grant, packed, unpacked_max })
}

fn is_packed(headers: &HeaderMap) -> Result<bool, BodyError> {
    let encoding = headers.get(header::CONTENT_ENCODING).map_or(&b""[..], |value| value.as_bytes());
    match encoding.trim_ascii() {
        b"" => Ok(false),
        e if e.eq_ignore_ascii_case(b"identity") => Ok(false),
        e if e.eq_ignore_ascii_case(b"gzip") => Ok(true),
        other => {
            let text = format!("Content-Encoding {:?} is not supported (use gzip)", String::from_utf8_lossy(other));
            Err(BodyError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text))
        }
    }
}

impl Received {
    /// Takes the gzip off, if there is any. Costs milliseconds per megabyte: not for the io runtime.
    ///
    /// # Errors
    /// 400 with the texts of Go's gzip; 413 if more comes out than the limit allows.
    pub fn unpack(mut self) -> Result<Unpacked, BodyError> {
        if !self.packed {
            return Ok(Unpacked { bytes: self.bytes, _grant: self.grant });
        }
        let max = self.unpacked_max;
        let (mut out, mut buffer) = (Vec::new(), vec![0; GRANT_BYTES]);
        let mut decoder = MultiGzDecoder::new(self.bytes.as_slice());
        loop {
            let read = decoder
                .read(&mut buffer)
                .map_err(|error| BodyError::new(StatusCode::BAD_REQUEST, gzip_text(&error)))?;
            if read == 0 {
                return Ok(Unpacked { bytes: out, _grant: self.grant });
            }
            if out.len() + read > max {
                return Err(BodyError::too_large());
            }
            self.grant.grow_to(self.bytes.len() + out.len() + read)?;
            out.extend_from_slice(&buffer[..read]);
        }
    }
}

fn gzip_text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "unexpected EOF".to_owned(),
        _ if error.to_string().contains("header") => "gzip: invalid header".to_owned(),
        _ if error.to_string().contains("checksum") => "gzip: invalid checksum".to_owned(),
        _ => format!("flate: corrupt input: {error}"),
    }
}
