// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What is checked before any handler runs: that the request names this server and that no other web site made
//! it, who asks, whether they may, how often they did, and that the body comes in time.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::auth::{Actor, Caller, Role, Who, keys};
use crate::error::{Alice, Error, OpenAi, Result};
use crate::inputs::Share;
use crate::pages;
use crate::router::{Access, Dialect, Rate, Rule};

mod address;
mod body;
mod identity;
mod origin;

/// A request's share of the bytes that all may have in memory until their pictures are read. A handler that makes other
/// bytes of the body keeps this until it has dropped them too.
#[derive(Clone, Debug, Default)]
pub struct InHand(#[expect(dead_code, reason = "it is there to be dropped")] Option<Arc<Share>>);

impl<S: Sync> FromRequestParts<S> for InHand {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> std::result::Result<Self, Infallible> {
        Ok(parts.extensions.remove().unwrap_or_default())
    }
}

/// Refuses requests to foreign names and from foreign pages, whatever they ask for.
pub async fn check_origin(State(app): State<App>, request: Request, next: Next) -> Response {
    // Where everyone shows an account, a page that took our address for its own name has nothing to show.
    let server = &app.config.server;
    if server.allows_anonymous() && !origin::names_us(request.headers(), &server.hostnames) {
        return Alice(Error::Host).into_response();
    }
    if changes_something(request.method()) && origin::is_foreign(request.headers()) {
        return Alice(Error::CrossSite).into_response();
    }
    next.run(request).await
}

/// Lets a request through to its handler as its route's rule says, with the [`Actor`] and its whole body.
pub async fn admit(State((app, rule)): State<(App, Rule)>, request: Request, next: Next) -> Response {
    let (method, address) = (request.method().clone(), request.uri().clone());
    match checked(&app, rule, request).await {
        Ok(request) => next.run(request).await,
        Err(error) => match rule.dialect {
            Dialect::OpenAi => OpenAi(error).into_response(),
            Dialect::Alice => Alice(error).into_response(),
            Dialect::Page => pages::refusal(&app, &error, &method, &address),
        },
    }
}

async fn checked(app: &App, rule: Rule, request: Request) -> Result<Request> {
    let (mut parts, body) = request.into_parts();
    if rule.access != Access::Always && !app.is_open() {
        return Err(Error::NotSetUp);
    }
    let address = address::of(&parts, &app.config.server.trusted_proxies);
    let who = match rule.access {
        // What everyone may do at any time needs no look into the database.
        Access::Always => Who::Nobody,
        access => known(app, access, rule.rate, &parts, address).await?,
    };
    permit(app, &who, rule.access)?;
    let actor = Actor { who, address };
    count(app, &actor, rule.rate)?;
    let (body, share) = body::read(app, rule.body, &parts.headers, body).await?;
    parts.extensions.insert(actor);
    parts.extensions.insert(InHand(Some(Arc::new(share))));
    Ok(Request::from_parts(parts, body.into()))
}

/// Who makes a request. Where that does not matter, somebody who cannot prove anything (any more) is nobody.
async fn known(app: &App, access: Access, rate: Rate, parts: &Parts, address: IpAddr) -> Result<Who> {
    let found = identity::find(app, parts).await;
    // Whoever tries keys does not try many. A picture that comes along with a page is no try.
    if matches!(found, Err(Error::Unauthorized(keys::UNKNOWN))) && rate != Rate::Free {
        app.rates.login_from(address)?;
    }
    match found {
        Err(Error::Unauthorized(_)) if access == Access::Public => Ok(Who::Nobody),
        found => found,
    }
}

/// Whether `who` may call a route of this access.
fn permit(app: &App, who: &Who, access: Access) -> Result<()> {
    match (access, who) {
        (Access::Always | Access::Public, _)
        | (Access::User, Who::Anonymous | Who::Known(_))
        | (Access::Account, Who::Known(_))
        | (Access::Admin, Who::Known(Caller { role: Role::Admin, .. })) => Ok(()),
        (Access::User, Who::Nobody) if app.config.server.allows_anonymous() => {
            Err(Error::Unauthorized("a request that comes through a proxy needs an account"))
        }
        (Access::User, Who::Nobody) => {
            Err(Error::Unauthorized("this server needs an account: log in, or send a key"))
        }
        (Access::Account | Access::Admin, Who::Nobody | Who::Anonymous) => {
            Err(Error::Unauthorized("this needs an account: log in, or send a key"))
        }
        (Access::Admin, Who::Known(_)) => Err(Error::Forbidden("this needs an administrator")),
    }
}

/// Counts a request, and refuses one too many.
fn count(app: &App, actor: &Actor, rate: Rate) -> Result<()> {
    match rate {
        Rate::Free => Ok(()),
        Rate::Login => app.rates.login_from(actor.address),
        Rate::Registration => app.rates.registration_from(actor.address),
        // A login that was made with a key counts as that key.
        Rate::Request => match actor.caller() {
            Some(caller) => match caller.key() {
                Some(key) => app.rates.request_by_key(&key.id, key.rate_limit),
                None => app.rates.request_by_account(caller.account),
            },
            None => app.rates.request_by_address(actor.address),
        },
    }
}

fn changes_something(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Headers that every answer carries: nothing is guessed, framed, leaked to other sites, kept by others, or
/// run that is not ours.
pub async fn add_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut set = |name: &'static str, value| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(
        "content-security-policy",
        "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; \
         manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    );
    set("x-content-type-options", "nosniff");
    set("referrer-policy", "no-referrer");
    set("cross-origin-opener-policy", "same-origin");
    set("cross-origin-resource-policy", "same-origin");
    set("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()");
    set("cache-control", "no-store");
    response
}

/// A header's text, if it is there and is text.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether something says that a proxy stands between the caller and this server.
fn came_through_a_proxy(parts: &Parts) -> bool {
    let marks = ["forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip"];
    let told =
        |name: &HeaderName| marks.contains(&name.as_str()) || name.as_str().starts_with("x-forwarded-");
    // Some proxies add no header, but speak HTTP/1.0, as no client does any more.
    parts.version < Version::HTTP_11 || parts.headers.keys().any(told)
}
