//! What is said once everything is open.

use std::fmt::Write;

use super::RunOptions;
use crate::config::{Access, Config};

/// Version, listeners, data directory, state of authentication.
pub(super) fn block(config: &Config, options: RunOptions, has_admin: bool) -> String {
    let mut out = format!("rhythmite {}\n", env!("CARGO_PKG_VERSION"));
    let data_dir = std::path::absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
    let _ = writeln!(out, "  data directory   {}", data_dir.display());
    let addresses = config.addresses();
    for address in &addresses {
        let beyond = !address.at.ip().to_canonical().is_loopback();
        let note = match (beyond, address.access) {
            (false, _) => "",
            (true, Access::Query) if config.auth.enabled => "  open to the network, asks for credentials",
            (true, Access::Query | Access::Unguarded) => "  OPEN TO THE NETWORK WITHOUT AUTHENTICATION",
            (true, Access::Ingest) => "  open to the network, may only add points",
        };
        let _ = writeln!(out, "  {:<22} {:<22} {}{note}", address.what, address.at, address.key);
    }
    if let Some(path) = &config.statsd.unixgram_listen.0 {
        let _ = writeln!(out, "  {:<22} {:<22} [statsd] unixgram_listen", "StatsD datagrams", path.display());
    }
    if addresses.is_empty() {
        out += "  no listener is open\n";
    }
    if !config.postgres.listen.addresses().is_empty() {
        out += "  [postgres] listen is set, but this version has no PostgreSQL listener: not opened\n";
    }
    out += match options.insecure_no_auth {
        _ if config.auth.enabled && has_admin => "  authentication   on\n",
        _ if config.auth.enabled => {
            "  authentication   on, and NO ADMINISTRATOR YET: whoever comes first may make one\n"
        }
        true => "  authentication   none (--insecure-no-auth)\n",
        false => "  authentication   none; what answers queries is on loopback only\n",
    };
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layers;

    #[test]
    fn the_block_says_what_is_open_and_what_is_not() {
        let text = "data_dir = '/d'\n[http]\nlisten = '127.0.0.1:1'\n[carbon]\nline_listen = '0.0.0.0:2'\n\
                    [postgres]\nlisten = '127.0.0.1:3'";
        let layers = Layers { file: Some(("r".into(), text.to_owned())), ..Layers::default() };
        let block = block(&layers.resolve().unwrap(), RunOptions::default(), false);
        for line in [
            "  data directory   /d\n",
            "  HTTP                   127.0.0.1:1            [http] listen\n",
            "0.0.0.0:2              [carbon] line_listen  open to the network, may only add points\n",
            "[postgres] listen is set, but this version has no PostgreSQL listener",
            "  authentication   none; what answers queries is on loopback only\n",
        ] {
            assert!(block.contains(line), "{block}");
        }
    }
}
