use super::text;
use super::{Limits, PickleError};

/// Places that each buffer keeps from one frame to the next.
const VALUES_KEPT: usize = 16 << 10;

/// A value: small and without a destructor, so that no nesting can be deep to copy or to drop.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    /// Integers, floats and truth values, as Python's `float()` gives them.
    Number(f64),
    /// Bytes `start..end` of the frame.
    Frame(u32, u32),
    /// Bytes `start..end` of the machine's own text, where escapes had to be read.
    Text(u32, u32),
    /// `children[start..end]`.
    Tuple { start: u32, end: u32, depth: u8 },
    /// `lists[index]`: lists and sets, which grow while others may already hold them.
    List(u32),
    /// `lists[index]`: keys and values in turn. Allowed, never part of a point.
    Dict(u32),
    /// None and numbers out of any range: allowed, never part of a point.
    Other,
}

/// The pickle machine: a stack, a memo and the arena the values live in.
#[derive(Debug, Default)]
pub(super) struct Machine {
    stack: Vec<Value>,
    /// Stack heights, where MARK was.
    marks: Vec<u32>,
    memo: Vec<Option<Value>>,
    children: Vec<Value>,
    lists: Vec<List>,
    text: Vec<u8>,
}

#[derive(Debug, Default)]
struct List {
    items: Vec<Value>,
    depth: u8,
}

impl Machine {
    /// Runs `frame` up to its STOP. What earlier frames left is gone, their buffers stay.
    pub(super) fn run(&mut self, frame: &[u8], limits: &Limits) -> Result<Value, PickleError> {
        self.clear();
        let mut reader = Reader { frame, at: 0 };
        loop {
            let op = reader.byte()?;
            if op == b'.' {
                return self.pop(op);
            }
            self.step(op, &mut reader, limits)?;
            if self.stack.len() > limits.stack_max {
                return Err(PickleError::Stack);
            }
            if self.marks.len() > usize::from(limits.depth_max) {
                return Err(PickleError::Depth);
            }
        }
    }

    /// Forgets all values; keeps the buffers, but not those that one extreme frame has grown.
    pub(super) fn clear(&mut self) {
        fn reset<T>(buffer: &mut Vec<T>) {
            buffer.clear();
            buffer.shrink_to(VALUES_KEPT);
        }
        reset(&mut self.stack);
        reset(&mut self.marks);
        reset(&mut self.memo);
        reset(&mut self.children);
        reset(&mut self.lists);
        reset(&mut self.text);
    }

