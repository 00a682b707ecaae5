// The engine's state, asked for each second while the page can be seen.

import { Refusal, get } from "./api.js";
import { byId, part } from "./dom.js";

const PERIOD_MS = 1000;
/** Points of the history. */
const POINTS = 120;
const WIDTH = 120;
const HEIGHT = 32;

/** Tokens per second, oldest first. */
const history = [];
let last = null;
let timer = null;
/** Counts the beginnings: a round of an earlier one does not go on. */
let beginning = 0;
let known = false;

/** Begins to ask, and goes on whenever the page is visible. */
export function watch() {
  document.addEventListener("visibilitychange", resume);
  resume();
}

/** Asks at once, for example because there is a key now. */
export function refresh() {
  known = false;
  resume();
}

function resume() {
  beginning += 1;
  clearTimeout(timer);
  last = null;
  if (document.visibilityState === "visible") round(beginning);
}

async function round(of) {
  await showHealth();
  await showEngine();
  if (of === beginning) timer = setTimeout(round, PERIOD_MS, of);
}

async function showHealth() {
  try {
    await get("health");
    state("ready", "ready");
  } catch (error) {
    if (error instanceof Refusal) state("waiting", error.message);
    else state("lost", "not reachable");
  }
}

async function showEngine() {
  try {
    if (!known) showFacts(await (await get("info")).json());
    showNumbers(parse(await (await get("metrics")).text()), performance.now());
    note("");
  } catch (error) {
    last = null;
    if (error instanceof Refusal) note(explain(error));
  }
}

function explain(error) {
  if (error.status === 401) return "The server tells its state to those with an API key alone: type it below.";
  if (error.status === 404) return "The server tells its state on another port.";
  return error.message;
}

function state(name, text) {
  const place = byId("state");
  place.dataset.state = name;
  // Setting the same text again would have it read out again.
  if (place.textContent !== text) place.textContent = text;
}

function note(text) {
  byId("engine-note").textContent = text;
  byId("engine-note").hidden = !text;
}

function showFacts(info) {
  byId("model").textContent = info.model_id;
  document.title = `${info.model_id} · Shardline playground`;
  const number = (value) => value?.toLocaleString("en");
  const facts = [
    ["Architecture", info.model_type],
    ["Device", info.num_shard > 1 ? `${info.num_shard} × ${info.model_device_type}` : info.model_device_type],
    ["Number format", info.model_dtype],
    ["Attention", info.attention_backend],
    ["Longest sequence", number(info.max_total_tokens)],
    ["Tokens in KV cache", number(info.max_batch_total_tokens)],
    ["Version", info.version],
  ].filter(([, value]) => value != null);
  byId("facts").replaceChildren();
  for (const [name, value] of facts) {
    part(byId("facts"), "dt", "", name);
    part(byId("facts"), "dd", "", String(value));
  }
  known = info.max_total_tokens != null;
}

function showNumbers(numbers, now) {
  const of = (name) => numbers.get(`shardline_${name}`) ?? 0;
  byId("running").textContent = of("sequences_running");
  byId("queued").textContent = of("sequences_waiting");
  meter("kv", of("kv_cache_usage_ratio"));
  meter("prefix", of("prefix_cache_hit_tokens_total") / Math.max(of("prefix_cache_query_tokens_total"), 1));
  const counts = {
    now,
    tokens: of("generated_tokens_total"),
    steps: of("steps_total"),
    seconds: of("step_seconds_total"),
  };
  if (last) showRates(counts, last);
  last = counts;
}

function showRates(counts, before) {
  const rate = ((counts.tokens - before.tokens) * 1000) / (counts.now - before.now);
  byId("rate").textContent = rate >= 100 ? Math.round(rate).toLocaleString("en") : rate.toFixed(1);
  const steps = counts.steps - before.steps;
  if (steps > 0) {
    const mean = ((counts.seconds - before.seconds) / steps) * 1000;
    byId("step").textContent = `${mean.toFixed(mean < 10 ? 2 : 0)} ms`;
  }
  history.push(rate);
  if (history.length > POINTS) history.shift();
  draw();
}

function meter(id, share) {
  byId(id).value = share;
  byId(`${id}-text`).textContent = `${(share * 100).toFixed(1)} %`;
}

function draw() {
  const most = Math.max(...history, 1);
  const points = history.map((rate, index) => {
    const x = WIDTH - ((history.length - 1 - index) * WIDTH) / (POINTS - 1);
    return `${x.toFixed(1)},${(HEIGHT - (rate / most) * (HEIGHT - 2)).toFixed(1)}`;
  });
  const first = points[0].split(",")[0];
  byId("history").querySelector(".line").setAttribute("d", `M${points.join("L")}`);
  byId("history").querySelector(".area").setAttribute("d", `M${first},${HEIGHT}L${points.join("L")}L${WIDTH},${HEIGHT}Z`);
}

/** Prometheus' text without histograms and labels: name to number. */
function parse(text) {
  const numbers = new Map();
  for (const [, name, value] of text.matchAll(/^(\w+) (\S+)$/gm)) numbers.set(name, Number(value));
  return numbers;
}
