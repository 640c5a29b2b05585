// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Every URL of the program: its method, who may call it, how large its body may be, how its calls are counted
//! and in whose words it refuses. What is not in this table does not exist.

use axum::extract::{DefaultBodyLimit, Request};
use axum::handler::Handler;
use axum::http::{Method, StatusCode};
use axum::middleware;
use axum::response::IntoResponse;
use axum::routing::{MethodFilter, MethodRouter, on};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};

use crate::api::{
    auth, chat, companions, embeddings, files, gallery, health, images, jobs, loras, metrics, models,
    png_info, tokens,
};
use crate::app::App;
use crate::{guard, pages};

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everyone, also before the server is set up.
    Always,
    /// Everyone, once the server is open.
    Public,
    /// Whoever may make pictures: accounts, and people without one where the server allows it.
    User,
    /// Holders of an account.
    Account,
    /// Administrators.
    Admin,
}

/// What a route does with a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Looks at none.
    None,
    /// Takes JSON or a form, up to `limits.body_bytes`.
    Text,
    /// Takes JSON or a form that may hold pictures, up to `limits.picture_body_bytes`.
    Pictures,
}

/// What the calls of a route count against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Nothing: pages bring many of these along, or they must always answer.
    Free,
    /// The limit of the key, else `limits.requests_per_minute`.
    Request,
    /// `limits.logins_per_minute_per_address`.
    Login,
    /// `limits.registrations_per_hour`.
    Registration,
}

/// In whose words a route refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's.
    OpenAi,
    /// The Python ALICE's.
    Alice,
    /// With a page, or the way to the page that helps.
    Page,
}

/// What holds before a route's handler runs.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Who may call it.
    pub access: Access,
    /// What it does with a body.
    pub body: Body,
    /// What its calls count against.
    pub rate: Rate,
    /// In whose words it refuses.
    pub dialect: Dialect,
}

/// One line of the table. Only this file can make one, so that no handler is reached without its rule.
#[derive(Debug)]
pub struct Route {
    /// The method; GET answers HEAD too.
    pub method: Method,
    /// The path, with names in braces.
    pub path: &'static str,
    /// What holds before the handler runs.
    pub rule: Rule,
    handler: MethodRouter<App>,
}

