// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/gallery/{id}`: one picture, large, with all that is known of it and all that may be done to it.

use askama::Template;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;

use super::address::{Filter, Shelf};
use super::again::{Again, prompt};
use super::done::{Done, Notice};
use super::{Address, Choice, MOST_KNOWN, bare, held, hours, page_size, viewer, wanted, words};
use crate::api::{Id, files};
use crate::auth::Who;
use crate::error::{Error, Result};
use crate::pages::bytes::Bytes;
use crate::pages::{self, Frame, Place, Visit};
use crate::pictures::{self, Details, Mode, Neighbours, Picture, Signer, Viewer};

/// Seconds of an hour.
const HOUR: i64 = 3600;

/// The page.
#[derive(Template)]
#[template(path = "picture.html")]
struct Page {
    frame: Frame,
    title: String,
    /// The picture's address for other sites, where everybody may see it.
    shown_to_all: Option<String>,
    back: String,
    back_to: &'static str,
    /// Where it stands among those that were looked through.
    place: Option<String>,
    notice: Option<Notice>,
    id: String,
    image: String,
    shows: String,
    width: u32,
    height: u32,
    previous: Option<String>,
    next: Option<String>,
    prompt: String,
    download: String,
    /// The address of this page, for forms to lead back to.
    here: String,
    again: Option<Again>,
    owned: Option<Owned>,
    tags: Vec<Tag>,
    changes: Option<Changes>,
    parameters: Vec<Line>,
}

/// What its owner does.
struct Owned {
    favourite: bool,
    known_tags: Vec<String>,
}

/// What its owner and administrators do.
struct Changes {
    privacy: String,
    public: bool,
    hours: Vec<Choice>,
    link: Option<Link>,
    trashed: bool,
    /// Where its move to the trash leads: to the next picture.
    after: String,
}

/// An address to be copied.
struct Link {
    label: String,
    address: String,
}

struct Tag {
    name: String,
    /// All pictures with it.
    path: String,
}

/// A line of what is known.
struct Line {
    name: &'static str,
    value: String,
    /// Whether it takes a whole row.
    whole: bool,
}

/// What the database says.
struct Found {
    picture: Picture,
    beside: Option<Neighbours>,
    known_tags: Vec<String>,
}

/// `GET /gallery/{id}`.
pub async fn show(
    visit: Visit,
    Id(id): Id,
    filter: Address<Filter>,
    done: Address<Done>,
    headers: HeaderMap,
    address: Uri,
) -> Response {
    let (filter, done) = (held(filter), held(done));
    let shelf = filter.shelf(&visit.actor);
    let page = async {
        let found = find(&visit, id, &filter, shelf).await?;
        let page = Page::of(&visit, &filter, &done, found, &files::base(&visit.app, &headers)).await?;
        Ok(pages::page(StatusCode::OK, &page))
    };
    match page.await {
        // Perhaps it is there for somebody with an account; nobody hears which it is.
        Err(Error::NotFound) if matches!(visit.actor.who, Who::Nobody) => {
            pages::refusal(&visit.app, &Error::Unauthorized("log in"), &Method::GET, &address)
        }
        page => visit.answer(page),
    }
}

async fn find(visit: &Visit, id: String, filter: &Filter, shelf: Shelf) -> Result<Found> {
    let (viewer, wanted) = (viewer(visit), wanted(filter, shelf, &visit.app.config));
    let work = move |connection: &rusqlite::Connection| {
        let picture = pictures::find(connection, &viewer, &id)?;
        let tags = match picture.is_owned_by(&viewer) {
            true => pictures::tags(connection, &viewer)?,
            false => Vec::new(),
        };
        let beside = pictures::neighbours(connection, &viewer, &wanted, &id)?;
        let known_tags = tags.into_iter().take(MOST_KNOWN).map(|(tag, _)| tag).collect();
        Ok(Found { picture, beside, known_tags })
    };
    visit.app.database.read(work).await
}

impl Page {
    /// `base` is the server's address as the visitor calls it.
    async fn of(visit: &Visit, filter: &Filter, done: &Done, found: Found, base: &str) -> Result<Self> {
        let Found { picture, beside, known_tags } = found;
        let viewer = viewer(visit);
        let path = |id: &String| filter.at(&format!("/gallery/{id}"), 1);
        let (here, image) = (path(&picture.id), format!("/images/{}", picture.kept().file));
        let (back, back_to) = back(visit, filter, &picture, beside.as_ref());
        let previous = beside.as_ref().and_then(|beside| beside.previous.as_ref()).map(path);
        let next = beside.as_ref().and_then(|beside| beside.next.as_ref()).map(path);
        let after = next.as_ref().or(previous.as_ref()).unwrap_or(&back).clone();
        let changes = match picture.may_be_changed_by(&viewer) {
            true => Some(Changes::of(visit, &viewer, &picture, base, after).await?),
            false => None,
        };
        let owned =
            picture.is_owned_by(&viewer).then_some(Owned { favourite: picture.favourite, known_tags });
        let title = words::shows(&picture.details.prompt);
        let tag = |tag: &String| Tag { name: tag.clone(), path: Filter::tagged(tag).at("/gallery", 1) };
        let side = |side: u32| if side == 0 { super::tile::SIDE } else { side };
        Ok(Self {
            frame: visit.frame().at(Place::Gallery),
            shown_to_all: picture.is_public(&viewer).then(|| format!("{base}{image}")),
            shows: title.clone(),
            title,
            back,
            back_to,
            place: beside.map(|beside| {
                format!("{} of {}", words::thousands(beside.place + 1), words::thousands(beside.total))
            }),
            notice: done.notice(&here),
            image,
            width: side(picture.details.width),
            height: side(picture.details.height),
            previous,
            next,
            prompt: prompt(&picture.details),
            download: picture.file_name(),
            here,
            again: match visit.actor.who {
                Who::Nobody => None,
                _ => Some(Again::of(visit, &picture).await?),
            },
            owned,
            tags: picture.tags.iter().map(tag).collect(),
            changes,
            parameters: parameters(visit, &viewer, &picture),
            id: picture.id,
        })
    }
}

