//! Statements of searches: the text that both engines understand, and the few words that differ.

use std::fmt::Write as _;
use std::ops::Range;

use operations::search::{Numbers, Set};
use operations::{OperationId, Search, Status, Timestamp};

use super::plan::Plan;
use crate::StoreError;
use crate::plan::Table;
use crate::rows::damaged;

/// What the engines write differently.
pub(crate) struct Dialect {
    /// Before the number of a placeholder.
    pub(crate) mark: char,
    /// Whether a statement names the index that serves it.
    pub(crate) names_indexes: bool,
    /// Whether each part of a compound has to be ordered and limited by itself so that its index serves the order.
    pub(crate) limits_parts: bool,
    /// The condition that a column has one of the numbers of a placeholder, which is bound to an array of them. It is
    /// one value: thousands of numbers within the statement take longer to plan than to look up.
    pub(crate) one_of: fn(&str, &str) -> String,
    /// The brackets around the text of an array.
    pub(crate) brackets: (char, char),
    /// The condition that a column contains the text of a placeholder.
    pub(crate) contains: fn(&str, &str) -> String,
    /// A text as it is stored.
    pub(crate) stored: fn(String) -> String,
}

/// A value that is bound.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Int(i64),
    Text(String),
    Id(OperationId),
}

/// What a column contains.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Column {
    Int,
    Text,
    Id,
}

/// A value that was read.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    Null,
    Int(i64),
    Text(String),
    Id(OperationId),
}

/// The columns of a row, one after the other.
pub(super) struct Cells(std::vec::IntoIter<Cell>);

impl Cells {
    pub(super) fn of(row: Vec<Cell>) -> Cells {
        Cells(row.into_iter())
    }

    pub(super) fn int(&mut self) -> Result<i64, StoreError> {
        self.some_int()?.ok_or_else(|| damaged("number"))
    }

    pub(super) fn some_int(&mut self) -> Result<Option<i64>, StoreError> {
        match self.0.next() {
            Some(Cell::Int(int)) => Ok(Some(int)),
            Some(Cell::Null) => Ok(None),
            _ => Err(damaged("number")),
        }
    }

    pub(super) fn text(&mut self) -> Result<String, StoreError> {
        match self.0.next() {
            Some(Cell::Text(text)) => Ok(text),
            _ => Err(damaged("text")),
        }
    }

    pub(super) fn id(&mut self) -> Result<OperationId, StoreError> {
        match self.0.next() {
            Some(Cell::Id(id)) => Ok(id),
            _ => Err(damaged("id")),
        }
    }
}

/// A statement as it grows. Only constants go into the text and every value is bound, so that searches of one form have
/// one statement, which the engine need not plan again. The organization is the first placeholder.
pub(crate) struct Sql {
    pub(crate) text: String,
    pub(crate) values: Vec<Value>,
    dialect: &'static Dialect,
}

impl Sql {
    pub(super) fn new(dialect: &'static Dialect, organization: &str) -> Sql {
        Sql { text: String::new(), values: vec![Value::Text(organization.to_owned())], dialect }
    }

    /// The placeholder of the organization.
    pub(super) fn organization(&self) -> String {
        format!("{}1", self.dialect.mark)
    }

    /// Binds a value; answers its placeholder.
    pub(super) fn bind(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("{}{}", self.dialect.mark, self.values.len())
    }

    pub(super) fn int(&mut self, int: i64) -> String {
        self.bind(Value::Int(int))
    }

    /// The condition that a column is within a range.
    pub(super) fn within(&mut self, column: &str, range: &Range<i64>) -> String {
        format!("{column} >= {} AND {column} < {}", self.int(range.start), self.int(range.end))
    }

    /// The condition that a column is within one of some ranges.
    pub(super) fn within_any(&mut self, column: &str, ranges: &[Range<i64>]) -> String {
        let ranges: Vec<String> = ranges.iter().map(|range| format!("({})", self.within(column, range))).collect();
        format!("({})", ranges.join(" OR "))
    }

