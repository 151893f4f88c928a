/* The page "Play with the latent space": seven exhibits, each in the element that names it as its data-explore.

   The data, written by `aelib/book/explorer.py`, are scripts, loaded one after the other in the order of the page: one
   that was opened from a folder may load nothing else. */
"use strict";

(() => {
  const { build, normal, sampler, unpack } = window.aelibNetwork;
  const FOLDER = new URL("explore/", document.currentScript.src);
  const AUTOENCODERS = { convolutional: "Plain autoencoder", variational: "Variational autoencoder" };
  const SIDE = 28;
  const REACH = 3; // of maps and sliders, in standard deviations to either side of the mean

  /** What each exhibit has computed last, by name; for the tests. */
  const shown = (window.aelibExplorer = {});

  // ---------------------------------------------------------------- elements

  /** An element with attributes (or, where the value is a function, listeners) and children. */
  function create(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (typeof value === "function") element.addEventListener(name, value);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== false) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  let count = 0;
  const fresh = () => `explore-${++count}`;

  /** A picture of 28×28 pixels, dark on white: its canvas, and a function that draws numbers from 0 to 1. */
  function picture(description) {
    const named = description ? { role: "img", "aria-label": description } : {};
    const canvas = create("canvas", { class: "explore-picture", width: SIDE, height: SIDE, ...named });
    const context = canvas.getContext("2d"), image = context.createImageData(SIDE, SIDE);
    const draw = (data) => {
      for (let i = 0; i < data.length; i++) {
        image.data.fill(255 * (1 - data[i]), 4 * i, 4 * i + 3);
        image.data[4 * i + 3] = 255;
      }
      context.putImageData(image, 0, 0);
    };
    return { canvas, draw };
  }

  /** A labelled slider; `spell` turns its value into words, `act` is called with each new value. */
  function slider({ label, min, max, step, value, spell }, act) {
    const id = fresh();
    const input = create("input", { id, type: "range", min, max, step, value });
    const output = create("output", { for: id });
    const show = () => {
      output.textContent = spell(Number(input.value));
      input.setAttribute("aria-valuetext", output.textContent);
    };
    input.addEventListener("input", () => {
      show();
      act(Number(input.value));
    });
    show();
    const set = (value) => {
      input.value = value;
      show();
    };
    const text = create("label", { for: id }, label);
    return { element: create("div", { class: "explore-slider" }, text, output, input), text, set };
  }

  /** One choice out of several: a fieldset of radio buttons, each inside the label that `dress` gives it. */
  function choice(legend, options, chosen, kind, act) {
    const name = fresh();
    const buttons = options.map(({ content, title }, number) => {
      const input = create("input", { type: "radio", name, checked: number === chosen, change: () => act(number) });
      if (title) input.setAttribute("aria-label", title);
      return create("label", title ? { title } : {}, input, content);
    });
    return create("fieldset", { class: `explore-choice ${kind}` }, create("legend", {}, legend),
      create("div", {}, ...buttons));
  }

  /** A choice of one of the garments, by their pictures. */
  function strip(legend, garments, chosen, act) {
    const options = garments.map(({ image, title }) => {
      const { canvas, draw } = picture();
      draw(image);
      return { content: canvas, title };
    });
    return choice(legend, options, chosen, "explore-strip", act);
  }

  const titled = (title, ...children) =>
    create("div", { class: "explore-card", role: "group", "aria-label": title },
      create("p", { class: "explore-title", "aria-hidden": "true" }, title), ...children);

  const captioned = (caption, canvas) => create("figure", {}, canvas, create("figcaption", {}, caption));

  /** A line that screen readers read out when it changes. */
  const status = () => create("p", { class: "explore-status", role: "status" });

  function say(line, text) {
    if (line.textContent !== text) line.textContent = text;
  }

  // ---------------------------------------------------------------- data

  const loading = {};

  /** A network has a layer that cannot be computed here. */
  class Missing extends Error {}

  /** The data of that name, loaded once. */
  function load(name) {
    loading[name] ??= new Promise((resolve, reject) => {
      const done = () => {
        const data = window.aelibData[name];
        if (data.missing) reject(new Missing(`This exhibit is left out: ${data.missing}.`));
        else resolve(data);
      };
      const failed = () => reject(new Error(`${name}.js could not be loaded`));
      document.head.append(create("script", { src: new URL(`${name}.js`, FOLDER), load: done, error: failed }));
    });
    return loading[name];
  }

  let collection;

  /** Classes and colours, and the garments of the strips: their pictures and what they are called. */
  function loadGarments() {
    collection ??= load("garments").then(({ classes, colours, labels, images }) => {
      const pixels = unpack(images).data;
      const garments = labels.map((label, number) => ({
        image: pixels.subarray(number * SIDE ** 2, (number + 1) * SIDE ** 2),
        title: `${classes[label]} ${labels.slice(0, number + 1).filter((other) => other === label).length}`,
      }));
      return { classes, colours, garments };
    });
    return collection;
  }

  /** The latent space of an autoencoder, and the point in it that the map and the sliders move together. */
  class Space {
    constructor({ encoder, decoder, samplers, space }, classes) {
      Object.assign(this, space, { classes, encode: build(encoder), run: build(decoder), listeners: [] });
      this.samplers = Object.fromEntries(Object.entries(samplers).map(([name, each]) => [name, sampler(each)]));
      this.mean = Float32Array.from(space.mean);
      for (const name of ["codes", "garments", "directions"]) this[name] = rows(unpack(space[name]));
      this.position = this.directions.map(() => 0); // in standard deviations along each direction
    }

    decode(code) {
      return this.run({ data: code, shape: [code.length] }).data;
    }

    /** The code at `position`. */
    get code() {
      return this.mean.map((mean, unit) => this.directions.reduce(
        (sum, direction, k) => sum + this.position[k] * this.deviations[k] * direction[unit], mean));
    }

    /** Change some coordinates of the position, by number. */
    move(changes) {
      for (const [k, value] of Object.entries(changes)) this.position[k] = Math.max(-REACH, Math.min(REACH, value));
      this.tell();
    }

    tell() {
      const code = this.code, output = this.decode(code), nearest = this.nearest(code);
      for (const listener of this.listeners) listener({ code, output, nearest });
    }

    /** Coordinate of `code` along direction k, in standard deviations. */
    along(code, k) {
      return code.reduce((sum, value, unit) => sum + (value - this.mean[unit]) * this.directions[k][unit], 0)
        / (this.deviations[k] || 1);
    }

    /** In words: the class of the test code, of those on the map, that lies nearest to `code` in all dimensions. */
    nearest(code) {
      let best = 0, shortest = Infinity;
      this.codes.forEach((other, number) => {
        let distance = 0;
        for (let unit = 0; unit < code.length; unit++) distance += (code[unit] - other[unit]) ** 2;
        if (distance < shortest) [best, shortest] = [number, distance];
      });
      return `Nearest test garment: ${this.classes[this.labels[best]]}`;
    }
  }

  function rows({ data, shape: [number, length] }) {
    return Array.from({ length: number }, (_, row) => data.subarray(row * length, (row + 1) * length));
  }

  const spaces = {};

  function loadSpace(name) {
    spaces[name] ??= Promise.all([load(name), loadGarments()]).then(([data, { classes }]) => new Space(data, classes));
    return spaces[name];
  }

  let denoiser;

  /** The halves of the denoising autoencoder. */
  function loadDenoiser() {
    denoiser ??= load("denoising").then((data) => ({ encode: build(data.encoder), decode: build(data.decoder) }));
    return denoiser;
  }

  /** The mean squared error of a picture against the original, in words. */
  const error = (image, original) =>
    (image.reduce((sum, value, i) => sum + (value - original[i]) ** 2, 0) / SIDE ** 2).toFixed(3);

  const loadSpaces = () => Promise.all(Object.keys(AUTOENCODERS).map(loadSpace));

  const share = (value) => (value < 0.01 ? "less than 1 %" : `${Math.round(100 * value)} %`);
  const signed = (value) => (value < 0 ? "−" : value > 0 ? "+" : "") + Math.abs(value).toFixed(1);

  // ---------------------------------------------------------------- the map

  async function showMaps(place) {
    const [{ classes, colours }, models] = await Promise.all([loadGarments(), loadSpaces()]);
    const cards = Object.entries(AUTOENCODERS).map(([name, title], number) => {
      const space = models[number], { canvas, draw } = picture(`What the decoder draws: ${title.toLowerCase()}`);
      const line = status();
      const map = latentMap(space, colours, title);
      space.listeners.push(({ code, output, nearest }) => {
        draw(output);
        say(line, nearest);
        shown[`map.${name}`] = { code, output };
      });
      return titled(title, map, create("div", { class: "explore-result" }, canvas, line));
    });
    const legend = classes.map((name, label) =>
      create("li", {}, create("span", { class: "explore-dot", style: `background: ${colours[label]}` }), name));
    place.replaceChildren(
      create("ul", { class: "explore-legend", "aria-label": "Colours of the classes" }, ...legend),
      create("div", { class: "explore-cards" }, ...cards));
    models.forEach((space) => space.tell());
  }

  /** A canvas with the test codes as dots, and the point, which pointer and keys move. */
  function latentMap(space, colours, title) {
    const size = 640, middle = size / 2, unit = middle / REACH; // twice the pixels that it is shown at
    const help = "Arrow keys move the point, with Shift in larger steps; Home brings it back to the mean code.";
    const canvas = create("canvas", {
      class: "explore-map", width: size, height: size, tabindex: 0, role: "application",
      "aria-label": `Map of the latent space: ${title.toLowerCase()}. ${help}`,
    });
    const context = canvas.getContext("2d");
    const dots = create("canvas", { width: size, height: size });
    drawDots(dots.getContext("2d"));

    function drawDots(paper) {
      paper.fillStyle = "white";
      paper.fillRect(0, 0, size, size);
      paper.fillStyle = "#dddddd";
      paper.fillRect(0, middle - 1, size, 2);
      paper.fillRect(middle - 1, 0, 2, size);
      paper.globalAlpha = 0.7;
      space.codes.forEach((code, number) => {
        paper.fillStyle = colours[space.labels[number]];
        paper.beginPath();
        paper.arc(middle + unit * space.along(code, 0), middle - unit * space.along(code, 1), 4, 0, 2 * Math.PI);
        paper.fill();
      });
      paper.globalAlpha = 1;
      paper.font = "22px sans-serif";
      paper.lineWidth = 6;
      paper.textAlign = "right";
      const label = (text, x, y) => {
        paper.strokeStyle = "white";
        paper.strokeText(text, x, y);
        paper.fillStyle = "#333333";
        paper.fillText(text, x, y);
      };
      label(`direction 1 (${share(space.shares[0])}) →`, size - 10, size - 14);
      paper.rotate(-Math.PI / 2);
      label(`direction 2 (${share(space.shares[1])}) →`, -10, 26);
    }

    space.listeners.push(() => {
      const x = middle + unit * space.position[0], y = middle - unit * space.position[1];
      context.drawImage(dots, 0, 0);
      for (const [radius, width, colour] of [[15, 10, "white"], [15, 5, "black"]]) {
        context.beginPath();
        context.arc(x, y, radius, 0, 2 * Math.PI);
        context.lineWidth = width;
        context.strokeStyle = colour;
        context.stroke();
      }
    });

    const follow = (event) => {
      const { left, top, width } = canvas.getBoundingClientRect();
      const coordinate = (distance) => REACH * (2 * distance / width - 1);
      space.move([coordinate(event.clientX - left), -coordinate(event.clientY - top)]);
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      follow(event);
    });
    canvas.addEventListener("pointermove", (event) => event.buttons && follow(event));
    canvas.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 0.5 : 0.1, [x, y] = space.position;
      const goals = {
        ArrowLeft: [x - step, y], ArrowRight: [x + step, y], ArrowUp: [x, y + step], ArrowDown: [x, y - step],
        Home: [0, 0],
      };
      if (!(event.key in goals) || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault(); // the page stays where it is
      space.move(goals[event.key]);
    });
    return canvas;
  }

  // ---------------------------------------------------------------- the directions

  async function showDirections(place) {
    const models = await loadSpaces();
    let space = models[0];
    const { canvas, draw } = picture("What the decoder draws");
    const line = status(), panel = create("div", { class: "explore-sliders" });
    let sliders = [];

    function choose(number) {
      space = models[number];
      sliders = space.shares.map((carried, k) => slider(
        {
          label: `Direction ${k + 1} (${share(carried)})`, min: -REACH, max: REACH, step: 0.1,
          value: space.position[k], spell: (value) => `${signed(value)} σ`,
        },
        (value) => space.move({ [k]: value }),
      ));
      panel.replaceChildren(...sliders.map(({ element }) => element));
      space.tell();
    }

    models.forEach((each) => each.listeners.push(({ code, output, nearest }) => {
      if (each !== space) return;
      sliders.forEach(({ set }, k) => set(space.position[k]));
      draw(output);
      say(line, nearest);
      shown.directions = { code, output };
    }));
    const reset = create("button", { type: "button", click: () => space.move(space.position.map(() => 0)) },
      "Reset all directions");
    place.replaceChildren(
      choice("Model", Object.values(AUTOENCODERS).map((content) => ({ content })), 0, "explore-models", choose),
      create("div", { class: "explore-bench" }, panel, create("div", { class: "explore-result" }, canvas, line, reset)));
    choose(0);
  }

  // ---------------------------------------------------------------- the walk

  async function showWalk(place) {
    const [{ garments }, models] = await Promise.all([loadGarments(), loadSpaces()]);
    const ends = [2, 16]; // a pair of trousers, a bag
    let t = 0.5;
    const originals = ["Start", "End"].map((end) => picture(`${end}: the test garment itself`));
    const cards = Object.entries(AUTOENCODERS).map(([name, title], number) => {
      const space = models[number], line = status();
      const { canvas, draw } = picture(`What the decoder draws on the way: ${title.toLowerCase()}`);
      const update = () => {
        const [from, to] = ends.map((end) => space.garments[end]);
        const code = from.map((value, unit) => (1 - t) * value + t * to[unit]);
        const output = space.decode(code);
        draw(output);
        say(line, space.nearest(code));
        shown[`walk.${name}`] = { code, output };
      };
      return { update, element: titled(title, create("div", { class: "explore-result" }, canvas, line)) };
    });

    function update() {
      originals.forEach(({ draw }, end) => draw(garments[ends[end]].image));
      cards.forEach((card) => card.update());
    }

    const strips = ["Start", "End"].map((legend, end) => strip(legend, garments, ends[end], (number) => {
      ends[end] = number;
      update();
    }));
    const way = slider(
      { label: "t, from start to end", min: 0, max: 1, step: 0.01, value: t, spell: (value) => value.toFixed(2) },
      (value) => {
        t = value;
        update();
      });
    place.replaceChildren(
      create("div", { class: "explore-cards" }, ...strips),
      create("div", { class: "explore-way" }, captioned("start", originals[0].canvas), way.element,
        captioned("end", originals[1].canvas)),
      create("div", { class: "explore-cards" }, ...cards.map(({ element }) => element)));
    update();
  }

  // ---------------------------------------------------------------- new garments

  const SAMPLERS = {
    box: "The report's box", gaussian: "One Gaussian", mixture_10: "A mixture of ten", mixture_50: "A mixture of fifty",
  };
  const DRAWN = 8; // pictures of each model

  async function showDraw(place) {
    const models = await loadSpaces();
    let chosen = "box";
    const cards = Object.entries(AUTOENCODERS).map(([name, title], number) => {
      const pictures = Array.from({ length: DRAWN }, (_, k) => picture(`Drawn garment ${k + 1}: ${title.toLowerCase()}`));
      const update = () => pictures.forEach(({ draw }, k) => {
        const code = models[number].samplers[chosen](), output = models[number].decode(code);
        draw(output);
        shown[`draw.${name}.${k}`] = { code, output };
      });
      return { update, element: titled(title,
        create("div", { class: "explore-wall" }, ...pictures.map(({ canvas }) => canvas))) };
    });
    const update = () => cards.forEach((card) => card.update());
    const names = Object.keys(SAMPLERS), options = names.map((name) => ({ content: SAMPLERS[name] }));
    place.replaceChildren(
      choice("Where codes are drawn from", options, 0, "explore-models", (number) => {
        chosen = names[number];
        update();
      }),
      create("div", { class: "explore-buttons" }, create("button", { type: "button", click: update }, "Draw others")),
      create("div", { class: "explore-cards" }, ...cards.map(({ element }) => element)));
    update();
  }

  // ---------------------------------------------------------------- along β

  /** Pictures that networks trained with one β after the other have drawn: the one exhibit that computes none itself. */
  async function showLadder(place) {
    const [{ garments }, { steps }] = await Promise.all([loadGarments(), load("ladder")]);
    const of = steps.map(({ garments, drawn }) => ({ garments: rows(unpack(garments)), drawn: rows(unpack(drawn)) }));
    let at = steps.findIndex(({ beta }) => beta === 2), chosen = 0;
    const original = picture("The test garment itself"), again = picture("What the network makes of it");
    const walls = of[0].drawn.map((_, k) => picture(`Drawn garment ${k + 1}`));
    const line = status();
    function update() {
      const { beta, nats, units, error } = steps[at];
      original.draw(garments[chosen].image);
      again.draw(of[at].garments[chosen]);
      walls.forEach(({ draw }, k) => draw(of[at].drawn[k]));
      say(line, `A code says ${nats.toFixed(1)} nats about a test image, with ${units} of its numbers; `
        + `mean squared error ${error.toFixed(4)}.`);
      shown.ladder = { code: [beta], output: of[at].garments[chosen] };
    }
    const along = slider(
      { label: "β", min: 0, max: steps.length - 1, step: 1, value: at, spell: (value) => String(steps[value].beta) },
      (value) => {
        at = value;
        update();
      });
    place.replaceChildren(
      along.element,
      line,
      strip("Garment", garments, chosen, (number) => {
        chosen = number;
        update();
      }),
      create("div", { class: "explore-cards" },
        titled("A garment, drawn back", create("div", { class: "explore-row explore-pair" },
          captioned("the garment", original.canvas), captioned("drawn back", again.canvas))),
        titled("Garments from the prior",
          create("div", { class: "explore-wall" }, ...walls.map(({ canvas }) => canvas)))));
    update();
  }

  // ---------------------------------------------------------------- the repair

  /** Edges of a rectangle like those of `aelib.corruption.erase`: 2 to 33 % of the image, at most 3.3 times as long as wide. */
  function rectangle() {
    for (;;) {
      const pixels = (0.02 + 0.31 * Math.random()) * SIDE ** 2;
      const aspect = Math.exp((2 * Math.random() - 1) * Math.log(3.3));
      const height = Math.round(Math.sqrt(pixels * aspect)), width = Math.round(Math.sqrt(pixels / aspect));
      if (height >= SIDE || width >= SIDE) continue;
      const top = Math.floor(Math.random() * (SIDE - height + 1)), left = Math.floor(Math.random() * (SIDE - width + 1));
      return { top, left, bottom: top + height, right: left + width };
    }
  }

  /** `image` after flips, noise and an erased rectangle, in the order of training. */
  function damaged(image, { horizontal, vertical, noise, strength, hole }) {
    return image.map((_, pixel) => {
      const y = Math.floor(pixel / SIDE), x = pixel % SIDE;
      if (hole && y >= hole.top && y < hole.bottom && x >= hole.left && x < hole.right) return 0;
      const value = image[(vertical ? SIDE - 1 - y : y) * SIDE + (horizontal ? SIDE - 1 - x : x)];
      return Math.max(0, Math.min(1, value + strength * noise[pixel]));
    });
  }

  async function showRepair(place) {
    const [{ garments }, { encode, decode }] = await Promise.all([loadGarments(), loadDenoiser()]);
    const drawNoise = () => Float32Array.from({ length: SIDE ** 2 }, normal);
    const damage = { horizontal: false, vertical: false, noise: drawNoise(), strength: 0.4, hole: null };
    let garment = garments[16];
    const pictures = ["Original", "Damaged", "Restored"].map((title) => ({ title, ...picture(`${title} garment`) }));
    const line = status();

    function update() {
      const input = damaged(garment.image, damage);
      const code = encode({ data: input, shape: [1, SIDE, SIDE] });
      const output = decode(code).data;
      [garment.image, input, output].forEach((image, number) => pictures[number].draw(image));
      say(line, `Mean squared error against the original: damaged ${error(input, garment.image)}, `
        + `restored ${error(output, garment.image)}`);
      shown.repair = { input, code: code.data, output };
    }

    const toggle = (text, flip) => {
      const button = create("button", { type: "button", "aria-pressed": "false", click: () => {
        const on = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", on);
        flip(on);
        update();
      } }, text);
      return button;
    };
    const strength = slider(
      {
        label: "Standard deviation of the noise", min: 0, max: 1, step: 0.01, value: damage.strength,
        spell: (value) => value.toFixed(2),
      },
      (value) => {
        damage.strength = value;
        update();
      });
    const buttons = [
      toggle("Flip left and right", (on) => (damage.horizontal = on)),
      toggle("Flip upside down", (on) => (damage.vertical = on)),
      toggle("Erase a rectangle", (on) => (damage.hole = on ? rectangle() : null)),
      create("button", { type: "button", click: () => {
        damage.noise = drawNoise();
        update();
      } }, "Draw new noise"),
    ];
    place.replaceChildren(
      strip("Garment", garments, garments.indexOf(garment), (number) => {
        garment = garments[number];
        update();
      }),
      strength.element, create("div", { class: "explore-buttons" }, ...buttons),
      create("div", { class: "explore-row" }, ...pictures.map(({ title, canvas }) => captioned(title.toLowerCase(), canvas))),
      line);
    update();
  }

  // ---------------------------------------------------------------- a garment of one's own

  const PEN = 1.5, RUBBER = 2.5; // their radii, in pixels: soft edges are rubbed out, too

  /** A file's picture, the whole of it on a white ground: pixels from 0, white, to 1. */
  async function pixelsOf(file) {
    const whole = await createImageBitmap(file);
    const scale = SIDE / Math.max(whole.width, whole.height);
    const [width, height] = [whole.width, whole.height].map((length) => Math.max(1, Math.round(length * scale)));
    const small = await createImageBitmap(whole, { resizeWidth: width, resizeHeight: height, resizeQuality: "high" });
    const context = create("canvas", { width: SIDE, height: SIDE }).getContext("2d");
    context.fillStyle = "white";
    context.fillRect(0, 0, SIDE, SIDE);
    context.drawImage(small, Math.floor((SIDE - width) / 2), Math.floor((SIDE - height) / 2));
    const { data } = context.getImageData(0, 0, SIDE, SIDE);
    return Float32Array.from({ length: SIDE ** 2 }, (_, pixel) => {
      const [red, green, blue] = data.subarray(4 * pixel, 4 * pixel + 3);
      return 1 - (0.299 * red + 0.587 * green + 0.114 * blue) / 255;
    });
  }

  /** A picture that pointer and keys draw on; `act` is called when its `image` has changed, `tell` with what the keys do. */
  function pad(act, tell) {
    const { canvas, draw } = picture();
    const help = "Arrow keys move the pen, Home brings it to the middle, the space bar puts it down or lifts it.";
    for (const [name, value] of Object.entries({
      class: "explore-picture explore-pad", tabindex: 0, role: "application", "aria-label": `Drawing. ${help}`,
    })) canvas.setAttribute(name, value);
    const sheet = { canvas, image: new Float32Array(SIDE ** 2), ink: 1 };
    const MIDDLE = [SIDE / 2 + 0.5, SIDE / 2 + 0.5];
    let pen = null, down = false; // where it is, and whether it draws, by the keys

    function show() {
      const seen = sheet.image.slice();
      if (pen) {
        const pixel = Math.floor(pen[1]) * SIDE + Math.floor(pen[0]);
        seen[pixel] = seen[pixel] > 0.5 ? 0.2 : 0.8;
      }
      draw(seen);
      act();
    }

    function dot([x, y]) {
      sheet.image.forEach((before, pixel) => {
        const distance = Math.hypot(pixel % SIDE + 0.5 - x, Math.floor(pixel / SIDE) + 0.5 - y);
        const much = Math.max(0, Math.min(1, (sheet.ink ? PEN : RUBBER) + 0.5 - distance));
        sheet.image[pixel] = sheet.ink ? Math.max(before, much) : Math.min(before, 1 - much);
      });
    }

    /** Draw along the line from where the pen was. */
    function line(from, to) {
      const steps = Math.max(1, Math.ceil(2 * Math.hypot(to[0] - from[0], to[1] - from[1])));
      for (let step = 0; step <= steps; step++) dot(from.map((start, k) => start + (to[k] - start) * step / steps));
      show();
    }

    sheet.set = (image) => {
      sheet.image = Float32Array.from(image);
      show();
    };

    let last;
    const where = (event) => {
      const { left, top, width } = canvas.getBoundingClientRect();
      return [(event.clientX - left) * SIDE / width, (event.clientY - top) * SIDE / width];
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pen = null;
      last = where(event);
      line(last, last);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!event.buttons) return;
      const from = last;
      last = where(event);
      line(from, last);
    });
    canvas.addEventListener("keydown", (event) => {
      const moves = {
        ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], " ": [0, 0], Home: [0, 0],
      };
      if (!(event.key in moves) || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault(); // the page stays where it is
      const before = event.key === "Home" ? MIDDLE : pen ?? MIDDLE;
      pen = before.map((value, k) => Math.max(0.5, Math.min(SIDE - 0.5, value + moves[event.key][k])));
      if (event.key === " ") down = !down;
      if (down) line(before, pen);
      else show();
      if (event.key === " ") tell(down ? "The pen is down." : "The pen is lifted.");
    });
    canvas.addEventListener("focus", () => {
      if (!canvas.matches(":focus-visible")) return; // it was clicked
      pen ??= MIDDLE;
      show();
    });
    canvas.addEventListener("blur", () => {
      pen = null;
      down = false;
      show();
    });
    return sheet;
  }

  async function showOwn(place) {
    const [{ garments }, spaces, repair] = await Promise.all([loadGarments(), loadSpaces(), loadDenoiser()]);
    const networks = Object.fromEntries(Object.entries(AUTOENCODERS).map(
      ([name, title], number) => [name, { title, encode: spaces[number].encode, decode: spaces[number].run }]));
    networks.denoising = { title: "Denoising autoencoder", ...repair };
    const cards = Object.entries(networks).map(([name, { title, encode, decode }]) => {
      const { canvas, draw } = picture(`What the ${title.toLowerCase()} makes of it`), caption = create("figcaption");
      const update = (image) => {
        const code = encode({ data: image, shape: [1, SIDE, SIDE] }), output = decode(code).data;
        draw(output);
        caption.textContent = `${title}: error ${error(output, image)}`;
        shown[`own.${name}`] = { input: image, code: code.data, output };
      };
      return { update, element: create("figure", {}, canvas, caption) };
    });
    const line = status();
    const sheet = pad(() => {
      cards.forEach(({ update }) => update(sheet.image));
      say(line, "");
    }, (text) => say(line, text));
    const begin = strip("Begin with a garment", garments, 0, (number) => sheet.set(garments[number].image));
    /** Another picture, which is none of the garments any more: each can be chosen again. */
    const other = (image) => {
      for (const button of begin.querySelectorAll("input")) button.checked = false;
      sheet.set(image);
    };
    const file = create("input", { id: fresh(), type: "file", accept: "image/*", change: () => {
      if (!file.files.length) return;
      const { name } = file.files[0];
      pixelsOf(file.files[0]).then(other, () => say(line, `${name} is no picture that this browser can read.`));
      file.value = ""; // so that the same file can be chosen again
    } });
    const button = (text, change) =>
      create("button", { type: "button", click: () => other(sheet.image.map(change)) }, text);
    place.replaceChildren(
      begin,
      create("div", { class: "explore-buttons" },
        create("label", {}, "Or with a picture of yours: ", file)),
      create("div", { class: "explore-buttons" },
        button("Clear", () => 0), button("Turn light and dark", (value) => 1 - value)),
      choice("Pen", [{ content: "draws" }, { content: "rubs out" }], 0, "explore-models", (number) => {
        sheet.ink = 1 - number;
      }),
      create("div", { class: "explore-row explore-own" }, captioned("Yours: draw here", sheet.canvas),
        ...cards.map(({ element }) => element)),
      line);
    sheet.set(garments[0].image);
  }

  // ---------------------------------------------------------------- the page

  const EXHIBITS = {
    map: showMaps, directions: showDirections, walk: showWalk, draw: showDraw, ladder: showLadder, repair: showRepair,
    own: showOwn,
  };

  // One after the other, those first that are seen first, and all of them: paper shows them, too.
  const places = [...document.querySelectorAll("[data-explore]")];
  for (const place of places) place.textContent = "Loading the network …";
  places.reduce(async (before, place) => {
    await before;
    await EXHIBITS[place.dataset.explore](place).catch((error) => {
      place.textContent = error instanceof Missing ? error.message : `Sorry: ${error.message}.`;
      if (!(error instanceof Missing)) setTimeout(() => { throw error; }); // for the console; the others go on
    });
  }, null);
})();
