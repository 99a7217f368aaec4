//! Each gap of the engine, and each promise of the layer over it.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use regorus::Value;

use super::{Limits, RegoError, Script, Verdict};
use crate::material::json;

const HEAD: &str = "package main\n\nimport rego.v1\n\n";

fn run_on(body: &str, input: &str) -> Result<Verdict, RegoError> {
    let script = Script::compile(&format!("{HEAD}{body}"))?;
    let limits = Limits { time: Duration::from_secs(20) };
    script.run(&json::read(input.as_bytes()).unwrap(), BTreeMap::new(), limits)
}

/// A script that may report violations, so that its other rules can be tested alone.
fn compile(body: &str) -> Result<Script, RegoError> {
    Script::compile(&format!("{HEAD}{body}\nfindings contains {{\"message\": \"m\"}} if input.never\n"))
}

fn run(body: &str) -> Result<Verdict, RegoError> {
    run_on(body, "{}")
}

fn messages(body: &str, input: &str) -> Vec<String> {
    run_on(body, input).unwrap().violations.into_iter().map(|violation| violation.message).collect()
}

#[test]
fn the_boilerplate_may_be_left_out() {
    let verdict = run("violations contains \"no\" if input.bad").unwrap();
    let plain = Verdict {
        skipped: false,
        unevaluated: false,
        skip_reason: String::new(),
        ignored: false,
        violations: vec![],
        suppressed: vec![],
    };
    assert_eq!(verdict, plain);
    assert_eq!(messages("violations contains \"no\" if input.bad", r#"{"bad":true}"#), ["no"]);
}

#[test]
fn an_input_that_is_not_valid_is_skipped_with_the_customary_reason() {
    let verdict = run("valid_input if input.known").unwrap();
    assert!(verdict.skipped);
    assert_eq!(verdict.skip_reason, "the file content is not recognized");
    assert!(!run_on("valid_input if input.known", r#"{"known":true}"#).unwrap().skipped);
}

#[test]
fn a_policy_with_all_the_boilerplate_runs_unchanged() {
    let body = r#"
result := {"skipped": skipped, "violations": violations, "skip_reason": skip_reason, "ignore": ignore}
default skip_reason := ""
skip_reason := m if { not valid_input; m := "the file content is not recognized" }
default skipped := true
skipped := false if valid_input
default ignore := false
valid_input if { input.bomFormat == "CycloneDX" }
violations contains msg if { some i; not input.components[i].licenses; msg := sprintf("no licence: %s", [input.components[i].name]) }
"#;
    let input = r#"{"bomFormat":"CycloneDX","components":[{"name":"a"},{"name":"b","licenses":[]}]}"#;
    assert_eq!(messages(body, input), ["no licence: a"]);
}

/// Gap (a).
#[test]
fn locals_may_shadow_rules() {
    let input = r#"{"runs":[{"results":["x","y"]}]}"#;
    for body in [
        "violations contains result if { some run in input.runs; some result in run.results }",
        "violations contains msg if { some run in input.runs; some _, result in run.results; msg := result }",
        "violations contains msg if { result := input.runs[0].results[_]; msg := result }",
        "violations contains msg if { some result; msg := input.runs[0].results[result] }",
        "f(result) := result\nviolations contains f(x) if some x in input.runs[0].results",
        "violations := [result | some result in input.runs[0].results]",
        "violations contains msg if { every result in input.runs { result.results }; some msg in input.runs[0].results }",
        "violations contains msg if { [result, _] := [input.runs[0].results, 1]; some msg in result }",
    ] {
        assert_eq!(messages(body, input), ["x", "y"], "{body}");
    }
}

#[test]
fn what_stands_before_the_declaration_means_the_rule() {
    let body = "names := [\"x\", \"y\"]\nviolations contains names if { some names in names }";
    assert_eq!(messages(body, "{}"), ["x", "y"]);
    let body = "limit := 3\nviolations contains \"over\" if { input.n > limit; some limit in [1] }";
    assert_eq!(messages(body, r#"{"n":2}"#), [""; 0]);
}

/// A gap in addition to those that were known: the engine fails on these, OPA finds nothing.
#[test]
fn iterating_over_what_is_no_collection_finds_nothing() {
    for value in ["\"text\"", "1", "null", "true", "[]", "{}"] {
        let input = format!("{{\"v\":{value},\"w\":{{\"v\":{value}}}}}");
        for body in [
            "violations contains x if some x in input.v",
            "violations contains x if { some x in input.w.v }",
            "violations contains x if { some _, x in input[\"v\"] }",
            "violations contains x if { v := input.v; some x in v }",
            "violations := [x | some x in input.v]",
            "violations contains v if { some v in input.v; some violations in v }",
        ] {
            assert_eq!(messages(body, &input), [""; 0], "{body} on {value}");
        }
    }
    assert_eq!(messages("violations contains x if some x in input.never", "{}"), [""; 0]);
    assert_eq!(messages("violations contains x if some x in input.v", r#"{"v":["a"]}"#), ["a"]);
    assert_eq!(messages("violations contains x if some x, _ in input.v", r#"{"v":{"a":1}}"#), ["a"]);
    assert!(run("violations contains x if some x in longrun_items(1)").is_err());
}

#[test]
fn a_rule_and_a_field_of_a_locals_name_stay_what_they_are() {
    let body = r#"
score := 7
f(score) := score + 1
violations contains sprintf("%v %v %v", [score, f(1), object.get({"score": 5}, "score", 0)])
"#;
    assert_eq!(messages(body, "{}"), ["7 2 5"]);
}

/// Gap (b).
#[test]
fn forbidden_functions_are_refused_by_name_and_line() {
    for (name, call) in [
        ("http.send", "http.send({\"method\": \"GET\", \"url\": \"https://example.com\"})"),
        ("opa.runtime", "opa.runtime()"),
        ("rego.parse_module", "rego.parse_module(\"a\", \"package a\")"),
        ("trace", "trace(\"x\")"),
        ("net.lookup_ip_addr", "net.lookup_ip_addr(\"example.com\")"),
    ] {
        let error = run(&format!("violations contains \"no\" if not {call}")).unwrap_err();
        assert_eq!(error, RegoError::Forbidden { name: name.to_owned(), line: 5, column: 33 }, "{call}");
    }
}

/// Gap (c).
#[test]
fn an_unknown_function_is_found_wherever_it_stands() {
    for body in [
        "violations contains \"no\" if not nothing.such(input)",
        "violations contains \"no\" if { false; nothing.such(1) }",
        "f(x) := nothing.such(x)",
        "violations := [y | some x in input.xs; y := nothing.such(x)]",
        "violations contains \"no\" if { every x in input.xs { nothing.such(x) } }",
        "default violations := []\nviolations := nothing.such(1) if input.never",
        "violations contains nothing.such(1) if input.never",
        "x := 1 if { input.a } else := nothing.such(2)",
        "violations contains {\"message\": concat(\"\", [nothing.such(1)])} if input.never",
        "violations contains \"no\" if { input.x with input.x as nothing.such(1) }",
    ] {
        let error = run(body).unwrap_err();
        assert!(matches!(&error, RegoError::UnknownFunction { name, .. } if name == "nothing.such"), "{body}: {error}");
    }
}

#[test]
fn own_functions_and_builtins_are_known() {
    let body = r#"
f(x) := upper(x)
default g(_) := "g"
violations contains data.main.f("a")
violations contains f(g(1))
violations contains "printed" if print("seen", input)
violations contains regex.replace("a-b", "-", "+")
"#;
    assert_eq!(messages(body, "{}"), ["A", "G", "a+b", "printed"]);
}

#[test]
fn functions_of_chainloops_servers_skip_the_policy() {
    let verdict = run("violations contains \"no\" if not chainloop.discover(input.x)").unwrap();
    assert!(verdict.skipped);
    assert!(verdict.skip_reason.starts_with("chainloop.discover needs a Chainloop server"), "{verdict:?}");
}

/// Gap (d).
#[test]
fn an_undefined_result_is_an_error() {
    let error = run("result := {\"violations\": []} if input.never").unwrap_err();
    assert_eq!(error, RegoError::NoResult);
    assert!(error.to_string().starts_with("'result' rule not found"));
}

#[test]
fn errors_of_builtins_are_errors_and_name_the_line() {
    for body in [
        "violations contains \"no\" if not to_number(input.text)",
        "violations contains \"no\" if not json.unmarshal(input.text)",
        "violations contains \"no\" if not time.parse_rfc3339_ns(input.text)",
    ] {
        let error = run_on(body, r#"{"text":"no number"}"#).unwrap_err();
        assert!(matches!(error, RegoError::Script { line: 5, .. }), "{body}: {error}");
    }
    // Some builtins do not report to the engine where they were called.
    let body = "violations contains \"no\" if not time.weekday([0, input.text])";
    assert!(run_on(body, r#"{"text":"no zone"}"#).unwrap_err().to_string().contains("timezone"));
}

/// Gap (e).
#[test]
fn big_integers_compare_exactly() {
    let body = "violations contains sprintf(\"%v\", [input.a]) if input.a != input.b";
    assert_eq!(messages(body, r#"{"a":9007199254740993,"b":9007199254740992}"#), ["9007199254740993"]);
    assert_eq!(messages(body, r#"{"a":36893488147419103233,"b":36893488147419103232}"#), ["36893488147419103233"]);
}

#[test]
fn marshalled_numbers_keep_their_digits() {
    let body = "violations contains json.marshal(input)";
    let text = r#"{"args":{},"a":36893488147419103233,"b":1.5,"c":[9007199254740993]}"#;
    let said = messages(body, text);
    let value = json::read(said[0].as_bytes()).unwrap();
    assert_eq!(value, json::read(text.as_bytes()).unwrap(), "{said:?}");
}

/// Gap (f): the engine's timer.
#[test]
fn an_endless_policy_is_ended() {
    let body = "violations contains \"no\" if { some a in input.n; some b in input.n; some c in input.n; some d in input.n; a + b + c + d < 0 }";
    let script = Script::compile(&format!("{HEAD}{body}")).unwrap();
    let numbers: Vec<Value> = (0..1000u64).map(Value::from).collect();
    let input = Value::from(BTreeMap::from([(Value::from("n"), Value::from(numbers))]));
    let limit = Duration::from_millis(200);
    let start = Instant::now();
    let error = script.run(&input, BTreeMap::new(), Limits { time: limit }).unwrap_err();
    assert_eq!(error, RegoError::TimeLimit(limit));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn builtins_cannot_be_made_to_fill_the_memory() {
    for call in [
        "numbers.range(1, 1000000000000)",
        "numbers.range_step(1, 1000000000000, 2)",
        "net.cidr_expand(\"10.0.0.0/8\")",
        "net.cidr_expand(\"2001:db8::/32\")",
        "bits.lsh(1, 4000000000)",
    ] {
        let error = run(&format!("violations contains \"no\" if not {call}")).unwrap_err();
        assert!(matches!(error, RegoError::Script { line: 5, .. }), "{call}: {error}");
    }
}

#[test]
fn bounded_builtins_answer_as_the_originals() {
    let body = r#"
violations contains sprintf("%v", [numbers.range(1, 3)])
violations contains sprintf("%v", [numbers.range(3, 1)])
violations contains sprintf("%v", [numbers.range_step(1, 6, 2)])
violations contains sprintf("%v", [numbers.range_step(6, 1, 2)])
violations contains sprintf("%v", [net.cidr_expand("10.0.0.4/30")])
violations contains sprintf("%v", [bits.lsh(3, 2)])
"#;
    assert_eq!(
        messages(body, "{}"),
        [
            "12",
            "[1, 2, 3]",
            "[1, 3, 5]",
            "[3, 2, 1]",
            "[6, 4, 2]",
            "{\"10.0.0.4\", \"10.0.0.5\", \"10.0.0.6\", \"10.0.0.7\"}",
        ]
    );
}

#[test]
fn findings_win_over_violations_and_are_kept_whole() {
    let body = r#"
violations contains "plain"
findings contains {"message": "found", "severity": "HIGH"}
"#;
    let verdict = run(body).unwrap();
    assert_eq!(verdict.violations.len(), 1);
    assert_eq!(verdict.violations[0].message, "found");
    assert_eq!(verdict.violations[0].finding, Some(serde_json::json!({"message": "found", "severity": "HIGH"})));
}

#[test]
fn a_result_may_have_findings_only() {
    let result = "result := {\"skipped\": false, \"findings\": findings}\n";
    let body = format!("{result}findings contains {{\"message\": \"f\"}} if input.bad");
    assert_eq!(messages(&body, "{}"), [""; 0]);
    assert_eq!(messages(&body, r#"{"bad":true}"#), ["f"]);
}

/// As in Chainloop.
#[test]
fn a_result_may_have_members_of_its_own_and_no_violations() {
    for body in ["result := {}", "result := {\"skipped\": false, \"details\": [1], \"suppressed_findings\": []}"] {
        let verdict = run(body).unwrap();
        assert_eq!((verdict.skipped, verdict.violations.len()), (false, 0), "{body}");
    }
    for name in ["violation", "Violations", "finding", "voilations", "violations_"] {
        let error = run(&format!("result := {{\"skipped\": false, {name:?}: [\"no\"]}}")).unwrap_err();
        assert!(error.to_string().contains("has no meaning in a result"), "{name}: {error}");
    }
}

/// The engine refuses some combinations of them, or imports that are never used.
#[test]
fn imports_that_say_nothing_are_let_through() {
    for import in [
        "import future.keywords",
        "import future.keywords.in\nimport future.keywords.if",
        "import rego.v1",
        "import data.lib.unused",
        "import data.lib.other as unused",
        "import input.a as unused",
    ] {
        assert_eq!(messages(&format!("{import}\nviolations contains \"x\" if 1 in [1]"), "{}"), ["x"], "{import}");
    }
    let error = run("import data.lib.lists\nviolations contains x if some x in lists").unwrap_err().to_string();
    assert!(error.contains("there is no data.lib.lists"), "{error}");
}

#[test]
fn a_result_that_is_no_verdict_is_an_error() {
    for body in [
        "result := 1",
        "result := {\"violations\": \"x\"}",
        "result := {\"violations\": [1]}",
        "result := {\"violations\": [{\"text\": \"x\"}]}",
        "result := {\"violations\": [], \"skipped\": \"no\"}",
        "violations contains 1",
    ] {
        let error = run(body).unwrap_err();
        assert!(matches!(error, RegoError::BadResult(_)), "{body}: {error}");
    }
}

#[test]
fn a_script_that_is_not_rego_is_refused_with_its_line() {
    for (body, line) in [("violations contains if {", 5), ("x := 1 +", 5), ("\n\ny if unknown_variable", 7)] {
        let error = Script::compile(&format!("{HEAD}{body}")).unwrap_err();
        assert!(matches!(error, RegoError::Script { line: found, .. } if found == line), "{body}: {error:?}");
    }
    assert!(Script::compile("no package").is_err());
    assert!(Script::compile("").is_err());
}

#[test]
fn nesting_that_would_overflow_the_stack_is_refused() {
    const MANY: usize = 100_000;
    let lines = |piece: &str| format!("{piece}\n").repeat(MANY / 10);
    for body in [
        format!("x := {}1{}", lines("["), lines("]")),
        format!("x := {}1", "[\n".repeat(10_000)),
        format!("x := {}1{}", lines("("), lines(")")),
        format!("x := {}1{}", lines("{1:"), lines("}")),
        format!("x := 1{}", lines("+1")),
        format!("x := 1{}", lines("-1")),
        format!("x := 1{}", lines(" - 1")),
        format!("x := {}1", lines("- ")),
        format!("x := input{}", lines(".a")),
        format!("x := input{}", lines("[1]")),
        format!("x if {}", lines("not ")),
        format!("x if 1{}", lines(" in [1]")),
        format!("x := [1{}", lines("| 1")),
        format!("f(x) := x\ny := {}1{}", lines("f("), lines(")")),
    ] {
        assert!(Script::compile(&format!("{HEAD}{body}")).is_err(), "{}", &body[..40]);
    }
    // Length alone is not nesting.
    let list = "1, 2, 3, -4,\n".repeat(2000);
    let rules = "violations contains \"x\" if { input.a.b.c > 1 + 2; not input.d[0].e }\n".repeat(2000);
    let lines = format!("lines if {{\n{}}}\n", "not input.a\ninput.b[0]\n".repeat(1000));
    Script::compile(&format!("{HEAD}xs := [{list}]\n{rules}{lines}")).unwrap();
}

#[test]
fn brackets_that_would_be_read_for_years_are_refused_at_once() {
    let head = format!("{HEAD}violations contains \"x\" if input.a\n\n");
    for (open, close) in [("[", "]"), ("{", "}"), ("{1: ", "}"), ("[{", "}]")] {
        let nested = |times: usize| format!("{head}x := {}1{}", open.repeat(times), close.repeat(times));
        let error = Script::compile(&nested(30)).expect_err(open);
        assert!(error.to_string().contains("nested brackets"), "{open}: {error}");
        Script::compile(&nested(4)).unwrap();
        // Many that are each short enough are too much together.
        let many = format!("x := [{}]", format!("{}1{},\n", open.repeat(10), close.repeat(10)).repeat(4_000));
        let error = Script::compile(&format!("{head}{many}")).expect_err(open);
        assert!(error.to_string().contains("nested brackets"), "{open}: {error}");
    }
    // Nobody writes deeper lists by hand.
    Script::compile(&format!("{head}x := {}1{}", "[".repeat(10), "]".repeat(10))).unwrap();
}

#[test]
fn recursion_is_refused() {
    for body in [
        "f(x) := f(x + 1)",
        "a if b\nb if a",
        "f(x) := g(x)\ng(x) := data.main.f(x)",
        "a := [x | x := b]\nb := {y | some y in a}",
        "violations contains \"x\" if count(violations) > 0",
        "p.x := p.y\np.y := p.x",
        "p[x] := y if { x := \"a\"; y := p.b }",
        "a := data[input.x]",
    ] {
        let error = compile(body).expect_err(body);
        assert!(error.to_string().contains("depends on itself"), "{body}: {error}");
    }
    for body in ["p.x := 1\np.y := p.x", "f(f) := f", "a := 1\nb := a + a", "a := input.a\nb(a) := a.b"] {
        compile(body).unwrap();
    }
}

#[test]
fn variables_may_be_bound_in_every_way_of_the_language() {
    for body in [
        "violations contains x if { some x; input.xs[x] }",
        "violations contains x if { input.xs[x] }",
        "violations contains x if { x = input.a }",
        "violations contains x if { [x, _] = input.a }",
        "violations contains x if { some _, {\"name\": x} in input.a }",
        "violations contains x if { walk(input, [x, _]) }",
        "violations contains x if { split(input.a, \",\", x) }",
        "f([a, b], {\"c\": c}) := a + b + c",
        "p[x] := y if { some x, y in input }",
        "x := {k: v | some k, v in input}",
        "x := [y | y := input.xs[_].name]",
        "import data.main.limits as lists\nlimits := [1]\nx := lists",
        "x := y if { y := 1 } else := z if { z := 2 }",
        "x if { not y }\ny if input.a",
        "x if { input.a with input.b as 1 with time.now_ns as 2 }",
    ] {
        compile(body).expect(body);
    }
}

#[test]
fn a_variable_that_nothing_binds_is_refused_wherever_it_stands() {
    for body in [
        "limit := unbound",
        "limit := unbound.field",
        "limit := [x | x := unbound]",
        "limit := [unbound | true]",
        "limit := 1 if { input.a } else := unbound",
        "limit(x) := unbound",
        "limit(x) := x + unbound if x > 1",
        "limit contains unbound if input.a",
        "limit := {\"a\": unbound}",
        "default limit := unbound",
        "limit if unbound > 3",
        "limit if { every x in unbound { x } }",
        "limit if { some x in unbound }",
        "limit if { not unbound }",
        "limit := count({x | some x in [1]; x > unbound})",
        "limit[unbound] := 1 if input.a",
        "limit if { input.x with input.x as unbound }",
    ] {
        let error = compile(body).expect_err(body).to_string();
        assert!(error.contains("unbound"), "{body}: {error}");
    }
}
