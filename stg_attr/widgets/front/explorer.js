// The explorer: controls around pictures, evidence, curve and tables. It needs no kernel: the
// model holds the data and what is shown, and is the model of a running kernel or a plain object on a page.

const MODES = { all: "Everything", kept: "Kept", removed: "Removed", veil: "Probability" };

function button(text, action) {
  const node = make("button", { type: "button" });
  node.textContent = text;
  node.addEventListener("click", action);
  return node;
}

class Explorer {
  constructor(model, host) {
    Object.assign(this, { model, host });
    this.root = make("section", { class: "stg mathjax_ignore tex2jax_ignore" });
    // JupyterLab would run its own commands for arrow keys and letters
    this.root.addEventListener("keydown", (event) => event.stopPropagation());
  }

  listen() {
    const load = () => this.load(), draw = () => this.draw();
    this.listeners = {
      "change:payload": load, "change:methods": load, "change:example": load, "change:budget": draw,
      "change:show": draw, "change:progress": () => this.showProgress(),
    };
    for (const [name, listener] of Object.entries(this.listeners)) this.model.on(name, listener);
  }

  // Use another model from now on: that of the kernel in place of the one that the page holds.
  async adopt(model) {
    for (const [name, listener] of Object.entries(this.listeners)) this.model.off(name, listener);
    this.model = model;
    this.listen();
    await this.load();
  }

  async start() {
    this.listen();
    this.theme = new MutationObserver(() => this.draw());
    this.theme.observe(document.body, { attributeFilter: ["data-jp-theme-light", "data-theme", "class"] });
    await this.load();
    this.host.replaceChildren(this.root);
    this.draw();
  }

  stop() {
    this.stopped = true;
    this.theme.disconnect();
    for (const [name, listener] of Object.entries(this.listeners)) this.model.off(name, listener);
  }

  set(name, value) {
    this.model.set(name, value);
    this.model.save_changes();
  }

  // Unpack the example that is shown. If a later call began meanwhile, this one stops and draws nothing.
  async load() {
    const turn = (this.turn = (this.turn || 0) + 1);
    const payload = { ...this.model.get("payload"), methods: this.model.get("methods") };
    const place = Math.min(Math.max(this.model.get("example"), 0), payload.examples.length - 1);
    const { scene } = payload.examples[place];
    const readings = await Promise.all(payload.methods.map((method) => Reading.of(method.readings[place], method.gates)));
    if (turn !== this.turn || this.stopped) return;
    this.build(payload);
    const pictures = this.pictures;
    await Promise.all(pictures.map((picture) => (picture.scene === scene ? null : picture.load(scene))));
    if (turn !== this.turn || this.stopped) return;
    Object.assign(this, { payload, place, readings, scene });
    this.stops = [...new Set(readings.flatMap((reading) => reading.packed.n))].sort((a, b) => a - b);
    this.picker.value = String(place);
    this.slider.max = String(this.stops.length - 1);
    this.curve.load(readings, this.stops);
    this.tables.fill(readings, scene);
    this.showProgress();
    this.showSolve();
    this.draw();
  }

  // Make the controls; they are made again only if the examples, methods or pictures are others.
  build({ kind, modes, examples, methods }) {
    const names = methods.map((method) => method.name), labels = examples.map((example) => example.label);
    const shape = JSON.stringify([kind, modes, labels, names]);
    if (shape === this.shape) return;
    this.shape = shape;
    this.root.setAttribute("aria-label", names.length > 1 ? "Comparison of explanations" : "Explanation");
    this.pictures = names.map(() => new PICTURES[kind]());
    this.curve = new BudgetCurve(names);
    this.tables = new Tables(names, () => this.openTables());
    this.live = make("output", { class: "stg-sentence", "aria-live": "polite" });
    this.doubt = make("p", { class: "stg-doubt" });
    this.hover = make("p", { class: "stg-hover" });
    this.root.replaceChildren(
      make("div", { class: "stg-bar" }, this.picks(labels), this.shows(modes)),
      this.meters(), this.panels(names), this.hover, this.curve.node, this.slides(), this.live, this.doubt,
      this.tables.scores, this.tables.details, this.solves(), this.buttons(),
    );
  }

  picks(labels) {
    this.picker = make("select");
    labels.forEach((text, i) => {
      const option = make("option", { value: String(i) });
      option.textContent = text;
      this.picker.append(option);
    });
    this.picker.addEventListener("change", () => {
      const place = Number(this.picker.value);
      this.model.set("budget", this.payload.methods[0].readings[place].selected);
      this.set("example", place);
    });
    const label = make("label", {}, "Example ", this.picker);
    label.hidden = labels.length < 2;
    return label;
  }

  shows(modes) {
    const group = make("fieldset", {}, make("legend", {}, "Show")), name = `stg-${Math.random().toString(36).slice(2)}`;
    this.modes = modes.map((mode) => {
      const input = make("input", { type: "radio", name, value: mode });
      input.addEventListener("change", () => this.set("show", mode));
      group.append(make("label", {}, input, ` ${MODES[mode]}`));
      return input;
    });
    return group;
  }

