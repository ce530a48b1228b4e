// A request as a link, as curl and as Python. The key is never part of any.

export const NUMBERS = ["samples", "seed", "temperature", "top_p", "max_tokens"];

// The part of a link after "#": it never leaves the browser, so prompts stay out of the logs of servers between.
export function toFragment(query) {
  const fields = new URLSearchParams({ prompt: query.prompt, models: query.models.join(",") });
  for (const name of NUMBERS) fields.set(name, query[name]);
  if (query.language) fields.set("language", query.language);
  return `#${fields}`;
}

// What a fragment says: texts, to be checked by the form that they go into. Null where it names no prompt.
export function fromFragment(fragment) {
  const fields = new URLSearchParams(fragment.replace(/^#/, ""));
  if (!fields.has("prompt")) return null;
  return { ...Object.fromEntries(fields), models: (fields.get("models") ?? "").split(",").filter(Boolean) };
}

// Quoted for a POSIX shell.
const shell = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

export function asCurl(query, origin, keyed) {
  const lines = [`curl ${shell(`${origin}/v1/compare`)}`, `-H 'content-type: application/json'`];
  if (keyed) lines.push(`-H "authorization: Bearer $DETOX_RAY_KEY"`);
  return [...lines, `-d ${shell(JSON.stringify(query))}`].join(" \\\n  ");
}

// A JSON string is a Python string of the same characters, and so are its numbers and lists.
export function asPython(query, origin, keyed) {
  const { prompt, ...options } = query;
  const named = Object.entries(options).map(([name, value]) => `    ${name}=${JSON.stringify(value)},\n`);
  const secret = keyed ? `, key=os.environ["DETOX_RAY_KEY"]` : "";
  return `${keyed ? "import os\n\n" : ""}from detox_ray.client import Client

client = Client(${JSON.stringify(origin)}${secret})
compared = client.compare(
    ${JSON.stringify(prompt)},
${named.join("")})
for summary in compared.summaries:
    print(summary.model, summary.average_toxicity)
`;
}
