//! What OPA refuses, or what violates the policy in OPA, must not pass silently here: each way to do so that was found
//! is tested, beginning with the request.
use std::time::{Duration, Instant};

use evidence::policy::PolicyAttachment;
use evidence::{EvaluateError, EvaluateRequest, Evaluator, EvaluatorConfig, PolicyOutput, Status, digest};
use serde_json::Value;

const INPUT: &str = r#"{"a":1,"xs":[1,2,3],"s":"abc"}"#;

fn policy(body: &str) -> Value {
    serde_json::json!({
        "apiVersion": "chainloop.dev/v1", "kind": "Policy", "metadata": {"name": "p"},
        "spec": {"policies": [{"kind": "EVIDENCE", "embedded": format!("package main\nimport rego.v1\n{body}\n")}]},
    })
}

fn evaluate(body: &str) -> Result<PolicyOutput, EvaluateError> {
    evaluate_with(policy(body), INPUT)
}

fn evaluate_with(policy: Value, input: &str) -> Result<PolicyOutput, EvaluateError> {
    let request = EvaluateRequest {
        digest: digest(input.as_bytes()),
        kind: Some("EVIDENCE".to_owned()),
        policies: Some(vec![PolicyAttachment { embedded: Some(policy), ..PolicyAttachment::default() }]),
        ..EvaluateRequest::default()
    };
    let evaluator = Evaluator::new(EvaluatorConfig::default()).unwrap();
    evaluator.evaluate(&request, input.as_bytes()).map(|mut output| output.policies.remove(0))
}

/// Asserts that there is an error, and that its message contains this text.
#[track_caller]
fn refused(body: &str, says: &str) {
    match evaluate(body) {
        Ok(output) => panic!("{body}\ngot {:?} {:?}", output.status, output.warnings),
        Err(error) => assert!(error.to_string().contains(says), "{body}\n{error}"),
    }
}

#[track_caller]
fn objects(body: &str) {
    let output = evaluate(body).unwrap_or_else(|error| panic!("{body}\n{error}"));
    assert_eq!(output.status, Status::Failed, "{body}");
}

#[test]
fn definitions_in_a_circle_are_refused_by_name() {
    for (body, variable) in [
        ("violations contains \"no\" if { a := b; b := a }", "b"),
        ("violations contains \"no\" if { a = b; b = a }", "a"),
        ("violations contains \"no\" if { a := b + 1; b := a - 1 }", "b"),
        ("violations contains \"no\" if { x := x }", "x"),
        ("violations contains \"no\" if { some x in y; some y in x }", "y"),
        ("violations contains \"no\" if { x[y]; y[x] }", "x"),
        ("violations contains \"no\" if { count([a | a := b]) > 0; b := count([c | c := b]) }", "b"),
    ] {
        refused(body, &format!("the variable {variable} is unsafe"));
    }
}

#[test]
fn variables_that_are_never_bound_are_refused_also_behind_some_and_not() {
    for (body, variable) in [
        ("violations contains \"no\" if { some x; x > 1 }", "x"),
        ("violations contains \"no\" if { some x; not input.xs[x] }", "x"),
        ("violations contains \"no\" if { not input.xs[x] }", "x"),
        ("violations contains \"no\" if { not input.never[x].y == 1 }", "x"),
        ("violations contains \"no\" if { not input.xs[_] == 1 }", "_"),
        ("violations contains \"no\" if { input.xs[i] == j; j > 1 }", "j"),
        ("violations contains \"no\" if { input.xs == [1, 2, x]; x == 3 }", "x"),
        ("violations contains \"no\" if { x in input.xs }", "x"),
        ("violations contains x if { some x in input.xs; y > x }", "y"),
        ("violations contains \"no\" if { every x in input.xs { x < limit } }", "limit"),
        ("violations contains sprintf(\"%s\", [license.name]) if { some c in input.xs; c > 0 }", "license"),
    ] {
        refused(body, &format!("the variable {variable} is unsafe"));
    }
}

#[test]
fn what_is_bound_in_another_order_or_within_is_no_mistake() {
    for body in [
        "violations contains \"no\" if { f(input.xs[i]) == 3; i == 2 }\nf(x) := x",
        "violations contains \"no\" if { input.xs = [1, 2, x]; x == 3 }",
        "violations contains \"no\" if { {\"a\": a} = {\"a\": 1}; a == 1 }",
        "violations contains \"no\" if { y := 1; count([i | input.xs[i] > y]) == 2 }",
        "violations contains \"no\" if { not any_nine }\nany_nine if input.xs[_] == 9",
        "violations contains \"no\" if { not count([x | x := input.xs[_]]) == 2 }",
        "violations contains sprintf(\"%v\", [input.xs[_]])",
        "violations contains sprintf(\"%v\", [x]) if x := [1, 2][_]",
        "violations contains sprintf(\"%v\", [rest[i]]) if { rest := {\"x\", \"y\"} - {\"x\"}; some i }",
        "violations contains \"no\" if { x := object.union({\"k\": 1}, {\"l\": 2}); x[k] == 2; k == \"l\" }",
        "violations contains \"no\" if { split(\"a,b\", \",\", parts); count(parts) == 2 }",
    ] {
        objects(body);
    }
}

