// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Jobs whose daemon is killed: finished or honestly failed by the next one, and none of them twice.

use super::*;

/// The names of the files in the directory of pictures.
fn files(server: &Server) -> BTreeSet<String> {
    let entries = std::fs::read_dir(server.directory.path().join("images")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The file names of a job's pictures.
fn pictures(job: &Value) -> BTreeSet<String> {
    let images = job["images"].as_array().unwrap().iter();
    let name = |image: &Value| image["url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    images.map(name).collect()
}

#[tokio::test]
async fn what_was_accepted_before_a_kill_is_finished_once_after_it() {
    let server = slow(EARLY, ONE, 20, "");
    let mut asked = detached(15);
    asked["n"] = json!(2);
    let running = id(&request(&server, IMAGES, &asked).send().await.unwrap());
    let waiting = id(&request(&server, IMAGES, &detached(5)).send().await.unwrap());
    while job(&server, &running).await["step"].as_u64().unwrap() < 3 {
        tokio::task::yield_now().await;
    }
    let server = Server::start(server.kill(), &[]);
    let (first, second) = (ended(&server, &running).await, ended(&server, &waiting).await);
    for (job, n) in [(&first, 2), (&second, 1)] {
        assert_eq!((job["status"].as_str(), pictures(job).len()), (Some("done"), n), "{job}");
    }
    let all: BTreeSet<_> = pictures(&first).union(&pictures(&second)).cloned().collect();
    assert_eq!((all.len(), &all), (3, &files(&server)), "each picture has its file, each file its picture");
    assert_eq!(jobs(&server).await.len(), 2);
    let picture = server.client.get(first["images"][1]["url"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(picture.status(), 200);
    let again = server
        .post_json(
            IMAGES,
            &json!({"prompt": "a red apple", "seed": 8, "steps": 15,
                                                 "guidance_scale": 1.0}),
        )
        .await;
    let file = BASE64_STANDARD.encode(picture.bytes().await.unwrap());
    assert_eq!(again["data"][0]["b64_json"], file, "it is the picture that it would have been");
}

#[tokio::test]
async fn a_job_that_cannot_be_taken_up_again_is_failed_with_the_reason() {
    let server = slow(EARLY, ONE, 50, &fixtures());
    let mut asked = detached(100);
    asked["model"] = json!("sdxl");
    let lost = id(&request(&server, IMAGES, &asked).send().await.unwrap());
    let directory = server.kill();
    let config = directory.path().join("config.yaml");
    let without = std::fs::read_to_string(&config).unwrap().replace(&fixtures(), "");
    std::fs::write(&config, without).unwrap();
    let server = Server::start(directory, &[]);
    let failed = job(&server, &lost).await;
    assert_eq!(
        (failed["status"].as_str(), failed["error"]["code"].as_str()),
        (Some("failed"), Some("model_not_found"))
    );
    assert!(failed["error"]["message"].as_str().unwrap().contains("sdxl"), "{failed}");
    let events = Events::follow(&server, &lost, "").await.rest().await;
    assert_eq!(events, [("failed".to_owned(), failed)]);
    assert_eq!(files(&server), BTreeSet::new());
}

/// Waits until it is on the disk that the job runs.
async fn begun(server: &Server, id: &str) {
    let database = rusqlite::Connection::open(server.directory.path().join("data/alice.db")).unwrap();
    let runs =
        || database.query_row("SELECT begun FROM jobs WHERE id = ?1", [id], |row| row.get::<_, bool>(0));
    while !runs().unwrap() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_job_over_which_alone_the_daemon_dies_three_times_is_given_up() {
    let mut server = slow(EARLY, "max_concurrent: 2", 60_000, "");
    let fatal = id(&request(&server, IMAGES, &detached(5)).send().await.unwrap());
    let beside = id(&request(&server, IMAGES, &detached(5)).send().await.unwrap());
    begun(&server, &fatal).await;
    begun(&server, &beside).await;
    // Of two nobody knows which it was: from here on they run apart, the first one first.
    server = Server::start(server.kill(), &[]);
    for _ in 0..3 {
        begun(&server, &fatal).await;
        assert_eq!(job(&server, &beside).await["status"], "queued");
        server = Server::start(server.kill(), &[]);
    }
    let failed = job(&server, &fatal).await;
    assert_eq!(failed["error"]["code"], "interrupted", "{failed}");
    assert!(failed["error"]["message"].as_str().unwrap().contains("went down 3 times"), "{failed}");
    begun(&server, &beside).await;
    assert_eq!(job(&server, &beside).await["status"], "running", "whoever stood beside it is not to blame");
}

#[tokio::test]
async fn a_repetition_after_a_kill_joins_the_job_that_it_repeats_also_one_that_is_done() {
    let server = slow(EARLY, ONE, 20, "");
    let ask = async |server: &Server, steps, tries| {
        let request = request(server, IMAGES, &body(steps)).header("x-stainless-retry-count", tries);
        let answer = request.send().await.unwrap();
        (id(&answer), answer)
    };
    let (done, answer) = ask(&server, 2, "0").await;
    let first = answer.json::<Value>().await.unwrap();
    let (running, _answer) = ask(&server, 15, "0").await;
    while job(&server, &running).await["step"].as_u64().unwrap_or(0) < 3 {
        tokio::task::yield_now().await;
    }
    let server = Server::start(server.kill(), &[]);
    let (same, answer) = ask(&server, 15, "1").await;
    assert_eq!(same, running);
    assert!(answer.json::<Value>().await.unwrap()["data"][0]["b64_json"].is_string());
    let (same, answer) = ask(&server, 2, "1").await;
    assert_eq!(same, done);
    assert_eq!(answer.json::<Value>().await.unwrap()["data"], first["data"]);
    assert_eq!(jobs(&server).await.len(), 2, "of which there are no more");
    assert_ne!(ask(&server, 2, "0").await.0, done, "what is no repetition is a job of its own");
}

#[tokio::test]
async fn a_picture_that_is_being_made_larger_is_made_so_after_a_kill() {
    let server = slow(EARLY, ONE, 20, &fixtures());
    let blocking = id(&request(&server, IMAGES, &detached(40)).send().await.unwrap());
    let image = BASE64_STANDARD.encode(crate::edits::picture(30, 20));
    let asked = json!({"image": image, "upscaler": "old-x4", "scale": 3, "detach": true});
    let larger = id(&request(&server, "/v1/images/upscale", &asked).send().await.unwrap());
    assert_eq!(job(&server, &larger).await["status"], "queued");
    begun(&server, &blocking).await;
    let server = Server::start(server.kill(), &[]);
    let job = ended(&server, &larger).await;
    assert_eq!((job["status"].as_str(), job["task"].as_str()), (Some("done"), Some("upscale")), "{job}");
    let answer = server.client.get(job["images"][0]["url"].as_str().unwrap()).send().await.unwrap();
    let file = answer.bytes().await.unwrap();
    let picture = image::load_from_memory(&file).unwrap();
    assert_eq!((picture.width(), picture.height()), (90, 60));
}
