"use strict";
// Each text is blurred, and not read by screen readers, until it is activated.
for (const button of document.querySelectorAll("button.veil")) {
  button.addEventListener("click", () => {
    const open = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(open));
    if (open) button.removeAttribute("aria-label");
    else button.setAttribute("aria-label", button.dataset.veiled);
  });
}
