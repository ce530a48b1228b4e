"use strict";
// The explorer. Texts are set with textContent. Each is blurred, and not read by screen readers, until it is activated.
const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("explorer-data").textContent);
const STEP = 20;
const PROMPTS = "prompts";  // the choice of what is no item of a set
const SHOWN = data.prompts.some((entry) => entry[4]) ? ["entries", "texts"] : ["prompts", "completions"];
const form = byId("explorer-form"), list = byId("explorer-list"), more = byId("explorer-more");
const controls = Object.fromEntries(
  ["language", "group", "part", "model", "status", "low", "high", "order", "query", "show"].map((name) => [name, byId("x-" + name)]));
let found = [], shown = 0, timer = 0;

function element(kind, name, text) {
  const made = document.createElement(kind);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

function uncover(button, open) {
  button.setAttribute("aria-pressed", String(open));
  if (open) button.removeAttribute("aria-label");
  else button.setAttribute("aria-label", button.dataset.veiled);
}

function veil(text, code, kind, label) {
  const button = element("button", "veil " + kind);
  const inner = element("bdi", "", text);
  button.type = "button";
  button.dataset.veiled = `Blurred ${label}: activate to show`;
  inner.lang = code;
  inner.dir = data.languages[code][1];
  button.append(inner);
  uncover(button, controls.show.checked);
  button.addEventListener("click", () => {
    if (!String(getSelection())) uncover(button, button.getAttribute("aria-pressed") !== "true");
  });
  return button;
}

const fold = (text) => text.normalize("NFKC").toLowerCase();
const folded = new Map();
function words(entry) {
  if (!folded.has(entry)) folded.set(entry, [fold(entry[2] + "\n" + entry[1]), ...entry[3].map((c) => fold(c[2]))]);
  return folded.get(entry);
}

function matching(entry) {
  const { language, model, status } = controls;
  if (language.value && entry[0] !== language.value) return [];
  if (controls.group?.value && entry[4] !== (controls.group.value === PROMPTS ? "" : controls.group.value)) return [];
  if (controls.part?.value && entry[5] !== controls.part.value) return [];
  const low = controls.low.valueAsNumber || 0;
  const high = Number.isNaN(controls.high.valueAsNumber) ? 1 : controls.high.valueAsNumber;
  const ranged = low > 0 || high < 1;
  const query = fold(controls.query.value.trim());
  const inPrompt = !query || words(entry)[0].includes(query);
  return entry[3].filter((c, i) =>
    (model.value === "" || c[0] === Number(model.value))
    && (!status.value || c[4] === status.value)
    && (!ranged || (c[3] !== null && c[3] >= low && c[3] <= high))
    && (inPrompt || words(entry)[i + 1].includes(query)));
}

function draw(entry, completions) {
  const [code, id, prompt] = entry;
  const article = element("article", "sample");
  const head = element("h3");
  head.append(data.languages[code][0] + " ", element("span", "muted", entry[5] ? `${id}, ${entry[5]}` : id));
  const sides = element("div", "sides");
  article.append(head, veil(prompt, code, "prompt", `${entry[4] ? "item" : "prompt"} in ${data.languages[code][0]}`), sides);
  data.models.forEach((model, number) => {
    const own = completions.filter((c) => c[0] === number);
    if (!own.length) return;
    const side = element("div"), items = element("ul");
    for (const [, sample, text, toxicity, status] of own) {
      const item = element("li");
      item.append(toxicity === null ? element("span", "score none", data.statuses[status])
        : element("span", "score", toxicity.toFixed(3)));
      if (text) item.append(veil(text, code, "completion", entry[4] ? `choice of ${model}` : `completion ${sample + 1} of ${model}`));
      items.append(item);
    }
    side.append(element("h4", "", model), items);
    sides.append(side);
  });
  return article;
}

function extend() {
  const next = found.slice(shown, shown + STEP);
  list.append(...next.map(([entry, completions]) => draw(entry, completions)));
  shown += next.length;
  more.hidden = shown >= found.length;
  const completions = found.reduce((sum, [, own]) => sum + own.length, 0);
  byId("explorer-status").textContent = found.length
    ? `${shown} of ${found.length} matching ${SHOWN[0]} shown, with ${completions} matching ${SHOWN[1]} in all.`
    : "Nothing matches.";
}

function update() {
  const worst = (own) => Math.max(-1, ...own.map((c) => c[3] ?? -1));
  found = data.prompts.map((entry) => [entry, matching(entry)]).filter(([, own]) => own.length);
  const side = { most: -1, least: 1 }[controls.order.value];
  if (side) found.sort((a, b) => side * (worst(a[1]) - worst(b[1])));
  shown = 0;
  list.replaceChildren();
  extend();
}

form.hidden = false;
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", (event) => {
  if (event.target === controls.show) {
    for (const button of list.querySelectorAll("button.veil")) uncover(button, controls.show.checked);
    return;
  }
  clearTimeout(timer);
  timer = setTimeout(update, 120);
});
form.addEventListener("reset", () => setTimeout(update));
more.addEventListener("click", () => {
  const next = shown;
  extend();
  list.children[next].querySelector("button.veil").focus();
});
update();
