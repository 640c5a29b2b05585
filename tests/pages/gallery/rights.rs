// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Who sees and changes which pictures on the gallery's pages.

use super::*;

/// Everything that a form can do to a picture.
const ACTS: &[&[(&str, &str)]] = &[
    &[("action", "favourite")],
    &[("action", "tag"), ("tags", "stolen")],
    &[("action", "untag"), ("tags", "own")],
    &[("action", "publish"), ("hours", "24")],
    &[("action", "withdraw")],
    &[("action", "trash")],
    &[("action", "restore")],
    &[("action", "delete")],
];

#[tokio::test]
async fn nobody_sees_or_touches_what_is_somebody_elses() {
    let (stage, grace, _) = stage().await;
    let id = painted(&stage, &grace, "a secret").await;
    let mut owner = Visitor::known(&stage, "Grace").await;
    act(&mut owner, &id, "tag", &[("tags", "own")]).await;
    let before = owner.get(&format!("/gallery/{id}")).await.text;

    let mut mallory = Visitor::known(&stage, "Mallory").await;
    for path in
        ["/gallery", "/gallery?scope=all", "/gallery?scope=public", "/gallery?q=secret", "/gallery?tag=own"]
    {
        let page = mallory.get(path).await.text;
        assert!(shown(&page).is_empty() && !page.contains("a secret"), "{path}: {page}");
    }
    assert!(!mallory.get("/gallery").await.text.contains("own (1)"), "nor which tags there are");
    assert_eq!(mallory.get(&format!("/gallery/{id}")).await.status, 404);
    assert_eq!(mallory.get(&format!("/thumbnails/{id}.webp")).await.status, 404);
    for fields in ACTS {
        let fields: Vec<_> = [("id", id.as_str())].into_iter().chain(fields.iter().copied()).collect();
        assert_eq!(mallory.post("/gallery", &fields).await.status, 404, "{fields:?}");
    }
    assert_eq!(mallory.post("/gallery", &[("star", &id)]).await.status, 404);
    for path in [format!("/gallery/{id}/vary"), format!("/gallery/{id}/upscale")] {
        assert_eq!(mallory.post(&path, &[]).await.status, 404, "{path}");
    }
    assert_eq!(mallory.post("/gallery/export", &[("id", &id)]).await.status, 404);
    assert_eq!(
        mallory.post("/gallery/trash", &[]).await.status,
        303,
        "his own trash, in which there is nothing"
    );
    let after = owner.get(&format!("/gallery/{id}")).await.text;
    let without_link = |page: &str| page.split_once("id=\"link\"").unwrap().0.to_owned();
    assert_eq!(without_link(&before), without_link(&after), "nothing has changed");
}

#[tokio::test]
async fn a_form_about_many_pictures_passes_over_those_of_others() {
    let (stage, grace, mallory) = stage().await;
    let hers = painted(&stage, &grace, "hers").await;
    let his = painted(&stage, &mallory, "his").await;
    let mut visitor = Visitor::known(&stage, "Mallory").await;
    let page =
        visitor.post_and_go("/gallery", &[("id", &hers), ("id", &his), ("action", "trash")]).await.text;
    assert_eq!(said(&page), "Moved 1 picture to the trash.");
    assert!(!page.contains(&hers), "and says nothing about the other");
    assert_eq!(shown(&Visitor::known(&stage, "Grace").await.get("/gallery").await.text), [hers]);
}

