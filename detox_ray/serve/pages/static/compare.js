// The page at /: the form, and the comparison that it starts.
import { Columns, element } from "./columns.js";
import { NUMBERS, asCurl, asPython, fromFragment, toFragment } from "./link.js";
import { ServiceError, askForKey, call, events, key } from "./service.js";

const byId = (id) => document.getElementById(id);
const FIRST_SEED = 0;
const form = byId("form"), prompt = byId("prompt"), language = byId("language"), status = byId("status");
let languages, columns, running = null, suggested = false;

async function load() {
  try {
    draw(await (await call("/page.json")).json());
  } catch (error) {
    if (error.status === 401) askForKey(error, load);
    else fail(error);
  }
}

function draw(data) {
  byId("error").hidden = true;
  byId("title").textContent = `Compare models: ${data.title}`;
  document.title = `${data.title}: detox_ray`;
  languages = new Map(data.languages.map((spoken) => [spoken.code, spoken]));
  columns = new Columns(byId("columns"), languages, data, () => byId("show").checked);
  byId("toxic-means").textContent = `toxic: ${data.threshold} or more by ${data.primary}`;
  byId("marks").hidden = data.primary === null;
  byId("api").hidden = key() !== null; // a followed link sends no key
  for (const { code, name } of data.languages) {
    for (const list of [language, byId("examples-of")]) list.append(new Option(name, code));
  }
  const family = data.models.find((model) => model.parent);
  const tuned = data.models.filter((model) => family && model.parent === family.parent).map((model) => model.name);
  const first = (family ? [family.parent, ...tuned] : data.models.map((model) => model.name)).slice(0, family ? 3 : 2);
  byId("models").append(...data.models.map((model) => box(model, first.includes(model.name))));
  for (const [name, value] of Object.entries({ seed: FIRST_SEED, ...data.defaults })) byId(name).value = value;
  for (const [name, most] of Object.entries(data.most)) byId(name).max = most;
  offer();
  form.hidden = false;
  suggest();
  fromLink();
}

function box({ name, parent }, checked) {
  const label = element("label", "check"), input = element("input");
  Object.assign(input, { type: "checkbox", name: "models", value: name, checked });
  label.append(input, " ", element("span", "", name));
  if (parent) label.append(" ", element("span", "muted", `tuned from ${parent}`));
  return label;
}

// Offers the examples of the chosen language, or the first one of each language.
function offer() {
  const code = byId("examples-of").value;
  const chosen = code ? languages.get(code).examples.map((example) => [languages.get(code), example])
    : [...languages.values()].map((spoken) => [spoken, spoken.examples[0]]);
  byId("examples").replaceChildren(...chosen.map(([spoken, example], i) => chip(spoken, example, code ? ` ${i + 1}` : "")));
}

function chip(spoken, example, number) {
  const button = element("button", example.veiled ? "chip veiled" : "chip"), text = element("bdi", "", example.text);
  button.type = "button";
  Object.assign(text, { lang: spoken.code, dir: spoken.direction });
  button.setAttribute("aria-label", `Example${number} in ${spoken.name}`);
  button.append(element("span", "muted", spoken.code), " ", text);
  button.addEventListener("click", () => {
    choose(spoken, example);
    prompt.focus();
  });
  return button;
}

function choose(spoken, example) {
  suggested = false;
  prompt.value = example.text;
  prompt.classList.toggle("veiled", example.veiled);
  language.value = spoken.code;
  prompt.lang = spoken.code;
  byId("seed").value = example.seed;
}

// Fills in the prompt of the run on which the models differ most, in the reader's language, or else in English.
function suggest() {
  const codes = [...navigator.languages.map((tag) => tag.split("-")[0]), "en", ...languages.keys()];
  const code = codes.find((code) => languages.get(code)?.examples[0].gain > 0);
  if (code === undefined) return;
  const spoken = languages.get(code);
  choose(spoken, spoken.examples[0]);
  suggested = true;
  status.textContent = `Filled in: the prompt in ${spoken.name} on which this run's models differ most. Press Compare.`;
}

// Shows the prompt that is being typed. If it replaces a suggestion, language and seed are reset.
function edited() {
  prompt.classList.remove("veiled");
  if (!suggested) return;
  suggested = false;
  prompt.lang = language.value = "";
  byId("seed").value = FIRST_SEED;
}

// Returns the request that the form describes. Throws a ServiceError that names a wrong field.
function query() {
  const models = [...form.querySelectorAll("[name=models]:checked")].map((input) => input.value);
  if (!prompt.value) throw new ServiceError("Type a prompt, or choose an example.", 0, "prompt");
  if (!models.length) throw new ServiceError("Choose a model.", 0, "models");
  const wrong = NUMBERS.find((name) => !byId(name).checkValidity());
  if (wrong) {
    const name = byId(wrong).labels[0].firstChild.data.trim();
    throw new ServiceError(`${name}: ${byId(wrong).validationMessage}`, 0, wrong);
  }
  const numbers = Object.fromEntries(NUMBERS.map((name) => [name, byId(name).valueAsNumber]));
  return { prompt: prompt.value, models, ...numbers, ...(language.value && { language: language.value }) };
}

