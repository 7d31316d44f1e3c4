//! One connection of the admin interface: a line in, a reply out.

use rhythmite_statsd::LineBuffer;
use tokio::io::AsyncWriteExt;

use super::Statsd;
use crate::adapter::tcp::Connection;

/// A command is short; a longer line is cut, and none that is known.
const COMMAND_BYTES_MAX: usize = 64 << 10;

pub(super) async fn serve(mut connection: Connection, statsd: Statsd) {
    let mut lines = LineBuffer::new(COMMAND_BYTES_MAX);
    'connection: loop {
        let mut commands = String::new();
        let take = |bytes: &[u8]| lines.feed(bytes, |whole| commands = String::from_utf8_lossy(whole).into_owned());
        if connection.read(take).await.is_err() {
            return;
        }
        for command in commands.lines() {
            let Some(reply) = statsd.queue.ask(command.to_owned()).await else { return };
            if !connection.send(reply.text.as_bytes()).await || reply.close {
                break 'connection;
            }
        }
    }
    // The peer may have gone.
    let _ = connection.stream.shutdown().await;
}
