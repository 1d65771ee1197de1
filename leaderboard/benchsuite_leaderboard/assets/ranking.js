"use strict";
// The page of a dense network: one layer's scores by one criterion, and all pairs of criteria on that layer.
(() => {
  const data = JSON.parse(document.getElementById("ranking-data").textContent);
  const form = document.getElementById("ranking-choice");
  const shown = document.getElementById("ranking");
  const { get, remember } = globalThis.benchsuiteState;
  const { layer, criterion, order } = form.elements;
  const SVG = "http://www.w3.org/2000/svg";
  const MINUS = "−";

  // Names come from outside: they become text or the value of an attribute, never HTML.
  const made = (tag, properties = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const drawn = (tag, properties, ...children) => {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const named = (text) => made("bdi", {}, text);
  const written = (score) => Number(score.toPrecision(4)).toString().replace("-", MINUS);
  const chosen = () => data.layers[Number(layer.value)];

  // Each bar is a unit, or of a wide layer one of some sorted scores.
  const bars = (found, each) => {
    const { sorted, units, k } = chosen();
    const numbers = found.numbers ?? each.scores.map((_, place) => place);
    const rows = each.scores.map((score, place) => ({ score, unit: sorted ? null : numbers[place] }));
    const [top, bottom] = [each.top, each.bottom].map((end) => new Set(end.map(([unit]) => unit)));
    if (!sorted && order.value === "score") rows.sort((a, b) => b.score - a.score || a.unit - b.unit);
    const [width, height] = [720, 150];
    const scores = rows.map(({ score }) => score);
    const [low, high] = [Math.min(0, ...scores), Math.max(0, ...scores)];
    const step = width / rows.length;
    const place = (score) => (high > low ? ((high - score) / (high - low)) * height : height);
    const zero = place(0);
    const words = `Bars: the scores of ${units} units of ${chosen().name} by ${data.criteria[each.of]}, from ${written(Math.min(...scores))} to ${written(Math.max(...scores))}.`;
    const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, class: "score-bars", role: "img", "aria-label": words, preserveAspectRatio: "none" });
    rows.forEach(({ score, unit }, at) => {
      const [upper, lower] = [Math.min(zero, place(score)), Math.max(zero, place(score))];
      const kind = unit === null ? "" : top.has(unit) ? "first" : bottom.has(unit) ? "last" : "";
      const bar = drawn("rect", { x: at * step + step * 0.08, width: step * 0.84, y: upper, height: Math.max(0.75, lower - upper), class: kind });
      bar.append(drawn("title", {}, unit === null ? written(score) : `unit ${unit}: ${written(score)}`));
      svg.append(bar);
    });
    svg.append(drawn("line", { x1: 0, x2: width, y1: zero, y2: zero }));
    const about = sorted
      ? `${rows.length} of the ${units} scores, evenly spread from the highest to the lowest.`
      : `A bar is a unit, ${order.value === "score" ? "the highest score first" : "in the layer’s own order"}; the first ${k} and the last ${k} have colours.`;
    const range = `From ${written(Math.min(...scores))} to ${written(Math.max(...scores))}, on the criterion’s own scale. `;
    return made("figure", {}, svg, made("figcaption", {}, range, about));
  };

  const unitMap = (unit) => {
    const [row, units] = (data.maps && data.maps[Number(layer.value)]) || [0, []];
    const column = units.indexOf(unit);
    if (column < 0) return [];
    const found = made("span", { class: "unit-map", role: "img", "aria-label": `feature maps of unit ${unit}` });
    found.style.setProperty("--row", row);
    found.style.setProperty("--column", column);
    return [found];
  };
  const end = (heading, places, tied) => {
    const items = places.map(([unit, score]) => made("figure", {}, ...unitMap(unit), made("figcaption", {}, made("b", {}, String(unit)), made("br"), written(score))));
    const more = tied ? [made("p", { class: "quiet" }, `${tied} more ${tied === 1 ? "unit has" : "units have"} the score of the last one: which is listed is arbitrary.`)] : [];
    return made("div", {}, made("h3", {}, heading), made("div", { class: "maps" }, ...items), ...more);
  };

  // Two tables of all pairs; the tint grows with the number.
  const pairTable = (heading, about, of, value) => {
    const head = made("tr", {}, made("th", { scope: "col" }, "Criterion"), ...of.map((place) => made("th", { scope: "col", class: "turn" }, made("span", {}, named(data.criteria[place])))));
    const rows = of.map((place, i) => made("tr", {}, made("th", { scope: "row" }, named(data.criteria[place])), ...of.map((_, j) => {
      if (i === j) return made("td", { class: "self" });
      const [text, weight] = value(i, j);
      const cell = made("td", { class: `num ${text === "–" ? "empty" : weight < 0 ? "loss" : "win"}` }, text);
      cell.style.setProperty("--w", Math.abs(weight).toFixed(2));
      return cell;
    })));
    const table = made("table", { class: "heat" }, made("thead", {}, head), made("tbody", {}, ...rows));
    return made("div", {}, made("h3", {}, heading), made("p", { class: "quiet" }, about), made("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": heading }, table));
  };
  const pairs = (found) => {
    if (!found.pairs) return [];
    const { units, k } = chosen();
    const { of, overlap, tau } = found.pairs;
    const common = (i, j) => [Number((k * overlap[i][j]).toFixed(1)).toString(), overlap[i][j]];
    const hundredths = (i, j) => (tau[i][j] === null ? ["–", 0] : [(100 * tau[i][j]).toFixed(0).replace(/^-0$/, "0").replace("-", MINUS), tau[i][j]]);
    return [
      pairTable(`In common of the first ${k}`, `Units that both criteria have among their first ${k}; rankings by chance share ${((k * k) / units).toFixed(2)}. Equal scores share the last places, so that a number need not be whole.`, of, common),
      pairTable("Kendall’s tau × 100", "100 for the same order of all units, 0 for unrelated ones, −100 for opposite ones.", of, hundredths),
    ];
  };

  const fill = (select, options, wanted) => {
    const kept = wanted ?? select.value;
    select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
    if (options.some(([value]) => value === kept)) select.value = kept;
    select.disabled = options.length < 2;
  };
  const show = async (wanted) => {
    const at = layer.value;
    let found;
    try {
      found = await globalThis.benchsuiteShards.load(`../rankings/${data.network}-${at}`);
    } catch (error) {
      shown.replaceChildren(made("p", { class: "notice", role: "alert" }, `The scores of this layer cannot be read: ${error.message}. The page needs the whole folder of the site and a browser of 2023 or later.`));
      return;
    }
    if (at !== layer.value) return;
    fill(criterion, found.criteria.map((each) => [String(each.of), data.criteria[each.of]]), wanted);
    const each = found.criteria.find(({ of }) => String(of) === criterion.value) ?? found.criteria[0];
    order.disabled = chosen().sorted;
    const ends = made("div", { class: "ends" }, end("Most important", each.top, each.tied[0]), end("Least important", each.bottom, each.tied[1]));
    shown.replaceChildren(bars(found, each), ends, made("div", { class: found.criteria.length > 10 ? "tables" : "tables twins" }, ...pairs(found)));
  };

  fill(layer, data.layers.map(({ name, units }, place) => [String(place), `${name} (${units})`]), get("layer"));
  if (get("order") === "score") order.value = "score";
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", () => {
    remember("layer", layer.selectedIndex ? layer.value : "");
    remember("order", order.value === "score" ? "score" : "");
    show().then(() => remember("criterion", criterion.selectedIndex ? criterion.value : ""));
  });
  if (data.layers.length) {
    form.hidden = false;
    show(get("criterion"));
  }
})();
