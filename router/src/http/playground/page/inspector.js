// The card beside a token: how likely it was and what else could have stood there.

import { byId, part } from "./dom.js";

const card = byId("inspector");
/** The token's element; null: the card is not shown. */
let anchor = null;

card.addEventListener("pointerleave", (event) => hide(event.relatedTarget));
byId("turns").addEventListener("scroll", () => hide(null));

/** Shows a token. `choose(number)` takes the alternative with that number. */
export function show(element, token, choose) {
  anchor = element;
  card.replaceChildren();
  const head = part(card, "div", "head");
  part(head, "b", "", visible(token));
  part(head, "span", "", percent(token.logprob));
  const others = token.top_logprobs ?? [];
  for (const [number, other] of others.entries()) {
    const choice = part(card, "button", "choice");
    choice.type = "button";
    // The numbers are keys, on the token itself.
    choice.tabIndex = -1;
    choice.style.setProperty("--share", Math.exp(other.logprob).toFixed(3));
    choice.classList.toggle("taken", same(other, token));
    part(choice, "span", "number", String(number + 1));
    part(choice, "span", "name", visible(other));
    part(choice, "span", "", percent(other.logprob));
    choice.addEventListener("click", () => choose(number));
  }
  if (others.length) part(card, "p", "note", `1–${others.length} or a click: go on from that token`);
  card.hidden = false;
  place(element.getClientRects()[0] ?? element.getBoundingClientRect());
}

/** Hides the card unless `to`, where pointer or focus went, is in it. */
export function hide(to) {
  if (to && (card.contains(to) || to === anchor)) return;
  anchor = null;
  card.hidden = true;
}

/** Below the token, or above it when there is no room. */
function place(token) {
  const left = Math.min(Math.max(token.left - 12, 8), innerWidth - card.offsetWidth - 8);
  const below = token.bottom + 2;
  const top = below + card.offsetHeight < innerHeight ? below : token.top - card.offsetHeight - 2;
  card.style.left = `${left}px`;
  card.style.top = `${Math.max(top, 8)}px`;
}

function same(one, other) {
  return one.token === other.token && String(one.bytes) === String(other.bytes);
}

function percent(logprob) {
  const share = Math.exp(logprob) * 100;
  return share >= 0.1 ? `${share.toFixed(1)} %` : share > 0 ? "< 0.1 %" : "0 %";
}

/** A token's text with its white space to be seen; bytes that are no characters in hex. */
function visible({ token, bytes }) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(bytes ?? []));
    if (text) return text.replaceAll(" ", "␣").replaceAll("\n", "⏎").replaceAll("\t", "⇥");
  } catch {
    return bytes.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  }
  return token;
}
