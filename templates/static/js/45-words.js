// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
// Examples are copied with one press.

/** Copies a text, and says on the button that it did. */
async function copy(text, button) {
  // What it says when it is pressed again before it says so itself.
  const label = (button.dataset.label ??= button.textContent);
  // Pages that came without encryption from another machine have no clipboard but the selection.
  const copied = await navigator.clipboard?.writeText(text).then(() => true, () => false);
  button.textContent = copied ? "Copied" : "Press Ctrl+C";
  setTimeout(() => (button.textContent = label), 2000);
  return copied;
}

/** Copies what an element holds; where that cannot be, it is selected. */
async function copyOf(element, button) {
  if (await copy(element.value ?? element.textContent, button)) return;
  if (element.select) element.select();
  else getSelection().selectAllChildren(element);
}

for (const place of document.querySelectorAll(".copied")) {
  const example = place.querySelector("pre, input, code");
  const button = Object.assign(document.createElement("button"), { type: "button", className: "plain copy", textContent: "Copy" });
  button.setAttribute("aria-label", "Copy this example");
  button.addEventListener("click", () => copyOf(example, button));
  place.append(button);
}
