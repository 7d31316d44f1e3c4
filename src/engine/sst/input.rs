//! Bytes of the points file on their way to the Parquet decoders: nothing passes that fails its checksum.

use std::io;

use super::handles::Handle;
use bytes::{Buf, Bytes};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

/// Pages, each read whole and tested against the index.
pub struct PageSource {
    /// The points file.
    pub(super) file: Handle,
    /// Length of the file.
    pub(super) len: u64,
    /// Offset of every page, ascending.
    pub(super) page_offset: Vec<u64>,
    /// CRC-32C of each page.
    pub(super) page_crc: Vec<u32>,
}

impl Length for PageSource {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for PageSource {
    type T = io::Empty;

    fn get_read(&self, start: u64) -> Result<io::Empty, ParquetError> {
        Err(ParquetError::General(format!("offset {start}: pages are read whole, by the offset index")))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let mut page = Vec::new();
        self.read_page(start, length, &mut page)?;
        Ok(page.into())
    }
}

impl PageSource {
    /// Replaces `out` by the page of this length at `start`, header included.
    ///
    /// # Errors
    /// When there is no such page, when its checksum fails, and those of the disk.
    pub(super) fn read_page(&self, start: u64, length: usize, out: &mut Vec<u8>) -> Result<(), ParquetError> {
        let page = self.page_offset.binary_search(&start).ok();
        let crc = page.and_then(|at| self.page_crc.get(at).copied());
        let crc = crc.ok_or_else(|| ParquetError::General(format!("the index knows no page at offset {start}")))?;
        if start.checked_add(length as u64).is_none_or(|end| end > self.len()) {
            return Err(ParquetError::General(format!("the page at offset {start} ends behind the file")));
        }
        out.clear();
        out.resize(length, 0);
        self.file.file()?.read_exact_at(out, start)?;
        if crc32c::crc32c(out) != crc {
            return Err(ParquetError::General(format!("the page at offset {start} fails its checksum")));
        }
        Ok(())
    }
}

/// The end of the points file, in memory: page index and metadata.
pub struct Footer {
    /// Where `bytes` start in the file.
    pub start: u64,
    /// From there to the end.
    pub bytes: Bytes,
}

impl Footer {
    fn from(&self, start: u64) -> Result<Bytes, ParquetError> {
        let from = start.checked_sub(self.start).filter(|from| *from <= self.bytes.len() as u64);
        let from = from.ok_or_else(|| ParquetError::General(format!("offset {start} is not in the footer")))?;
        Ok(self.bytes.slice(from as usize..))
    }
}

impl Length for Footer {
    fn len(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl ChunkReader for Footer {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.from(start)?;
        if length > bytes.len() {
            return Err(ParquetError::General(format!("{length} bytes at offset {start} reach behind the file")));
        }
        Ok(bytes.slice(..length))
    }
}
