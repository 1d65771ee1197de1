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
  // Other scripts of a page keep their choices in the same address.
  globalThis.benchsuiteState = { get: (name) => state.get(name) ?? undefined, remember };

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

  // A table's rows stay in memory; in the page are those that fit the filters, and of very many the first ones.
  class SortableTable {
    constructor(table) {
      this.table = table;
      this.heads = [...table.tHead.rows[0].cells];
      this.rows = [...table.tBodies[0].rows];
      this.fits = () => true;
      this.limit = Infinity;
      this.key = table.dataset.key && `sort-${table.dataset.key}`;
      this.heads.forEach((head, column) => {
        const button = head.querySelector("button");
        if (button) button.addEventListener("click", () => this.turn(column));
      });
      const [column, direction] = ((this.key && state.get(this.key)) || "").split("-");
      // A number alone is a column: any object has something named "__proto__".
      if (/^\d+$/.test(column) && this.heads[column] && ["ascending", "descending"].includes(direction)) this.sort(Number(column), direction);
    }

    turn(column) {
      // Accuracies are read from the highest; names, places and costs from the first.
      const first = this.heads[column].dataset.first || "descending";
      const second = first === "descending" ? "ascending" : "descending";
      const direction = this.heads[column].getAttribute("aria-sort") === first ? second : first;
      this.sort(column, direction);
      if (this.key) remember(this.key, `${column}-${direction}`);
    }

    sort(column, direction) {
      const sign = direction === "ascending" ? 1 : -1;
      const keyed = this.rows.map((row) => [value(row.cells[column]), row]);
      keyed.sort(([a], [b]) => {
        // What has no value stays at the end in both directions.
        if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
        return sign * compare(a, b);
      });
      this.rows = keyed.map(([, row]) => row);
      this.heads.forEach((head, i) => {
        if (i === column) head.setAttribute("aria-sort", direction);
        else head.removeAttribute("aria-sort");
      });
      this.show();
    }

    show() {
      const fitting = this.rows.filter(this.fits);
      this.table.tBodies[0].replaceChildren(...fitting.slice(0, this.limit));
      return fitting.length;
    }
  }
  const tables = new Map();
  for (const table of document.querySelectorAll("table.sortable")) tables.set(table, new SortableTable(table));
  // For tables that other scripts make.
  globalThis.benchsuiteSortable = (table) => new SortableTable(table);

  // Choices between views of the same thing hold for the whole page.
  const choices = [...document.querySelectorAll("input[data-state]")];
  for (const input of choices) {
    const alike = choices.filter((other) => other.dataset.state === input.dataset.state);
    if (state.get(input.dataset.state) === input.value) input.checked = true;
    input.addEventListener("change", () => {
      for (const other of alike) if (other.value === input.value) other.checked = true;
      remember(input.dataset.state, input.value === alike[0].value ? "" : input.value);
    });
  }

  // Filters of the table of cells.
  const SHOWN = 200;
  for (const form of document.querySelectorAll("form.filters[data-for]")) {
    const sortable = tables.get(document.getElementById(form.getAttribute("data-for"))); // form.dataset would be the field of that name
    const facts = new Map(
      sortable.rows.map((row) => [
        row,
        { name: row.cells[0].dataset.v.toLowerCase(), facets: row.dataset.f.split(",") },
      ]),
    );
    const selects = [...form.querySelectorAll("select")];
    const search = form.elements.q;
    const all = form.querySelector("button");
    const said = (number) => number.toLocaleString("en");
    const apply = () => {
      const wanted = selects.filter((s) => s.value !== "").map((s) => [Number(s.dataset.facet), s.value]);
      const part = search.value.trim().toLowerCase();
      sortable.fits = (row) => {
        const { name, facets } = facts.get(row);
        return name.includes(part) && wanted.every(([facet, choice]) => facets[facet] === choice);
      };
      const fitting = sortable.show();
      all.hidden = fitting <= sortable.limit;
      form.querySelector("output").value =
        `${said(fitting)} of ${said(facts.size)} cells` +
        (all.hidden ? "" : `, the first ${said(sortable.limit)} shown`);
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
    all.addEventListener("click", () => {
      sortable.limit = Infinity;
      apply();
    });
    sortable.limit = SHOWN;
    apply();
    // Until now the style sheet hid all but the first rows.
    sortable.table.tBodies[0].classList.add("ready");
  }

  // A link to a folded section opens it.
  const unfold = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (!target || !target.closest("details")) return;
    for (let each = target.closest("details"); each; each = each.parentElement.closest("details")) each.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", unfold);
  unfold();
})();
