//! Functions of Chainloop that do not need its servers.

use std::collections::BTreeMap;

use regorus::Value;

use super::{Outcome, text};

/// `chainloop.vulnerability(message, external_id, package_purl, severity)`: a finding of the type `VULNERABILITY`.
pub fn vulnerability(args: &[Value]) -> Outcome {
    let mut finding = BTreeMap::new();
    for (index, name) in ["message", "external_id", "package_purl", "severity"].into_iter().enumerate() {
        finding.insert(Value::from(name), Value::from(text(args, index + 1)?));
    }
    Ok(Value::from(finding))
}
