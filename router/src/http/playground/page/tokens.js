// Text made of tokens that can be pointed at. Everything of the model becomes text nodes: nothing
// it says is ever markup.

import { hide, show } from "./inspector.js";

/** What is known of a token's element. */
const scores = new WeakMap();

/** One stretch of an answer: its tokens in an element of its own. */
export class TokenText {
  #element;
  // Tokens need not end where characters do: the last of a character's tokens has its text.
  #decoder = new TextDecoder();
  #onChoose;

  /** `onChoose(before, token)`: `token` was chosen to stand after the tokens `before`. */
  constructor(element, onChoose) {
    this.#element = element;
    this.#onChoose = onChoose;
    element.addEventListener("keydown", (event) => this.#key(event));
    element.addEventListener("pointerover", (event) => this.#inspect(event.target));
    element.addEventListener("pointerout", (event) => hide(event.relatedTarget));
    element.addEventListener("focusin", (event) => this.#inspect(event.target));
    element.addEventListener("focusout", (event) => hide(event.relatedTarget));
  }

  /** All elements of tokens. */
  get elements() {
    return this.#element.querySelectorAll(".token");
  }

  /** Appends tokens as the server scores them: `{token, logprob, bytes, top_logprobs}`. */
  append(tokens) {
    for (const token of tokens) {
      const text = this.#decoder.decode(Uint8Array.from(token.bytes ?? []), { stream: true });
      this.#put(token, text);
    }
  }

  /** Appends text that nothing is known of. */
  appendPlain(text) {
    this.#element.append(text);
  }

  /** Appends what was chosen instead of a token. */
  appendChosen(token) {
    this.#put(token, decode(token.bytes)).classList.add("put");
  }

  /** Marks the last token when it ended the answer: then its text is no part of `content`. */
  markEnd(content) {
    const last = this.#element.lastElementChild;
    last?.classList.toggle("end", !content.endsWith(last.textContent));
  }

  #put(token, text) {
    const element = document.createElement("span");
    element.className = text ? "token" : "token part";
    element.textContent = text || "·";
    // One stop for the Tab key; the arrow keys go on from there.
    element.tabIndex = this.#element.querySelector(".token") ? -1 : 0;
    const probability = Math.exp(token.logprob);
    element.style.setProperty("--doubt-share", (1 - probability).toFixed(3));
    scores.set(element, { ...token, text });
    this.#element.append(element);
    return element;
  }

  #inspect(element) {
    const token = scores.get(element);
    if (token) show(element, token, (number) => this.#choose(element, number));
  }

  /** Takes the alternative with this number instead of the token of `element`. */
  #choose(element, number) {
    const chosen = scores.get(element)?.top_logprobs?.[number];
    if (!chosen || !this.#onChoose) return;
    // In the middle of a character there is no text to go on from.
    if (element.previousElementSibling?.classList.contains("part")) return;
    const before = [];
    for (const other of this.elements) {
      if (other === element) break;
      before.push({ ...scores.get(other), chosen: other.classList.contains("put") });
    }
    this.#onChoose(before, { ...chosen, top_logprobs: scores.get(element).top_logprobs });
  }

  #key(event) {
    const tokens = [...this.elements];
    const at = tokens.indexOf(event.target);
    if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: tokens.length - 1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      const next = tokens[Math.min(Math.max(to, 0), tokens.length - 1)];
      event.target.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    } else if (/^[1-9]$/.test(event.key)) {
      event.preventDefault();
      this.#choose(event.target, Number(event.key) - 1);
    }
  }
}

/** The text of bytes; bytes that are no characters become replacement characters. */
export function decode(bytes) {
  return new TextDecoder().decode(Uint8Array.from(bytes ?? []));
}
