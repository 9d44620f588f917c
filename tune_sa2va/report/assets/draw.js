"use strict";
// Draws every figure, and again when the colour scheme changes or the page is printed.
const figures = JSON.parse(document.getElementById("figures").textContent);
const themes = JSON.parse(document.getElementById("themes").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const touch = matchMedia("(pointer: coarse), (max-width: 600px)").matches;
const printedWidth = 660;

function draw(print) {
  for (const [key, figure] of Object.entries(figures)) {
    const place = document.getElementById("figure-" + key);
    const layout = Object.assign({}, figure.layout, {
      template: themes[dark.matches && !print ? "dark" : "light"],
      dragmode: touch ? false : "zoom", // a finger scrolls the page
      autosize: !print,
      width: print ? printedWidth : undefined,
    });
    Plotly.react(place, figure.data, layout, {
      responsive: true,
      displaylogo: false,
      displayModeBar: touch ? false : "hover",
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
      toImageButtonOptions: { format: "svg", filename: key },
    });
  }
}
draw(false);
dark.addEventListener("change", () => draw(false));
addEventListener("beforeprint", () => draw(true));
addEventListener("afterprint", () => draw(false));
