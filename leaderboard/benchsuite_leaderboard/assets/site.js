"use strict";
// Sorts tables by their column heads; without it every table stands in its first order.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const value = (row, column) => row.cells[column].dataset.v;
  const byValue = (a, b) => {
    const difference = Number(a) - Number(b);
    return Number.isNaN(difference) ? a.localeCompare(b) : difference;
  };
  const sort = (column, direction) => {
    const sign = direction === "ascending" ? 1 : -1;
    const rows = [...body.rows].sort((one, other) => {
      const a = value(one, column);
      const b = value(other, column);
      // What has no value stays at the end in both directions.
      if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
      return sign * byValue(a, b);
    });
    body.append(...rows);
    for (const head of heads) head.removeAttribute("aria-sort");
    heads[column].setAttribute("aria-sort", direction);
  };
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      // Accuracies are read from the highest, names and places from the first.
      const first = head.dataset.first || "descending";
      const second = first === "descending" ? "ascending" : "descending";
      sort(column, now === first ? second : first);
    });
  });
}
