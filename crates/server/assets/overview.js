// Keeps the overview up to date: it is fetched again while it is visible and not being used.
"use strict";

(() => {
  const place = document.getElementById("overview");
  if (!place) return;
  const isAtRest = () => !document.hidden && !place.contains(document.activeElement) &&
    !place.querySelector(".chart details[open]") && getSelection().isCollapsed;
  setInterval(async () => {
    if (!isAtRest()) return;
    const answer = await fetch(location.href, { headers: { accept: "text/html" } }).catch(() => undefined);
    // A visitor who is no longer signed in stays here until the next click.
    if (!answer?.ok || answer.redirected) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const next = page.getElementById("overview");
    if (next && isAtRest()) place.replaceChildren(...next.childNodes);
  }, Number(place.dataset.refresh) * 1000);
})();
