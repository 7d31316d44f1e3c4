//! The path index: a trie of the segments of untagged Graphite paths, and globs over it.
//!
//! A node keeps its children sorted by text, so a literal costs a binary search and a literal prefix a range. A
//! wildcard is tried once per distinct segment text: its verdicts are kept for the length of the query. Children of
//! a leaf take no node; most of a million paths are such leaves, at 12 bytes each.

use rhythmite_model::{Error, Result};

use super::text::{Symbol, Symbols};

/// Segments that a path or a glob may have.
pub const PATH_DEPTH_MAX: usize = 127;

/// Tests of a segment against a step of a glob that one find may make: a second of work. A find visits each path once, and
/// tests its segment against every step that the path may have come to: with many `**` these are all.
pub(super) const TESTS_MAX: u64 = 100_000_000;

const NONE: u32 = u32::MAX;
const ROOT: u32 = 0;
const CHUNK_MAX: usize = 512;
/// Matcher calls that a step makes before it keeps its verdicts.
const ASKED_MAX: u32 = 256;

/// One segment of a glob.
pub trait SegmentMatcher {
    /// The only text that matches, if there is just one.
    fn literal(&self) -> Option<&str> {
        None
    }

    /// What every matching text starts with.
    fn literal_prefix(&self) -> &str {
        ""
    }

    /// Whether a segment matches.
    fn matches(&self, segment: &str) -> bool;
}

/// A literal segment.
impl SegmentMatcher for &str {
    fn literal(&self) -> Option<&str> {
        Some(self)
    }

    fn matches(&self, segment: &str) -> bool {
        *self == segment
    }
}

/// A glob, segment by segment.
#[derive(Clone, Copy)]
pub enum GlobStep<'a> {
    /// One segment.
    One(&'a dyn SegmentMatcher),
    /// Any number of segments, none included; at the end of a glob at least one (`**`, as graphite-web has it).
    AnyDepth,
}

/// What a find is after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Paths that are series.
    Leaves,
    /// Paths that have paths below them.
    Branches,
    /// Both: a path that is both is in both lists.
    Both,
}

#[derive(Clone, Copy)]
struct Child {
    segment: Symbol,
    /// Node with the children of this one, or `NONE`.
    node: u32,
    /// The series of this path, or `NONE`.
    slot: u32,
}

/// Children sorted by text. A flat host list has a million of them: beyond 512 they are kept in chunks, so that an
/// insertion moves little.
enum Children {
    Flat(Vec<Child>),
    Chunked(Vec<Vec<Child>>),
}

impl Children {
    fn chunks(&self) -> &[Vec<Child>] {
        match self {
            Children::Flat(list) => std::slice::from_ref(list),
            Children::Chunked(chunks) => chunks,
        }
    }

    fn is_empty(&self) -> bool {
        self.chunks().iter().all(Vec::is_empty)
    }

    /// Chunk and place of the first child whose text is not below `text`.
    fn lower_bound(&self, symbols: &Symbols, text: &str) -> (usize, usize) {
        let chunks = self.chunks();
        let below = |c: &Child| symbols.text(c.segment) < text;
        let chunk = chunks.partition_point(|chunk| chunk.last().is_some_and(below)).min(chunks.len() - 1);
        (chunk, chunks[chunk].partition_point(below))
    }

    fn find(&self, symbols: &Symbols, segment: Symbol) -> Option<(usize, usize)> {
        if let Children::Flat(list) = self
            && list.len() <= 32
        {
            return list.iter().position(|c| c.segment == segment).map(|at| (0, at));
        }
        let (chunk, at) = self.lower_bound(symbols, symbols.text(segment));
        self.chunks()[chunk].get(at).is_some_and(|c| c.segment == segment).then_some((chunk, at))
    }

    fn get(&self, (chunk, at): (usize, usize)) -> Child {
        self.chunks()[chunk][at]
    }

    fn get_mut(&mut self, (chunk, at): (usize, usize)) -> &mut Child {
        match self {
            Children::Flat(list) => &mut list[at],
            Children::Chunked(chunks) => &mut chunks[chunk][at],
        }
    }

