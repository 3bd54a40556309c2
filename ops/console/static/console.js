// The overview's figures come anew by themselves; what needs the logs is fetched after the page is there.
"use strict";

async function fetched(url) {
  const answer = await fetch(url, { headers: { Accept: "text/html" } });
  if (!answer.ok) throw new Error(String(answer.status));
  return answer.text();
}

const live = document.getElementById("live");
if (live) {
  const again = async () => {
    if (!document.hidden) {
      try {
        live.innerHTML = await fetched(live.dataset.live);
        live.classList.remove("stale");
      } catch {
        live.classList.add("stale");
      }
    }
    setTimeout(again, Number(live.dataset.every));
  };
  setTimeout(again, Number(live.dataset.every));
}

const arrivals = document.getElementById("arrivals");
if (arrivals) {
  fetched(arrivals.dataset.fetch)
    .then((html) => { arrivals.innerHTML = html; })
    .catch(() => { arrivals.querySelector("p").textContent = "The logs could not be read."; });
}
