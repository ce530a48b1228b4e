// Calls to the service: the key, errors in words, server-sent events.

const KEY = "detox_ray_key";

export const key = () => sessionStorage.getItem(KEY);

// A refused or failed call. `param` is the request's field at fault, if one is.
export class ServiceError extends Error {
  constructor(message, status, param) {
    super(message);
    this.status = status;
    this.param = param;
  }
}

// The response of a call that went well; else a ServiceError.
export async function call(path, options = {}) {
  const headers = { ...options.headers };
  if (key()) headers.authorization = `Bearer ${key()}`;
  const response = await fetch(path, { ...options, headers }).catch((error) =>
    lost(error, "The service cannot be reached. Is it still running?"));
  if (!response.ok) throw await refusal(response);
  return response;
}

// Of what the network did: stopping is not an error of the service.
function lost(error, message = "The stream broke off before the end.") {
  throw error.name === "AbortError" ? error : new ServiceError(message, 0);
}

async function refusal(response) {
  let told = {};
  try {
    told = (await response.json()).error ?? {};
  } catch {
    // a proxy's page, or nothing: the status has to do
  }
  const message = typeof told.message === "string" ? told.message : `The service answered with status ${response.status}.`;
  const wait = response.headers.get("retry-after");
  const again = response.status === 429 && wait ? ` Try again in ${wait} s.` : "";
  return new ServiceError(message + again, response.status, told.param);
}

// Asks for the key that `error` says is missing, and then does `retry`.
export function askForKey(error, retry) {
  const form = document.getElementById("key-form"), input = document.getElementById("key");
  document.getElementById("key-why").textContent =
    key() ? `The service refused this key: ${error.message}` : "This service needs an API key.";
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

// [name, data] of each server-sent event.
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch(lost);
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
