// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Light, dark, or as the system has it: chosen at the foot of every page, kept in a cookie, and told to the pages by a
//! style sheet of one line, so that no page flashes in the other theme and none needs to know.

use axum::extract::Form;
use axum::extract::rejection::FormRejection;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use serde::Deserialize;
use url::Url;

/// The cookie that holds the choice.
const COOKIE: &str = "alice_theme";
/// How long a browser keeps the choice.
const KEPT: time::Duration = time::Duration::days(400);

/// What was chosen.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Theme {
    /// As the system has it.
    #[default]
    System,
    Light,
    Dark,
}

/// The form at the foot of every page.
#[derive(Debug, Deserialize)]
pub struct Choice {
    theme: Theme,
}

impl Theme {
    const ALL: [Self; 3] = [Self::System, Self::Light, Self::Dark];

    /// In the cookie and in the style sheet.
    fn word(self) -> &'static str {
        match self {
            Self::System => "light dark",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// What the cookie says; nothing, or something strange, is as the system has it.
    fn of(cookies: &CookieJar) -> Self {
        let said = cookies.get(COOKIE).map(Cookie::value);
        Self::ALL.into_iter().find(|theme| Some(theme.word()) == said).unwrap_or_default()
    }
}

/// `GET /theme.css`.
pub async fn style(cookies: CookieJar) -> Response {
    let style = format!(":root {{ color-scheme: {}; }}\n", Theme::of(&cookies).word());
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        // Asked for anew by every page: a browser that holds it does not always see that the cookie is another one.
        (header::CACHE_CONTROL, "private, no-cache"),
        (header::VARY, "cookie"),
    ];
    (headers, style).into_response()
}

/// `POST /theme`: from here on pages look so; back to the page that was open.
pub async fn choose(headers: HeaderMap, choice: Result<Form<Choice>, FormRejection>) -> Response {
    let theme = choice.map_or(Theme::default(), |Form(choice)| choice.theme);
    let cookie = Cookie::build((COOKIE, theme.word()))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .max_age(KEPT);
    let cookie = HeaderValue::try_from(cookie.to_string()).expect("words are letters");
    ([(header::SET_COOKIE, cookie)], Redirect::to(&page_before(&headers))).into_response()
}

/// The page that the form was on: only what stands behind the server's name is believed.
fn page_before(headers: &HeaderMap) -> String {
    let before = headers.get(header::REFERER).and_then(|page| page.to_str().ok());
    let Some(before) = before.and_then(|page| Url::parse(page).ok()) else { return "/".to_owned() };
    // Two slashes would begin another server's name.
    let path = format!("/{}", before.path().trim_start_matches('/'));
    before.query().map_or(path.clone(), |query| format!("{path}?{query}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_is_a_page_of_this_server() {
        for (before, page) in [
            ("http://localhost:8080/gallery?tags=fox", "/gallery?tags=fox"),
            ("https://evil.example//evil.example/x", "/evil.example/x"),
            ("nonsense", "/"),
        ] {
            let headers = HeaderMap::from_iter([(header::REFERER, before.parse().unwrap())]);
            assert_eq!(page_before(&headers), page);
        }
        assert_eq!(page_before(&HeaderMap::new()), "/");
    }

    #[test]
    fn what_the_cookie_says_is_one_of_the_list() {
        let said = |value: &str| Theme::of(&CookieJar::new().add(Cookie::new(COOKIE, value.to_owned())));
        assert_eq!(said("dark"), Theme::Dark);
        assert_eq!(said("light"), Theme::Light);
        assert_eq!(said("} body { display: none"), Theme::System);
        assert_eq!(Theme::of(&CookieJar::new()), Theme::System);
    }
}
