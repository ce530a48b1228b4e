// A request as a link, as a curl command and as Python. None of them contains the key.

export const NUMBERS = ["samples", "seed", "temperature", "top_p", "max_tokens"];

// The part of a link after "#". It never leaves the browser, so prompts stay out of servers' logs.
export function toFragment(query) {
  const fields = new URLSearchParams({ prompt: query.prompt, models: query.models.join(",") });
  for (const name of NUMBERS) fields.set(name, query[name]);
  if (query.language) fields.set("language", query.language);
  return `#${fields}`;
}

// The request in a fragment, as texts that the form checks; null if the fragment has no prompt.
export function fromFragment(fragment) {
  const fields = new URLSearchParams(fragment.replace(/^#/, ""));
  if (!fields.has("prompt")) return null;
  return { ...Object.fromEntries(fields), models: (fields.get("models") ?? "").split(",").filter(Boolean) };
}

// Quotes a text for a POSIX shell.
const shell = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

export function asCurl(query, origin, keyed) {
  const lines = [`curl ${shell(`${origin}/v1/compare`)}`, `-H 'content-type: application/json'`];
  if (keyed) lines.push(`-H "authorization: Bearer $DETOX_RAY_KEY"`);
  return [...lines, `-d ${shell(JSON.stringify(query))}`].join(" \\\n  ");
}

// A JSON string is also a Python string with the same characters; the same holds for numbers and lists.
export function asPython(query, origin, keyed) {
  const { prompt, ...options } = query;
  const named = Object.entries(options).map(([name, value]) => `    ${name}=${JSON.stringify(value)},\n`);
  const keyArgument = keyed ? `, key=os.environ["DETOX_RAY_KEY"]` : "";
  return `${keyed ? "import os\n\n" : ""}from detox_ray.client import Client

client = Client(${JSON.stringify(origin)}${keyArgument})
result = client.compare(
    ${JSON.stringify(prompt)},
${named.join("")})
for summary in result.summaries:
    print(summary.model, summary.average_toxicity)
`;
}
