"use strict";
// Sorting, filters and choices. Without this script every page shows all of its content in its first order.
(() => {
  const state = new URLSearchParams(location.search);

  const remember = (name, value) => {
    if (value) state.set(name, value);
    else state.delete(name);
    const query = state.toString();
    history.replaceState(null, "", location.pathname + (query ? `?${query}` : "") + location.hash);
  };

  // Tables that are sorted by their column heads.
  const collator = new Intl.Collator("en", { numeric: true });
  const compare = (a, b) => {
    const difference = Number(a) - Number(b);
    return Number.isNaN(difference) ? collator.compare(a, b) : difference;
  };
  const value = (cell) => {
    if (cell.dataset.v !== undefined) return cell.dataset.v;
    const text = cell.textContent.trim();
    return text === "–" || cell.classList.contains("empty") ? undefined : text.replace("−", "-").replace(/[,%]/g, "");
  };
  const sort = (table, column, direction) => {
    const sign = direction === "ascending" ? 1 : -1;
    const body = table.tBodies[0];
    const keyed = [...body.rows].map((row) => [value(row.cells[column]), row]);
    keyed.sort(([a], [b]) => {
      // What has no value stays at the end in both directions.
      if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
      return sign * compare(a, b);
    });
    body.append(...keyed.map(([, row]) => row));
    [...table.tHead.rows[0].cells].forEach((head, i) => {
      if (i === column) head.setAttribute("aria-sort", direction);
      else head.removeAttribute("aria-sort");
    });
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    const key = table.dataset.key && `sort-${table.dataset.key}`;
    heads.forEach((head, column) => {
      const button = head.querySelector("button");
      if (!button) return;
      button.addEventListener("click", () => {
        // Accuracies are read from the highest; names, places and costs from the first.
        const first = head.dataset.first || "descending";
        const second = first === "descending" ? "ascending" : "descending";
        const direction = head.getAttribute("aria-sort") === first ? second : first;
        sort(table, column, direction);
        if (key) remember(key, `${column}-${direction}`);
      });
    });
    const [column, direction] = ((key && state.get(key)) || "").split("-");
    if (heads[column] && ["ascending", "descending"].includes(direction)) sort(table, Number(column), direction);
  }

  // The choice between accuracies holds for every board of a page.
  const choices = [...document.querySelectorAll("input[data-state]")];
  for (const input of choices) {
    if (state.get(input.dataset.state) === input.value) input.checked = true;
    input.addEventListener("change", () => {
      for (const other of choices) {
        if (other.dataset.state === input.dataset.state && other.value === input.value) other.checked = true;
      }
      remember(input.dataset.state, input.value === "after" ? "" : input.value);
    });
  }

  // Filters of the table of cells.
  for (const form of document.querySelectorAll("form.filters")) {
    const rows = [...document.getElementById(form.dataset.for).tBodies[0].rows].map((row) => ({
      row,
      name: row.cells[0].dataset.v.toLowerCase(),
      facets: row.dataset.f.split(","),
    }));
    const selects = [...form.querySelectorAll("select")];
    const search = form.elements.q;
    const apply = () => {
      const wanted = selects.filter((s) => s.value !== "").map((s) => [Number(s.dataset.facet), s.value]);
      const part = search.value.trim().toLowerCase();
      let shown = 0;
      for (const { row, name, facets } of rows) {
        const fits = name.includes(part) && wanted.every(([facet, value]) => facets[facet] === value);
        if (row.hidden === fits) row.hidden = !fits;
        shown += fits;
      }
      form.querySelector("output").value = `${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")} cells`;
    };
    search.value = state.get("q") || "";
    for (const select of selects) {
      const option = [...select.options].find((o) => o.text === state.get(select.name) && o.value !== "");
      if (option) option.selected = true;
    }
    form.addEventListener("input", (event) => {
      const field = event.target;
      remember(field.name, field.tagName === "SELECT" ? field.value && field.selectedOptions[0].text : field.value);
      apply();
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    if (location.search) apply();
  }

  // A link to a folded section opens it.
  const unfold = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (target && target.tagName === "DETAILS") {
      target.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", unfold);
  unfold();
})();
