// What makes the page lively. Without it every link and every form works all the same.
"use strict";

const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;

function duration(millis) {
  if (millis < MINUTE) return `${Math.floor(millis / SECOND)} s`;
  if (millis < HOUR) return `${Math.floor(millis / MINUTE)} min`;
  if (millis < 2 * DAY) return `${Math.floor(millis / HOUR)} h`;
  return `${Math.floor(millis / DAY)} d`;
}

// Relative times go on; the exact one stays in the title.
function showTimes() {
  for (const time of document.querySelectorAll("main time[datetime]")) {
    const passed = Date.now() - Date.parse(time.dateTime);
    if (passed >= MINUTE) time.textContent = `${duration(passed)} ago`;
  }
}

function announce(text) {
  document.getElementById("announcer").textContent = text;
}

// One stream of events for the page that is shown.
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

// New rows are counted and announced; they do not come in under the pointer. Which of the operations that something
// happens to belong to the list is what the server says of its filter.
function followList(place) {
  const { filter, now } = place.dataset;
  const waiting = new Set(), fresh = new Set();
  let timer;
  // What was created since the page was made, and before this can hear of it.
  events.addEventListener("open", () => find(`created_at >= "${now}"`), { once: true });
  events.onmessage = (event) => {
    const { operation } = JSON.parse(event.data);
    const row = document.querySelector(`a.main[href$="${operation.id}"]`);
    if (row) return refreshRow(operation, row.closest("tr"));
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
    const isShown = ({ id }) => document.querySelector(`a.main[href$="${id}"]`);
    tell(operations.filter((operation) => !isShown(operation)).map((operation) => operation.id));
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

const NAMES = { PENDING: ["pending", "◷", "Pending"], RUNNING: ["running", "▶", "Running"],
  COMPLETED: ["completed", "✓", "Completed"], FAILED: ["failed", "✕", "Failed"] };

// A row that is shown changes where it stands.
function refreshRow(operation, row) {
  const [name, sign, text] = NAMES[operation.status.replace("ASYNC_OPERATION_STATUS_", "")];
  const badge = row.querySelector(".badge");
  badge.className = `badge ${name}`;
  const mark = document.createElement("span");
  mark.className = "sign";
  mark.ariaHidden = "true";
  mark.textContent = sign;
  badge.replaceChildren(mark, ` ${text}`);
}

// The page of one operation is fetched again when something happens to it, and once when that can be heard of: it may
// have happened before.
function followOne(id) {
  const refresh = async () => {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok) return;
    const next = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("operation");
    const place = document.getElementById("operation");
    if (!next || !place) return;
    const badge = next.querySelector(".badge").textContent.trim();
    if (badge !== place.querySelector(".badge").textContent.trim()) announce(`The operation is now: ${badge}`);
    // What was unfolded stays so.
    for (const text of place.querySelectorAll("details[open] pre[id]")) {
      const details = next.querySelector(`#${text.id}`)?.closest("details");
      if (details) details.open = true;
    }
    place.replaceWith(next);
    show();
    if (!next.dataset.live) events.close();
  };
  events.addEventListener("open", refresh, { once: true });
  events.onmessage = (event) => {
    if (JSON.parse(event.data).operation.id === id) refresh();
  };
}

// What is picked is counted, and all of a page can be picked at once.
function preparePicking() {
  const form = document.getElementById("bulk"), all = document.getElementById("pick-all");
  if (!form || !all) return;
  all.hidden = false;
  const boxes = [...document.querySelectorAll("td.pick input")], picked = document.getElementById("picked");
  const show = () => {
    const count = boxes.filter((box) => box.checked).length;
    all.checked = count === boxes.length;
    all.indeterminate = count > 0 && !all.checked;
    picked.textContent = count > 0 ? `${count} selected, or` : "Tick operations, or";
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

// A menu closes when something else is meant.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.choice[open]")) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && event.target.closest?.("details.choice[open]");
  if (!menu) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});

document.addEventListener("DOMContentLoaded", prepare);
document.addEventListener("visibilitychange", () => { if (!document.hidden) showTimes(); });
setInterval(showTimes, 30 * SECOND);
