//! From a request to the scripts that will run: loads policies, selects those that apply and binds their arguments, in
//! the order of the request.

use crate::error::EvaluateError;
use crate::material::MaterialKind;
use crate::output::{GroupOutput, LeftOut};
use crate::policy::{
    Arguments, FindingType, GroupMaterial, Loaded, MatchMode, Policy, PolicyAttachment, PolicyGroup, Resolver, Scalar,
    content_digest, file_digest, interpolate,
};
use crate::rego::Script;
use crate::request::{GroupAttachment, RequestError, embedded_text};

/// A policy that applies, ready to run.
pub struct Planned {
    pub name: String,
    pub document: Loaded,
    /// See [`content_digest`].
    pub content_digest: Option<String>,
    pub group: Option<String>,
    /// The material type of its scripts; `None`: every type.
    pub kind: Option<String>,
    pub scripts: Vec<Script>,
    /// The finding type that the policy declares.
    pub finding_type: Option<FindingType>,
    pub arguments: Arguments,
}

/// What will run and what will not.
#[derive(Default)]
pub struct Plan {
    pub policies: Vec<Planned>,
    pub groups: Vec<GroupOutput>,
    pub left_out: Vec<LeftOut>,
}

/// What planning needs to know about the material. Without it, everything is planned, to check a request.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    pub kind: MaterialKind,
    pub name: &'a str,
}

impl Plan {
    /// Adds a policy of the request itself or of a group.
    pub fn add(
        &mut self,
        resolver: &Resolver,
        subject: Option<Subject<'_>>,
        attachment: &PolicyAttachment,
        group: Option<(&str, &[String])>,
    ) -> Result<(), EvaluateError> {
        let document = load(resolver, attachment)?;
        let policy = Policy::parse(&document.reference, &document.text)?;
        let name = policy.metadata.name.clone();
        if group.is_some_and(|(_, skip)| skip.contains(&name)) {
            self.leave_out(&name, &document.reference, "the request skips it");
            return Ok(());
        }
        if attachment.disabled {
            self.leave_out(&name, &document.reference, "it is disabled");
            return Ok(());
        }
        let selected = attachment.selector.as_ref().map(|selector| selector.name.as_str()).unwrap_or_default();
        if let Some(subject) = subject.filter(|subject| !selected.is_empty() && subject.name != selected) {
            let reason = format!("it is for the material {selected}, and this one is {:?}", subject.name);
            self.leave_out(&name, &document.reference, &reason);
            return Ok(());
        }
        let applies = |kind: &Option<String>| match (kind, subject) {
            (Some(kind), Some(subject)) => kind == subject.kind.as_str(),
            _ => true,
        };
        let Some(first) = policy.scripts.iter().find(|script| applies(&script.kind)) else {
            let kinds: Vec<&str> = policy.scripts.iter().filter_map(|script| script.kind.as_deref()).collect();
            self.leave_out(&name, &document.reference, &format!("it is for {}", kinds.join(", ")));
            return Ok(());
        };
        let kind = first.kind.clone();
        let mut arguments = Arguments::bind(&name, &policy.inputs, &attachment.with)?;
        let (mut scripts, mut digests) = (Vec::new(), Vec::new());
        for (index, source) in policy.scripts.iter().enumerate() {
            if !applies(&source.kind) {
                digests.push(file_digest(source, &document, resolver));
                continue;
            }
            // The text is read once, so that the digest is that of the script that runs.
            let text = policy.script_text(&document, index, resolver)?;
            let script = policy.script(&text, resolver)?;
            digests.push(text.file_digest);
            let warnings = script.warnings().iter().filter(|warning| !arguments.warnings.contains(warning));
            let warnings: Vec<String> = warnings.cloned().collect();
            arguments.warnings.extend(warnings);
            scripts.push(script);
        }
        let group = group.map(|(name, _)| name.to_owned());
        let finding_type = policy.metadata.finding_type;
        let content_digest = content_digest(&document, digests.into_iter());
        let planned = Planned { name, document, content_digest, group, kind, scripts, finding_type, arguments };
        self.policies.push(planned);
        Ok(())
    }

    /// Adds the policies of a group.
    pub fn add_group(
        &mut self,
        resolver: &Resolver,
        subject: Option<Subject<'_>>,
        attachment: &GroupAttachment,
    ) -> Result<(), EvaluateError> {
        let document = resolver.load(&attachment.reference)?;
        let group = PolicyGroup::parse(&document.reference, &document.text)?;
        let owner = group.metadata.name.as_str();
        let (reference, digest) = (document.reference.clone(), document.digest.clone());
        self.groups.push(GroupOutput { name: owner.to_owned(), reference, digest });
        let arguments = Arguments::bind(owner, &group.inputs, &attachment.with)?;
        let fill = |text: &str| interpolate(owner, text, &arguments.values);
        for material in &group.materials {
            let name = material.name.as_deref().map(fill).transpose()?;
            if let Some(reason) = subject.and_then(|subject| mismatch(material, name.as_deref(), subject)) {
                for policy in &material.policies {
                    let reference = policy.reference.as_deref().unwrap_or("embedded");
                    self.leave_out(reference, reference, &format!("group {owner}: {reason}"));
                }
                continue;
            }
            for policy in &material.policies {
                let mut filled = policy.clone();
                for Scalar(text) in filled.with.values_mut() {
                    *text = fill(text)?;
                }
                if let Some(selector) = &mut filled.selector {
                    selector.name = fill(&selector.name)?;
                }
                let before = self.policies.len();
                self.add(resolver, subject, &filled, Some((owner, &attachment.skip)))?;
                if let Some(added) = self.policies.get_mut(before) {
                    added.arguments.warnings.extend(arguments.warnings.iter().cloned());
                }
            }
        }
        Ok(())
    }