  meters() {
    this.meter = make("progress", { max: "1", value: "0", "aria-label": "Steps of the solve" });
    this.remaining = make("span");
    this.progress = make("div", { class: "stg-progress" }, this.meter, this.remaining);
    this.progress.hidden = true;
    return this.progress;
  }

  panels(names) {
    this.claims = names.map(() => make("p", { class: "stg-claim" }));
    const figures = names.map((name, i) => {
      const caption = make("figcaption"), { node } = this.pictures[i];
      caption.textContent = name;
      caption.hidden = this.claims[i].hidden = names.length === 1; // the sentence below says it
      node.addEventListener("pointermove", (event) => this.point(i, event));
      node.addEventListener("pointerleave", () => (this.hover.textContent = ""));
      return make("figure", {}, caption, node, this.claims[i]);
    });
    return make("div", { class: names.length > 1 ? "stg-panels stg-several" : "stg-panels" }, ...figures);
  }

  slides() {
    // the attribute stops JupyterLab's shortcuts on this element
    this.slider = make("input", { type: "range", min: "0", step: "1", "data-lm-suppress-shortcuts": "true" });
    // setting the budget draws; every step is sent, so that ipywidgets can tell echoes of earlier steps from changes
    this.slider.addEventListener("input", () => this.set("budget", this.stops[Number(this.slider.value)]));
    return make("label", { class: "stg-slider" }, make("span", {}, "Features kept "), this.slider);
  }

  solves() {
    this.opened = false;
    this.loss = make("svg", { viewBox: "0 0 640 80", class: "stg-curve", role: "img" });
    this.solved = make("p");
    this.solve = make("details", {}, make("summary", {}, "How the solve went"), make("div", { class: "stg-chart" }, this.loss), this.solved);
    return this.solve;
  }

  buttons() {
    this.told = make("span", { role: "status" });
    this.code = make("pre", { tabindex: "0", "aria-label": "Code of this view" });
    this.code.hidden = true;
    const copy = button("Copy as code", () => this.copy());
    const picture = button("Download PNG", () => this.savePicture());
    const page = button("Download HTML", () => this.savePage());
    return make("div", { class: "stg-buttons" }, copy, picture, page, this.told, this.code);
  }

  get shown() {
    const asked = this.model.get("show"), { modes } = this.payload;
    return modes.includes(asked) ? asked : modes[0];
  }

  // Draw everything that depends on the budget.
  draw() {
    if (!this.readings || this.stopped) return;
    const budget = this.model.get("budget"), { shown } = this;
    const stop = Math.max(0, this.stops.findLastIndex((count) => count <= budget));
    for (const input of this.modes) input.checked = input.value === shown;
    this.slider.value = String(stop);
    this.slider.setAttribute("aria-valuetext", `${this.stops[stop]} of ${this.readings[0].packed.gates} features`);
    this.readings.forEach((reading, i) => {
      this.pictures[i].draw(reading.at(this.stops[stop]), shown);
      this.claims[i].textContent = this.claim(reading);
      if (this.payload.kind !== "text") this.pictures[i].node.setAttribute("aria-label", this.alternative(i));
    });
    const several = this.readings.length > 1;
    const text = several ? `${this.stops[stop]} features kept` : this.claim(this.readings[0]);
    if (this.live.textContent !== text) this.live.textContent = text;
    this.curve.move(stop);
    this.tables.update();
  }

  claim(reading) {
    const { packed, count } = reading, kept = reading.score("kept"), removed = reading.score("removed");
    const start = `${count} of ${packed.gates} features`;
    if (!reading.explainable) return `${start}; nothing to explain: the baseline scores ${digits(packed.full)} too`;
    const [baseline, shown, full, rest] = rounded([packed.baseline, kept, packed.full, removed], packed.full - packed.baseline);
    const left = removed === null ? "" : `; without them it is ${rest}`;
    // of a small difference, shares say less than the scores
    const share = reading.share(kept), telling = share >= -0.005 && share <= 1.5 ? ` (${percent(share)})` : "";
    // what is certified is the selected set, at no other number of features
    const certified = packed.certificate && count === packed.selected ? ` (${packed.certificate})` : "";
    return kept === null ? start : `${start} ${count === 1 ? "brings" : "bring"} the score from ${baseline} (baseline) to ${shown} of ${full}${telling}${certified}${left}`;
  }

  sentences() {
    const several = this.readings.length > 1;
    return this.readings.map((reading, i) => (several ? `${this.payload.methods[i].name}: ` : "") + this.claim(reading));
  }

  alternative(i) {
    const reading = this.readings[i], best = reading.order.slice(0, 5).filter((g) => reading.open[g]);
    const names = best.map((g) => `${featureName(this.scene, g)} ${reading.level || !this.scene.adds ? reading.number(g) : signed(this.scene.adds[g])}`).join(", ");
    return `${this.payload.methods[i].name}: ${MODES[this.shown]}. ${this.claim(reading)}.${names ? ` Best: ${names}.` : ""}`;
  }

