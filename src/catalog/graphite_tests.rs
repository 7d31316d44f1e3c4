//! What graphite-web keeps beside series.

use rhythmite_model::ErrorKind;

use super::Catalog;

mod events {
    use rhythmite_graphite::events::{EventQuery, NewEvent, TagSet};

    use super::super::events::{ANSWER_MAX, Added};
    use super::*;

    fn event(what: &str, tags: &str, time_us: i64) -> NewEvent {
        NewEvent { what: what.to_owned(), tags: tags.to_owned(), data: String::new(), time_us: Some(time_us) }
    }

    fn query(tags: Option<&str>, set: TagSet) -> EventQuery {
        let tags = tags.map(|t| t.split(' ').map(str::to_owned).collect());
        EventQuery { from_us: 0, until_us: 10_000_000, tags, set }
    }

    #[tokio::test]
    async fn are_found_by_time_and_tag() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&dir.path().join("c")).unwrap();
        let events = catalog.events();
        for (what, tags, time_us) in [
            ("late", "b", 9_000_000),
            ("ab", "a b a", 1_000_000),
            ("a", "a", 2_000_001),
            ("none", "", 3_000_000),
            ("quoted", "\"a b\" c", 3_000_000),
            ("old", "a", -1),
        ] {
            events.add(event(what, tags, time_us), 0).await.unwrap();
        }
        for (tags, set, want) in [
            (None, TagSet::AllKnown, &["ab", "a", "none", "quoted", "late"][..]),
            (Some("a"), TagSet::AllKnown, &["ab", "a"]),
            (Some("a b"), TagSet::AllKnown, &["ab"]),
            (Some("a nobody"), TagSet::AllKnown, &["ab", "a"]),
            (Some("a nobody"), TagSet::Intersection, &[]),
            (Some("a b"), TagSet::Intersection, &["ab"]),
            (Some("a a"), TagSet::Intersection, &[]),
            (Some("a b nobody"), TagSet::Union, &["ab", "a", "late"]),
            (Some("nobody"), TagSet::Union, &[]),
            (Some(""), TagSet::AllKnown, &[]),
            (Some("A"), TagSet::AllKnown, &[]),
        ] {
            let found = events.find(query(tags, set)).await.unwrap();
            let found: Vec<_> = found.iter().map(|e| e.what.as_str()).collect();
            assert_eq!(found, want, "{tags:?} {set:?}");
        }
        let by_second = move |tags: Option<Vec<String>>| events.count_by_second(tags, -1, 9).unwrap();
        let counted = tokio::task::spawn_blocking(move || {
            (by_second(None), by_second(Some(vec!["a".into(), "zz".into()])), by_second(Some(vec!["a b".into()])))
        });
        let (all, a, quoted) = counted.await.unwrap();
        assert_eq!(all, [(-1, 1), (1, 1), (2, 1), (3, 2)]);
        assert_eq!((a, quoted), (vec![(-1, 1), (1, 1), (2, 1)], vec![(3, 1)]));
    }

    #[tokio::test]
    async fn go_when_there_are_too_many_and_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&dir.path().join("c")).unwrap();
        let events = catalog.events();
        let mut last = Added { id: 0, dropped: 0 };
        for i in 0..5 {
            last = events.add_within(event("e", "t", i), 0, 3).await.unwrap();
        }
        assert_eq!(last, Added { id: 5, dropped: 1 });
        let left = events.find(query(Some("t"), TagSet::Union)).await.unwrap();
        assert_eq!(left.iter().map(|e| e.id).collect::<Vec<_>>(), [3, 4, 5]);
        assert!(events.remove(4).await.unwrap() && !events.remove(4).await.unwrap());
        assert_eq!(events.get(4).await.unwrap(), None);
        assert_eq!(events.get(5).await.unwrap().unwrap().time_us, 4);
        assert_eq!(events.find(query(Some("t"), TagSet::AllKnown)).await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn an_answer_has_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&dir.path().join("c")).unwrap();
        let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ?) \
                    INSERT INTO event (time_us, what, tags, data) SELECT i, 'w', '', '' FROM n";
        let events = catalog.events();
        let insert = events.store_for_tests().run(move |connection| {
            Box::pin(async move { sqlx::query(many).bind(ANSWER_MAX as i64 + 1).execute(connection).await })
        });
        insert.await.unwrap();
        let error = catalog.events().find(query(None, TagSet::AllKnown)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let fewer = EventQuery { from_us: 2, ..query(None, TagSet::AllKnown) };
        assert_eq!(catalog.events().find(fewer).await.unwrap().len(), ANSWER_MAX);
    }
}

