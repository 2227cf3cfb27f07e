// The explorer: controls around pictures, evidence, curve and tables. It needs no kernel: the
// model holds the data and what is shown, and is the model of a running kernel or a plain object on a page.

const PIECES = { image: "region", text: "word", table: "bar", series: "span" };
const OFFERED = 300; // features in the list that is for the keyboard
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
      "change:show": draw, "change:chosen": draw, "change:answer": () => this.learn(), "change:progress": () => this.showProgress(),
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
    this.room = new ResizeObserver(() => this.fit());
    this.theme.observe(document.body, { attributeFilter: ["data-jp-theme-light", "data-theme", "class"] });
    await this.load();
    this.host.replaceChildren(this.root);
    this.room.observe(this.root);
    this.fit();
    this.draw();
  }

  stop() {
    this.stopped = true;
    this.theme.disconnect();
    this.room.disconnect();
    for (const [name, listener] of Object.entries(this.listeners)) this.model.off(name, listener);
  }

  set(name, value) {
    this.model.set(name, value);
    this.model.save_changes();
  }

  // Charts and bars are as wide as the page lets them be, so that their text keeps its size.
  fit() {
    const width = Math.floor(this.root.clientWidth);
    if (!this.readings || !width || width === this.width) return;
    this.width = width;
    this.curve.width = Math.min(width, BROADEST);
    this.curve.load(this.readings, this.stops);
    for (const picture of this.pictures) picture.fit?.(this.readings.length > 1 ? picture.node.parentElement.clientWidth : width);
    this.showSolve();
    this.draw();
  }

  // Unpack the example that is shown. If a later call began meanwhile, this one stops and draws nothing.
  async load() {
    const turn = (this.turn = (this.turn || 0) + 1);
    const payload = { ...this.model.get("payload"), methods: this.model.get("methods") };
    const place = Math.min(Math.max(this.model.get("example"), 0), payload.examples.length - 1);
    const { scene } = payload.examples[place];
    const known = this.model.get("known")?.[place];
    const readings = await Promise.all(payload.methods.map((method) => Reading.of(method.readings[place], method.gates, known)));
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
    this.offer();
    this.showProgress();
    this.showSolve();
    this.learn();
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
    this.hover = make("p", { class: "stg-hover", role: "status" });
    this.hint = names.length > 1 ? "" : `Point at a ${PIECES[kind]} for its number; click it to switch it on or off.`;
    this.hover.textContent = this.hint;
    this.root.replaceChildren(
      make("div", { class: "stg-bar" }, this.picks(labels), this.shows(modes)),
      this.meters(), this.panels(names), this.hover, this.switches(names, kind), this.curve.node, this.slides(), this.live, this.doubt,
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
      this.model.set("chosen", null);
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
      node.addEventListener("pointerleave", () => this.leave(i));
      node.addEventListener("click", (event) => this.toggle(this.pictures[i].hit(event)));
      if (names.length === 1) node.classList.add("stg-clicked");
      return make("figure", {}, caption, node, this.claims[i]);
    });
    return make("div", { class: names.length > 1 ? "stg-panels stg-several" : "stg-panels" }, ...figures);
  }

  slides() {
    // the attribute stops JupyterLab's shortcuts on this element
    this.slider = make("input", { type: "range", min: "0", step: "1", "data-lm-suppress-shortcuts": "true" });
    // setting the budget draws; every step is sent, so that ipywidgets can tell echoes of earlier steps from changes
    this.slider.addEventListener("input", () => this.keep(this.stops[Number(this.slider.value)]));
    this.curve.svg.addEventListener("click", (event) => this.keep(this.curve.stopAt(event)));
    this.curve.svg.addEventListener("pointermove", (event) => this.pointAtStop(this.curve.stopAt(event)));
    this.curve.svg.addEventListener("pointerleave", () => (this.hover.textContent = this.hint));
    return make("label", { class: "stg-slider" }, make("span", {}, "Features kept "), this.slider);
  }

  // Follow the slider again, at another number of features.
  keep(count) {
    this.model.set("chosen", null);
    this.set("budget", count);
  }

  // The same by keyboard as by clicks on the picture.
  switches(names) {
    this.switcher = make("select");
    this.switcher.addEventListener("change", () => this.nameSwitch());
    this.switch = button("", () => this.toggle([Number(this.switcher.value)]));
    this.back = button("Back to the slider", () => this.set("chosen", null));
    const group = make("div", { class: "stg-buttons" }, make("label", {}, "Feature ", this.switcher), this.switch, this.back);
    group.hidden = names.length > 1;
    return group;
  }

  // List the features of the shown example, best first.
  offer() {
    this.switcher.replaceChildren(...this.readings[0].order.slice(0, OFFERED).map((g) => this.option(g)));
  }

  option(g) {
    const option = make("option", { value: String(g) });
    option.textContent = featureName(this.scene, g);
    return option;
  }

  nameSwitch() {
    const on = this.readings[0].open[Number(this.switcher.value)], text = on ? "Switch off" : "Switch on";
    if (this.switch.textContent !== text) this.switch.textContent = text;
    this.back.hidden = !this.chosen;
  }

  // Switch features on or off: off if one of them is on. The kernel measures the score, or it is known.
  toggle(columns) {
    if (!columns.length || this.readings.length > 1) return;
    const [reading] = this.readings, on = columns.every((g) => !reading.open[g]), open = reading.open.slice();
    for (const g of columns) open[g] = on ? 1 : 0;
    this.step = { columns, on, before: reading.score("kept"), place: this.place };
    this.touched = true; // the line below the picture says what came of it, until another feature is pointed at
    const value = String(columns[0]);
    if (![...this.switcher.options].some((option) => option.value === value)) this.switcher.append(this.option(columns[0]));
    this.switcher.value = value;
    this.set("chosen", Array.from(open.keys()).filter((g) => open[g]));
  }

  // What the kernel has measured.
  learn() {
    const { example, known } = this.model.get("answer") ?? {};
    if (this.readings && known && example === this.place) this.readings[0].learn(known);
    this.draw();
  }

  solves() {
    this.opened = false;
    this.loss = make("svg", { class: "stg-curve", role: "img" });
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
    this.chosen = this.readings.length === 1 ? this.model.get("chosen") ?? null : null;
    this.readings.forEach((reading, i) => {
      reading.at(this.stops[stop]);
      this.pictures[i].draw(this.chosen ? reading.choose(this.chosen) : reading, shown);
      this.claims[i].textContent = this.claim(reading);
      if (this.payload.kind !== "text") this.pictures[i].node.setAttribute("aria-label", this.alternative(i));
    });
    const several = this.readings.length > 1;
    const text = several ? `${this.stops[stop]} features kept` : this.claim(this.readings[0]);
    if (this.live.textContent !== text) this.live.textContent = text;
    this.curve.move(stop);
    this.tables.update();
    this.nameSwitch();
    if (this.touched) this.hover.textContent = this.change() || this.hint;
  }

  // What the last click did to the score.
  change() {
    const { step, chosen } = this, [reading] = this.readings, now = reading.score("kept");
    if (!chosen || !step || step.place !== this.place) return "";
    const names = step.columns.map((g) => featureName(this.scene, g)).join(", "), done = `Switched ${step.on ? "on" : "off"} ${names}`;
    if (now === null) return `${done}: ${this.unknown()}`;
    const [before, after] = rounded([step.before, now], reading.packed.full - reading.packed.baseline);
    return step.before === null ? `${done}: the score is ${after}` : `${done}: the score was ${before} and is ${after}`;
  }

  // Why the score of the chosen features is not there.
  unknown() {
    const { on, problem } = this.model.get("answer") ?? {};
    if (this.model.alone) return "the score of these was not measured; it needs the notebook with its kernel";
    const answered = on && on.length === this.chosen.length && on.every((g, i) => g === this.chosen[i]);
    return answered ? problem || "the score of these is not a number" : "asking the model";
  }

  claim(reading) {
    const { packed, count } = reading, kept = reading.score("kept"), removed = reading.score("removed");
    const start = `${count} of ${packed.gates} features${reading.chosen ? ", chosen by hand," : ""}`;
    if (!reading.explainable) return `${start}; nothing to explain: the baseline scores ${digits(packed.full)} too`;
    const [baseline, shown, full, rest] = rounded([packed.baseline, kept, packed.full, removed], packed.full - packed.baseline);
    const left = removed === null ? "" : `; without ${count === 1 ? "it the score" : "them it"} is ${rest}`;
    // of a small difference, shares say less than the scores
    const share = reading.share(kept), telling = reading.tellsShares && share >= -0.005 && share <= 1.5 ? ` (${percent(share)})` : "";
    // what is certified is the selected set, at no other number of features
    if (reading.chosen && kept === null) return `${start.slice(0, -1)}: ${this.unknown()}`;
    const certified = packed.certificate && !reading.chosen && count === packed.selected ? ` (${packed.certificate})` : "";
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
    const [g = -1] = this.pictures[i].hit(event), reading = this.readings[i];
    if (this.touched && this.step.columns.includes(g)) return;
    this.touched = false;
    this.pictures[i].point?.(g);
    if (g < 0) return (this.hover.textContent = this.hint);
    const place = reading.rank[g] < 0 ? "not seen by the model" : `rank ${reading.rank[g] + 1}`;
    const what = reading.level ? "attribution" : "active probability";
    const kept = reading.open[g] ? "kept" : "not kept";
    const adds = this.scene.adds?.length > g && !reading.level ? `adds ${signed(this.scene.adds[g])} to the score, ` : "";
    return (this.hover.textContent = `${featureName(this.scene, g)}: ${adds}${what} ${reading.number(g)}, ${kept}, ${place}`);
  }

  leave(i) {
    this.pictures[i].point?.(-1);
    if (!this.touched) this.hover.textContent = this.hint;
  }

  pointAtStop(count) {
    const said = this.readings.map(({ packed }, i) => {
      const k = Math.max(0, packed.n.findLastIndex((n) => n <= count)), name = this.payload.methods[i].name;
      const left = packed.removed[k] === null ? "" : `, without them ${digits(packed.removed[k])}`;
      return `${this.readings.length > 1 ? `${name}: ` : ""}score ${digits(packed.kept[k])} with only these${left}`;
    });
    this.hover.textContent = `${count} features: ${said.join("; ")}; click to show them`;
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
    const width = Math.min(this.width ?? BROADEST, BROADEST), known = drawLoss(this.loss, trace, width), steps = known.length === 1 ? "1 step" : `${known.length} steps`;
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
  const state = { progress: {}, answer: {}, ...JSON.parse(text("data")), page: JSON.parse(text("page")) };
  Object.assign(state, { _esm: text("code").split("\n// start\n")[0], _css: text("style") });
  const listeners = {};
  const model = {
    alone: true, // no kernel answers
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
