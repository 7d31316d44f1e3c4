//! Values of one tag, in order: those that the engine keeps sorted, or sorted here as far as they are shown.

use std::sync::Arc;

use rhythmite_engine::Engine;
use rhythmite_engine::registry::{TagValues, Texts};
use rhythmite_model::TableId;
use roaring::RoaringBitmap;

use super::condition::PATH_TAG;
use super::names::paths;
use super::output::Page;
use crate::query::influxql::failure::Result;

/// The values of a tag in several tables.
pub(super) struct Values {
    runs: Vec<Run>,
}

/// Values in order, each once.
struct Run {
    texts: Arc<TagValues>,
    /// The numbers of those that are meant, ascending; `None` for all.
    chosen: Option<Vec<u32>>,
}

impl Values {
    /// The values of a tag of the series in `within` (`None`: of all) for which `wanted` holds (`None`: all); of a Graphite
    /// series the path is one.
    pub(super) fn of(
        engine: &Engine,
        tables: &[TableId],
        key: &str,
        within: Option<&RoaringBitmap>,
        wanted: Option<&dyn Fn(&str) -> bool>,
    ) -> Self {
        let mut runs = Vec::new();
        // Copied under the registry's lock, put in order behind it.
        let mut loose = Texts::default();
        let mut push = |text: &str| {
            if wanted.is_none_or(|wanted| wanted(text)) {
                loose.push(text);
            }
        };
        for &table in tables {
            // Some of a million values are not worth sorting the million, unless somebody has.
            let all = within.is_none() && wanted.is_none();
            let texts = if all { Some(engine.tag_values(table, key)) } else { engine.tag_values_kept(table, key) };
            match texts {
                Some(texts) => {
                    let of_series =
                        within.map(|within| engine.registry().read().tag_values_within(table, key, &texts, within));
                    runs.push(Run::new(texts, of_series, wanted));
                }
                None => engine.registry().read().each_tag_value(&[table], key, within, &mut push),
            }
        }
        if key == PATH_TAG {
            paths(&engine.registry().read(), tables, within).for_each(push);
        }
        let loose = TagValues::from(loose.sorted());
        runs.push(Run { texts: Arc::new(loose), chosen: None });
        runs.retain(|run| run.len() > 0);
        Self { runs }
    }

    /// Gives `give` the values on a page, in order, until it says no.
    ///
    /// # Errors
    /// Those of `give`.
    pub(super) fn each(&self, page: &mut Page, give: &mut dyn FnMut(&str) -> Result<bool>) -> Result<bool> {
        let mut all = |texts: &mut dyn Iterator<Item = &str>| {
            for text in texts {
                if !give(text)? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        if let [run] = self.runs.as_slice() {
            let shown = page.advance(run.len());
            return match &run.chosen {
                None => all(&mut run.texts.texts().range(shown)),
                Some(chosen) => all(&mut chosen[shown].iter().map(|&at| run.texts.texts().get(at as usize))),
            };
        }
        // Runs that the stable sort finds and merges.
        let mut texts: Vec<&str> = self.runs.iter().flat_map(Run::texts).collect();
        texts.sort();
        texts.dedup();
        let shown = page.advance(texts.len());
        all(&mut texts[shown].iter().copied())
    }
}

impl Run {
    fn new(texts: Arc<TagValues>, of_series: Option<Vec<u32>>, wanted: Option<&dyn Fn(&str) -> bool>) -> Self {
        let chosen = match (of_series, wanted) {
            (None, None) => None,
            (Some(chosen), None) => Some(chosen),
            (Some(mut chosen), Some(wanted)) => {
                chosen.retain(|&at| wanted(texts.texts().get(at as usize)));
                Some(chosen)
            }
            (None, Some(wanted)) => {
                let numbered = texts.texts().iter().enumerate();
                Some(numbered.filter(|(_, text)| wanted(text)).map(|(at, _)| at as u32).collect())
            }
        };
        Self { texts, chosen }
    }

    fn len(&self) -> usize {
        self.chosen.as_ref().map_or(self.texts.texts().len(), Vec::len)
    }

    fn texts(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match &self.chosen {
            None => Box::new(self.texts.texts().iter()),
            Some(chosen) => Box::new(chosen.iter().map(|&at| self.texts.texts().get(at as usize))),
        }
    }
}
