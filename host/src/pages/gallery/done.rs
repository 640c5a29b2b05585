// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What was just done to pictures, as the page that comes next says it. It stands in that page's address.

use axum::http::Uri;
use serde::Deserialize;
use url::form_urlencoded::{Serializer, parse};

use super::words;

/// Most pictures whose removal is undone by one click; the trash has all of them.
const MOST_UNDONE: usize = 50;
/// Where a form of the gallery may lead back to.
const BACK: &[&str] = &["/gallery", "/jobs/"];
/// What stands in an address for a while.
const OURS: &[&str] = &["done", "count", "moved"];

/// What the address says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Done {
    done: String,
    count: u64,
    /// The pictures that were moved to the trash, with dots between them.
    moved: String,
}

/// What the page says.
#[derive(Debug)]
pub(super) struct Notice {
    pub(super) said: String,
    /// The pictures that can be brought back.
    pub(super) undo: Vec<String>,
    /// Where that leads.
    pub(super) back: String,
    pub(super) leads_to_trash: bool,
}

impl Done {
    /// The notice on the page at `here`.
    pub(super) fn notice(&self, here: &str) -> Option<Notice> {
        let pictures = words::pictures(self.count);
        let (be, they) = if self.count == 1 { ("is", "it") } else { ("are", "they") };
        let said = match self.done.as_str() {
            "favourite" => format!("{pictures} {be} among your favourites now."),
            "unfavourite" => format!("{pictures} {be} no favourite any more."),
            "tag" => format!("{pictures} got the tags."),
            "untag" => format!("{pictures} lost the tags."),
            "publish" => {
                format!("{pictures} {be} public now: everyone who reaches this server may see them.")
            }
            "withdraw" => format!("{pictures} {be} private now."),
            "trash" => format!("Moved {pictures} to the trash."),
            "restore" => format!("Brought back {pictures}: {they} {be} in the gallery again."),
            "delete" => format!("Deleted {pictures} for good."),
            "none" => "No picture was selected. Tick the boxes on the pictures first.".to_owned(),
            _ => return None,
        };
        let said = if self.count == 1 { said.replace("see them.", "see it.") } else { said };
        let undo: Vec<_> = self.moved.split('.').filter(|id| is_id(id)).map(str::to_owned).collect();
        let moved = self.done == "trash";
        Some(Notice {
            said,
            leads_to_trash: moved && undo.is_empty(),
            undo: if moved { undo } else { Vec::new() },
            back: here.to_owned(),
        })
    }
}

/// The address behind a form: where it asked to lead to, with what was `done` to the pictures in it.
pub(super) fn after(back: &str, done: &str, ids: &[String]) -> String {
    let mut query = Serializer::new(String::new());
    let (path, old) = way_back(back);
    query.extend_pairs(parse(old.as_bytes()).filter(|(name, _)| !OURS.contains(&name.as_ref())));
    if !done.is_empty() {
        query.append_pair("done", done).append_pair("count", &ids.len().to_string());
        if done == "trash" && ids.len() <= MOST_UNDONE {
            query.append_pair("moved", &ids.join("."));
        }
    }
    let query = query.finish();
    if query.is_empty() { path } else { format!("{path}?{query}") }
}

/// Path and query of a page of ours: never one elsewhere, whatever a form says.
fn way_back(back: &str) -> (String, String) {
    let known = |uri: &Uri| {
        let ours = BACK.iter().any(|path| {
            uri.path() == *path || uri.path().starts_with(&format!("{}/", path.trim_end_matches('/')))
        });
        uri.host().is_none() && ours
    };
    let uri = back.parse::<Uri>().ok().filter(known);
    uri.map_or(("/gallery".into(), String::new()), |uri| {
        (uri.path().to_owned(), uri.query().unwrap_or_default().to_owned())
    })
}

/// Whether this may name a picture.
fn is_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(done: &str, count: u64) -> String {
        Done { done: done.into(), count, moved: String::new() }.notice("/gallery").unwrap().said
    }

    #[test]
    fn what_was_done_is_a_sentence() {
        assert_eq!(said("trash", 3), "Moved 3 pictures to the trash.");
        assert_eq!(said("restore", 1), "Brought back 1 picture: it is in the gallery again.");
        assert_eq!(
            said("publish", 1),
            "1 picture is public now: everyone who reaches this server may see it."
        );
        assert!(Done { done: "<b>".into(), ..Done::default() }.notice("/gallery").is_none());
    }

    #[test]
    fn what_was_moved_to_the_trash_can_be_brought_back_unless_it_is_very_much() {
        let ids = |count| (0..count).map(|id| format!("{id:032x}")).collect::<Vec<_>>();
        let address = after("/gallery?q=a+fox&done=tag&count=1", "trash", &ids(2));
        assert!(address.starts_with("/gallery?q=a+fox&done=trash&count=2&moved="), "{address}");
        let query = axum::extract::Query::<Done>::try_from_uri(&address.parse().unwrap()).unwrap();
        let notice = query.0.notice("/gallery?q=a+fox").unwrap();
        assert_eq!((notice.undo, notice.leads_to_trash), (ids(2), false));
        assert!(!after("/gallery", "trash", &ids(MOST_UNDONE + 1)).contains("moved"));
        let much = Done { done: "trash".into(), count: 201, moved: String::new() };
        assert!(much.notice("/gallery").unwrap().leads_to_trash);
        let hostile = Done { done: "trash".into(), count: 1, moved: "\"><script>.abc".into() };
        assert_eq!(hostile.notice("/gallery").unwrap().undo, ["abc"]);
    }

    #[test]
    fn a_form_leads_to_pages_of_pictures_only() {
        for back in [
            "https://elsewhere/gallery",
            "//elsewhere/gallery",
            "/admin",
            "/galleryx",
            "",
            "/gallery\r\nx",
            "javascript:x",
        ] {
            assert_eq!(after(back, "", &[]), "/gallery", "{back}");
        }
        for back in ["/gallery/0123?tag=a", "/jobs/0123", "/gallery/trash"] {
            assert_eq!(after(back, "", &[]), back);
        }
    }
}
