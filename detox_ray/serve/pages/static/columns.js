// The answer while it arrives: a column per model, with a card per sample. All text is set with textContent.

const REASONS = {
  empty: "empty completion",
  unsupported_language: "the scorer does not support this language",
  failed: "scoring failed",
};

export function element(kind, name, text) {
  const node = document.createElement(kind);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
}

export const reason = (status) => REASONS[status] ?? String(status).replaceAll("_", " ");

export class Columns {
  // `container`: the element that holds the columns; `languages`: code -> {name, direction}; `page`: the page's data,
  // with the models' verdicts and the threshold from which a completion counts as toxic; `startsShown`: returns whether
  // texts are shown without blur at first.
  constructor(container, languages, page, startsShown) {
    const verdicts = new Map(page.models.map((model) => [model.name, model.verdict]));
    Object.assign(this, { container, languages, verdicts, threshold: page.threshold, startsShown });
  }

  // `comparison`: the data of the start event.
  start(comparison) {
    this.comparison = comparison;
    this.cards = new Map();
    this.heads = new Map();
    const ordered = [...comparison.models].sort((a, b) => (a in comparison.parents) - (b in comparison.parents));
    this.container.replaceChildren(...ordered.map((model) => this.column(model)));
  }

  column(model) {
    const section = element("section", "column"), list = element("ol", "samples");
    const head = element("h2", "", model), parent = this.comparison.parents[model];
    if (parent) head.append(" ", element("span", "muted", `tuned from ${parent}`));
    const summary = element("p", "summary muted", `0 of ${this.comparison.samples} samples`);
    section.setAttribute("aria-label", model);
    section.append(head, summary);
    if (this.verdicts.get(model)) section.append(element("p", "gate muted", `Gate: ${this.verdicts.get(model)}`));
    section.append(list);
    this.heads.set(model, { summary, finished: 0, toxic: 0, astray: 0, numbers: null });
    for (let sample = 0; sample < this.comparison.samples; sample++) {
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
    setShown(veil, this.startsShown());
    veil.addEventListener("click", () => {
      if (!String(getSelection())) setShown(veil, veil.getAttribute("aria-pressed") !== "true");
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

  sample(finished) {
    const card = this.finish(finished);
    card.inner.textContent = finished.text;
    card.veil.hidden = finished.text === "";
    const language = this.languages.get(finished.language);
    if (language) Object.assign(card.inner, { lang: finished.language, dir: language.direction });
    const score = finished.scores[this.comparison.primary], head = this.heads.get(finished.model);
    if (score?.status === "ok" && score.values.toxicity >= this.threshold) head.toxic += 1;
    if (finished.in_language === false) head.astray += 1;
    card.head.replaceChildren(...this.verdict(score), ...this.remarks(finished));
    const others = Object.entries(finished.scores).filter(([name]) => name !== this.comparison.primary);
    if (others.length) card.item.append(element("p", "others muted", others.map(scoreText).join("; ")));
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

  remarks(finished) {
    if (finished.in_language !== false) return [];
    const code = finished.language;
    const name = this.languages.get(code)?.name ?? (code === "und" ? "no clear language" : code);
    return [element("span", "mark astray", `other language: ${name}`)];
  }

  // Shows that a sample failed or was stopped.
  broken({ model, sample }, message) {
    this.finish({ model, sample }).head.replaceChildren(element("span", "mark none", message));
  }

  finish({ model, sample }) {
    const card = this.cards.get(`${model}\n${sample}`), head = this.heads.get(model);
    if (card.item.classList.contains("pending")) {
      card.item.classList.remove("pending");
      head.finished += 1;
      head.summary.textContent = `${head.finished} of ${this.comparison.samples} samples`;
    }
    return card;
  }

  // Shows a model's summary, and returns a sentence for the status line.
  summary(summary) {
    this.heads.get(summary.model).numbers = summary;
    for (const [model, head] of this.heads) if (head.numbers) head.summary.replaceChildren(...this.sentence(model, head));
    return `${summary.model}: ${summary.status === "ok"
      ? `average toxicity ${summary.average_toxicity.toFixed(3)}` : reason(summary.status)}`;
  }

  // Returns a model's numbers in words: "3 of 5 completions are toxic (score 0.5 or more by classifier); …".
  sentence(model, { numbers, toxic, astray }) {
    if (numbers.status !== "ok") return [`No numbers: ${reason(numbers.status)}.`];
    const { scored, samples, scorer } = numbers, value = (number) => number.toFixed(2);
    const before = this.heads.get(this.comparison.parents[model])?.numbers;
    const against = before?.status === "ok" ? ` (${before.model}: ${value(before.average_toxicity)})` : "";
    const rest = [` (score ${this.threshold} or more by ${scorer}); mean score `,
      element("strong", "", value(numbers.average_toxicity)), `${against}, highest ${value(numbers.expected_maximum_toxicity)}.`];
    if (astray) rest.push(` ${astray} of ${samples} ${astray === 1 ? "is" : "are"} in another language.`);
    if (scored < samples) rest.push(` ${samples - scored} of ${samples} ${samples - scored === 1 ? "has" : "have"} no score.`);
    const subject = `${scored === samples ? "" : "scored "}${scored === 1 ? "completion" : "completions"}`;
    return [element("strong", "", `${toxic} of ${scored}`), ` ${subject} ${toxic === 1 ? "is" : "are"} toxic`, ...rest];
  }

  // Marks the samples that are missing because the stream ended early.
  stop(message) {
    if (!this.comparison) return;
    for (const [place, card] of this.cards) {
      const [model, sample] = place.split("\n");
      if (card.item.classList.contains("pending")) this.broken({ model, sample }, message);
    }
  }

  showAll(shown) {
    for (const { veil } of this.cards?.values() ?? []) setShown(veil, shown);
  }
}

function setShown(button, shown) {
  button.setAttribute("aria-pressed", String(shown));
  if (shown) button.removeAttribute("aria-label");
  else button.setAttribute("aria-label", button.dataset.veiled);
}

function scoreText([name, score]) {
  const values = Object.entries(score.values).map(([attribute, value]) => `${attribute.replaceAll("_", " ")} ${value.toFixed(3)}`);
  return `${name}: ${score.status === "ok" ? values.join(", ") : reason(score.status)}`;
}
