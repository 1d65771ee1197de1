"use strict";
// Two criteria compared cell by cell: one network at one sparsity each. The address keeps the choice.
(() => {
  const data = JSON.parse(document.getElementById("pairs").textContent);
  const form = document.querySelector("form.pair-choice");
  const shown = document.getElementById("pair");
  const { get, remember } = globalThis.benchsuiteState;
  const { board, metric, first, second } = form.elements;
  const SVG = "http://www.w3.org/2000/svg";
  const MINUS = "−";

  const made = (tag, properties = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const drawn = (tag, properties) => {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
    return element;
  };
  const fill = (select, options, wanted) => {
    const kept = wanted ?? select.value;
    select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
    if (options.some(([value]) => value === kept)) select.value = kept;
    select.disabled = options.length < 2;
  };
  const chosen = () => data.boards[Number(board.value)];
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  // Accuracies come as hundredths of a percent.
  const percent = (value) => (value / 100).toFixed(1);
  const signed = (value) => {
    const text = Math.abs(value / 100).toFixed(1);
    return text === "0.0" ? text : `${value > 0 ? "+" : MINUS}${text}`;
  };

  const fillCriteria = (one, other) => {
    const { criteria } = chosen();
    const options = criteria.map((label) => [label, label]);
    fill(first, options, one);
    fill(second, options, other);
    if (first.value === second.value && criteria.length > 1) second.value = criteria.find((label) => label !== first.value);
  };
  const fillMetrics = (wanted) => fill(metric, chosen().metrics.map(([key, words]) => [key, words]), wanted);

  // Each line of the table: the networks of one workload at one sparsity that both criteria have.
  const lines = () => {
    const { cells, criteria, values } = chosen();
    const [mine, theirs] = [first, second].map((select) => values[metric.value][criteria.indexOf(select.value)]);
    const found = new Map();
    cells.forEach(([workload, removed, seed], i) => {
      if (mine[i] === null || theirs[i] === null) return;
      const key = `${workload}|${removed}`;
      if (!found.has(key)) found.set(key, { workload, removed, cells: [] });
      found.get(key).cells.push({ seed, mine: mine[i], theirs: theirs[i], difference: mine[i] - theirs[i] });
    });
    return [...found.values()];
  };
  // Student's 97.5% quantile; fewer degrees of freedom than one do not occur.
  const student = (freedom) => {
    const after = data.student.findIndex(([f]) => f >= freedom);
    if (after <= 0) return data.student.at(after)[1];
    const [[f, low], [g, high]] = [data.student[after - 1], data.student[after]];
    return low + ((freedom - f) / (g - f)) * (high - low);
  };
  // A network counts with its mean over sparsities, and workloads count equally.
  const overSeeds = (found) => {
    const networks = new Map();
    for (const { workload, cells } of found) {
      for (const { seed, difference } of cells) {
        if (!networks.has(workload)) networks.set(workload, new Map());
        const seeds = networks.get(workload);
        seeds.set(seed, [...(seeds.get(seed) ?? []), difference]);
      }
    }
    const strata = [...networks.values()].map((seeds) => [...seeds.values()].map(mean));
    const centre = mean(strata.map(mean));
    const parts = strata.map((values) => values.reduce((sum, value) => sum + (value - mean(values)) ** 2, 0) / (values.length - 1) / values.length);
    const total = parts.reduce((sum, part) => sum + part, 0);
    if (!(total > 1e-9)) return { centre }; // one seed, or no spread, says nothing of others
    const freedom = total ** 2 / parts.reduce((sum, part, i) => sum + part ** 2 / (strata[i].length - 1), 0);
    const width = (student(freedom) * Math.sqrt(total)) / strata.length;
    return { centre, low: centre - width, high: centre + width };
  };
  const howSure = ({ low, high }, one, other) => {
    if (low === undefined) return ["; how sure is unknown."];
    const words = low > 0 ? [one, " is better"] : high < 0 ? [other, " is better"] : ["the two cannot be told apart"];
    return [` (95% interval ${signed(low)} to ${signed(high)}): `, ...words, ", as far as the seeds tell."];
  };
  const dots = (cells, most) => {
    const place = (difference) => 80 + (difference / most) * 74;
    const svg = drawn("svg", { viewBox: "0 0 160 16", class: "dots", "aria-hidden": "true" });
    svg.append(drawn("line", { x1: 80, x2: 80, y1: 0, y2: 16, stroke: "var(--ink-3)" }));
    for (const { difference } of cells) svg.append(drawn("circle", { cx: place(difference), cy: 8, r: 3.5, class: difference > 0 ? "more" : difference < 0 ? "less" : "same" }));
    return svg;
  };
  const show = () => {
    const found = lines();
    const every = found.flatMap((line) => line.cells);
    if (!every.length) {
      shown.replaceChildren(made("p", {}, "The two have no cell in common."));
      return;
    }
    const [more, less] = [1, -1].map((sign) => every.filter((cell) => Math.sign(cell.difference) === sign).length);
    const most = Math.max(1, ...every.map((cell) => Math.abs(cell.difference)));
    const named = (label) => made("bdi", {}, label);
    const [one, other] = [first.value, second.value].map(named);
    const between = overSeeds(found);
    const words = made("p", {}, one, ` is the more accurate one in `, made("b", {}, `${more} of ${every.length}`), ` cells, `, other, ` in `, made("b", {}, `${less}`),
      `; equal in ${every.length - more - less}. Mean difference: `, made("b", {}, signed(between.centre)), " percent points",
      ...howSure(between, named(first.value), named(second.value)));
    const heads = [["Workload", ""], ["Removed", "num"], [first.value, "num"], [second.value, "num"], ["Difference", "num"], ["each network", ""], ["", ""]];
    const rows = found.map(({ workload, removed, cells }) => {
      const difference = mean(cells.map((cell) => cell.difference));
      const each = cells.map((cell) => signed(cell.difference)).join(", ");
      return made("tr", {}, made("th", { scope: "row" }, made("bdi", {}, data.workloads[workload])), made("td", { class: "num" }, removed),
        made("td", { class: "num" }, percent(mean(cells.map((cell) => cell.mine)))), made("td", { class: "num" }, percent(mean(cells.map((cell) => cell.theirs)))),
        made("td", { class: "num" }, made("b", {}, signed(difference))), made("td", { class: "seeds" }, each), made("td", {}, dots(cells, most)));
    });
    const head = made("tr", {}, ...heads.map(([text, style]) => (text ? made("th", { scope: "col", class: style }, made("bdi", {}, text)) : made("td", {}))));
    shown.replaceChildren(words, made("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Cell by cell" }, made("table", { id: "cells-of-two" }, made("thead", {}, head), made("tbody", {}, ...rows))));
  };

  const keep = () => {
    remember("board", data.boards.length > 1 ? chosen().id : "");
    remember("metric", metric.selectedIndex ? metric.value : "");
    remember("first", first.value);
    remember("second", second.value);
  };
  fill(board, data.boards.map((each, i) => [String(i), each.short]), String(Math.max(0, data.boards.findIndex((each) => each.id === get("board")))));
  form.querySelector(".boards").hidden = data.boards.length < 2;
  fillMetrics(get("metric"));
  fillCriteria(get("first"), get("second") ?? chosen().criteria[1]);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", (event) => {
    if (event.target === board) {
      fillMetrics();
      fillCriteria();
    }
    keep();
    show();
  });
  form.hidden = false;
  show();
})();
