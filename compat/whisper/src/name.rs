use std::fmt::Write as _;

use rhythmite_model::{Error, Result};
use sha2::{Digest, Sha256};

const EXTENSION: &str = ".wsp";
const TAGGED_DIR: &str = "_tagged/";
/// How a dot is written inside the file name of a tagged series.
const DOT: &str = "_DOT_";

/// The metric a file below the whisper root stands for.
///
/// `relative_path` is separated by `/`. `a/b/c.wsp` is `a.b.c`; `_tagged/HHH/HHH/NAME.wsp` is NAME with
/// `_DOT_` read as a dot, a canonical `name;tag=value;...`.
///
/// # Errors
/// `Invalid`: the path does not end in `.wsp`, is absolute, has an empty, `.` or `..` part, or is a tagged file
/// named by its hash alone (carbon's `TAG_HASH_FILENAMES`), from which no name can be recovered.
pub fn metric_name(relative_path: &str) -> Result<String> {
    let refuse = |why: &str| Error::invalid(format!("{relative_path}: {why}"));
    let path = relative_path.strip_prefix("./").unwrap_or(relative_path);
    let path = path.strip_suffix(EXTENSION).ok_or_else(|| refuse("not a .wsp file"))?;
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(refuse("not a path below the whisper root"));
    }
    let Some(tagged) = path.strip_prefix(TAGGED_DIR) else {
        return Ok(path.replace('/', "."));
    };
    let name = tagged.splitn(3, '/').nth(2).ok_or_else(|| refuse("not below two folders of the tag hash"))?;
    if !name.contains(';') {
        return Err(refuse("a tagged series named by its hash; the name and tags are not in the file"));
    }
    Ok(name.replace(DOT, "."))
}

/// Where carbon keeps the file of `metric`, below the whisper root; the opposite of [`metric_name`].
///
/// `metric` is a dotted path or the canonical `name;tag=value;...`.
///
/// # Errors
/// `Invalid`: an empty part, or a character that a file name cannot hold (`/`, `\`, NUL).
pub fn relative_path(metric: &str) -> Result<String> {
    if metric.contains(['/', '\\', '\0']) {
        return Err(Error::invalid(format!("{metric:?}: a file name cannot hold '/', '\\' or NUL")));
    }
    if metric.contains(';') {
        let mut path = String::from(TAGGED_DIR);
        for (i, byte) in Sha256::digest(metric.as_bytes()).iter().take(3).enumerate() {
            // The first six hexadecimal digits, three to a folder.
            let (high, low) = (byte >> 4, byte & 15);
            let _ = match i {
                1 => write!(path, "{high:x}/{low:x}"),
                _ => write!(path, "{high:x}{low:x}"),
            };
        }
        return Ok(path + "/" + &metric.replace('.', DOT) + EXTENSION);
    }
    if metric.split('.').any(str::is_empty) {
        return Err(Error::invalid(format!("{metric:?}: an empty part between dots")));
    }
    Ok(metric.replace('.', "/") + EXTENSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_stand_for_each_other() {
        for (path, name) in [
            ("a.wsp", "a"),
            ("a/b/c.wsp", "a.b.c"),
            ("srv-1/cpu_0/ünï.wsp", "srv-1.cpu_0.ünï"),
            (
                "_tagged/eff/aae/some_DOT_metric;tag1=value2;tag2=value_DOT_2.wsp",
                "some.metric;tag1=value2;tag2=value.2",
            ),
        ] {
            assert_eq!(metric_name(path).unwrap(), name);
            assert_eq!(relative_path(name).unwrap(), path);
        }
        assert_eq!(metric_name("./a/b.wsp").unwrap(), "a.b");
    }

    #[test]
    fn paths_that_name_nothing_are_refused() {
        let hash = "_tagged/eff/aae/effaae5b55950b150a7493d2f5430772ca2460bf7cccb4d9e523643df54c010f.wsp";
        for (path, why) in [
            ("a/b.rrd", "not a .wsp"),
            ("/a/b.wsp", "below the whisper root"),
            ("../b.wsp", "below the whisper root"),
            ("a//b.wsp", "below the whisper root"),
            (".wsp", "below the whisper root"),
            ("_tagged/a;b=c.wsp", "two folders"),
            (hash, "named by its hash"),
        ] {
            let message = metric_name(path).unwrap_err().to_string();
            assert!(message.contains(why) && message.contains(path), "{path}: {message}");
        }
        for name in ["a..b", "", "a/../../b", "x;k=/etc", "a\0"] {
            assert!(relative_path(name).is_err(), "{name:?}");
        }
    }
}