  point(i, event) {
    const g = this.pictures[i].hit(event), reading = this.readings[i];
    if (g < 0) return (this.hover.textContent = "");
    const place = reading.rank[g] < 0 ? "not seen by the model" : `rank ${reading.rank[g] + 1}`;
    const what = reading.level ? "attribution" : "active probability";
    const kept = reading.open[g] ? "kept" : "not kept";
    const adds = this.scene.adds?.length > g && !reading.level ? `adds ${signed(this.scene.adds[g])} to the score, ` : "";
    return (this.hover.textContent = `${featureName(this.scene, g)}: ${adds}${what} ${reading.number(g)}, ${kept}, ${place}`);
  }

  openTables() {
    if (!this.readings) return;
    this.tables.fill(this.readings, this.scene);
    this.tables.update();
  }

  showSolve() {
    const { trace, status, evaluations, doubt } = this.readings[0].packed;
    const { running } = this.model.get("progress") ?? {}; // when there is no verdict yet
    this.doubt.textContent = doubt ? `\u26a0 ${status}` : "";
    this.doubt.hidden = !doubt || Boolean(running);
    this.solve.hidden = !trace || this.readings.length > 1;
    if (this.solve.hidden) return;
    const known = drawLoss(this.loss, trace), steps = known.length === 1 ? "1 step" : `${known.length} steps`;
    this.solved.textContent = `${running ? "Still solving." : status} ${evaluations} model evaluations, ${steps}, last loss ${digits(known.at(-1))}.`;
  }

  showProgress() {
    const progress = this.model.get("progress");
    if (!this.readings) return;
    this.progress.hidden = !progress || !progress.total;
    if (this.progress.hidden) return;
    this.meter.value = progress.done / progress.total;
    this.remaining.textContent = ` ${progress.text}`;
    if (!this.opened) this.opened = this.solve.open = true; // once: the reader may close it
    this.showSolve();
  }

  async copy() {
    this.code.textContent = codeOf(this, this.shown);
    this.code.hidden = false;
    try {
      await navigator.clipboard.writeText(this.code.textContent);
      this.told.textContent = "Copied";
    } catch {
      this.told.textContent = "Copy it from here";
    }
  }

  savePicture() {
    photograph(this.pictures, this.sentences(), this.root).toBlob((blob) => download(blob, "explanation.png"), "image/png");
    this.told.textContent = "Saved explanation.png";
  }

  savePage() {
    const src = photograph(this.pictures, this.sentences(), this.root).toDataURL("image/png");
    const page = pageOf(this.model, make("img", { alt: this.sentences().join("; "), style: "max-width: 100%", src }));
    download(new Blob([page], { type: "text/html" }), "explanation.html");
    this.told.textContent = "Saved explanation.html";
  }
}

// The models of the kernel by key. The kernel makes them without a view; the HTML in outputs of cells finds them
// here, and works without them when they are gone.
const LIVE = (window.stgAttrLive ??= new Map());

function initialize({ model }) {
  const key = model.get("key");
  LIVE.set(key, model);
  window.dispatchEvent(new CustomEvent("stg-attr-live", { detail: key }));
  return () => LIVE.delete(key);
}

function whenLive(key, use) {
  if (LIVE.has(key)) use(LIVE.get(key));
  window.addEventListener("stg-attr-live", (event) => event.detail === key && use(LIVE.get(key)));
}

// Replace a static picture by the widgets of the kernel.
function summon(id) {
  const host = document.getElementById(id);
  whenLive(host.dataset.key, async (model) => {
    const manager = model.widget_manager, inner = await manager.get_model(model.get("inner"));
    const view = await manager.create_view(inner), shown = view.luminoWidget ?? view.pWidget;
    host.replaceChildren();
    shown.constructor.attach(shown, host);
  });
}

async function render({ model, el }) {
  const explorer = new Explorer(model, el);
  el.stgExplorer = explorer; // for tests and benchmarks
  await explorer.start();
  return () => explorer.stop();
}

// Replace the static picture in an output or on a page by the explorer; the data are in script elements beside it.
async function mount(id) {
  const text = (part) => document.getElementById(`${id}-${part}`).textContent;
  const state = { progress: {}, ...JSON.parse(text("data")), page: JSON.parse(text("page")) };
  Object.assign(state, { _esm: text("code").split("\n// start\n")[0], _css: text("style") });
  const listeners = {};
  const model = {
    get: (name) => state[name],
    set: (name, value) => {
      state[name] = value;
      for (const listener of listeners[`change:${name}`] ?? []) listener();
    },
    on: (name, listener) => (listeners[name] ??= []).push(listener),
    off: (name, listener) => {
      listeners[name] = listeners[name].filter((other) => other !== listener);
    },
    save_changes: () => {},
  };
  const host = document.getElementById(id);
  await render({ model, el: host });
  whenLive(state.key, (live) => host.stgExplorer.adopt(live));
}

export default { initialize, render };
