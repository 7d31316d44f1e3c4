//! One process for one data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, Write};
use std::path::Path;

use rhythmite_model::{Error, Result};

/// The lock's file; it stays behind, the lock on it goes with the process.
const NAME: &str = "rhythmite.lock";

/// Holds a data directory until dropped.
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Makes the directory if it is missing and takes it.
    ///
    /// # Errors
    /// `Unavailable` when another process has it, or when it cannot be written.
    pub fn take(data_dir: &Path) -> Result<Self> {
        let failed = |e: std::io::Error| Error::unavailable(format!("data_dir {}: {e}", data_dir.display()));
        std::fs::create_dir_all(data_dir).map_err(failed)?;
        let path = data_dir.join(NAME);
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let owner = std::fs::read_to_string(&path).unwrap_or_default();
                return Err(Error::unavailable(format!(
                    "data_dir {} is in use by another process (pid {})",
                    data_dir.display(),
                    owner.trim()
                )));
            }
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        file.rewind().and_then(|()| file.set_len(0)).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let lock = Lock::take(&path).unwrap();
        let refused = Lock::take(&path).err().unwrap();
        assert!(refused.message().contains(&format!("(pid {})", std::process::id())), "{refused}");
        drop(lock);
        assert!(Lock::take(&path).is_ok());
    }
}
