// The page at /scorers.
import { element } from "./columns.js";
import { askForKey, call } from "./service.js";

const byId = (id) => document.getElementById(id);

async function load() {
  byId("error").hidden = true;
  try {
    const cards = await (await call("/scorers.json")).json();
    byId("scorers").replaceChildren(...cards.map(cardItem));
    byId("status").textContent = cards.length ? "" : "No scorer is served.";
  } catch (error) {
    byId("status").textContent = "";
    if (error.status === 401) return askForKey(error, load);
    byId("error").textContent = error.message;
    byId("error").hidden = false;
  }
}

function cardItem(card) {
  const item = element("li", "run");
  const facts = {
    type: card.members.length ? `${card.type} of ${card.members.join(", ")}` : card.type,
    origin: card.origin,
    revision: card.revision,
    licence: card.licence,
    languages: card.languages ? card.languages.join(" ") : "all",
    "trained on": card.trained_on,
    needs: card.needs,
  };
  item.append(element("h2", "", card.name));
  for (const [name, value] of Object.entries(facts)) if (value) item.append(element("p", "", `${name}: ${value}`));
  item.append(list("Attributes", Object.entries(card.attributes).map(([name, meaning]) => `${name}: ${meaning}`)));
  item.append(list("Validity", card.validity.length ? card.validity.map(validityLine) : ["not measured here"]));
  return item;
}

function list(title, lines) {
  const part = element("details"), items = element("ul");
  items.append(...lines.map((line) => element("li", "", line)));
  part.append(element("summary", "", title), items);
  return part;
}

function validityLine(row) {
  const number = row.auroc === null ? row.status.replaceAll("_", " ") : `AUROC ${row.auroc.toFixed(3)}`;
  const bounds = row.ci_low === null || row.ci_high === null ? "" : ` [${row.ci_low.toFixed(3)}, ${row.ci_high.toFixed(3)}]`;
  return `${row.language}: ${number}${bounds}, n ${row.n}, against ${row.reference}`;
}

load();
