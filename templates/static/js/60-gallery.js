// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
// The gallery by keyboard, and without loading it anew.

/** The page in an answer; what it says is wrong is thrown. */
async function pageOf(answer) {
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (!answer.ok) throw new Error(page.querySelector("main p")?.textContent);
  return page;
}

/** Sends fields as a form of the gallery would. */
function sendToGallery(fields, redirect = "follow") {
  return fetch("/gallery", { method: "POST", body: new URLSearchParams(fields), redirect });
}

/** Says something where the pages say what was done. */
function sayNews(...content) {
  document.querySelector("#news").replaceChildren(...content);
}

function sayProblem(error) {
  const text = error.message || "That did not work. Is the server there?";
  sayNews(Object.assign(document.createElement("p"), { className: "problem", textContent: text }));
}

/** Makes a picture a favourite, or one like all others again. */
async function turnStar(star) {
  const wanted = star.ariaPressed !== "true";
  const show = (on) => {
    star.ariaPressed = on;
    star.name = on ? "unstar" : "star";
  };
  show(wanted);
  // That it leads on is enough to know: the page behind it is the one that is open.
  const answer = await sendToGallery([[wanted ? "star" : "unstar", star.value]], "manual").catch(() => null);
  if (answer?.type === "opaqueredirect") return;
  show(!wanted);
  sayProblem({});
}

/** The tiles of a gallery: chosen, walked over, moved to the trash. */
class Shelf {
  constructor(gallery) {
    this.gallery = gallery;
    this.list = gallery.querySelector(".tiles");
    this.bulk = gallery.querySelector("#bulk");
    this.last = null;
    gallery.addEventListener("click", (event) => this.click(event));
    gallery.addEventListener("change", () => this.count());
    this.list.addEventListener("keydown", (event) => this.key(event));
    gallery.querySelector("[data-keys]")?.addEventListener("click", () => this.showKeys());
    for (const which of ["all", "none"]) {
      gallery.querySelector(`[data-select=${which}]`)?.addEventListener("click", () => this.choose(which === "all"));
    }
    // The way back finds the boxes as they were left.
    addEventListener("pageshow", () => this.count());
  }

  get tiles() {
    return [...this.list.children];
  }

  get chosen() {
    return this.tiles.filter((tile) => tile.querySelector(".pick:checked"));
  }

  choose(checked, tiles = this.tiles) {
    for (const tile of tiles) {
      const pick = tile.querySelector(".pick");
      if (pick) pick.checked = checked;
    }
    this.count();
  }

  count() {
    const { length } = this.chosen;
    const said = this.bulk?.querySelector(".picked");
    if (!said) return;
    said.hidden = length === 0;
    said.querySelector("output").textContent = `${length} selected`;
  }

  click(event) {
    const pick = event.target.closest(".pick");
    if (!pick) return;
    this.reach(pick.closest(".tile"), pick.checked, event.shiftKey);
  }

  /** A tile was chosen, or not any more; all between it and the one before it too, if they are wanted. */
  reach(tile, checked, range) {
    const places = [this.last, tile].map((which) => this.tiles.indexOf(which));
    if (range && places[0] >= 0) {
      this.choose(checked, this.tiles.slice(Math.min(...places), Math.max(...places) + 1));
    }
    this.last = tile;
    this.count();
  }

