//! How many files and sockets the process may have open.
//!
//! Systems start a process with a low soft limit, for the sake of programs that use `select`; the hard limit is what the
//! administrator allows. A server takes what it is allowed.

/// The part of the limit that points files may use: the rest is for connections, the log, the catalogue and merges.
const POINTS_FILES_PART: u64 = 4;
/// More open files gain nothing: a file is opened in microseconds.
const POINTS_FILES_MAX: u64 = 4_096;
const POINTS_FILES_MIN: u64 = 16;
/// Below this a server with its connections may run out.
const COMFORTABLE: u64 = 4_096;

/// Raises the soft limit to the hard one; returns the limit that holds now.
pub(super) fn raise() -> u64 {
    let raised = rlimit::increase_nofile_limit(rlimit::INFINITY);
    let limit = raised.or_else(|e| {
        tracing::warn!("the limit on open files cannot be raised: {e}");
        rlimit::getrlimit(rlimit::Resource::NOFILE).map(|(soft, _)| soft)
    });
    // The least that a system gives by custom, where it does not tell.
    let limit = limit.unwrap_or(256);
    if limit < COMFORTABLE {
        tracing::warn!(open_files = limit, "few files and connections may be open at a time: raise `ulimit -Hn`");
    } else {
        tracing::info!(open_files = limit, "files and connections that may be open at a time");
    }
    limit
}

/// How many points files the engine keeps open under a limit.
pub(super) fn points_files(limit: u64) -> usize {
    (limit / POINTS_FILES_PART).clamp(POINTS_FILES_MIN, POINTS_FILES_MAX) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let (_, hard) = rlimit::getrlimit(rlimit::Resource::NOFILE).unwrap();
        rlimit::setrlimit(rlimit::Resource::NOFILE, hard.min(300), hard).unwrap();
        assert_eq!(raise(), hard);
        assert_eq!(rlimit::getrlimit(rlimit::Resource::NOFILE).unwrap(), (hard, hard));
    }

    #[test]
    fn points_files_leave_room_for_connections() {
        for (limit, expected) in [(20, 16), (256, 64), (1_024, 256), (65_536, 4_096), (u64::MAX, 4_096)] {
            assert_eq!(points_files(limit), expected, "{limit}");
        }
    }
}