mod dashboards {
    use super::super::dashboards::{Kind, NAME_BYTES_MAX, STATE_BYTES_MAX, TEMPORARY_MAX};
    use super::*;

    #[tokio::test]
    async fn are_kept_by_kind_and_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        let dashboards = Catalog::open(&path).unwrap().dashboards();
        for (kind, name, state) in [
            (Kind::Dashboard, "b", "1"),
            (Kind::Dashboard, "A", "2"),
            (Kind::Dashboard, "b", "3"),
            (Kind::Template, "b", "4"),
        ] {
            dashboards.save(kind, name, state.to_owned(), 0).await.unwrap();
        }
        drop(dashboards);
        let dashboards = Catalog::open(&path).unwrap().dashboards();
        assert_eq!(dashboards.names(Kind::Dashboard).await.unwrap(), ["A", "b"]);
        assert_eq!(dashboards.load(Kind::Dashboard, "b").await.unwrap().as_deref(), Some("3"));
        assert!(dashboards.delete(Kind::Dashboard, "b").await.unwrap());
        assert!(!dashboards.delete(Kind::Dashboard, "b").await.unwrap());
        assert_eq!(dashboards.load(Kind::Template, "b").await.unwrap().as_deref(), Some("4"));
        for (name, state) in [("", "1".to_owned()), ("x", "1".repeat(STATE_BYTES_MAX + 1))] {
            assert!(dashboards.save(Kind::Dashboard, name, state, 0).await.is_err());
        }
        assert!(dashboards.save(Kind::Dashboard, &"x".repeat(NAME_BYTES_MAX + 1), String::new(), 0).await.is_err());
    }

    #[tokio::test]
    async fn temporary_ones_are_numbered_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let dashboards = Catalog::open(&dir.path().join("c")).unwrap().dashboards();
        for (i, want) in ["temporary-0", "temporary-1", "temporary-2"].iter().enumerate() {
            assert_eq!(dashboards.save_temporary(i.to_string(), i as i64).await.unwrap(), *want);
        }
        assert!(dashboards.delete(Kind::Dashboard, "temporary-1").await.unwrap());
        assert_eq!(dashboards.save_temporary("x".to_owned(), 9).await.unwrap(), "temporary-1");
        assert_eq!(dashboards.load(Kind::Dashboard, "temporary-1").await.unwrap().as_deref(), Some("x"));
        assert_eq!(dashboards.names(Kind::Dashboard).await.unwrap(), [""; 0]);
        for i in 3..TEMPORARY_MAX {
            dashboards.save_temporary(String::new(), i).await.unwrap();
        }
        assert_eq!(dashboards.save_temporary("new".to_owned(), 99_999).await.unwrap(), "temporary-0");
        assert_eq!(dashboards.names(Kind::Temporary).await.unwrap().len() as i64, TEMPORARY_MAX);
    }
}

#[tokio::test]
async fn a_path_has_one_short_link() {
    let dir = tempfile::tempdir().unwrap();
    let links = Catalog::open(&dir.path().join("c")).unwrap().links();
    let (a, b) = (links.shorten("a?x".to_owned()).await.unwrap(), links.shorten("b".to_owned()).await.unwrap());
    assert_eq!(links.shorten("a?x".to_owned()).await.unwrap(), a);
    assert_ne!(a, b);
    assert_eq!(links.follow(a).await.unwrap().as_deref(), Some("a?x"));
    assert_eq!((links.follow(99).await.unwrap(), links.follow(u64::MAX).await.unwrap()), (None, None));
}
