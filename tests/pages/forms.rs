// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What holds on every page for people with accounts, whatever they are called.

use std::collections::BTreeSet;

use alice::auth::Role;
use alice::router::{Access, Dialect, routes};
use reqwest::Method;

use super::visitor::{PASSWORD, Page, Visitor, person, with_ada};

/// A name that would be markup, an attribute, or an address if it were not text.
const NAME: &str = "<script>alert(1)</script>\"'&<b x='";

/// The values of an attribute on a page.
fn values<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
    let before = format!(" {attribute}=\"");
    page.split(before.as_str()).skip(1).map(|rest| rest.split_once('"').unwrap().0).collect()
}

/// The route of the table that answers at `address`.
fn route_of(method: &Method, address: &str) -> Option<&'static str> {
    let path = address.split(['?', '#']).next().unwrap();
    let fits = |pattern: &str| {
        let (parts, asked): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
        parts.len() == asked.len()
            && parts.iter().zip(asked).all(|(part, asked)| part.starts_with('{') || *part == asked)
    };
    routes().into_iter().find(|route| route.method == *method && fits(route.path)).map(|route| route.path)
}

/// Checks one page, and notes to which routes its forms go.
pub(super) fn check(page: &Page, sent_to: &mut BTreeSet<&'static str>) {
    let text = &page.text;
    let head = "<script src=\"/static/alice.js?v=";
    assert_eq!(text.matches("<script").count(), 1, "no script but the one file: {text}");
    assert!(text.contains(head) && !text.contains("<style") && values(text, "style").is_empty());
    for event in ["onclick", "onsubmit", "onload", "onerror", "onfocus"] {
        assert!(!text.contains(&format!(" {event}=")), "{event}");
    }
    assert!(!text.contains(NAME), "names are text");
    for address in ["href", "src", "action"].into_iter().flat_map(|attribute| values(text, attribute)) {
        let own = address.starts_with(['/', '#']) && !address.starts_with("//");
        assert!(own || address.starts_with("data:"), "nothing from other servers: `{address}`");
    }
    for form in text.split("<form").skip(1) {
        let head = form.split_once('>').unwrap().0;
        let method = if head.contains("method=\"get\"") { Method::GET } else { Method::POST };
        assert!(method == Method::GET || head.contains("method=\"post\""), "{head}");
        let action = values(head, "action")[0];
        let route = route_of(&method, action).unwrap_or_else(|| panic!("no route `{action}`"));
        if method == Method::POST {
            sent_to.insert(route);
        }
    }
    for action in values(text, "formaction") {
        sent_to.insert(route_of(&Method::POST, action).unwrap_or_else(|| panic!("no route `{action}`")));
    }
    let ids = values(text, "id");
    for address in values(text, "href") {
        match address.strip_prefix('#') {
            Some(part) => assert!(ids.contains(&part), "nothing has the id `{part}`"),
            None => assert!(route_of(&Method::GET, address).is_some(), "no route `{address}`"),
        }
    }
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "each id is there once: {ids:?}");
    for label in values(text, "for").into_iter().chain(values(text, "aria-describedby")) {
        assert!(ids.contains(&label), "nothing has the id `{label}`");
    }
}

