"use strict";
// The values under the pointer, or at the place that the arrow keys move, in the line below each chart.
for (const svg of document.querySelectorAll("svg[data-x]")) {
  const [low, high, left, right] = svg.dataset.x.split(" ").map(Number);
  const out = svg.parentNode.querySelector("output");
  const series = [...svg.querySelectorAll("g[data-n]")].map((g) => ({
    name: g.dataset.n, kind: g.dataset.k, points: g.dataset.p.split(" ").map((p) => p.split(",").map(Number)),
  }));
  const stops = (of) => [...new Set(of.flatMap((s) => s.points.map((p) => p[0])))].sort((a, b) => a - b);
  const dots = stops(series.filter((s) => s.kind === "d"));
  const xs = dots.length > 2 ? dots : stops(series);
  if (!xs.length || !out) continue;
  const bottom = svg.viewBox.baseVal.height;
  const line = svg.querySelector("line").cloneNode();
  line.setAttribute("class", "axis");
  line.setAttribute("visibility", "hidden");
  svg.append(line);
  const round = (v) => String(Number(v.toPrecision(5)));
  const value = (s, x) => {
    const after = s.points.findIndex((p) => p[0] >= x - 1e-9 * Math.abs(x));
    if (s.kind === "d" || after < 0) {
      const p = s.points.find((p) => Math.abs(p[0] - x) <= 1e-6 * Math.abs(x));
      return p && p[1];
    }
    if (s.points[after][0] - x <= 1e-6 * Math.abs(x)) return s.points[after][1];
    if (!after) return undefined;
    const [a, b] = [s.points[after - 1], s.points[after]];
    return s.kind === "s" ? a[1] : a[1] + ((b[1] - a[1]) * (x - a[0])) / (b[0] - a[0]);
  };
  let at = -1;
  const show = (i) => {
    at = Math.max(0, Math.min(xs.length - 1, i));
    const x = xs[at];
    const place = left + ((x - low) / (high - low || 1)) * (right - left);
    for (const [k, v] of [["x1", place], ["x2", place], ["y1", 0], ["y2", bottom]]) line.setAttribute(k, v);
    line.setAttribute("visibility", "visible");
    const said = series.map((s) => [s.name, value(s, x)]).filter(([, v]) => v !== undefined);
    out.textContent = "at " + round(x) + ": " + said.map(([n, v]) => n + " " + round(v)).join(", ");
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = low + (((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width - left) / (right - left) * (high - low);
    show(xs.reduce((best, v, i) => (Math.abs(v - x) < Math.abs(xs[best] - x) ? i : best), 0));
  });
  const hide = () => { line.setAttribute("visibility", "hidden"); out.textContent = ""; at = -1; };
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) { show(at < 0 ? 0 : at + step); event.preventDefault(); }
    if (event.key === "Escape") hide();
  });
}
