// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/gallery`: finished pictures in rows, what is looked for among them, and what is done to many at once.

use askama::Template;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use axum::response::Response;

use super::{Frame, Place, Visit};
use crate::auth::Who;
use crate::config::Config;
use crate::error::Result;
use crate::pictures::{self, Privacy, Query as Wanted, Scope, Sort, Usage, Viewer};

mod act;
mod address;
mod again;
mod done;
mod export;
mod picture;
mod tile;
mod trash;
pub(super) mod words;

pub use act::act;
pub(super) use again::settings_of;
pub use again::{upscale, vary};
pub use export::{export, export_selected};
pub use picture::show as picture;
pub use trash::{empty as empty_trash, show as trash};
pub(in crate::pages) use words::shows;

use address::{Filter, Shelf, Way};
use done::{Done, Notice};
use tile::{Pager, Tile};

/// How long pictures may be public, as lists offer it.
const HOURS: &[(&str, &str)] = &[
    ("24", "for 24 hours"),
    ("48", "for 48 hours"),
    ("72", "for 3 days"),
    ("168", "for a week"),
    (act::UNTIL_WITHDRAWN, "until I make it private"),
];
/// The orders, the usual one first.
const SORTS: &[(Sort, &str, &str)] = &[
    (Sort::Newest, "", "Newest first"),
    (Sort::Oldest, "oldest", "Oldest first"),
    (Sort::Largest, "largest", "Largest first"),
];
/// Who may see pictures, as the list says it.
const PRIVACIES: &[(Option<Privacy>, &str, &str)] = &[
    (None, "", "all"),
    (Some(Privacy::Private), "private", "only me"),
    (Some(Privacy::Public), "public", "everyone"),
];

/// The page.
#[derive(Template)]
#[template(path = "gallery.html")]
struct Page {
    frame: Frame,
    /// How many pictures there are.
    count: String,
    /// How much room all pictures of the account take.
    used: Option<String>,
    scopes: Vec<Way>,
    notice: Option<Notice>,
    scope_kept: Option<String>,
    filter: Filter,
    sorts: Vec<Choice>,
    tags: Vec<Choice>,
    models: Vec<Choice>,
    privacies: Vec<Choice>,
    /// Whether there is something that the visitor may do to these pictures.
    may_choose: bool,
    chips: Vec<Way>,
    clear: String,
    nothing: &'static str,
    tiles: Vec<Tile>,
    pager: Option<Pager>,
    /// The address of this page, for forms to lead back to.
    here: String,
    hours: Vec<Choice>,
    known_tags: Vec<String>,
    /// Where all pictures that fit are in one file.
    export: Option<String>,
}

/// One option of a list.
#[derive(Debug)]
struct Choice {
    value: String,
    label: String,
    selected: bool,
}

/// What the database says about a page.
struct Found {
    page: pictures::Page,
    tags: Vec<(String, u64)>,
    models: Vec<String>,
    /// What the account has on the disk, and may have.
    usage: Option<(Usage, Option<u64>)>,
}

/// `GET /gallery`.
pub async fn show(visit: Visit, filter: Address<Filter>, done: Address<Done>) -> Response {
    let (filter, done) = (held(filter), held(done));
    let shelf = filter.shelf(&visit.actor);
    let found = find(&visit, &filter, shelf).await;
    visit.answer(
        found.map(|found| super::page(StatusCode::OK, &Page::of(&visit, filter, shelf, &done, found))),
    )
}

async fn find(visit: &Visit, filter: &Filter, shelf: Shelf) -> Result<Found> {
    let viewer = viewer(visit);
    let (wanted, config) = (wanted(filter, shelf, &visit.app.config), visit.app.config.clone());
    let work = move |connection: &rusqlite::Connection| {
        let account = viewer.account();
        let usage = match account {
            None => None,
            Some(_) => {
                Some((pictures::usage(connection, account)?, pictures::quota(connection, &config, account)?))
            }
        };
        Ok(Found {
            page: pictures::page(connection, &viewer, &wanted)?,
            tags: pictures::tags(connection, &viewer)?,
            models: pictures::models(connection, &viewer)?,
            usage,
        })
    };
    visit.app.database.read(work).await
}

