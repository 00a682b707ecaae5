// The two things that every part of the page does with elements.

/** The element with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/** A new element at the end of `parent`; `text` is text, whatever it holds. */
export function part(parent, kind, className, text = "") {
  const element = document.createElement(kind);
  element.className = className;
  element.textContent = text;
  parent.append(element);
  return element;
}