/// The table.
#[rustfmt::skip] // It is read down the columns.
pub fn routes() -> Vec<Route> {
    use Access::{Account, Admin, Always, Public, User};
    use Body::{None, Pictures, Text};
    use Dialect::{Alice, OpenAi, Page};
    use Rate::{Free, Login, Registration, Request};
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    const DELETE: Method = Method::DELETE;
    const PATCH: Method = Method::PATCH;
    const OPTIONS: Method = Method::OPTIONS;
    vec![
        // Whether it lives, and what the pages are made of.
        route(GET,     "/livez",                           Always,  None,     Free,         Alice,  health::live),
        route(GET,     "/readyz",                          Always,  None,     Free,         Alice,  health::ready),
        route(GET,     "/theme.css",                       Always,  None,     Free,         Page,   pages::theme::style),
        route(POST,    "/theme",                           Always,  Text,     Free,         Page,   pages::theme::choose),
        route(GET,     "/static/{file}",                   Always,  None,     Free,         Alice,  pages::assets::get),
        route(GET,     "/health",                          Public,  None,     Free,         Alice,  health::health),
        route(GET,     "/api/health",                      Public,  None,     Free,         Alice,  health::health),
        route(GET,     "/metrics",                         Public,  None,     Free,         Alice,  metrics::show),
        route(GET,     "/metrics/prometheus",              Public,  None,     Free,         Alice,  metrics::prometheus),
        route(GET,     "/v1/generation/defaults",          Public,  None,     Free,         Alice,  models::defaults),

        // Pictures. Clients whose base address lacks the version call the same routes at the root.
        route(POST,    "/v1/images/generations",           User,    Pictures, Request,      OpenAi, images::create),
        route(POST,    "/images/generations",              User,    Pictures, Request,      OpenAi, images::create),
        route(POST,    "/v1/images/edits",                 User,    Pictures, Request,      OpenAi, images::edit),
        route(POST,    "/images/edits",                    User,    Pictures, Request,      OpenAi, images::edit),
        route(POST,    "/v1/images/variations",            User,    Pictures, Request,      OpenAi, images::vary),
        route(POST,    "/images/variations",               User,    Pictures, Request,      OpenAi, images::vary),
        route(POST,    "/v1/images/upscale",               User,    Pictures, Request,      OpenAi, images::upscale),
        route(POST,    "/images/upscale",                  User,    Pictures, Request,      OpenAi, images::upscale),
        // Some clients ask with OPTIONS whether the route exists before they use it.
        route(OPTIONS, "/v1/images/generations",           Public,  None,     Free,         OpenAi, exists),
        route(OPTIONS, "/images/generations",              Public,  None,     Free,         OpenAi, exists),
        route(OPTIONS, "/v1/images/edits",                 Public,  None,     Free,         OpenAi, exists),
        route(OPTIONS, "/images/edits",                    Public,  None,     Free,         OpenAi, exists),
        route(POST,    "/v1/chat/completions",             User,    Pictures, Request,      Alice,  chat::create),
        route(POST,    "/chat/completions",                User,    Pictures, Request,      Alice,  chat::create),
        route(GET,     "/v1/models",                       User,    None,     Request,      OpenAi, models::list),
        route(GET,     "/models",                          User,    None,     Request,      OpenAi, models::list_or_page),
        route(POST,    "/v1/models/refresh",               User,    None,     Request,      Alice,  models::refresh),
        route(GET,     "/v1/models/loras",                 User,    None,     Request,      Alice,  loras::list),
        // Ids hold slashes: /v1/models/{id}, /v1/models/{id}/info, /v1/models/{id}/load and /v1/models/{id}/unload.
        route(GET,     "/v1/models/{*id}",                 User,    None,     Request,      Alice,  models::show),
        route(POST,    "/v1/models/{*id}",                 User,    None,     Request,      Alice,  models::act),
        route(DELETE,  "/v1/models/{*id}",                 Admin,   None,     Request,      Alice,  models::delete),
        route(GET,     "/v1/loras",                        User,    None,     Request,      Alice,  loras::list),
        route(DELETE,  "/v1/loras/{*id}",                  Admin,   None,     Request,      Alice,  loras::delete),
        route(GET,     "/v1/embeddings",                   User,    None,     Request,      Alice,  embeddings::list),
        route(POST,    "/v1/tokens",                       User,    Text,     Request,      Alice,  tokens::count),
        route(GET,     "/v1/controlnets",                  User,    None,     Request,      Alice,  companions::controls),
        route(DELETE,  "/v1/controlnets/{*id}",            Admin,   None,     Request,      Alice,  companions::delete_control),
        route(GET,     "/v1/upscalers",                    User,    None,     Request,      Alice,  companions::upscalers),
        route(DELETE,  "/v1/upscalers/{*id}",              Admin,   None,     Request,      Alice,  companions::delete_upscaler),
        // The handlers themselves decide by the job's owner.
        route(GET,     "/v1/jobs",                         User,    None,     Request,      OpenAi, jobs::list),
        route(GET,     "/v1/jobs/{id}",                    User,    None,     Request,      OpenAi, jobs::show),
        route(GET,     "/v1/jobs/{id}/events",             User,    None,     Request,      OpenAi, jobs::events::follow),
        route(DELETE,  "/v1/jobs/{id}",                    User,    None,     Request,      OpenAi, jobs::cancel),
        // The handlers themselves decide by the pictures' owners.
        route(GET,     "/v1/gallery",                      Public,  None,     Request,      Alice,  gallery::list),
        route(GET,     "/v1/gallery/config",               Public,  None,     Free,         Alice,  gallery::config),
        route(GET,     "/v1/gallery/tags",                 User,    None,     Request,      Alice,  gallery::tags),
        route(GET,     "/v1/gallery/stats",                Admin,   None,     Request,      Alice,  gallery::stats),
        route(POST,    "/v1/gallery/cleanup",              Admin,   None,     Request,      Alice,  gallery::clean_up),
        route(POST,    "/v1/gallery/bulk",                 User,    Text,     Request,      Alice,  gallery::bulk),
        route(GET,     "/v1/gallery/export",               Public,  None,     Request,      Alice,  gallery::export),
        route(GET,     "/v1/gallery/{id}",                 Public,  None,     Request,      Alice,  gallery::show),
        route(DELETE,  "/v1/gallery/{id}",                 User,    None,     Request,      Alice,  gallery::delete),
        route(PATCH,   "/v1/gallery/{id}/privacy",         User,    Text,     Request,      Alice,  gallery::set_privacy),
        route(PATCH,   "/v1/gallery/{id}/tags",            User,    Text,     Request,      Alice,  gallery::set_tags),
        route(PATCH,   "/v1/gallery/{id}/favourite",       User,    Text,     Request,      Alice,  gallery::set_favourite),
        route(POST,    "/v1/gallery/{id}/restore",         User,    None,     Request,      Alice,  gallery::restore),
        route(POST,    "/v1/png-info",                     User,    Pictures, Request,      Alice,  png_info::read),
        route(POST,    "/sdapi/v1/png-info",               User,    Pictures, Request,      Alice,  png_info::read),
        // The handler itself decides by the picture's owner and the address's signature.
        route(GET,     "/images/{file}",                   Public,  None,     Free,         Alice,  files::image),
        route(GET,     "/thumbnails/{file}",               Public,  None,     Free,         Alice,  files::thumbnail),

        // Accounts.
        route(POST,    "/v1/auth/bootstrap",               Always,  Text,     Login,        Alice,  auth::setup::bootstrap),
        route(GET,     "/v1/auth/me",                      Public,  None,     Request,      Alice,  auth::me::show),
        route(GET,     "/v1/auth/registration-mode",       Public,  None,     Request,      Alice,  auth::registration::mode),
        route(POST,    "/v1/auth/register",                Public,  Text,     Registration, Alice,  auth::registration::register),
        route(POST,    "/v1/auth/sessions",                Account, None,     Request,      Alice,  auth::sessions::create),
        route(GET,     "/v1/auth/sessions",                Admin,   None,     Request,      Alice,  auth::sessions::list),
        route(DELETE,  "/v1/auth/sessions/{id}",           Admin,   None,     Request,      Alice,  auth::sessions::delete),
        route(POST,    "/v1/auth/keys/generate",           Admin,   Text,     Request,      Alice,  auth::keys::generate),
        route(GET,     "/v1/auth/keys",                    Admin,   None,     Request,      Alice,  auth::keys::list),
        route(DELETE,  "/v1/auth/keys/{id}",               Admin,   None,     Request,      Alice,  auth::keys::delete),
        route(POST,    "/v1/auth/keys/{id}/revoke",        Admin,   None,     Request,      Alice,  auth::keys::revoke),
        route(GET,     "/v1/auth/stats",                   Admin,   None,     Request,      Alice,  auth::stats::show),
        route(POST,    "/v1/auth/invites",                 Admin,   Text,     Request,      Alice,  auth::invites::create),
        route(GET,     "/v1/auth/invites",                 Admin,   None,     Request,      Alice,  auth::invites::list),
        route(DELETE,  "/v1/auth/invites/{code}",          Admin,   None,     Request,      Alice,  auth::invites::delete),
        route(GET,     "/v1/auth/pending",                 Admin,   None,     Request,      Alice,  auth::pending::list),
        route(POST,    "/v1/auth/pending/{id}/approve",    Admin,   None,     Request,      Alice,  auth::pending::approve),
        route(POST,    "/v1/auth/pending/{id}/reject",     Admin,   None,     Request,      Alice,  auth::pending::reject),
        route(DELETE,  "/v1/auth/pending/{id}",            Admin,   None,     Request,      Alice,  auth::pending::delete),
        route(GET,     "/v1/auth/audit",                   Admin,   None,     Request,      Alice,  auth::audit::list),

        // Pages.
        route(GET,     "/",                                User,    None,     Request,      Page,   pages::generate::show),
        route(POST,    "/",                                User,    Pictures, Request,      Page,   pages::generate::submit),
        route(POST,    "/restore",                         User,    Pictures, Request,      Page,   pages::generate::restore),
        route(GET,     "/jobs/{id}",                       User,    None,     Request,      Page,   pages::jobs::show),
        route(POST,    "/jobs/{id}/cancel",                User,    None,     Request,      Page,   pages::jobs::cancel),
        route(POST,    "/jobs/{id}/upscale",               User,    Text,     Request,      Page,   pages::jobs::upscale),
        route(GET,     "/jobs/{id}/preview",               User,    None,     Free,         Page,   pages::jobs::preview),
        route(GET,     "/guide",                           User,    None,     Request,      Page,   pages::guide::show),
        route(GET,     "/api",                             User,    None,     Request,      Page,   pages::api::show),
        route(GET,     "/queue",                           User,    None,     Request,      Page,   pages::queue::show),
        route(POST,    "/queue/cancel",                    User,    None,     Request,      Page,   pages::queue::cancel_own),
        route(POST,    "/queue/{id}/cancel",               User,    None,     Request,      Page,   pages::queue::cancel),
        route(GET,     "/library",                         User,    None,     Request,      Page,   pages::models::list),
        // Ids hold slashes, which the pages write as %2F.
        route(GET,     "/library/{id}",                    User,    None,     Request,      Page,   pages::models::show),
        route(POST,    "/library/refresh",                 User,    None,     Request,      Page,   pages::models::acts::refresh),
        route(POST,    "/library/load",                    User,    Text,     Request,      Page,   pages::models::acts::load),
        route(POST,    "/library/unload",                  User,    Text,     Request,      Page,   pages::models::acts::unload),
        route(POST,    "/admin/models/default",            Admin,   Text,     Request,      Page,   pages::models::acts::make_default),
        route(POST,    "/admin/models/delete",             Admin,   Text,     Request,      Page,   pages::models::acts::delete),
        route(GET,     "/status",                          User,    None,     Request,      Page,   pages::status::show),
        // Everyone sees what is public; the handlers themselves decide by the picture's owner.
        route(GET,     "/gallery",                         Public,  None,     Request,      Page,   pages::gallery::show),
        route(POST,    "/gallery",                         User,    Text,     Request,      Page,   pages::gallery::act),
        route(GET,     "/gallery/export",                  User,    None,     Request,      Page,   pages::gallery::export),
        route(POST,    "/gallery/export",                  User,    Text,     Request,      Page,   pages::gallery::export_selected),
        route(GET,     "/gallery/trash",                   User,    None,     Request,      Page,   pages::gallery::trash),
        route(POST,    "/gallery/trash",                   User,    None,     Request,      Page,   pages::gallery::empty_trash),
        route(GET,     "/gallery/{id}",                    Public,  None,     Request,      Page,   pages::gallery::picture),
        route(POST,    "/gallery/{id}/vary",               User,    None,     Request,      Page,   pages::gallery::vary),
        route(POST,    "/gallery/{id}/upscale",            User,    Text,     Request,      Page,   pages::gallery::upscale),
        route(GET,     "/setup",                           Always,  None,     Free,         Page,   pages::setup::show),
        route(POST,    "/setup",                           Always,  Text,     Login,        Page,   pages::setup::submit),
        route(GET,     "/login",                           Public,  None,     Request,      Page,   pages::login::show),
        route(POST,    "/login",                           Public,  Text,     Login,        Page,   pages::login::submit),
        route(GET,     "/register",                        Public,  None,     Request,      Page,   pages::register::show),
        route(POST,    "/register",                        Public,  Text,     Registration, Page,   pages::register::submit),
        route(GET,     "/account",                         Account, None,     Request,      Page,   pages::account::show),
        route(POST,    "/account/keys",                    Account, Text,     Request,      Page,   pages::account::keys::create),
        route(POST,    "/account/keys/{id}/revoke",        Account, None,     Request,      Page,   pages::account::keys::revoke),
        route(POST,    "/account/logins/end-others",       Account, None,     Request,      Page,   pages::account::logins::end_others),
        route(POST,    "/account/logins/{id}/end",         Account, None,     Request,      Page,   pages::account::logins::end),
        route(POST,    "/account/password",                Account, Text,     Request,      Page,   pages::account::password::set),
        route(GET,     "/admin",                           Admin,   None,     Request,      Page,   pages::admin::accounts::show),
        route(POST,    "/admin/requests/{id}/approve",     Admin,   None,     Request,      Page,   pages::admin::accounts::approve),
        route(POST,    "/admin/requests/{id}/reject",      Admin,   None,     Request,      Page,   pages::admin::accounts::reject),
        route(GET,     "/admin/accounts/{id}",             Admin,   None,     Request,      Page,   pages::admin::account::show),
        route(POST,    "/admin/accounts/{id}/role",        Admin,   Text,     Request,      Page,   pages::admin::account::set_role),
        route(POST,    "/admin/accounts/{id}/enable",      Admin,   None,     Request,      Page,   pages::admin::account::enable),
        route(POST,    "/admin/accounts/{id}/disable",     Admin,   None,     Request,      Page,   pages::admin::account::disable),
        route(POST,    "/admin/accounts/{id}/password",    Admin,   Text,     Request,      Page,   pages::admin::account::set_password),
        route(POST,    "/admin/accounts/{id}/delete",      Admin,   None,     Request,      Page,   pages::admin::account::delete),
        route(GET,     "/admin/keys",                      Admin,   None,     Request,      Page,   pages::admin::keys::show),
        route(POST,    "/admin/keys",                      Admin,   Text,     Request,      Page,   pages::admin::keys::create),
        route(POST,    "/admin/keys/{id}/revoke",          Admin,   None,     Request,      Page,   pages::admin::keys::revoke),
        route(POST,    "/admin/keys/{id}/delete",          Admin,   None,     Request,      Page,   pages::admin::keys::delete),
        route(GET,     "/admin/invites",                   Admin,   None,     Request,      Page,   pages::admin::invites::show),
        route(POST,    "/admin/invites",                   Admin,   Text,     Request,      Page,   pages::admin::invites::create),
        route(POST,    "/admin/invites/{id}/delete",       Admin,   None,     Request,      Page,   pages::admin::invites::delete),
        route(GET,     "/admin/logins",                    Admin,   None,     Request,      Page,   pages::admin::logins::show),
        route(POST,    "/admin/logins/{id}/end",           Admin,   None,     Request,      Page,   pages::admin::logins::end),
        route(GET,     "/admin/storage",                   Admin,   None,     Request,      Page,   pages::admin::storage::show),
        route(POST,    "/admin/accounts/{id}/quota",       Admin,   Text,     Request,      Page,   pages::admin::storage::set_quota),
        route(GET,     "/admin/log",                       Admin,   None,     Request,      Page,   pages::admin::log::show),
        // Addresses of the Python ALICE.
        route(GET,     "/web",                             Public,  None,     Free,         Page,   pages::moved::begin),
        route(GET,     "/web/",                            Public,  None,     Free,         Page,   pages::moved::begin),
        route(GET,     "/web/{file}",                      Public,  None,     Free,         Page,   pages::moved::find),
        // Last, because whoever comes down this table has no login afterwards.
        route(POST,    "/logout",                          Public,  None,     Free,         Page,   pages::login::end),
    ]
}

