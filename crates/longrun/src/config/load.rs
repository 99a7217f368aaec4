//! Merges the layers and remembers which one each value came from.
//!
//! All layers are merged into one TOML table, and each value is checked against [`Config`] separately, so that every
//! problem is found at once and reported with its position.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use store::StoreUrl;

use super::declared::Declared;
use super::nearest::nearest;
use super::validate::{validate, warnings};
use super::{Config, ConfigError, Problem, masked};
use crate::evidence_place::folder_beside;

/// The prefix of this program's environment variables.
const PREFIX: &str = "LONGRUN_";
/// Variables that belong to clients and commands, not to the configuration.
const OTHER_VARIABLES: [&str; 4] = ["LONGRUN_URL", "LONGRUN_TOKEN", "LONGRUN_TOKEN_FILE", "LONGRUN_CONFIG"];

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File {
        /// Its path as it was given.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// An environment variable, by name.
    Environment(String),
    /// A flag, by name.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A value given on the command line.
#[derive(Clone)]
pub struct Flag {
    /// The key that it sets.
    pub key: &'static str,
    /// How the flag is called.
    pub name: &'static str,
    /// The given value.
    pub value: String,
}

/// Environment variables, by name.
pub type Environment = BTreeMap<String, String>;

/// A valid configuration, and the origins of its values.
#[derive(Clone)]
pub struct Loaded {
    /// The effective configuration.
    pub config: Config,
    /// Every key with its effective value and origin, in alphabetical order.
    pub entries: BTreeMap<String, (Value, Origin)>,
    /// Possible mistakes that are not errors.
    pub warnings: Vec<String>,
}

impl fmt::Debug for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, masked(self.key, &Value::String(self.value.clone())))
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.entries.iter().map(|(key, (value, origin))| (key, (masked(key, value), origin)));
        f.debug_map().entries(shown).finish()
    }
}

/// Loads and validates a configuration.
///
/// # Errors
/// [`ConfigError`], with every problem.
pub fn load(file: Option<&Path>, environment: &Environment, flags: &[Flag]) -> Result<Loaded, ConfigError> {
    let defaults = leaves(&defaults(), "");
    let mut layers = Layers {
        entries: defaults.iter().map(|(key, value)| (key.clone(), (value.clone(), Origin::Default))).collect(),
        declared: Declared::default(),
        problems: Vec::new(),
        warnings: Vec::new(),
    };
    if let Some(path) = file {
        layers.add_file(path)?;
    }
    layers.add_environment(environment);
    for Flag { key, name, value } in flags {
        layers.set_text(key, value, Origin::Flag(name));
    }
    layers.finish()
}

/// The defaults as a table; its leaves are the existing keys.
fn defaults() -> Table {
    Table::try_from(Config::default()).expect("the defaults can be written as TOML")
}

/// Every value of a table that is not itself a table, by its dotted key.
fn leaves(table: &Table, prefix: &str) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match value {
            Value::Table(inner) => found.extend(leaves(inner, &format!("{key}."))),
            value => drop(found.insert(key, value.clone())),
        }
    }
    found
}

/// The table that has `value` at the dotted key `key`.
fn nested(key: &str, value: Value) -> Table {
    match key.split_once('.') {
        Some((section, rest)) => Table::from_iter([(section.to_owned(), Value::Table(nested(rest, value)))]),
        None => Table::from_iter([(key.to_owned(), value)]),
    }
}