#[test]
fn a_rule_of_a_wrong_name_or_a_result_that_forgot_it_is_refused() {
    for (body, name) in [
        ("violation contains \"no\"", "violation"),
        ("deny contains \"no\"", "deny"),
        ("result := {\"skipped\": false, \"violations\": violations}\nviolation contains \"no\"", "violation"),
        ("result := {\"skipped\": false, \"violations\": []}\nviolations contains \"no\"", "violations"),
        ("result := {\"skipped\": false, \"violations\": []}\nfindings contains {\"message\": \"m\"}", "findings"),
    ] {
        refused(
            body,
            &format!(
                "could never report a violation: its result uses neither violations nor findings, and nothing uses {name}"
            ),
        );
    }
    let misspelt = "result := {\"violations\": [], \"finding\": findings}\nfindings contains {\"message\": \"m\"}";
    refused(misspelt, "\"finding\" is a list that is not empty, but has no meaning in a result");
    refused(
        "result := {\"skipped\": false, \"violation\": violations}\nviolations contains \"no\"",
        "\"violation\" is a list that is not empty, but has no meaning in a result",
    );
    let beside = "violations contains \"a\" if input.never\nviolation contains \"no\"";
    assert_eq!(evaluate(beside).unwrap().warnings, ["the rule violation is never used"]);
    objects("result := {\"skipped\": false, \"violations\": mine}\nmine contains \"no\"");
}

#[test]
fn violations_of_a_wrong_type_are_refused() {
    for body in [
        "violations := \"no\"",
        "violations := {\"no\": \"x\"}",
        "violations := null",
        "violations := true",
        "violations := false",
        "violations := 0",
        "violations if input.a",
        "violations[msg] if msg := \"no\"",
        "violations[\"no\"] := true",
        "violations.no := \"x\"",
        "result := [\"no\"]",
        "result := \"no\"",
        "result := null",
        "result := false",
    ] {
        refused(body, "'result' is not a verdict");
    }
    refused("violations[msg] { msg := \"no\" }", "`if` keyword is required");
    refused("violations[\"no\"]", "must have a body or assignment");
    objects("violations := {\"a set\"}");
    objects("violations := [\"a list\"]");
}

#[test]
fn calls_with_too_many_or_too_few_arguments_are_refused_even_where_nothing_gets() {
    for body in [
        "violations contains \"no\" if { input.never; f(1, 2, 3) }\nf(x) := x",
        "violations contains \"no\" if { input.never; f() }\nf(x) := x",
        "violations contains \"no\" if { input.never; data.main.f(1, 2, 3) }\nf(x) := x",
        "violations contains \"no\" if { input.never; count(1, 2, 3) > 0 }",
        "violations contains \"no\" if { input.never; not startswith(\"abc\") }",
    ] {
        refused(body, "arguments, not");
    }
}

#[test]
fn documents_that_do_not_exist_are_refused_by_name() {
    for (body, name) in [
        ("import data.lib.lists\nviolations contains \"no\" if { some x in lists; x }", "data.lib.lists"),
        ("violations contains \"no\" if data.lib.bad", "data.lib.bad"),
        ("violations contains \"no\" if { some x in data.lib.bad[input.a]; x }", "data.lib.bad"),
        ("violations contains \"no\" if data.main.typo", "data.main.typo"),
        ("violations contains \"no\" if { input.a with data.lib.x as 1 }", "data.lib.x"),
        ("violations contains \"no\" if { input.a == data[\"lib\"].x }", "data.lib.x"),
    ] {
        refused(body, &format!("there is no {name}"));
    }
    refused("violations contains \"no\" if { data.lib.f(1) }", "there is no function data.lib.f");
    objects("violations contains \"no\" if data.main.bad\nbad := true");
}

#[test]
fn definitions_that_clash_are_refused() {
    for (body, says) in [
        ("default violations := [\"a\"]\ndefault violations := []", "violations has a second default"),
        (
            "default violations := []\nviolations contains \"no\" if input.a",
            "violations is a set here and a value elsewhere",
        ),
        (
            "violations contains \"no\" if f(1)\nf(x) := x\nf := false",
            "f is a value here and a function of 1 arguments",
        ),
        ("violations contains \"no\" if f(1, 2)\nf(x) := x\nf(x, y) := y", "f is a function of 2 arguments here"),
        (
            "violations contains \"no\" if p.a\np contains 1\np[x] := 2 if x := 1",
            "p is an object here and a set elsewhere",
        ),
        ("violations := []\nviolations := [\"no\"]", "conflicts"),
        ("violations contains \"no\" if x == 2\nx := 1\nx := 2", "conflicts"),
        ("violations contains \"no\" if f(1) == 2\nf(x) := 1\nf(x) := 2", "multiple outputs"),
        ("violations contains \"no\" if input.a == 1\ninput := {}", "input cannot be shadowed"),
    ] {
        refused(body, says);
    }
}

