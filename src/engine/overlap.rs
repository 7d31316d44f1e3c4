//! Where spans of time lie over each other: there the newest of several points must be found, elsewhere each is on its own.

/// First and last nanosecond of something, both included.
pub(crate) type Span = (i64, i64);

/// The times that more than one of these spans covers, as spans that ascend and are apart. Sorts its input.
pub(crate) fn contested(spans: &mut [Span]) -> Vec<Span> {
    spans.sort_unstable();
    let mut contested: Vec<Span> = Vec::new();
    let mut covered_to = None::<i64>;
    for &(first, last) in spans.iter() {
        let Some(end) = covered_to else {
            covered_to = Some(last);
            continue;
        };
        // A span that began before covers everything from here to `end`.
        let both = (first, last.min(end));
        match contested.last_mut() {
            _ if both.0 > both.1 => {}
            Some(before) if before.1 >= both.0 => before.1 = before.1.max(both.1),
            _ => contested.push(both),
        }
        covered_to = Some(end.max(last));
    }
    contested
}

/// The parts of a span that lie in none of `holes`, which ascend and are apart.
pub(crate) fn beside(span: Span, holes: &[Span]) -> impl Iterator<Item = Span> {
    let ends = holes.iter().map(|hole| hole.0.checked_sub(1)).chain([Some(i64::MAX)]);
    let starts = [Some(i64::MIN)].into_iter().chain(holes.iter().map(|hole| hole.1.checked_add(1)));
    starts.zip(ends).filter_map(move |(start, end)| within(span, (start?, end?)))
}

/// What two spans share.
pub(crate) fn within(a: Span, b: Span) -> Option<Span> {
    let both = (a.0.max(b.0), a.1.min(b.1));
    (both.0 <= both.1).then_some(both)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ends_of_time() {
        assert_eq!(contested(&mut [(i64::MIN, i64::MAX), (3, 5)]), [(3, 5)]);
        assert_eq!(beside((i64::MIN, i64::MAX), &[(i64::MIN, 0), (7, i64::MAX)]).collect::<Vec<_>>(), [(1, 6)]);
        assert_eq!(beside((0, 5), &[]).collect::<Vec<_>>(), [(0, 5)]);
        assert_eq!(beside((0, 5), &[(0, 5)]).count(), 0);
    }

    proptest! {
        #[test]
        fn each_time_is_contested_or_not(spans in prop::collection::vec((0_i64..60, 0_i64..20), 0..9)) {
            let mut spans: Vec<Span> = spans.into_iter().map(|(first, length)| (first, first + length)).collect();
            let found = contested(&mut spans);
            prop_assert!(found.iter().all(|span| span.0 <= span.1));
            prop_assert!(found.windows(2).all(|w| w[0].1 < w[1].0));
            let has = |spans: &[Span], at: i64| spans.iter().filter(|span| span.0 <= at && at <= span.1).count();
            for at in 0..90 {
                prop_assert_eq!(has(&found, at), usize::from(has(&spans, at) > 1), "{}", at);
            }
            let rest: Vec<Span> = beside((10, 70), &found).collect();
            for at in 0..90 {
                let expected = (10..=70).contains(&at) && has(&found, at) == 0;
                prop_assert_eq!(has(&rest, at), usize::from(expected), "{}", at);
            }
        }
    }
}
