//! `longrun operations list` over several pages.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::common::{Dev, get, run_in};
use tempfile::tempdir;

#[test]
fn a_list_is_as_long_as_it_is_asked_to_be_and_says_when_there_is_more() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let file = folder.path().join("batch.json");
    std::fs::write(&file, "{\"kind\":\"scan\"}\n".repeat(250)).unwrap();
    dev.run(&["ops", "create-batch", file.to_str().unwrap()]).expect(0);
    let ids = |args: &[&str]| {
        let ran = dev.run(&[&["ops", "list", "-o", "id"], args].concat()).expect(0);
        (ran.stdout.lines().map(str::to_owned).collect::<Vec<_>>(), ran.stderr)
    };
    let (all, told) = ids(&["--all"]);
    assert_eq!((all.len(), told.as_str()), (250, ""));
    let distinct: std::collections::HashSet<&String> = all.iter().collect();
    assert_eq!(distinct.len(), 250);
    for (args, shown) in [
        (&[][..], 50),
        (&["--page-size", "1000"], 100),
        (&["--limit", "150"], 150),
        (&["--limit", "7"], 7),
        (&["--limit", "7", "--page-size", "3"], 7),
    ] {
        let (some, told) = ids(args);
        assert_eq!(some, all[..shown], "{args:?}");
        let expected =
            format!("note: {shown} of 250 operations are shown; --limit N shows the newest N, --all shows all\n");
        assert_eq!(told, expected, "{args:?}");
    }
    assert_eq!(ids(&["--limit", "1000"]), (all.clone(), String::new()));
    // JSON: the pages, one per line, as the API answers them.
    let pages = dev.run(&["ops", "list", "--all", "--page-size", "90", "-o", "json"]).expect(0).stdout;
    let expected: Vec<String> = (0..3)
        .map(|page| {
            let query = format!("/v1/operations?pagination.page={page}&pagination.page_size=90");
            get(&dev.url, &query, Some(&dev.token)).1
        })
        .collect();
    assert_eq!(pages.lines().collect::<Vec<_>>(), expected);
    let table = dev.run(&["ops", "list", "--limit", "120"]).expect(0).stdout;
    assert_eq!(table.lines().count(), 121, "one heading; that there are more is told once, by the note");
    dev.run(&["ops", "list", "--all", "--page", "1"]).expect(2).says("--page");
}

/// A server whose list grows while it is read: it answers the pages with these numbers one after the other, and refuses
/// a request for another one.
fn growing(pages: &'static [(i32, &'static [&'static str])]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for (page, ids) in pages {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            let request = String::from_utf8(request).unwrap();
            let asked = request.split(['?', '&', ' ']).find_map(|part| part.strip_prefix("pagination.page="));
            let is_right = asked.is_none_or(|asked| asked == page.to_string());
            let operations: Vec<String> = ids.iter().map(|id| format!(r#"{{"id":"{id}", "output":"1.0"}}"#)).collect();
            let body = format!(
                r#"{{"operations":[{}],"pagination":{{"total_count":5,"page":{page},"total_pages":3,"page_size":2}}}}"#,
                operations.join(",")
            );
            let status = if is_right { "200 OK" } else { "400 Bad Request" };
            let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).unwrap();
        }
    });
    url
}

/// Five operations when it begins, of which the first page shows e and d. Then f is created: everything moves by one.
const PAGES: [(i32, &[&str]); 3] = [(0, &["e", "d"]), (1, &["d", "c"]), (2, &["b", "a"])];
/// The same where pages are counted from 1.
const PAGES_FROM_1: [(i32, &[&str]); 3] = [(1, &["e", "d"]), (2, &["d", "c"]), (3, &["b", "a"])];

#[test]
fn what_moves_to_a_later_page_while_a_list_is_read_is_not_shown_twice() {
    let folder = tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "lrn_x").unwrap();
    let list = |pages: &'static [(i32, &[&str])], more: &[&str]| {
        let url = growing(pages);
        run_in(folder.path(), &[&["ops", "list", "--url", &url, "--token-file", "token"], more].concat()).expect(0)
    };
    for pages in [&PAGES, &PAGES_FROM_1] {
        let all = list(pages, &["--all", "-o", "id"]);
        assert_eq!((all.stdout.as_str(), all.stderr.as_str()), ("e\nd\nc\nb\na\n", ""));
        assert_eq!(list(pages, &["--limit", "4", "-o", "id"]).stdout, "e\nd\nc\nb\n");
    }
    let json = list(&PAGES, &["--all", "-o", "json"]).stdout;
    let second = json.lines().nth(1).unwrap();
    let pagination = r#""pagination":{"total_count":5,"page":1,"total_pages":3,"page_size":2}"#;
    assert_eq!(second, format!(r#"{{"operations":[{{"id":"c", "output":"1.0"}}],{pagination}}}"#), "as it was written");
    assert!(list(&PAGES, &["--all"]).stdout.ends_with("\n5 operations\n"));
}
