"use strict";
// The picker of the first page: shows the answer for one workload, budget and board. The address keeps the choice.
(() => {
  const place = document.getElementById("picker");
  if (!place) return;
  const data = JSON.parse(document.getElementById("answers").textContent);
  const form = place.querySelector("form");
  const shown = document.getElementById("answer");
  const { get, remember } = globalThis.benchsuiteState;
  const ALL = "all";

  const made = (tag, properties = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const link = (address, ...children) => made("a", { href: address }, ...children);
  const named = (text) => made("bdi", {}, text);

  const { dataset, model, removed, board } = form.elements;
  const fill = (select, options, wanted) => {
    const kept = wanted ?? select.value;
    select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
    if (options.some(([value]) => value === kept)) select.value = kept;
    select.disabled = options.length < 2;
  };
  // A share is one of the budget; a word such as "fixed widths" is not.
  const amount = (each) => (each.endsWith("%") ? `${each} of the ${chosen().budget}` : each);
  const unique = (values) => [...new Set(values)];
  const chosen = () => data.boards[Number(board.value)];
  // The workloads of the chosen board, with their places in the list.
  const workloads = () => data.workloads.map((each, i) => [i, ...each]).filter(([, , , pages]) => pages[board.value]);

  const fillDatasets = (wanted) => {
    const names = unique(workloads().map(([, name]) => name)).map((name) => [name, name]);
    fill(dataset, names.length && workloads().length > 1 ? [...names, [ALL, "all, mean over workloads"]] : names, wanted);
  };
  const fillModels = (wanted) => {
    const names = workloads().filter(([, name]) => name === dataset.value).map(([, , name]) => [name, name]);
    fill(model, dataset.value === ALL ? [["", "all"]] : names, wanted);
  };
  const fillRemoved = (wanted) => {
    const { sparsities } = chosen();
    const asked = parseFloat(wanted ?? removed.value);
    const near = Number.isNaN(asked) ? 50 : asked;
    const nearest = sparsities.reduce((a, b) => (Math.abs(parseFloat(b) - near) < Math.abs(parseFloat(a) - near) ? b : a), sparsities[0]);
    fill(removed, sparsities.map((each) => [each, amount(each)]), sparsities.includes(wanted) ? wanted : nearest);
  };
  // What an address or the board before asked for and is not here: a sentence each, until the next choice.
  let missing = [];
  const quoted = (text) => `“${text.slice(0, 80)}”`;
  const missRemoved = (asked) => {
    if (!asked || asked === removed.value || parseFloat(asked) === parseFloat(removed.value)) return;
    missing.push(`${asked.slice(0, 40)} was not measured` + (removed.value ? `; the nearest is ${removed.value}.` : "."));
  };
  const missWorkload = (set, name) => {
    if (set && set !== ALL && set !== dataset.value) missing.push(`There is no data set ${quoted(set)} here; this is ${quoted(dataset.value)}.`);
    if (name && dataset.value !== ALL && name !== model.value) missing.push(`There is no model ${quoted(name)} on this data set here; this is ${quoted(model.value)}.`);
  };

  const fact = (words, ...value) => made("div", {}, made("dt", {}, words), made("dd", {}, ...value));
  const criterion = (option, tag = "bdi") => {
    const [label, page] = data.criteria[option.c];
    return link(`criteria/${page}.html`, made(tag, {}, label));
  };
  const listed = (items, separator) => items.flatMap((item, i) => (i ? [separator, item] : [item]));
  const lines = (texts) => listed(texts, made("br"));

  const take = (option) => {
    if (!option.trials) return made("p", {}, "A network belongs to one workload: choose a data set and a model to get it.");
    const [[, address, key]] = option.trials;
    const links = option.trials.map(([seed, id]) => link(`trial.html#${id}`, `seed ${seed}`));
    return made("p", {}, made("code", { id: "take" }, `benchsuite export RUN ${key ?? address}`), " RUN is the run directory; a results file alone holds no networks, but the suite that makes them again. Trial pages: ", ...listed(links, ", "));
  };

  const table = (answer, training) => {
    const columns = [["after", `after ${training}`], ["before", `before ${training}`], ["recalibrated", "recalibrated"], ["macs", "MACs left"]]
      .filter(([key]) => answer.options.some((option) => option[key]));
    const timed = answer.options.some((option) => option.speed);
    const head = ["Criterion", ...columns.map(([, words]) => words), ...(timed ? ["speedup"] : []), "network"];
    const rows = answer.options.map((option, i) =>
      made("tr", {}, made("th", { scope: "row" }, made("span", { class: "mark", title: i < answer.highest ? "highest mean" : "may be best too" }, i < answer.highest ? "●" : "○"), " ", criterion(option)),
        ...columns.map(([key]) => made("td", { class: "num" }, option[key] ?? "–")),
        ...(timed ? [made("td", {}, ...(option.speed ? lines(option.speed) : ["–"]))] : []),
        made("td", {}, option.trials ? link(`trial.html#${option.trials[0][1]}`, `seed ${option.trials[0][0]}`) : "–")));
    return made("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Criteria that may be best" },
      made("table", { class: "options" }, made("thead", {}, made("tr", {}, ...head.map((words) => made("th", { scope: "col" }, words)))), made("tbody", {}, ...rows)));
  };

  const others = (answer, training, page) => {
    const rest = answer.options.slice(answer.highest);
    if (answer.seeds || !rest.length) return [];
    const number = rest.length + (answer.more ?? 0);
    const shortly = listed(rest.slice(0, 4).map((option) => named(data.criteria[option.c][0])), ", ");
    const summary = made("summary", {}, `${number} ${number === 1 ? "other" : "others"} may be best too: `, ...shortly, number > 4 ? " …" : "");
    const further = [...(answer.equal ? [`${answer.equal} more with the highest mean`] : []), ...(answer.more ? [`${answer.more} more that may be best`] : [])];
    const more = further.length ? [made("p", { class: "quiet" }, `Not listed here: ${further.join(" and ")}. `, link(page, "The table of all criteria"), " marks each of them.")] : [];
    return [made("details", {}, summary, table(answer, training), ...more)];
  };

  // One number with its interval, its claim and where it is from, as a text to copy.
  const cite = (answer, found) => {
    const { training, short } = chosen();
    const names = answer.options.slice(0, answer.highest).map((option) => data.criteria[option.c][0]).join(", ");
    const where = found ? `${model.value} on ${dataset.value}` : `mean over ${answer.part ?? "all workloads"}`;
    const rules = data.boards.length > 1 ? `, ${short}` : "";
    const claim = [answer.sure, answer.apart].filter(Boolean).join("; ");
    const at = location.protocol.startsWith("http") ? `. ${location.href}` : ".";
    const text = `${names}${answer.equal ? ` and ${answer.equal} more` : ""}: accuracy after ${training} ${answer.accuracy} (mean, 95% interval over other seeds), ${where}, ${amount(removed.value)}${removed.value.endsWith("%") ? " removed" : ""}${rules}${claim ? `; ${claim}` : ""}. benchsuite leaderboard: ${data.cite}${at}`;
    return made("details", { class: "cite" }, made("summary", {}, "Cite"), made("p", { id: "cite" }, text));
  };
  const missed = () => (missing.length ? [made("p", { class: "notice", role: "status" }, missing.join(" "))] : []);
  const show = () => {
    const { training } = chosen();
    const found = workloads().find(([, set, name]) => set === dataset.value && name === model.value);
    const number = dataset.value === ALL ? "" : String(found[0]);
    const answer = data.answers[`${board.value}|${number}|${removed.value}`];
    const page = found ? found[3][board.value] : chosen().page;
    const everything = made("p", { class: "quiet" }, link(page, found ? "All criteria, curves and trade-offs of this workload" : "All criteria on this board"));
    if (!answer || !answer.options) {
      shown.replaceChildren(...missed(), made("p", {}, `At ${amount(removed.value)} no criterion has enough of the cells to be compared.`), everything);
      return;
    }
    const best = answer.options[0];
    const winners = answer.options.slice(0, answer.highest).map((option) => criterion(option, "b"));
    const facts = [fact(`accuracy after ${training}`, made("b", {}, answer.accuracy))];
    if (best.before) facts.push(fact(`before ${training}`, best.before));
    if (best.recalibrated) facts.push(fact("recalibrated", best.recalibrated));
    facts.push(fact("random gets", answer.random ?? "not run"));
    if (answer.dense) facts.push(fact("dense network", answer.dense));
    facts.push(fact("measured speedup", ...(best.speed ? lines(best.speed) : ["not measured"])));
    if (best.macs) facts.push(fact("MACs left", best.macs));
    if (best.unstable) facts.push(fact("scores", "≈ unstable: other samples give another ranking"));
    const about = "Speedup of one sample over the dense network on the same machine, with one CPU thread if no number is given; in brackets from the lowest to the highest end of its networks’ 95% intervals.";
    shown.replaceChildren(
      ...missed(),
      made("p", { class: "winner" }, ...listed(winners, ", "), answer.highest > 1 ? made("span", { class: "quiet" }, answer.equal ? ` and ${answer.equal} more have the same mean` : " have the same mean") : ""),
      made("p", { class: answer.doubt ? "sure not" : "sure" }, `How sure, over other seeds of ${found ? "this workload" : "these workloads"}: ${answer.sure}.`),
      ...(answer.part ? [made("p", { class: "sure" }, `${removed.value} was asked of ${answer.part}: all means here are over these alone.`)] : []),
      ...(answer.apart ? [made("p", { class: "sure" }, named(answer.apart[0].toUpperCase() + answer.apart.slice(1)), ". What is said here is of those compared.")] : []),
      made("dl", { class: "facts" }, ...facts), take(best), ...others(answer, training, page), ...(best.speed ? [made("p", { class: "small" }, about)] : []), cite(answer, found), everything);
  };

  const keep = () => {
    remember("dataset", dataset.value);
    remember("model", model.value);
    remember("removed", removed.value);
    remember("board", data.boards.length > 1 ? chosen().id : "");
  };
  fill(board, data.boards.map((each, i) => [String(i), each.short]), String(Math.max(0, data.boards.findIndex((each) => each.id === get("board")))));
  form.querySelector(".boards").hidden = data.boards.length < 2;
  const known = new Set(data.workloads.map(([name]) => name));
  const ofModel = data.workloads.find(([, name]) => name === get("model"));
  const wanted = get("dataset");
  // An address that names only the model, or a data set that is gone, still leads to the model.
  fillDatasets(known.has(wanted) || wanted === ALL || !ofModel ? wanted : ofModel[0]);
  fillModels(get("model"));
  fillRemoved(get("removed"));
  if (get("board") !== undefined && chosen().id !== get("board")) missing.push(`There is no board ${quoted(get("board"))} here.`);
  missWorkload(wanted, get("model"));
  missRemoved(get("removed"));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", (event) => {
    missing = [];
    const before = removed.value;
    if (event.target === board) fillDatasets();
    if (event.target !== removed) fillModels();
    if (event.target === board) {
      fillRemoved(before);
      missRemoved(before);
    }
    keep();
    show();
  });
  place.hidden = false;
  show();
})();