#[tokio::test]
async fn what_is_public_is_seen_by_everyone_until_its_time_is_over_and_changed_by_nobody_else() {
    let (stage, grace, _) = stage().await;
    let id = painted(&stage, &grace, "a red apple").await;
    let (mut owner, mut nobody) = (Visitor::known(&stage, "Grace").await, Visitor::new(&stage));
    let view = format!("/gallery/{id}");
    let refused = nobody.get(&view).await;
    assert_eq!(
        (refused.status, refused.to.as_deref()),
        (303, Some(format!("/login?return=/gallery/{id}").as_str()))
    );
    let missing = nobody.get(&format!("/gallery/{}", "0".repeat(32))).await;
    assert_eq!(missing.status, 303, "nobody hears which picture there is");
    assert!(nobody.get("/gallery").await.text.contains("0 pictures"));

    let page = act(&mut owner, &id, "publish", &[("hours", "24"), ("back", &view)]).await.text;
    assert!(page.contains("Everyone who reaches this server, until"), "{page}");
    assert!(page.contains(&format!("/gallery/{id}\" readonly")), "the address to be shared");
    let page = nobody.get("/gallery").await.text;
    assert_eq!(shown(&page), std::slice::from_ref(&id));
    assert!(
        !page.contains("class=\"pick\"") && !page.contains("class=\"bulk\"") && !page.contains("star"),
        "{page}"
    );
    let page = nobody.get(&view).await.text;
    assert!(
        page.contains("a red apple") && page.contains("property=\"og:title\" content=\"a red apple\""),
        "{page}"
    );
    for control in ["name=\"action\"", "/vary", "Use its settings", "name=\"tags\""] {
        assert!(!page.contains(control), "{control}: {page}");
    }
    for path in [format!("/images/{id}.png"), format!("/thumbnails/{id}.webp")] {
        assert_eq!(nobody.get(&path).await.status, 200, "{path}");
    }
    assert_eq!(
        nobody.post("/gallery", &[("id", &id), ("action", "withdraw")]).await.to.unwrap(),
        "/login?return=/gallery"
    );
    let mut mallory = Visitor::known(&stage, "Mallory").await;
    assert!(mallory.get(&view).await.text.contains("Use its settings"), "others may go on from it");
    assert_eq!(mallory.post("/gallery", &[("id", &id), ("action", "withdraw")]).await.status, 404);

    stage.clock.turn(BEGINNING + 24 * 3600 + 1);
    assert_eq!(nobody.get(&view).await.status, 303);
    assert!(nobody.get("/gallery").await.text.contains("0 pictures"));
    let mut owner = Visitor::known(&stage, "Grace").await;
    let page = owner.get(&view).await.text;
    assert!(page.contains("Only you and the administrators of this server. It was public until"), "{page}");
}

#[tokio::test]
async fn administrators_see_everything_and_describe_nothing_that_is_not_theirs() {
    let (stage, grace, _) = stage().await;
    let id = painted(&stage, &grace, "a red apple").await;
    let mut ada = Visitor::known(&stage, "Ada").await;
    assert!(shown(&ada.get("/gallery").await.text).is_empty());
    let page = ada.get("/gallery?scope=all").await.text;
    assert_eq!(shown(&page), std::slice::from_ref(&id));
    assert!(page.contains("<span class=\"badge\">Grace</span>"));
    let page = ada.get(&format!("/gallery/{id}?scope=all")).await.text;
    assert!(
        page.contains("<dt>Owner</dt><dd>Grace</dd>") && page.contains("Only Grace and the administrators")
    );
    assert!(!page.contains("name=\"tags\"") && !page.contains("data-star"), "{page}");
    for fields in [[("action", "tag"), ("tags", "x")], [("action", "favourite"), ("", "")]] {
        let fields: Vec<_> = [("id", id.as_str())].into_iter().chain(fields).collect();
        assert_eq!(ada.post("/gallery", &fields).await.status, 404);
    }
    act(&mut ada, &id, "publish", &[("hours", "until")]).await;
    act(&mut ada, &id, "withdraw", &[]).await;
    let page = act(&mut ada, &id, "trash", &[("back", "/gallery?scope=all")]).await.text;
    assert_eq!(said(&page), "Moved 1 picture to the trash.");
    assert_eq!(shown(&Visitor::known(&stage, "Grace").await.get("/gallery/trash").await.text), [id]);
}

#[tokio::test]
async fn without_accounts_everyone_has_the_same_pictures() {
    let server = crate::harness::Server::paint().await;
    let page =
        super::super::jobs::end(&server, server.submit(&[("prompt", "a fox"), ("steps", "1")]).await).await;
    let id = between(&page, "/images/", ".png").to_owned();
    let page = server.get("/gallery").await.text().await.unwrap();
    assert_eq!(shown(&page), std::slice::from_ref(&id));
    assert!(page.contains(">Shared</a>") && !page.contains("Everyone&#39;s"), "{page}");
    let page = server.get(&format!("/gallery/{id}")).await.text().await.unwrap();
    assert!(page.contains("it was made without an account"), "{page}");
    let form = [("id", id.as_str()), ("action", "trash"), ("back", "/gallery")];
    let page = server.client.post(format!("{}/gallery", server.base)).form(&form).send().await.unwrap();
    assert_eq!(said(&page.text().await.unwrap()), "Moved 1 picture to the trash.");
}
