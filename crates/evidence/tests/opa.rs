//! Expressions have the same results as in OPA: a generated corpus with the results of OPA 1.20
//! (`scripts/opa-answers.py` generates them again). What OPA leaves undefined or refuses is an error or undefined here,
//! and never a value.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use evidence::check::check;
use evidence::policy::{Policy, Resolver};
use evidence::rego::{Limits, RegoError, Script, Support, Verdict, support};
use evidence::{digest, yaml};
use regorus::Value as Rego;
use serde_json::{Value, json};

/// The result of an expression: its value and type, or nothing.
fn answer(expression: &str) -> Result<Option<(Value, String)>, RegoError> {
    answer_of_rules(&format!("value := {expression}\n"))
}

/// The result of the rule `value`.
fn answer_of_rules(rules: &str) -> Result<Option<(Value, String)>, RegoError> {
    let finding = "{\"message\": \"m\", \"value\": value, \"type\": type_name(value)}";
    let script = format!("package main\nimport rego.v1\n{rules}\nviolations contains {finding}\n");
    let limits = Limits { time: Duration::from_secs(20) };
    let run = |script: Script| script.run(&Rego::new_object(), BTreeMap::new(), limits);
    let Verdict { violations, skipped, skip_reason, .. } = run(Script::compile(&script)?)?;
    assert!(!skipped, "{rules}: {skip_reason}");
    let finding = violations.into_iter().next().and_then(|violation| violation.finding);
    Ok(finding.map(|finding| (finding["value"].clone(), finding["type"].as_str().unwrap_or_default().to_owned())))
}

/// Whether two values are equal; numbers are compared by value.
fn same(own: &Value, other: &Value) -> bool {
    match (own, other) {
        (Value::Number(own), Value::Number(other)) => {
            own.to_string() == other.to_string() || own.as_f64() == other.as_f64()
        }
        (Value::Array(own), Value::Array(other)) => {
            own.len() == other.len() && own.iter().zip(other).all(|(own, other)| same(own, other))
        }
        (Value::Object(own), Value::Object(other)) => {
            own.len() == other.len()
                && own.iter().all(|(key, value)| other.get(key).is_some_and(|other| same(value, other)))
        }
        _ => own == other,
    }
}

