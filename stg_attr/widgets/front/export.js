// Export: what is shown as code, as a picture, and as a whole page.

function download(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// Python code that draws with viz what is shown.
function codeOf({ payload, place, readings }, show) {
  const { chosen } = readings[0], { place: row } = payload.examples[place];
  if (chosen) {
    const on = Array.from(readings[0].open.keys()).filter((g) => readings[0].open[g]).join(", ");
    return `chosen = torch.zeros_like(explanation.selected[${row} : ${row + 1}])\nchosen[0, [${on}]] = True\nexplanation.score_of(chosen, examples=[${row}])`;
  }
  const call = payload.examples[place].code[show];
  if (!payload.compared) return `view = explanation.at(budget=${readings[0].count} / ${readings[0].packed.gates})\n${call}`;
  const entries = payload.methods.map((method, i) => {
    const name = JSON.stringify(method.name), { count, packed, level } = readings[i];
    return `    ${name}: methods[${name}]${level ? "" : `.at(budget=${count} / ${packed.gates})`},`;
  });
  return `view = {\n${entries.join("\n")}\n}\n${call}`;
}

// The pictures side by side on the colour of the page, with the evidence beneath.
function photograph(pictures, sentences, root) {
  const parts = pictures.map((picture) => (picture.node.tagName === "CANVAS" ? picture.node : typeset(picture, root)));
  const gap = 16, line = 28, foot = line * (1 + sentences.length);
  const width = Math.max(720, parts.reduce((sum, part) => sum + part.width + gap, gap));
  const height = Math.max(...parts.map((part) => part.height)) + foot + 2 * gap;
  const canvas = make("canvas", { width, height }), context = canvas.getContext("2d");
  context.fillStyle = ground(root);
  context.fillRect(0, 0, width, height);
  let x = gap;
  for (const part of parts) {
    context.drawImage(part, x, gap);
    x += part.width + gap;
  }
  context.fillStyle = ink(root);
  context.font = "16px sans-serif";
  sentences.forEach((text, i) => context.fillText(text, gap, height - foot + line * (i + 1), width - 2 * gap));
  return canvas;
}

// The first colour behind an element that is not transparent.
function ground(node) {
  for (let at = node; at; at = at.parentElement) {
    const colour = getComputedStyle(at).backgroundColor;
    if (colour && colour !== "transparent" && !colour.endsWith(", 0)")) return colour;
  }
  return "#ffffff";
}

// Draw words on a canvas at their places on the page.
function typeset(picture, root) {
  const box = picture.node.getBoundingClientRect();
  const canvas = make("canvas", { width: Math.ceil(box.width), height: Math.ceil(box.height) });
  const context = canvas.getContext("2d");
  context.textBaseline = "middle";
  for (const span of picture.spans) {
    const style = getComputedStyle(span), at = span.getBoundingClientRect(), [x, y] = [at.left - box.left, at.top - box.top];
    context.fillStyle = style.backgroundColor;
    context.fillRect(x, y, at.width, at.height);
    context.fillStyle = rgba(KEPT, 1);
    if (span.classList.contains("stg-open")) context.fillRect(x, y + at.height - 3, at.width, 3);
    context.fillStyle = ink(root);
    context.font = style.font;
    context.fillText(span.textContent, x + 1, y + at.height / 2);
  }
  return canvas;
}

// JSON in which no text can end the script element around it.
function inert(value) {
  return JSON.stringify(value).replaceAll("<", "\\u003c");
}

// The page that Python would write, with the current picture for browsers that run no scripts.
function pageOf(model, picture) {
  const names = ["key", "payload", "methods", "example", "budget", "show", "chosen", "known"], page = model.get("page");
  const state = Object.fromEntries(names.map((name) => [name, model.get(name)]));
  const parts = { picture: picture.outerHTML, payload: inert(state), page: inert(page), script: model.get("_esm"), style: model.get("_css") };
  return page.split("%%").map((piece, i) => (i % 2 ? parts[piece] : piece)).join("");
}
