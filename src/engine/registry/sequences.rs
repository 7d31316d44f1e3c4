//! Slots by sequence number.

use super::directory::NO_SLOT;

/// Slots by sequence number: 4 bytes each, in pages that go when all of their series are gone.
#[derive(Default)]
pub(super) struct Sequences {
    pages: Vec<(u16, Option<Box<[u32]>>)>,
}

const SEQUENCE_PAGE: usize = 4096;

impl Sequences {
    pub(super) fn get(&self, sequence: u32) -> Option<u32> {
        let (_, page) = self.pages.get(sequence as usize / SEQUENCE_PAGE)?;
        page.as_ref().map(|p| p[sequence as usize % SEQUENCE_PAGE]).filter(|&slot| slot != NO_SLOT)
    }

    pub(super) fn set(&mut self, sequence: u32, slot: u32) {
        let at = sequence as usize / SEQUENCE_PAGE;
        if self.pages.len() <= at {
            self.pages.resize_with(at + 1, Default::default);
        }
        let (live, page) = &mut self.pages[at];
        let place =
            &mut page.get_or_insert_with(|| vec![NO_SLOT; SEQUENCE_PAGE].into())[sequence as usize % SEQUENCE_PAGE];
        *live += u16::from(*place == NO_SLOT);
        *place = slot;
    }

    pub(super) fn remove(&mut self, sequence: u32) {
        let Some((live, page)) = self.pages.get_mut(sequence as usize / SEQUENCE_PAGE) else { return };
        if let Some(slots) = page {
            *live -= u16::from(slots[sequence as usize % SEQUENCE_PAGE] != NO_SLOT);
            slots[sequence as usize % SEQUENCE_PAGE] = NO_SLOT;
            if *live == 0 {
                *page = None;
            }
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let full = self.pages.iter().filter(|(_, page)| page.is_some()).count();
        full * SEQUENCE_PAGE * 4 + self.pages.capacity() * size_of::<(u16, Option<Box<[u32]>>)>()
    }
}
