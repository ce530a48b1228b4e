"use strict";
// Texts are blurred, and silent for screen readers, until a person asks for one.
for (const button of document.querySelectorAll("button.veil")) {
  button.addEventListener("click", () => {
    const open = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(open));
    if (open) button.removeAttribute("aria-label");
    else button.setAttribute("aria-label", button.dataset.veiled);
  });
}
