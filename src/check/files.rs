//! Every live file, on all cores.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rhythmite_engine::check::{self, Context, Place, Problem};
use rhythmite_engine::manifest::FileRecord;
use rhythmite_engine::sst::SstPart;
use rhythmite_model::{Error, Policy, PolicyId, Result};

use crate::import::Progress;

/// Files with problems, in the order of the catalogue.
pub(super) fn check_all<'a>(
    context: &Context<'_>,
    policies: &BTreeMap<PolicyId, Policy>,
    files: &[&'a FileRecord],
    progress: &mut Progress,
) -> Result<Vec<(&'a FileRecord, Vec<Problem>)>> {
    progress.start(files.len() as u64, files.iter().map(|f| f.bytes).sum());
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(files.len());
    let (next, done, shown) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(&mut *progress));
    std::thread::scope(|scope| {
        let work = || {
            while let Some(record) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                let found = one(context, policies, record);
                shown.lock().file(&*context.env.clock, record.bytes);
                match found {
                    Ok(problems) if problems.is_empty() => {}
                    found => done.lock().push((*record, found)),
                }
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let died = workers.into_iter().filter_map(|worker| worker.join().err()).count();
        if died == 0 { Ok(()) } else { Err(Error::internal("a thread that checks files died")) }
    })?;
    progress.finish();
    let mut done = done.into_inner();
    done.sort_by(|(a, _), (b, _)| (a.seq, &a.id).cmp(&(b.seq, &b.id)));
    done.into_iter().map(|(record, found)| Ok((record, found?))).collect()
}

fn one(context: &Context<'_>, policies: &BTreeMap<PolicyId, Policy>, record: &FileRecord) -> Result<Vec<Problem>> {
    let policy = policies.get(&record.policy).ok_or_else(|| Error::internal("a file of an unknown policy"))?;
    check::file(context, policy, record).or_else(|e| {
        // A disk that cannot read a place says nothing of the other files.
        let path = check::paths(context.data_dir, policy, record)?.index;
        Ok(vec![Problem { path, place: Place::Contents, what: format!("cannot be read: {e}") }])
    })
}

/// Whether values are damaged, which nothing can make again.
pub(super) fn is_lost(problems: &[Problem]) -> bool {
    problems.iter().any(|p| p.place == Place::Part(SstPart::Points))
}

/// Whether the index has to be made again.
pub(super) fn index_was_lost(problems: &[Problem]) -> bool {
    problems.iter().any(|p| p.place == Place::Part(SstPart::Index))
}

/// Whether a repair can change anything for the better.
pub(super) fn can_change(problems: &[Problem]) -> bool {
    problems.iter().any(|p| p.place != Place::Contents)
}
