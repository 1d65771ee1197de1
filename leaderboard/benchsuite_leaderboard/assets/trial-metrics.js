"use strict";
// How the page of one trial groups and writes metrics: name, words, unit. What is not listed is shown by its name.
globalThis.benchsuiteMetrics = (() => {
  const share = (value) => `${number(100 * value, 2)}%`;
  const number = (value, digits) => value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const quantity = (value) =>
    Number.isInteger(value) ? value.toLocaleString("en") : value.toLocaleString("en", { maximumSignificantDigits: 4 });
  const tiny = (value) => (value !== 0 && Math.abs(value) < 1e-4 ? value.toExponential(2) : quantity(value));
  const with_unit = (unit) => (value) => `${tiny(value)} ${unit}`;
  const [ms, s, mb, mj] = ["ms", "s", "MB", "mJ"].map(with_unit);
  const times = (value) => `${quantity(value)} ×`;
  const batch = (what) => (_, size, threads) => `batch of ${size}${threads ? `, ${threads} threads` : ""}: ${what}`;
  const kib = (value) => `${quantity(value / 1024)} KiB`;

  // A quantity of a metric plugin, by what the record says of it.
  const described = (trial, metric, name, part) => {
    const dense = /_dense$/.test(part ?? name);
    const [quantity, detail] = [part === undefined ? name.replace(/_dense$/, "") : name, part?.replace(/_dense$/, "")];
    const [title, unit, better] = trial.shared.provenance?.measured?.[metric]?.quantities?.[quantity] ?? [quantity, "", null];
    const words = [`${metric}: ${title}${detail ? ` (${detail})` : ""}${dense ? " of the dense network" : ""}`, unit && `in ${unit}`, better && `${better} is better`];
    return words.filter(Boolean).join(", ");
  };

  const groups = [
    ["Accuracy", "on the test split", [
      ["accuracy/top1", "top-1 after recovery", share],
      ["accuracy/top1_before_recovery", "top-1 before recovery", share],
      ["accuracy/top1_recalibrated", "top-1 recalibrated", share],
      ["accuracy/top1_dense", "top-1 of the dense network", share],
      ["accuracy/loss", "cross-entropy after recovery", tiny],
    ]],
    ["Removed", "what was achieved, of the dense network’s", [
      ["sparsity/units", "units", share],
      ["sparsity/params", "parameters", share],
      ["sparsity/macs", "MACs (multiply-accumulates)", share],
    ]],
    ["Cost", "of the network that is left", [
      ["cost/params", "parameters", quantity],
      ["cost/params_nonzero", "parameters that are not zero", quantity],
      ["cost/params_dense", "parameters of the dense network", quantity],
      ["cost/macs", "MACs (multiply-accumulates) per sample", quantity],
      ["cost/macs_nonzero", "MACs with weights that are not zero", quantity],
      ["cost/macs_dense", "MACs of the dense network", quantity],
      ["cost/flops", "FLOPs (2 × MACs) per sample", quantity],
      ["cost/uncounted_modules", "operations whose MACs are not known; above 0, MACs are a lower bound", quantity],
      ["cost/file_bytes", "file of the network’s weights", kib],
      ["cost/file_bytes_dense", "file of the dense network’s weights", kib],
      ["cost/activation_peak_bytes", "activations at the peak, one sample", kib],
    ]],
    ["Latency and energy", "measured on the run’s own machine, in turn with the dense network", [
      ["latency/threads", "CPU threads where none are named", quantity],
      [/^latency\/batch(\d+)(?:_threads(\d+))?_ms$/, batch("median"), ms],
      [/^latency\/batch(\d+)(?:_threads(\d+))?_lower_ms$/, batch("lower quartile"), ms],
      [/^latency\/batch(\d+)(?:_threads(\d+))?_upper_ms$/, batch("upper quartile"), ms],
      [/^latency\/batch(\d+)(?:_threads(\d+))?_dense_ms$/, batch("median of the dense network"), ms],
      [/^latency\/batch(\d+)(?:_threads(\d+))?_speedup$/, batch("speedup"), times],
      [/^latency\/batch(\d+)(?:_threads(\d+))?_speedup_low$/, batch("speedup, lower end of its 95% interval"), times],
      [/^latency\/batch(\d+)(?:_threads(\d+))?_speedup_high$/, batch("speedup, upper end of its 95% interval"), times],
      [/^latency\/batch(\d+)(?:_threads(\d+))?_speedup_wide$/, batch("interval of the speedup"), (value) => (value ? "not settled: wider than 3%, or interrupted calls" : "at most 3% wide")],
      [/^energy\/batch(\d+)(?:_threads(\d+))?_mj$/, batch("energy"), mj],
      [/^energy\/batch(\d+)(?:_threads(\d+))?_dense_mj$/, batch("energy of the dense network"), mj],
    ]],
    ["Interpretability", "network dissection of what is left", [
      ["interpretability/units", "units dissected", quantity],
      ["interpretability/units_dense", "units dissected of the dense network", quantity],
      ["interpretability/detectors", "detectors: units with a concept", quantity],
      ["interpretability/null_detectors", "detectors that chance alone would give", quantity],
      ["interpretability/detectors_dense", "detectors of the dense network", quantity],
      ["interpretability/detectors_share", "detectors, of all units", share],
      ["interpretability/detectors_share_dense", "detectors of the dense network, of all its units", share],
      ["interpretability/null_detectors_share", "by chance alone, of all units", share],
      ["interpretability/concepts", "different concepts detected", quantity],
      ["interpretability/null_concepts", "different concepts by chance alone", quantity],
      ["interpretability/concepts_dense", "different concepts of the dense network", quantity],
      ["interpretability/still_interpretable", "of the dense detectors, still detectors", share],
      ["interpretability/same_concept", "of these, with the same concept", share],
      ["interpretability/iou_correlation", "correlation of a unit’s IoUs before and after", tiny],
      ["interpretability/mean_best_iou", "mean best IoU over units", tiny],
      ["interpretability/mean_best_iou_dense", "mean best IoU over units of the dense network", tiny],
      ["interpretability/null_mean_best_iou", "mean best IoU by chance alone", tiny],
      ["interpretability/median_images_with", "images that a detector’s concept occurs in, median", quantity],
      [/^interpretability\/([^/]+)\/detectors$/, "detectors of the category $1", quantity],
      [/^interpretability\/([^/]+)\/concepts$/, "different concepts of the category $1", quantity],
    ]],
    ["Reported by the criterion", "of its own work, in its own words", [
      [/^reported\/(.+)$/, "$1", tiny],
    ]],
    ["Measured by metric plugins", "in their own words", [
      [/^measured\/([^/]+)\/([^/]+)(?:\/(.+))?$/, described, tiny],
    ]],
    ["Time and memory", "on the run’s own machine", [
      ["time/train_s", "training the dense network (shared by all criteria)", s],
      ["time/score_s", "scoring", s],
      ["time/prune_s", "pruning", s],
      ["time/recover_s", "recovery", s],
      ["time/trial_s", "the whole trial after scoring", s],
      ["memory/score_peak_mb", "memory of scoring at the peak", mb],
    ]],
    ["Checks", "", [
      ["surgery/max_difference", "largest difference between surgery and masks on a probe batch", tiny],
      ["scoring/stability", "stability of the scores", (value) => number(value, 2)],
      ["scoring/ties", "ties among the scores", quantity],
      ["selection/ties", "ties that decided what was removed", quantity],
    ]],
  ];

  // What follows the cut: a network that is cut at initialization is then trained, any other recovers.
  const next = (trial) => (trial.axes.schedule === "at-init" ? "training" : "recovery");

  // Every metric of a trial in its group: [title, about, [[name, words, text, value]]], without empty groups.
  const grouped = (trial) => {
    const metrics = trial.metrics;
    const say = (words) => words.replace(/\brecovery$/, next(trial));
    const left = new Set(Object.keys(metrics));
    const take = (name, words, write) => {
      left.delete(name);
      return [name, say(words), metrics[name] === null ? "not finite" : write(metrics[name]), metrics[name]];
    };
    const found = groups.map(([title, about, known]) => {
      const rows = [];
      const variants = [];
      for (const [pattern, words, write] of known) {
        if (typeof pattern === "string") {
          if (left.has(pattern)) rows.push(take(pattern, words, write));
          continue;
        }
        for (const name of [...left].filter((each) => pattern.test(each))) {
          const parts = name.match(pattern).slice(1);
          const said = words === described ? described(trial, ...parts) : name.replace(pattern, words);
          variants.push([parts.map((part) => part ?? "").join(" "), take(name, said, write)]);
        }
      }
      // What belongs to one batch size or one category stands together.
      variants.sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }));
      return [title, about, [...rows, ...variants.map(([, row]) => row)]];
    });
    found.push(["Other metrics", "", [...left].map((name) => take(name, "", tiny))]);
    return found.filter(([, , rows]) => rows.length);
  };
  return { grouped, next, share, quantity, tiny };
})();
