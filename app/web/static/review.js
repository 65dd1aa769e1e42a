// Keys for reviewers. Everything works without this: each key only moves to a button, a link or a form that is there.
"use strict";

const FIELDS = "input, select, textarea";

// A decision is never one key alone: the key moves there, Enter decides.
function go(target) {
  if (target.matches("summary")) {
    target.parentElement.open = true;
    target.parentElement.querySelector("textarea")?.focus();
  } else if (target.matches("a")) {
    target.click();
  } else {
    target.focus();
    target.scrollIntoView({ block: "nearest" });
  }
}

function step(by) {
  const items = [...document.querySelectorAll("[data-queue] a.item")];
  if (items.length) {
    const here = items.indexOf(document.activeElement);
    items[Math.min(Math.max(here < 0 && by < 0 ? items.length - 1 : here + by, 0), items.length - 1)].focus();
  }
}

document.addEventListener("keydown", (event) => {
  const field = event.target.matches(FIELDS);
  if (field && event.key === "Escape") {
    event.target.blur();
  } else if (field && event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.target.form?.requestSubmit();
  } else if (!field && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const target = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    if (target) {
      event.preventDefault();
      go(target);
    } else if (event.key === "j" || event.key === "k") {
      step(event.key === "j" ? 1 : -1);
    }
  }
});

// One click, one request: the button says that it is under way.
document.addEventListener("submit", (event) => {
  for (const button of event.target.querySelectorAll("button")) {
    button.disabled = true;
  }
});
window.addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("form.act button, .act form button")) {
    button.disabled = false;
  }
});