    fn leave_out(&mut self, name: &str, reference: &str, reason: &str) {
        let (name, reference, reason) = (name.to_owned(), reference.to_owned(), reason.to_owned());
        self.left_out.push(LeftOut { name, reference, reason });
    }
}

fn mismatch(material: &GroupMaterial, name: Option<&str>, subject: Subject<'_>) -> Option<String> {
    if let Some(kind) = material.kind.as_deref().filter(|kind| *kind != subject.kind.as_str()) {
        return Some(format!("it is for {kind}"));
    }
    let name = name.filter(|name| !name.is_empty())?;
    match material.match_mode {
        MatchMode::Exact if name != subject.name => Some(format!("it is for the material {name}")),
        MatchMode::Prefix if !subject.name.starts_with(name) => {
            Some(format!("it is for materials whose names begin with {name}"))
        }
        _ => None,
    }
}

fn load(resolver: &Resolver, attachment: &PolicyAttachment) -> Result<Loaded, EvaluateError> {
    match (&attachment.reference, &attachment.embedded) {
        (Some(reference), None) => Ok(resolver.load(reference)?),
        (None, Some(embedded)) => {
            let text = embedded_text(embedded).map_err(|message| RequestError::new("policies.embedded", message))?;
            Ok(Loaded::embedded(text))
        }
        _ => Err(RequestError::new("policies", "expected exactly one of ref and embedded").into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;
    use crate::digest;
    use crate::policy::PolicyFolder;

    const SCRIPT: &str = "package p\nresult := {\"skipped\": false, \"violations\": [], \"skip_reason\": \"\"}\n";

    fn policy(scripts: &str) -> String {
        format!("apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {{name: p}}\nspec: {{policies: [{scripts}]}}\n")
    }

    fn planned(resolver: &Resolver, reference: &str) -> Option<String> {
        let attachment = PolicyAttachment { reference: Some(reference.to_owned()), ..PolicyAttachment::default() };
        let subject = Subject { kind: MaterialKind::Sarif, name: "report" };
        let mut plan = Plan::default();
        plan.add(resolver, Some(subject), &attachment, None).unwrap();
        plan.policies.remove(0).content_digest
    }

    #[test]
    fn the_digest_of_what_runs_is_the_one_that_the_folder_has() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("p.yaml", &policy("{kind: SARIF, path: one.rego}, {kind: JUNIT_XML, ref: two.rego}, {path: one.rego}"));
        write("one.rego", SCRIPT);
        let resolver = Resolver::new(Some(folder.path())).unwrap();
        let mut seen = PolicyFolder::new(folder.path().to_owned());
        let mut same = || {
            let digest = planned(&resolver, "p").unwrap();
            assert_eq!(seen.look().unwrap()["p"], digest);
            digest
        };
        let without = same();
        write("two.rego", SCRIPT);
        let with = same();
        write("one.rego", &format!("# another one\n{SCRIPT}"));
        let changed = same();
        assert!(without != with && with != changed);
        write("embedded.yaml", &policy("{embedded: \"package p\"}"));
        assert_eq!(planned(&resolver, "embedded"), None, "the digest of the document covers all of it");
    }

    #[test]
    fn a_policy_from_the_network_is_bound_to_its_scripts_in_the_policy_folder() {
        let (folder, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let keep = |text: &str| {
            let pin = digest(text.as_bytes());
            fs::write(cache.path().join(pin.trim_start_matches("sha256:")), text).unwrap();
            pin
        };
        let script = keep(SCRIPT);
        let local = keep(&policy("{ref: 'file://script.rego'}"));
        let remote = keep(&policy(&format!("{{ref: 'script.rego@{script}'}}")));
        let resolver = Resolver::new(Some(folder.path()))
            .unwrap()
            .with_cache(crate::policy::PolicyCache::of_examples(cache.path()));
        let planned = |pin: &str| planned(&resolver, &format!("https://example.com/p.yaml@{pin}"));
        assert_eq!(planned(&remote), None, "it is pinned in the document");
        fs::write(folder.path().join("script.rego"), SCRIPT).unwrap();
        let first = planned(&local).unwrap();
        fs::write(folder.path().join("script.rego"), format!("# another one\n{SCRIPT}")).unwrap();
        assert_ne!(planned(&local).unwrap(), first);
    }
}