    fn insert(&mut self, symbols: &Symbols, child: Child) -> (usize, usize) {
        let (chunk, at) = self.lower_bound(symbols, symbols.text(child.segment));
        let list = match self {
            Children::Flat(list) => list,
            Children::Chunked(chunks) => &mut chunks[chunk],
        };
        if list.len() < CHUNK_MAX {
            list.insert(at, child);
            return (chunk, at);
        }
        // Names mostly come in order: then the full chunk stays full.
        let cut = if at == list.len() { at } else { list.len() / 2 };
        let tail = list.split_off(cut);
        match self {
            Children::Flat(list) => *self = Children::Chunked(vec![std::mem::take(list), tail]),
            Children::Chunked(chunks) => chunks.insert(chunk + 1, tail),
        }
        let Children::Chunked(chunks) = self else { unreachable!("made above") };
        let (chunk, at) = if at >= cut { (chunk + 1, at - cut) } else { (chunk, at) };
        chunks[chunk].insert(at, child);
        (chunk, at)
    }

    fn remove(&mut self, (chunk, at): (usize, usize)) {
        match self {
            Children::Flat(list) => drop(list.remove(at)),
            Children::Chunked(chunks) => {
                chunks[chunk].remove(at);
                if chunks[chunk].is_empty() && chunks.len() > 1 {
                    chunks.remove(chunk);
                }
            }
        }
    }
}

/// The trie.
pub(super) struct PathIndex {
    nodes: Vec<Children>,
    free: Vec<u32>,
    leaves: usize,
    /// The path inserted last and the node that holds each of its segments: bursts of new series share most of it.
    last: String,
    trail: Vec<(usize, u32)>,
}

impl Default for PathIndex {
    fn default() -> Self {
        Self {
            nodes: vec![Children::Flat(Vec::new())],
            free: Vec::new(),
            leaves: 0,
            last: String::new(),
            trail: Vec::new(),
        }
    }
}

impl PathIndex {
    /// Makes `slot` the series of `path`; returns the one it was.
    pub(super) fn insert(&mut self, symbols: &mut Symbols, path: &str, slot: u32) -> Result<Option<u32>> {
        // `trail` holds (end of segment, node below it) of the last path.
        let shared = path.bytes().zip(self.last.bytes()).take_while(|(a, b)| a == b).count();
        let kept = self.trail.partition_point(|&(end, _)| end < shared);
        self.trail.truncate(kept);
        let (mut start, mut node) = self.trail.last().map_or((0, ROOT), |&(end, node)| (end + 1, node));
        self.last.clear();
        self.last.push_str(path);
        loop {
            let end = memchr::memchr(b'.', &path.as_bytes()[start..]).map(|at| start + at);
            let segment = symbols.intern(&path[start..end.unwrap_or(path.len())])?;
            let children = &mut self.nodes[node as usize];
            let place = match children.find(symbols, segment) {
                Some(place) => place,
                None => children.insert(symbols, Child { segment, node: NONE, slot: NONE }),
            };
            let child = children.get_mut(place);
            let Some(end) = end else {
                let before = std::mem::replace(&mut child.slot, slot);
                self.leaves += usize::from(before == NONE);
                return Ok((before != NONE).then_some(before));
            };
            let below = child.node;
            node = if below != NONE {
                below
            } else {
                let new = match self.free.pop() {
                    Some(free) => free,
                    None => {
                        self.nodes.push(Children::Flat(Vec::new()));
                        (self.nodes.len() - 1) as u32
                    }
                };
                self.nodes[node as usize].get_mut(place).node = new;
                new
            };
            self.trail.push((end, node));
            start = end + 1;
        }
    }

