//! Bodies: read within the limits, unpacked.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use flate2::read::MultiGzDecoder;
use futures::StreamExt;
use tokio::time::timeout;

use super::InfluxApi;
use super::reply::Refused;

/// The two bytes every gzip file starts with; no line can.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// What is asked of the budget at least, so that small bodies do not ask for each piece.
const GRANT_BYTES: usize = 64 * 1024;

/// Bytes taken from the budget of all bodies; given back when dropped.
struct Grant {
    api: Arc<InfluxApi>,
    bytes: usize,
}

impl Grant {
    fn new(api: &Arc<InfluxApi>) -> Self {
        Self { api: api.clone(), bytes: 0 }
    }

    /// Makes the grant at least `bytes`.
    fn grow_to(&mut self, bytes: usize) -> Result<(), Refused> {
        if bytes <= self.bytes {
            return Ok(());
        }
        let more = (bytes - self.bytes).max(GRANT_BYTES);
        let held = self.api.body_bytes.fetch_add(more, Ordering::Relaxed);
        self.bytes += more;
        if held + more > self.api.limits.bodies_bytes_max {
            self.api.counters.influx_busy_bodies.one();
            return Err(Refused::overloaded("too many bytes of requests are held in memory, try again later"));
        }
        Ok(())
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.api.body_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A body as sent, within the limits.
pub(super) struct Received {
    bytes: Vec<u8>,
    grant: Grant,
    packed: bool,
    unpacked_max: usize,
}

/// A body that is in use; counts against the budget until dropped.
pub(super) struct Unpacked {
    bytes: Vec<u8>,
    _grant: Grant,
}

impl std::ops::Deref for Unpacked {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads a body, which may have `unpacked_max` bytes when it is unpacked.
///
/// # Errors
/// 413 above the limits; 415 for an encoding other than gzip; 503 when too many bodies are held; 408 if the
/// client pauses for too long, 400 if it breaks off.
pub(super) async fn receive(
    api: &Arc<InfluxApi>,
    headers: &HeaderMap,
    body: Body,
    unpacked_max: usize,
) -> Result<Received, Refused> {
    let max = api.limits.body_bytes_max.min(unpacked_max);
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|bytes| bytes > max) {
        return Err(Refused::too_large());
    }
    let packed = is_packed(headers)?;
    let mut grant = Grant::new(api);
    let mut bytes = Vec::new();
    let mut pieces = body.into_data_stream();
    let late = |_| {
        api.counters.influx_body_timeouts.one();
        Refused::new(StatusCode::REQUEST_TIMEOUT, "the rest of the body did not come in time")
    };
    while let Some(piece) = timeout(api.limits.body_pause, pieces.next()).await.map_err(late)? {
        let piece = piece.map_err(|error| Refused::bad(format!("cannot read the body: {error}")))?;
        if bytes.len() + piece.len() > max {
            return Err(Refused::too_large());
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

fn is_packed(headers: &HeaderMap) -> Result<bool, Refused> {
    let encoding = headers.get(header::CONTENT_ENCODING).map_or(&b""[..], |value| value.as_bytes());
    match encoding.trim_ascii() {
        b"" => Ok(false),
        e if e.eq_ignore_ascii_case(b"identity") => Ok(false),
        e if e.eq_ignore_ascii_case(b"gzip") => Ok(true),
        other => Err(Refused::encoding(&String::from_utf8_lossy(other))),
    }
}

impl Received {
    /// Takes the gzip off, if there is any. Costs milliseconds per megabyte: not for the io runtime.
    ///
    /// # Errors
    /// 400 with the texts of Go's gzip; 413 if more comes out than the limit allows.
    pub(super) fn unpack(mut self) -> Result<Unpacked, Refused> {
        if !self.packed {
            return Ok(Unpacked { bytes: self.bytes, _grant: self.grant });
        }
        let max = self.unpacked_max;
        let (mut out, mut buffer) = (Vec::new(), vec![0; GRANT_BYTES]);
        let mut decoder = MultiGzDecoder::new(self.bytes.as_slice());
        loop {
            let read = decoder.read(&mut buffer).map_err(|error| Refused::bad(gzip_text(&error)))?;
            if read == 0 {
                return Ok(Unpacked { bytes: out, _grant: self.grant });
            }
            if out.len() + read > max {
                return Err(Refused::too_large());
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
