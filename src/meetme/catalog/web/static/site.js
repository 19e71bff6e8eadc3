// What a page does beyond htmx: copying an address, and a clock for the step that is under way.
(() => {
  "use strict";

  const select = (node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  };

  const show = () => document.querySelectorAll("[data-copy][hidden]").forEach((button) => (button.hidden = false));

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent.trim());
      button.textContent = "Copied";
    } catch {
      select(source); // without TLS a browser lets no page copy: it is ready to be copied by hand
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });

  const spoken = (seconds) =>
    seconds < 1 ? `${Math.round(seconds * 1000)} ms`
      : seconds < 60 ? `${seconds.toFixed(1)} s`
        : seconds < 3600 ? `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`
          : `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;

  let begun = null;
  const tick = () => {
    const clock = document.querySelector("[data-elapsed]");
    if (!clock) return;
    begun ??= performance.now() - Number(clock.dataset.elapsed) * 1000;
    clock.textContent = spoken((performance.now() - begun) / 1000);
  };

  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  setInterval(tick, still ? 1000 : 100);
  document.addEventListener("htmx:after:swap", show);
  show();
})();
