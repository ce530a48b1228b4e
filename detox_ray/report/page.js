"use strict";
// Text stays blurred, and silent for screen readers, until a person asks for it.
function show(button, shown) {
  button.setAttribute("aria-pressed", String(shown));
  if (shown) button.removeAttribute("aria-label");
  else button.setAttribute("aria-label", button.dataset.veiled);
}
for (const button of document.querySelectorAll("button.veil")) {
  button.addEventListener("click", () => {
    if (!String(getSelection())) show(button, button.getAttribute("aria-pressed") !== "true");
  });
}
for (const all of document.querySelectorAll("button.show-all")) {
  all.addEventListener("click", () => {
    const shown = all.getAttribute("aria-pressed") !== "true";
    all.setAttribute("aria-pressed", String(shown));
    for (const button of all.closest("details").querySelectorAll("button.veil")) show(button, shown);
  });
}
