//! One connection of the admin interface: a line in, a reply out.

use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;

use super::{Message, Statsd};
use crate::adapter::tcp::{Connection, End};

/// A command is short; a longer line ends the connection.
const COMMAND_BYTES_MAX: usize = 64 << 10;

pub(super) async fn serve(mut connection: Connection, statsd: Statsd) {
    let mut pending: Vec<u8> = Vec::new();
    let mut done = false;
    while !done {
        match connection.read(|bytes| pending.extend_from_slice(bytes)).await {
            Ok(()) => {}
            // The reference answers a command without its line feed too; here it is not complete.
            Err(End::Closed | End::Idle | End::Stopping | End::Failed(_)) => return,
        }
        while let Some(end) = memchr::memchr(b'\n', &pending) {
            let line = String::from_utf8_lossy(&pending[..end]).into_owned();
            pending.drain(..=end);
            let (reply, answer) = oneshot::channel();
            if statsd.queue.send(Message::Admin { line, reply }).await.is_err() {
                return;
            }
            let Ok(answer) = answer.await else { return };
            if connection.stream.write_all(answer.text.as_bytes()).await.is_err() || answer.close {
                done = true;
                break;
            }
        }
        done |= pending.len() > COMMAND_BYTES_MAX;
    }
    let _ = connection.stream.shutdown().await;
}
