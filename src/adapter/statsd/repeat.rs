//! The repeater: packets go to other StatsDs as they came, by UDP.
//!
//! Nobody is waited for: what a destination's socket does not take at once is dropped and counted.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::counters::Counters;

/// Sends packets to every destination.
pub(super) struct Repeater {
    sockets: Vec<UdpSocket>,
}

impl Repeater {
    /// A repeater to these; none for an empty list.
    ///
    /// # Errors
    /// When a socket cannot be made.
    pub(super) fn new(destinations: &[SocketAddr]) -> io::Result<Self> {
        let connected = |to: &SocketAddr| {
            let from = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let socket = UdpSocket::bind(SocketAddr::new(from, 0))?;
            socket.set_nonblocking(true)?;
            socket.connect(to)?;
            Ok(socket)
        };
        Ok(Self { sockets: destinations.iter().map(connected).collect::<io::Result<_>>()? })
    }

    /// Sends packets on.
    pub(super) fn send<'a>(&self, packets: impl Iterator<Item = &'a [u8]> + Clone, counters: &Counters) {
        for socket in &self.sockets {
            let (mut sent, mut failed) = (0, 0);
            for packet in packets.clone() {
                // A destination that is not there answers the packet after the next.
                match socket.send(packet) {
                    Ok(_) => sent += 1,
                    Err(_) => failed += 1,
                }
            }
            counters.statsd_repeated.add(sent);
            counters.statsd_repeat_failed.add(failed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_destination_gets_every_packet_and_a_missing_one_is_counted() {
        let here = UdpSocket::bind("127.0.0.1:0").unwrap();
        here.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let repeater = Repeater::new(&[gone, here.local_addr().unwrap()]).unwrap();
        let counters = Counters::default();
        for packet in [b"a:1|c", b"b:2|g", b"c:3|s"] {
            repeater.send([&packet[..]].into_iter(), &counters);
            let mut buffer = [0; 16];
            let n = here.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..n], packet);
        }
        assert_eq!(counters.statsd_repeated.get() + counters.statsd_repeat_failed.get(), 6);
        assert!(counters.statsd_repeat_failed.get() >= 1);
    }
}