    /// A number of rows.
    fn rows(&mut self, rows: u64) -> String {
        self.int(i64::try_from(rows).unwrap_or(i64::MAX))
    }

    pub(super) fn text(&mut self, text: &str) -> String {
        let stored = (self.dialect.stored)(text.to_owned());
        self.bind(Value::Text(stored))
    }

    pub(super) fn texts<'t>(&mut self, texts: impl IntoIterator<Item = &'t String>) -> String {
        let bound: Vec<String> = texts.into_iter().map(|text| self.text(text)).collect();
        bound.join(", ")
    }

    fn index(&self, name: &str) -> String {
        if self.dialect.names_indexes { format!(" INDEXED BY {name}") } else { String::new() }
    }
}

/// The index order in which a part of a table is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// By number and status.
    Number,
    Kind(String),
    Project(String),
    /// Type and id.
    Resource(String, String),
}

/// The numbers among which rows are read.
pub(super) enum Among<'a> {
    Range(Range<i64>),
    These(&'a [i64]),
    /// Those of a range whose resource is one of these, by type and id.
    Resources(Range<i64>, &'a [(String, String)]),
    /// Those of a range that have one of these values of a label, by its key.
    Labelled(Range<i64>, &'a str, &'a [String]),
}

/// Which rows a statement reads.
pub(super) struct Rows<'a> {
    pub(super) plan: &'a Plan,
    pub(super) numbers: Among<'a>,
    /// Whether rows are checked for their time of creation, and for other conditions that no counter serves.
    pub(super) is_checked: bool,
}

