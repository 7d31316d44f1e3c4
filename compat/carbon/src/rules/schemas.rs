use super::{Archive, Pattern, Warning, Warnings, ini, parse_retentions};

/// One rule of storage-schemas.conf.
#[derive(Debug)]
pub struct Schema {
    /// The section's name.
    pub name: String,
    /// At least one, finest first.
    pub archives: Vec<Archive>,
    /// `None` matches every name.
    pattern: Option<Pattern>,
}

/// The rules of storage-schemas.conf: how fine and how long the points of a name are kept.
#[derive(Debug)]
pub struct StorageSchemas {
    /// Never empty; the last one matches every name.
    schemas: Vec<Schema>,
}

impl StorageSchemas {
    /// Reads the file's text. A name that no section matches is kept 60 s for 7 days, as carbon does.
    ///
    /// Sections without a pattern or retentions, or with archives that whisper would refuse, are skipped with
    /// a warning.
    pub fn parse(text: &str, file: &str) -> (Self, Vec<Warning>) {
        let mut warnings = Warnings::new(file);
        let mut schemas = Vec::new();
        for section in ini::parse(text, &mut warnings) {
            let mut skip = |line, why: &str| {
                warnings.add(line, Some(&section.name), format_args!("section skipped: {why}"));
            };
            let Some((retentions, retentions_line)) = section.get("retentions") else {
                skip(section.line, "no retentions");
                continue;
            };
            let Some((pattern, pattern_line)) = section.get("pattern").filter(|(p, _)| !p.is_empty()) else {
                skip(section.line, "no pattern");
                continue;
            };
            match (parse_retentions(retentions), Pattern::new(pattern)) {
                (Ok(archives), Ok(pattern)) => {
                    schemas.push(Schema { name: section.name, archives, pattern: Some(pattern) });
                }
                (Err(why), _) => skip(retentions_line, &why),
                (_, Err(why)) => skip(pattern_line, &why),
            }
        }
        schemas.push(catch_all("default", &[(60, 7 * 24 * 60)]));
        (Self { schemas }, warnings.list)
    }

    /// What holds when no file is configured: 10 s for 6 hours, 1 min for 7 days, 10 min for 5 years.
    ///
    /// A StatsD emits every 10 s; at carbon's default of 60 s five of six of its points would be lost.
    pub fn built_in() -> Self {
        const DAY_MIN: u32 = 24 * 60;
        Self {
            schemas: vec![catch_all("built-in", &[(10, 6 * 360), (60, 7 * DAY_MIN), (600, 5 * 365 * DAY_MIN / 10)])],
        }
    }

    /// The first schema whose pattern is found in `path`.
    pub fn find(&self, path: &str) -> &Schema {
        let matching = |s: &&Schema| s.pattern.as_ref().is_none_or(|p| p.matches(path));
        self.schemas.iter().find(matching).expect("the last schema matches every name")
    }

    /// All schemas in the order they are tried.
    pub fn schemas(&self) -> &[Schema] {
        &self.schemas
    }

    /// How often a pattern reached the limit on backtracking.
    pub fn patterns_exhausted(&self) -> u64 {
        self.schemas.iter().filter_map(|s| s.pattern.as_ref()).map(Pattern::exhausted).sum()
    }
}

fn catch_all(name: &str, archives: &[(u32, u32)]) -> Schema {
    let archives = archives.iter().map(|&(step_s, points)| Archive { step_s, points }).collect();
    Schema { name: name.to_owned(), archives, pattern: None }
}
