//! The text escapes of protocol 0.

/// Appends the bytes of a quoted STRING argument: a Python 2 literal with its quotes.
///
/// `None` if it is not quoted or an escape is malformed.
pub(super) fn unquote(literal: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut rest = match literal.trim_ascii() {
        [b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"'] => inner,
        _ => return None,
    };
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        let (&escape, after) = rest.split_first()?;
        rest = after;
        match escape {
            b'\\' | b'\'' | b'"' => out.push(escape),
            b'a' => out.push(7),
            b'b' => out.push(8),
            b't' => out.push(b'\t'),
            b'n' => out.push(b'\n'),
            b'v' => out.push(11),
            b'f' => out.push(12),
            b'r' => out.push(b'\r'),
            b'x' => {
                let (code, after) = hex(rest, 2)?;
                out.push(code as u8);
                rest = after;
            }
            b'0'..=b'7' => {
                let len = 1 + rest.iter().take(2).take_while(|b| matches!(b, b'0'..=b'7')).count();
                let digits = std::iter::once(&escape).chain(&rest[..len - 1]);
                out.push(digits.fold(0u8, |code, d| code.wrapping_mul(8).wrapping_add(d - b'0')));
                rest = &rest[len - 1..];
            }
            other => out.extend([b'\\', other]),
        }
    }
    out.extend_from_slice(rest);
    Some(())
}

/// Appends the UTF-8 of a UNICODE argument, whose bytes are Latin-1 with `\uXXXX` and `\UXXXXXXXX` escapes.
///
/// `None` if an escape is malformed.
pub(super) fn unescape_unicode(raw: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut rest = raw;
    let mut push = |c: char| out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        let digits = match (byte, after.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => {
                push(char::from(byte));
                rest = after;
                continue;
            }
        };
        let (mut code, mut after) = hex(&after[1..], digits)?;
        // Python 2 wrote what lies beyond 16 bits as two surrogates.
        if let (0xd800..0xdc00, [b'\\', b'u', low @ ..]) = (code, after)
            && let Some((low @ 0xdc00..0xe000, behind)) = hex(low, 4)
        {
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            after = behind;
        }
        push(char::from_u32(code)?);
        rest = after;
    }
    Some(())
}

fn hex(bytes: &[u8], digits: usize) -> Option<(u32, &[u8])> {
    let (head, rest) = bytes.split_at_checked(digits)?;
    let code = head.iter().try_fold(0u32, |code, b| Some(code << 4 | char::from(*b).to_digit(16)?))?;
    Some((code, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_2_literals_are_read() {
        for (literal, want) in [
            (r#"'a.b'"#, Some(&b"a.b"[..])),
            (r#""it's""#, Some(b"it's")),
            (r#"'it\'s\\'"#, Some(b"it's\\")),
            (r#"'\xc3\xbc\t\n'"#, Some(b"\xc3\xbc\t\n")),
            (r#"'\101\0\7x'"#, Some(b"A\0\x07x")),
            (r#"'\q'"#, Some(b"\\q")),
            (r#"''"#, Some(b"")),
            (r#"'"#, None),
            (r#"'a""#, None),
            (r#"a"#, None),
            (r#"'\x1'"#, None),
            (r#"'\'"#, None),
        ] {
            let mut out = Vec::new();
            let got = unquote(literal.as_bytes(), &mut out).map(|()| &out[..]);
            assert_eq!(got, want, "{literal}");
        }
    }

    #[test]
    fn unicode_escapes_are_read() {
        for (raw, want) in [
            (&b"a\xfcb"[..], Some("aüb")),
            (br"\u00fc\U0001f600", Some("ü😀")),
            (br"\ud83d\ude00", Some("😀")),
            (br"a\n", Some(r"a\n")),
            (br"\ud83d", None),
            (br"\u00f", None),
            (br"\Uffffffff", None),
        ] {
            let mut out = Vec::new();
            let got = unescape_unicode(raw, &mut out).map(|()| std::str::from_utf8(&out).unwrap());
            assert_eq!(got, want, "{}", raw.escape_ascii());
        }
    }
}
