// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What of the gallery is looked at: it stands in the address, so that it can be kept and shared.

use serde::Deserialize;
use url::form_urlencoded::Serializer;

use crate::auth::{Actor, Who};

/// Whose pictures are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shelf {
    Mine,
    Public,
    Everyone,
}

/// The shelves: what the address calls them, and what the page does.
const SHELVES: &[(Shelf, &str, &str)] = &[
    (Shelf::Mine, "mine", "Mine"),
    (Shelf::Public, "public", "Public"),
    (Shelf::Everyone, "all", "Everyone's"),
];

/// What the address holds. What it leaves open is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Filter {
    scope: String,
    pub(super) q: String,
    pub(super) tag: String,
    pub(super) model: String,
    pub(super) privacy: String,
    favourites: String,
    pub(super) sort: String,
    page: String,
}

/// A way to the gallery, as a link.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) label: String,
    pub(super) path: String,
    pub(super) here: bool,
}

impl Filter {
    /// All pictures with a tag.
    pub(super) fn tagged(tag: &str) -> Self {
        Self { tag: tag.to_owned(), ..Self::default() }
    }

    /// All pictures, on a page.
    #[cfg(test)]
    pub(super) fn on_page(page: &str) -> Self {
        Self { page: page.to_owned(), ..Self::default() }
    }

    /// The shelf that `actor` looks at: what the address asks for, if that is his.
    pub(super) fn shelf(&self, actor: &Actor) -> Shelf {
        let asked = SHELVES.iter().find(|(_, word, _)| *word == self.scope).map(|(shelf, ..)| *shelf);
        let shelves = shelves(actor);
        asked.filter(|asked| shelves.contains(asked)).unwrap_or(shelves[0])
    }

    /// Whether only favourites are wanted.
    pub(super) fn favourites(&self) -> bool {
        !self.favourites.is_empty()
    }

    /// The page, from 1.
    pub(super) fn page(&self) -> u64 {
        self.page.parse().ok().filter(|page| *page > 0).unwrap_or(1)
    }

    /// The address of this at `path`, on a page.
    pub(super) fn at(&self, path: &str, page: u64) -> String {
        let page = if page > 1 { page.to_string() } else { String::new() };
        let mut query = Serializer::new(String::new());
        let fields = [
            ("scope", &self.scope),
            ("q", &self.q),
            ("tag", &self.tag),
            ("model", &self.model),
            ("privacy", &self.privacy),
            ("favourites", &self.favourites),
            ("sort", &self.sort),
            ("page", &page),
        ];
        query.extend_pairs(fields.into_iter().filter(|(_, value)| !value.is_empty()));
        let query = query.finish();
        if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
    }

    /// The word for the shelf, if the address holds one.
    pub(super) fn scope(&self) -> Option<String> {
        Some(self.scope.clone()).filter(|scope| !scope.is_empty())
    }

    /// What is filtered by, each with the way to the gallery without it.
    pub(super) fn chips(&self) -> Vec<Way> {
        let private = if self.privacy == "public" { "Public" } else { "Private" };
        let chips = [
            (self.q.trim(), format!("“{}”", self.q.trim()), Self { q: String::new(), ..self.clone() }),
            (&self.tag, format!("Tag {}", self.tag), Self { tag: String::new(), ..self.clone() }),
            (&self.model, format!("Model {}", self.model), Self { model: String::new(), ..self.clone() }),
            (&self.privacy, private.to_owned(), Self { privacy: String::new(), ..self.clone() }),
            (&self.favourites, "Favourites".to_owned(), Self { favourites: String::new(), ..self.clone() }),
        ];
        let way = |(_, label, without): (&str, String, Self)| {
            let path = without.at("/gallery", 1);
            Way { label, path, here: false }
        };
        chips.into_iter().filter(|(value, ..)| !value.is_empty()).map(way).collect()
    }

    /// The same shelf in the same order, with nothing filtered out.
    pub(super) fn cleared(&self) -> Self {
        Self { scope: self.scope.clone(), sort: self.sort.clone(), ..Self::default() }
    }

