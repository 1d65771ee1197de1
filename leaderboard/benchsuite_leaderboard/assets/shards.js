"use strict";
// Data of the site, which lie packed in scripts: a page from a local file may load scripts but no data.
globalThis.benchsuiteShards = (() => {
  const folder = new URL("../trials/", document.currentScript.src);
  const loaded = new Map();

  const unpacked = async (text) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  };
  const read = (name) => {
    if (!loaded.has(name)) {
      loaded.set(name, new Promise((done, failed) => {
        const script = document.createElement("script");
        script.src = new URL(`${name}.js`, folder);
        script.addEventListener("load", () => unpacked(globalThis.benchsuiteShard).then(done, failed));
        script.addEventListener("error", () => failed(new Error(`${script.src.split("/").slice(-2).join("/")} cannot be read`)));
        document.head.append(script);
      }));
    }
    return loaded.get(name);
  };

  // Columns as rows: a row has the names of its kind, and a column the values of the rows that have its name.
  const rows = ({ names, columns, kinds, of }) => {
    const next = names.map(() => 0);
    return of.map((kind) => Object.fromEntries(kinds[kind].map((place) => [names[place], columns[place][next[place]++]])));
  };
  // The trials of a shard by their addresses.
  const unfolded = new Map();
  const trials = (name) => {
    if (!unfolded.has(name)) unfolded.set(name, unfold(name));
    return unfolded.get(name);
  };
  const unfold = async (name) => {
    const shard = await read(name);
    const [own, axes, metrics, classes, stages] = ["own", "axes", "metrics", "classes", "stages"].map((part) => rows(shard[part]));
    return new Map(shard.ids.map((id, i) => [id, {
      ...own[i], id, axes: axes[i], metrics: metrics[i], stages: stages[i],
      ...(Object.keys(classes[i]).length ? { classes: classes[i] } : {}),
      shared: Object.fromEntries(own[i].shared.map((number) => shard.shared[number])),
    }]));
  };
  // The trial with an address, or undefined.
  const find = async (id) => {
    const { digits, shards } = await read("index");
    const start = id.slice(0, digits);
    const has = (text) => {
      for (let at = 0; at < text.length; at += digits) if (text.startsWith(start, at)) return true;
      return false;
    };
    for (const [name, text] of shards) {
      const found = has(text) ? (await trials(name)).get(id) : undefined;
      if (found) return found;
    }
    return undefined;
  };
  return { trials, find, load: read };
})();
