//! Settings that only the configuration file can have: tables with arbitrary names, `[kinds.NAME]`, `[notices.NAME]`,
//! `[cells.NAME]`, `[organizations.NAME]` and `[auth.jwt.NAME]`; and the optional `[auth.oidc]`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::auth::{Auth, Jwt, Oidc};
use super::cells::Cell;
use super::kinds::Kind;
use super::notices::Notice;
use super::organizations::Organization;
use super::tables::{self, Complaints};
use super::{Origin, Problem};

/// The tables that were read, and their positions.
#[derive(Debug, Default)]
pub struct Declared {
    /// By the name of the kind.
    pub kinds: BTreeMap<String, Kind>,
    /// By the name of the subscription.
    pub notices: BTreeMap<String, Notice>,
    /// By the name of the organization.
    pub organizations: BTreeMap<String, Organization>,
    /// By the name of the cell.
    pub cells: BTreeMap<String, Cell>,
    /// Identity providers.
    pub auth: Auth,
    path: PathBuf,
    lines: BTreeMap<String, usize>,
}

impl Declared {
    /// Takes the tables out of a file, whose keys are on `lines`.
    pub fn take(file: &mut Table, path: &Path, lines: BTreeMap<String, usize>) -> (Declared, Vec<Problem>) {
        let mut declared = Declared { path: path.to_owned(), lines, ..Declared::default() };
        let mut found = Complaints::new();
        declared.kinds = read_all(file, "kinds", "kinds", &mut found, Kind::read);
        declared.notices = read_all(file, "notices", "notices", &mut found, always(Notice::read));
        declared.organizations =
            read_all(file, "organizations", "organizations", &mut found, always(Organization::read));
        declared.cells = read_all(file, "cells", "cells", &mut found, always(Cell::read));
        if let Some(Value::Table(auth)) = file.get_mut("auth") {
            declared.auth.jwt = read_all(auth, "jwt", "auth.jwt", &mut found, always(Jwt::read));
            // A value that is not a table is left: the loader reports that there is no such key.
            if let Some(Value::Table(table)) = auth.get_mut("oidc") {
                let (table, mut complaints) = (std::mem::take(table), Complaints::new());
                declared.auth.oidc = Some(Oidc::read(table, &mut complaints));
                found.within("auth.oidc", complaints);
            }
        }
        let problems = found.into_iter().map(|(key, message)| Problem { origin: declared.origin(&key), key, message });
        let problems = problems.collect();
        (declared, problems)
    }

    /// The position of a key, or of the table that lacks it.
    pub fn origin(&self, key: &str) -> Origin {
        let mut place = key;
        loop {
            if let Some(line) = self.lines.get(place) {
                return Origin::File { path: self.path.clone(), line: *line };
            }
            match place.rsplit_once('.') {
                Some((table, _)) => place = table,
                None => return Origin::Default,
            }
        }
    }

    /// Every key with its effective value and origin.
    pub fn entries(&self) -> BTreeMap<String, (Value, Origin)> {
        let kinds = self.kinds.iter().map(|(name, kind)| (format!("kinds.{name}"), kind.shown()));
        let notices = self.notices.iter().map(|(name, notice)| (format!("notices.{name}"), notice.shown()));
        let organizations = self.organizations.iter();
        let organizations = organizations.map(|(name, own)| (format!("organizations.{name}"), own.shown()));
        let jwt = self.auth.jwt.iter().map(|(name, provider)| (format!("auth.jwt.{name}"), provider.shown()));
        let oidc = self.auth.oidc.iter().map(|oidc| ("auth.oidc".to_owned(), oidc.shown()));
        let cells = self.cells.iter().map(|(name, cell)| (format!("cells.{name}"), tables::shown(cell)));
        let mut entries = BTreeMap::new();
        for (table, shown) in kinds.chain(notices).chain(cells).chain(organizations).chain(jwt).chain(oidc) {
            for (name, value) in shown {
                let key = format!("{table}.{name}");
                let origin = if self.lines.contains_key(&key) { self.origin(&key) } else { Origin::Default };
                entries.insert(key, (value, origin));
            }
        }
        entries
    }
}

/// Reads the tables within the section `name` of a table, which is called `section` as a whole. Tables of which nothing
/// can be made are left out.
fn read_all<T>(
    file: &mut Table,
    name: &str,
    section: &str,
    found: &mut Complaints,
    read: impl Fn(&str, Table, &mut Complaints) -> Option<T>,
) -> BTreeMap<String, T> {
    let mut all = BTreeMap::new();
    for (name, table) in tables_of(file, name) {
        let mut complaints = Complaints::new();
        let one = read(&name, table, &mut complaints);
        found.within(&format!("{section}.{name}"), complaints);
        all.extend(one.map(|one| (name, one)));
    }
    all
}

/// A function that reads a table whatever its name, and always makes something of it.
fn always<T>(read: impl Fn(Table, &mut Complaints) -> T) -> impl Fn(&str, Table, &mut Complaints) -> Option<T> {
    move |_, table, complaints| Some(read(table, complaints))
}

/// Takes the tables within a section out of it, except `kinds.allow_undeclared`, which is not a table.
fn tables_of(file: &mut Table, section: &str) -> Vec<(String, Table)> {
    let Some(Value::Table(tables)) = file.get_mut(section) else { return Vec::new() };
    let names: Vec<String> = tables.keys().filter(|name| *name != "allow_undeclared").cloned().collect();
    let mut taken = Vec::new();
    for name in names {
        match tables.remove(&name) {
            Some(Value::Table(table)) => taken.push((name, table)),
            // The loader reports that there is no such key.
            Some(other) => drop(tables.insert(name, other)),
            None => {}
        }
    }
    taken
}
