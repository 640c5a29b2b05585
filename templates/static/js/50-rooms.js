// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
// Queue and status: kept up to date while one looks, until one pauses it.

/** What finds the same control in a newer copy of its part of the page. */
function sameControl(control) {
  const [address, selector] = control.form
    ? [control.form.getAttribute("action"), (text) => `form[action="${text}"] button`]
    : [control.getAttribute("href"), (text) => `a[href="${text}"]`];
  return address && selector(CSS.escape(address));
}

/** Puts the server's newest copy in the place of a part of the page, unless somebody is at something in it. */
async function refreshPart(part) {
  const answer = await fetch(location.href).catch(() => null);
  if (!answer?.ok || part.querySelector("details[open]")) return part;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById(part.id);
  // The login has ended: the server has a page for that.
  if (!fresh) return location.reload();
  const shown = document.importNode(fresh, true);
  await Promise.allSettled([...shown.querySelectorAll("img:not([loading])")].map((image) => image.decode()));
  const focus = part.contains(document.activeElement) && sameControl(document.activeElement);
  part.replaceWith(shown);
  if (focus) shown.querySelector(focus)?.focus();
  const news = document.getElementById("news");
  const told = page.getElementById("news")?.textContent;
  if (news && told && news.textContent !== told) news.textContent = told;
  return shown;
}

let renewed = document.querySelector("[data-renew]");
if (renewed) {
  const button = document.querySelector("[data-pause]");
  let paused = false;
  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Go on updating" : "Pause updates";
  });
  const turn = async () => {
    // A copy that broke off on its way is fetched again.
    if (!paused && !document.hidden) renewed = (await refreshPart(renewed).catch(() => null)) ?? renewed;
    setTimeout(turn, renewed.dataset.renew * 1000);
  };
  setTimeout(turn, renewed.dataset.renew * 1000);
}
