#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::*;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked<'a> {
    resource_id: String,
    max_attempts: Option<i64>,
    is_last: bool,
    names: List<String, 2>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    rows: List<Read<Row>, 2>,
    sizes: BTreeMap<String, u32>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
struct Row {
    id: String,
    size: Option<i64>,
}

fn texts(violations: &[Violation]) -> Vec<String> {
    violations.iter().map(ToString::to_string).collect()
}

fn read(body: &str) -> (Asked<'_>, Vec<String>) {
    let read: Read<Asked> = json(body.as_bytes()).unwrap();
    let violations = texts(&read.violations);
    (read.value, violations)
}

#[test]
fn fields_are_read_in_either_spelling_and_null_is_as_good_as_missing() {
    let body = r#"{"resource_id":"a\u0041","maxAttempts":3,"isLast":true,"names":null,"input":{ "a":1.0 }}"#;
    let (asked, violations) = read(body);
    assert_eq!(violations, [""; 0]);
    assert_eq!((&*asked.resource_id, asked.max_attempts, asked.is_last), ("aA", Some(3), true));
    assert_eq!(asked.input.unwrap().get(), r#"{ "a":1.0 }"#, "digit for digit");
    let (asked, violations) = read("{}");
    assert!(violations.is_empty() && asked.resource_id.is_empty() && asked.names.0.is_empty());
}

#[test]
fn every_violation_is_told_and_the_sound_fields_are_read() {
    let body = r#"{"nope":1,"resource_id":7,"max_attempts":1.5,"is_last":"yes","names":["a",2],"input":3}"#;
    let (asked, violations) = read(body);
    assert_eq!(asked.input.unwrap().get(), "3");
    assert_eq!(
        violations,
        [
            "resource_id: must be a string",
            "max_attempts: must be an integer",
            "is_last: must be true or false",
            "names[1]: must be a string",
            "nope: unknown field; the fields are resource_id, max_attempts, is_last, names, input, rows, sizes",
        ]
    );
}

#[test]
fn doubled_fields_and_two_spellings_of_one_are_told_once() {
    let body = r#"{"resource_id":"a","resourceId":"b","resourceId":"c","is_last":true,"is_last":7}"#;
    let told = read(body).1;
    assert_eq!(
        told,
        [
            "resource_id: is given as resource_id and as resourceId; use one spelling",
            "is_last: is given more than once"
        ]
    );
}

#[test]
fn members_with_names_of_the_caller_are_read_one_by_one() {
    let (asked, violations) = read(r#"{"sizes":{"a":1,"b\u0063":0}}"#);
    assert_eq!(violations, [""; 0]);
    assert_eq!(asked.sizes, BTreeMap::from([("a".to_owned(), 1), ("bc".to_owned(), 0)]));
    for (sizes, wrong) in [
        (r#"{"a":-1}"#, "sizes.a: must be an integer between 0 and 4294967295"),
        (r#"{"a":1,"b":null}"#, "sizes.b: must be an integer between 0 and 4294967295"),
        (r#"{"a":1,"a":2}"#, "sizes.a: is given more than once"),
        ("[1]", "sizes: must be an object"),
        ("7", "sizes: must be an object"),
    ] {
        assert_eq!(read(&format!(r#"{{"sizes":{sizes}}}"#)).1, [wrong]);
    }
    assert_eq!(read(r#"{"resource_id":{"a":1}}"#).1, ["resource_id: must be a string"]);
}

#[test]
fn lists_are_bounded_and_their_elements_read_one_by_one() {
    let (asked, violations) = read(r#"{"rows":[{"id":"a","size":"x","no":1},{"size":2}]}"#);
    assert_eq!(violations, [""; 0], "each element has its own");
    let [first, second] = &asked.rows.0[..] else { panic!("{asked:?}") };
    assert_eq!((&*first.value.id, first.value.size, second.value.size), ("a", None, Some(2)));
    assert_eq!(texts(&first.violations), ["size: must be an integer", "no: unknown field; the fields are id, size"]);
    assert_eq!(texts(&read(r#"{"rows":[{},3]}"#).0.rows.0[1].violations), [": must be an object"]);
    for bad in ["[]", "{}", "7", "[{},{},{}]", &format!("[{}{{}}]", "{},".repeat(20_000))] {
        assert_eq!(read(&format!(r#"{{"rows":{bad}}}"#)).1, ["rows: must be a list of 1 to 2 elements"]);
    }
}

#[test]
fn what_is_not_one_object_is_malformed() {
    for body in ["", "[]", "1", "{", "{}x", "{\"a\":}", "{\"a\":1,}", "nul"] {
        assert!(matches!(json::<Asked>(body.as_bytes()), Err(ApiError::Malformed(_))), "{body}");
    }
    assert!(matches!(json::<Asked>(b"{\"a\":\"\xff\"}"), Err(ApiError::Malformed(_))));
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
struct Page {
    kind: String,
    #[serde(rename = "pagination.page_size")]
    page_size: Option<u32>,
}

fn page(text: &str) -> Result<Page, Vec<String>> {
    let read: Read<Page> = query(text).unwrap();
    if read.violations.is_empty() { Ok(read.value) } else { Err(texts(&read.violations)) }
}

#[test]
fn a_query_is_read_in_either_spelling_and_decoded() {
    let wanted = Page { kind: "a b+cé".to_owned(), page_size: Some(7) };
    assert_eq!(page("kind=a+b%2Bc%C3%A9&pagination.page_size=7").unwrap(), wanted);
    assert_eq!(page("pagination.pageSize=7&&kind=a+b%2Bc%C3%A9&").unwrap(), wanted);
    assert_eq!(page("kind").unwrap(), Page::default());
}

#[test]
fn integers_of_a_query_have_one_spelling() {
    for bad in ["1.0", "1e1", "%2B1", "+1", "", "0x1", "2147483648", "-1", "１"] {
        let wanted = ["pagination.page_size: must be an integer between 0 and 2147483647"];
        assert_eq!(page(&format!("pagination.page_size={bad}")).unwrap_err(), wanted, "{bad}");
    }
}

#[test]
fn what_is_wrong_with_a_query_is_told_at_once() {
    assert_eq!(
        page("pagination.pageSize=x&kind=%zz&nope=1&kind=a&kind=b").unwrap_err(),
        [
            "kind: is not percent-encoded UTF-8",
            "pagination.page_size: must be an integer between 0 and 2147483647",
            "nope: unknown parameter; the parameters are kind, pagination.page_size",
            "kind: is given more than once",
        ]
    );
}

#[test]
fn what_is_repeated_to_the_client_is_short_and_printable() {
    let told = page(&format!("%0d%0a{}=1", "x".repeat(1000))).unwrap_err();
    assert!(told[0].starts_with("\\r\\nxxx") && told[0].len() < 160, "{told:?}");
}

#[test]
fn a_field_is_told_about_once_and_places_are_put_together() {
    let mut found = Found(vec![Violation::new("kinds[1]", "a")]);
    found.add(Violation::new("kinds", "b"));
    found.add(Violation::new("kind", "c"));
    let mut whole = Found(vec![Violation::new("", "d")]);
    whole.add(Violation::new("id", "e"));
    found.add_at("rows[2]", whole);
    found.add_at("rows[3]", Found(vec![Violation::new("id", "f")]));
    assert_eq!(texts(&found.0), ["kinds[1]: a", "kind: c", "rows[2]: d", "rows[3].id: f"]);
}

#[test]
fn as_many_violations_are_kept_as_an_answer_has_room_for() {
    let unknown = format!("{{{}\"is_last\":7}}", "\"\":0,".repeat(9_000));
    let read: Read<Asked> = json(unknown.as_bytes()).unwrap();
    assert_eq!(read.violations.len(), MOST_VIOLATIONS);
    assert_eq!(
        read.violations[0].to_string(),
        "is_last: must be true or false",
        "what is reported first stays the first"
    );
    let rows = (0..1_000).map(|number| Violation::new(format!("rows[{number}]"), "a")).collect();
    let mut found = Read { value: (), violations: rows }.into_parts().1;
    assert_eq!(found.0.len(), MOST_VIOLATIONS);
    found.add(Violation::new("another", "b"));
    found.add_another(Violation::new("another", "b"));
    found.add_at("rows[1000]", Found(vec![Violation::new("id", "c")]));
    assert_eq!(found.0.len(), MOST_VIOLATIONS);
    assert_eq!(found.0.last().unwrap().field, "rows[100]");
    let mut found = Found::default();
    for number in 0..1_000 {
        found.add_at(&format!("rows[{number}]"), Found(vec![Violation::new("a", "b"), Violation::new("c", "d")]));
    }
    assert_eq!((found.0.len(), &*found.0[100].field), (MOST_VIOLATIONS, "rows[50].a"));
}

#[test]
fn of_a_list_that_is_too_long_one_element_more_is_made() {
    let mut made = 0;
    let list: List<u32, 2> = List::of(0..1_000, |number| {
        made += 1;
        number
    });
    assert_eq!((made, list.0.len()), (3, 3));
    let mut found = Found::default();
    assert!(list.required("rows", &mut found).is_empty());
    assert_eq!(texts(&found.0), ["rows: must be a list of 1 to 2 elements"]);
}