#[test]
fn replacements_by_with_reach_what_they_should_or_are_refused() {
    objects("violations contains \"no\" if input.b with input as {\"b\": true}");
    objects("violations contains \"no\" if g(1) with f as h\nf(x) := false if x\ng(x) := f(x)\nh(x) := true if x");
    objects("violations contains \"no\" if now with time.now_ns as 5\nnow if time.now_ns() == 5");
    refused("violations contains \"no\" if q with p as true\np := false\nq if p", "undefined rule");
}

/// The engine finds nothing with `[path, value] := walk(input)`.
#[test]
fn walk_gives_each_pair_however_it_is_called() {
    for body in [
        "violations contains \"no\" if { [_, v] := walk(input); v == 3 }",
        "violations contains \"no\" if { [[\"xs\", 2], v] = walk(input); v == 3 }",
        "violations contains \"no\" if { walk(input, [path, 3]); path == [\"xs\", 2] }",
        "violations contains \"no\" if walk(input)[1] == 3",
        "violations contains \"no\" if { some _, v in walk(input.xs); v == 3 }",
        "violations contains \"no\" if { count([v | [_, v] := walk(input); is_number(v)]) == 4 }",
        "violations contains \"no\" if { some x in walk(walk(input.s)); x == \"abc\" }",
        "violations contains v if { result := {\"k\": \"v\"}; [_, v] := walk(result); is_string(v) }",
    ] {
        objects(body);
    }
}

/// The engine takes the second evaluation of an inner declaration for a second declaration.
#[test]
fn declarations_may_stand_behind_what_iterates() {
    for body in [
        "violations contains \"no\" if { some i; x := input.xs[i]; some j; y := input.xs[j]; x + y == 6 }",
        "violations contains \"no\" if { x := input.xs[_]; some j, k; input.xs[j] == x; input.xs[k] == 3; j == k }",
        "violations contains \"no\" if { some i; x := input.xs[i]; count([j | some j; input.xs[j] < x]) == 2 }",
        "violations contains \"no\" if { some i; x := input.xs[i]; some result; input.xs[result] == 3; result > i }",
        "import input.xs as list\nviolations contains \"no\" if { some i; list[i] == 3 }",
    ] {
        objects(body);
    }
}

/// The engine takes some of them for the outer variable, and refuses others.
#[test]
fn what_is_declared_within_hides_what_is_around_it() {
    for body in [
        "f(x) if count([x | some x; input.xs[x]]) == 3\nviolations contains \"no\" if f(0)",
        "f(x) if count([x | some x in input.xs]) == 3\nviolations contains \"no\" if f(1)",
        "f(x) if count([1 | x := 5; x == 5]) == 1\nviolations contains \"no\" if f(1)",
        "f(x) if { some x in input.xs; x == 3 }\nviolations contains \"no\" if f(1)",
        "f(x) if { every x in input.xs { x > 0 } }\nviolations contains \"no\" if f(-1)",
        "violations contains \"no\" if { x := 1; count([x | some x in input.xs]) == 3; x == 1 }",
        "violations contains \"no\" if { x := 1; count([x | some [x, _] in [[7, 8], [9, 10]]]) == 2 }",
        "violations contains \"no\" if { x := 1; count([x | x := input.xs[_]]) == 3; x == 1 }",
        "import input.a as x\nviolations contains \"no\" if { count([x | some x in input.xs]) == 3; x == 1 }",
    ] {
        objects(body);
    }
    // A variable that is declared nowhere is the same inside and outside.
    objects("violations contains \"no\" if { x := 1; count([x | input.xs[x]]) == 1 }");
}

/// OPA refuses it, too; the message tells authors what to do.
#[test]
fn a_comprehension_whose_head_has_an_operator_needs_parentheses() {
    refused("violations contains \"no\" if count([x * 2 | some x in input.xs]) == 3", "needs parentheses");
    objects("violations contains \"no\" if [(x * 2) | some x in input.xs] == [2, 4, 6]");
}