struct Layers {
    entries: BTreeMap<String, (Value, Origin)>,
    declared: Declared,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl Layers {
    fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let shown = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: shown.clone(), source })?;
        // Only the position and not the line itself, which may contain a password.
        let syntax = |error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let (line, column) = (before.matches('\n').count() + 1, before.rsplit('\n').next().map_or(0, str::len) + 1);
            let message = format!("line {line}, column {column}: {}", error.message());
            ConfigError::Syntax { path: shown.clone(), message }
        };
        let spanned = toml::de::DeTable::parse(&text).map_err(syntax)?;
        let mut table: Table = toml::from_str(&text).map_err(syntax)?;
        let mut lines = BTreeMap::new();
        key_lines(spanned.get_ref(), "", &text, &mut lines);
        let (declared, problems) = Declared::take(&mut table, path, lines.clone());
        self.declared = declared;
        self.problems.extend(problems);
        for (key, value) in leaves(&table, "") {
            let line = lines.get(&key).copied().unwrap_or(1);
            self.set(&key, value, Origin::File { path: path.to_owned(), line });
        }
        Ok(())
    }

    fn add_environment(&mut self, environment: &Environment) {
        let keys: BTreeMap<String, String> = self.entries.keys().map(|key| (variable(key), key.clone())).collect();
        for (name, value) in environment.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
            match keys.get(name) {
                Some(key) => self.set_text(key, value, Origin::Environment(name.clone())),
                None if OTHER_VARIABLES.contains(&name.as_str()) => {}
                // Not an error: Kubernetes itself sets LONGRUN_SERVICE_HOST and similar variables next to a service of
                // that name.
                None => {
                    // Without the common prefix, which would make any two names similar.
                    let bare = |name: &str| name.strip_prefix(PREFIX).unwrap_or_default().to_owned();
                    let names: Vec<String> = keys.keys().map(|name| bare(name)).collect();
                    let hint = nearest(&bare(name), names.iter().map(String::as_str))
                        .map_or_else(String::new, |nearest| format!("; did you mean {PREFIX}{nearest}?"));
                    self.warnings.push(format!("the environment variable {name} has no effect{hint}"));
                }
            }
        }
    }

    /// Sets a key from a text, which is parsed as the type of the key.
    fn set_text(&mut self, key: &str, text: &str, origin: Origin) {
        let value = match self.entries.get(key).map(|(value, _)| value) {
            Some(Value::Integer(_)) => text.parse().map(Value::Integer).ok(),
            Some(Value::Float(_)) => text.parse().map(Value::Float).ok(),
            Some(Value::Boolean(_)) => text.parse().map(Value::Boolean).ok(),
            Some(Value::Array(_)) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Some(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
            }
            _ => None,
        };
        // A value that cannot be parsed stays a text, and is refused with the reason when it is checked.
        self.set(key, value.unwrap_or_else(|| Value::String(text.to_owned())), origin);
    }

    fn set(&mut self, key: &str, value: Value, origin: Origin) {
        if !self.entries.contains_key(key) {
            let message = match nearest(key, self.entries.keys().map(String::as_str)) {
                Some(nearest) => format!("there is no such key; did you mean {nearest}?"),
                None if key.starts_with("kinds.") => {
                    format!("there is no such key; a kind is declared with a table [{key}] that has a type")
                }
                None if key.starts_with("notices") => {
                    "must be a table with a name for each subscription, e.g. [notices.ci]".to_owned()
                }
                None if key.starts_with("cells") => {
                    "must be a table with a name for each cell, e.g. [cells.eu]".to_owned()
                }
                None if key.starts_with("organizations") => {
                    "must be a table with the name of an organization, e.g. [organizations.acme]".to_owned()
                }
                None if key.starts_with("auth") => {
                    "there is no such key; a provider whose tokens are accepted is a table \
                     with a name, e.g. [auth.jwt.keycloak], the provider at which people sign in is [auth.oidc]"
                        .to_owned()
                }
                None => "there is no such key; `longrun config show` lists them all".to_owned(),
            };
            self.problems.push(Problem { origin, key: key.to_owned(), message });
            return;
        }
        match Config::deserialize_table(nested(key, value.clone())) {
            Ok(_) => drop(self.entries.insert(key.to_owned(), (value, origin))),
            Err(message) => self.problems.push(Problem { origin, key: key.to_owned(), message }),
        }
    }

    /// If the evidence folder is not set, it is next to a store that is a file, so that both are found and copied
    /// together, wherever the command is run.
    fn place_evidence(&mut self, config: &mut Config) {
        let Some((value, Origin::Default)) = self.entries.get_mut("evidence.folder") else { return };
        let Ok(StoreUrl::Sqlite(path)) = config.store_url() else { return };
        if let Some(folder) = folder_beside(&path).to_str() {
            *value = Value::String(folder.to_owned());
            folder.clone_into(&mut config.evidence.folder);
        }
    }

    fn finish(mut self) -> Result<Loaded, ConfigError> {
        let mut table = Table::new();
        for (key, (value, _)) in &self.entries {
            merge(&mut table, nested(key, value.clone()));
        }
        let mut config = Config::deserialize_table(table).expect("every value was checked by itself");
        config.kinds.declared.clone_from(&self.declared.kinds);
        config.notices.clone_from(&self.declared.notices);
        config.organizations.clone_from(&self.declared.organizations);
        config.cells.clone_from(&self.declared.cells);
        config.auth.clone_from(&self.declared.auth);
        self.place_evidence(&mut config);
        for (key, message) in validate(&config) {
            let origin = match self.entries.get(&key) {
                Some((_, origin)) => origin.clone(),
                None => self.declared.origin(&key),
            };
            self.problems.push(Problem { origin, key, message });
        }
        self.entries.extend(self.declared.entries());
        self.warnings.extend(warnings(&config));
        if self.problems.is_empty() {
            Ok(Loaded { config, entries: self.entries, warnings: self.warnings })
        } else {
            Err(ConfigError::Problems(self.problems))
        }
    }
}

