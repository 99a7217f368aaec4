// Keeps the page up to date. Without this script, every link and every form still works.
"use strict";

const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;

// Days until a future time are rounded up, as on the server.
function duration(millis, whole = Math.floor) {
  if (millis < MINUTE) return `${whole(millis / SECOND)} s`;
  if (millis < HOUR) return `${Math.floor(millis / MINUTE)} min`;
  if (millis < 2 * DAY) return `${Math.floor(millis / HOUR)} h`;
  return `${whole(millis / DAY)} d`;
}

// How long ago a time is, or how long it is until then. A time that was in the future when the page was rendered is
// shown as due once it has passed.
function relative(time) {
  const passed = Date.now() - Date.parse(time.dateTime), shown = time.textContent;
  if (shown === "due" || shown.startsWith("in ")) return passed < 0 ? `in ${duration(-passed, Math.ceil)}` : "due";
  return passed < SECOND ? shown : `${duration(passed)} ago`;
}

// Relative times are updated; the exact time remains in the title.
function showTimes() {
  if (document.hidden) return;
  for (const time of document.querySelectorAll("main time[datetime]:not(.clock)")) {
    const text = relative(time);
    if (text !== time.textContent) time.textContent = text;
  }
}

function announce(text) {
  document.getElementById("announcer").textContent = text;
}

// A single stream of events for the current page.
let events;

function watch() {
  events?.close();
  events = undefined;
  const place = document.querySelector("[data-watch]");
  if (!place || !window.EventSource) return;
  events = new EventSource(place.dataset.watch);
  const live = place.dataset.live;
  if (live) followOne(live);
  else followList(place);
}