    /// Takes a path out, and the nodes that led only to it.
    pub(super) fn remove(&mut self, symbols: &Symbols, path: &str) {
        self.trail.clear();
        self.last.clear();
        let mut way = Vec::new();
        let mut node = ROOT;
        for segment in path.split('.') {
            let Some(symbol) = symbols.find(segment) else { return };
            let Some(place) = self.nodes.get(node as usize).and_then(|c| c.find(symbols, symbol)) else { return };
            way.push((node, place));
            node = self.nodes[node as usize].get(place).node;
        }
        if let Some(&(node, place)) = way.last() {
            let child = self.nodes[node as usize].get_mut(place);
            self.leaves -= usize::from(child.slot != NONE);
            child.slot = NONE;
        }
        while let Some((node, place)) = way.pop() {
            let children = &mut self.nodes[node as usize];
            let child = children.get(place);
            if child.node != NONE || child.slot != NONE {
                break;
            }
            children.remove(place);
            if !children.is_empty() || node == ROOT {
                break;
            }
            self.nodes[node as usize] = Children::Flat(Vec::new());
            self.free.push(node);
            if let Some(&(above, place)) = way.last() {
                self.nodes[above as usize].get_mut(place).node = NONE;
            }
        }
    }

    /// Paths that are series.
    pub(super) fn leaves(&self) -> usize {
        self.leaves
    }

    /// Leaves (as slots) and branches (as text) that the whole of `glob` matches, both in the order of the trie.
    ///
    /// # Errors
    /// `Invalid` if the glob is too long, if there are more than `limit` results, or if it takes more than [`TESTS_MAX`]
    /// tests.
    pub(super) fn find(&self, symbols: &Symbols, glob: &[GlobStep<'_>], want: Want, limit: usize) -> Result<Matches> {
        self.find_by(symbols, glob, want, limit, TESTS_MAX)
    }

    /// As [`PathIndex::find`], by at most `tests_max` tests.
    pub(super) fn find_by(
        &self,
        symbols: &Symbols,
        glob: &[GlobStep<'_>],
        want: Want,
        limit: usize,
        tests_max: u64,
    ) -> Result<Matches> {
        if glob.len() > PATH_DEPTH_MAX {
            return Err(Error::invalid(format!("a glob of {} segments: at most {PATH_DEPTH_MAX}", glob.len())));
        }
        let steps = glob
            .iter()
            .map(|step| match step {
                GlobStep::AnyDepth => Compiled::AnyDepth,
                GlobStep::One(matcher) => match matcher.literal() {
                    Some(text) => Compiled::Literal(symbols.find(text)),
                    None => Compiled::Pattern { matcher: *matcher, asked: 0, verdicts: Vec::new() },
                },
            })
            .collect();
        let mut search = Search {
            index: self,
            symbols,
            steps,
            want,
            limit,
            tests_left: tests_max,
            path: String::new(),
            found: Matches::default(),
        };
        if !glob.is_empty() {
            let start = search.closure(1);
            search.walk(ROOT, start)?;
        }
        Ok(search.found)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let lists = self.nodes.iter().map(|children| match children {
            Children::Flat(list) => list.capacity() * size_of::<Child>(),
            Children::Chunked(chunks) => {
                let inner = chunks.iter().map(|c| c.capacity() * size_of::<Child>()).sum::<usize>();
                inner + chunks.capacity() * size_of::<Vec<Child>>()
            }
        });
        lists.sum::<usize>() + self.nodes.capacity() * size_of::<Children>() + self.free.capacity() * 4
    }
}

/// What a find found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Matches {
    pub(super) leaves: Vec<u32>,
    pub(super) branches: Vec<String>,
}

enum Compiled<'a> {
    /// `None`: no path has this segment.
    Literal(Option<Symbol>),
    Pattern {
        matcher: &'a dyn SegmentMatcher,
        /// How often it was asked before verdicts were kept: a narrow find shall not pay for a table of all segments.
        asked: u32,
        /// By symbol: 0 not asked yet, 1 no, 2 yes.
        verdicts: Vec<u8>,
    },
    AnyDepth,
}

/// A walk with a set of steps, one bit each, that the path so far has led to: a node is visited once, whatever the
/// number of `**`.
struct Search<'a> {
    index: &'a PathIndex,
    symbols: &'a Symbols,
    steps: Vec<Compiled<'a>>,
    want: Want,
    limit: usize,
    tests_left: u64,
    path: String,
    found: Matches,
}

impl<'a> Search<'a> {
    /// `**` may stand for nothing: the step behind it is active as well.
    fn closure(&self, mut active: u128) -> u128 {
        for (i, step) in self.steps.iter().enumerate() {
            if active & (1 << i) != 0 && matches!(step, Compiled::AnyDepth) {
                active |= 1 << (i + 1);
            }
        }
        active & !(1 << self.steps.len())
    }

