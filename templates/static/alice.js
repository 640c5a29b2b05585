// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
// A form is sent once, a picture to begin with is dropped, pasted and painted over, and the page of a job follows it.
// Everything works without this file.
"use strict";

for (const form of document.querySelectorAll("form")) {
  const button = form.querySelector("button[data-busy]");
  if (!button) continue;
  const label = button.textContent;

  form.addEventListener("submit", () => {
    button.setAttribute("aria-busy", "true");
    button.textContent = button.dataset.busy;
    // Disabled only after the browser has taken the form along.
    setTimeout(() => (button.disabled = true));
  });

  // The way back finds the page as it was left: without this, with a dead button.
  addEventListener("pageshow", () => {
    button.disabled = false;
    button.removeAttribute("aria-busy");
    button.textContent = label;
  });

  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
}

/* ---- A picture to begin with ---- */

/** Puts a file into a field, as if somebody had chosen it there; none empties the field. */
function choose(field, file) {
  const carrier = new DataTransfer();
  if (file) carrier.items.add(file);
  field.files = carrier.files;
}

/** The picture with the mask over it, which is painted with a finger, a pen or a mouse. */
class Painting {
  constructor(place, field) {
    this.place = place;
    this.field = field;
    this.strokes = [];
    /** Resolves when the mask of what was painted is in the field; there is none when it is. */
    this.unfinished = null;
    place.innerHTML = `
      <div class="canvases"><canvas class="photo"></canvas><canvas class="over"></canvas></div>
      <p class="hint">Paint over what should change. Without paint, all of it may.</p>
      <div class="tools">
        <label>Brush <input type="range" min="1" max="30" value="10"></label>
        <button class="plain" type="button" name="undo">Undo</button>
        <button class="plain" type="button" name="clear">Clear</button>
      </div>`;
    [this.photo, this.over] = place.querySelectorAll("canvas");
    this.brush = place.querySelector("input");
    place.querySelector("[name=undo]").addEventListener("click", () => this.keep(this.strokes.slice(0, -1)));
    place.querySelector("[name=clear]").addEventListener("click", () => this.keep([]));
    this.over.addEventListener("pointerdown", (event) => this.begin(event));
    // A mask from elsewhere takes the place of what was painted.
    field.addEventListener("change", () => {
      this.unfinished = null;
      this.draw((this.strokes = []));
    });
  }

  /** Shows another picture, without a mask. */
  show(bitmap) {
    for (const canvas of [this.photo, this.over]) Object.assign(canvas, { width: bitmap.width, height: bitmap.height });
    this.photo.getContext("2d").drawImage(bitmap, 0, 0);
    this.photo.parentElement.style.setProperty("--shape", bitmap.width / bitmap.height);
    this.place.hidden = false;
    this.keep([]);
  }

  hide() {
    this.place.hidden = true;
    this.keep([]);
  }

  begin(event) {
    const { over } = this;
    const frame = over.getBoundingClientRect();
    const point = ({ clientX, clientY }) => [
      ((clientX - frame.left) * over.width) / frame.width,
      ((clientY - frame.top) * over.height) / frame.height,
    ];
    const stroke = { width: (Math.min(over.width, over.height) * this.brush.value) / 60, points: [point(event)] };
    const strokes = [...this.strokes, stroke];
    const move = (moved) => this.draw(strokes, stroke.points.push(point(moved)));
    const end = () => {
      over.removeEventListener("pointermove", move);
      this.keep(strokes);
    };
    event.preventDefault();
    over.setPointerCapture(event.pointerId);
    over.addEventListener("pointermove", move);
    over.addEventListener("lostpointercapture", end, { once: true });
    this.draw(strokes);
  }

  draw(strokes) {
    const brush = this.over.getContext("2d");
    brush.clearRect(0, 0, this.over.width, this.over.height);
    Object.assign(brush, { lineCap: "round", lineJoin: "round", strokeStyle: "#e0218a" });
    for (const { width, points } of strokes) {
      brush.lineWidth = width;
      brush.beginPath();
      brush.moveTo(...points[0]);
      // A point alone is a dot.
      for (const point of points.length > 1 ? points : [...points, points[0]]) brush.lineTo(...point);
      brush.stroke();
    }
  }

  /** These strokes are the mask: white where they are, black elsewhere. */
  keep(strokes) {
    this.strokes = strokes;
    this.draw(strokes);
    this.unfinished = null;
    if (strokes.length === 0) return choose(this.field, null);
    const { width, height } = this.over;
    const mask = Object.assign(document.createElement("canvas"), { width, height });
    const brush = mask.getContext("2d");
    brush.drawImage(this.over, 0, 0);
    for (const [how, colour] of [["source-in", "#fff"], ["destination-over", "#000"]]) {
      Object.assign(brush, { globalCompositeOperation: how, fillStyle: colour });
      brush.fillRect(0, 0, width, height);
    }
    this.unfinished = new Promise((done) => mask.toBlob(done, "image/png")).then((blob) => {
      if (this.strokes !== strokes) return;
      choose(this.field, new File([blob], "mask.png", { type: "image/png" }));
      this.unfinished = null;
    });
  }
}