    /// The ways to all shelves that `actor` has, and to the trash; `here` is the one that is open, `None` in the trash.
    pub(super) fn shelves(&self, actor: &Actor, here: Option<Shelf>) -> Vec<Way> {
        let shelves = shelves(actor);
        let way = |(shelf, word, label): &(Shelf, &str, &str)| {
            let scope = if *shelf == shelves[0] { String::new() } else { (*word).to_owned() };
            let path = Self { scope, ..self.clone() }.at("/gallery", 1);
            // What was made without an account is everyone's who has none.
            let label = if *shelf == Shelf::Mine && actor.account().is_none() { "Shared" } else { label };
            Way { label: label.to_owned(), path, here: here == Some(*shelf) }
        };
        let mut ways: Vec<_> =
            SHELVES.iter().filter(|(shelf, ..)| shelves.contains(shelf)).map(way).collect();
        if !matches!(actor.who, Who::Nobody) {
            let label = "Trash".to_owned();
            ways.push(Way { label, path: "/gallery/trash".to_owned(), here: here.is_none() });
        }
        ways
    }
}

/// The shelves that somebody has; the first is where he begins.
fn shelves(actor: &Actor) -> &'static [Shelf] {
    match actor.who {
        Who::Nobody => &[Shelf::Public],
        _ if actor.is_admin() => &[Shelf::Mine, Shelf::Public, Shelf::Everyone],
        Who::Anonymous | Who::Known(_) => &[Shelf::Mine, Shelf::Public],
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::auth::{Caller, Proof, Role};

    fn actor(role: Option<Role>) -> Actor {
        let proof = Proof::Session { id: "x".into(), key: None };
        let who = role
            .map_or(Who::Nobody, |role| Who::Known(Caller { account: 1, name: "Ada".into(), role, proof }));
        Actor { who, address: Ipv4Addr::LOCALHOST.into() }
    }

    #[test]
    fn an_address_holds_what_is_not_left_open_and_nothing_that_breaks_it() {
        let filter = Filter { q: "a fox & \"<b>".into(), tag: "über".into(), ..Filter::default() };
        let address = filter.at("/gallery", 3);
        assert_eq!(address, "/gallery?q=a+fox+%26+%22%3Cb%3E&tag=%C3%BCber&page=3");
        let query: axum::extract::Query<Filter> =
            axum::extract::Query::try_from_uri(&address.parse().unwrap()).unwrap();
        assert_eq!(query.0, Filter { page: "3".into(), ..filter });
        assert_eq!(Filter::default().at("/gallery", 1), "/gallery");
    }

    #[test]
    fn nobody_opens_a_shelf_that_is_not_his() {
        let filter = Filter { scope: "all".into(), ..Filter::default() };
        assert_eq!(filter.shelf(&actor(Some(Role::Admin))), Shelf::Everyone);
        assert_eq!(filter.shelf(&actor(Some(Role::User))), Shelf::Mine);
        assert_eq!(filter.shelf(&actor(None)), Shelf::Public);
        let labels = |role| -> Vec<_> {
            Filter::default().shelves(&actor(role), None).into_iter().map(|way| way.label).collect()
        };
        assert_eq!(labels(Some(Role::Admin)), ["Mine", "Public", "Everyone's", "Trash"]);
        assert_eq!(labels(Some(Role::User)), ["Mine", "Public", "Trash"]);
        assert_eq!(labels(None), ["Public"]);
    }

    #[test]
    fn each_filter_in_use_can_be_taken_away_alone() {
        let filter =
            Filter { q: "fox".into(), favourites: "on".into(), sort: "oldest".into(), ..Filter::default() };
        let ways: Vec<_> = filter.chips().into_iter().map(|way| (way.label, way.path)).collect();
        let wanted =
            [("“fox”", "/gallery?favourites=on&sort=oldest"), ("Favourites", "/gallery?q=fox&sort=oldest")];
        assert_eq!(ways, wanted.map(|(label, path)| (label.to_owned(), path.to_owned())));
        assert_eq!(filter.cleared().at("/gallery", 1), "/gallery?sort=oldest");
    }
}
