//! Where files lie: `data/<database>/<policy>/<raw or step>/<partition>/`.

use std::path::{Path, PathBuf};

use rhythmite_model::{Policy, Tier};

/// Directory of the files of one level; `partition_ns` is `None` for flushed files, which span partitions.
pub(crate) fn dir(root: &Path, policy: &Policy, tier: Tier, partition_ns: Option<i64>) -> PathBuf {
    let level = match policy.levels.get(tier.level()) {
        _ if tier == Tier::RAW => "raw".to_owned(),
        Some(level) => format!("{}s", level.step_ns / 1_000_000_000),
        None => format!("tier{}", tier.level()),
    };
    let partition = partition_ns.map_or_else(|| "unsorted".to_owned(), |ns| ns.div_euclid(1_000_000_000).to_string());
    root.join("data").join(escape(&policy.database)).join(escape(&policy.name)).join(level).join(partition)
}

/// A name as a file name: letters, digits, `-` and `_` stay, and `.` within; every other byte becomes `%XX`.
fn escape(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for (i, byte) in name.bytes().enumerate() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' => out.push(char::from(byte)),
            b'.' if i > 0 => out.push('.'),
            _ => {
                let digit = |n: u8| char::from_digit(u32::from(n), 16).expect("a nibble is a hex digit");
                out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
    // File names end at 255 bytes; a longer one keeps its head and a checksum of the whole.
    if out.is_empty() || out.len() > 200 {
        let sum = crc32c::crc32c(name.as_bytes());
        out.truncate(190);
        out.push_str(&format!("%{sum:08x}"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_directory() {
        for (name, expected) in [
            ("telegraf", "telegraf"),
            ("..", "%2e."),
            ("a/b", "a%2fb"),
            ("a.b", "a.b"),
            ("", "%00000000"),
            ("µ", "%c2%b5"),
        ] {
            assert_eq!(escape(name), expected);
        }
        assert!(escape(&"x/".repeat(500)).len() < 220);
        assert_ne!(escape(&"x".repeat(300)), escape(&"x".repeat(301)));
    }
}