  key(event) {
    const tile = event.target.closest(".tile");
    if (!tile || event.ctrlKey || event.metaKey || event.altKey) return;
    const link = event.target.closest("a");
    const acts = {
      ArrowLeft: () => this.go(tile.previousElementSibling),
      ArrowRight: () => this.go(tile.nextElementSibling),
      ArrowUp: () => this.go(this.beyond(tile, -1)),
      ArrowDown: () => this.go(this.beyond(tile, 1)),
      Delete: () => this.discard(this.chosen.length > 0 ? this.chosen : [tile]),
      Escape: () => this.choose(false),
      f: () => tile.querySelector(".star")?.click(),
      "?": () => this.showKeys(),
    };
    // Enter in a box would press the first button of the form.
    if (event.target.closest(".pick")) acts.Enter = () => event.target.click();
    if (link) {
      acts[" "] = () => {
        const pick = tile.querySelector(".pick");
        if (!pick) return;
        pick.checked = !pick.checked;
        this.reach(tile, pick.checked, event.shiftKey);
      };
    }
    const act = acts[event.key] ?? acts[event.key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act();
  }

  go(tile) {
    tile?.querySelector("a").focus();
  }

  /** The tile above or below: of the next row, that whose middle is nearest. */
  beyond(tile, direction) {
    const box = (of) => of.getBoundingClientRect();
    const middle = (of) => box(of).left + box(of).width / 2;
    const rows = this.tiles.filter((other) => direction * (box(other).top - box(tile).top) > 8);
    const nearest = Math.min(...rows.map((other) => direction * box(other).top));
    const row = rows.filter((other) => direction * box(other).top - nearest < 8);
    const far = (other) => Math.abs(middle(other) - middle(tile));
    return row.sort((one, other) => far(one) - far(other))[0];
  }

  /** Moves tiles to the trash; the page that comes of it says so, and how to undo it. */
  async discard(tiles) {
    // In the trash itself nothing is deleted by one key.
    if (!document.querySelector("#stars")) return;
    const ids = tiles.map((tile) => ["id", tile.querySelector(".pick")?.value]).filter(([, id]) => id);
    if (ids.length === 0) return;
    const next = this.tiles.slice(this.tiles.indexOf(tiles.at(-1)) + 1)[0] ?? tiles[0].previousElementSibling;
    try {
      const { value } = this.bulk.elements.back;
      const page = await pageOf(await sendToGallery([...ids, ["action", "trash"], ["back", value]]));
      for (const tile of tiles) tile.remove();
      // What comes next has moved up: only the server knows what is there now.
      if (this.tiles.length === 0 || this.gallery.querySelector(".pager [rel=next]")) return location.replace(value);
      this.gallery.querySelector(".sum").replaceWith(page.querySelector(".sum"));
      sayNews(...page.querySelector("#news").children);
      this.go(next);
      this.count();
    } catch (error) {
      sayProblem(error);
    }
  }

  showKeys() {
    const keys = this.gallery.querySelector("dialog.keys");
    keys.querySelector("button").addEventListener("click", () => keys.close(), { once: true });
    keys.showModal();
  }
}

/** Loads the next pages when their link comes near, a few of them: after that the link is a link. */
class Endless {
  constructor(gallery, pager) {
    this.gallery = gallery;
    this.pager = pager;
    this.left = 5;
    this.loading = false;
    /** The first tile of each page, with the page's address. */
    this.pages = [[null, location.href]];
    new IntersectionObserver(() => this.more(), { rootMargin: "0px 0px 600px" }).observe(pager);
    addEventListener("scrollend", () => this.settle());
    gallery.addEventListener("click", ({ target }) => {
      const tile = target.closest("a") && target.closest(".tile");
      // Back leads to this picture, also where the page is loaded anew.
      if (tile) history.replaceState(null, "", `${this.address(tile).split("#")[0]}#${tile.id}`);
    });
  }

  near() {
    return this.pager.getBoundingClientRect().top < innerHeight + 600;
  }

  async more() {
    const next = this.pager.querySelector("[rel=next]");
    if (!next || this.loading || this.left === 0 || !this.near()) return;
    this.loading = true;
    this.left -= 1;
    try {
      const page = await pageOf(await fetch(next.href));
      const tiles = [...page.querySelectorAll(".tile")].filter(({ id }) => !document.getElementById(id));
      if (tiles.length > 0) this.pages.push([tiles[0], next.href]);
      this.gallery.querySelector(".tiles").append(...tiles);
      this.pager.replaceChildren(...page.querySelector(".pager").childNodes);
    } catch {
      // The link is still there.
      this.left = 0;
    }
    this.loading = false;
    this.more();
  }

  /** The address of the page that a tile is on. */
  address(tile) {
    const before = ([first]) => !first || first === tile || first.compareDocumentPosition(tile) & 4;
    return this.pages.findLast(before)[1];
  }

  /** The address follows what is looked at. */
  settle() {
    const seen = [...this.gallery.querySelectorAll(".tile")].find((tile) => tile.getBoundingClientRect().top > 0);
    if (seen && this.pages.length > 1) history.replaceState(null, "", this.address(seen));
  }
}

/** One picture by keyboard. */
function viewByKey(event) {
  if (event.target.closest("input, select, dialog") || event.ctrlKey || event.metaKey || event.altKey) return;
  const keys = { ArrowLeft: "[rel=prev]", ArrowRight: "[rel=next]", Escape: "[rel=up]", Delete: "[data-trash]" };
  // A letter acts only where it cannot be meant for something else.
  if (event.target.closest(".view")) keys.f = ".view .star";
  const aim = keys[event.key] && document.querySelector(keys[event.key]);
  if (!aim) return;
  event.preventDefault();
  aim.click();
}

const shown = document.querySelector(".gallery, .view");
if (shown) {
  for (const element of shown.querySelectorAll(".scripted")) element.hidden = false;
  // What was just done stands in the address until it is said.
  const address = new URL(location);
  if (address.searchParams.has("done")) {
    for (const name of ["done", "count", "moved"]) address.searchParams.delete(name);
    history.replaceState(null, "", address);
  }
  shown.addEventListener("click", (event) => {
    const star = event.target.closest(".star");
    const copy = event.target.closest("[data-copy]");
    if (copy) copyOf(document.querySelector(copy.dataset.copy), copy);
    if (!star) return;
    event.preventDefault();
    turnStar(star);
  });
  // Addresses without what was left open are shorter to share.
  shown.querySelector(".sift")?.addEventListener("formdata", ({ formData }) => {
    for (const [name, value] of [...formData]) if (value === "") formData.delete(name);
  });
  if (shown.matches(".view")) addEventListener("keydown", viewByKey);
  if (shown.querySelector(".tiles")) new Shelf(shown);
  const pager = shown.querySelector(".pager");
  if (pager) new Endless(shown, pager);
}
