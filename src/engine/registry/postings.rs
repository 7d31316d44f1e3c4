//! A set of slots that is small when it has few members: most tag values of a large table belong to one series.

use roaring::RoaringBitmap;

const INLINE_MAX: usize = 3;
const FEW_MAX: usize = 64;

/// 16 bytes for up to three members, a sorted vector up to 64, then a bitmap.
pub(super) enum Posting {
    Inline(u8, [u32; INLINE_MAX]),
    #[allow(clippy::box_collection, reason = "keeps the enum at 16 bytes, of which there is one per tag value")]
    Few(Box<Vec<u32>>),
    Many(Box<RoaringBitmap>),
}

impl Default for Posting {
    fn default() -> Self {
        Posting::Inline(0, [0; INLINE_MAX])
    }
}

impl Posting {
    pub(super) fn insert(&mut self, slot: u32) {
        match self {
            Posting::Inline(len, slots) => {
                let n = usize::from(*len);
                match slots[..n].binary_search(&slot) {
                    Ok(_) => {}
                    Err(at) if n < INLINE_MAX => {
                        slots.copy_within(at..n, at + 1);
                        slots[at] = slot;
                        *len += 1;
                    }
                    Err(at) => {
                        let mut few = Vec::with_capacity(2 * INLINE_MAX);
                        few.extend_from_slice(slots);
                        few.insert(at, slot);
                        *self = Posting::Few(Box::new(few));
                    }
                }
            }
            Posting::Few(slots) => match slots.binary_search(&slot) {
                Ok(_) => {}
                Err(at) if slots.len() < FEW_MAX => slots.insert(at, slot),
                Err(_) => {
                    let mut many: RoaringBitmap = slots.iter().copied().collect();
                    many.insert(slot);
                    *self = Posting::Many(Box::new(many));
                }
            },
            Posting::Many(slots) => {
                // PERF: not `push`, although slots ascend: it looks for the largest member first, backwards through
                // the empty part of an 8 KiB container. Proof: `load` of the tagged keys in `benches/find.rs`.
                slots.insert(slot);
            }
        }
    }

    pub(super) fn remove(&mut self, slot: u32) {
        match self {
            Posting::Inline(len, slots) => {
                let n = usize::from(*len);
                if let Ok(at) = slots[..n].binary_search(&slot) {
                    slots.copy_within(at + 1..n, at);
                    *len -= 1;
                }
            }
            Posting::Few(slots) => {
                if let Ok(at) = slots.binary_search(&slot) {
                    slots.remove(at);
                }
            }
            Posting::Many(slots) => {
                slots.remove(slot);
            }
        }
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Posting::Inline(len, _) => u64::from(*len),
            Posting::Few(slots) => slots.len() as u64,
            Posting::Many(slots) => slots.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Members that are also in `other`.
    pub(super) fn len_within(&self, other: &RoaringBitmap) -> u64 {
        match self {
            Posting::Many(slots) => slots.intersection_len(other),
            small => small.small().iter().filter(|&&s| other.contains(s)).count() as u64,
        }
    }

    pub(super) fn add_to(&self, set: &mut RoaringBitmap) {
        match self {
            Posting::Many(slots) => *set |= &**slots,
            small => set.extend(small.small()),
        }
    }

    pub(super) fn to_bitmap(&self) -> RoaringBitmap {
        match self {
            Posting::Many(slots) => (**slots).clone(),
            small => small.small().iter().copied().collect(),
        }
    }

    /// The members, unless there are so many that they are a bitmap.
    pub(super) fn small(&self) -> &[u32] {
        match self {
            Posting::Inline(len, slots) => &slots[..usize::from(*len)],
            Posting::Few(slots) => slots,
            Posting::Many(_) => &[],
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Posting::Inline(..) => 0,
            Posting::Few(slots) => size_of::<Vec<u32>>() + slots.capacity() * 4,
            // Serialised bytes plus the heads of the containers in memory.
            Posting::Many(slots) => {
                let statistics = slots.statistics();
                size_of::<RoaringBitmap>() + slots.serialized_size() + 48 * statistics.n_containers as usize
            }
        }
    }
}
