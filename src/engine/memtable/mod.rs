//! Points in memory: appended, sealed into sorted blocks, merged.
