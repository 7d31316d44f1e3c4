use super::{Pattern, Warning, Warnings, ini};
use crate::relay::Destination;

/// relay-rules.conf: which destinations the names that match a pattern go to.
#[derive(Debug, Default)]
pub struct RelayRules {
    rules: Vec<Rule>,
    default: Vec<Destination>,
}

#[derive(Debug)]
struct Rule {
    pattern: Pattern,
    destinations: Vec<Destination>,
    goes_on: bool,
}

impl RelayRules {
    /// Reads the file's text. Patterns are searched for without regard to case.
    ///
    /// # Errors
    /// carbon's relay does not start when a section has no destinations or neither pattern nor default, when there is not
    /// exactly one default, or when a pattern is none; the message names section and line.
    pub fn parse(text: &str, file: &str) -> Result<(Self, Vec<Warning>), String> {
        let mut warnings = Warnings::new(file);
        let mut rules = Self::default();
        let mut has_default = false;
        for section in ini::parse(text, &mut warnings) {
            let fault = |line: usize, why: &str| format!("{file}:{line}: [{}] {why}", section.name);
            let Some((destinations, line)) = section.get("destinations") else {
                return Err(fault(section.line, "no destinations"));
            };
            let destinations = destinations.split(',').map(str::trim).filter(|d| !d.is_empty());
            let destinations: Result<Vec<Destination>, String> = destinations.map(str::parse).collect();
            let destinations = destinations.map_err(|e| fault(line, &e))?;
            match (section.get("pattern"), section.get("default")) {
                (Some(_), Some((_, line))) => return Err(fault(line, "both a pattern and the default")),
                (Some((pattern, line)), None) => {
                    let goes_on = match section.get("continue") {
                        None => false,
                        Some((text, line)) => truth(text).ok_or_else(|| fault(line, "continue is true or false"))?,
                    };
                    let pattern = Pattern::new(&format!("(?i){pattern}")).map_err(|e| fault(line, &e))?;
                    rules.rules.push(Rule { pattern, destinations, goes_on });
                }
                (None, Some((text, line))) => {
                    if truth(text).ok_or_else(|| fault(line, "default is true or false"))? {
                        if has_default {
                            return Err(fault(line, "a second default"));
                        }
                        has_default = true;
                        rules.default = destinations;
                    }
                }
                (None, None) => return Err(fault(section.line, "neither pattern nor default")),
            }
        }
        match has_default {
            true => Ok((rules, warnings.list)),
            false => Err(format!("{file}: no section with default = true")),
        }
    }

    /// The destinations of a name, in the order of the rules; one may come twice.
    pub fn find<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a Destination> {
        let mut done = false;
        let matching = self.rules.iter().filter_map(move |rule| {
            let applies = !done && rule.pattern.matches(path);
            done |= applies && !rule.goes_on;
            applies.then_some(rule.destinations.as_slice())
        });
        // The default stands behind all rules: a rule that ends the search keeps it from being reached.
        let ended = self.rules.iter().any(|rule| !rule.goes_on && rule.pattern.matches(path));
        let default = (!ended).then_some(self.default.as_slice());
        matching.chain(default).flatten()
    }

    /// Every destination a rule names.
    pub fn destinations(&self) -> impl Iterator<Item = &Destination> {
        self.rules.iter().flat_map(|rule| &rule.destinations).chain(&self.default)
    }
}

/// As Python's configparser reads a truth value.
fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "true" | "on" => Some(true),
        "0" | "no" | "false" | "off" => Some(false),
        _ => None,
    }
}
