// The page at /runs.
import { element } from "./columns.js";
import { askForKey, call } from "./service.js";

const byId = (id) => document.getElementById(id);

async function load() {
  byId("error").hidden = true;
  try {
    const runs = await (await call("/runs.json")).json();
    byId("runs").replaceChildren(...runs.map(runItem));
    byId("status").textContent = runs.length ? `${runs.length} ${runs.length === 1 ? "run" : "runs"}` : "There are no runs.";
  } catch (error) {
    byId("status").textContent = "";
    if (error.status === 401) return askForKey(error, load);
    byId("error").textContent = error.message;
    byId("error").hidden = false;
  }
}

function runItem(run) {
  const item = element("li", "run"), head = element("h2"), facts = element("p", "muted");
  if (run.report) {
    const link = element("a", "", run.name);
    link.href = run.report; // a path that this service made
    head.append(link);
  } else head.textContent = run.name;
  facts.textContent = [run.finished ? "finished" : "not finished", run.updated && formatTime(run.updated),
    run.models.length && `models: ${run.models.join(", ")}`, run.note].filter(Boolean).join(" · ");
  item.append(head, facts, ...run.headline.map((line) => element("p", "", line)));
  return item;
}

function formatTime(text) {
  const time = new Date(text);
  return Number.isNaN(time.getTime()) ? text : time.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
}

load();
