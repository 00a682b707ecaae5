// The server's routes as the page uses them, and the key, which lives in this module alone.

/** Where the routes begin: the folder in which `ui` lies, behind whatever proxy. */
const base = new URL(".", document.baseURI);
let key = "";

/** The key of all later requests; empty: none. */
export function setKey(text) {
  key = text.trim();
}

/** An answer that is no 2xx. */
export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** GETs a route; throws a Refusal, or a TypeError when nobody answers. */
export async function get(path, signal) {
  return accepted(await fetch(new URL(path, base), { headers: authorization(), signal, cache: "no-store" }));
}

/** POSTs a request whose answer is a stream. Gives the headers and the events, parsed. */
export async function post(path, body, signal) {
  const response = await accepted(await fetch(new URL(path, base), {
    method: "POST",
    headers: { "content-type": "application/json", ...authorization() },
    body: JSON.stringify(body),
    signal,
  }));
  return { headers: response.headers, events: events(response.body) };
}

function authorization() {
  return key ? { authorization: `Bearer ${key}` } : {};
}

async function accepted(response) {
  if (response.ok) return response;
  throw new Refusal(response.status, await reason(response));
}

/** What the server says of an error, in either of its two shapes. */
async function reason(response) {
  const text = await response.text();
  try {
    const { error } = JSON.parse(text);
    return (typeof error === "string" ? error : error?.message) ?? text;
  } catch {
    return text || response.statusText;
  }
}

/** The JSON of each server-sent event up to `[DONE]`. An event that holds an error throws it. */
async function* events(stream) {
  for await (const data of lines(stream)) {
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    if (event.error) throw new Refusal(0, event.error.message ?? String(event.error));
    yield event;
  }
}

/** The data of each event; an event may be cut anywhere, even inside a character. */
async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (rest + value).split(/\r?\n\r?\n/);
      rest = parts.pop();
      for (const part of parts) {
        const data = part.split(/\r?\n/).filter((line) => line.startsWith("data:"));
        if (data.length) yield data.map((line) => line.slice(5).trimStart()).join("\n");
      }
    }
  } finally {
    // Ends the request when the reader of these lines leaves early.
    await reader.cancel().catch(() => {});
  }
}
