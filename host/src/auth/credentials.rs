// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a request shows to prove who makes it, in each form that ALICE's clients use.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::secret::Secret;

/// The cookie of a login on a connection without TLS.
const COOKIE: &str = "alice";
/// The same over TLS: a browser takes it only with `Secure`, for this host alone.
const COOKIE_TLS: &str = "__Host-alice";

/// What a request shows.
#[derive(Debug)]
pub enum Credentials {
    /// Nothing.
    None,
    /// A key, or a session's token where keys stand. No page of another site can make a browser send these.
    Text(Secret),
    /// A session's token in a cookie, which a browser sends with every request, also with one that another
    /// site's page makes.
    Cookie(Secret),
}

/// What `headers` show: `X-Admin-Key`, `Authorization: Bearer`, `X-Api-Key`, else the cookie, else the password of
/// `Authorization: Basic`, which a browser also sends to every page behind a proxy that has asked for one. Empty
/// ones count as absent: some clients send them when nothing is set.
pub fn shown(headers: &HeaderMap) -> Credentials {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let authorization = text("authorization").and_then(|value| value.split_once(' '));
    let with_scheme = |wanted: &str| {
        authorization.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(wanted)).map(|(_, rest)| rest)
    };
    let keys = [text("x-admin-key"), with_scheme("bearer"), text("x-api-key")];
    if let Some(key) = keys.into_iter().flatten().map(str::trim).find(|key| !key.is_empty()) {
        return Credentials::Text(key.into());
    }
    let jar = CookieJar::from_headers(headers);
    // Over TLS a cookie without the prefix may come from another host of the same domain.
    let name = if over_tls(headers) { COOKIE_TLS } else { COOKIE };
    if let Some(cookie) = jar.get(name).filter(|cookie| !cookie.value().is_empty()) {
        return Credentials::Cookie(cookie.value().into());
    }
    let password = with_scheme("basic").and_then(password_of).filter(|password| !password.is_empty());
    password.map_or(Credentials::None, |password| Credentials::Text(password.into()))
}

/// The password in the text of `Authorization: Basic`.
fn password_of(pair: &str) -> Option<String> {
    let decoded = String::from_utf8(BASE64_STANDARD.decode(pair.trim()).ok()?).ok()?;
    decoded.split_once(':').map(|(_, password)| password.to_owned())
}

/// Whether `text` was meant as a key of this server, or of the Python ALICE. Clients of servers that need no
/// key often send a word such as `unused`, because their library insists on one.
pub fn is_meant(text: &str) -> bool {
    text.starts_with("alice_") || text.starts_with("sd-")
}

/// The header that gives a browser its login. `tls`: whether it came over TLS.
pub fn set_cookie(token: &Secret, tls: bool) -> (HeaderName, HeaderValue) {
    cookie(token.expose().to_owned(), tls, None)
}

/// The header that takes a browser's login away.
pub fn clear_cookie(tls: bool) -> (HeaderName, HeaderValue) {
    cookie(String::new(), tls, Some(0))
}

fn cookie(value: String, tls: bool, seconds: Option<i64>) -> (HeaderName, HeaderValue) {
    let name = if tls { COOKIE_TLS } else { COOKIE };
    let mut cookie =
        Cookie::build((name, value)).path("/").http_only(true).same_site(SameSite::Lax).secure(tls).build();
    if let Some(seconds) = seconds {
        cookie.set_max_age(time::Duration::seconds(seconds));
    }
    let value = HeaderValue::try_from(cookie.to_string()).expect("tokens are letters and digits");
    (header::SET_COOKIE, value)
}

/// Whether the caller's browser spoke TLS to the proxy before this server. A caller who lies about it only
/// gets a cookie that its own browser does not take.
pub fn over_tls(headers: &HeaderMap) -> bool {
    let schemes =
        headers.get("x-forwarded-proto").and_then(|schemes| schemes.to_str().ok()).unwrap_or_default();
    // The first of several proxies is the one that the browser spoke to.
    schemes.split(',').next().is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shows(pairs: &[(&'static str, &str)]) -> String {
        let headers =
            pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        match shown(&headers) {
            Credentials::None => "-".into(),
            Credentials::Text(secret) => secret.expose().to_owned(),
            Credentials::Cookie(secret) => format!("cookie {}", secret.expose()),
        }
    }

    #[test]
    fn every_form_that_clients_use_is_read() {
        let basic = |pair: &str| format!("Basic {}", BASE64_STANDARD.encode(pair));
        for (name, value, seen) in [
            ("authorization", "Bearer key".to_owned(), "key"),
            ("authorization", "bearer  key ".to_owned(), "key"),
            ("authorization", basic("anyone:key"), "key"),
            ("authorization", basic("anyone:k:e:y"), "k:e:y"),
            ("x-api-key", "key".to_owned(), "key"),
            ("x-admin-key", "key".to_owned(), "key"),
            ("cookie", "other=1; alice=token".to_owned(), "cookie token"),
            ("cookie", "alice=plain; __Host-alice=tls".to_owned(), "cookie plain"),
            ("authorization", String::new(), "-"),
            ("authorization", "Bearer ".to_owned(), "-"),
            ("authorization", "Digest key".to_owned(), "-"),
            ("authorization", "Basic !!!".to_owned(), "-"),
            ("authorization", basic("no colon"), "-"),
            ("authorization", basic("anyone:"), "-"),
            ("x-api-key", String::new(), "-"),
            ("cookie", "alice=".to_owned(), "-"),
        ] {
            assert_eq!(shows(&[(name, &value)]), seen, "{name}: {value}");
        }
        assert_eq!(shows(&[]), "-");
    }

    #[test]
    fn a_key_counts_before_the_cookie_and_an_empty_one_does_not() {
        assert_eq!(shows(&[("x-api-key", "key"), ("cookie", "alice=token")]), "key");
        assert_eq!(shows(&[("x-api-key", ""), ("cookie", "alice=token")]), "cookie token");
        assert_eq!(shows(&[("x-admin-key", "one"), ("authorization", "Bearer two")]), "one");
        let basic = format!("Basic {}", BASE64_STANDARD.encode("proxy:password"));
        let behind_a_proxy = [("authorization", basic.as_str()), ("cookie", "alice=token")];
        assert_eq!(shows(&behind_a_proxy), "cookie token", "the proxy's own password is none of ours");
    }

    #[test]
    fn over_tls_only_the_cookie_counts_that_no_other_host_can_set() {
        let tls = ("x-forwarded-proto", "https, http");
        assert_eq!(shows(&[tls, ("cookie", "alice=plain; __Host-alice=tls")]), "cookie tls");
        assert_eq!(shows(&[tls, ("cookie", "alice=plain")]), "-");
    }

    #[test]
    fn cookies_are_out_of_the_reach_of_scripts_and_over_tls_bound_to_the_host() {
        let text = |(_, value): (HeaderName, HeaderValue)| value.to_str().unwrap().to_owned();
        assert_eq!(text(set_cookie(&"t".into(), false)), "alice=t; HttpOnly; SameSite=Lax; Path=/");
        assert_eq!(
            text(set_cookie(&"t".into(), true)),
            "__Host-alice=t; HttpOnly; SameSite=Lax; Secure; Path=/"
        );
        assert!(text(clear_cookie(false)).contains("Max-Age=0"));
    }
}
