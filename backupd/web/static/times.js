// Times as the viewer's own clock shows them; the time in UTC stays in the title.
"use strict";
for (const time of document.querySelectorAll("time[datetime]")) {
  const at = new Date(time.dateTime);
  if (Number.isNaN(at.getTime())) continue;
  time.title = at.toISOString().replace("T", " ").replace(/\.\d+Z/, " UTC");
  time.textContent = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}
