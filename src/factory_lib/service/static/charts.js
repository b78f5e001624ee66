// Moves one reading line over each chart, and enlarges a part of its time axis.
"use strict";
for (const chart of document.querySelectorAll(".chart")) {
  const readings = JSON.parse(chart.querySelector("script").textContent);
  const canvas = chart.querySelector(".canvas");
  const axis = chart.querySelector(".on-axis");
  const over = chart.querySelector(".over");
  const cursor = chart.querySelector(".cursor");
  const readout = chart.querySelector(".readout");
  const whole = chart.querySelector(".whole");
  const placed = [...chart.querySelectorAll("[data-x]")].map((element) => ({
    element, x: Number(element.dataset.x), width: Number(element.dataset.w || 0),
  }));
  let from = 0, to = 1000, current = -1, dragFrom = null;

  const fit = () => {
    const outer = canvas.getBoundingClientRect(), inner = axis.getBoundingClientRect();
    over.style.left = `${inner.left - outer.left}px`;
    over.style.width = `${inner.width}px`;
  };
  const share = (x) => ((x - from) / (to - from)) * 100;
  const place = () => {
    for (const svg of chart.querySelectorAll("svg")) svg.setAttribute("viewBox", `${from} 0 ${to - from} 100`);
    for (const { element, x, width } of placed) {
      const left = Math.max(x, from), right = Math.min(x + width, to);
      element.style.left = `${share(left)}%`;
      if (element.dataset.w) element.style.width = `${share(right) - share(left)}%`;
      element.style.visibility = (element.dataset.w ? right > left : x >= from && x < to) ? "" : "hidden";
    }
    whole.hidden = from === 0 && to === 1000;
    if (current >= 0) show(current);
  };
  const show = (n) => {
    current = Math.min(Math.max(n, 0), readings.length - 1);
    const [x, head, body] = readings[current];
    const bold = document.createElement("b");
    bold.textContent = head;
    readout.replaceChildren(bold, ` ${body}`);
    const end = current + 1 < readings.length ? readings[current + 1][0] : x;
    cursor.style.left = `${share((x + end) / 2)}%`;
    cursor.hidden = x < from || x > to;
  };
  const xOf = (event) => {
    const box = axis.getBoundingClientRect();
    return from + ((event.clientX - box.left) / box.width) * (to - from);
  };
  const showAt = (event) => {
    if (!readings.length) return;
    const x = xOf(event);
    let n = readings.findIndex((reading) => reading[0] > x);
    show((n < 0 ? readings.length : n) - 1);
  };
  canvas.addEventListener("pointermove", showAt);
  canvas.addEventListener("pointerdown", (event) => {
    showAt(event);
    if (event.pointerType === "mouse") dragFrom = xOf(event);
  });
  window.addEventListener("pointerup", (event) => {
    if (dragFrom === null) return;
    const ends = [dragFrom, xOf(event)].map((x) => Math.min(Math.max(x, 0), 1000)).sort((a, b) => a - b);
    dragFrom = null;
    if (ends[1] - ends[0] > (to - from) / 40) { [from, to] = ends; place(); }
  });
  whole.addEventListener("click", () => { from = 0; to = 1000; place(); });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -4, PageDown: 4 }[event.key];
    if (step) { event.preventDefault(); show((current < 0 ? 0 : current) + step); }
    if (event.key === "Escape") whole.click();
  });
  new ResizeObserver(fit).observe(canvas);
  fit();
}
for (const form of document.querySelectorAll("form[data-live]")) {
  form.addEventListener("change", () => form.requestSubmit());
}
