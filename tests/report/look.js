// What is wrong with the page as it is laid out now: a list of sentences.
(() => {
  const wrong = [];
  const wide = document.documentElement.clientWidth;
  const scroll = document.documentElement.scrollWidth;
  if (scroll > wide) {
    const over = [...document.querySelectorAll("body *")].filter(
      (e) => !e.closest(".table") && e.getBoundingClientRect().right > wide + 0.5);
    wrong.push(`${scroll} px wide in a window of ${wide}: ${over.slice(0, 3).map((e) => e.tagName + " " + e.textContent.slice(0, 40))}`);
  }
  const meet = (a, b, by) =>
    a.left < b.right - by && b.left < a.right - by && a.top < b.bottom - by && b.top < a.bottom - by;
  // A segment and a box: clipped as Liang and Barsky do it.
  const crosses = ([x0, y0], [x1, y1], box) => {
    let [from, to] = [0, 1];
    const edges = [[x0 - x1, x0 - box.left], [x1 - x0, box.right - x0], [y0 - y1, y0 - box.top], [y1 - y0, box.bottom - y0]];
    for (const [p, q] of edges) {
      if (p === 0) { if (q < 0) return false; continue; }
      if (p < 0) from = Math.max(from, q / p); else to = Math.min(to, q / p);
    }
    return from < to;
  };
  for (const svg of document.querySelectorAll("svg")) {
    const title = svg.querySelector("title").textContent;
    if (svg.getAttribute("role") !== "img" || !svg.querySelector("desc")) wrong.push(`${title}: no text for who cannot see it`);
    for (const id of (svg.getAttribute("aria-labelledby") || "").split(" ")) {
      if (document.querySelectorAll(`[id="${id}"]`).length !== 1) wrong.push(`${title}: the id ${id} is not one element's`);
    }
    const frame = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")].map((e) => [e.textContent, e.getBoundingClientRect()]);
    texts.forEach(([word, box], i) => {
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1 || box.top < frame.top - 1) {
        wrong.push(`${title}: '${word}' leaves the picture`);
      }
      for (const [other, second] of texts.slice(i + 1)) {
        // Lines of text overlap by what their boxes have above the letters.
        if (meet(box, second, 2)) wrong.push(`${title}: '${word}' lies on '${other}'`);
      }
    });
    for (const line of svg.querySelectorAll("polyline, line.mark, circle, g > rect.d")) {
      const matrix = line.getScreenCTM();
      let points;
      if (line.tagName === "polyline") points = [...line.points];
      else if (line.tagName === "line") points = [line.x1, line.x2].map((x, i) => ({ x: x.baseVal.value, y: [line.y1, line.y2][i].baseVal.value }));
      else {
        const box = line.getBBox();
        points = [{ x: box.x, y: box.y }, { x: box.x + box.width, y: box.y + box.height }];
      }
      points = points.map((p) => [p.x * matrix.a + matrix.e, p.y * matrix.d + matrix.f]);
      for (const [word, box] of texts) {
        const inner = { left: box.left + 1, right: box.right - 1, top: box.top + 3, bottom: box.bottom - 3 };
        for (let i = 1; i < points.length; i++) {
          if (crosses(points[i - 1], points[i], inner)) { wrong.push(`${title}: a line runs through '${word}'`); break; }
        }
      }
    }
  }
  return wrong;
})()
