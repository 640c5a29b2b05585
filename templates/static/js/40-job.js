// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
// The page of a job follows it.

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
    const { length } = section.querySelectorAll("figure");
    if (length > 1 && step > 0 && step < steps) bringFinished(section);
    say(doing, eta_s == null || step >= steps ? "" : `about ${span(eta_s)} left`, section.dataset.doing);
  });

  on("preview", ({ image, b64_json, output_format }) => {
    const easel = section.querySelectorAll("figure")[image]?.querySelector(".easel");
    if (!easel) return;
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

/** Milliseconds between two looks whether a picture of several is finished. */
const LOOK_MS = 1500;
let looked = 0;

/** Puts those pictures in their places that are finished while others are still being made. */
async function bringFinished(section) {
  if (Date.now() - looked < LOOK_MS) return;
  looked = Date.now();
  const answer = await fetch(location.href).catch(() => null);
  if (!answer?.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = [...page.querySelectorAll("[data-job].live figure")];
  for (const [at, figure] of [...section.querySelectorAll("figure")].entries()) {
    if (!figure.querySelector(".easel") || !fresh[at]?.querySelector("a.large")) continue;
    const finished = document.importNode(fresh[at], true);
    await finished.querySelector("img").decode().catch(() => {});
    figure.replaceWith(finished);
  }
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