impl Rows<'_> {
    /// `SELECT columns FROM a part of a table WHERE …`; the table is `t`.
    fn part(&self, sql: &mut Sql, table: Table, by: &By, columns: &str) -> String {
        let index = match (by, table) {
            (By::Number, Table::Settled(_)) => "settled_by_status",
            (By::Number, _) | (_, Table::Leased) => "active_by_seq",
            (By::Kind(_), Table::Settled(_)) => "settled_by_kind",
            (By::Kind(_), _) => "active_by_kind",
            (By::Project(_), Table::Settled(_)) => "settled_by_project",
            (By::Project(_), _) => "active_by_project",
            (By::Resource(..), Table::Settled(_)) => "settled_by_resource",
            (By::Resource(..), _) => "active_by_resource",
        };
        let index = sql.index(index);
        let organization = sql.organization();
        let (name, key) = match table {
            Table::Active(_) => ("active", "t"),
            Table::Settled(_) => ("settled", "t"),
            Table::Leased => ("active", "l"),
        };
        // The condition on labels, where their index leads to the rows.
        let mut labels = None;
        let mut part = match (table, &self.numbers) {
            (Table::Leased, _) => format!(
                "SELECT {columns} FROM leases l CROSS JOIN active t{index} \
                 WHERE t.organization_id = l.organization_id AND t.seq = l.seq AND l.organization_id = {organization}"
            ),
            (_, Among::Labelled(range, key, values)) => {
                let (key, values) = (sql.text(key), sql.texts(*values));
                let mut of_label =
                    format!("x.organization_id = {organization} AND x.key = {key} AND x.value IN ({values})");
                let _ = write!(of_label, " AND {}", sql.within("x.seq", range));
                let source = if sql.dialect.names_indexes {
                    format!("labels x CROSS JOIN {name} t{index} WHERE {of_label} AND")
                } else {
                    labels = Some(of_label);
                    format!("{name} t WHERE")
                };
                format!("SELECT {columns} FROM {source} t.organization_id = {organization} AND t.seq = x.seq")
            }
            _ => format!("SELECT {columns} FROM {name} t{index} WHERE t.organization_id = {organization}"),
        };
        match &self.numbers {
            Among::Labelled(..) if key == "t" => {}
            Among::Range(range) | Among::Resources(range, _) | Among::Labelled(range, ..) => {
                let _ = write!(part, " AND {}", sql.within(&format!("{key}.seq"), range));
            }
            Among::These(seqs) => {
                let seqs: Vec<String> = seqs.iter().map(ToString::to_string).collect();
                let (open, close) = sql.dialect.brackets;
                let bound = sql.bind(Value::Text(format!("{open}{}{close}", seqs.join(","))));
                let _ = write!(part, " AND {}", (sql.dialect.one_of)(&format!("{key}.seq"), &bound));
            }
        }
        if let Table::Active(Some(status)) | Table::Settled(Some(status)) = table {
            let _ = write!(part, " AND t.status = {}", status.number());
        }
        match by {
            By::Number => {}
            By::Kind(kind) => {
                let kind = sql.text(kind);
                let _ = write!(part, " AND t.kind = {kind}");
            }
            By::Project(project) => {
                let project = sql.text(project);
                let _ = write!(part, " AND t.project_id = {project} AND t.project_id <> ''");
            }
            By::Resource(resource_type, id) => {
                let _ = write!(part, " AND {}", of_resource(sql, resource_type, id));
            }
        }
        if !matches!(by, By::Kind(_)) {
            among(&mut part, sql, "t.kind", &self.plan.kinds);
        }
        if !matches!(by, By::Project(_)) {
            among(&mut part, sql, "t.project_id", &self.plan.projects);
        }
        if self.is_checked {
            self.check(&mut part, sql, table, by);
        }
        match labels {
            // OFFSET 0 makes the planner look up each one; otherwise it might read everything with the status.
            Some(of_label) => {
                format!("SELECT t.* FROM labels x CROSS JOIN LATERAL ({part} OFFSET 0) AS t WHERE {of_label}")
            }
            None => part,
        }
    }

    /// The conditions that are checked row by row.
    fn check(&self, part: &mut String, sql: &mut Sql, table: Table, by: &By) {
        let search: &Search = &self.plan.search;
        let mut times = |column: &str, times: operations::search::Times| {
            let millis = |time: Timestamp| time.as_millis();
            if let Some(from) = times.from {
                let _ = write!(part, " AND t.{column} >= {}", sql.int(millis(from)));
            }
            if let Some(before) = times.before {
                let _ = write!(part, " AND t.{column} < {}", sql.int(millis(before)));
            }
        };
        times("created_at", search.created_at);
        times("started_at", search.started_at);
        if matches!(table, Table::Settled(_)) {
            times("finished_at", search.finished_at);
        }
        let mut numbers = |column: &str, numbers: Numbers| {
            if let Some(least) = numbers.least {
                let _ = write!(part, " AND t.{column} >= {}", sql.int(least));
            }
            if let Some(most) = numbers.most {
                let _ = write!(part, " AND t.{column} <= {}", sql.int(most));
            }
        };
        numbers("attempts", search.attempts);
        numbers("priority", search.priority);
        if !matches!(by, By::Resource(..)) {
            among(part, sql, "t.resource_type", &search.resource_type);
            among(part, sql, "t.resource_id", &search.resource_id);
        }
        if let Set::Among(ids) = &search.id {
            let ids: Vec<String> = ids.iter().map(|id| sql.bind(Value::Id(*id))).collect();
            let _ = write!(part, " AND t.id IN ({})", ids.join(", "));
        }
        for (column, set) in [("unique_key", &search.unique_key), ("schedule", &search.schedule)] {
            let Set::Among(values) = set else { continue };
            let values = sql.texts(values);
            let _ = write!(
                part,
                " AND EXISTS (SELECT 1 FROM details x WHERE x.organization_id = t.organization_id AND x.seq = t.seq \
                 AND x.{column} IN ({values}))"
            );
        }
        let found_by = match self.numbers {
            Among::Labelled(_, key, _) if !matches!(table, Table::Leased) => Some(key),
            _ => None,
        };
        for (key, values) in &search.labels {
            let Set::Among(values) = values else { continue };
            if found_by == Some(key.as_str()) {
                continue;
            }
            let (key, values) = (sql.text(key), sql.texts(values));
            let _ = write!(
                part,
                " AND EXISTS (SELECT 1 FROM labels x WHERE x.organization_id = t.organization_id AND x.key = {key} \
                 AND x.value IN ({values}) AND x.seq = t.seq)"
            );
        }
        let worker = match table {
            Table::Settled(_) => "t.worker",
            _ => {
                "coalesce((SELECT x.worker FROM leases x \
                 WHERE x.organization_id = t.organization_id AND x.seq = t.seq), '')"
            }
        };
        among(part, sql, worker, &search.worker);
        let contains = sql.dialect.contains;
        let mut texts = |column: &str, texts: &std::collections::BTreeSet<String>| {
            for text in texts {
                let text = sql.text(text);
                let _ = write!(part, " AND {}", contains(column, &text));
            }
        };
        texts("t.input", &search.input);
        if matches!(table, Table::Settled(_)) {
            texts("t.error_message", &search.error_message);
            texts("t.output", &search.output);
        }
    }

    /// The numbers of the matching operations in order, at most `take` after `skip`.
    pub(super) fn keys(&self, sql: &mut Sql, is_newest_first: bool, skip: u64, take: u64) {
        let order = if is_newest_first { " DESC" } else { "" };
        let limits_parts = sql.dialect.limits_parts;
        let parts: Vec<String> = self
            .parts()
            .into_iter()
            .map(|(table, by)| {
                let key = if matches!(table, Table::Leased) { "l.seq" } else { "t.seq" };
                let part = self.part(sql, table, &by, &format!("{key} AS seq"));
                if limits_parts {
                    let limit = sql.rows(skip.saturating_add(take));
                    format!("SELECT seq FROM ({part} ORDER BY {key}{order} LIMIT {limit}) AS p")
                } else {
                    part
                }
            })
            .collect();
        let parts = parts.join(" UNION ALL ");
        let (take, skip) = (sql.rows(take), sql.rows(skip));
        let _ = write!(sql.text, "{parts} ORDER BY 1{order} LIMIT {take} OFFSET {skip}");
    }

    /// The numbers and ids of all matching operations.
    pub(super) fn ids(&self, sql: &mut Sql) {
        let parts = self.parts().into_iter().map(|(table, by)| self.part(sql, table, &by, "t.seq, t.id"));
        let parts: Vec<String> = parts.collect();
        sql.text.push_str(&parts.join(" UNION ALL "));
    }

    /// How many match, by status, kind and, if projects are distinguished, project.
    pub(super) fn counts(&self, sql: &mut Sql, by_project: bool) {
        let project = if by_project { "t.project_id" } else { "'' AS project_id" };
        let columns = format!("t.status, t.kind, {project}");
        let parts: Vec<String> =
            self.parts().into_iter().map(|(table, by)| self.part(sql, table, &by, &columns)).collect();
        let parts = parts.join(" UNION ALL ");
        let _ = write!(
            sql.text,
            "SELECT CAST(status AS bigint), kind, project_id, count(*) FROM ({parts}) AS t GROUP BY 1, 2, 3"
        );
    }

    /// Whether no table can have anything.
    pub(super) fn is_empty(&self) -> bool {
        self.parts().is_empty()
    }

    /// The parts of tables that together hold all matching operations.
    fn parts(&self) -> Vec<(Table, By)> {
        let mut parts = Vec::new();
        let by = match self.numbers {
            Among::Range(_) => self.plan.by.clone(),
            Among::These(_) | Among::Labelled(..) => vec![By::Number],
            Among::Resources(_, resources) => resources.iter().cloned().map(|(of, id)| By::Resource(of, id)).collect(),
        };
        for table in self.plan.tables(self.is_checked) {
            match table {
                // Few run at a time, and each of those has a lease.
                Table::Leased => parts.push((table, By::Number)),
                table => parts.extend(by.iter().map(|by| (table, by.clone()))),
            }
        }
        parts
    }
}

