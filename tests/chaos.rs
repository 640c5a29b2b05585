// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Daemon and workers are killed at random points under load, again and again. In the end every job whose
//! acceptance a client was told of is finished or honestly failed, none is lost, none is there twice, and no file,
//! no input picture and no process is left over.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::Server;
use crate::inputs::{names, plain};

const CONFIG: &str = "
server: { port: 0 }
generation: { backend: paint, backend_options: { paint: { step_ms: 3, row_ms: 1 } } }
engine: { max_rows: 8 }
limits: { waiting: 48 }
";

/// Numbers that look random and come again with the same seed.
struct Dice(u64);

impl Dice {
    /// A number below `sides`. Source: Marsaglia 2003, "Xorshift RNGs".
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// The seed and the number of kills, which a longer run sets: `ALICE_CHAOS_SEED`, `ALICE_CHAOS_KILLS`.
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

/// The processes that have `parent`.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let output = Command::new("ps").args(["-o", "pid=", "--ppid", &parent.to_string()]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// What clients were told: ids of accepted jobs.
type Ledger = Arc<Mutex<BTreeSet<String>>>;

/// Submits jobs until the server dies, and writes down which were accepted.
async fn submit_until_it_dies(base: String, client: reqwest::Client, ledger: Ledger, mut dice: Dice) {
    loop {
        let count = 1 + dice.roll(3);
        let steps = 1 + dice.roll(30);
        let (size, schedulers) = (["64x64", "128x64"], ["euler", "ddim", "euler_ancestral", "heun"]);
        let mut body = json!({
            "prompt": "chaos", "n": count, "steps": steps, "size": size[dice.roll(2) as usize],
            "scheduler": schedulers[dice.roll(4) as usize], "seed": dice.roll(1 << 32),
            "stream": true, "detach": true,
        });
        let has_picture = dice.roll(3) == 0;
        if has_picture {
            body["input_images"] = json!([BASE64_STANDARD.encode(plain(96, 64))]);
            body["strength"] = json!(1);
        }
        let answer = client.post(format!("{base}/v1/images/generations")).json(&body).send().await;
        let Ok(mut answer) = answer else { return };
        let Some(id) = answer.headers().get("x-alice-job") else {
            // Among the processes that are killed is also one that reads a picture.
            let refused = if has_picture { &[503, 400, 500][..] } else { &[503] };
            assert!(refused.contains(&answer.status().as_u16()), "only a full line is refused");
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        ledger.lock().unwrap().insert(id.to_str().unwrap().to_owned());
        // Most clients wait for their pictures, some go away at once.
        if dice.roll(4) > 0 {
            while let Ok(Some(_)) = answer.chunk().await {}
        }
    }
}

/// Kills the daemon, or one of its workers, after a random time under load. Gives the directory back.
async fn round(server: Server, ledger: &Ledger, dice: &mut Dice) -> TempDir {
    let clients: Vec<_> = (0..6)
        .map(|_| {
            let dice = Dice(dice.roll(u64::MAX - 1) + 1);
            tokio::spawn(submit_until_it_dies(
                server.base.clone(),
                server.client.clone(),
                ledger.clone(),
                dice,
            ))
        })
        .collect();
    for _ in 0..dice.roll(3) {
        tokio::time::sleep(Duration::from_millis(dice.roll(300))).await;
        for worker in children(server.process_id()) {
            kill(worker);
        }
    }
    tokio::time::sleep(Duration::from_millis(dice.roll(500))).await;
    let workers = children(server.process_id());
    let directory = server.kill();
    for client in clients {
        client.await.unwrap();
    }
    assert_gone(&workers).await;
    directory
}

fn kill(process: u32) {
    // It may have ended by itself in the meantime.
    drop(Command::new("kill").args(["-9", &process.to_string()]).output().unwrap());
}

/// Whether the workers of a daemon that was killed go by themselves.
async fn assert_gone(workers: &[u32]) {
    for worker in workers {
        let directory = format!("/proc/{worker}");
        for _ in 0..500 {
            if !Path::new(&directory).exists() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!Path::new(&directory).exists(), "the worker {worker} has outlived its daemon");
    }
}

/// Waits until no job is unfinished.
async fn settle(server: &Server) {
    loop {
        let jobs = server.get_json("/v1/jobs?limit=100").await;
        let unfinished = |job: &Value| matches!(job["status"].as_str(), Some("queued" | "running"));
        if !jobs["data"].as_array().unwrap().iter().any(unfinished) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[expect(clippy::print_stderr, reason = "whoever reads a long run wants to know why jobs failed")]
/// What is wrong with the database and the directory of pictures, and how many jobs are done and failed.
fn check(directory: &Path, ledger: &BTreeSet<String>) -> (usize, usize) {
    let database = Connection::open(directory.join("data/alice.db")).unwrap();
    let ask = |sql: &str| -> Vec<String> {
        let mut statement = database.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    assert_eq!(ask("PRAGMA integrity_check"), ["ok"]);
    assert_eq!(ask("SELECT \"table\" FROM pragma_foreign_key_check"), [""; 0]);
    let jobs: BTreeSet<_> = ask("SELECT id FROM jobs").into_iter().collect();
    let lost: Vec<_> = ledger.difference(&jobs).collect();
    assert!(lost.is_empty(), "accepted and lost: {lost:?}");
    assert_eq!(ask("SELECT id FROM jobs WHERE state IN ('accepted', 'cancelled')"), [""; 0]);
    assert_eq!(ask("SELECT id FROM jobs WHERE state = 'failed' AND error IS NULL"), [""; 0]);
    let wrong_number = "SELECT id FROM jobs WHERE state = 'done' AND json_extract(request, '$.count') \
                        <> (SELECT count(*) FROM pictures WHERE job = jobs.number)";
    assert_eq!(ask(wrong_number), [""; 0], "jobs with too few or too many pictures");
    let rows: BTreeSet<_> = ask("SELECT id || '.png' FROM pictures").into_iter().collect();
    let files = fs::read_dir(directory.join("images")).unwrap();
    let files: BTreeSet<_> = files.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(rows.symmetric_difference(&files).collect::<Vec<_>>(), [&""; 0], "rows and files differ");
    for file in &files {
        let bytes = fs::read(directory.join("images").join(file)).unwrap();
        assert!(bytes.starts_with(b"\x89PNG") && bytes.ends_with(b"IEND\xae\x42\x60\x82"), "{file} is torn");
    }
    assert_eq!(ask("SELECT name FROM inputs"), [""; 0], "inputs without a job that needs them");
    let inputs = names(&directory.join("inputs"));
    assert!(inputs.is_empty(), "files without a job that needs them: {inputs:?}");
    let reasons = ask("SELECT count(*) || ' ' || error FROM jobs WHERE state = 'failed' GROUP BY error");
    eprintln!("reasons of failures: {reasons:#?}");
    let count = |state: &str| ask(&format!("SELECT id FROM jobs WHERE state = '{state}'")).len();
    (count("done"), count("failed"))
}

#[expect(clippy::print_stderr, reason = "a run that fails tells how to repeat it")]
#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_no_accepted_job_is_lost_doubled_or_left_half_done() {
    let seed = setting("ALICE_CHAOS_SEED").unwrap_or(u64::from(std::process::id()) + 1);
    let kills = setting("ALICE_CHAOS_KILLS").unwrap_or(8);
    eprintln!("ALICE_CHAOS_SEED={seed} ALICE_CHAOS_KILLS={kills}");
    let mut dice = Dice(seed);
    let ledger = Ledger::default();
    let mut directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("config.yaml"), CONFIG).unwrap();
    for _ in 0..kills {
        directory = round(Server::start(directory, &[]), &ledger, &mut dice).await;
    }
    let server = Server::start(directory, &[]);
    settle(&server).await;
    while !names(&server.directory.path().join("inputs")).is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let workers = children(server.process_id());
    let directory = server.kill();
    assert_gone(&workers).await;
    // What was half written when this last daemon died is tidied up by the next one.
    let ledger = ledger.lock().unwrap();
    let (done, failed) = check(directory.path(), &ledger);
    eprintln!("accepted as clients know: {}; done: {done}; failed: {failed}", ledger.len());
    assert!(done > 0 && done + failed >= ledger.len());
}
