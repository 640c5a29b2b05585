// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The page that says how the server is and what it has done.

use alice::auth::Role;
use alice::clock::Timestamp;
use rusqlite::params;

use super::visitor::{Visitor, person, with_ada};
use crate::browser::Browser;
use crate::harness::Server;
use crate::stage::{BEGINNING, Stage};

/// A finished job of so many pictures of an account.
async fn done(stage: &Stage, account: i64, count: u32, ended_at: Timestamp) {
    stage
        .write(move |transaction| {
            let sql = "INSERT INTO jobs (id, account, caller, state, request, accepted_at, ended_at, took_ms) \
                       VALUES (?1, ?2, ?3, 'done', ?4, ?5, ?5, 2000)";
            let request = format!("{{\"model\": \"sd/x\", \"count\": {count}}}");
            let id = format!("{account}-{ended_at}");
            transaction.execute(sql, params![id, account, format!("account {account}"), request, ended_at])?;
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn people_see_their_own_numbers_and_administrators_everybodys() {
    let stage = with_ada("").await;
    let bob = person(&stage, "Bob", Role::User).await.account;
    let eve = person(&stage, "Eve", Role::User).await.account;
    // The chart begins with the hour that began 23 hours ago.
    done(&stage, bob, 3, BEGINNING).await;
    done(&stage, bob, 1, BEGINNING - 3600).await;
    done(&stage, bob, 50, BEGINNING - 24 * 3600).await;
    done(&stage, eve, 4, BEGINNING - 7200).await;

    let page = Visitor::known(&stage, "Bob").await.get("/status").await.text;
    assert!(page.contains("Your pictures, last 24 hours</dt><dd>4</dd>"), "{page}");
    assert!(page.contains("<dd>1.0 s</dd>"), "4 s for 4 pictures: {page}");
    assert!(page.contains("<th scope=\"row\">08:00</th><td>3</td>") && page.matches("<rect").count() == 24);
    assert!(!page.contains("Everyone's pictures</dt>") && page.contains("All is well"));

    let page = Visitor::known(&stage, "Ada").await.get("/status").await.text;
    assert!(page.contains("Pictures of everyone, last 24 hours</dt><dd>8</dd>"), "{page}");
    assert!(
        page.contains("Your 0 pictures take 0 bytes") && page.contains("Everyone's pictures</dt>"),
        "{page}"
    );
    assert_eq!(Visitor::new(&stage).get("/status").await.to.as_deref(), Some("/login?return=/status"));
}

#[tokio::test]
async fn what_the_visitor_made_lately_leads_to_its_pages() {
    let server = Server::paint().await;
    let empty = server.get("/status").await.text().await.unwrap();
    assert!(empty.contains("None in the last 24 hours.") && empty.contains("None yet."), "{empty}");
    super::jobs::end(&server, server.submit(&[("prompt", "a fox"), ("steps", "1"), ("count", "2")]).await)
        .await;
    let page = server.get("/status").await.text().await.unwrap();
    let shots = super::between(&page, "<ul class=\"shots\">", "</ul>");
    assert!(shots.matches("<img").count() == 2 && shots.contains("<a href=\"/gallery/"), "{shots}");
    assert!(page.contains("alice-emoji</b>"), "the model is in memory: {page}");
    assert!(page.contains("last 24 hours</dt><dd>2</dd>"), "{page}");
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn a_browser_renews_the_status_but_not_while_somebody_reads_the_table() {
    let server = Server::paint().await;
    super::jobs::end(&server, server.submit(&[("prompt", "a fox"), ("steps", "1")]).await).await;
    let browser = Browser::start(true).await;
    browser.look(1280, 800, "light").await;
    browser.open(&format!("{}/status", server.base)).await;
    browser.run("document.querySelector('[data-renew]').dataset.renew = '0.05'").await;
    super::jobs::end(&server, server.submit(&[("prompt", "a fox"), ("steps", "1")]).await).await;
    browser.wait(".shots li:nth-child(2)").await;
    browser.click(".numbers summary").await;
    browser.run("document.getElementById('state').dataset.mark = 'kept'").await;
    browser.wait("[data-mark='kept'] .numbers[open]").await;
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn a_browser_shows_the_numbers_of_the_chart_as_a_table_with_and_without_scripts() {
    let server = Server::paint().await;
    super::jobs::end(&server, server.submit(&[("prompt", "a fox"), ("steps", "1"), ("count", "2")]).await)
        .await;
    for script in [true, false] {
        let browser = Browser::start(script).await;
        browser.open(&format!("{}/status", server.base)).await;
        let table = "document.querySelector('.numbers table').checkVisibility()";
        assert_eq!(browser.run(&format!("return {table}")).await, false, "script: {script}");
        browser.click(".numbers summary").await;
        browser.until(table).await;
        assert_eq!(browser.text(".numbers td").await, "2");
        browser.close().await;
    }
}
