//! TLS to destinations: certificates are checked against authorities that the operator names, and against the host.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rhythmite_model::{Error, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Whom to believe; cheap to clone.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Believes certificates that these authorities (PEM, one or more) have signed, and no others.
    ///
    /// # Errors
    /// `Invalid` when the text holds no certificate or one that cannot be read.
    pub fn new(authorities: &[u8]) -> Result<Self> {
        let invalid = |what: &dyn fmt::Display| Error::invalid(format!("no certificates in PEM: {what}"));
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authorities) {
            let certificate = certificate.map_err(|e| invalid(&e))?;
            roots.add(certificate).map_err(|e| invalid(&e))?;
        }
        if roots.is_empty() {
            return Err(invalid(&"there is none"));
        }
        // Named, so that no other crate's choice of a default matters.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::internal(e.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    /// Shakes hands over a connection whose reads and writes have a time limit.
    ///
    /// # Errors
    /// The connection's, and `InvalidData` for a certificate that is not believed.
    pub(super) fn connect(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(self.0.clone(), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(TlsStream(Box::new(stream)))
    }
}

/// A connection after the handshake.
pub(super) struct TlsStream(Box<StreamOwned<ClientConnection, TcpStream>>);

impl TlsStream {
    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)?;
        self.0.flush()
    }

    /// Whether the peer has ended it. Reads what has come: tickets for later sessions, which mean nothing here.
    pub(super) fn is_closed(&mut self) -> bool {
        let looked = self.0.sock.set_nonblocking(true).and_then(|()| self.look());
        let back = self.0.sock.set_nonblocking(false);
        looked.is_err() || back.is_err()
    }

    fn look(&mut self) -> io::Result<()> {
        loop {
            match self.0.conn.read_tls(&mut self.0.sock) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {
                    let state = self.0.conn.process_new_packets().map_err(io::Error::other)?;
                    if state.peer_has_closed() {
                        return Err(io::ErrorKind::ConnectionAborted.into());
                    }
                    // Carbon says nothing; whoever does is not heard, or it would pile up here.
                    let mut rest = [0; 256];
                    while matches!(self.0.conn.reader().read(&mut rest), Ok(n) if n > 0) {}
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }
}
