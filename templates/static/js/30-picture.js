// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
// One picture, as large as the screen: arrows lead to the next one of the page, Esc leads back. Without this file a link
// leads to the picture's own page.

/** Shows the pictures behind links of a class one at a time, beginning with the one that was pressed. */
function showLarge(links, first) {
  const stage = document.createElement("dialog");
  stage.className = "stage";
  stage.setAttribute("aria-label", "Picture");
  const picture = new Image();
  let at = links.indexOf(first);
  const show = (place) => {
    at = (place + links.length) % links.length;
    const small = links[at].querySelector("img");
    picture.src = links[at].dataset.picture ?? small.src;
    picture.alt = small.alt;
  };
  const button = (name, label, sign, act) => {
    const made = Object.assign(document.createElement("button"), { type: "button", className: name, textContent: sign });
    made.setAttribute("aria-label", label);
    made.addEventListener("click", act);
    return made;
  };
  stage.append(picture, button("close", "Close", "×", () => stage.close()));
  if (links.length > 1) {
    stage.append(button("before", "Previous picture", "‹", () => show(at - 1)), button("after", "Next picture", "›", () => show(at + 1)));
  }
  stage.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && links.length > 1) show(at + step);
  });
  picture.addEventListener("click", () => stage.close());
  stage.addEventListener("close", () => {
    stage.remove();
    links[at].focus();
  });
  document.body.append(stage);
  show(at);
  stage.showModal();
}

// Also for pictures that come later.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a.large");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  showLarge([...document.querySelectorAll("a.large")], link);
});
