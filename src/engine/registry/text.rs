//! Where names are kept: an arena of text, a hash table of numbers, and the interner made of both.

use std::hash::{BuildHasher, Hasher};

use hashbrown::HashTable;
use rhythmite_model::{Error, Result};

/// Bytes of one chunk of the arena. A text never crosses chunks, so 64 KiB of it may stay unused.
const CHUNK_BYTES: usize = 1 << 20;
/// Texts start at multiples of this: 32 bits then address 16 GiB.
const ALIGN: usize = 4;
const CHUNKS_MAX: usize = (1 << 32) / (CHUNK_BYTES / ALIGN);

/// A text of an arena: 8 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    at: u32,
    len: u16,
}

impl Text {
    /// Bytes that the text takes in the arena.
    pub(super) fn cost(self) -> usize {
        usize::from(self.len).next_multiple_of(ALIGN)
    }
}

/// Text that is only ever appended. Chunks never move, so growing copies nothing.
#[derive(Default)]
pub(super) struct Arena {
    chunks: Vec<String>,
}

impl Arena {
    /// Stores `text`.
    ///
    /// # Errors
    /// `Invalid` if it is longer than 65,535 bytes; `Overloaded` if 16 GiB are full.
    pub(super) fn push(&mut self, text: &str) -> Result<Text> {
        let len = u16::try_from(text.len())
            .map_err(|_| Error::invalid(format!("a name of {} bytes is longer than 65535", text.len())))?;
        let fits = self.chunks.last().is_some_and(|c| c.len().next_multiple_of(ALIGN) + text.len() <= CHUNK_BYTES);
        if !fits {
            if self.chunks.len() == CHUNKS_MAX {
                return Err(Error::overloaded("the registry holds 16 GiB of names, which is its limit"));
            }
            self.chunks.push(String::with_capacity(CHUNK_BYTES));
        }
        let index = self.chunks.len() - 1;
        let chunk = &mut self.chunks[index];
        while !chunk.len().is_multiple_of(ALIGN) {
            chunk.push('\0');
        }
        let at = index * (CHUNK_BYTES / ALIGN) + chunk.len() / ALIGN;
        chunk.push_str(text);
        Ok(Text { at: at as u32, len })
    }

    pub(super) fn get(&self, text: Text) -> &str {
        let at = text.at as usize;
        let start = at % (CHUNK_BYTES / ALIGN) * ALIGN;
        &self.chunks[at / (CHUNK_BYTES / ALIGN)][start..start + usize::from(text.len)]
    }

    pub(super) fn bytes(&self, text: Text) -> &[u8] {
        let at = text.at as usize;
        let start = at % (CHUNK_BYTES / ALIGN) * ALIGN;
        &self.chunks[at / (CHUNK_BYTES / ALIGN)].as_bytes()[start..start + usize::from(text.len)]
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.chunks.len() * CHUNK_BYTES
    }
}

/// A vector in pages: growing moves nothing but the list of pages.
pub(super) struct Paged<T> {
    pages: Vec<Vec<T>>,
    len: usize,
}

const PAGE: usize = 4096;

impl<T> Default for Paged<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), len: 0 }
    }
}

impl<T> Paged<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push(&mut self, value: T) {
        if self.len.is_multiple_of(PAGE) {
            self.pages.push(Vec::with_capacity(PAGE));
        }
        self.pages[self.len / PAGE].push(value);
        self.len += 1;
    }

    pub(super) fn get(&self, index: u32) -> Option<&T> {
        self.pages.get(index as usize / PAGE)?.get(index as usize % PAGE)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.pages.len() * (PAGE * size_of::<T>() + size_of::<Vec<T>>())
    }
}

impl<T> std::ops::Index<u32> for Paged<T> {
    type Output = T;

    fn index(&self, index: u32) -> &T {
        &self.pages[index as usize / PAGE][index as usize % PAGE]
    }
}

impl<T> std::ops::IndexMut<u32> for Paged<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.pages[index as usize / PAGE][index as usize % PAGE]
    }
}

const SHARD_BITS: u32 = 6;

/// Hash table from the 32-bit hash of a text (kept elsewhere) to its number: about 13 bytes an entry. In 64 parts,
/// so that no single insertion pays for moving the whole table.
pub(super) struct Numbers {
    shards: Vec<HashTable<(u32, u32)>>,
    hasher: foldhash::fast::RandomState,
}

impl Default for Numbers {
    fn default() -> Self {
        let shards = (0..1 << SHARD_BITS).map(|_| HashTable::new()).collect();
        Self { shards, hasher: foldhash::fast::RandomState::default() }
    }
}

/// Spreads a number over 64 bits for a hash table.
pub(super) fn spread(number: u32) -> u64 {
    u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl Numbers {
    pub(super) fn hash(&self, scope: u64, text: &[u8]) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(text);
        hasher.write_u64(scope);
        let hash = hasher.finish();
        (hash >> 32) as u32 ^ hash as u32
    }

    /// The number with this hash for which `is_it` holds.
    pub(super) fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let shard = &self.shards[(hash >> (32 - SHARD_BITS)) as usize];
        shard.find(spread(hash), |&(h, n)| h == hash && is_it(n)).map(|&(_, n)| n)
    }

    pub(super) fn insert(&mut self, hash: u32, number: u32) {
        let shard = &mut self.shards[(hash >> (32 - SHARD_BITS)) as usize];
        shard.insert_unique(spread(hash), (hash, number), |&(h, _)| spread(h));
    }

    /// Puts `to` in the place of `from`; `None` takes it out.
    pub(super) fn replace(&mut self, hash: u32, from: u32, to: Option<u32>) {
        let shard = &mut self.shards[(hash >> (32 - SHARD_BITS)) as usize];
        if let Ok(mut entry) = shard.find_entry(spread(hash), |&e| e == (hash, from)) {
            match to {
                Some(to) => entry.get_mut().1 = to,
                None => drop(entry.remove()),
            }
        }
    }

    pub(super) fn reserve(&mut self, more: usize) {
        let each = more / self.shards.len() + more / self.shards.len() / 8 + 1;
        for shard in &mut self.shards {
            shard.reserve(each, |&(h, _)| spread(h));
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.shards.iter().map(HashTable::allocation_size).sum()
    }
}

/// The number of an interned text.
pub(super) type Symbol = u32;

/// Tag keys, tag values and path segments, each text once.
#[derive(Default)]
pub(super) struct Symbols {
    arena: Arena,
    texts: Paged<Text>,
    numbers: Numbers,
}

impl Symbols {
    pub(super) fn text(&self, symbol: Symbol) -> &str {
        self.arena.get(self.texts[symbol])
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    pub(super) fn find(&self, text: &str) -> Option<Symbol> {
        let hash = self.numbers.hash(0, text.as_bytes());
        self.numbers.find(hash, |n| self.arena.bytes(self.texts[n]) == text.as_bytes())
    }

    /// The symbol of `text`, made if need be; the same errors as [`Arena::push`].
    pub(super) fn intern(&mut self, text: &str) -> Result<Symbol> {
        let hash = self.numbers.hash(0, text.as_bytes());
        if let Some(symbol) = self.numbers.find(hash, |n| self.arena.bytes(self.texts[n]) == text.as_bytes()) {
            return Ok(symbol);
        }
        let symbol = self.texts.len() as u32;
        let stored = self.arena.push(text)?;
        self.texts.push(stored);
        self.numbers.insert(hash, symbol);
        Ok(symbol)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.arena.heap_bytes() + self.texts.heap_bytes() + self.numbers.heap_bytes()
    }
}
