"use strict";
// The lists of a criterion's trials, each written when it is opened.
(() => {
  const MINUS = "−";
  const fixed = (value, digits) => value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", MINUS);
  const percent = (digits) => (value) => (100 * value).toFixed(digits).replace("-", MINUS);
  const three = (value) => (value ? fixed(value, Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value)))))) : "0");
  const METRICS = [["accuracy/top1", percent(2)], ["accuracy/top1_before_recovery", percent(2)], ["accuracy/top1_recalibrated", percent(2)],
    ["sparsity/units", percent(1)], ["sparsity/params", percent(1)], ["sparsity/macs", percent(1)], ["latency/batch1_speedup", three]];

  const made = (tag, properties, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const said = (value) => (typeof value === "string" ? value : JSON.stringify(value ?? ""));
  // What happened stands in the last line of a traceback, and in the first one of anything else.
  const reason = (error) => {
    const lines = error.split("\n").map((line) => line.trim()).filter(Boolean);
    return (lines[0]?.startsWith("Traceback") ? lines.at(-1) : lines[0] ?? "").slice(0, 240);
  };
  const outcome = ({ status, error }) =>
    status === "done" ? "done" : made("span", { class: `status ${status}`, ...(error ? { title: reason(error) } : {}) }, status);
  const row = (trial) => {
    const value = ([name, write]) => (trial.status === "done" && typeof trial.metrics[name] === "number" ? write(trial.metrics[name]) : "–");
    const link = made("a", { href: `../trial.html#${trial.id}` }, trial.key.slice(0, 12) || "–");
    const cells = [trial.removed, said(trial.axes.seed), said(trial.axes.draw), outcome(trial), ...METRICS.map(value), link];
    return made("tr", {}, ...cells.map((cell) => made("td", {}, cell)));
  };
  const number = new Intl.Collator("en", { numeric: true });
  const inOrder = (a, b) => {
    const words = (trial) => typeof trial.axes.sparsity !== "number";
    return words(a) - words(b) || (words(a) ? number.compare(a.removed, b.removed) : a.axes.sparsity - b.axes.sparsity)
      || number.compare(said(a.axes.seed), said(b.axes.seed)) || number.compare(said(a.axes.draw), said(b.axes.draw));
  };

  const list = async (details) => {
    const { shards, board, criterion } = details.dataset;
    const place = made("div", { class: "loading", "aria-live": "polite" }, "Reading the trials …");
    details.append(place);
    try {
      const found = await Promise.all(shards.split(" ").map(globalThis.benchsuiteShards.trials));
      const mine = found.flatMap((each) => [...each.values()]).filter(({ shared }) => shared.board[0] === board && shared.criterion[1] === criterion);
      const region = document.querySelector(`template[data-of="${board}"]`).content.cloneNode(true).firstElementChild;
      region.setAttribute("aria-label", details.querySelector("summary").textContent);
      const table = region.querySelector("table");
      table.tBodies[0].append(...mine.sort(inOrder).map(row));
      place.replaceWith(region);
      globalThis.benchsuiteSortable(table);
    } catch (error) {
      place.replaceChildren(`The trials cannot be read: ${error.message}. The page needs the whole folder of the site and a browser of 2023 or later.`);
    }
  };
  for (const details of document.querySelectorAll("details.trials-of")) {
    let isListed = false;
    const once = () => {
      if (isListed || !details.open) return;
      isListed = true;
      list(details).then(() => {
        if (location.hash.slice(1) === details.id) details.scrollIntoView();
      });
    };
    details.addEventListener("toggle", once);
    once();
  }
})();