fn route<H, T>(
    method: Method,
    path: &'static str,
    access: Access,
    body: Body,
    rate: Rate,
    dialect: Dialect,
    handler: H,
) -> Route
where
    H: Handler<T, App>,
    T: 'static,
{
    let filter = MethodFilter::try_from(method.clone()).expect("the table has standard methods only");
    Route { method, path, rule: Rule { access, body, rate, dialect }, handler: on(filter, handler) }
}

/// The whole program behind its guards.
pub fn router(app: App) -> axum::Router {
    let mut router = axum::Router::new();
    for Route { path, rule, handler, .. } in routes() {
        let guarded = middleware::from_fn_with_state((app.clone(), rule), guard::admit);
        let handler = handler.route_layer(guarded);
        let handler = if is_text(path, rule) { handler.layer(compression()) } else { handler };
        router = router.route(path, handler);
    }
    router
        .fallback(pages::nowhere)
        .method_not_allowed_fallback(pages::wrong_method)
        .layer(middleware::from_fn_with_state(app.clone(), guard::check_origin))
        .layer(middleware::from_fn(guard::add_headers))
        // The guard has taken in the body, within the limit of its route.
        .layer(DefaultBodyLimit::disable())
        .with_state(app)
}

/// Whether a route answers with what compression makes smaller: pages and what they are made of. An answer of the API
/// holds pictures, or is a stream whose bytes must not be held back.
fn is_text(path: &str, rule: Rule) -> bool {
    rule.dialect == Dialect::Page || path.starts_with("/static/")
}

/// Makes what is text smaller. Archives hold pictures, which are compressed already.
fn compression() -> CompressionLayer<impl Predicate> {
    let archives = NotForContentType::const_new("application/zip");
    CompressionLayer::new().compress_when(DefaultPredicate::new().and(archives))
}

/// Yes, without a word.
async fn exists(_request: Request) -> impl IntoResponse {
    StatusCode::NO_CONTENT
}
