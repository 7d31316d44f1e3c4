//! Who sent what of a batch, so that a message can name the one who caused it.
//!
//! A batch is made of parts that came one behind the other: points, lines, packets. Where the sender changes, it is noted
//! from which part on. Limits: an entry for each change, so at most as many as the batch has datagrams.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// A sender, as messages name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender<'a> {
    /// Nobody knows.
    Unknown,
    /// The other end of a datagram.
    Peer(IpAddr),
    /// A connection, a listener, or a part of the server.
    Named(&'a str),
}

impl From<Option<IpAddr>> for Sender<'_> {
    fn from(peer: Option<IpAddr>) -> Self {
        peer.map_or(Self::Unknown, Self::Peer)
    }
}

impl fmt::Display for Sender<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("an unknown sender"),
            // A socket for both versions has an IPv4 sender as `::ffff:10.0.0.7`.
            Self::Peer(peer) => peer.to_canonical().fmt(f),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// The senders of one batch.
#[derive(Clone, Debug, Default)]
pub struct Senders {
    /// Who sent what no peer is known of; empty if that is not known.
    all: Arc<str>,
    /// Peers, and from which part on.
    peers: Vec<(usize, Option<IpAddr>)>,
}

impl Senders {
    /// All of it is of one sender, unless a peer is told later.
    pub fn of(source: impl fmt::Display) -> Self {
        Self { all: source.to_string().into(), peers: Vec::new() }
    }

    /// What comes from part `at` on is of `peer`; of the batch's own sender if that is `None`. `at` never descends.
    #[inline]
    pub fn begin(&mut self, at: usize, peer: Option<IpAddr>) {
        match self.peers.last_mut() {
            None if peer.is_none() => {}
            Some((_, last)) if *last == peer => {}
            // Nothing came of the one before.
            Some((last_at, last)) if *last_at == at => *last = peer,
            _ => self.peers.push((at, peer)),
        }
    }

    /// Who sent the part `at`.
    pub fn at(&self, at: usize) -> Sender<'_> {
        let changes = self.peers.partition_point(|(from, _)| *from <= at);
        match self.peers[..changes].last() {
            Some((_, Some(peer))) => Sender::Peer(*peer),
            _ if self.all.is_empty() => Sender::Unknown,
            _ => Sender::Named(&self.all),
        }
    }

    /// The peer of each part in turn, without end.
    pub fn peers(&self) -> impl Iterator<Item = Option<IpAddr>> + Clone {
        let (mut changes, mut peer) = (self.peers.iter().peekable(), None);
        (0..).map(move |part: usize| {
            while let Some((_, next)) = changes.next_if(|(at, _)| *at <= part) {
                peer = *next;
            }
            peer
        })
    }

    /// Forgets the peers, keeps the memory.
    pub fn clear(&mut self) {
        self.peers.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn every_part_is_of_the_last_sender_told_before_it() {
        for (name, other) in [("tcp", Sender::Named("tcp")), ("", Sender::Unknown)] {
            let mut senders = Senders::of(name);
            assert_eq!(senders.at(7), other);
            for (at, peer) in
                [(0, None), (1, Some(ip(1))), (1, Some(ip(2))), (3, Some(ip(2))), (4, None), (5, Some(ip(3)))]
            {
                senders.begin(at, peer);
            }
            let [two, three] = [ip(2), ip(3)].map(Sender::Peer);
            assert_eq!([0, 1, 2, 3, 4, 5, 99].map(|at| senders.at(at)), [other, two, two, two, other, three, three]);
            let peers: Vec<_> = senders.peers().take(7).collect();
            let [two, three] = [ip(2), ip(3)].map(Some);
            assert_eq!(peers, [None, two, two, two, None, three, three]);
            assert_eq!(senders.peers.len(), 3, "an entry for each change");
            senders.clear();
            assert_eq!((senders.at(9), senders.peers().next()), (other, Some(None)));
        }
    }

    #[test]
    fn senders_are_named_by_their_address() {
        let mapped = IpAddr::V6("::ffff:10.0.0.7".parse().unwrap());
        let shown = [Sender::Peer(mapped), Sender::Peer(ip(7)), Sender::Named("x"), None.into()].map(|s| s.to_string());
        assert_eq!(shown, ["10.0.0.7", "10.0.0.7", "x", "an unknown sender"]);
    }
}
