//! Names: tables, fields, series, and the indexes that find them.