impl Page {
    fn of(visit: &Visit, filter: Filter, shelf: Shelf, done: &Done, found: Found) -> Self {
        let viewer = viewer(visit);
        let chips = filter.chips();
        let total = found.page.total;
        let here = filter.at("/gallery", filter.page());
        let tiles = found.page.pictures.iter().enumerate();
        let known_tags = found.tags.iter().take(MOST_KNOWN).map(|(tag, _)| tag.clone()).collect();
        let may_choose = !matches!(visit.actor.who, Who::Nobody);
        Self {
            frame: visit.frame().at(Place::Gallery),
            count: words::pictures(total),
            used: found
                .usage
                .filter(|_| shelf == Shelf::Mine)
                .map(|(usage, quota)| words::used(usage.bytes, quota)),
            scopes: filter.shelves(&visit.actor, Some(shelf)),
            notice: done.notice(&here),
            scope_kept: filter.scope(),
            sorts: SORTS.iter().map(|(_, word, label)| choice(word, (*label).into(), &filter.sort)).collect(),
            tags: tags(&found.tags, &filter.tag),
            models: models(&found.models, &filter.model),
            privacies: PRIVACIES
                .iter()
                .map(|(_, word, label)| choice(word, (*label).into(), &filter.privacy))
                .collect(),
            may_choose,
            clear: filter.cleared().at("/gallery", 1),
            nothing: if chips.is_empty() { nothing(shelf) } else { "No picture fits what you look for." },
            chips,
            tiles: tiles.map(|(place, picture)| Tile::new(&viewer, &filter, shelf, place, picture)).collect(),
            pager: Pager::new(&filter, "/gallery", total, page_size(&visit.app.config)),
            here,
            hours: hours(&visit.app.config),
            known_tags,
            export: (may_choose && total > 1).then(|| filter.at("/gallery/export", 1)),
            filter,
        }
    }
}

/// What an empty shelf says.
fn nothing(shelf: Shelf) -> &'static str {
    match shelf {
        Shelf::Mine => "Your pictures come here as soon as you make some.",
        Shelf::Public => "Nobody has made a picture public yet.",
        Shelf::Everyone => "There are no pictures yet.",
    }
}

/// Most tags that are offered while one is typed.
const MOST_KNOWN: usize = 200;

/// Whoever looks, now.
fn viewer(visit: &Visit) -> Viewer {
    Viewer::of(&visit.actor, &visit.app.clock)
}

/// So many pictures are on a page; 0 in the configuration is all.
fn page_size(config: &Config) -> u32 {
    match config.storage.gallery_page_size {
        0 => u32::MAX,
        size => size,
    }
}

/// The pictures that an address means.
fn wanted(filter: &Filter, shelf: Shelf, config: &Config) -> Wanted {
    let size = page_size(config);
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let sort = SORTS.iter().find(|(_, word, _)| *word == filter.sort);
    let privacy = PRIVACIES.iter().find(|(_, word, _)| *word == filter.privacy);
    Wanted {
        scope: match shelf {
            Shelf::Mine => Scope::Mine,
            Shelf::Public => Scope::Public,
            Shelf::Everyone => Scope::All,
        },
        search: filter.q.clone(),
        tags: given(&filter.tag).into_iter().collect(),
        model: given(&filter.model),
        favourite: filter.favourites(),
        privacy: privacy.and_then(|(privacy, ..)| *privacy),
        sort: sort.map(|(sort, ..)| *sort).unwrap_or_default(),
        limit: Some(size),
        offset: (filter.page() - 1).saturating_mul(size.into()),
    }
}

fn choice(value: &str, label: String, chosen: &str) -> Choice {
    Choice { value: value.to_owned(), label, selected: value == chosen }
}

/// The tags to choose from; the one that is chosen also when no picture has it any more.
fn tags(known: &[(String, u64)], chosen: &str) -> Vec<Choice> {
    let mut tags = vec![choice("", "any".into(), chosen)];
    let named = |(tag, count): &(String, u64)| choice(tag, format!("{tag} ({count})"), chosen);
    tags.extend(known.iter().take(MOST_KNOWN).map(named));
    with_chosen(tags, chosen)
}

/// The models to choose from, as [`tags`].
fn models(known: &[String], chosen: &str) -> Vec<Choice> {
    let mut models = vec![choice("", "any".into(), chosen)];
    models.extend(known.iter().map(|model| choice(model, bare(model).to_owned(), chosen)));
    with_chosen(models, chosen)
}

fn with_chosen(mut choices: Vec<Choice>, chosen: &str) -> Vec<Choice> {
    if !choices.iter().any(|choice| choice.selected) {
        choices.push(choice(chosen, chosen.to_owned(), chosen));
    }
    choices
}

/// A model's name without what says that it is one.
fn bare(model: &str) -> &str {
    model.strip_prefix("sd/").unwrap_or(model)
}

/// How long pictures may be public; the configured time is chosen.
fn hours(config: &Config) -> Vec<Choice> {
    let usual = config.storage.public_image_expiration_hours.to_string();
    let choices =
        HOURS.iter().map(|(word, label)| choice(word, (*label).to_owned(), &usual)).collect::<Vec<_>>();
    if choices.iter().any(|choice| choice.selected) {
        return choices;
    }
    let own = choice(&usual, format!("for {usual} hours"), &usual);
    std::iter::once(own).chain(choices).collect()
}

/// What the address holds.
type Address<T> = std::result::Result<Query<T>, QueryRejection>;

/// What an address holds; one that was typed wrongly holds nothing.
fn held<T: Default>(address: Address<T>) -> T {
    address.map(|Query(held)| held).unwrap_or_default()
}
