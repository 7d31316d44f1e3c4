//! `rhythmite demo`: a server in a new data directory, shown at work on the figures of this machine.
//!
//! Nothing is made up: the server measures itself and the machine every second, keeps the points as it keeps all
//! points, and this command asks for them as any client would, by `/render` on its own port.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rhythmite_env::{Random, SystemRandom};
use rhythmite_model::{Error, Result};
use tokio_util::sync::CancellationToken;

use super::serve;
use crate::config::{Listen, Span};
use crate::server::RunOptions;

/// Where the demo listens if nobody else does.
const PORT: u16 = 8086;
/// The rules by which the demo keeps points, and what messages call them. No file: a directory that somebody names may
/// have one by that name.
const SCHEMAS: (&str, &str) = ("the demo's schemas", "[demo]\npattern = .*\nretentions = 1s:6h,10s:7d\n");
/// Between two pictures.
const PAUSE: Duration = Duration::from_secs(5);
/// How long a request to the own server may take.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// Columns of a line of points.
const WIDTH: usize = 60;
/// Title, series, and what the values are divided by.
const SHOWN: [(&str, &str, f64); 6] = [
    ("load of the machine", "rhythmite.*.machine.load.1m", 1.0),
    ("memory available, MiB", "rhythmite.*.machine.memory.available_bytes", 1_048_576.0),
    ("processors busy, %", "scale(sumSeries(rhythmite.*.machine.cpu.{user,system}_ms),0.1)", 1.0),
    ("points a second, stored", "rhythmite.*.paths.points", 1.0),
    ("memory of this server, MiB", "rhythmite.*.process.resident_bytes", 1_048_576.0),
    ("processor of this server, %", "carbon.agents.*.cpuUsage", 1.0),
];

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Where to keep the data; without it in a temporary directory that goes with the demo.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// End after so many pictures (one every five seconds); without it at Ctrl-C.
    #[arg(long, value_name = "N")]
    pictures: Option<u32>,
}

impl Demo {
    pub(super) fn run(&self) -> Result<()> {
        if let Some(dir) = &self.data_dir {
            return self.serve(dir);
        }
        let dir = private_dir(&std::env::temp_dir())?;
        let done = self.serve(&dir);
        if let Err(e) = std::fs::remove_dir_all(&dir) {
            tracing::warn!("{}: {e}", dir.display());
        }
        done
    }

    fn serve(&self, data_dir: &Path) -> Result<()> {
        let http = free_address().map_err(|e| Error::from(e).at("no free port on loopback"))?;
        let mut config = crate::config::Config { data_dir: data_dir.to_owned(), ..Default::default() };
        config.http.listen = Listen(Some(vec![http]));
        config.own.interval = Span::secs(1);
        let options = RunOptions { schemas: Some(SCHEMAS), ..RunOptions::default() };
        let quit = CancellationToken::new();
        let pictures = self.pictures;
        // However the pictures end, also by a panic, the server ends with them.
        let stop = quit.clone().drop_guard();
        let started = move |block: &str| {
            let block = block.to_owned();
            std::thread::spawn(move || {
                let _stop = stop;
                if let Err(e) = show(&block, http, pictures) {
                    tracing::info!("nobody reads what the demo prints: {e}");
                }
            });
        };
        serve::serve(config, options, quit, started)
    }
}

/// Makes a new directory in `parent` that nobody else can enter.
fn private_dir(parent: &Path) -> Result<PathBuf> {
    let dir = parent.join(format!("rhythmite-demo-{:016x}", SystemRandom.next_u64()));
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    // Fails if there is anything by that name, a symbolic link too.
    builder.create(&dir).map_err(|e| Error::from(e).at(dir.display()))?;
    Ok(dir)
}

/// The usual port, or another if somebody has it.
fn free_address() -> std::io::Result<SocketAddr> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT));
    bound.or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?.local_addr()
}

/// Prints the start block and pictures, `count` of them or for ever.
///
/// # Errors
/// When they cannot be printed: the reader is gone.
fn show(block: &str, http: SocketAddr, count: Option<u32>) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{block}\nThe first figures come in {} s; Ctrl-C ends the demo.", PAUSE.as_secs())?;
    for n in 1u32.. {
        std::thread::sleep(PAUSE);
        let mut text = String::new();
        for (title, target, unit) in SHOWN {
            let values: Vec<f64> = match values(http, target) {
                Ok(values) => values.into_iter().map(|value| value / unit).collect(),
                Err(e) => {
                    tracing::warn!("{target}: {e}");
                    continue;
                }
            };
            text += &row(title, &values);
        }
        writeln!(out, "\n{text}")?;
        if n == 1 {
            let target = SHOWN[0].1;
            writeln!(out, "Ask yourself:\n  curl 'http://{http}/render?target={target}&from=-1min&format=json'")?;
        }
        if count.is_some_and(|count| n >= count) {
            break;
        }
    }
    Ok(())
}

/// The known values of the last minute of the first series that `target` gives.
fn values(http: SocketAddr, target: &str) -> std::io::Result<Vec<f64>> {
    let encoded = percent_encoding::utf8_percent_encode(target, percent_encoding::NON_ALPHANUMERIC);
    let body = get(http, &format!("/render?format=json&from=-1min&target={encoded}"))?;
    let series: serde_json::Value = serde_json::from_str(&body)?;
    let points = series[0]["datapoints"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(points.iter().filter_map(|point| point[0].as_f64()).collect())
}

/// The body of one GET to the own server; HTTP/1.0, so that it comes in one piece.
fn get(http: SocketAddr, target: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&http, REQUEST_MAX)?;
    stream.set_read_timeout(Some(REQUEST_MAX))?;
    stream.write_all(format!("GET {target} HTTP/1.0\r\nHost: {http}\r\n\r\n").as_bytes())?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
    if head.split(' ').nth(1) != Some("200") {
        return Err(std::io::Error::other(head.lines().next().unwrap_or_default().to_owned()));
    }
    Ok(body.to_owned())
}

/// Title, the last value, and the values as a line of blocks between their least and greatest.
fn row(title: &str, values: &[f64]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = &values[values.len().saturating_sub(WIDTH)..];
    let Some(last) = shown.last() else { return format!("{title:<28} no points yet\n") };
    let least = shown.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = shown.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let height = |value: f64| {
        let share = if greatest > least { (value - least) / (greatest - least) } else { 0.0 };
        BLOCKS[((share * 7.0).round() as usize).min(7)]
    };
    let line: String = shown.iter().map(|value| height(*value)).collect();
    format!("{title:<28} {last:>10.2}  {line}  {least:.2} .. {greatest:.2}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn the_temporary_directory_is_new_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().unwrap();
        let (one, other) = (private_dir(parent.path()).unwrap(), private_dir(parent.path()).unwrap());
        assert_ne!(one, other);
        assert_eq!(std::fs::metadata(&one).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(one.read_dir().unwrap().count(), 0);
    }

    #[test]
    fn a_row_goes_from_the_least_to_the_greatest() {
        assert_eq!(row("t", &[]), format!("{:<28} no points yet\n", "t"));
        assert!(row("t", &[1.0, 1.0]).contains("1.00  ▁▁  1.00 .. 1.00"));
        assert!(row("t", &[0.0, 3.5, 7.0]).contains("7.00  ▁▅█  0.00 .. 7.00"));
        assert_eq!(row("t", &[1.0; 100]).matches('▁').count(), WIDTH);
    }
}
