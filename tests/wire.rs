// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Requests as bytes on the wire: what is malformed or means two things is refused, and nothing that follows
//! it on its connection is taken for another request.

use std::io::{ErrorKind, Write};

use crate::harness::{Server, read_until, rest};

/// A second request, which must never be answered when the first one is unclear.
const SMUGGLED: &str = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The body of a request that succeeds.
const PICTURE: &str = "{\"prompt\": \"x\", \"steps\": 1}";

/// Everything that the server says to `request`, until it ends the connection.
fn said(server: &Server, request: &str) -> String {
    let mut stream = server.connect();
    match stream.write_all(request.as_bytes()) {
        Ok(()) => {}
        // It was refused before it was sent to its end.
        Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
        Err(error) => panic!("{error}"),
    }
    rest(&mut stream)
}

/// The status codes of the answers in `text`, in their order.
fn statuses(text: &str) -> Vec<u16> {
    let answers = text.split("HTTP/1.1 ").skip(1);
    answers.map(|answer| answer[..3].parse().unwrap()).collect()
}

/// A POST with these header lines, this body, and a request behind it.
fn post(lines: &str, body: &str) -> String {
    format!("POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\n{body}{SMUGGLED}")
}

#[tokio::test]
async fn of_two_kinds_of_length_the_chunks_count_and_the_connection_ends() {
    let server = Server::paint().await;
    let (length, chunked) = ("Content-Length: 4", "Transfer-Encoding: chunked");
    let chunks = format!("{:x}\r\n{PICTURE}\r\n0\r\n\r\n", PICTURE.len());
    for lines in [format!("{length}\r\n{chunked}"), format!("{chunked}\r\n{length}")] {
        let answer = said(&server, &post(&format!("Content-Type: application/json\r\n{lines}"), &chunks));
        assert_eq!(statuses(&answer), [200], "{lines}: {answer}");
    }
}

#[tokio::test]
async fn lengths_that_differ_or_are_no_numbers_are_refused() {
    let server = Server::paint().await;
    for lengths in
        ["4\r\nContent-Length: 5", "4, 4", "4, 5", "+4", "-4", "0x4", "4 4", "", "99999999999999999999"]
    {
        let answer = said(&server, &post(&format!("Content-Length: {lengths}"), "null"));
        assert_eq!(statuses(&answer), [400], "{lengths}: {answer}");
    }
}

#[tokio::test]
async fn codings_that_are_unknown_repeated_or_too_new_are_refused() {
    let server = Server::paint().await;
    for codings in [
        "identity",
        "chunked, identity",
        "gzip, chunked",
        "chunked, chunked",
        "xchunked",
        "\"chunked\"",
        "chunked\r\nTransfer-Encoding: chunked",
        "identity\r\nTransfer-Encoding: chunked",
        "chunked\r\nTransfer-Encoding: identity",
    ] {
        let answer = said(&server, &post(&format!("Transfer-Encoding: {codings}"), "0\r\n\r\n"));
        assert_eq!(statuses(&answer), [400], "{codings}: {answer}");
    }
    let old = post("Transfer-Encoding: chunked", "0\r\n\r\n").replacen("HTTP/1.1", "HTTP/1.0", 1);
    assert_eq!(statuses(&said(&server, &old)), [400]);
}

#[tokio::test]
async fn malformed_chunks_end_the_connection() {
    let server = Server::paint().await;
    for chunks in [
        "5\nabcde\r\n0\r\n\r\n",
        "5\r\nabcde0\r\n\r\n",
        "5\r\nabcdefgh\r\n0\r\n\r\n",
        "-5\r\nabcde\r\n0\r\n\r\n",
        "0x5\r\nabcde\r\n0\r\n\r\n",
        "10000000000000005\r\nabcde\r\n0\r\n\r\n",
        "\r\n",
        "5;a=\n5\r\nabcde\r\n0\r\n\r\n",
    ] {
        let answer = said(&server, &post("Transfer-Encoding: chunked", chunks));
        assert_eq!(statuses(&answer), [400], "{chunks}: {answer}");
    }
}

