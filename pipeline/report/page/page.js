"use strict";
(() => {
  const one = (selector, of = document) => of.querySelector(selector);
  const all = (selector, of = document) => [...of.querySelectorAll(selector)];

  // Theme: auto follows the system; the choice lives as long as the page.
  const themes = ["auto", "light", "dark"];
  const button = one("#theme");
  button.hidden = false;
  button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(one("span", button).textContent) + 1) % themes.length];
    one("span", button).textContent = next;
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
  });

  // Paper shows what is folded on the screen.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = all("details:not([open])");
    folded.forEach((details) => { details.open = true; });
  });
  addEventListener("afterprint", () => folded.forEach((details) => { details.open = false; }));

  const slider = one("#rank");
  if (!slider) return;
  one(".controls").hidden = false;
  const split = (text, by) => (text ? text.split(by) : []);
  const ranksOf = (ladder) => split(ladder.dataset.ranks, ",").map(Number);
  const current = () => one(`#ladder-${one(".thumbs :checked").value}`);

  function show() {
    const ladder = current();
    const ranks = ranksOf(ladder);
    const at = Math.min(Number(slider.value), ranks.length - 1);
    const rank = ranks[at];
    all(".frame", ladder).forEach((frame) => {
      frame.style.backgroundPosition = `${ranks.length > 1 ? (100 * at) / (ranks.length - 1) : 0}% 0`;
      frame.setAttribute("aria-label", `${frame.dataset.words} image at rank ${rank}: ${ladder.dataset.name}`);
    });
    const energy = split(ladder.dataset.energy, "|")[at];
    const psnr = split(ladder.dataset.psnr, "|")[at];
    one("#rank-value").textContent = rank;
    slider.setAttribute("aria-valuetext", `rank ${rank}`);
    one("#readout").textContent = [
      energy && `${energy} of the energy kept`,
      psnr && `PSNR ${psnr}`,
      split(slider.dataset.first, ",").includes(String(rank)) && "stored in this output",
    ].filter(Boolean).join(" · ");
  }

  function choose() {
    const before = Number(one("#rank-value").textContent);
    all(".ladder").forEach((ladder) => { ladder.hidden = ladder !== current(); });
    const ranks = ranksOf(current());
    slider.max = ranks.length - 1;
    const near = (a, b) => (Math.abs(ranks[b] - before) < Math.abs(ranks[a] - before) ? b : a);
    slider.value = [...ranks.keys()].reduce(near, 0);
    show();
  }

  slider.addEventListener("input", show);
  all(".thumbs input").forEach((radio) => radio.addEventListener("change", choose));
  const built = split(slider.dataset.first, ",").map(Number);
  one("#rank-value").textContent = built[Math.min(1, built.length - 1)] || 5;
  choose();
})();