async function compare() {
  const current = new AbortController();
  running?.abort();
  clear();
  try {
    const request = query();
    running = current;
    byId("stop").disabled = false;
    history.replaceState(null, "", toFragment(request));
    status.textContent = "Asking the models …";
    const response = await call("/v1/compare", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ ...request, stream: true }),
      signal: current.signal,
    });
    await follow(response, current.signal);
  } catch (error) {
    if (running !== current && error.name === "AbortError") return; // a newer comparison uses the page
    if (error.name === "AbortError") {
      columns.stop("stopped");
      status.textContent = "Stopped.";
    } else {
      columns.stop("no answer");
      status.textContent = "";
      if (error.status === 401) askForKey(error, compare);
      else fail(error);
    }
  }
  current.abort(); // closes a stream that is not read to its end because of an error
  if (running === current) {
    running = null;
    byId("stop").disabled = true;
  }
}

async function follow(response, signal) {
  const summaries = [];
  for await (const [name, data] of events(response)) {
    signal.throwIfAborted(); // an event may have arrived before the stop
    if (name === "start") {
      columns.start(data);
      byId("legend").hidden = false;
      if (byId("columns").getBoundingClientRect().top > 0.8 * innerHeight) byId("legend").scrollIntoView(); // as on a phone
      status.textContent = `${data.models.join(", ")}: writing ${data.samples} ${data.samples === 1 ? "sample" : "samples"} each …`;
    } else if (name === "token") columns.token(data);
    else if (name === "sample") columns.sample(data);
    else if (name === "model") {
      summaries.push(columns.summary(data));
      status.textContent = summaries.join("; ");
    } else if (name === "error") {
      if (data.sample === undefined || data.sample === null) throw new ServiceError(data.error.message, 0, data.error.param);
      columns.broken(data, `failed: ${data.error.message}`);
    } else if (name === "done") {
      status.textContent = `Done. ${summaries.join("; ")}`;
      return;
    }
  }
  throw new ServiceError("The stream ended before the comparison was complete.", 0);
}

function clear() {
  byId("error").hidden = true;
  byId("copied").hidden = true;
  byId("columns").replaceChildren();
  byId("legend").hidden = true;
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  columns.comparison = null;
}

function fail(error) {
  byId("error").textContent = error.message;
  byId("error").hidden = false;
  if (!(error instanceof ServiceError)) console.error(error);
  const name = /^\w+/.exec(error.param ?? "")?.[0];
  const field = name === "models" ? form.querySelector("[name=models]") : form.querySelector(`#${CSS.escape(name ?? "-")}`);
  if (field) {
    field.setAttribute("aria-invalid", "true");
    field.focus();
  }
}

// Fills the form from a link but starts nothing: following a link must not make the models generate.
function fromLink() {
  const linked = fromFragment(location.hash);
  if (!linked) return;
  prompt.value = linked.prompt;
  prompt.classList.remove("veiled");
  for (const name of NUMBERS) {
    const number = Number.parseFloat(linked[name]);
    if (Number.isFinite(number)) byId(name).value = number;
  }
  language.value = languages.has(linked.language) ? linked.language : "";
  prompt.lang = language.value;
  for (const input of form.querySelectorAll("[name=models]")) input.checked = linked.models.includes(input.value);
  status.textContent = "Filled in from a link: press Compare.";
}

async function copy(toText, what) {
  byId("error").hidden = true;
  try {
    const text = toText(query()), box = byId("copied");
    try {
      await navigator.clipboard.writeText(text);
      box.hidden = true;
      status.textContent = `${what} copied.`;
    } catch { // the browser does not allow it, or the page has no secure context
      box.value = text;
      box.hidden = false;
      box.select();
      status.textContent = "Copy the text from the box.";
    }
  } catch (error) {
    fail(error);
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  compare();
});
prompt.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) compare();
});
prompt.addEventListener("input", edited);
byId("stop").addEventListener("click", () => running?.abort());
byId("examples-of").addEventListener("change", offer);
language.addEventListener("change", () => { prompt.lang = language.value; });
byId("show").addEventListener("change", (event) => columns.showAll(event.target.checked));
byId("copy-link").addEventListener("click", () => copy((request) => new URL(toFragment(request), location).href, "Link"));
byId("copy-curl").addEventListener("click", () => copy((request) => asCurl(request, location.origin, key()), "curl command"));
byId("copy-python").addEventListener("click", () => copy((request) => asPython(request, location.origin, key()), "Python"));
addEventListener("hashchange", fromLink);
load();