    /// Depth is bounded by that of the paths.
    fn walk(&mut self, node: u32, active: u128) -> Result<()> {
        let children = &self.index.nodes[node as usize];
        if active.is_power_of_two() {
            match &self.steps[active.trailing_zeros() as usize] {
                Compiled::Literal(None) => return Ok(()),
                Compiled::Literal(Some(segment)) => {
                    return match children.find(self.symbols, *segment) {
                        Some(place) => self.take(children.get(place), active),
                        None => Ok(()),
                    };
                }
                Compiled::Pattern { matcher, .. } if !matcher.literal_prefix().is_empty() => {
                    let prefix = matcher.literal_prefix();
                    let (chunk, mut at) = children.lower_bound(self.symbols, prefix);
                    for list in &children.chunks()[chunk..] {
                        for child in &list[at..] {
                            if !self.symbols.text(child.segment).starts_with(prefix) {
                                return Ok(());
                            }
                            self.take(*child, active)?;
                        }
                        at = 0;
                    }
                    return Ok(());
                }
                _ => {}
            }
        }
        for child in children.chunks().iter().flatten() {
            self.take(*child, active)?;
        }
        Ok(())
    }

    fn take(&mut self, child: Child, active: u128) -> Result<()> {
        let Some(left) = self.tests_left.checked_sub(u64::from(active.count_ones())) else {
            return Err(Error::invalid("the pattern takes too many tests: name more of the path, or use fewer **"));
        };
        self.tests_left = left;
        let mut next = 0;
        let mut accepted = false;
        let mut bits = active;
        while bits != 0 {
            let i = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            let last = i + 1 == self.steps.len();
            let (fits, stays) = match &mut self.steps[i] {
                Compiled::AnyDepth => (last, true),
                Compiled::Literal(segment) => (*segment == Some(child.segment), false),
                Compiled::Pattern { matcher, asked, verdicts } => {
                    (verdict(*matcher, asked, verdicts, self.symbols, child.segment), false)
                }
            };
            if stays {
                next |= 1 << i;
            }
            if fits && last {
                accepted = true;
            } else if fits {
                next |= 1 << (i + 1);
            }
        }
        if accepted && self.want != Want::Branches && child.slot != NONE {
            self.found.leaves.push(child.slot);
        }
        let branch = accepted && self.want != Want::Leaves && child.node != NONE;
        let deeper = next != 0 && child.node != NONE;
        if branch || deeper {
            let length = self.path.len();
            // Only branches are spelled out; a leaf's text is its series' key.
            if self.want != Want::Leaves {
                self.path.push_str(self.symbols.text(child.segment));
            }
            if branch {
                self.found.branches.push(self.path.clone());
            }
            if deeper {
                if self.want != Want::Leaves {
                    self.path.push('.');
                }
                self.walk(child.node, self.closure(next))?;
            }
            self.path.truncate(length);
        }
        if self.found.leaves.len() + self.found.branches.len() > self.limit {
            return Err(Error::invalid(format!("the pattern matches more than {} paths", self.limit)));
        }
        Ok(())
    }
}

fn verdict(
    matcher: &dyn SegmentMatcher,
    asked: &mut u32,
    verdicts: &mut Vec<u8>,
    symbols: &Symbols,
    segment: Symbol,
) -> bool {
    if *asked < ASKED_MAX {
        *asked += 1;
        return matcher.matches(symbols.text(segment));
    }
    if verdicts.is_empty() {
        verdicts.resize(symbols.len(), 0);
    }
    let kept = &mut verdicts[segment as usize];
    if *kept == 0 {
        *kept = 1 + u8::from(matcher.matches(symbols.text(segment)));
    }
    *kept == 2
}

/// Whether the path index can hold `path`.
///
/// # Errors
/// `Invalid` if it is too deep.
pub(super) fn check_depth(path: &str) -> Result<()> {
    match memchr::memchr_iter(b'.', path.as_bytes()).count() + 1 {
        0..=PATH_DEPTH_MAX => Ok(()),
        depth => Err(Error::invalid(format!("a path of {depth} segments: at most {PATH_DEPTH_MAX}"))),
    }
}
