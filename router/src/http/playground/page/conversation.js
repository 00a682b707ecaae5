// The chat: what was said, and the one request that runs.

import { Answer } from "./answer.js";
import { Refusal, post } from "./api.js";
import { part } from "./dom.js";
import { hide } from "./inspector.js";

/** How many likely tokens are told of each. */
const ALTERNATIVES = 5;

/** A conversation in an element. */
export class Conversation {
  #element;
  #settings;
  #onChange;
  /** `{role, content}` of everything before the answer that runs. */
  #messages = [];
  /** Ends the request that runs; null: none does. */
  #running = null;

  /** `settings()` gives a request's fields and the system message; `onChange(busy)` is told. */
  constructor(element, settings, onChange) {
    this.#element = element;
    this.#settings = settings;
    this.#onChange = onChange;
  }

  /** Whether an answer comes. */
  get busy() {
    return this.#running !== null;
  }

  /** Asks and shows the answer. */
  async send(text) {
    if (this.busy) return;
    const turn = part(this.#element, "article", "turn asked");
    part(turn, "h3", "", "You");
    part(turn, "div", "text", text);
    this.#messages.push({ role: "user", content: text });
    await this.#answer(this.#messages.length, (answer) => answer);
  }

  /** Ends the answer that comes. */
  stop() {
    this.#running?.abort();
  }

  /** Forgets everything. */
  clear() {
    this.stop();
    this.#running = null;
    hide(null);
    this.#messages = [];
    for (const turn of this.#element.querySelectorAll(".turn")) turn.remove();
  }

  /** Answers the first `asked` messages. `begin` may give the answer a beginning. */
  async #answer(asked, begin) {
    const answer = new Answer(this.#element, (before, token) => this.#goOn(asked, before, token));
    begin(answer);
    const messages = this.#messages.slice(0, asked);
    const beginning = answer.content;
    const running = new AbortController();
    this.#running = running;
    this.#onChange(true);
    this.#follow(true);
    try {
      const { headers, events } = await post("v1/chat/completions", this.#body(messages, beginning), running.signal);
      answer.head(headers);
      for await (const chunk of events) {
        const following = this.#atEnd();
        answer.chunk(chunk);
        this.#follow(following);
      }
      answer.end("done");
    } catch (error) {
      if (running.signal.aborted) answer.end("stopped");
      else answer.end("failed", explain(error));
    }
    // After `clear` this answer is no part of the conversation any more.
    if (this.#running === running) {
      this.#running = null;
      this.#messages = [...messages, { role: "assistant", content: answer.content }];
      this.#onChange(false);
      this.#follow(this.#atEnd());
    }
  }

  /** Takes another token in an answer, which takes the place of what followed. */
  async #goOn(asked, before, token) {
    if (this.busy) return;
    hide(null);
    const turns = [...this.#element.querySelectorAll(".turn")];
    for (const turn of turns.slice(asked)) turn.remove();
    await this.#answer(asked, (answer) => answer.beginWith(before, token));
  }

  #body(messages, beginning) {
    const { system, fields } = this.#settings();
    const told = [...(system ? [{ role: "system", content: system }] : []), ...answered(messages)];
    const body = {
      ...fields,
      messages: told,
      stream: true,
      stream_options: { include_usage: true },
      logprobs: true,
      top_logprobs: ALTERNATIVES,
    };
    if (!beginning) return body;
    return {
      ...body,
      messages: [...told, { role: "assistant", content: beginning }],
      add_generation_prompt: false,
      continue_final_message: true,
    };
  }

  #atEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#element;
    return scrollHeight - scrollTop - clientHeight < 80;
  }

  #follow(following) {
    if (following) this.#element.scrollTop = this.#element.scrollHeight;
  }
}

/** Without questions whose answer failed: templates want the roles to take turns. */
function answered(messages) {
  const empty = (message) => message?.role === "assistant" && !message.content;
  return messages.filter((message, at) => !empty(message) && !empty(messages[at + 1]));
}

function explain(error) {
  if (!(error instanceof Refusal)) return "The server cannot be reached.";
  if (error.status === 401) return `${error.message} Type the API key under Settings.`;
  return error.message;
}