#[test]
fn checking_a_script_takes_little_time_whatever_it_is() {
    let many = |count: usize, line: fn(usize) -> String| (0..count).map(line).collect::<Vec<String>>().join("\n");
    let chain = many(15_000, |n| format!("r{n} := r{}", n + 1));
    let backwards = many(800, |n| format!("x{n} = x{} + 1", n + 1));
    // Each comprehension waits for a variable that is bound after it, and so do those inside of it.
    let nested = (0..30).fold("1".to_owned(), |inner, n| format!("count([a{n} | a{n} = {inner} + b{n}; b{n} = 1])"));
    for (body, says) in [
        (format!("violations contains \"no\" if r0\n{chain}\nr15000 := 1"), Some("a chain of more than 200 rules")),
        (format!("violations contains \"no\" if {{\n{backwards}\nx800 = 1\nx0 == 0 }}"), None),
        (format!("violations contains \"no\" if {nested} == 0"), Some("too much content in nested brackets")),
        (
            format!("violations contains \"no\" if {{\n{} }}", "input.a\n".repeat(3_000)),
            Some("more than 2500 statements"),
        ),
        (
            format!("violations contains \"no\" if {{\n{} }}", "not startswith(input.s, input.t)\n".repeat(1_000)),
            Some("more than 2500 statements"),
        ),
        (
            (0..2_000).fold("violations := []\n".to_owned(), |rules, n| {
                rules + &format!("r{n} if not startswith(input.s, input.t)\n")
            }),
            None,
        ),
    ] {
        let start = Instant::now();
        let outcome = evaluate(&body);
        if let Some(says) = says {
            assert!(outcome.as_ref().is_err_and(|error| error.to_string().contains(says)), "{outcome:?}");
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{:?} for {}", start.elapsed(), &body[..60]);
    }
}

#[test]
fn a_policy_for_a_material_type_that_does_not_exist_is_refused() {
    let policy = serde_json::json!({
        "apiVersion": "chainloop.dev/v1", "kind": "Policy", "metadata": {"name": "p"},
        "spec": {"policies": [{"kind": "evidence", "embedded": "package main\nviolations contains \"no\""}]},
    });
    let error = evaluate_with(policy, INPUT).unwrap_err().to_string();
    assert!(error.ends_with("\"evidence\" is not a material type; did you mean EVIDENCE?"), "{error}");
}

#[test]
fn evidence_that_cannot_be_read_is_refused() {
    let forbids = "violations contains \"no\" if input.secrets";
    assert_eq!(evaluate_with(policy(forbids), r#"{"secrets":["a"]}"#).unwrap().status, Status::Failed);
    let error = evaluate_with(policy(forbids), r#"{"secrets":["a"],"score":1e999}"#).unwrap_err().to_string();
    assert!(error.starts_with("evidence: not JSON: ") && error.ends_with("a number out of range"), "{error}");
}

/// The engine negates the whole expression, and OPA what is left once the operands have a value.
#[test]
fn a_negation_of_something_undefined_permits_nothing() {
    for condition in [
        "not startswith(x.license, \"GPL\")",
        "not x.license in {\"GPL-3.0\"}",
        "not \"GPL-3.0\" in x.licenses",
        "not x.score > 7",
        "not x.score != 7",
        "not count(x.findings) > 0",
        "not x.licenses[lower(x.name)] == \"GPL-3.0\"",
        "every y in [x] { not startswith(y.license, \"GPL\") }",
        "count([1 | not startswith(x.license, \"GPL\")]) == 1",
    ] {
        objects(&format!("permitted(x) if {{ {condition} }}\nviolations contains \"no\" if not permitted({{}})"));
        objects(&format!("permitted(x) if {condition}\nviolations contains \"no\" if not permitted({{}})"));
    }
}

#[test]
fn a_membership_of_something_undefined_is_not_false() {
    for condition in ["banned := x.license in {\"GPL\"}; not banned", "(\"GPL\" in x.licenses) == false"] {
        objects(&format!("permitted(x) if {{ {condition} }}\nviolations contains \"no\" if not permitted({{}})"));
    }
    objects(
        "is_banned(x) := x.license in {\"GPL\"}\npermitted(x) if is_banned(x) == false\n\
         violations contains \"no\" if not permitted({})",
    );
}

/// In the engine a pattern matches objects that have other keys, too.
#[test]
fn a_pattern_matches_no_object_with_other_keys() {
    for reviewed in [
        "some {\"name\": name, \"type\": \"library\"} in xs",
        "x := xs[_]; {\"name\": name, \"type\": _} = x",
        "{\"name\": name, \"type\": _} := xs[_]",
        "name := of(xs[_])",
        "{x | some x in xs}[{\"name\": name, \"type\": \"library\"}]",
    ] {
        objects(&format!(
            "xs := [{{\"name\": \"a\", \"type\": \"library\", \"version\": 1}}]\n\
             of({{\"name\": name, \"type\": \"library\"}}) := name\n\
             reviewed contains name if {{ {reviewed} }}\n\
             violations contains \"no\" if not \"a\" in reviewed"
        ));
    }
}
