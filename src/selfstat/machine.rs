//! What Linux says in `/proc`. Elsewhere, or where it says nothing, there are no figures.

use std::net::SocketAddr;

/// A file of `/proc` is short; nothing beyond this is looked at.
const TEXT_BYTES_MAX: usize = 4 << 20;
/// Ticks of the clock in which processor time is told; fixed for programs since Linux 2.6.
const TICKS_PER_S: u64 = 100;
const PAGE_BYTES: u64 = 4096;

/// How the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Memory in use.
    pub resident_bytes: u64,
    /// Processor time since its start, milliseconds.
    pub cpu_ms: u64,
    /// Threads.
    pub threads: u64,
}

/// Reads this process's figures.
pub fn process() -> Option<Process> {
    parse_process(&read("/proc/self/stat")?)
}

/// Datagrams that the kernel dropped at the sockets bound to these addresses, since they were opened.
pub fn kernel_drops(bound: &[SocketAddr]) -> Option<u64> {
    let v4 = read("/proc/net/udp")?;
    let v6 = read("/proc/net/udp6").unwrap_or_default();
    Some(parse_drops(&v4, bound) + parse_drops(&v6, bound))
}

/// Figures of the machine: name below `machine.` and value. Those ending in `_total` grow; the others are levels.
pub(super) fn machine() -> Vec<(String, f64)> {
    let mut out = Vec::new();
    if let Some(text) = read("/proc/loadavg") {
        let names = ["load.1m", "load.5m", "load.15m"];
        let values = text.split(' ').map_while(|v| v.parse::<f64>().ok());
        out.extend(names.into_iter().zip(values).map(|(name, value)| (name.to_owned(), value)));
    }
    if let Some(text) = read("/proc/meminfo") {
        out.extend(parse_meminfo(&text));
    }
    if let Some(text) = read("/proc/stat") {
        out.extend(parse_cpu(&text));
    }
    out
}

/// The machine's name as one part of a path.
pub(super) fn host() -> String {
    let name = read("/proc/sys/kernel/hostname").unwrap_or_default();
    let clean = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    let name: String = name.trim().chars().take(64).map(clean).collect();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().filter(|text| text.len() <= TEXT_BYTES_MAX)
}

fn parse_process(stat: &str) -> Option<Process> {
    // The name stands in brackets and may hold anything, brackets and blanks too.
    let (_, rest) = stat.rsplit_once(") ")?;
    let field = |n: usize| rest.split(' ').nth(n - 3)?.trim().parse::<u64>().ok();
    let ticks = field(14)? + field(15)?;
    Some(Process { resident_bytes: field(24)? * PAGE_BYTES, cpu_ms: ticks * 1000 / TICKS_PER_S, threads: field(20)? })
}

fn parse_meminfo(text: &str) -> Vec<(String, f64)> {
    let wanted = [
        ("MemTotal", "memory.total_bytes"),
        ("MemAvailable", "memory.available_bytes"),
        ("Cached", "memory.cached_bytes"),
        ("Dirty", "memory.dirty_bytes"),
        ("SwapFree", "memory.swap_free_bytes"),
    ];
    let value = |key: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<f64>().ok()? * 1024.0)
    };
    wanted.into_iter().filter_map(|(key, name)| Some((name.to_owned(), value(key)?))).collect()
}

fn parse_cpu(text: &str) -> Vec<(String, f64)> {
    let Some(line) = text.lines().next().and_then(|l| l.strip_prefix("cpu ")) else { return Vec::new() };
    let names = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
    let values = line.split_ascii_whitespace().map_while(|v| v.parse::<f64>().ok());
    let ms = |ticks: f64| ticks * 1000.0 / TICKS_PER_S as f64;
    names.into_iter().zip(values).map(|(name, ticks)| (format!("cpu.{name}_ms_total"), ms(ticks))).collect()
}

/// Sums the last column of the lines whose local port (and address, unless it is the wildcard) is one of `bound`.
fn parse_drops(table: &str, bound: &[SocketAddr]) -> u64 {
    let local = |line: &str| -> Option<(String, u64)> {
        let mut columns = line.split_ascii_whitespace();
        let address = columns.nth(1)?.to_owned();
        Some((address, columns.next_back()?.parse().ok()?))
    };
    let wanted: Vec<String> = bound.iter().map(proc_address).collect();
    table.lines().skip(1).filter_map(local).filter(|(at, _)| wanted.contains(at)).map(|(_, drops)| drops).sum()
}

/// `127.0.0.1:8125` as the kernel writes it: `0100007F:1FBD`, each word in the machine's order.
fn proc_address(at: &SocketAddr) -> String {
    let words = |octets: &[u8]| -> String {
        octets.chunks(4).map(|w| format!("{:08X}", u32::from_ne_bytes([w[0], w[1], w[2], w[3]]))).collect()
    };
    let ip = match at {
        SocketAddr::V4(v4) => words(&v4.ip().octets()),
        SocketAddr::V6(v6) => words(&v6.ip().octets()),
    };
    format!("{ip}:{:04X}", at.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_line_is_read_behind_its_name() {
        let stat = "12 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 9 0 100 999 25 18446744073709551615 1";
        assert_eq!(parse_process(stat), Some(Process { resident_bytes: 25 * 4096, cpu_ms: 2000, threads: 9 }));
        for bad in ["", "12 (x", "12 (x) S 1", "12 (x) S a b c"] {
            assert_eq!(parse_process(bad), None, "{bad}");
        }
    }

    #[test]
    fn memory_and_processors() {
        let memory = parse_meminfo("MemTotal:       2 kB\nMemAvailable:  1 kB\nDirty: x kB\n");
        assert_eq!(memory, [("memory.total_bytes".into(), 2048.0), ("memory.available_bytes".into(), 1024.0)]);
        let cpu = parse_cpu("cpu  10 0 5 700 x\ncpu0 1 2 3\n");
        assert_eq!(cpu[0], ("cpu.user_ms_total".to_owned(), 100.0));
        assert_eq!(cpu.len(), 4);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn drops_of_our_sockets_only() {
        let table = "  sl  local_address rem_address st tx:rx tr retr uid timeout inode ref pointer drops\n\
                     1: 0100007F:1FBD 00000000:0000 07 0:0 00:0 0 0 0 1 2 x 7\n\
                     2: 0100007F:1FBE 00000000:0000 07 0:0 00:0 0 0 0 1 2 x 9\n\
                     nonsense\n";
        assert_eq!(parse_drops(table, &["127.0.0.1:8125".parse().unwrap()]), 7);
        assert_eq!(parse_drops(table, &["127.0.0.2:8125".parse().unwrap()]), 0);
        assert_eq!(proc_address(&"[::1]:1".parse().unwrap()), "00000000000000000000000001000000:0001");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_has_figures() {
        assert!(process().is_some_and(|p| p.resident_bytes > 0 && p.threads > 0));
        assert!(machine().iter().any(|(name, _)| name == "load.1m"));
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(kernel_drops(&[socket.local_addr().unwrap()]), Some(0));
    }
}
