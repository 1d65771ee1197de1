"use strict";
// The page of one trial: finds the trial that the address names in its shard and writes all of it as text.
(() => {
  const { grouped, next, share, quantity, tiny } = globalThis.benchsuiteMetrics;
  const main = document.getElementById("trial");
  const head = document.querySelector("h1");
  const lead = document.getElementById("where");
  const title = document.title;

  // Whatever a stranger's record holds becomes text or the value of an attribute, never HTML.
  const made = (tag, properties = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const named = (text) => made("bdi", {}, text);
  const code = (text) => made("code", {}, text);
  const link = (address, ...children) => made("a", { href: address }, ...children);

  const section = (heading, about, ...children) => {
    const found = made("section", {}, made("h2", {}, heading));
    if (about) found.append(made("p", { class: "quiet" }, about));
    found.append(...children);
    return found;
  };
  const scrolled = (label, table) => made("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, table);
  const table = (label, heads, rows, kind = "") => {
    const cells = heads.map(([text, style]) => made("th", { scope: "col", class: style }, text));
    return scrolled(label, made("table", { class: kind }, made("thead", {}, made("tr", {}, ...cells)), made("tbody", {}, ...rows)));
  };
  const listed = (pairs) =>
    made("dl", { class: "setup" }, ...pairs.map(([name, ...value]) => made("div", {}, made("dt", {}, name), made("dd", {}, ...value))));
  const written = (value) => {
    if (typeof value === "string") return value;
    if (Array.isArray(value) && value.length && value.every((each) => each && typeof each === "object")) return value.map(written).join("; ");
    if (value === null || typeof value !== "object" || Array.isArray(value)) return JSON.stringify(value);
    return Object.entries(value).map(([name, inner]) => `${name} = ${written(inner)}`).join(", ") || "none";
  };
  const facts = (values) => Object.entries(values).map(([name, value]) => [named(name), named(written(value))]);

  const metricRows = (rows) =>
    rows.map(([name, words, text, value]) =>
      made("tr", { title: name }, made("th", { scope: "row" }, words ? named(words) : code(name)),
        made("td", { class: "num", "data-metric": name, "data-v": String(value) }, made("b", {}, text))));
  const metricTable = (label, rows) =>
    table(label, [["Metric", ""], ["Value", "num"]], metricRows(rows), "metrics");

  // Of the many metrics those that a reader looks for first.
  const figures = (trial) => {
    const metrics = trial.metrics;
    const found = [["accuracy/top1", `top-1 after ${next(trial)}`, share], ["accuracy/top1_before_recovery", `before ${next(trial)}`, share],
      ["accuracy/top1_dense", "dense network", share], ["sparsity/macs", "of the MACs removed", share], ["sparsity/params", "of the parameters removed", share]]
      .filter(([name]) => typeof metrics[name] === "number")
      .map(([name, words, write]) => made("li", {}, made("b", {}, write(metrics[name])), " ", words));
    return found.length ? [made("ul", { class: "figures" }, ...found)] : [];
  };

  const bar = (part, whole) => {
    const found = made("span", { class: "bar", "aria-hidden": "true" }, made("span"));
    found.firstChild.style.setProperty("--share", whole ? Math.min(1, part / whole) : 0);
    return found;
  };
  const of = (part, whole) => {
    const left = whole ? share(part / whole) : "–";
    return [
      made("td", { class: "num" }, made("b", {}, quantity(part)), made("span", { class: "pm" }, ` of ${quantity(whole)}`)),
      made("td", { class: "left" }, bar(part, whole), made("span", { class: "pm" }, ` ${left}`)),
    ];
  };
  const layerTable = (layers) =>
    table("Layers", [["Layer", ""], ["Units left", "num"], ["share", ""], ["Non-zero weights left", "num"], ["share", ""]],
      layers.map(([name, unitsDense, units, weightsDense, weights]) =>
        made("tr", {}, made("th", { scope: "row" }, named(name)), ...of(units, unitsDense), ...of(weights, weightsDense))), "layers");

  const confusionTable = ([names, counts]) => {
    const rows = counts.map((row, i) => {
      const total = row.reduce((sum, count) => sum + count, 0);
      const cells = row.map((count, j) => {
        const cell = made("td", { class: `num ${i === j ? "win" : "loss"}` }, String(count));
        cell.style.setProperty("--w", total ? count / total : 0);
        return cell;
      });
      return made("tr", {}, made("th", { scope: "row" }, named(names[i])), ...cells);
    });
    return table("Confusion matrix", [["True class", ""], ...names.map((name) => [name, "num"])], rows, "heat");
  };

  // What the network came to after each round: a line of the accuracy, one of the detectors, and the numbers.
  const ROUNDS = [["sparsity/params", "parameters removed", share], ["sparsity/macs", "MACs removed", share],
    ["accuracy/top1_before_recovery", "top-1 before recovery", share], ["accuracy/top1", "top-1 after recovery", share],
    ["interpretability/detectors", "detectors", quantity], ["interpretability/concepts", "concepts", quantity],
    ["interpretability/still_interpretable", "of the dense detectors, still detectors", share]];
  const drawn = (tag, properties, ...children) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const line = (rounds, name, words, write) => {
    const points = rounds.map((round, i) => [i + 1, round[name]]).filter(([, value]) => typeof value === "number");
    if (points.length < 2) return [];
    const values = points.map(([, value]) => value);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const at = ([number, value]) => [20 + 270 * (number - 1) / Math.max(1, rounds.length - 1), high > low ? 110 - 90 * (value - low) / (high - low) : 65];
    const dots = points.map((point) => {
      const [cx, cy] = at(point);
      return drawn("circle", { cx, cy, r: 3, fill: "var(--ink)" }, drawn("title", {}, `round ${point[0]}: ${write(point[1])}`));
    });
    const path = drawn("polyline", { points: points.map((point) => at(point).join(",")).join(" "), fill: "none", stroke: "var(--ink-2)" });
    const text = `Line chart: ${words} after each of ${rounds.length} rounds, from ${write(low)} to ${write(high)}. The table has every number.`;
    const picture = drawn("svg", { viewBox: "0 0 310 130", width: 310, height: 130, role: "img", "aria-label": text }, path, ...dots);
    return [made("figure", {}, picture, made("figcaption", {}, `${words}, ${write(low)} to ${write(high)}, by round`))];
  };
  const roundSection = (rounds) => {
    const columns = ROUNDS.filter(([name]) => rounds.some((round) => typeof round[name] === "number"));
    const body = rounds.map((round, i) => made("tr", {}, made("th", { scope: "row" }, String(i + 1)),
      ...columns.map(([name, , write]) => made("td", { class: "num" }, typeof round[name] === "number" ? write(round[name]) : "–"))));
    const lines = columns.filter(([name]) => name === "accuracy/top1" || name === "interpretability/detectors").flatMap((column) => line(rounds, ...column));
    return section("After each round", "The network after each round’s recovery, on the test split; nothing was chosen by it.",
      ...(lines.length ? [made("div", { class: "several" }, ...lines)] : []),
      table("After each round", [["Round", ""], ...columns.map(([, words]) => [words, "num"])], body, "rounds"));
  };

  const details = (trial, folder) => {
    const found = [];
    if (trial.rounds && trial.rounds.length) found.push(roundSection(trial.rounds));
    if (trial.layers) found.push(section("Layers", "Units and weights that are left of the dense network’s.", layerTable(trial.layers)));
    if (trial.classes || trial.confusion) {
      const parts = [];
      if (trial.confusion) {
        parts.push(made("p", { class: "quiet" }, `Test samples after ${next(trial)}, by true class (rows) and predicted class (columns).`), confusionTable(trial.confusion));
      }
      if (trial.classes) {
        const rows = Object.entries(trial.classes).map(([name, value]) => [name, name.slice("accuracy/class/".length), value === null ? "not finite" : share(value), value]);
        parts.push(made("details", {}, made("summary", {}, `Recall of each class (${rows.length})`), metricTable("Recall of each class", rows)));
      }
      found.push(section("By class", "", ...parts));
    }
    if (trial.losses && trial.losses.length) {
      found.push(section(next(trial) === "training" ? "Training" : "Recovery", "Mean training loss of each epoch.", made("p", { class: "losses" }, trial.losses.map(tiny).join(" → "))));
    }
    for (const [file, name, columns, rows, total] of trial.tables || []) {
      const about = total > rows.length ? `The first ${rows.length} of ${total} rows; all are in ${folder}/${file}.` : "";
      const kinds = columns.map((_, place) => (rows.every((row) => row[place] === "" || Number.isFinite(Number(row[place]))) ? "num" : ""));
      const shown = (cell, kind) => (kind && cell !== "" ? tiny(Number(cell)) : named(cell));
      const body = rows.map((row) => made("tr", {}, ...row.map((cell, place) => made("td", { class: kinds[place] }, shown(cell, kinds[place])))));
      found.push(section(name, about, table(name, columns.map((column, place) => [column, kinds[place]]), body, "report")));
    }
    const missing = trial.cut ? `Layers, losses and counts by class of this trial are left out to keep the site small; they lie in the run directory, ${folder}.`
      : !trial.kept ? "This record came without its run directory, so what only that keeps (layers, losses, confusion matrix, pictures, the pruned network) is not here."
      : !trial.layers && trial.status === "done" ? `The run directory has no readable ${folder}/layers.csv.` : "";
    if (missing) found.push(section("Layers", missing));
    return found;
  };

  const ALTERNATIVES = {
    "detectors.jpg": "the units of each layer that agree most with a concept, with the images that activate them most; on the right the same units in the dense network",
    "concepts.png": "how many detectors each concept has, in the dense network and in this one",
  };
  const pictures = (trial, id, folder) => {
    const drawn = (name, alternative, caption) => {
      const address = `pictures/${id}-${name}`;
      return made("figure", {}, link(address, made("img", { src: address, alt: alternative, loading: "lazy" })), made("figcaption", {}, caption));
    };
    const names = trial.pictures || [];
    const shown = names.filter((name) => ALTERNATIVES[name]).map((name) =>
      drawn(name, `Network dissection: ${ALTERNATIVES[name]}`, `${ALTERNATIVES[name][0].toUpperCase()}${ALTERNATIVES[name].slice(1)}.`));
    const measured = names.filter((name) => !ALTERNATIVES[name]).map((name) => {
      const [, metric, what] = name.match(/^measured-(.+)-([a-z0-9_]+)\.png$/);
      return drawn(name, `${what}, drawn by the metric ${metric}`, `${metric}: ${what}`);
    });
    const rest = trial.elsewhere ? [made("p", { class: "quiet" }, `To keep the site small, ${trial.elsewhere.join(" and ")} of this trial ${trial.elsewhere.length === 1 ? "is" : "are"} not copied here; see ${folder} in the run directory.`)] : [];
    return [
      ...(shown.length ? [section("Dissection pictures", "", ...shown)] : []),
      ...(measured.length ? [section("Pictures of metric plugins", "", ...measured)] : []),
      ...rest,
    ];
  };

  // A filter's value is a pattern, and commas outside brackets end it: any one letter stands for those, and for
  // letters that are not shown as they are.
  const pattern = (value) => {
    let depth = 0;
    return [...value].map((letter, i, all) => {
      depth += (letter === "(") - (letter === ")");
      const isEdge = letter.trim() === "" && (i === 0 || i === all.length - 1);
      if (isEdge || (letter === "," && depth === 0) || /[\p{C}\ufffd]/u.test(letter)) return "?";
      return /[*?[]/.test(letter) ? `[${letter}]` : letter;
    }).join("");
  };
  const quoted = (text) => (/^[\w.=:\/@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
  const again = (axes) => {
    const chosen = Object.entries(axes).filter(([name, value]) => name !== "scorer_params" && value !== null);
    return ["benchsuite run RUN/suite.toml --output again", ...chosen.map(([name, value]) => `--filter ${quoted(`${name}=${pattern(written(value))}`)}`)].join(" \\\n  ");
  };
  const commands = (trial) => {
    const parts = [made("pre", { id: "again" }, again(trial.axes))];
    if (trial.alike) parts.push(made("p", {}, `These filters select ${trial.alike} trials, which differ in the scorer’s parameters alone.`));
    if (trial.status === "done") {
      parts.push(made("p", {}, "The pruned network, as files that need no benchsuite:"), made("pre", { id: "export" }, `benchsuite export RUN ${quoted(trial.key)}`),
        made("p", {}, "Its weights as the run keeps them: ", code(`RUN/stages/${trial.key}/model.safetensors`)));
    }
    return section("Again", "RUN is the run directory, or a folder with the suite’s file as suite.toml. The filters select this trial alone.", ...parts);
  };

  const show = (id, trial) => {
    const { shared } = trial;
    const folder = `stages/${trial.key}`;
    const [label, criterion] = shared.criterion;
    const [place, pair, workloadPage] = shared.workload;
    const [anchor, board, boardPage] = shared.board;
    head.replaceChildren(named(label));
    lead.replaceChildren(`${trial.removed} removed, `, link(workloadPage, named(place)), `, seed ${written(trial.axes.seed ?? "–")}, draw ${written(trial.axes.draw ?? "–")}`);
    document.title = `Trial ${trial.key.slice(0, 12)} · ${title}`;
    const outcome = [made("span", { class: `status ${trial.status}` }, trial.status)];
    if (trial.error) outcome.push(made("pre", { class: "error" }, trial.error));
    const groups = grouped(trial).map(([heading, about, rows]) =>
      section(heading, about, metricTable(heading, rows)));
    main.replaceChildren(
      ...figures(trial),
      listed([["Outcome", ...outcome], ["Key", code(trial.key)],
        ["Beside it", link(`criteria/${criterion}.html#${anchor}-${pair}`, "all trials of this criterion on this workload")], ["Board", link(boardPage, named(board))]]),
      ...(groups.length ? [made("div", { class: "groups" }, ...groups)] : [section("Metrics", "A trial that did not finish has none.")]),
      ...details(trial, folder),
      ...pictures(trial, id, folder),
      commands(trial),
      section("Axes", "", listed(facts(trial.axes))),
      section("Environment", "", listed(facts(Object.fromEntries(Object.entries(shared.provenance).filter(([name]) => name !== "measured")))), made("details", {}, made("summary", {}, "Settings of the suite, and keys of the stages"), listed([...facts(shared.settings), ...facts(trial.stages)]))),
      made("p", { class: "quiet" }, "Numbers are kept here to six digits; the ", link("index.html#downloads", "downloads"), " have all of them."),
    );
  };

  const say = (heading, ...words) => {
    head.replaceChildren(heading);
    lead.replaceChildren();
    document.title = `${heading} · ${title}`;
    main.replaceChildren(made("p", { class: "notice", role: "alert" }, ...words));
  };
  const cells = () => link("cells.html", "All cells");
  const route = async () => {
    const id = location.hash.slice(1);
    if (!id) return say("No trial chosen", "The address of a trial ends in # and its key. ", cells(), " leads to all of them.");
    // Until it is read, the page shows no other trial.
    main.replaceChildren();
    try {
      const trial = /^[0-9a-f]{20}$/.test(id) && main.dataset.trials !== "0" ? await globalThis.benchsuiteShards.find(id) : undefined;
      if (id !== location.hash.slice(1)) return undefined;
      if (trial) return show(id, trial);
    } catch (error) {
      return say("The trial cannot be read", `${error.message}. The page needs the whole folder of the site and a browser of 2023 or later. The `, link("index.html#downloads", "downloads"), " have every record.");
    }
    const why = /^[0-9a-f]{20}$/.test(id) ? " It may have been replaced by a newer run. " : " A key has 20 digits, 0 to 9 and a to f. ";
    return say(`Unknown trial: ${id.slice(0, 40)}`, "No trial of this site has the key ", code(id.slice(0, 80)), ".", why, cells(), " leads to all trials.");
  };
  addEventListener("hashchange", () => {
    // The address of a place in this page, such as that of the content, chooses no trial.
    if (!document.getElementById(location.hash.slice(1))) route().then(() => scrollTo(0, 0));
  });
  route();
})();