/// The way back to where the picture was opened from, and what that is called.
fn back(
    visit: &Visit,
    filter: &Filter,
    picture: &Picture,
    beside: Option<&Neighbours>,
) -> (String, &'static str) {
    if picture.trashed_at.is_some() {
        return ("/gallery/trash".to_owned(), "Trash");
    }
    let size = u64::from(page_size(&visit.app.config));
    let page = beside.map_or(1, |beside| beside.place / size + 1);
    let fragment = beside.map(|_| format!("#p{}", picture.id)).unwrap_or_default();
    (filter.at("/gallery", page) + &fragment, "Gallery")
}

impl Changes {
    async fn of(
        visit: &Visit,
        viewer: &Viewer,
        picture: &Picture,
        base: &str,
        after: String,
    ) -> Result<Self> {
        let public = picture.is_public(viewer);
        Ok(Self {
            privacy: privacy(visit, viewer, picture),
            public,
            hours: hours(&visit.app.config),
            link: link(visit, viewer, picture, base).await?,
            trashed: picture.trashed_at.is_some(),
            after,
        })
    }
}

/// Who may see it, as a sentence.
fn privacy(visit: &Visit, viewer: &Viewer, picture: &Picture) -> String {
    if picture.trashed_at.is_some() {
        return "It lies in the trash. Nobody else sees it.".to_owned();
    }
    if picture.is_public(viewer) {
        let until = picture
            .public_until
            .map_or("you make it private".to_owned(), |end| visit.moment(end).to_string());
        return format!("Everyone who reaches this server, until {until}.");
    }
    let who = match (&picture.owner, picture.is_owned_by(viewer)) {
        _ if picture.is_shared() => {
            return "Everyone who may use this server: it was made without an account.".to_owned();
        }
        (_, true) => "Only you and the administrators of this server.".to_owned(),
        (Some(owner), false) => format!("Only {owner} and the administrators of this server."),
        (None, false) => "Only the administrators of this server: its owner's account is gone.".to_owned(),
    };
    match picture.public_until.filter(|_| picture.public) {
        Some(end) => format!("{who} It was public until {}.", visit.moment(end)),
        None => who,
    }
}

/// An address that opens the picture for somebody else.
async fn link(visit: &Visit, viewer: &Viewer, picture: &Picture, base: &str) -> Result<Option<Link>> {
    if picture.trashed_at.is_some() {
        return Ok(None);
    }
    if picture.is_public(viewer) {
        let address = format!("{base}/gallery/{}", picture.id);
        return Ok(Some(Link { label: "The address of its page".to_owned(), address }));
    }
    let end = viewer.now().saturating_add(i64::from(visit.app.config.server.picture_link_hours) * HOUR);
    let kept = picture.kept();
    let query = Signer::new(&visit.app).await?.query(&kept);
    Ok(Some(Link {
        label: format!("A link that opens it without an account until {}", visit.moment(end)),
        address: format!("{base}/images/{}?{query}", kept.file),
    }))
}

/// What is known of the picture, in the order in which it is shown.
fn parameters(visit: &Visit, viewer: &Viewer, picture: &Picture) -> Vec<Line> {
    let Details { width, height, bytes, .. } = picture.details;
    let details = &picture.details;
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let owner = picture.owner.clone().filter(|_| viewer.is_admin());
    let mode = details.mode.map(|mode| match mode {
        Mode::Words => "From words",
        Mode::Picture => "From another picture",
        Mode::Enlarged => "By making a picture larger",
    });
    let took = picture.took_ms.map(|ms| format!("{:.1} s", ms as f64 / 1000.0));
    let model =
        details.model.as_deref().or(details.model_name.as_deref()).map(|model| bare(model).to_owned());
    let family = details.family.as_deref().and_then(|family| family.parse().ok());
    let family = family.map(|family| crate::pages::badge(family).to_owned());
    let lines = [
        ("Not in it", text(&details.negative_prompt), true),
        ("Model", model, false),
        ("Family", family, false),
        ("Size", (width > 0).then(|| format!("{width} × {height}")), false),
        ("File", (bytes > 0).then(|| Bytes(bytes).to_string()), false),
        ("Steps", details.steps.map(|steps| steps.to_string()), false),
        ("Guidance", details.guidance.map(|scale| scale.to_string()), false),
        ("Sampler", details.scheduler.clone(), false),
        ("Seed", details.seed.map(|seed| seed.to_string()), false),
        ("Made", mode.map(str::to_owned), false),
        ("Took", took, false),
        ("Owner", owner, false),
        ("When", Some(visit.moment(picture.created_at).to_string()), true),
    ];
    let known =
        lines.into_iter().filter_map(|(name, value, whole)| Some(Line { name, value: value?, whole }));
    known.collect()
}
