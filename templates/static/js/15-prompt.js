// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
// The form that asks for pictures: tokens are counted while one types, weights change by keys, and what is offered follows
// the model that is chosen.

/** Milliseconds after the last letter until tokens are counted. */
const PAUSE_MS = 300;

/** Says beside both prompts how much of what the model reads at once they take. */
function countTokens(form) {
  const fields = ["prompt", "negative_prompt"].map((name) => form.querySelector(`#${name}`));
  const places = ["tokens", "negative_tokens"].map((id) => form.querySelector(`#${id}`));
  let latest = 0;
  let timer;
  const say = (place, { tokens, chunks, tokens_per_chunk: room }) => {
    const parts = chunks > 1 ? ` in ${chunks} parts` : ` of ${room}`;
    place.textContent = tokens ? `${tokens}${parts} tokens` : "";
  };
  const count = async () => {
    const asked = ++latest;
    const [prompt, negative_prompt] = fields.map((field) => field.value);
    const model = form.querySelector("[name=model]:checked")?.value;
    const answer = await fetch("/v1/tokens", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model, prompt, negative_prompt }),
    }).catch(() => null);
    // A later question has its own answer; where there is none, nothing is said.
    if (asked !== latest) return;
    const counted = answer?.ok ? await answer.json() : null;
    places.forEach((place, at) => (counted ? say(place, [counted.prompt, counted.negative_prompt][at]) : (place.textContent = "")));
  };
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(count, PAUSE_MS);
  };
  for (const field of fields) field.addEventListener("input", soon);
  form.addEventListener("change", (event) => event.target.name === "model" && soon());
  if (fields.some((field) => field.value)) soon();
}

/** Changes the weight of what is selected in a prompt by Ctrl and the arrows: `fox` becomes `(fox:1.1)`. */
function weigh(field, step) {
  let { selectionStart: start, selectionEnd: end, value } = field;
  if (start === end) {
    while (start > 0 && /[^\s,():]/.test(value[start - 1])) start--;
    while (end < value.length && /[^\s,():]/.test(value[end])) end++;
  }
  if (start === end) return;
  let weight = 1;
  let words = value.slice(start, end);
  const behind = /^:(-?[\d.]+)\)/.exec(value.slice(end));
  if (value[start - 1] === "(" && behind) {
    weight = Number(behind[1]);
    start--;
    end += behind[0].length;
  } else {
    const inside = /^\((.*):(-?[\d.]+)\)$/s.exec(words);
    if (inside) [, words, weight] = [inside[0], inside[1], Number(inside[2])];
  }
  weight = Math.round((weight + step) * 100) / 100;
  const weighed = weight === 1 ? words : `(${words}:${weight})`;
  field.setRangeText(weighed, start, end, "select");
  if (weight !== 1) field.setSelectionRange(start + 1, start + 1 + words.length);
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

/** What is offered beside a model follows it: its sizes alone, and which LoRAs were made for others. */
function followModel(form) {
  const size = form.querySelector("#size");
  const groups = [...size.querySelectorAll("optgroup")];
  const fit = () => {
    const model = form.querySelector("[name=model]:checked");
    if (!model) return;
    for (const group of groups) {
      const fits = group.label === model.dataset.shapes;
      // A list may show hidden groups; those that are not in it, it does not.
      if (fits) size.append(group);
      else group.remove();
    }
    if (size.selectedIndex < 0) size.selectedIndex = 0;
    form.querySelector(".pick .chosen").textContent = model.dataset.name;
    form.querySelector(".pick summary .tag").textContent = model.dataset.badge;
    for (const lora of form.querySelectorAll(".loras li")) {
      const suits = !lora.dataset.family || lora.dataset.family === model.dataset.family;
      lora.classList.toggle("off", !suits);
      lora.querySelector(".unsuited").hidden = suits;
    }
  };
  form.addEventListener("change", (event) => event.target.name === "model" && fit());
  fit();
}

const ask = document.querySelector("form.ask");
if (ask) {
  for (const element of ask.querySelectorAll(".scripted")) element.hidden = false;
  followModel(ask);
  countTokens(ask);
  for (const field of ask.querySelectorAll("textarea")) {
    field.addEventListener("keydown", (event) => {
      const step = { ArrowUp: 0.1, ArrowDown: -0.1 }[event.key];
      if (!step || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      weigh(field, step);
    });
  }
  for (const button of ask.querySelectorAll("[data-seed]")) {
    button.addEventListener("click", () => (ask.querySelector("#seed").value = button.dataset.seed));
  }
  const sides = [ask.querySelector("#width"), ask.querySelector("#height")];
  ask.querySelector("#swap").addEventListener("click", () => {
    const [width, height] = sides;
    if (width.value || height.value) [width.value, height.value] = [height.value, width.value];
    else {
      // Nothing of one's own yet: the other way round from the list.
      const listed = /^(\d+)x(\d+)$/.exec(ask.querySelector("#size").value);
      if (listed) [width.value, height.value] = [listed[2], listed[1]];
    }
  });
}