    /// Values in containers, and places of the memo.
    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize) {
        (self.children.len() + self.lists.iter().map(|l| l.items.len() + 1).sum::<usize>(), self.memo.len())
    }

    /// The items of a list, set or tuple.
    pub(super) fn sequence(&self, value: Value) -> Option<&[Value]> {
        match value {
            Value::Tuple { start, end, .. } => Some(&self.children[start as usize..end as usize]),
            Value::List(index) => Some(&self.lists[index as usize].items),
            Value::Number(_) | Value::Frame(..) | Value::Text(..) | Value::Dict(_) | Value::Other => None,
        }
    }

    /// The value behind a key of a dictionary; of a repeated key the last.
    pub(super) fn member(&self, frame: &[u8], dict: Value, key: &str) -> Option<Value> {
        let Value::Dict(index) = dict else { return None };
        let pairs = self.lists[index as usize].items.as_chunks::<2>().0;
        pairs.iter().rev().find(|[name, _]| self.bytes(frame, *name) == Some(key.as_bytes())).map(|[_, value]| *value)
    }

    /// The bytes of a string; `frame` is the one that was run.
    pub(super) fn bytes<'a>(&'a self, frame: &'a [u8], value: Value) -> Option<&'a [u8]> {
        match value {
            Value::Frame(start, end) => Some(&frame[start as usize..end as usize]),
            Value::Text(start, end) => Some(&self.text[start as usize..end as usize]),
            Value::Number(_) | Value::Tuple { .. } | Value::List(_) | Value::Dict(_) | Value::Other => None,
        }
    }

    fn step(&mut self, op: u8, reader: &mut Reader<'_>, limits: &Limits) -> Result<(), PickleError> {
        let malformed = PickleError::Malformed(op);
        match op {
            // PROTO, FRAME: the length of a pickle's own frames is not needed, there is only one.
            0x80 => {
                let protocol = reader.byte()?;
                if protocol > 5 {
                    return Err(malformed);
                }
            }
            0x95 => {
                reader.take(8)?;
            }

            // Stack: MARK, POP, POP_MARK, DUP.
            b'(' => self.marks.push(self.stack.len() as u32),
            b'0' => {
                self.pop(op)?;
            }
            b'1' => {
                let from = self.mark(op)?;
                self.stack.truncate(from);
            }
            b'2' => {
                let top = self.top(op)?;
                self.stack.push(top);
            }

            // Memo: PUT, BINPUT, LONG_BINPUT, MEMOIZE; GET, BINGET, LONG_BINGET.
            b'p' | b'q' | b'r' | 0x94 => {
                let index = match op {
                    b'q' => reader.byte()?.into(),
                    b'r' => reader.u32()? as usize,
                    b'p' => decimal(reader.line()?).ok_or(malformed)?,
                    _ => self.memo.len(),
                };
                // Every PUT takes a byte of the frame, so an honest index is below its length.
                if index >= reader.frame.len() {
                    return Err(malformed);
                }
                let top = self.top(op)?;
                if index >= self.memo.len() {
                    self.memo.resize(index + 1, None);
                }
                self.memo[index] = Some(top);
            }
            b'g' | b'h' | b'j' => {
                let index = match op {
                    b'h' => reader.byte()?.into(),
                    b'j' => reader.u32()? as usize,
                    _ => decimal(reader.line()?).ok_or(malformed)?,
                };
                let value = self.memo.get(index).copied().flatten().ok_or(malformed)?;
                self.stack.push(value);
            }

            // Constants and numbers.
            b'N' => self.stack.push(Value::Other),
            0x88 => self.stack.push(Value::Number(1.0)),
            0x89 => self.stack.push(Value::Number(0.0)),
            b'J' => self.stack.push(Value::Number((reader.u32()? as i32).into())),
            b'K' => self.stack.push(Value::Number(reader.byte()?.into())),
            b'M' => {
                let [low, high] = reader.array()?;
                self.stack.push(Value::Number(u16::from_le_bytes([low, high]).into()));
            }
            b'G' => self.stack.push(Value::Number(f64::from_be_bytes(reader.array()?))),
            b'I' | b'L' | b'F' => {
                let number = number_line(op, reader.line()?).ok_or(malformed)?;
                self.stack.push(Value::Number(number));
            }
            0x8a => {
                let len = reader.byte()?.into();
                self.stack.push(long(reader.take(len)?));
            }
            0x8b => {
                let len = reader.u32()? as usize;
                self.stack.push(long(reader.take(len)?));
            }

            // Strings: by length, in the forms of Python 2 and 3; then the two quoted forms of protocol 0.
            b'U' | b'C' | 0x8c => {
                let len = u64::from(reader.byte()?);
                self.push_string(reader, len, limits)?;
            }
            b'T' | b'X' | b'B' => {
                let len = u64::from(reader.u32()?);
                self.push_string(reader, len, limits)?;
            }
            0x8d | 0x8e | 0x96 => {
                let len = u64::from_le_bytes(reader.array()?);
                self.push_string(reader, len, limits)?;
            }
            b'S' | b'V' => {
                let line = reader.line()?;
                if line.len() > limits.string_bytes_max {
                    return Err(PickleError::String);
                }
                let start = self.text.len() as u32;
                let read = if op == b'S' { text::unquote } else { text::unescape_unicode };
                read(line, &mut self.text).ok_or(malformed)?;
                self.stack.push(Value::Text(start, self.text.len() as u32));
            }

            // Lists and sets: EMPTY_LIST, EMPTY_SET, LIST, FROZENSET; APPEND, APPENDS, ADDITEMS.
            b']' | 0x8f => self.push_list(self.stack.len(), limits)?,
            b'l' | 0x91 => {
                let from = self.mark(op)?;
                self.push_list(from, limits)?;
            }
            b'a' => {
                let from = self.stack.len().checked_sub(1).ok_or(malformed)?;
                self.extend_list(op, from, limits)?;
            }
            b'e' | 0x90 => {
                let from = self.mark(op)?;
                self.extend_list(op, from, limits)?;
            }

            // Tuples: EMPTY_TUPLE, TUPLE1 to TUPLE3, TUPLE.
            b')' => self.push_tuple(self.stack.len(), limits)?,
            0x85..=0x87 => {
                let from = self.stack.len().checked_sub(usize::from(op - 0x84));
                self.push_tuple(from.filter(|from| *from >= self.floor()).ok_or(malformed)?, limits)?;
            }
            b't' => {
                let from = self.mark(op)?;
                self.push_tuple(from, limits)?;
            }

            // Dictionaries: EMPTY_DICT, DICT, SETITEM, SETITEMS.
            b'}' => self.push_dict(self.stack.len(), limits)?,
            b'd' => {
                let from = self.mark(op)?;
                self.push_dict(from, limits)?;
            }
            b's' => {
                let from = self.stack.len().checked_sub(2).ok_or(malformed)?;
                self.extend_list(op, from, limits)?;
            }
            b'u' => {
                let from = self.mark(op)?;
                self.extend_list(op, from, limits)?;
            }

            // GLOBAL STACK_GLOBAL REDUCE BUILD INST OBJ NEWOBJ NEWOBJ_EX EXT1 EXT2 EXT4 PERSID BINPERSID
            // NEXT_BUFFER READONLY_BUFFER.
            b'c' | 0x93 | b'R' | b'b' | b'i' | b'o' | 0x81 | 0x92 | 0x82..=0x84 | b'P' | b'Q' | 0x97 | 0x98 => {
                return Err(PickleError::Forbidden(op));
            }
            _ => return Err(PickleError::Opcode(op)),
        }
        Ok(())
    }

    /// Below this height the stack belongs to what stands before the last MARK.
    fn floor(&self) -> usize {
        self.marks.last().map_or(0, |mark| *mark as usize)
    }

    fn pop(&mut self, op: u8) -> Result<Value, PickleError> {
        let value = self.top(op)?;
        self.stack.pop();
        Ok(value)
    }

    fn top(&self, op: u8) -> Result<Value, PickleError> {
        self.stack[self.floor()..].last().copied().ok_or(PickleError::Malformed(op))
    }

    /// Takes the last MARK; the height of the stack there.
    fn mark(&mut self, op: u8) -> Result<usize, PickleError> {
        self.marks.pop().map(|mark| mark as usize).ok_or(PickleError::Malformed(op))
    }

    fn push_string(&mut self, reader: &mut Reader<'_>, len: u64, limits: &Limits) -> Result<(), PickleError> {
        if len > limits.string_bytes_max as u64 {
            return Err(PickleError::String);
        }
        let start = reader.at as u32;
        reader.take(len as usize)?;
        self.stack.push(Value::Frame(start, reader.at as u32));
        Ok(())
    }

    fn push_list(&mut self, from: usize, limits: &Limits) -> Result<(), PickleError> {
        let depth = self.depth_above(from, limits)?;
        let items = self.stack.drain(from..).collect();
        self.stack.push(Value::List(self.lists.len() as u32));
        self.lists.push(List { items, depth });
        Ok(())
    }

    fn push_dict(&mut self, from: usize, limits: &Limits) -> Result<(), PickleError> {
        self.push_list(from, limits)?;
        if let Some(Value::List(index)) = self.stack.pop() {
            self.stack.push(Value::Dict(index));
        }
        Ok(())
    }

    /// Adds the values from `from` on to the list, set or dictionary below them.
    fn extend_list(&mut self, op: u8, from: usize, limits: &Limits) -> Result<(), PickleError> {
        let depth = self.depth_above(from, limits)?;
        let below = from.checked_sub(1).filter(|below| *below >= self.floor());
        let below = below.and_then(|below| self.stack.get(below).copied());
        let index = match (below, op) {
            (Some(Value::List(index)), b'a' | b'e' | 0x90) | (Some(Value::Dict(index)), b's' | b'u') => index,
            _ => return Err(PickleError::Malformed(op)),
        };
        let list = &mut self.lists[index as usize];
        list.depth = list.depth.max(depth);
        list.items.extend(self.stack.drain(from..));
        Ok(())
    }

    fn push_tuple(&mut self, from: usize, limits: &Limits) -> Result<(), PickleError> {
        let depth = self.depth_above(from, limits)?;
        let start = self.children.len() as u32;
        self.children.extend(self.stack.drain(from..));
        self.stack.push(Value::Tuple { start, end: self.children.len() as u32, depth });
        Ok(())
    }

    /// The depth of a container around the stack's values from `from` on.
    fn depth_above(&self, from: usize, limits: &Limits) -> Result<u8, PickleError> {
        let depth = |value: &Value| match *value {
            Value::Tuple { depth, .. } => depth,
            Value::List(index) | Value::Dict(index) => self.lists[index as usize].depth,
            Value::Number(_) | Value::Frame(..) | Value::Text(..) | Value::Other => 0,
        };
        let inner = self.stack[from..].iter().map(depth).max().unwrap_or(0);
        if inner < limits.depth_max { Ok(inner + 1) } else { Err(PickleError::Depth) }
    }
}

