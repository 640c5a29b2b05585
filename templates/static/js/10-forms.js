// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
// A form is sent once, and Ctrl+Enter sends it. Everything works without these files, which are served as one.
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