/** The part of the form for a picture to begin with. */
function beginWithPicture(part) {
  const form = part.closest("form");
  const field = part.querySelector("#image");
  const painting = new Painting(part.querySelector(".paint"), part.querySelector("#mask"));
  const source = part.querySelector(".source img");
  for (const element of part.querySelectorAll(".scripted")) element.hidden = false;

  const strength = part.querySelector("#strength");
  const said = part.querySelector("output");
  const say = () => (said.textContent = `${Math.round(strength.value * 100)} %`);
  strength.addEventListener("input", say);
  say();

  const size = form.querySelector("#size");
  let chosen = false;
  size.addEventListener("change", () => (chosen = true));
  const show = (bitmap) => {
    part.open = true;
    if (source) source.hidden = true;
    painting.show(bitmap);
    if (!chosen) size.value = "picture";
  };

  const take = async () => {
    const [file] = field.files;
    if (!file) return source ? show(source) : painting.hide();
    // What the browser cannot show, the server may still read or refuse.
    const bitmap = await createImageBitmap(file).catch(() => null);
    if (bitmap) show(bitmap);
    else painting.hide();
  };
  field.addEventListener("change", take);
  // The way back finds the field as it was left.
  if (field.files.length > 0) take();
  else if (source) source.decode().then(() => show(source), () => {});

  const picture = (files) => [...files].find((file) => file.type.startsWith("image/"));
  const bring = (event, files) => {
    const file = picture(files);
    if (!file) return;
    event.preventDefault();
    choose(field, file);
    take();
  };
  addEventListener("paste", (event) => bring(event, event.clipboardData.files));
  addEventListener("dragover", (event) => {
    if (event.dataTransfer.types.includes("Files")) event.preventDefault();
  });
  addEventListener("drop", (event) => bring(event, event.dataTransfer.files));

  // Before the form is sent, the mask must be whole.
  form.addEventListener("submit", (event) => {
    if (!painting.unfinished) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const { submitter } = event;
    // A form is not sent again while it is being sent: not before this event is over.
    painting.unfinished.then(() => setTimeout(() => form.requestSubmit(submitter)));
  }, { capture: true });
}

const begin = document.querySelector(".begin");
if (begin) beginWithPicture(begin);

/* ---- The page of a job ---- */

/** Milliseconds after which a page or stream that could not be had is asked for again. */
const AGAIN_MS = 2000;

/** A length of time in the server's words (`words.rs`). */
function span(seconds) {
  const [count, unit] =
    seconds < 10 ? [Math.max(Math.ceil(seconds), 1), "second"]
    : seconds < 90 ? [Math.round(seconds / 5) * 5, "second"]
    : seconds < 5400 ? [Math.round(seconds / 60), "minute"]
    : [Math.round(seconds / 3600), "hour"];
  return `${count} ${unit}${count > 1 ? "s" : ""}`;
}

/** Shows what happens to the job of this part of the page, until it is over. */
function follow(section) {
  const part = (id) => section.querySelector(`#${id}`);
  const events = new EventSource(`/v1/jobs/${section.dataset.job}/events`);
  const on = (name, act) => events.addEventListener(name, (event) => act(JSON.parse(event.data)));

  const say = (doing, left, news) => {
    part("doing").textContent = doing;
    part("left").textContent = left;
    document.title = `${doing} · ALICE`;
    tell(news);
  };

  on("queued", ({ position, eta_s }) => {
    const before = position === 1 ? "1 is before you" : `${position} are before you`;
    const doing = position === 0 ? "You are next" : before;
    part("bar").removeAttribute("value");
    say(doing, eta_s == null ? "" : `done in about ${span(eta_s)}`, "Waiting for its turn");
  });

  on("running", ({ step, steps, eta_s }) => {
    const doing = step === 0 ? "Getting ready" : step >= steps ? "Finishing" : `Step ${step} of ${steps}`;
    Object.assign(part("bar"), { max: steps, value: step });
    say(doing, eta_s == null || step >= steps ? "" : `about ${span(eta_s)} left`, section.dataset.doing);
  });

  on("preview", ({ image, b64_json, output_format }) => {
    const easel = section.querySelectorAll(".easel")[image];
    const preview = easel.querySelector(".preview") ?? easel.appendChild(new Image());
    preview.className = "preview";
    preview.alt = "";
    preview.src = `data:image/${output_format};base64,${b64_json}`;
  });

  for (const end of ["done", "failed", "cancelled"]) {
    events.addEventListener(end, () => {
      events.close();
      renew(section);
    });
  }

  // The browser comes back to a stream by itself, unless something answers in the server's place.
  events.addEventListener("error", () => {
    part("left").textContent = "connecting again …";
    if (events.readyState === EventSource.CLOSED) setTimeout(renew, AGAIN_MS, section);
  });

  // Cancelling leaves the page, and what was typed meanwhile, as they are: the stream tells the end.
  section.querySelector(".now form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const { target: form, submitter: button } = event;
    button.disabled = true;
    const answer = await fetch(form.action, { method: "POST", redirect: "manual" }).catch(() => null);
    if (!answer) button.disabled = false; // The server is away: for another try.
    else if (answer.type !== "opaqueredirect") form.submit(); // It has something else to say.
  });
}

/** Says something aloud, once. */
function tell(news) {
  const place = document.getElementById("news");
  if (place.textContent !== news) place.textContent = news;
}

/** Shows the part of the page that tells of the job as the server shows it now. */
async function renew(section) {
  try {
    const answer = await fetch(location.href);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("[data-job]");
    // The login has ended, or the job is forgotten: the server has a page for that.
    if (!fresh) return location.reload();
    const shown = document.importNode(fresh, true);
    // So that the last preview stays until the picture is there.
    await Promise.allSettled([...shown.querySelectorAll("img")].map((image) => image.decode()));
    section.replaceWith(shown);
    document.title = page.title;
    tell(page.getElementById("news").textContent);
    if (shown.classList.contains("live")) setTimeout(follow, AGAIN_MS, shown);
  } catch {
    setTimeout(renew, AGAIN_MS, section);
  }
}

const present = document.querySelector("[data-job].live");
if (present) follow(present);
