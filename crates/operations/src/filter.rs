//! Which operations a list shows: those that the caller may see and that match its filter.

use std::collections::BTreeSet;

use crate::search::Set;
use crate::{Operation, Status};

/// What an operation is about: a type and an id, always together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    /// E.g. `evidence`.
    pub resource_type: String,
    /// E.g. `sha256:…`.
    pub resource_id: String,
}

/// The kind of the operations that deliver notices when other operations end. There are many of them and few people
/// want to see them. longrun itself creates them, without labels.
pub const NOTICE_KIND: &str = "notice";
/// The built-in kind of bulk operations, which act on other operations: longrun itself creates them.
pub const BULK_KIND: &str = "bulk";

/// The filter of a list. A field that is `None` matches any value, except for the kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    /// Only this status.
    pub status: Option<Status>,
    /// Only this kind, matched exactly; `None` matches every kind but [`NOTICE_KIND`].
    pub kind: Option<String>,
    /// Only operations about this resource.
    pub resource: Option<Resource>,
}

impl Filter {
    /// Whether the operation matches the filter. The queries of the stores have exactly this meaning.
    pub fn matches(&self, operation: &Operation) -> bool {
        self.status.is_none_or(|s| s == operation.status)
            && self.kind.as_ref().map_or(operation.kind != NOTICE_KIND, |kind| *kind == operation.kind)
            && self.resource.as_ref().is_none_or(|r| operation.resource.as_ref() == Some(r))
    }
}

/// The projects a caller is limited to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Projects {
    /// The whole organization, operations without a project included.
    All,
    /// Only operations whose `project_id` is one of these; never one without a project.
    Only(BTreeSet<String>),
}

impl Projects {
    /// Whether operations with this `project_id` (empty: none) are included.
    pub fn include(&self, project_id: &str) -> bool {
        match self {
            Projects::All => true,
            Projects::Only(projects) => projects.contains(project_id),
        }
    }
}

/// What a caller may see. Every read and every write of a store takes one, so that no query can forget it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    /// The organization; nothing outside of it exists for the caller.
    pub organization: String,
    /// The projects inside the organization.
    pub projects: Projects,
}

impl Access {
    /// Access to the whole of an organization.
    pub fn organization(name: impl Into<String>) -> Access {
        Access { organization: name.into(), projects: Projects::All }
    }

    /// Access to some projects of an organization.
    pub fn projects<P: Into<String>>(name: impl Into<String>, projects: impl IntoIterator<Item = P>) -> Access {
        let projects = projects.into_iter().map(Into::into).filter(|p: &String| !p.is_empty()).collect();
        Access { organization: name.into(), projects: Projects::Only(projects) }
    }

    /// The same access, limited to the projects of this set; `None` where a list of projects cannot express that.
    pub fn within(&self, projects: &Set<String>) -> Option<Access> {
        let only = match (&self.projects, projects) {
            (_, set) if set.is_any() => return Some(self.clone()),
            (Projects::Only(seen), set) => {
                seen.iter().filter(|project| set.contains(project.as_str())).cloned().collect()
            }
            (Projects::All, Set::Among(meant)) if !meant.contains("") => meant.clone(),
            (Projects::All, _) => return None,
        };
        Some(Access { organization: self.organization.clone(), projects: Projects::Only(only) })
    }

    /// Whether operations of this organization with this `project_id` (empty: none) are visible.
    pub fn sees_project(&self, project_id: &str) -> bool {
        self.projects.include(project_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_list_hides_operations_without_a_project() {
        let access = Access::projects("acme", ["a", ""]);
        assert!(access.sees_project("a"));
        assert!(!access.sees_project(""));
        assert!(!access.sees_project("b"));
        assert!(Access::organization("acme").sees_project(""));
    }

    #[test]
    fn projects_that_are_meant_narrow_what_is_seen() {
        let set = |projects: &[&str]| Set::among(projects.iter().map(ToString::to_string));
        let (all, some) = (Access::organization("acme"), Access::projects("acme", ["a", "b"]));
        assert_eq!(all.within(&Set::default()), Some(all.clone()));
        assert_eq!(all.within(&set(&["a"])), Some(Access::projects("acme", ["a"])));
        assert_eq!(all.within(&set(&["a", ""])), None);
        assert_eq!(all.within(&set(&["a"]).negated()), None);
        assert_eq!(some.within(&Set::default()), Some(some.clone()));
        assert_eq!(some.within(&set(&["a", "c", ""])), Some(Access::projects("acme", ["a"])));
        assert_eq!(some.within(&set(&["a"]).negated()), Some(Access::projects("acme", ["b"])));
        assert_eq!(some.within(&set(&["c"])), Some(Access::projects("acme", [""; 0])));
    }
}
