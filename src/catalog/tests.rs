use rhythmite_engine::manifest::{Edit, FileRecord, Manifest, SegmentRecord, TombstoneId, TombstoneRecord};
use rhythmite_model::{ErrorKind, FieldId, SeriesId, SeriesSet, TableId, Tier, Tombstone};

use parking_lot::Mutex;

use super::*;

pub(super) fn record(id: &str, policy: PolicyId) -> FileRecord {
    FileRecord {
        id: id.to_owned(),
        policy,
        tier: Tier(1),
        partition_ns: Some(-7),
        level: 1,
        seq: 12,
        deletes_seq: u64::MAX,
        rows: 3,
        bytes: 4,
        min_time_ns: i64::MIN,
        max_time_ns: i64::MAX,
        min_series: SeriesId(1),
        max_series: SeriesId(u64::MAX),
        kept_from_s: 1_800_000_000,
        checksum: u32::MAX,
    }
}

#[tokio::test]
async fn databases_and_policies_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.sqlite");
    let catalog = Catalog::open(&path).unwrap();
    let autogen = catalog.create_database("d", NewPolicy::autogen()).await.unwrap().unwrap();
    assert_eq!(catalog.create_database("d", NewPolicy::autogen()).await.unwrap(), None, "a second time is no error");
    let week = NewPolicy { default: true, ..NewPolicy::raw("week", 604_800_000_000_000) };
    let week = catalog.create_policy("d", week.clone()).await.unwrap();
    assert_ne!(autogen.id, week.id);
    let before = catalog.databases();
    assert_eq!(before.get("d").unwrap().default, Some(week.id));
    drop(catalog);
    assert_eq!(Catalog::open(&path).unwrap().databases(), before);
}

#[tokio::test]
async fn a_policy_of_the_same_name_must_be_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&dir.path().join("c")).unwrap();
    catalog.create_database("d", NewPolicy::autogen()).await.unwrap();
    let day = NewPolicy::raw("day", 86_400_000_000_000);
    let id = catalog.create_policy("d", day.clone()).await.unwrap().id;
    assert_eq!(catalog.create_policy("d", day).await.unwrap().id, id);
    let error = catalog.create_policy("d", NewPolicy::raw("day", 1)).await.unwrap_err();
    assert_eq!(error.message(), "retention policy conflicts with an existing policy");
    let error = catalog.create_policy("none", NewPolicy::raw("day", 1)).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::NotFound, "database not found: none"));
}

#[tokio::test]
async fn ids_of_dropped_policies_do_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&dir.path().join("c")).unwrap();
    let first = catalog.create_database("d", NewPolicy::autogen()).await.unwrap().unwrap().id;
    assert_eq!(catalog.drop_database("d").await.unwrap(), [first]);
    assert_eq!(catalog.drop_database("d").await.unwrap(), []);
    let second = catalog.create_database("d", NewPolicy::autogen()).await.unwrap().unwrap().id;
    assert_ne!(first, second);
}

#[tokio::test]
async fn altered_policies_keep_their_partitions() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&dir.path().join("c")).unwrap();
    let before = catalog.create_database("d", NewPolicy::autogen()).await.unwrap().unwrap();
    let hour = 3_600_000_000_000;
    let change = PolicyChange { retention_ns: Some(hour), ..PolicyChange::default() };
    let after = catalog.alter_policy("d", "autogen", change).await.unwrap();
    assert_eq!(after.levels[0].retention_ns, hour);
    assert_eq!(after.partition_ns, before.partition_ns);
    assert!(catalog.databases().get("d").unwrap().default.is_some());
}

#[tokio::test]
async fn max_idle_of_a_database_holds_for_all_its_policies() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c");
    let catalog = Catalog::open(&path).unwrap();
    catalog.create_database("d", NewPolicy::autogen()).await.unwrap();
    let hour = 3_600_000_000_000;
    assert_eq!(catalog.set_max_idle("d", hour - 1).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(catalog.set_max_idle("none", hour).await.unwrap_err().kind(), ErrorKind::NotFound);
    catalog.set_max_idle("d", hour).await.unwrap();
    catalog.create_policy("d", NewPolicy::raw("week", 0)).await.unwrap();
    drop(catalog);
    let catalog = Catalog::open(&path).unwrap();
    let idle: Vec<_> = catalog.databases().policies().map(|p| p.policy.max_idle_ns).collect();
    assert_eq!(idle, [hour, hour]);
}

#[tokio::test]
async fn the_same_storage_schema_is_one_policy() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&dir.path().join("c")).unwrap();
    let levels = vec![Level { step_ns: 10_000_000_000, retention_ns: 21_600_000_000_000 }];
    let first = catalog.intern_graphite_policy(levels.clone()).await.unwrap();
    assert_eq!(catalog.intern_graphite_policy(levels).await.unwrap(), first);
    assert_eq!(first.name, "10s_21600s");
    assert!(catalog.databases().get(GRAPHITE).unwrap().policy("autogen").is_some());
}