/// The condition that an operation is of a resource, as its index knows it.
fn of_resource(sql: &mut Sql, resource_type: &str, id: &str) -> String {
    let (of, id) = (sql.text(resource_type), sql.text(id));
    format!("t.resource_type <> '' AND t.resource_type = {of} AND t.resource_id = {id}")
}

/// The condition that a column has one of some values, or none of them.
fn among(part: &mut String, sql: &mut Sql, column: &str, set: &Set<String>) {
    let (sign, values) = match set {
        Set::Among(values) => ("IN", values),
        Set::Except(values) if values.is_empty() => return,
        Set::Except(values) => ("NOT IN", values),
    };
    let values = sql.texts(values);
    let _ = write!(part, " AND {column} {sign} ({values})");
}

/// An index over a field that few operations have.
#[derive(Clone, Debug)]
pub(super) enum Driver {
    Ids(Vec<OperationId>),
    /// Values of a column of `details`.
    Details(&'static str, Vec<String>),
    /// Types and ids of resources.
    Resources(Vec<(String, String)>),
    /// Values of a label.
    Labels(String, Vec<String>),
}

impl Driver {
    /// The numbers of the operations in the index, in order, at most `take` after `skip`.
    pub(super) fn candidates(&self, sql: &mut Sql, within: &Range<i64>, is_newest_first: bool, skip: u64, take: u64) {
        let order = if is_newest_first { " DESC" } else { "" };
        let organization = sql.organization();
        let numbers = sql.within("t.seq", within);
        let limit = sql.rows(skip.saturating_add(take));
        let mut parts = Vec::new();
        let in_order = |from: &str, condition: &str| {
            format!(
                "SELECT seq FROM (SELECT t.seq FROM {from} WHERE t.organization_id = {organization} AND {condition} \
                 AND {numbers} ORDER BY t.seq{order} LIMIT {limit}) AS c"
            )
        };
        match self {
            Driver::Details(column, values) => {
                let index = sql.index(&format!("details_by_{column}"));
                for value in values {
                    let value = sql.text(value);
                    let condition = format!("t.{column} IS NOT NULL AND t.{column} = {value}");
                    parts.push(in_order(&format!("details t{index}"), &condition));
                }
            }
            Driver::Labels(key, values) => {
                for value in values {
                    let (key, value) = (sql.text(key), sql.text(value));
                    parts.push(in_order("labels t", &format!("t.key = {key} AND t.value = {value}")));
                }
            }
            _ => {}
        }
        for table in ["active", "settled"] {
            match self {
                Driver::Details(..) | Driver::Labels(..) => {}
                Driver::Ids(ids) => {
                    let index = sql.index(&format!("{table}_by_id"));
                    let ids: Vec<String> = ids.iter().map(|id| sql.bind(Value::Id(*id))).collect();
                    parts.push(format!(
                        "SELECT t.seq FROM {table} t{index} WHERE t.organization_id = {organization} \
                         AND t.id IN ({}) AND {numbers}",
                        ids.join(", ")
                    ));
                }
                Driver::Resources(resources) => {
                    let index = sql.index(&format!("{table}_by_resource"));
                    for (resource_type, resource_id) in resources {
                        let condition = of_resource(sql, resource_type, resource_id);
                        parts.push(in_order(&format!("{table} t{index}"), &condition));
                    }
                }
            }
        }
        let (take, skip) = (sql.rows(take), sql.rows(skip));
        let _ = write!(sql.text, "{} ORDER BY 1{order} LIMIT {take} OFFSET {skip}", parts.join(" UNION ALL "));
    }

    /// How many of those there are, at most `limit`.
    pub(super) fn count(&self, sql: &mut Sql, within: &Range<i64>, limit: u32) {
        self.candidates(sql, within, true, 0, limit.into());
        sql.text = format!("SELECT count(*) FROM ({}) AS c", sql.text);
    }
}

/// The statuses of a search as they are stored.
pub(super) fn statuses(set: &Set<Status>) -> Vec<Status> {
    Status::ALL.into_iter().filter(|status| set.contains(status)).collect()
}