#[tokio::test]
async fn malformed_heads_are_refused() {
    let server = Server::paint().await;
    let line = "GET /livez HTTP/1.1\r\n";
    for head in [
        // A folded line, a name with a space behind it, with none before it, and none at all.
        format!("{line}Host: localhost\r\n folded\r\n"),
        format!("{line}Host: localhost\r\nX: a\r\n\tfolded\r\n"),
        format!("{line}Host : localhost\r\n"),
        format!("{line}Host\t: localhost\r\n"),
        format!("{line} Host: localhost\r\n"),
        format!("{line}Host: localhost\r\n: a\r\n"),
        format!("{line}Host: localhost\r\nX\r\n"),
        // Characters that some program on the way might take for an end.
        format!("{line}Host: localhost\r\nX: a\0b\r\n"),
        format!("{line}Host: localhost\r\nX\0: a\r\n"),
        format!("{line}Host: localhost\r\nX: a\rb\r\n"),
        format!("{line}Host: localhost\r\nX: a\r\r\n"),
        // Whose request is it?
        format!("{line}Host: localhost\r\nHost: localhost\r\n"),
        format!("{line}Host: localhost\r\nHost: evil.example\r\n"),
        // Request lines.
        "GET /livez\r\nHost: localhost\r\n".into(),
        "GET  /livez HTTP/1.1\r\nHost: localhost\r\n".into(),
        "GET /livez  HTTP/1.1\r\nHost: localhost\r\n".into(),
        "GET /live z HTTP/1.1\r\nHost: localhost\r\n".into(),
        "GET /livez\0 HTTP/1.1\r\nHost: localhost\r\n".into(),
        "GET /livez HTTP/1.2\r\nHost: localhost\r\n".into(),
        "GET /livez HTTP/2.0\r\nHost: localhost\r\n".into(),
        "G\0T /livez HTTP/1.1\r\nHost: localhost\r\n".into(),
    ] {
        let answer = said(&server, &format!("{head}\r\n{SMUGGLED}"));
        assert_eq!(statuses(&answer), [400], "{head:?}: {answer}");
    }
}

/// RFC 9112, 2.2 lets a server take a lone line feed for the end of a line, and hyper does. It is the end of
/// nothing else: what a line feed ends is one request with one answer.
#[tokio::test]
async fn lone_line_feeds_end_the_lines_of_a_head() {
    let server = Server::paint().await;
    let answer = said(&server, "GET /livez HTTP/1.1\nHost: localhost\nConnection: close\n\n");
    assert_eq!(statuses(&answer), [200], "{answer}");
}

#[tokio::test]
async fn http_2_is_not_spoken() {
    let server = Server::paint().await;
    assert_eq!(said(&server, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"), "");
    // A client that offers to change to it is answered in HTTP/1.1.
    let upgrade =
        "Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n";
    let answer = said(&server, &format!("GET /livez HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n"));
    assert_eq!(statuses(&answer), [200], "{answer}");
}

#[tokio::test]
async fn heads_have_at_most_100_fields_and_64_kib() {
    let server = Server::paint().await;
    let ask = |lines: &str| {
        let request = format!("GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n");
        statuses(&said(&server, &request))
    };
    assert_eq!(ask(&"X: a\r\n".repeat(98)), [200]);
    assert_eq!(ask(&"X: a\r\n".repeat(99)), [431]);
    assert_eq!(ask(&"X: a\r\n".repeat(200)), [431]);
    let long = |bytes: usize| ask(&format!("X: {}\r\n", "a".repeat(bytes)));
    assert_eq!(long(65_000), [200]);
    // The answer may be lost when the client is still sending.
    assert!([vec![431], vec![]].contains(&long(66_000)));
    assert!([vec![431], vec![]].contains(&long(1_000_000)));
}

#[tokio::test]
async fn addresses_have_at_most_8_kib() {
    let server = Server::paint().await;
    let ask = |bytes: usize| {
        let path = format!("/livez?{}", "a".repeat(bytes - "/livez?".len()));
        statuses(&said(
            &server,
            &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        ))
    };
    assert_eq!(ask(8192), [200]);
    assert_eq!(ask(8193), [414]);
    assert_eq!(ask(65_000), [414]);
    assert!([vec![431], vec![]].contains(&ask(1_000_000)));
}

#[tokio::test]
async fn requests_that_are_sent_ahead_are_answered_in_their_order() {
    let server = Server::paint().await;
    let get = |path: &str, line: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{line}\r\n");
    let picture = format!(
        "POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{PICTURE}",
        PICTURE.len()
    );
    let asked = [
        picture,
        get("/livez", ""),
        get("/nothing", ""),
        get("/static/alice.css", ""),
        get("/livez", "Host: localhost\r\n"),
        get("/livez", ""),
    ];
    // The fifth is refused, and so nothing behind it is believed.
    let answer = said(&server, &asked.concat());
    assert_eq!(statuses(&answer), [200, 200, 404, 200, 400], "{answer}");
}

#[tokio::test]
async fn a_client_that_asks_first_sends_its_body_only_when_it_is_wanted() {
    let server = Server::paint().await;
    let head = format!(
        "POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\nConnection: close\r\n",
        PICTURE.len()
    );
    let mut wanted = server.connect();
    write!(wanted, "{head}\r\n").unwrap();
    assert_eq!(read_until(&mut wanted, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    write!(wanted, "{PICTURE}").unwrap();
    let answer = rest(&mut wanted);
    assert_eq!(statuses(&answer), [200], "{answer}");

    let refused = said(&server, &format!("{head}Sec-Fetch-Site: cross-site\r\n\r\n"));
    assert_eq!(statuses(&refused), [403], "{refused}");
}
