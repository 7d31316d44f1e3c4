//! Telling how far an import is: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use rhythmite_env::Clock;

/// Time between two lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// How far an import is.
pub struct Progress(Kind);

enum Kind {
    Silent,
    Bar(ProgressBar),
    Lines { total: (u64, u64), done: (u64, u64), next: Duration },
}

impl Progress {
    /// Says nothing.
    pub fn silent() -> Self {
        Self(Kind::Silent)
    }

    /// On standard error: a bar if that is a terminal, else lines.
    pub fn stderr() -> Self {
        if std::io::stderr().is_terminal() {
            return Self(Kind::Bar(ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())));
        }
        Self(Kind::Lines { total: (0, 0), done: (0, 0), next: Duration::ZERO })
    }

    pub(crate) fn start(&mut self, files: u64, bytes: u64) {
        match &mut self.0 {
            Kind::Silent => {}
            Kind::Bar(bar) => {
                let style = "{bar:40} {percent}% {bytes}/{total_bytes} {bytes_per_sec} eta {eta} {msg}";
                if let Ok(style) = ProgressStyle::with_template(style) {
                    bar.set_style(style);
                }
                bar.set_length(bytes);
                bar.set_message(format!("{} files", HumanCount(files)));
            }
            Kind::Lines { total, .. } => {
                *total = (files, bytes);
                eprintln!("{} files, {} to read", HumanCount(files), HumanBytes(bytes));
            }
        }
    }

    /// A file more is read.
    pub(crate) fn file(&mut self, clock: &dyn Clock, bytes: u64) {
        self.add(clock, 1, bytes);
    }

    /// So many bytes more of a file are read.
    pub(super) fn read(&mut self, clock: &dyn Clock, bytes: u64) {
        self.add(clock, 0, bytes);
    }

    fn add(&mut self, clock: &dyn Clock, files: u64, bytes: u64) {
        match &mut self.0 {
            Kind::Silent => {}
            Kind::Bar(bar) => bar.inc(bytes),
            Kind::Lines { total, done, next } => {
                *done = (done.0 + files, done.1 + bytes);
                let now = clock.monotonic();
                if *next == Duration::ZERO {
                    *next = now + LINE_EVERY;
                } else if now >= *next {
                    *next = now + LINE_EVERY;
                    let percent = done.1 * 100 / total.1.max(1);
                    eprintln!("{percent}%: {} of {} files", HumanCount(done.0), HumanCount(total.0));
                }
            }
        }
    }

    pub(crate) fn finish(&mut self) {
        if let Kind::Bar(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
