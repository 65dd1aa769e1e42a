// Everything works without this: it adds copying, local times on hover, pausing of what renews itself, and the CSRF
// header for htmx.
"use strict";

function localTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const local = new Date(time.dateTime);
    if (!time.dataset.local && !Number.isNaN(local.getTime())) {
      time.dataset.local = "1";
      const text = local.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
      time.title = `${time.title}\n${text} local`;
    }
  }
}

let paused = false;
let stale = null;

function showPause(root) {
  for (const button of root.querySelectorAll("[data-pause]")) {
    button.hidden = false;
    button.setAttribute("aria-pressed", String(paused));
    const old = stale ? ` (none since ${stale.toLocaleTimeString()})` : "";
    button.textContent = (paused ? "Resume updates" : "Pause updates") + old;
  }
}

function prepare(root) {
  localTimes(root);
  showPause(root);
}

async function copy(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "copied";
  } catch {
    button.textContent = "not allowed";
  }
  setTimeout(() => { button.textContent = "copy"; }, 1500);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.copy) {
    copy(button);
  } else if (button && "pause" in button.dataset) {
    paused = !paused;
    showPause(document);
  }
});

// Nothing moves under somebody who reads with a selection, types, or has paused.
function busy() {
  const region = document.getElementById("live");
  const selection = document.getSelection();
  const reads = selection && !selection.isCollapsed && region?.contains(selection.anchorNode);
  const types = region?.contains(document.activeElement) && document.activeElement.matches("input, select, textarea");
  return paused || document.hidden || reads || types;
}

document.addEventListener("htmx:before:request", (event) => {
  event.detail.ctx.request.headers["X-CSRF-Token"] = document.body.dataset.csrf ?? "";
  if (event.target.id === "live" && busy()) event.preventDefault();
});
// An error page must not take the place of figures: they stay, and the button says since when they are old.
document.addEventListener("htmx:before:response", (event) => {
  const answer = event.detail.ctx.response;
  const failed = answer.status >= 400 && !answer.headers.has("HX-Redirect");
  if (failed) {
    event.preventDefault();
    stale ??= new Date();
    showPause(document);
  } else {
    stale = null;
  }
});
// What somebody opened or scrolled sideways stays so when the region is renewed.
let kept = { open: [], scrolled: [] };
document.addEventListener("htmx:before:swap", () => {
  kept = {
    open: [...document.querySelectorAll("#live details")].map((each) => each.open),
    scrolled: [...document.querySelectorAll("#live .scroll")].map((each) => each.scrollLeft),
  };
});
document.addEventListener("htmx:after:swap", () => {
  document.querySelectorAll("#live details").forEach((each, at) => { each.open ||= kept.open[at] ?? false; });
  document.querySelectorAll("#live .scroll").forEach((each, at) => { each.scrollLeft = kept.scrolled[at] ?? 0; });
  prepare(document);
});
document.addEventListener("DOMContentLoaded", () => {
  prepare(document);
  document.querySelector("nav [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
});