// Fetches the current state of a page of this server; nothing if there is none.
async function pageAt(url) {
  const answer = await fetch(url, { headers: { accept: "text/html" } }).catch(() => undefined);
  // A visitor who is no longer signed in stays here until the next click.
  if (!answer?.ok || answer.redirected) return undefined;
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

// Fetches this page again and passes it on: one request at a time, at least a second apart, and only while the page is
// visible.
function asking(take) {
  let timer, last = -SECOND, isAsking = false, isWanted = false;
  const ask = async () => {
    timer = undefined;
    if (document.hidden) return document.addEventListener("visibilitychange", soon, { once: true });
    [isAsking, isWanted, last] = [true, false, performance.now()];
    try {
      const page = await pageAt(location.href);
      if (page) await take(page);
    } finally {
      isAsking = false;
    }
    if (isWanted) soon();
  };
  const soon = () => {
    if (isAsking) isWanted = true;
    else timer ??= setTimeout(ask, Math.max(0, last + SECOND - performance.now()));
  };
  return soon;
}

// Identifies an element among its siblings: it is not turned into another one.
function nameOf(node) {
  if (node.nodeType !== Node.ELEMENT_NODE) return node.nodeName;
  const names = ["id", "name", "href", "action", "data-part"].map((name) => node.getAttribute(name));
  return [node.nodeName, ...names].join(" ");
}

// What scripts and readers change is preserved: unfolded details, and buttons that need a script.
const KEPT = { DETAILS: "open", BUTTON: "hidden" };

// Updates what is shown to the current state. Unchanged parts are not touched, so that the focus, ticks, selections and
// unfolded details are preserved.
function renew(shown, next) {
  if (shown.isEqualNode(next)) return;
  if (shown.nodeType !== Node.ELEMENT_NODE) {
    shown.nodeValue = next.nodeValue;
    return;
  }
  // Its text is set by this script.
  if (shown.nodeName === "TIME" && shown.dateTime === next.dateTime) return;
  const names = new Set([...shown.getAttributeNames(), ...next.getAttributeNames()]);
  names.delete(KEPT[shown.nodeName]);
  for (const name of names) {
    const value = next.getAttribute(name);
    if (value === null) shown.removeAttribute(name);
    else if (value !== shown.getAttribute(name)) shown.setAttribute(name, value);
  }
  const old = [...shown.childNodes];
  for (const child of [...next.childNodes]) {
    const isText = child.nodeType === Node.TEXT_NODE;
    const at = (isText ? old.slice(0, 1) : old).findIndex((one) => nameOf(one) === nameOf(child));
    if (at < 0) {
      shown.insertBefore(child, old[0] ?? null);
    } else {
      old.splice(0, at).forEach((one) => one.remove());
      renew(old.shift(), child);
    }
  }
  old.forEach((one) => one.remove());
}

// New rows are counted and announced; they are not inserted under the pointer, and no row moves. The server decides by
// its filter which of the changed operations belong to the list. The shown rows, and the numbers above them, are
// updated.
function followList(place) {
  const { filter, now } = place.dataset;
  const waiting = new Set(), fresh = new Set(), changed = new Set();
  let timer;
  const refresh = asking(async (page) => {
    const ids = [...changed];
    changed.clear();
    renewRows(page);
    renewNumbers(page);
    // Rows that are no longer on this page, or no longer match, remain and are updated.
    const others = ids.filter((id) => !rowOf(page, id)).slice(0, 30);
    if (others.length > 0) {
      const query = new URLSearchParams({ filter: `id = (${others.join(" OR ")})`, size: "100" });
      const rest = await pageAt(`/ui/operations?${query}`);
      if (rest) renewRows(rest);
    }
    showTimes();
  });
  // Finds operations that were created after the page was rendered and before the first event.
  events.addEventListener("open", () => {
    find(`created_at >= "${now}"`);
    refresh();
  }, { once: true });
  // The menus count other kinds, too, even if only the events of one kind are received.
  document.querySelector(".filter").addEventListener("toggle", (event) => event.target.open && refresh(), true);
  events.addEventListener("deleted", refresh);
  events.onmessage = (event) => {
    const { operation } = JSON.parse(event.data);
    refresh();
    if (rowOf(document, operation.id)) {
      changed.add(operation.id);
      return;
    }
    const isNew = operation.created_at > now;
    if (!filter && isNew) return tell([operation.id]);
    if (!filter || fresh.has(operation.id) || !(isNew || filter.includes("status"))) return;
    waiting.add(operation.id);
    timer ??= setTimeout(ask, SECOND);
  };
  function ask() {
    const ids = [...waiting].slice(0, 30);
    ids.forEach((id) => waiting.delete(id));
    timer = waiting.size > 0 ? setTimeout(ask, SECOND) : undefined;
    find(`id = (${ids.join(" OR ")})`);
  }
  async function find(which) {
    const query = new URLSearchParams({ filter: filter ? `${filter} AND ${which}` : which, page_size: "100" });
    const answer = await fetch(`/v1/operations:search?${query}`);
    if (!answer.ok) return;
    const { operations } = await answer.json();
    tell(operations.filter(({ id }) => !rowOf(document, id)).map(({ id }) => id));
  }
  function tell(ids) {
    const before = fresh.size;
    ids.forEach((id) => fresh.add(id));
    if (fresh.size === 0) return;
    const news = document.getElementById("news");
    const text = fresh.size === 1 ? "1 new operation" : `${fresh.size} new operations`;
    news.querySelector(".number").textContent = text;
    news.querySelector("a").href = location.href;
    news.hidden = false;
    if (before === 0) announce(text);
  }
}

// The row of an operation in the list of a page.
function rowOf(page, id) {
  return page.querySelector(`.list a.main[href$="/${id}"]`)?.closest("tr");
}

// Updates the shown rows in place.
function renewRows(page) {
  for (const link of document.querySelectorAll(".list a.main")) {
    const next = rowOf(page, link.pathname.split("/").pop());
    if (next) renew(link.closest("tr"), next);
  }
}

// Updates the counts of the list: above it, in its tabs, below it, next to the option for all (unless it is chosen),
// and in the menus.
function renewNumbers(page) {
  for (const place of [".total", ".tabs", ".views", ".pages > p"]) {
    const shown = document.querySelector(place), next = page.querySelector(place);
    if (shown && next) renew(shown, next);
  }
  const all = document.querySelector("#bulk [name=all]"), next = page.querySelector("#bulk [name=all]");
  if (all && next && !all.checked) renew(all.closest("label"), next.closest("label"));
  for (const menu of document.querySelectorAll("[data-menu]")) {
    const next = page.querySelector(`[data-menu=${menu.dataset.menu}]`);
    if (next) renewChoices(menu, next);
  }
}

// Updates the counts of a menu of the filter. Each choice stays in its place, ticked or not, and new ones come after
// the others. A choice that is no longer offered has no count.
function renewChoices(menu, next) {
  const choices = new Map([...next.querySelectorAll(".tick")].map((label) => [label.control.value, label]));
  let last = menu.querySelector("legend");
  for (const shown of menu.querySelectorAll(".tick")) {
    const { value } = shown.control;
    if (choices.has(value)) renew(shown, choices.get(value));
    else shown.querySelector(".count").textContent = "";
    choices.delete(value);
    last = shown;
  }
  last.after(...choices.values());
}

// The page of one operation is updated when something happens to it, and from time to time, since progress causes no
// event; and once when the stream of events opens, because something may have happened before.
function followOne(id) {
  const refresh = asking((page) => {
    const next = page.getElementById("operation"), place = document.getElementById("operation");
    if (!next || !place) return;
    const badge = next.querySelector(".badge").textContent.trim();
    if (badge !== place.querySelector(".badge").textContent.trim()) announce(`The operation is now: ${badge}`);
    renew(place, next);
    show();
    if (place.dataset.live) return;
    events.close();
    clearInterval(timer);
  });
  const timer = setInterval(refresh, 3 * SECOND);
  events.addEventListener("open", refresh, { once: true });
  events.onmessage = (event) => {
    if (JSON.parse(event.data).operation.id === id) refresh();
  };
}

// Counts the selected rows, and allows to select all rows of a page at once.
function preparePicking() {
  const form = document.getElementById("bulk"), all = document.getElementById("pick-all");
  if (!form || !all) return;
  all.hidden = false;
  const boxes = [...document.querySelectorAll("td.pick input")], picked = document.getElementById("picked");
  const show = () => {
    const count = boxes.filter((box) => box.checked).length;
    all.checked = count === boxes.length;
    all.indeterminate = count > 0 && !all.checked;
    picked.textContent = count > 0 ? `${count} selected, or` : "Select operations, or";
    for (const button of form.querySelectorAll("button")) button.disabled = count === 0 && !form.elements.all.checked;
  };
  all.onchange = () => { boxes.forEach((box) => { box.checked = all.checked; }); show(); };
  form.elements.all.onchange = show;
  boxes.forEach((box) => { box.onchange = show; });
  show();
}

function show() {
  showTimes();
  preparePicking();
  for (const button of document.querySelectorAll("button.copy")) button.hidden = !navigator.clipboard;
}

function prepare() {
  show();
  watch();
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  const from = button.dataset.copyFrom;
  await navigator.clipboard.writeText(from ? document.getElementById(from).textContent : button.dataset.copy);
  const before = button.textContent;
  button.textContent = "Copied";
  announce("Copied");
  setTimeout(() => { button.textContent = before; }, 1500);
});

document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});

// Closes an open menu when the visitor does something else.
const MENUS = "details.choice[open], details.site-menu[open]";
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll(MENUS)) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && event.target.closest?.(MENUS);
  if (!menu) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});

document.addEventListener("DOMContentLoaded", prepare);
document.addEventListener("visibilitychange", showTimes);
setInterval(showTimes, SECOND);
