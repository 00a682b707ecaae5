// One answer of the model while it comes: its text, what it cost, how it ended.

import { part } from "./dom.js";
import { TokenText, decode } from "./tokens.js";

/** An answer's place in the page. */
export class Answer {
  #element;
  #figures;
  #thought = null;
  #said;
  #calls = null;
  #began = performance.now();
  #firstAt = null;
  #lastAt = null;
  #tokens = 0;
  #usage = null;
  #finish = "";
  #headers = null;
  #content = "";

  /** `onChoose(before, token)`: go on after the tokens `before` with `token`. */
  constructor(parent, onChoose) {
    this.#element = part(parent, "article", "turn answered");
    this.#element.dataset.state = "running";
    part(this.#element, "h3", "", "Model");
    this.#said = this.#stretch("text said", onChoose);
    this.#figures = part(this.#element, "dl", "figures");
  }

  /** What was said, for the next request. */
  get content() {
    return this.#content;
  }

  /** Begins with tokens of an earlier answer. */
  beginWith(before, chosen) {
    for (const token of before) {
      if (token.chosen) this.#said.appendChosen(token);
      else this.#said.append([token]);
      this.#content += token.text;
    }
    this.#said.appendChosen(chosen);
    this.#content += decode(chosen.bytes);
  }

  /** The response has begun. */
  head(headers) {
    this.#headers = headers;
  }

  /** One chunk of the stream. */
  chunk(chunk) {
    this.#usage = chunk.usage ?? this.#usage;
    const [choice] = chunk.choices;
    if (!choice) return;
    const { delta } = choice;
    const scored = choice.logprobs?.content ?? [];
    const thought = delta.reasoning ?? delta.reasoning_content;
    this.#count(scored.length || (delta.content || thought ? 1 : 0));
    if (thought) this.#append(this.#thinking(), scored, thought);
    else if (scored.length || delta.content) this.#append(this.#said, scored, delta.content ?? "");
    this.#content += delta.content ?? "";
    for (const call of delta.tool_calls ?? []) this.#call(call.function ?? {});
    this.#finish = choice.finish_reason ?? this.#finish;
    this.#show();
  }

  /** Nothing more will come. `state`: done, stopped or failed. */
  end(state, message = "") {
    this.#element.dataset.state = state;
    if (state === "stopped") this.#finish = "stopped by you";
    if (state === "done") this.#said.markEnd(this.#content);
    if (message) part(this.#element, "p", "failure", message).setAttribute("role", "alert");
    this.#show();
  }

  #stretch(className, onChoose) {
    return new TokenText(part(this.#element, "div", className), onChoose);
  }

  #append(stretch, scored, text) {
    if (scored.length) stretch.append(scored);
    else stretch.appendPlain(text);
  }

  /** Where reasoning goes: before what is said. */
  #thinking() {
    if (!this.#thought) {
      this.#thought = this.#stretch("text thought", null);
      this.#element.querySelector(".said").before(this.#element.querySelector(".thought"));
    }
    return this.#thought;
  }

  /** A call of a tool comes as its name, then its arguments piece by piece. */
  #call(call) {
    if (!this.#calls) {
      this.#calls = part(this.#element, "div", "calls");
      this.#figures.before(this.#calls);
    }
    this.#calls.append(call.name ? `${this.#calls.textContent ? "\n" : ""}${call.name} ` : "", call.arguments ?? "");
  }

  #count(tokens) {
    if (!tokens) return;
    const now = performance.now();
    this.#firstAt ??= now;
    this.#lastAt = now;
    this.#tokens += tokens;
  }

  #show() {
    const header = (name) => this.#headers?.get(name);
    const figures = [];
    if (this.#firstAt !== null) figures.push(["first token", `${Math.round(this.#firstAt - this.#began)} ms`]);
    if (this.#tokens > 1 && this.#lastAt > this.#firstAt) {
      const rate = ((this.#tokens - 1) * 1000) / (this.#lastAt - this.#firstAt);
      figures.push(["speed", `${rate.toFixed(1)} tokens/s`]);
    }
    if (header("x-queue-time") != null) figures.push(["in queue", `${header("x-queue-time")} ms`]);
    if (this.#usage) {
      const cached = this.#usage.prompt_tokens_details?.cached_tokens;
      figures.push(["prompt", `${this.#usage.prompt_tokens}${cached ? ` (${cached} cached)` : ""}`]);
    }
    figures.push(["answer", `${this.#usage?.completion_tokens ?? this.#tokens} tokens`]);
    if (this.#finish) figures.push(["end", this.#finish]);
    this.#figures.replaceChildren(...figures.map(([name, value]) => {
      const pair = document.createElement("div");
      part(pair, "dt", "", name);
      part(pair, "dd", "", value);
      return pair;
    }));
  }
}