#[test]
fn the_manifest_is_what_was_committed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c");
    let catalog = Catalog::open(&path).unwrap();
    let manifest = catalog.manifest();
    let segment = SegmentRecord { id: 3, definitions: 5, bytes: 6 };
    let tombstone = |ordinal, fields: Option<&[u16]>| {
        let (table, times_ns) = (TableId::MAX, i64::MIN..=i64::MAX);
        let series = SeriesSet::list([1, 2, 900].map(|n| SeriesId::new(table, 0, n)));
        let fields = fields.map(|fields| fields.iter().map(|&id| FieldId(id)).collect());
        let id = TombstoneId { seq: u64::MAX - 1, ordinal };
        TombstoneRecord { id, tombstone: Tombstone { table, series, fields, times_ns } }
    };
    let tombstones = vec![tombstone(0, None), tombstone(1, Some(&[])), tombstone(2, Some(&[0, u16::MAX]))];
    let edit = Edit {
        add_files: vec![record("a", PolicyId(1)), record("b", PolicyId(u32::MAX))],
        add_tombstones: tombstones.clone(),
        add_segments: vec![segment],
        flushed_seq: Some(u64::MAX),
        ..Edit::default()
    };
    manifest.commit(&edit).unwrap();
    manifest.commit(&edit).expect("a repeated edit succeeds");
    let remove_tombstones = vec![tombstones[0].id];
    let remove = Edit { remove_files: vec!["a".to_owned()], remove_tombstones, ..Edit::default() };
    manifest.commit(&remove).unwrap();
    drop((manifest, catalog));
    let state = Catalog::open(&path).unwrap().manifest().load().unwrap();
    assert_eq!(state.files, [record("b", PolicyId(u32::MAX))]);
    assert_eq!(state.tombstones, tombstones[1..]);
    assert_eq!((state.segments, state.flushed_seq), (vec![segment], u64::MAX));
}

#[tokio::test]
async fn the_engine_is_told_before_anybody_sees_a_policy() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&dir.path().join("c")).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let (seen, watched) = (told.clone(), catalog.clone());
    catalog.tell(move |policy| {
        let visible = watched.databases().policy(policy.id).is_some_and(|known| known.policy == *policy);
        seen.lock().push((policy.name.clone(), policy.levels[0].retention_ns, visible));
    });
    catalog.create_database("d", NewPolicy::autogen()).await.unwrap();
    catalog.create_policy("d", NewPolicy::raw("day", 1)).await.unwrap();
    catalog.create_policy("d", NewPolicy::raw("day", 1)).await.unwrap();
    let change = PolicyChange { retention_ns: Some(2), ..PolicyChange::default() };
    catalog.alter_policy("d", "day", change).await.unwrap();
    let expected = [("autogen", 0, false), ("day", 1, false), ("day", 2, false)];
    assert_eq!(*told.lock(), expected.map(|(name, retention, visible)| (name.to_owned(), retention, visible)));
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nothing_half_done() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&dir.path().join("c")).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let seen = told.clone();
    catalog.tell(move |policy| seen.lock().push(policy.database.clone()));
    {
        let mut gone = Box::pin(catalog.create_database("gone", NewPolicy::autogen()));
        // One poll hands the change over; then the caller drops it.
        assert!(futures::poll!(gone.as_mut()).is_pending());
    }
    catalog.create_database("after", NewPolicy::autogen()).await.unwrap();
    assert_eq!(*told.lock(), ["gone", "after"]);
    assert!(catalog.databases().get("gone").unwrap().default_policy().is_some());
}

#[tokio::test]
async fn whoever_comes_second_finds_what_the_first_made() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&dir.path().join("c")).unwrap();
    let (one, two) = tokio::join!(
        catalog.create_database("d", NewPolicy::autogen()),
        catalog.create_database("d", NewPolicy::autogen())
    );
    assert_eq!([one.unwrap().is_some(), two.unwrap().is_some()], [true, false]);
    let day = || catalog.create_policy("d", NewPolicy::raw("day", 1));
    let (one, two) = tokio::join!(day(), day());
    assert_eq!(one.unwrap(), two.unwrap());
    let (one, two) = tokio::join!(
        catalog.create_policy("d", NewPolicy::raw("x", 1)),
        catalog.create_policy("d", NewPolicy::raw("x", 2))
    );
    assert_eq!(one.unwrap().levels[0].retention_ns, 1);
    assert_eq!(two.unwrap_err().message(), "retention policy conflicts with an existing policy");
}

#[tokio::test]
async fn too_many_databases_are_refused_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&dir.path().join("c")).unwrap();
    catalog.limit_databases(2);
    for (name, made) in [("a", true), ("b", true), ("a", false)] {
        assert_eq!(catalog.create_database(name, NewPolicy::autogen()).await.unwrap().is_some(), made, "{name}");
    }
    let error = catalog.create_database("c", NewPolicy::autogen()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("[limits] databases"), "{error}");
    assert_eq!(catalog.databases_refused(), 1);
    catalog.drop_database("a").await.unwrap();
    assert!(catalog.create_database("c", NewPolicy::autogen()).await.unwrap().is_some());
}

/// Whoever looks before he leaps sees the other still there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_administrators_who_go_at_once_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&dir.path().join("catalog.sqlite")).unwrap();
    for round in 0..20 {
        for name in ["ada", "bob"] {
            let (name, password) = (name.to_owned(), PasswordHash("x".to_owned()));
            let new = NewUser { name, password, is_admin: true, only_first: false };
            // One of them is still there.
            drop(catalog.create_user(new).await);
        }
        let (a, b) = match round % 2 {
            0 => tokio::join!(catalog.drop_user("ada", KeepAdmin::One), catalog.drop_user("bob", KeepAdmin::One)),
            _ => {
                tokio::join!(catalog.set_admin("ada", false, KeepAdmin::One), catalog.drop_user("bob", KeepAdmin::One))
            }
        };
        assert!(a.is_ok() != b.is_ok(), "{round}: {a:?} {b:?}");
        assert_eq!(catalog.accounts().users().filter(|user| user.is_admin).count(), 1, "{round}");
        for name in ["ada", "bob"] {
            drop(catalog.set_admin(name, true, KeepAdmin::One).await);
        }
    }
    assert!(catalog.drop_user("ada", KeepAdmin::None).await.is_ok());
}
