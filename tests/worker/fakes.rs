// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Workers that are none: shell scripts on the other end of the socket, which is their standard input.

use super::*;

/// What becomes of a start with this script as the program, where silence is given a second.
fn outcome(text: &str) -> Error {
    let directory = tempfile::tempdir().unwrap();
    let program = script(directory.path(), text);
    Worker::start(&program, &plugin("paint"), &json!({}), Patience::new(Duration::from_secs(1))).unwrap_err()
}

/// A shell's words for a frame with this text.
fn frame(text: &str) -> String {
    let length: String =
        (text.len() as u32).to_le_bytes().iter().map(|byte| format!("\\{byte:03o}")).collect();
    format!("printf '{length}{}' >&0", text.replace('\\', "\\\\"))
}

#[test]
fn garbage_ends_the_process_with_a_reason() {
    for (text, reason) in [
        ("printf '\\377\\377\\377\\377' >&0; sleep 100".to_owned(), "announces 4294967295 bytes"),
        (frame("no json"), "cannot be understood while it opened its library"),
        (frame(r#"{"done":{"number":1,"answer":"applause"}}"#), "unknown variant `applause`"),
        (frame(r#"{"done":{"number":1,"answer":"nothing"}}"#), "gave an answer to another question"),
        (frame(r#"{"done":{"number":7,"answer":"nothing"}}"#), "an answer to another call"),
        ("head -c 100000 /dev/urandom >&0; sleep 100".to_owned(), "cannot be understood"),
        // Half a frame, and then nothing.
        ("printf '\\020\\000\\000\\000{' >&0; sleep 100".to_owned(), "gave no sign of life"),
        ("exec 0<&-; sleep 100".to_owned(), "hung up while it opened its library, and was ended"),
        ("exit 7".to_owned(), "ended by itself with exit code 7"),
        ("kill -TERM $$".to_owned(), "was ended by signal 15"),
        ("sleep 100".to_owned(), "gave no sign of life for 1 s while it opened its library"),
    ] {
        let error = outcome(&text);
        assert_eq!(error.kind, ErrorKind::DeviceLost, "{text}: {error}");
        assert!(error.message.contains(reason), "{text}: {error}");
    }
}

#[test]
fn what_a_worker_has_started_ends_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let note = directory.path().join("helper");
    outcome(&format!("sleep 1000 & echo $! > {}; wait", note.display()));
    let helper = std::fs::read_to_string(note).unwrap().trim().parse().unwrap();
    // Whoever takes in orphans may take a moment to bury them.
    while exists(helper) && !is_zombie(helper) {
        std::thread::yield_now();
    }
}

#[test]
fn the_environment_is_what_libraries_need_and_nothing_of_the_servers() {
    let directory = tempfile::tempdir().unwrap();
    let note = directory.path().join("note");
    outcome(&format!("env > {}", note.display()));
    let variables = std::fs::read_to_string(note).unwrap();
    // The test program's own environment has these, as the daemon's would have its secrets.
    assert!(std::env::vars().any(|(name, _)| name.starts_with("CARGO")), "run by cargo");
    assert!(!variables.contains("CARGO"), "{variables}");
    for name in ["PATH=", "RAYON_NUM_THREADS="] {
        assert!(variables.lines().any(|line| line.starts_with(name)), "{variables}");
    }
}

pub(super) fn is_zombie(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/stat"));
    status.is_ok_and(|status| status.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}