#[tokio::test]
async fn every_page_shows_names_as_text_runs_nothing_and_leads_to_routes_of_the_table() {
    let stage = with_ada("registration_mode: approval").await;
    let mallory = person(&stage, NAME, Role::Admin).await;
    let off = stage.person("off", Role::User).await;
    let mut nobody = Visitor::new(&stage);
    let mut sent_to = BTreeSet::new();
    for path in ["/setup", "/login", "/register"] {
        check(&nobody.get(path).await, &mut sent_to);
    }
    let typed = [("name", NAME), ("password", "wrong horse"), ("return", "/\"><script>alert(1)</script>")];
    check(&nobody.post("/login", &typed).await, &mut sent_to);
    let asked = format!("{NAME} too");
    check(&nobody.post("/register", &[("name", NAME), ("password", PASSWORD)]).await, &mut sent_to);
    check(&nobody.post("/register", &[("name", &asked), ("password", PASSWORD)]).await, &mut sent_to);
    let refused = nobody.post("/register", &[("name", &asked), ("password", PASSWORD)]).await;
    assert!(refused.text.contains("alert(1)") && refused.status == 400);

    let _elsewhere = Visitor::known(&stage, NAME).await;
    let mut visitor = Visitor::known(&stage, NAME).await;
    let mut by_key = Visitor::new(&stage);
    by_key.post("/login", &[("key", &mallory.key)]).await;
    check(&visitor.post("/account/keys", &[("name", NAME)]).await, &mut sent_to);
    check(&visitor.post("/account/keys", &[("name", "\u{7}<script>alert(1)</script>")]).await, &mut sent_to);
    check(&visitor.post("/admin/keys", &[("name", NAME), ("limit", "\"><script>")]).await, &mut sent_to);
    check(&visitor.post("/admin/invites", &[("uses", "\"><script>"), ("hours", "'")]).await, &mut sent_to);
    visitor.post("/admin/invites", &[]).await;
    let model = "/library/sd%2Falice-emoji";
    for path in ["/library", model] {
        check(&visitor.get(path).await, &mut sent_to);
    }
    visitor.post_and_go("/library/load", &[("id", "sd/alice-emoji")]).await;
    let invites = visitor.post("/admin/invites", &[("uses", "1"), ("hours", "1")]).await;
    check(&invites, &mut sent_to);
    let attack = [("prompt", NAME), ("negative_prompt", NAME), ("seed", "7"), ("count", "2")];
    let job = visitor.post("/", &attack).await.to.unwrap();
    assert!(job.ends_with("?seed=7"), "{job}");
    let cancelled = format!("{job}\"><script>alert(1)</script>");
    for path in [&job, &cancelled] {
        let page = visitor.get(path).await;
        assert!(page.text.contains("alert(1)"), "what was asked for is shown");
        check(&page, &mut sent_to);
    }
    visitor.post("/", &attack).await;
    for path in ["/queue", "/queue?of=everyone"] {
        let page = visitor.get(path).await;
        assert!(page.text.contains("alert(1)"), "what was asked for, and who asked, is shown");
        check(&page, &mut sent_to);
    }
    for path in ["/library", model, "/library/nothing", "/status"] {
        check(&visitor.get(path).await, &mut sent_to);
    }
    for path in ["/guide", "/api", "/", "/login", "/register", "/setup", "/account", "/account?done=password"]
    {
        check(&visitor.get(path).await, &mut sent_to);
    }
    let own = format!("/admin/accounts/{}", mallory.account);
    let off = format!("/admin/accounts/{}", off.account);
    visitor.post_and_go(&format!("{off}/disable"), &[]).await;
    for path in [
        "/admin",
        &own,
        &off,
        "/admin/keys",
        "/admin/invites",
        "/admin/logins",
        "/admin/log",
        "/admin/storage",
        "/gallery",
        "/gallery/trash",
        "/admin/accounts/0",
    ] {
        let page = visitor.get(path).await;
        assert_eq!(page.status, if path.ends_with("/0") { 404 } else { 200 }, "{path}");
        check(&page, &mut sent_to);
    }
    let request = visitor.get("/admin").await;
    let request = super::between(&request.text, "/admin/requests/", "/").to_owned();
    check(&visitor.post(&format!("/admin/requests/{request}/approve"), &[]).await, &mut sent_to);

    // Every form has been seen that a page of the table answers to.
    let answered = routes()
        .into_iter()
        .filter(|route| route.rule.dialect == Dialect::Page && route.method == Method::POST);
    // No picture is ever finished here: what is done to pictures has a test of its own.
    let answered = answered.filter(|route| !route.path.starts_with("/gallery"));
    let missing: Vec<_> = answered.map(|route| route.path).filter(|path| !sent_to.contains(path)).collect();
    // Neither has the job's page any, the only model is the default one, and somebody is an administrator already.
    assert_eq!(missing, ["/jobs/{id}/upscale", "/admin/models/default", "/setup"]);
}

#[test]
fn pages_that_act_demand_what_they_act_on() {
    for route in routes().iter().filter(|route| route.rule.dialect == Dialect::Page) {
        let wanted = match route.path.split('/').nth(1).unwrap() {
            // Everyone sees what is public.
            "gallery"
                if ["/gallery", "/gallery/{id}"].contains(&route.path) && route.method == Method::GET =>
            {
                Access::Public
            }
            "admin" => Access::Admin,
            "account" => Access::Account,
            "setup" | "theme" | "theme.css" => Access::Always,
            "login" | "logout" | "register" | "web" => Access::Public,
            _ => Access::User,
        };
        assert_eq!(route.rule.access, wanted, "{}", route.path);
    }
}
