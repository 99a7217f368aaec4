// The overview stays true: it is fetched again while somebody looks at it and does nothing in it.
"use strict";

(() => {
  const place = document.getElementById("overview");
  if (!place) return;
  const isAtRest = () => !document.hidden && !place.contains(document.activeElement) &&
    !place.querySelector(".chart details[open]") && getSelection().isCollapsed;
  setInterval(async () => {
    if (!isAtRest()) return;
    const answer = await fetch(location.href, { headers: { accept: "text/html" } }).catch(() => undefined);
    // Who is not signed in any more stays here until the next click.
    if (!answer?.ok || answer.redirected) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const next = page.getElementById("overview");
    if (next && isAtRest()) place.replaceChildren(...next.childNodes);
  }, Number(place.dataset.refresh) * 1000);
})();
