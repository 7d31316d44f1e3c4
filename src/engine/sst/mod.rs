//! Sorted immutable files: Parquet with an exact index beside it.
