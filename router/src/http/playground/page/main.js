// Wires the page together: fields, buttons and keys. Nothing else belongs here.

import { setKey } from "./api.js";
import { Conversation } from "./conversation.js";
import { byId } from "./dom.js";
import { refresh, watch } from "./engine.js";
import { hide } from "./inspector.js";

const prompt = byId("prompt");
const conversation = new Conversation(byId("turns"), settings, changed);

/** What the settings say of a request; an empty field leaves it to the model. */
function settings() {
  const fields = {};
  for (const name of ["temperature", "top_p", "max_tokens", "seed"]) {
    const { value } = byId(name);
    if (value !== "") fields[name] = Number(value);
  }
  return { system: byId("system").value.trim(), fields };
}

function changed(busy) {
  byId("welcome").hidden = true;
  byId("stop").hidden = !busy;
  byId("send").disabled = busy;
}

function send() {
  const text = prompt.value.trim();
  if (!text || conversation.busy) return;
  prompt.value = "";
  conversation.send(text);
}

function clear() {
  conversation.clear();
  changed(false);
  byId("welcome").hidden = false;
  prompt.focus();
}

function shade() {
  byId("turns").classList.toggle("shaded", byId("shade").checked);
}

byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
byId("settings").addEventListener("submit", (event) => event.preventDefault());
prompt.addEventListener("keydown", (event) => {
  // While an input method composes, Enter accepts its proposal.
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    send();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  hide(null);
  conversation.stop();
});
byId("stop").addEventListener("click", () => {
  conversation.stop();
  prompt.focus();
});
byId("clear").addEventListener("click", clear);
for (const idea of document.querySelectorAll(".idea")) {
  idea.addEventListener("click", () => {
    prompt.value = idea.textContent;
    prompt.focus();
    send();
  });
}
byId("shade").addEventListener("change", shade);
byId("key").addEventListener("input", (event) => setKey(event.target.value));
byId("key").addEventListener("change", refresh);

shade();
watch();
