// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
// While the server paints, the button says so and counts the seconds. Everything works without this file.
"use strict";

for (const form of document.querySelectorAll("form")) {
  const button = form.querySelector("button[data-busy]");
  if (!button) continue;
  const label = button.textContent;
  let timer;

  form.addEventListener("submit", () => {
    const began = Date.now();
    const tick = () => {
      button.textContent = `${button.dataset.busy} … ${Math.round((Date.now() - began) / 1000)} s`;
    };
    button.setAttribute("aria-busy", "true");
    // Disabled only after the browser has taken the form along.
    setTimeout(() => (button.disabled = true));
    tick();
    timer = setInterval(tick, 1000);
  });

  // The way back finds the page as it was left: without this, with a dead button.
  addEventListener("pageshow", () => {
    clearInterval(timer);
    button.disabled = false;
    button.removeAttribute("aria-busy");
    button.textContent = label;
  });

  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
}
