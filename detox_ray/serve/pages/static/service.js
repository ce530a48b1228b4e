// Calls to the service: the API key, error messages, server-sent events.

const KEY = "detox_ray_key";

export const key = () => sessionStorage.getItem(KEY);

// A call that was rejected or failed. `param` is the wrong field of the request, if there is one.
export class ServiceError extends Error {
  constructor(message, status, param) {
    super(message);
    this.status = status;
    this.param = param;
  }
}

// Returns the response of a successful call; throws a ServiceError otherwise.
export async function call(path, options = {}) {
  const headers = { ...options.headers };
  if (key()) headers.authorization = `Bearer ${key()}`;
  const response = await fetch(path, { ...options, headers }).catch((error) =>
    connectionLost(error, "The service cannot be reached. Is it still running?"));
  if (!response.ok) throw await errorOf(response);
  return response;
}

// Throws a ServiceError for a network error. An abort by the user is passed on as it is.
function connectionLost(error, message = "The stream ended before the comparison was complete.") {
  throw error.name === "AbortError" ? error : new ServiceError(message, 0);
}

async function errorOf(response) {
  let details = {};
  try {
    details = (await response.json()).error ?? {};
  } catch {
    // a proxy's page, or an empty body: only the status is known
  }
  const message = typeof details.message === "string" ? details.message : `The service answered with status ${response.status}.`;
  const wait = response.headers.get("retry-after");
  const again = response.status === 429 && wait ? ` Try again in ${wait} s.` : "";
  return new ServiceError(message + again, response.status, details.param);
}

// Asks for the API key that `error` says is missing or wrong, and then calls `retry`.
export function askForKey(error, retry) {
  const form = document.getElementById("key-form"), input = document.getElementById("key");
  document.getElementById("key-why").textContent =
    key() ? `The service rejected this key: ${error.message}` : "This service needs an API key.";
  sessionStorage.removeItem(KEY);
  form.hidden = false;
  input.focus();
  form.onsubmit = (event) => {
    event.preventDefault();
    if (!input.value.trim()) return;
    sessionStorage.setItem(KEY, input.value.trim());
    input.value = "";
    form.hidden = true;
    retry();
  };
}

// Yields [name, data] for each server-sent event.
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch(connectionLost);
    if (done) return;
    const blocks = (rest + value).split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) {
      const fields = block.split(/\r?\n/).map((line) => /^(event|data): ?(.*)$/.exec(line)).filter(Boolean);
      const data = fields.filter(([, field]) => field === "data").map(([, , text]) => text).join("\n");
      const name = fields.find(([, field]) => field === "event")?.[2] ?? "message";
      if (data) yield [name, JSON.parse(data)];
    }
  }
}