impl Config {
    fn deserialize_table(table: Table) -> Result<Config, String> {
        table.try_into().map_err(|error: toml::de::Error| error.message().to_owned())
    }
}

fn merge(into: &mut Table, from: Table) {
    for (name, value) in from {
        match (into.get_mut(&name), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            (_, value) => drop(into.insert(name, value)),
        }
    }
}

/// The environment variable that sets a key.
fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// The line of each key.
fn key_lines(table: &toml::de::DeTable<'_>, prefix: &str, text: &str, lines: &mut BTreeMap<String, usize>) {
    for (name, value) in table {
        let key = format!("{prefix}{}", name.get_ref());
        let line = 1 + text.as_bytes()[..name.span().start].iter().filter(|byte| **byte == b'\n').count();
        if let toml::de::DeValue::Table(inner) = value.get_ref() {
            key_lines(inner, &format!("{key}."), text, lines);
        }
        lines.insert(key, line);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn with_file(text: &str, environment: &[(&str, &str)], flags: &[Flag]) -> Result<Loaded, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("longrun.toml");
        std::fs::write(&path, text).unwrap();
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        load(Some(&path), &environment, flags)
    }

    fn problems(result: Result<Loaded, ConfigError>) -> Vec<Problem> {
        match result {
            Err(ConfigError::Problems(problems)) => problems,
            other => panic!("expected problems, got {other:?}"),
        }
    }

    #[test]
    fn later_layers_win_and_origins_are_remembered() {
        let flag = Flag { key: "store", name: "--store", value: "sqlite:c.db".to_owned() };
        let loaded = with_file(
            "store = \"sqlite:a.db\"\n[api]\nmax_page_size = 70\n[engine]\nlease = \"40s\"\n",
            &[("LONGRUN_STORE", "sqlite:b.db"), ("LONGRUN_API_MAX_PAGE_SIZE", "80")],
            &[flag],
        )
        .unwrap();
        assert_eq!(loaded.config.store.expose(), "sqlite:c.db");
        assert_eq!(loaded.config.api.max_page_size, 80);
        assert_eq!(loaded.config.engine.lease, crate::config::Span::seconds(40));
        let origin = |key: &str| loaded.entries[key].1.to_string();
        assert_eq!(origin("store"), "flag --store");
        assert_eq!(origin("api.max_page_size"), "environment LONGRUN_API_MAX_PAGE_SIZE");
        assert!(origin("engine.lease").ends_with("longrun.toml:5"), "{}", origin("engine.lease"));
        assert_eq!(origin("listen"), "default");
    }

    #[test]
    fn no_form_that_is_for_debugging_shows_a_password() {
        let url = "postgres://me:s3cret@db/longrun?password=s3cret";
        let flag = Flag { key: "read_store", name: "--read-store", value: url.to_owned() };
        let shown = format!("{flag:?}");
        let loaded = with_file(&format!("store = \"{url}\"\n"), &[], &[flag]).unwrap();
        for shown in [shown, format!("{loaded:?}"), format!("{:#?}", loaded.config)] {
            assert!(
                !shown.contains("s3cret") && shown.contains("postgres://me:****@db/longrun?password=****"),
                "{shown}"
            );
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_and_its_line() {
        let problems = problems(with_file("\nlisen = \"x\"\n[api]\nmax_page_sice = 1\n", &[], &[]));
        let told: Vec<String> = problems.iter().map(Problem::to_string).collect();
        assert!(
            told[0].contains("api.max_page_sice: there is no such key; did you mean api.max_page_size?"),
            "{told:?}"
        );
        assert!(told[0].contains("longrun.toml:4"), "{told:?}");
        assert!(told[1].contains("did you mean listen?") && told[1].contains("longrun.toml:2"), "{told:?}");
    }

    #[test]
    fn every_value_of_the_wrong_type_is_told() {
        let environment = [("LONGRUN_API_FIRST_PAGE", "one"), ("LONGRUN_KINDS_ALLOW_UNDECLARED", "yes")];
        let problems = problems(with_file("[engine]\nlease = 30\n[log]\nformat = \"xml\"\n", &environment, &[]));
        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["engine.lease", "log.format", "api.first_page", "kinds.allow_undeclared"]);
    }

    #[test]
    fn unknown_variables_are_a_warning_because_an_orchestrator_may_set_them() {
        let environment = [("LONGRUN_SERVICE_HOST", "10.0.0.1"), ("LONGRUN_LISTN", "x"), ("LONGRUN_TOKEN", "t")];
        let loaded = with_file("", &environment, &[]).unwrap();
        assert_eq!(loaded.warnings.len(), 2);
        assert!(loaded.warnings[0].contains("did you mean LONGRUN_LISTEN?"), "{:?}", loaded.warnings);
    }

    #[test]
    fn a_variable_with_a_secret_that_is_not_set_is_a_warning() {
        let ai = "[ai]\nurl = \"https://models.example.com/v1\"\nmodel = \"m\"\nkey_environment = \"NO_SUCH_KEY\"\n";
        let loaded = with_file(ai, &[], &[]).unwrap();
        assert_eq!(loaded.warnings, ["ai.key_environment: the variable NO_SUCH_KEY is not set in this environment"]);
    }

    #[test]
    fn lists_in_the_environment_are_separated_by_commas() {
        let loaded =
            with_file("", &[("LONGRUN_POLICIES_DEFAULT", "scan, build"), ("LONGRUN_POLICIES_FOLDER", "src")], &[])
                .unwrap();
        assert_eq!(loaded.config.policies.default, ["scan", "build"]);
    }

    #[test]
    fn evidence_is_beside_a_store_that_is_a_file_unless_its_folder_is_named() {
        let folder = |store: &str, more: &str| {
            let loaded = with_file(&format!("store = \"{store}\"\n{more}"), &[], &[]).unwrap();
            let (value, origin) = &loaded.entries["evidence.folder"];
            assert_eq!(value.as_str(), Some(loaded.config.evidence.folder.as_str()));
            assert_eq!(*origin == Origin::Default, more.is_empty());
            loaded.config.evidence.folder
        };
        assert_eq!(folder("sqlite:longrun.db", ""), "evidence");
        assert_eq!(folder("sqlite:/var/lib/longrun/a.db", ""), "/var/lib/longrun/evidence");
        assert_eq!(folder("sqlite:/var/lib/longrun/a.db", "[evidence]\nfolder = \"e\"\n"), "e");
        assert_eq!(folder("postgres://localhost/longrun", ""), "evidence");
    }

    #[test]
    fn a_table_in_the_place_of_a_value_is_refused() {
        assert_eq!(problems(with_file("[listen]\nport = 1\n", &[], &[]))[0].key, "listen.port");
        assert_eq!(problems(with_file("api = 1\n", &[], &[]))[0].key, "api");
    }

    #[test]
    fn the_example_file_says_the_defaults() {
        let example = include_str!("../../../../examples/longrun.toml");
        // A value that is commented out in the example is not the default: an assignment after a single #.
        let loaded = with_file(example, &[], &[]).unwrap();
        assert_eq!(loaded.config, Config::default());
        let missing: Vec<&String> =
            loaded.entries.iter().filter(|(_, (_, origin))| *origin == Origin::Default).map(|(key, _)| key).collect();
        // Its default depends on the store.
        assert_eq!(missing, ["evidence.folder"], "every other key stands in the example");
    }

    #[test]
    fn every_key_has_a_variable_of_its_own() {
        let keys = leaves(&defaults(), "");
        let variables: std::collections::BTreeSet<String> = keys.keys().map(|key| variable(key)).collect();
        assert_eq!(variables.len(), keys.len());
        assert!(OTHER_VARIABLES.iter().all(|other| !variables.contains(*other)));
    }
}
