// What is under way, as it goes on: figures come as events; when something begins or ends, the page's parts are read anew.
"use strict";
(() => {
  const card = document.querySelector('[data-part="live"]');
  if (!card || !window.EventSource) return;
  const said = document.querySelector('[data-live="said"]');
  const onePage = location.pathname.startsWith("/backups/") ? location.pathname.split("/")[2] : null;
  const number = (value) => value.toLocaleString("en");
  const units = ["B", "kB", "MB", "GB", "TB"];
  const size = (bytes) => {
    let unit = 0;
    while (bytes >= 1000 && unit < units.length - 1) { bytes /= 1000; unit += 1; }
    return `${unit ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
  };
  const left = (seconds) => {
    const whole = Math.max(0, Math.round(seconds));
    return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
  };
  const put = (name, text) => {
    const place = card.querySelector(`[data-live="${name}"]`);
    if (place && place.textContent !== text) place.textContent = text;
  };

  const show = (now) => {
    const bar = card.querySelector('[data-live="bar"]');
    if (bar && now.ratio !== null) bar.value = Math.floor(now.ratio * 100);
    put("percent", now.ratio === null ? "" : `${Math.floor(now.ratio * 100)} %`);
    put("stage", now.table ? `${now.stage} ${now.table}` : now.stage);
    put("rows", number(now.rows) + (now.expected_rows ? ` of ${number(now.expected_rows)}` : ""));
    put("bytes", size(now.bytes));
    put("rate", now.bytes_per_second ? `${size(now.bytes_per_second)}/s` : "–");
    put("left", now.seconds_left === null ? "–" : left(now.seconds_left));
  };

  let reading = null;
  const readAnew = async () => {
    if (reading) return reading;
    reading = (async () => {
      const answer = await fetch(location.pathname + location.search.replace(/[?&](note|backup)=[^&]*/g, ""), { headers: { Accept: "text/html" } });
      if (!answer.ok || answer.redirected) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of document.querySelectorAll("[data-part]")) {
        const other = fresh.querySelector(`[data-part="${part.dataset.part}"]`);
        if (!other || part.contains(document.activeElement) && part.dataset.part !== "live") continue;
        if (part.querySelector("details[open]")) continue;
        part.replaceChildren(...other.childNodes);
        part.className = other.className;
        part.hidden = other.hidden;
      }
      window.showTimes(document);
    })().finally(() => { reading = null; });
    return reading;
  };

  const mine = (activity) => activity && (!onePage || activity.backup_id === onePage) ? activity : null;
  let before = card.hidden ? "" : "unknown";
  let newest = null;
  const take = async (state) => {
    const now = mine(state.activity);
    const key = now ? `${now.operation} ${now.backup_id} ${now.stage === "starting" ? "0" : "1"}` : "";
    const fresh = state.newest ? `${state.newest.backup_id} ${state.newest.status}` : "";
    const changed = key !== before || (newest !== null && fresh !== newest);
    const ended = before && !key;
    const what = before.split(" ")[0];
    before = key;
    newest = fresh;
    if (changed) await readAnew();
    if (now) show(now);
    if (ended && said && what !== "unknown") said.textContent = what === "backup" && state.newest ? `The backup has ended: ${state.newest.status}.` : `The ${what} has ended.`;
  };

  const stream = new EventSource("/events");
  stream.addEventListener("state", (event) => { take(JSON.parse(event.data)); });
  stream.addEventListener("signed-out", () => { stream.close(); location.reload(); });
  addEventListener("pagehide", () => stream.close());
})();