/// The known and intended differences: a pattern for the expressions, and the reason.
const KNOWN: &[(&str, &str)] = &[
    (r"^\(?-?[0-9.e]+ [-+*/] |^sum\(", "decimals are doubles here; OPA uses a higher precision"),
    (r"^sprintf\(.*\b[0-9.]+e-?[0-9]+\]|^json.marshal\(1\.0\)", "numbers lose how they were written"),
    (r#"^sprintf\("%[# ]?[bxX]", \[-?[0-9]+\.[0-9]+"#, "doubles are not written in binary or hexadecimal"),
    (r#"^sprintf\("%#[oq]", \[-?[0-9]+\.[0-9]+"#, "a double that does not fit its verb is written without zeros"),
    (r"^sprintf\(.*36893488147419103233", "integers beyond 64 bits are written in decimal only"),
    (
        r#"^glob.match\("(\?|a\?c|\*\?\*|\{a\.\*,b\}\.c)""#,
        "bugs of OPA's library: `?` matches nothing, or half a letter",
    ),
    (
        r"^net.cidr_merge\(.*(::/0|192\.168\.1\.5)",
        "bugs of OPA: IPv4 within `::/0`, and the class of an address as its length",
    ),
    (r#"^regex.globs_match\(.*("\.\.\*"|\[\]|"","")"#, "bugs of OPA's library: `..*` and empty patterns"),
    (r#"^semver.compare\("1\.2\.3-0?1", "1\.2\.3-0?1"\)"#, "OPA does not end"),
    (
        r#"^io.jwt.decode_verify\("eyJhbGciOiJIUzI1NiIsImNyaXQi"#,
        "OPA accepts extensions that the token marks as critical",
    ),
    (r#"^io.jwt.decode_verify\(.*"iss": "1"\}"#, "OPA fails on an issuer that is not a string"),
    (r#"^(set\(\)|\{1\}) > \{|^sort\(.*\{"b":1\},\{1\}"#, "sets come before objects"),
    (r"^1, 1 in \{1\}", "a set has no keys"),
    (r"^floor\(-0\.1\)", "a bug of OPA: its floor of what is between -1 and 0 is 0"),
    (
        r#"^graph.reachable\(\{"a":null\}|^object.subset\("abc""#,
        "OPA checks the types of what is written in the policy",
    ),
    (r#"^graph.reachable_paths\(\{"a": \["a"\]\}"#, "OPA repeats a node that refers to itself"),
    (r"^json.(is_valid|unmarshal)\(.*ud800", "half of a character in UTF-16 is an error"),
    (r"^rand.intn\(.*-5\)", "undefined for a negative number"),
    (r#"^units.parse_bytes\("(1e-3|0.001)KB"#, "OPA rounds before it multiplies"),
    (r"^yaml.marshal\(.*word word", "long lines are not broken"),
    (r#"^yaml.marshal\(\{"a\\nb""#, "a key of several lines is in quotes"),
    (r#"^yaml.marshal\(\{"a1b""#, "OPA's order of keys contradicts itself where letters follow numbers"),
    (r"^yaml.unmarshal\(.*(!!binary|!!bool 'yes'|!foo)", "some tags are refused"),
    (r"^(graphql|strings.render_template)", "not there"),
    (r"^(opa.runtime|trace|net.lookup_ip_addr|rego.metadata)", "refused by name"),
    (r"^print\(", "ignores its arguments"),
];

/// The recorded expressions with the answers of OPA: generated ones, and those of each builtin's edge cases.
fn recorded() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/opa");
    let texts = ["answers.jsonl", "builtins.jsonl"].map(|file| std::fs::read_to_string(folder.join(file)).unwrap());
    texts.iter().flat_map(|text| text.lines()).map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn expressions_come_to_what_they_come_to_in_opa() {
    let known: Vec<(regex::Regex, &str)> =
        KNOWN.iter().map(|(pattern, why)| (regex::Regex::new(pattern).unwrap(), *why)).collect();
    let (mut different, mut count, mut meant) = (String::new(), 0, 0);
    let mut unused: BTreeMap<&str, &str> = KNOWN.iter().copied().collect();
    for (expression, opa) in recorded() {
        let own = answer(&expression);
        count += 1;
        let agrees = match (&own, opa.get("value")) {
            (Ok(Some((value, kind))), Some(other)) => same(value, other) && opa["type"] == kind.as_str(),
            (Ok(None) | Err(_), None) => true,
            _ => false,
        };
        if agrees {
            continue;
        }
        if let Some((pattern, _)) = known.iter().find(|(pattern, _)| pattern.is_match(&expression)) {
            unused.remove(pattern.as_str());
            meant += 1;
        } else {
            let _ = writeln!(different, "{expression}\n    here {own:?}\n    OPA  {opa}");
        }
    }
    println!("{count} expressions, {meant} with a known difference");
    assert!(different.is_empty(), "{different}");
    assert!(unused.is_empty(), "these are no differences any more: {unused:?}");
    assert!(meant * 8 < count, "{meant} of {count} are too many to be exceptions");
}

/// Heads whose values are undefined for some solutions of a body, and rules that depend on them.
#[test]
fn rules_come_to_what_they_come_to_in_opa() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/opa/rules.jsonl");
    let text = std::fs::read_to_string(file).unwrap();
    let (mut different, mut count) = (String::new(), 0);
    for line in text.lines() {
        let (rules, opa): (String, Value) = serde_json::from_str(line).unwrap();
        let own = answer_of_rules(&rules);
        count += 1;
        let agrees = match (&own, opa.get("value")) {
            (Ok(Some((value, kind))), Some(other)) => same(value, other) && opa["type"] == kind.as_str(),
            (Ok(None) | Err(_), None) => true,
            _ => false,
        };
        // Known: a rule of sets by key that finds nothing is undefined here.
        let is_known = rules.contains("] contains ") && own == Ok(None) && opa["value"] == serde_json::json!({});
        if !agrees && !is_known {
            let _ = writeln!(different, "{rules}\n    here {own:?}\n    OPA  {opa}");
        }
    }
    println!("{count} rules");
    assert!(different.is_empty(), "{different}");
}

/// What OPA is asked about a case of an example policy: the scripts that run, each with its input.
#[derive(serde::Serialize)]
struct Question {
    policy: String,
    case: String,
    runs: Vec<Value>,
    /// longrun's own verdict.
    #[serde(skip)]
    own: Value,
}

/// The cases of the policies in `examples/policies` that have a verdict.
fn questions() -> Vec<Question> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let copy = tempfile::tempdir().unwrap();
    copy_folder(&examples, copy.path());
    let mut questions = Vec::new();
    for entry in std::fs::read_dir(examples.join("policies")).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        let policy = folder.file_name().unwrap().to_str().unwrap();
        let resolver = Resolver::new(Some(&folder)).unwrap();
        let document = resolver.load("file://policy.yaml").unwrap();
        let scripts = Policy::parse("policy.yaml", &document.text).unwrap();
        let text = |index| scripts.script_text(&document, index, &resolver).unwrap().text;
        // In the copy, each script reports its input.
        let mut reporting: Value = yaml::read(&document.text).unwrap();
        reporting["metadata"].as_object_mut().unwrap().remove("finding_type");
        for (index, script) in reporting["spec"]["policies"].as_array_mut().unwrap().iter_mut().enumerate() {
            let report = format!("violations contains json.marshal({{\"script\": {index}, \"input\": input}})");
            let mut reporter = json!({"embedded": format!("package main\nimport rego.v1\n{report}\n")});
            if let Some(kind) = script.get("kind") {
                reporter["kind"] = kind.clone();
            }
            *script = reporter;
        }
        let copied = copy.path().join("policies").join(policy).join("policy.yaml");
        std::fs::write(&copied, reporting.to_string()).unwrap();
        let inputs = check(&copied).unwrap().cases;
        for (case, inputs) in check(&folder.join("policy.yaml")).unwrap().cases.into_iter().zip(inputs) {
            let Some(status) = case.status else { continue };
            let runs = inputs.violations.iter().map(|report| {
                let mut run: Value = serde_json::from_str(report).unwrap();
                run["script"] = json!(text(usize::try_from(run["script"].as_u64().unwrap()).unwrap()));
                run
            });
            let violations = case.violations.iter().collect::<BTreeSet<_>>().len();
            let own = json!({"status": status, "violations": violations});
            questions.push(Question { policy: policy.to_owned(), case: case.name, runs: runs.collect(), own });
        }
    }
    questions.sort_by(|one, other| (&one.policy, &one.case).cmp(&(&other.policy, &other.case)));
    questions
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// Every case of every example policy has the verdict that OPA has. The answers name the digest of what was asked.
#[test]
fn example_policies_come_to_what_they_come_to_in_opa() {
    let questions = questions();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_OPA").is_some() {
        let lines = questions.iter().map(|question| serde_json::to_string(question).unwrap());
        let asked = folder.join("../../target/opa");
        std::fs::create_dir_all(&asked).unwrap();
        std::fs::write(asked.join("questions.jsonl"), lines.collect::<Vec<_>>().join("\n") + "\n").unwrap();
        return;
    }
    let text = std::fs::read_to_string(folder.join("tests/opa/examples.jsonl")).unwrap();
    let answers: BTreeMap<(String, String), (String, Value)> = text
        .lines()
        .map(|line| serde_json::from_str::<(String, String, String, Value)>(line).unwrap())
        .map(|(policy, case, asked, verdict)| ((policy, case), (asked, verdict)))
        .collect();
    assert_eq!(answers.len(), questions.len(), "{RENEWAL}");
    assert!(questions.len() > 200 && questions.iter().all(|question| !question.runs.is_empty()));
    let mut different = String::new();
    for question in questions {
        let asked = digest(serde_json::to_string(&question).unwrap().as_bytes());
        let Question { policy, case, own, .. } = question;
        let known = answers.get(&(policy.clone(), case.clone())).filter(|(digest, _)| *digest == asked);
        let (_, opa) = known.unwrap_or_else(|| panic!("{policy}: {case}: {RENEWAL}"));
        if own != *opa {
            let _ = writeln!(different, "{policy}: {case}\n    here {own}\n    OPA  {opa}");
        }
    }
    assert!(different.is_empty(), "{different}");
}

const RENEWAL: &str = "OPA was not asked; do so: UPDATE_OPA=1 cargo test -p evidence example_policies_come && \
                       scripts/opa-answers.py";

/// How an operator or a relation is written in an expression; a function is written as a call.
const WRITTEN: &[(&str, &str)] = &[
    ("and", " & "),
    ("div", " / "),
    ("eq", " = "),
    ("equal", " == "),
    ("gt", " > "),
    ("gte", " >= "),
    ("internal.member_2", r"^[^,]+ in "),
    ("internal.member_3", r"^[^,]+, [^,]+ in "),
    ("internal.print", r"\bprint\("),
    ("lt", " < "),
    ("lte", " <= "),
    ("minus", " - "),
    ("mul", r" \* "),
    ("neq", " != "),
    ("or", r" \| "),
    ("plus", r" \+ "),
    ("rem", " % "),
];

/// What the table promises has been compared.
#[test]
fn each_builtin_is_in_several_recorded_expressions() {
    let recorded = recorded();
    let names = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/opa/builtins.txt")).unwrap();
    let mut rare = String::new();
    for name in names.lines() {
        // Each expression is assigned.
        if name == "assign" || !matches!(support(name), Support::Engine | Support::Own) {
            continue;
        }
        let written = WRITTEN.iter().find(|(operator, _)| *operator == name).map(|(_, written)| (*written).to_owned());
        let written = written.unwrap_or_else(|| format!(r"(^|[^\w.]){}\(", regex::escape(name)));
        let written = regex::Regex::new(&written).unwrap();
        let count = recorded.iter().filter(|(expression, _)| written.is_match(expression)).count();
        if count < 5 {
            let _ = writeln!(rare, "{name}: {count}");
        }
    }
    assert!(rare.is_empty(), "record more expressions with these builtins:\n{rare}");
}

/// What OPA also has under the name of a function and is written in one way only here, as it appears in the table.
const ONLY_WRITTEN: &[(&str, &str)] = &[
    ("and", "&"),
    ("assign", ":="),
    ("div", "/"),
    ("eq", "="),
    ("equal", "=="),
    ("gt", ">"),
    ("gte", ">="),
    ("internal.member_2", "x in xs"),
    ("internal.member_3", "key, x in xs"),
    ("internal.print", "print(x)"),
    ("lt", "<"),
    ("lte", "<="),
    ("minus", "-"),
    ("mul", "*"),
    ("neq", "!="),
    ("or", r"\|"),
    ("plus", "+"),
    ("rem", "%"),
];

/// What differs from OPA although the builtin is there.
const NOTES: &[(&str, &str)] = &[
    ("graph.reachable_paths", "a node that refers to itself is not repeated"),
    ("gt", "sets are less than objects"),
    ("gte", "sets are less than objects"),
    ("internal.member_3", "a set has no keys"),
    ("json.is_valid", "half of a character in UTF-16 is not valid"),
    ("json.unmarshal", "half of a character in UTF-16 is an error"),
    ("lt", "sets are less than objects"),
    ("lte", "sets are less than objects"),
    ("max", "sets are less than objects"),
    ("min", "sets are less than objects"),
    ("rand.intn", "undefined for a negative number"),
    ("sort", "sets are less than objects"),
    ("units.parse_bytes", "decimals are exact: `0.001KB` is 1"),
    ("yaml.is_valid", "tags other than those of simple types are not valid"),
    ("yaml.marshal", "long lines are not broken, a key of several lines is in quotes, and `a1b` is before `a10`"),
    ("yaml.unmarshal", "tags other than those of simple types are errors"),
];

/// The page of the documentation: every builtin of OPA and whether policies can use it.
fn table() -> String {
    let mut table = String::from(
        "# OPA's builtins\n\n\
        Every builtin of OPA 1.20, and whether policies can use it in longrun. *Own* means that longrun implements it, since the\n\
        engine lacks it or returns other results than OPA. When a policy is checked, calls of missing or refused builtins are reported\n\
        by name: they are never silently undefined. Operators are written as such; calling them by their names in OPA\n\
        (`plus(1, 2)`) is refused. The remaining differences are listed in\n\
        [writing policies](policies.md#differences-from-opa).\n\n",
    );
    let names = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/opa/builtins.txt")).unwrap();
    let _ = writeln!(table, "| builtin | |\n|---|---|");
    for name in names.lines() {
        let only = ONLY_WRITTEN.iter().find(|(operator, _)| *operator == name);
        let support = match (support(name), only) {
            (Support::Engine, Some((_, written))) => format!("as `{written}`"),
            (Support::Engine, None) => "yes".to_owned(),
            (Support::Own, _) => "own".to_owned(),
            (Support::Forbidden, _) => "refused".to_owned(),
            (Support::Missing, _) => "missing".to_owned(),
        };
        let note =
            NOTES.iter().find(|(noted, _)| *noted == name).map_or(String::new(), |(_, note)| format!("; {note}"));
        let _ = writeln!(table, "| `{name}` | {support}{note} |");
    }
    table
}

/// What the table calls available can be called by its name, and what it says is only written in another way cannot.
#[test]
fn what_is_available_can_be_called_by_its_name() {
    let names = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/opa/builtins.txt")).unwrap();
    for name in names.lines() {
        // More arguments than any function takes: their number is refused, unless there is no such function.
        let rules = format!("value := {name}(1, 2, 3, 4, 5, 6, 7, 8, 9)\nviolations contains value\n");
        let refusal = Script::compile(&format!("package main\nimport rego.v1\n{rules}")).err();
        let is_there = !matches!(refusal, Some(RegoError::UnknownFunction { .. } | RegoError::Forbidden { .. }));
        let is_written = ONLY_WRITTEN.iter().any(|(operator, _)| *operator == name);
        let is_promised = matches!(support(name), Support::Engine | Support::Own) && !is_written;
        assert_eq!(is_there, is_promised, "{name}: {refusal:?}");
    }
}

#[test]
fn the_documented_builtins_are_those_that_there_are() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rego-builtins.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, table()).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(written, table(), "renew it: UPDATE_DOCS=1 cargo test -p evidence the_documented_builtins");
}
