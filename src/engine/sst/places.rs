//! Where a footer says that columns and pages are: tested once, since what reads them later trusts it.

use parquet::file::metadata::ParquetMetaData;
use rhythmite_model::{Error, Result};

/// Tests that every column chunk and every page of the offset index lies in front of `end`, pages in order and within their
/// chunk, and that their first rows ascend within the row group.
///
/// # Errors
/// `Corrupt`.
pub(super) fn check(metadata: &ParquetMetaData, end: u64) -> Result<()> {
    let corrupt = |what: &str| Error::corrupt(format!("its footer puts {what} where it cannot be"));
    let offset = |at: i64, what: &str| u64::try_from(at).map_err(|_| corrupt(what));
    let offsets = metadata.offset_index();
    for (g, group) in metadata.row_groups().iter().enumerate() {
        let rows = offset(group.num_rows(), "a row group")?;
        for (c, chunk) in group.columns().iter().enumerate() {
            let first = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
            let first = offset(first, "a column")?;
            let behind = offset(chunk.compressed_size(), "a column")?.checked_add(first);
            let behind = behind.filter(|behind| *behind <= end).ok_or_else(|| corrupt("a column"))?;
            if chunk.num_values() < 0 || offset(chunk.data_page_offset(), "a page")? < first {
                return Err(corrupt("a page"));
            }
            let Some(offsets) = offsets else { continue };
            let pages =
                offsets.get(g).and_then(|group| group.get(c)).ok_or_else(|| corrupt("no page"))?.page_locations();
            let (mut from, mut next_row) = (first, 0);
            for (n, page) in pages.iter().enumerate() {
                let (at, row) = (offset(page.offset, "a page")?, offset(page.first_row_index, "a row")?);
                let bytes = offset(page.compressed_page_size.into(), "a page")?;
                let ends = at.checked_add(bytes).filter(|ends| at >= from && *ends <= behind);
                from = ends.ok_or_else(|| corrupt("a page"))?;
                if row > rows || (n == 0 && row != 0) || row < next_row {
                    return Err(corrupt("a row"));
                }
                next_row = row + 1;
            }
        }
    }
    Ok(())
}
