// What pages do beside htmx: charts, the last inputs, filters, files that are dropped. Pages read without it.
(() => {
  "use strict";

  const MAX_LINES = 500;
  const MAX_INPUTS = 8;
  const CHART_HEIGHT = 190;

  const each = (root, selector, act) => {
    if (root.matches?.(selector)) act(root);
    root.querySelectorAll?.(selector).forEach(act);
  };

  // Logs: follow the end unless the reader has scrolled up; keep the latest lines.
  const followLog = (log) => {
    if (log.dataset.followed) return;
    log.dataset.followed = "yes";
    log.scrollTop = log.scrollHeight;
    let atEnd = true;
    log.addEventListener("scroll", () => {
      atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 24;
    });
    // The stream begins with the lines that are kept, also after a reconnection.
    log.addEventListener("htmx:sseOpen", () => log.replaceChildren());
    new MutationObserver(() => {
      while (log.childElementCount > MAX_LINES) log.firstElementChild.remove();
      const filter = document.querySelector(`[data-filter="#${log.id}"]`);
      if (filter) applyFilter(filter);
      if (atEnd) log.scrollTop = log.scrollHeight;
    }).observe(log, { childList: true });
  };

  const applyFilter = (input) => {
    const wanted = input.value.trim().toLowerCase();
    document.querySelectorAll(`${input.dataset.filter} > *`).forEach((line) => {
      line.hidden = wanted !== "" && !line.textContent.toLowerCase().includes(wanted);
    });
  };

  // The last inputs of a function, in this browser only. Signing out removes them.
  const rememberInputs = (form) => {
    const key = `inputs ${form.dataset.inputs}`;
    const field = form.elements.args;
    const read = () => {
      try {
        return JSON.parse(localStorage.getItem(key)) || [];
      } catch {
        return [];
      }
    };
    const choice = document.createElement("select");
    const label = document.createElement("label");
    label.append("Last inputs", choice);
    const show = () => {
      const inputs = read();
      const first = new Option("choose one", "");
      choice.replaceChildren(first, ...inputs.map((text) => new Option(text.replace(/\s+/g, " ").slice(0, 60), text)));
      label.hidden = inputs.length === 0;
    };
    choice.addEventListener("change", () => {
      if (choice.value) field.value = choice.value;
    });
    form.addEventListener("submit", () => {
      const inputs = [field.value, ...read().filter((text) => text !== field.value)].slice(0, MAX_INPUTS);
      try {
        localStorage.setItem(key, JSON.stringify(inputs));
      } catch {
        // The browser keeps nothing.
      }
      show();
    });
    form.querySelector(".inline").prepend(label);
    show();
  };

  // A file that is dropped on its field.
  const acceptDrops = (label) => {
    const input = label.querySelector("input[type=file]");
    const mark = (event, over) => {
      event.preventDefault();
      label.classList.toggle("over", over);
    };
    label.addEventListener("dragover", (event) => mark(event, true));
    label.addEventListener("dragleave", (event) => mark(event, false));
    label.addEventListener("drop", (event) => {
      mark(event, false);
      input.files = event.dataTransfer.files;
      const name = label.form?.elements.name ?? input.form.elements.name;
      const file = input.files[0];
      if (file && name && name.type === "text" && !name.value) {
        name.value = file.name.replace(/\.wasm$/, "").replace(/\W/g, "_");
      }
    });
  };

  // Charts. The drawing that the server has made is replaced by one with axes.
  const charts = new Map();
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const optionsOf = (holder, chart) => {
    const grid = { stroke: colour("--line"), width: 1 };
    const axis = { stroke: colour("--quiet"), grid, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const lines = chart.series.map(({ label, colour: name }) => ({
      label,
      stroke: colour(name),
      width: 1.6,
      points: { show: false },
      spanGaps: false,
    }));
    return {
      width: holder.clientWidth,
      height: CHART_HEIGHT,
      legend: { show: false },
      cursor: { y: false, points: { size: 6 } },
      scales: { x: { time: true }, y: { range: (_, __, max) => [0, max > 0 ? max * 1.1 : 1] } },
      series: [{}, ...lines],
      axes: [axis, { ...axis, size: 46, values: (_, values) => values.map((value) => `${value}${chart.unit}`) }],
    };
  };

  const draw = (source) => {
    const holder = document.getElementById(source.dataset.chart);
    if (!holder || !window.uPlot) return;
    const chart = JSON.parse(source.textContent);
    const known = charts.get(holder.id);
    if (known && known.holder === holder) {
      known.plot.setData(chart.data);
      return;
    }
    holder.replaceChildren();
    const plot = new uPlot(optionsOf(holder, chart), chart.data, holder);
    charts.set(holder.id, { holder, plot });
    new ResizeObserver(() => plot.setSize({ width: holder.clientWidth, height: CHART_HEIGHT })).observe(holder);
  };

  const start = (root) => {
    each(root, "[data-log]", followLog);
    each(root, "[data-inputs]", rememberInputs);
    each(root, ".drop", acceptDrops);
    each(root, "[data-chart]", draw);
  };

  document.addEventListener("input", (event) => {
    if (event.target.matches("[data-filter]")) applyFilter(event.target);
  });
  document.addEventListener("submit", (event) => {
    const question = event.target.dataset.confirm;
    if (question && !confirm(question)) event.preventDefault();
    if (event.target.getAttribute("action") === "/console/sign-out") localStorage.clear();
  });
  // A page about a failure has no part to put in place: its message is shown instead.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr, target } = event.detail;
    if (!xhr || xhr.status < 400) return;
    event.detail.shouldSwap = false;
    const page = new DOMParser().parseFromString(xhr.responseText, "text/html");
    const note = document.createElement("p");
    note.className = "message bad";
    note.setAttribute("role", "alert");
    note.textContent = page.querySelector(".message")?.textContent ?? `The gateway answered ${xhr.status}.`;
    target.replaceChildren(note);
  });
  document.addEventListener("htmx:afterSwap", (event) => start(event.detail.target));
  document.addEventListener("htmx:sseMessage", (event) => start(event.target));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    charts.clear();
    start(document);
  });
  start(document);
})();
