// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A list of the Python ALICE, whole and damaged.

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::auth::{Actor, Who};
use crate::clock::Clock;
use crate::pictures::{Picture, Viewer};

const NOW: Timestamp = 1_800_000_000;

/// What the Python ALICE leaves behind, beside a database with the key `ada` of the account 3.
struct Legacy {
    directory: TempDir,
    database: Database,
    gallery: Gallery,
}

impl Legacy {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("alice.db")).unwrap();
        let gallery = Gallery::open(&directory.path().join("images")).unwrap();
        database
            .write_now(|transaction| {
                transaction.execute_batch(
                    "INSERT INTO accounts (id, name, folded_name, role, created_at) VALUES (3, 'Ada', 'ada', 'user', 0);
                     INSERT INTO keys (id, account, name, hash, role, rate_limit, created_at)
                     VALUES ('key1', 3, 'Ada', x'00', 'user', 100, 0);",
                )?;
                Ok(())
            })
            .unwrap();
        Self { directory, database, gallery }
    }

    fn list(&self, text: &str) {
        fs::write(self.directory.path().join("gallery.json"), text).unwrap();
    }

    fn image(&self, name: &str) {
        fs::write(self.directory.path().join("images").join(name), "PNG").unwrap();
    }

    fn import(&self) {
        import(&self.database, &self.directory.path().join("gallery.json"), &self.gallery, NOW).unwrap();
    }

    /// All pictures, the newest first.
    fn all(&self) -> Vec<Picture> {
        let sql = format!("SELECT {} FROM pictures ORDER BY number DESC", Picture::COLUMNS);
        self.database
            .write_now(move |transaction| {
                let mut statement = transaction.prepare(&sql)?;
                let all = statement.query_map([], Picture::read)?;
                Ok(all.collect::<rusqlite::Result<Vec<_>>>()?)
            })
            .unwrap()
    }

    fn is_done(&self) -> bool {
        self.database.write_now(is_done).unwrap()
    }
}

fn entry(name: &str, owner: Option<&str>, is_public: bool, expires_at: Option<f64>) -> Value {
    json!({
        "id": name, "filename": format!("{name}.png"), "owner_api_key_id": owner, "is_public": is_public,
        "created_at": 1_700_000_000.5, "expires_at": expires_at, "prompt": "A Fox", "negative_prompt": null,
        "model": "sd/dreamshaper", "steps": 25, "guidance_scale": 7.5, "width": 512, "height": 768, "seed": 42,
        "scheduler": "euler_a", "generation_time": 1.25, "loras": ["fox"], "lora_scales": [0.5],
        "tags": ["Red", "x".repeat(60)], "future": [1],
    })
}

fn list(entries: &[Value]) -> String {
    let images: serde_json::Map<_, _> = entries
        .iter()
        .map(|entry| (entry["id"].as_str().unwrap_or("odd").to_owned(), entry.clone()))
        .collect();
    json!({ "images": images }).to_string()
}

#[test]
fn pictures_come_with_their_owners_and_all_that_was_known_of_them() {
    let legacy = Legacy::new();
    let names =
        ["000000000001", "000000000002_0", "000000000003", "000000000004", "000000000005", "000000000006"];
    names.iter().for_each(|name| legacy.image(&format!("{name}.png")));
    let end = NOW as f64;
    legacy.list(&list(&[
        entry(names[0], Some("key1"), false, None),
        entry(names[1], Some("key1"), true, Some(end + 1.0)),
        entry(names[2], Some("key1"), true, Some(end)),
        entry(names[3], Some("gone"), false, None),
        entry(names[4], None, true, None),
        entry(names[5], Some("anonymous"), false, None),
        entry("000000000007", None, true, None),
        entry("../secret", None, true, None),
        json!({"id": "x", "filename": 7}),
    ]));
    legacy.import();
    assert!(legacy.is_done());
    let all = legacy.all();
    let rights: Vec<_> =
        all.iter().rev().map(|picture| (picture.id.as_str(), picture.account, picture.public)).collect();
    assert_eq!(
        rights,
        [
            (names[0], Some(3), false),
            (names[1], Some(3), true),
            (names[2], Some(3), false),
            (names[3], Some(NOBODY), false),
            (names[4], None, true),
            (names[5], Some(NOBODY), false),
        ]
    );
    let first = all.last().unwrap();
    assert_eq!(
        (first.created_at, first.took_ms, first.owner.as_deref()),
        (1_700_000_000, Some(1250), Some("Ada"))
    );
    assert_eq!(first.tags, ["red"]);
    let details = &first.details;
    assert_eq!((details.width, details.height, details.bytes), (512, 768, 3));
    assert_eq!(
        (details.model.as_deref(), details.model_name.as_deref()),
        (Some("sd/dreamshaper"), Some("dreamshaper"))
    );
    assert_eq!((details.seed, details.loras[0].scale), (Some(42), 0.5));
    assert_eq!(all[4].public_until, Some(NOW + 1));
    let everyone = Actor { who: Who::Nobody, address: [127, 0, 0, 1].into() };
    let viewer = Viewer::of(&everyone, &Clock::standing(NOW));
    assert_eq!(all.iter().filter(|picture| picture.is_public(&viewer)).count(), 2);
    assert_eq!(legacy.gallery.find(&first.kept()).unwrap().unwrap().1, 3, "under its old name");
}

#[test]
fn a_list_is_taken_over_once() {
    let legacy = Legacy::new();
    legacy.image("000000000001.png");
    legacy.list(&list(&[entry("000000000001", Some("key1"), false, None)]));
    legacy.import();
    legacy.database.write_now(|transaction| Ok(transaction.execute("DELETE FROM pictures", [])?)).unwrap();
    legacy.import();
    assert_eq!(legacy.all(), [], "what was deleted here does not come back");
}

#[test]
fn a_list_that_is_damaged_or_without_its_pictures_is_left_for_later() {
    let legacy = Legacy::new();
    legacy.import();
    assert!(!legacy.is_done(), "there is none");
    for text in ["", "[]", "{\"images\": []}", "{\"images\": {", "{}"] {
        legacy.list(text);
        legacy.import();
        assert!(!legacy.is_done(), "{text}");
    }
    legacy.list(&list(&[entry("000000000001", Some("key1"), false, None)]));
    legacy.import();
    assert!(!legacy.is_done() && legacy.all().is_empty(), "their disk may come later");
    legacy.image("000000000001.png");
    legacy.import();
    assert!(legacy.is_done());
    assert_eq!(legacy.all().len(), 1);
}
