//! Every port, bound before anything else is done.

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use rhythmite_model::{Error, Result};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UdpSocket, UnixDatagram};

use crate::adapter::UnixPort;
use crate::config::{Config, Listen, Statsd};

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 1024;

/// Bound sockets by what they serve.
pub(super) struct Sockets {
    pub(super) http: Vec<TcpListener>,
    pub(super) carbon_line: Vec<TcpListener>,
    pub(super) carbon_udp: Vec<UdpSocket>,
    pub(super) carbon_pickle: Vec<TcpListener>,
    pub(super) carbon_protobuf: Vec<TcpListener>,
    pub(super) carbon_query: Vec<TcpListener>,
    pub(super) aggregator_line: Vec<TcpListener>,
    pub(super) aggregator_pickle: Vec<TcpListener>,
    pub(super) relay_line: Vec<TcpListener>,
    pub(super) relay_pickle: Vec<TcpListener>,
    pub(super) statsd_udp: Vec<UdpSocket>,
    pub(super) statsd_unix: Option<UnixPort>,
    pub(super) statsd_tcp: Vec<TcpListener>,
    pub(super) statsd_admin: Vec<TcpListener>,
    /// Of the section, then of each further listener.
    pub(super) collectd_udp: Vec<Vec<UdpSocket>>,
    pub(super) influx_udp: Vec<UdpSocket>,
}

impl Sockets {
    /// Binds all that the configuration names. Needs a runtime.
    ///
    /// # Errors
    /// `Unavailable`, naming the key, when an address is taken or is not this machine's.
    pub(super) fn bind(config: &Config) -> Result<Self> {
        let buffer = config.statsd.receive_buffer.bytes();
        let tcp = |key, listen: &Listen| each(key, listen, tcp);
        let collectd = |key, listen: &Listen| each(key, listen, |at| udp(at, buffer));
        let mut collectd_udp = vec![collectd("[collectd] udp_listen", &config.collectd.udp_listen)?];
        for listener in &config.collectd.listener {
            collectd_udp.push(collectd("[[collectd.listener]] udp_listen", &listener.udp_listen)?);
        }
        Ok(Self {
            http: tcp("[http] listen", &config.http.listen)?,
            carbon_line: tcp("[carbon] line_listen", &config.carbon.line_listen)?,
            carbon_udp: each("[carbon] udp_listen", &config.carbon.udp_listen, |at| udp(at, buffer))?,
            carbon_pickle: tcp("[carbon] pickle_listen", &config.carbon.pickle_listen)?,
            carbon_protobuf: tcp("[carbon] protobuf_listen", &config.carbon.protobuf_listen)?,
            carbon_query: tcp("[carbon] query_listen", &config.carbon.query_listen)?,
            aggregator_line: tcp("[aggregator] line_listen", &config.aggregator.line_listen)?,
            aggregator_pickle: tcp("[aggregator] pickle_listen", &config.aggregator.pickle_listen)?,
            relay_line: tcp("[relay] line_listen", &config.relay.line_listen)?,
            relay_pickle: tcp("[relay] pickle_listen", &config.relay.pickle_listen)?,
            statsd_udp: each("[statsd] udp_listen", &config.statsd.udp_listen, |at| udp(at, buffer))?,
            statsd_unix: unix_datagrams(&config.statsd)?,
            statsd_tcp: tcp("[statsd] tcp_listen", &config.statsd.tcp_listen)?,
            statsd_admin: tcp("[statsd] admin_listen", &config.statsd.admin_listen)?,
            collectd_udp,
            influx_udp: each("[influx] udp_listen", &config.influx.udp_listen, |at| udp(at, buffer))?,
        })
    }
}

fn each<T>(key: &str, listen: &Listen, bind: impl Fn(SocketAddr) -> io::Result<T>) -> Result<Vec<T>> {
    let named = |at: &SocketAddr| bind(*at).map_err(|e| explain(key, *at, &e));
    listen.addresses().iter().map(named).collect()
}

fn explain(key: &str, at: SocketAddr, e: &io::Error) -> Error {
    let remedy = match e.kind() {
        io::ErrorKind::AddrInUse => ": another program has this port; stop it, or set the key to another or to \"off\"",
        io::ErrorKind::PermissionDenied => ": ports below 1024 need a privilege; choose a higher one",
        io::ErrorKind::AddrNotAvailable => ": this machine has no such address",
        _ => "",
    };
    Error::unavailable(format!("{key} = {at}: {e}{remedy}"))
}

fn tcp(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(at, Type::STREAM, Protocol::TCP)?;
    // A restarted server must not wait for connections of the last one to be forgotten.
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn udp(at: SocketAddr, buffer: usize) -> io::Result<UdpSocket> {
    let socket = socket(at, Type::DGRAM, Protocol::UDP)?;
    socket.set_recv_buffer_size(buffer)?;
    let granted = socket.recv_buffer_size()?;
    if granted < buffer {
        tracing::info!("UDP {at}: the kernel grants a buffer of {granted} bytes (sysctl net.core.rmem_max)");
    }
    socket.bind(&at.into())?;
    UdpSocket::from_std(socket.into())
}

/// Binds the socket's file. One that nobody listens on any more is removed first.
fn unix_datagrams(room: &Statsd) -> Result<Option<UnixPort>> {
    let Some(path) = &room.unixgram_listen.0 else { return Ok(None) };
    let failed = |e: io::Error| Error::unavailable(format!("[statsd] unixgram_listen = {}: {e}", path.display()));
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
    if is_socket && std::os::unix::net::UnixDatagram::unbound().and_then(|s| s.connect(path)).is_err() {
        std::fs::remove_file(path).map_err(failed)?;
    }
    let socket = UnixDatagram::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, Permissions::from_mode(room.unixgram_mode)).map_err(failed)?;
    Ok(Some(UnixPort { socket, path: path.clone() }))
}

fn socket(at: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), kind, Some(protocol))?;
    if at.is_ipv6() {
        // `[::]` and `0.0.0.0` can both be named.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}
