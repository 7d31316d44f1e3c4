//! Many texts in order, and how much of one the next begins with.

use std::ops::Range;

/// Texts that are compared whole rather than sorted by their words.
const FEW: usize = 16;

/// How many bytes two texts begin with alike.
pub(crate) fn shared(a: &[u8], b: &[u8]) -> usize {
    let (a_words, b_words) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
    for (at, (a, b)) in a_words.iter().zip(b_words).enumerate() {
        let differ = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differ != 0 {
            return at * 8 + differ.trailing_zeros() as usize / 8;
        }
    }
    let from = a_words.len().min(b_words.len()) * 8;
    from + a[from..].iter().zip(&b[from..]).take_while(|(a, b)| a == b).count()
}

/// The numbers below `count` in the order of their texts; of equal texts in no order. `count` is below 2^32.
///
/// PERF: names begin alike, and comparing two of a million costs two cache misses and a walk over what they share. Here
/// eight bytes at a time, behind what all share, are sorted as numbers, and only texts that are equal so far looked at again.
/// Proof: `cargo bench -p rhythmite-engine --bench many_series`: "burst", flushed.
pub(crate) fn order<'a>(count: usize, text: impl Fn(usize) -> &'a [u8]) -> Vec<u32> {
    let count = u32::try_from(count).expect("the caller has fewer than 2^32 texts");
    let mut entries: Vec<(u64, u32)> = (0..count).map(|number| (0, number)).collect();
    // Not by recursion: texts that share ever more of each other would go deep.
    let mut open: Vec<(Range<usize>, usize)> = vec![(0..entries.len(), 0)];
    let behind = |number: u32, from: usize| text(number as usize).get(from..).unwrap_or_default();
    while let Some((range, from)) = open.pop() {
        let part = &mut entries[range.clone()];
        if part.len() <= FEW {
            part.sort_unstable_by(|a, b| behind(a.1, from).cmp(behind(b.1, from)));
            continue;
        }
        let first = behind(part[0].1, from);
        let alike = part.iter().fold(first.len(), |alike, e| shared(&first[..alike], behind(e.1, from)));
        let from = from + alike;
        for (word, number) in part.iter_mut() {
            *word = big_endian(behind(*number, from));
        }
        // Equal words stay in the order of their texts in memory, which the next look at them goes along.
        part.sort_unstable();
        let mut start = range.start;
        for run in part.chunk_by_mut(|a, b| a.0 == b.0) {
            let end = start + run.len();
            // A text that ends within the word looks like one with zeros behind it, which comes after it.
            let len = |e: &(u64, u32)| behind(e.1, from).len().min(8);
            if run.len() > 1 && run.iter().any(|e| len(e) < 8) {
                run.sort_unstable_by_key(len);
            }
            let go_on = start + run.partition_point(|e| len(e) < 8);
            if end - go_on > 1 {
                open.push((go_on..end, from + 8));
            }
            start = end;
        }
    }
    entries.into_iter().map(|e| e.1).collect()
}

/// The first eight bytes as a number that is ordered as they are; zeros behind the end.
fn big_endian(text: &[u8]) -> u64 {
    match text.first_chunk::<8>() {
        Some(word) => u64::from_be_bytes(*word),
        None => text.iter().zip((0..64).step_by(8)).fold(0, |word, (byte, at)| word | u64::from(*byte) << (56 - at)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(texts: &[Vec<u8>]) {
        let sorted: Vec<_> = order(texts.len(), |n| &texts[n]).into_iter().map(|n| texts[n as usize].clone()).collect();
        let mut expected = texts.to_vec();
        expected.sort();
        assert_eq!(sorted, expected);
    }

    #[test]
    fn texts_that_share_ever_more_are_sorted() {
        check(&[]);
        check(&(0..5_000).map(|n| vec![b'a'; n * 37 % 1_000]).collect::<Vec<_>>());
        check(&(0..300).map(|n| vec![0; n * 7 % 100]).collect::<Vec<_>>());
        check(
            &(0..9_000)
                .map(|n| format!("load.group{:02}.host{:06}.cpu.idle", n % 100, n / 100).into())
                .collect::<Vec<_>>(),
        );
    }

    proptest! {
        #[test]
        fn texts_come_in_their_order(texts in prop::collection::vec(
            (0_usize..20, prop::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(255)], 0..20)), 0..200)
        ) {
            check(&texts.into_iter().map(|(same, rest)| [vec![b'x'; same], rest].concat()).collect::<Vec<_>>());
        }

        #[test]
        fn what_two_texts_share_is_counted(a in "[ab]{0,30}", b in "[ab]{0,30}", head in "[a-z]{0,20}") {
            let (a, b) = (format!("{head}{a}"), format!("{head}{b}"));
            let slow = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
            prop_assert_eq!(shared(a.as_bytes(), b.as_bytes()), slow);
        }
    }
}
