//! A file under construction: a temporary name, a buffered end to append to, a running checksum.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rhythmite_env::{Env, File};
use rhythmite_model::{Error, Result};

/// Bytes gathered before one write call.
const BUFFER_BYTES: usize = 256 * 1024;

/// Appends to a new file under a temporary name; [`publish`] gives it its real one.
pub struct Output {
    file: Arc<dyn File>,
    buffer: Vec<u8>,
    written: u64,
    crc: u32,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Length in bytes.
    pub len: u64,
    /// CRC-32C of all bytes.
    pub crc: u32,
}

impl Output {
    /// Creates `path` under its temporary name.
    pub fn create(env: &Env, path: &Path) -> Result<Self> {
        let temp = temporary(path);
        let file = env.fs.create(&temp).map_err(|e| Error::from(e).at(temp.display()))?;
        Ok(Self { file, buffer: Vec::with_capacity(BUFFER_BYTES), written: 0, crc: 0 })
    }

    /// Writes what is buffered and makes all of it durable.
    pub fn sync(&mut self) -> io::Result<Written> {
        self.flush()?;
        self.file.sync_data()?;
        Ok(Written { len: self.written, crc: self.crc })
    }

    /// The file, for reading back what was flushed.
    pub fn file(&self) -> &Arc<dyn File> {
        &self.file
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        if bytes.len() >= BUFFER_BYTES {
            self.file.write_all_at(bytes, self.written)?;
            self.crc = crc32c::crc32c_append(self.crc, bytes);
            self.written += bytes.len() as u64;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.file.write_all_at(&self.buffer, self.written)?;
            self.crc = crc32c::crc32c_append(self.crc, &self.buffer);
            self.written += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }
}

/// The name a file has until it is complete and durable.
pub fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

/// Gives a synced file its real name; durable only after a sync of the directory.
pub fn publish(env: &Env, path: &Path) -> Result<()> {
    env.fs.rename(&temporary(path), path).map_err(|e| Error::from(e).at(path.display()))
}
