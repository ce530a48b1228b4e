// The answer as it comes: a column for each model, in it a card for each sample. All text is set with textContent.

const REASONS = {
  empty: "empty completion",
  unsupported_language: "the scorer does not know this language",
  failed: "scoring failed",
};

export function element(kind, name, text) {
  const made = document.createElement(kind);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

export const reason = (status) => REASONS[status] ?? String(status).replaceAll("_", " ");

export class Columns {
  // `languages`: code -> {name, direction}; `threshold`: from which on a value is toxic; `shown`: whether texts start
  // without blur.
  constructor(place, languages, threshold, shown) {
    Object.assign(this, { place, languages, threshold, shown });
  }

  start(told) {
    this.told = told;
    this.cards = new Map();
    this.heads = new Map();
    const ordered = [...told.models].sort((a, b) => (a in told.parents) - (b in told.parents));
    this.place.replaceChildren(...ordered.map((model) => this.column(model)));
  }

  column(model) {
    const section = element("section", "column"), list = element("ol", "samples");
    const head = element("h2", "", model), parent = this.told.parents[model];
    if (parent) head.append(" ", element("span", "muted", `tuned from ${parent}`));
    const summary = element("p", "summary muted", `0 of ${this.told.samples} samples`);
    section.setAttribute("aria-label", model);
    section.append(head, summary, list);
    this.heads.set(model, { summary, ended: 0 });
    for (let sample = 0; sample < this.told.samples; sample++) {
      const card = this.card(model, sample);
      this.cards.set(`${model}\n${sample}`, card);
      list.append(card.item);
    }
    return section;
  }

  card(model, sample) {
    const item = element("li", "card pending"), head = element("div", "verdict", "waiting …");
    const veil = element("button", "veil"), inner = element("bdi");
    veil.type = "button";
    veil.hidden = true;
    veil.dataset.veiled = `Blurred completion ${sample + 1} of ${model}: activate to show`;
    inner.dir = "auto";
    veil.append(inner);
    uncover(veil, this.shown());
    veil.addEventListener("click", () => {
      if (!String(getSelection())) uncover(veil, veil.getAttribute("aria-pressed") !== "true");
    });
    item.append(head, veil);
    return { item, head, veil, inner };
  }

  token({ model, sample, text }) {
    const { head, veil, inner } = this.cards.get(`${model}\n${sample}`);
    if (veil.hidden) head.textContent = "writing …";
    veil.hidden = false;
    inner.append(text);
    inner.normalize();
  }

  sample(ended) {
    const card = this.end(ended);
    card.inner.textContent = ended.text;
    card.veil.hidden = ended.text === "";
    const language = this.languages.get(ended.language);
    if (language) Object.assign(card.inner, { lang: ended.language, dir: language.direction });
    const score = ended.scores[this.told.primary];
    card.head.replaceChildren(...this.verdict(score), ...this.remarks(ended));
    const others = Object.entries(ended.scores).filter(([name]) => name !== this.told.primary);
    if (others.length) card.item.append(element("p", "others muted", others.map(said).join("; ")));
  }

  verdict(score) {
    if (!score) return [element("span", "mark none", "not scored")];
    if (score.status !== "ok") return [element("span", "mark none", `no score: ${reason(score.status)}`)];
    const value = score.values.toxicity;
    if (value === undefined) return [element("span", "mark none", "no score: the scorer gave no toxicity")];
    const toxic = value >= this.threshold;
    const bar = element("span", toxic ? "bar toxic" : "bar mild"), filled = element("span");
    filled.style.inlineSize = `${100 * value}%`;
    const limit = element("span", "limit");
    limit.style.insetInlineStart = `${100 * this.threshold}%`;
    bar.setAttribute("aria-hidden", "true");
    bar.append(filled, limit);
    return [element("span", toxic ? "mark toxic" : "mark mild", toxic ? "toxic" : "not toxic"), bar,
      element("span", "value", value.toFixed(3))];
  }

  remarks(ended) {
    if (ended.in_language !== false) return [];
    const name = this.languages.get(ended.language)?.name ?? (ended.language === "und" ? "no clear language" : ended.language);
    return [element("span", "mark astray", `other language: ${name}`)];
  }

  // A sample that failed, or (without an error) was stopped.
  broken({ model, sample }, message) {
    this.end({ model, sample }).head.replaceChildren(element("span", "mark none", message));
  }

  end({ model, sample }) {
    const card = this.cards.get(`${model}\n${sample}`), head = this.heads.get(model);
    if (card.item.classList.contains("pending")) {
      card.item.classList.remove("pending");
      head.ended += 1;
      head.summary.textContent = `${head.ended} of ${this.told.samples} samples`;
    }
    return card;
  }

  // Returns the sentence, for the status line.
  summary(summary) {
    const place = this.heads.get(summary.model).summary;
    place.replaceChildren(...this.figures(summary));
    return `${summary.model}: ${summary.status === "ok"
      ? `average toxicity ${summary.average_toxicity.toFixed(3)}` : reason(summary.status)}`;
  }

  figures(summary) {
    const scored = element("span", "", `${summary.scored} of ${summary.samples} samples scored` +
      (summary.scorer ? ` by ${summary.scorer}` : ""));
    if (summary.status !== "ok") return [element("span", "", `no numbers: ${reason(summary.status)}`), " ", scored];
    const facts = [["average", summary.average_toxicity], ["expected maximum", summary.expected_maximum_toxicity],
      ["probability", summary.toxicity_probability]];
    return [...facts.flatMap(([name, value]) => {
      const fact = element("span", "fact", `${name} `);
      fact.append(element("strong", "", value.toFixed(3)));
      return [fact, " "];
    }), scored];
  }

  // The stream has ended early: what is not there will not come.
  stop(message) {
    if (!this.told) return;
    for (const [place, card] of this.cards) {
      const [model, sample] = place.split("\n");
      if (card.item.classList.contains("pending")) this.broken({ model, sample }, message);
    }
  }

  uncoverAll(open) {
    for (const { veil } of this.cards?.values() ?? []) uncover(veil, open);
  }
}

function uncover(button, open) {
  button.setAttribute("aria-pressed", String(open));
  if (open) button.removeAttribute("aria-label");
  else button.setAttribute("aria-label", button.dataset.veiled);
}

function said([name, score]) {
  const values = Object.entries(score.values).map(([attribute, value]) => `${attribute.replaceAll("_", " ")} ${value.toFixed(3)}`);
  return `${name}: ${score.status === "ok" ? values.join(", ") : reason(score.status)}`;
}
