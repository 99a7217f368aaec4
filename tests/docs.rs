//! The documentation of the worker protocol shows what a server takes and answers.

use crate::common::Dev;
use serde_json::Value;
use tempfile::tempdir;

/// The fenced blocks of a text: the text behind the fence, and the lines.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut blocks: Vec<(String, String)> = Vec::new();
    let mut is_open = false;
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(language) if !is_open => {
                is_open = true;
                blocks.push((language.to_owned(), String::new()));
            }
            Some(_) => is_open = false,
            None if is_open => {
                let block = &mut blocks.last_mut().unwrap().1;
                *block += line;
                block.push('\n');
            }
            None => {}
        }
    }
    blocks
}

/// Replaces times, which are not those of the documentation.
fn without_times(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(without_times),
        Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| {
            if name.ends_with("_at") {
                assert!(value.as_str().is_some_and(|time| time.ends_with('Z')), "{name}: {value}");
                *value = Value::from("a time");
            } else {
                without_times(value);
            }
        }),
        _ => {}
    }
}

fn post(dev: &Dev, path: &str, body: &str) -> String {
    use std::io::{Read, Write};
    let address = dev.url.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST {path} HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        dev.token,
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200"), "{path}: {answer}");
    body.to_owned()
}

#[test]
fn the_worker_protocol_is_as_workers_md_shows_it() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/workers.md");
    let blocks = blocks(&std::fs::read_to_string(path).unwrap());
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    // The ids of the documentation, and those that they stand for here.
    let mut ids: Vec<(String, String)> = Vec::new();
    let shown = |resource: &str, text: &str| {
        let claimed: Value = serde_json::from_str(text).unwrap();
        let operations = claimed["operations"].as_array().unwrap().iter();
        let of = operations.map(|claimed| &claimed["operation"]).find(|operation| operation["resource_id"] == resource);
        of.unwrap()["id"].as_str().unwrap().to_owned()
    };
    let mut calls = 0;
    for pair in blocks.windows(2) {
        let [(_, request), (_, answer)] = pair else { unreachable!() };
        let Some((path, body)) = request.strip_prefix("POST ").and_then(|request| request.split_once('\n')) else {
            continue;
        };
        if ids.is_empty() {
            for resource in ["42", "43"] {
                let create = format!(
                    r#"{{"kind":"thumbnail","resource_type":"image","resource_id":"{resource}","input":{{"width":200}}}}"#
                );
                let created: Value = serde_json::from_str(&post(&dev, "/v1/operations", &create)).unwrap();
                ids.push((shown(resource, answer), created["operation"]["id"].as_str().unwrap().to_owned()));
            }
        }
        let here = |text: &str| ids.iter().fold(text.to_owned(), |text, (there, here)| text.replace(there, here));
        let mut answered: Value = serde_json::from_str(&post(&dev, path, &here(body))).unwrap();
        let mut expected: Value = serde_json::from_str(&here(answer)).unwrap();
        without_times(&mut answered);
        without_times(&mut expected);
        assert_eq!(answered, expected, "{path}");
        calls += 1;
    }
    assert_eq!(calls, 3, "claim, heartbeat, settle");
}
