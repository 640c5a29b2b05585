// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The pages that people see: rendered here, complete without JavaScript.

use alice_checkpoint::Family;
use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use tracing::error;

use crate::app::App;
use crate::auth::Actor;
use crate::config::RegistrationMode;
use crate::error::{Alice, Error};
use crate::gallery::Kept;

pub mod account;
pub mod admin;
pub mod api;
pub mod assets;
mod bytes;
mod form;
pub mod gallery;
pub mod generate;
pub mod guide;
pub mod jobs;
pub mod login;
pub mod models;
mod moment;
pub mod moved;
pub mod queue;
pub mod register;
mod rows;
pub mod setup;
pub mod status;
pub mod theme;
mod visit;

pub use visit::Visit;

/// What stands around every page.
#[derive(Debug)]
struct Frame {
    version: &'static str,
    backend: String,
    /// The addresses of the style sheet and of the script.
    style: &'static str,
    script: &'static str,
    /// The way to the other pages.
    doors: Vec<Door>,
    /// Whether the administration, or the account, is open.
    at_admin: bool,
    at_account: bool,
    /// Whether it is known who is looking, and so what the menu may offer.
    has_menu: bool,
    /// The account that is looking, if it is one.
    viewer: Option<String>,
    is_admin: bool,
    /// Whether people may ask for an account.
    may_register: bool,
    /// Whether somebody still has to make the first account.
    may_set_up: bool,
}

/// Where somebody is, as the menu shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Create,
    Gallery,
    Queue,
    Models,
    Status,
    Guide,
    Admin,
    Account,
}

/// What the menu leads to: where it is, where it leads, what it says.
const DOORS: &[(Place, &str, &str)] = &[
    (Place::Create, "/", "Create"),
    (Place::Gallery, "/gallery", "Gallery"),
    (Place::Queue, "/queue", "Queue"),
    (Place::Models, "/library", "Models"),
    (Place::Status, "/status", "Status"),
    (Place::Guide, "/guide", "Guide"),
];

/// One entry of the menu.
#[derive(Debug)]
struct Door {
    path: &'static str,
    label: &'static str,
    here: bool,
    /// How many jobs of the visitor are not over, at the door to them.
    waiting: Option<usize>,
}

impl Frame {
    fn new(app: &App, actor: Option<&Actor>) -> Self {
        let (style, script) = &*assets::ADDRESSES;
        let waiting = actor.map(|actor| present_jobs(app, actor)).filter(|count| *count > 0);
        let doors = DOORS.iter().map(|&(place, path, label)| Door {
            path,
            label,
            here: false,
            waiting: waiting.filter(|_| place == Place::Queue),
        });
        Self {
            version: env!("CARGO_PKG_VERSION"),
            backend: app.backend.name.clone(),
            style,
            script,
            doors: doors.collect(),
            at_admin: false,
            at_account: false,
            has_menu: actor.is_some(),
            viewer: actor.and_then(Actor::caller).map(|caller| caller.name.clone()),
            is_admin: actor.is_some_and(Actor::is_admin),
            may_register: app.config.server.registration_mode != RegistrationMode::Disabled,
            may_set_up: !app.is_set_up(),
        }
    }

    /// The same around the page at `place`.
    fn at(mut self, place: Place) -> Self {
        (self.at_admin, self.at_account) = (place == Place::Admin, place == Place::Account);
        self.doors.iter_mut().zip(DOORS).for_each(|(door, (its, ..))| door.here = *its == place);
        self
    }
}

/// How many jobs of `actor` wait or run.
fn present_jobs(app: &App, actor: &Actor) -> usize {
    // Whom the server takes for one caller without an account may be several.
    let Some(account) = actor.account() else { return 0 };
    app.jobs.present().iter().filter(|job| job.account == Some(account)).count()
}

/// What people call a family of models.
fn badge(family: Family) -> &'static str {
    match family {
        Family::Sd1 => "SD 1.5",
        Family::Sd2 => "SD 2",
        Family::Sdxl => "SDXL",
        Family::SdxlRefiner => "SDXL refiner",
    }
}

/// A page that says one thing.
#[derive(Template)]
#[template(path = "message.html")]
struct Message {
    frame: Frame,
    title: &'static str,
    text: String,
}

/// A page, or a plain sentence if its template fails.
fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        // Under `no-referrer` a browser that reaches the server without TLS does not say that a form is the
        // server's own, and the guard would refuse it.
        Ok(html) => (status, [(header::REFERRER_POLICY, "same-origin")], Html(html)).into_response(),
        Err(cause) => {
            error!(%cause, "A page could not be rendered");
            (StatusCode::INTERNAL_SERVER_ERROR, "This page could not be rendered.").into_response()
        }
    }
}

/// A page that says what went wrong, if something did, with the status of that.
fn page_about(problem: Option<&Error>, template: &impl Template) -> Response {
    let mut response = page(problem.map_or(StatusCode::OK, Error::answered_by_page), template);
    if let Some(
        Error::TooOften { retry_after_s }
        | Error::Busy { retry_after_s }
        | Error::TooManyJobs { retry_after_s },
    ) = problem
    {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*retry_after_s));
    }
    response
}