struct Reader<'a> {
    frame: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], PickleError> {
        let taken = self.frame[self.at..].get(..len).ok_or(PickleError::Truncated)?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let chunk = self.frame[self.at..].first_chunk::<N>().ok_or(PickleError::Truncated)?;
        self.at += N;
        Ok(*chunk)
    }

    fn byte(&mut self) -> Result<u8, PickleError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, PickleError> {
        self.array().map(u32::from_le_bytes)
    }

    /// Up to the line feed, which is taken too.
    fn line(&mut self) -> Result<&'a [u8], PickleError> {
        let len = memchr::memchr(b'\n', &self.frame[self.at..]).ok_or(PickleError::Truncated)?;
        let line = self.take(len)?;
        self.at += 1;
        Ok(line)
    }
}

fn decimal(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.trim().parse().ok()
}

/// The argument of INT, LONG or FLOAT.
fn number_line(op: u8, line: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(line).ok()?.trim();
    let digits = if op == b'L' { text.strip_suffix('L').unwrap_or(text) } else { text };
    let number = crate::number::parse_float(digits)?;
    let integral = digits.trim_start_matches(['+', '-']).bytes().all(|b| b.is_ascii_digit());
    // `I01` and `I00` are protocol 0's truth values, whose numbers are the same.
    (op == b'F' || integral).then_some(number)
}

/// The number of a two's complement integer, least byte first.
fn long(bytes: &[u8]) -> Value {
    const WIDTH: usize = 16;
    let Some(sign) = bytes.last().map(|last| if *last < 0x80 { 0 } else { 0xff }) else {
        return Value::Number(0.0);
    };
    if bytes.len() > WIDTH {
        return Value::Other;
    }
    let mut wide = [sign; WIDTH];
    wide[..bytes.len()].copy_from_slice(bytes);
    Value::Number(i128::from_le_bytes(wide) as f64)
}
