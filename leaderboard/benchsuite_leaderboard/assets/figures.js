"use strict";
// Every chart can be saved as SVG or PNG with the colours that it has on the screen.
(() => {
  const paint = getComputedStyle(document.documentElement);
  const resolved = (text) => text.replace(/var\((--[\w-]+)\)/g, (_, name) => paint.getPropertyValue(name).trim());
  const MARGIN = 12;

  // A copy that needs no style sheet: colours as numbers, the page's font, and its paper behind.
  const alone = (svg) => {
    const copy = svg.cloneNode(true);
    // A long name may extend beyond the drawing.
    const box = svg.getBBox();
    const [x, y, width, height] = [box.x - MARGIN, box.y - MARGIN, box.width + 2 * MARGIN, box.height + 2 * MARGIN];
    for (const each of [copy, ...copy.querySelectorAll("*")]) {
      for (const { name, value } of [...each.attributes]) if (value.includes("var(")) each.setAttribute(name, resolved(value));
    }
    copy.setAttribute("viewBox", [x, y, width, height].join(" "));
    copy.setAttribute("width", width);
    copy.setAttribute("height", height);
    copy.removeAttribute("style");
    copy.setAttribute("font-family", "system-ui, 'Segoe UI', Roboto, sans-serif");
    const paper = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [name, value] of Object.entries({ x, y, width, height, fill: paint.getPropertyValue("--paper").trim() })) paper.setAttribute(name, value);
    copy.prepend(paper);
    return { text: new XMLSerializer().serializeToString(copy), width, height };
  };
  const name = (svg, ending) => {
    const words = `${document.title} ${svg.getAttribute("aria-label").split(/[:.]/)[0]}`;
    return `${words.toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 80)}.${ending}`;
  };
  const save = (address, file) => {
    const link = document.createElement("a");
    link.href = address;
    link.download = file;
    link.click();
  };
  const asSvg = (svg) => {
    const address = URL.createObjectURL(new Blob([alone(svg).text], { type: "image/svg+xml" }));
    save(address, name(svg, "svg"));
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  };
  const asPng = (svg) => {
    const { text, width, height } = alone(svg);
    const image = new Image();
    image.addEventListener("load", () => {
      const canvas = document.createElement("canvas");
      const scale = 2;
      [canvas.width, canvas.height] = [width * scale, height * scale];
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      save(canvas.toDataURL("image/png"), name(svg, "png"));
    });
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  };

  for (const figure of document.querySelectorAll("figure")) {
    const shown = () => [...figure.querySelectorAll("svg[role=img]")].find((svg) => svg.getClientRects().length);
    if (!figure.querySelector("svg[role=img]")) continue;
    const line = document.createElement("p");
    line.className = "save";
    line.append("Save as ");
    for (const [words, act] of [["SVG", asSvg], ["PNG", asPng]]) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = words;
      button.addEventListener("click", () => act(shown()));
      line.append(button, " ");
    }
    figure.append(line);
  }
})();