/// Instead of what was asked for: the way to the page that helps, or why there is none.
pub fn refusal(app: &App, error: &Error, method: &Method, address: &Uri) -> Response {
    match error {
        Error::NotSetUp => Redirect::to("/setup").into_response(),
        // Nobody has an account to log in with yet.
        Error::Unauthorized(_) if !app.is_set_up() => Redirect::to("/setup").into_response(),
        Error::Unauthorized(_) => {
            let after = encoded(&after_login(method, address));
            Redirect::to(&format!("/login?return={after}")).into_response()
        }
        _ => problem(app, None, error),
    }
}

/// Where somebody wants to be who has to log in first: at the page asked for or, since a form that was sent
/// is lost, at the page that such forms are on.
fn after_login(method: &Method, address: &Uri) -> String {
    if *method == Method::GET {
        return address.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    }
    let parts: Vec<_> = address.path().split('/').skip(1).collect();
    // No page is called so: these forms are on others.
    if matches!(parts[..], ["restore" | "theme" | "logout"]) {
        return "/".to_owned();
    }
    // What is done to a job, or with a picture, is done on its own page.
    let page = if matches!(parts[..], ["jobs" | "gallery", _, _]) { 2 } else { 1 };
    format!("/{}", parts[..page].join("/"))
}

/// The address of a small copy of a picture.
fn thumbnail(kept: &Kept) -> String {
    format!("/thumbnails/{}.webp", kept.id())
}

/// `text` as the value of a parameter in an address.
fn encoded(text: &str) -> String {
    let Ok(encoded) = askama::filters::urlencode(text);
    encoded.to_string()
}

/// The page that says what went wrong.
fn problem(app: &App, actor: Option<&Actor>, error: &Error) -> Response {
    let title = match error {
        Error::Forbidden(_) | Error::CrossSite => "This is not for you",
        Error::TooOften { .. } => "A little slower, please",
        Error::NotFound => "There is nothing here",
        _ => "That did not work",
    };
    page_about(Some(error), &Message { frame: Frame::new(app, actor), title, text: sentence(error) })
}

/// Where no route is: a page for whoever reads, and JSON for programs.
pub async fn nowhere(State(app): State<App>, headers: HeaderMap) -> Response {
    match reads_pages(&headers) {
        true => problem(&app, None, &Error::NotFound),
        false => Alice(Error::NotFound).into_response(),
    }
}

/// Where a route is, but not for this method: somebody who came to where only a form leads finds the page with the form.
pub async fn wrong_method(method: Method, address: Uri, headers: HeaderMap) -> Response {
    match method == Method::GET && reads_pages(&headers) {
        true => Redirect::to(&after_login(&Method::POST, &address)).into_response(),
        false => Alice(Error::Method).into_response(),
    }
}

/// Whether these are the headers of somebody's browser. Programs ask for JSON or for anything.
pub(crate) fn reads_pages(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|accepted| accepted.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains("text/html"))
}

/// An error's text as a sentence for people.
fn sentence(error: &Error) -> String {
    let field = |param: &str| param.replace('_', " ");
    let text = match error {
        Error::NotFound => "it may be gone already".to_owned(),
        Error::Invalid { param, problem } => format!("the {} {problem}", field(param)),
        Error::OutOfRange { param, range } => format!("the {} must be {range}", field(param)),
        Error::Busy { retry_after_s } => {
            format!("many pictures are waiting already; try again in about {retry_after_s} seconds")
        }
        _ => error.to_string(),
    };
    capitalized(&text)
}

/// `text` with a capital at its beginning and a stop at its end.
fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().collect::<String>()).unwrap_or_default();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_login_comes_the_page_that_was_asked_for_or_the_one_with_the_form() {
        for (method, address, after) in [
            (Method::GET, "/?prompt=a+fox&seed=7", "/?prompt=a+fox&seed=7"),
            (Method::GET, "/admin/keys", "/admin/keys"),
            (Method::POST, "/", "/"),
            (Method::POST, "/admin/keys/abc/revoke", "/admin"),
            (Method::POST, "/jobs/abc/cancel?seed=7", "/jobs/abc"),
            (Method::POST, "/gallery/abc/vary", "/gallery/abc"),
            (Method::POST, "/gallery/export", "/gallery"),
        ] {
            assert_eq!(after_login(&method, &address.parse().unwrap()), after);
        }
        assert_eq!(encoded("/?prompt=a+fox&seed=7"), "/%3Fprompt%3Da%2Bfox%26seed%3D7");
    }

    #[test]
    fn errors_are_sentences_about_what_stands_on_the_page() {
        let said = |error: Error| sentence(&error);
        assert_eq!(said(Error::invalid("invite_code", "is used up")), "The invite code is used up.");
        assert_eq!(
            said(Error::out_of_range("rate_limit", "at least 1")),
            "The rate limit must be at least 1."
        );
        assert_eq!(said(Error::Forbidden("ask somebody.")), "Ask somebody.");
    }
}
