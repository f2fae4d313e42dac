// Every text of a job reaches the page as text (append, textContent, setAttribute of fixed names),
// and every address was made safe when the page was written. Nothing here parses markup.
"use strict";
(() => {
  const CHUNK = 60;
  const AHEAD = "1500px";
  const OUTCOMES = ["done", "failed", "in doubt", "left"];
  const LABELS = { "done": "Done", "failed": "Failed", "in doubt": "In doubt", "left": "Left" };

  const find = (selector) => document.querySelector(selector);
  const main = find("main"), bar = find(".bar"), filters = find(".filters");
  const search = find("search input"), showing = find(".showing"), light = find("dialog");
  const number = new Intl.NumberFormat("en");
  const slug = (outcome) => outcome.replace(" ", "-");
  const plural = (count, word) => `${number.format(count)} ${word}${count === 1 ? "" : "s"}`;

  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child !== null));
    return element;
  }

  function button(attributes, act, ...children) {
    const element = make("button", { type: "button", ...attributes }, ...children);
    element.addEventListener("click", act);
    return element;
  }

  // ---- the jobs ----

  const data = find("#entries");
  const entries = JSON.parse(data.textContent).map(
    ([title, outcome, source, pictures, prompt, parameters, seed, task, missing, error]) =>
      ({ title, outcome, source, pictures, prompt, parameters, seed, task, missing, error, open: false, text: null })
  );
  data.remove();

  // The source first, where there is one, then the results.
  function framesOf(entry) {
    const [, width, height] = entry.pictures[0] || [null, 512, 512];
    const count = entry.pictures.length;
    const results = entry.pictures.map(([address, w, h], index) => ({
      address, width: w, height: h, label: count === 1 ? "Result" : `Result ${index + 1} of ${count}`, result: true,
    }));
    return entry.source === null ? results : [{ address: entry.source, width, height, label: "Source", result: false }, ...results];
  }

  function textOf(entry) {
    entry.text ??= `${entry.title}\n${entry.prompt}\n${entry.task ?? ""}`.normalize("NFC").toLowerCase();
    return entry.text;
  }

  // ---- one card ----

  const gone = () => make("span", { class: "gone" }, "not here any more");
  // Errors of pictures do not bubble, but they can be caught on their way down.
  document.addEventListener("error", (event) => {
    if (event.target instanceof HTMLImageElement) event.target.replaceWith(gone());
  }, true);

  // `loading` stands before `src`: later it would come too late.
  function image(frame, entry, lazy) {
    return make("img", { alt: `${frame.label}: ${entry.title}`, ...(lazy ? { loading: "lazy" } : {}), decoding: "async", src: frame.address });
  }

  // A box much wider or higher than the others would break the row; its picture is still seen whole.
  const tamed = (frame) => Math.min(2, Math.max(0.5, frame.width / frame.height || 1));

  function tile(frame, entry, act) {
    const tag = frame.result ? null : make("span", { class: "tag", "aria-hidden": "true" }, "source");
    return button({ class: frame.result ? "tile" : "tile source" }, act, image(frame, entry, true), tag);
  }

  async function copy(event) {
    const element = event.currentTarget, text = element.textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      getSelection().selectAllChildren(element);
      return;
    }
    showing.textContent = `Copied ${text}`;
    setTimeout(count, 1500);
  }

  const fact = (name, value) => make("div", null, make("dt", null, name), make("dd", { dir: "auto" }, value));

  function facts(entry) {
    const copied = (value) => button({ class: "copy", title: `Copy ${value}` }, copy, value);
    const ids = make("dl", { class: "ids" });
    if (entry.seed !== null) ids.append(fact("seed", copied(entry.seed)));
    if (entry.task !== null) ids.append(fact("task", copied(entry.task)));
    const named = make("dl", null, ...entry.parameters.map(([name, value]) => fact(name, value)));
    return [named, ids].filter((list) => list.firstChild);
  }

  function about(entry) {
    const prompt = make("p", { class: entry.open ? "prompt" : "prompt short", dir: "auto" }, entry.prompt);
    const more = button({ class: "more", "aria-expanded": entry.open }, () => {
      entry.open = !entry.open;
      prompt.classList.toggle("short", !entry.open);
      more.setAttribute("aria-expanded", entry.open);
      more.textContent = entry.open ? "Show less" : "Show all";
    }, entry.open ? "Show less" : "Show all");
    more.hidden = !entry.open;
    const outcome = make("p", { class: `outcome ${slug(entry.outcome)}` }, LABELS[entry.outcome]);
    return make("div", { class: "about" }, outcome, make("h2", { dir: "auto", title: entry.title }, entry.title),
      ...(entry.prompt ? [prompt, more] : []), ...facts(entry));
  }

  function shots(entry, position) {
    const frames = framesOf(entry), sourced = entry.source !== null;
    const results = entry.pictures.length + (entry.missing > 0 ? 1 : 0);
    const lines = results > 4 ? 2 : 1;
    const box = make("div", { class: sourced ? "shots sourced" : "shots" },
      ...frames.map((frame, index) => {
        const made = tile(frame, entry, () => show(position, index));
        made.style.setProperty("--ratio", tamed(frame));
        return made;
      }),
      entry.missing > 0 ? make("p", { class: "blank" }, `${entry.missing} not made`) : null);
    box.style.setProperty("--lines", lines);
    box.style.setProperty("--across", Math.max(1, Math.ceil(results / lines)));
    box.style.setProperty("--narrow", [1, 2, 2, 3, 2][results + (sourced ? 1 : 0)] ?? 3);
    return box;
  }

  function work(entry, position) {
    const pictures = shots(entry, position);
    const reason = entry.error
      ? make("div", { class: "reason", tabindex: "0", role: "group", "aria-label": "Reason" }, make("p", { dir: "auto" }, entry.error))
      : null;
    const bare = pictures.querySelectorAll(".tile:not(.source), .blank").length === 0 ? " bare" : "";
    const box = make("div", { class: `work ${slug(entry.outcome)}${bare}` }, pictures.firstChild ? pictures : null, reason);
    const frame = framesOf(entry)[0];
    const ratio = frame ? tamed(frame) : 1;
    box.style.setProperty("--ratio", ratio);
    // Pictures of all shapes get the same area.
    box.style.setProperty("--root", Math.sqrt(ratio).toFixed(3));
    return box;
  }

  function card(position) {
    const entry = entries[shown[position]];
    return make("article", { "data-position": position, "aria-label": entry.title }, about(entry), work(entry, position));
  }

  // ---- the list: chunks far from what is seen are emptied, and keep their height ----

  let shown = [];
  let rowHeight = 260;
  const watcher = new IntersectionObserver((changes) => {
    for (const { target, isIntersecting } of changes) isIntersecting ? fill(target) : empty(target);
  }, { rootMargin: AHEAD });

  const countIn = (chunk) => Math.min(CHUNK, shown.length - chunk.dataset.start);
  const guess = (chunk) => { chunk.style.height = `${countIn(chunk) * rowHeight}px`; };

  function fill(chunk) {
    if (chunk.firstChild) return;
    const start = Number(chunk.dataset.start);
    chunk.style.height = "";
    chunk.append(...Array.from({ length: countIn(chunk) }, (_, index) => card(start + index)));
    offerMore(chunk);
  }

  function empty(chunk) {
    if (!chunk.firstChild || chunk.contains(document.activeElement)) return;
    chunk.style.height = `${chunk.getBoundingClientRect().height}px`;
    chunk.replaceChildren();
  }

  // All is read before anything is written, so that the browser lays out once.
  function offerMore(chunk) {
    const cut = [...chunk.querySelectorAll(".prompt.short")].map((prompt) => [prompt, prompt.scrollHeight > prompt.clientHeight + 2]);
    for (const [prompt, isCut] of cut) prompt.nextElementSibling.hidden = !isCut;
  }

  function measure() {
    const chunk = [...main.children].find((child) => child.firstChild && child.dataset.start);
    if (chunk) rowHeight = chunk.getBoundingClientRect().height / countIn(chunk);
  }

  function list() {
    watcher.disconnect();
    main.replaceChildren();
    if (shown.length === 0) main.append(make("p", { class: "empty" }, entries.length ? "No job matches." : "There are no jobs yet."));
    const chunks = [];
    for (let start = 0; start < shown.length; start += CHUNK) chunks.push(make("div", { class: "chunk", "data-start": start }));
    main.append(...chunks);
    if (chunks.length) fill(chunks[0]);
    measure();
    chunks.slice(1).forEach(guess);
    chunks.forEach((chunk) => watcher.observe(chunk));
  }

  let width = innerWidth;
  addEventListener("resize", () => {
    if (width === innerWidth) return;
    width = innerWidth;
    measure();
    for (const chunk of main.querySelectorAll(".chunk")) chunk.firstChild ? offerMore(chunk) : guess(chunk);
  });

  // ---- filters and search; the address keeps them ----

  let wanted = null, ours = location.hash;
  const totals = Object.fromEntries(OUTCOMES.map((outcome) => [outcome, 0]));
  for (const entry of entries) totals[entry.outcome] += 1;

  const choices = [null, ...OUTCOMES].map((outcome) => {
    const total = outcome === null ? entries.length : totals[outcome];
    const choice = button({}, () => { go(outcome); }, outcome === null ? "All" : LABELS[outcome], make("span", null, number.format(total)));
    filters.append(choice);
    return [outcome, choice];
  });

  const addressOf = (outcome, words) => `#${outcome === null ? "all" : slug(outcome)}${words && `&q=${encodeURIComponent(words)}`}`;

  function go(outcome) {
    location.hash = addressOf(outcome, search.value.trim());
    ours = location.hash;
    choose();
  }

  function readAddress() {
    const [name, words] = location.hash.slice(1).split("&q=", 2);
    wanted = OUTCOMES.find((outcome) => slug(outcome) === name) ?? null;
    let said = "";
    try {
      said = decodeURIComponent(words ?? "");
    } catch {
      // Somebody else's address: no words.
    }
    // A space that was just typed stays.
    if (search.value.trim() !== said) search.value = said;
  }

  function count() {
    showing.textContent = shown.length === entries.length ? plural(entries.length, "job") : `${number.format(shown.length)} of ${plural(entries.length, "job")}`;
  }

  let last = null;
  function choose() {
    readAddress();
    const words = search.value.normalize("NFC").toLowerCase().split(/\s+/).filter(Boolean);
    const key = JSON.stringify([wanted, words]);
    if (key === last) return;
    const isFirst = last === null;
    last = key;
    shown = [];
    entries.forEach((entry, index) => {
      if ((wanted === null || entry.outcome === wanted) && words.every((word) => textOf(entry).includes(word))) shown.push(index);
    });
    for (const [outcome, choice] of choices) choice.setAttribute("aria-pressed", outcome === wanted);
    list();
    count();
    const above = find("header").offsetHeight;
    if (!isFirst && scrollY > above) scrollTo(0, above);
  }

  let typing = 0;
  search.addEventListener("input", () => {
    clearTimeout(typing);
    // Not a step back for every letter.
    typing = setTimeout(() => {
      location.replace(addressOf(wanted, search.value.trim()));
      ours = location.hash;
      choose();
    }, 150);
  });
  // Told late: our own address is not read back into what was typed meanwhile.
  addEventListener("hashchange", () => {
    if (location.hash === ours) return;
    ours = location.hash;
    choose();
  });
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || light.open || event.target === search || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    search.focus();
  });

  // ---- one picture, large ----

  let at = null; // [position in the list, index of the picture]
  let comparing = false;

  function show(position, index) {
    at = [position, index];
    draw();
  }

  // Where a step from here leads: to the next picture, or on to the next job that has one.
  function next(step) {
    const [position, index] = at;
    const frames = framesOf(entries[shown[position]]);
    const follow = index + step;
    const isSkipped = comparing && frames[follow] && !frames[follow].result;
    if (follow >= 0 && follow < frames.length && !isSkipped) return [position, follow];
    return nextJob(step, step > 0 ? "first" : "last");
  }

  function nextJob(step, which) {
    for (let position = at[0] + step; position >= 0 && position < shown.length; position += step) {
      const frames = framesOf(entries[shown[position]]);
      if (frames.length === 0) continue;
      const first = comparing && frames.length > 1 && !frames[0].result ? 1 : 0;
      return [position, which === "last" ? frames.length - 1 : first];
    }
    return null;
  }

  const turn = (target) => { if (target) show(...target); };

  function figure(frame, entry, tag) {
    const box = make("figure", { class: "frame" }, image(frame, entry, false), tag ? make("span", { class: "tag" }, tag) : null);
    size(box, frame.width, frame.height);
    if (!frame.result) {
      // The size of a source is known only now.
      const picture = box.firstChild;
      picture.addEventListener("load", () => size(box, picture.naturalWidth, picture.naturalHeight));
    }
    return box;
  }

  function size(box, w, h) {
    box.style.setProperty("--ratio", w / h || 1);
    box.style.setProperty("--natural", Math.max(w, 64));
  }

  // Of the same shape: one over the other, with a handle. Otherwise: side by side.
  function comparison(source, frame, entry) {
    const after = figure(frame, entry, "result"), before = image(source, entry, false);
    const view = make("div", { class: "view beside" }, figure(source, entry, "source"), after);
    before.addEventListener("load", () => {
      const ratio = before.naturalWidth / before.naturalHeight / (frame.width / frame.height);
      if (Math.abs(ratio - 1) > 0.02) return;
      const range = make("input", { type: "range", min: "0", max: "100", step: "0.1", value: "50", "aria-label": "How much of the source is shown" });
      range.addEventListener("input", () => after.style.setProperty("--at", `${range.value}%`));
      after.classList.add("slide");
      after.replaceChildren(after.firstChild, make("div", { class: "before" }, before), make("span", { class: "tag" }, "source"),
        make("span", { class: "tag end" }, "result"), make("span", { class: "line" }), range);
      view.classList.remove("beside");
      view.replaceChildren(after);
    });
    return view;
  }

  function draw() {
    const [position, index] = at;
    const entry = entries[shown[position]], frames = framesOf(entry), frame = frames[index];
    const source = frames[0].result ? null : frames[0];
    const mayCompare = source !== null && frame.result;
    const chosen = light.contains(document.activeElement) ? document.activeElement.dataset.name : null;
    const size = frame.result ? ` · ${frame.width} × ${frame.height}` : "";
    const compare = mayCompare ? button({ class: "act", "data-name": "compare", "aria-pressed": comparing, title: "Compare with the source (C)" }, () => { comparing = !comparing; draw(); }, "Compare") : null;
    const arrow = (step, name, sign) => {
      const target = next(step);
      const made = button({ class: "turn", "data-name": name, "aria-label": name }, () => turn(target), sign);
      made.disabled = target === null;
      return made;
    };
    const view = mayCompare && comparing ? comparison(source, frame, entry) : make("div", { class: "view" }, figure(frame, entry, null));
    const strip = make("div", { class: "strip" }, ...frames.map((other, to) => {
      const made = tile(other, entry, () => show(position, to));
      if (to === index) made.setAttribute("aria-current", "true");
      return made;
    }));
    light.replaceChildren(
      make("div", { class: "top" }, make("h2", { dir: "auto" }, entry.title), make("p", null, frame.label + size), compare,
        make("a", { class: "act", href: frame.address, target: "_blank", rel: "noopener" }, "Open file"),
        button({ class: "act", "data-name": "close" }, () => light.close(), "Close")),
      make("div", { class: "stage" }, arrow(-1, "Previous picture", "‹"), view, arrow(1, "Next picture", "›")),
      make("div", { class: "bottom" }, make("p", { dir: "auto" }, entry.prompt), strip));
    if (!light.open) light.showModal();
    // The dialog itself takes the keys, unless a button of it was chosen that is still there.
    ([...light.querySelectorAll("[data-name]")].find((element) => element.dataset.name === chosen && !element.disabled) ?? light).focus();
  }

  light.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const slides = event.target.type === "range";
    const keys = {
      ArrowLeft: () => slides || turn(next(-1)), ArrowRight: () => slides || turn(next(1)),
      ArrowUp: () => slides || turn(nextJob(-1, "first")), ArrowDown: () => slides || turn(nextJob(1, "first")),
      c: () => find(".light [data-name=compare]")?.click(),
    };
    if (!keys[event.key]) return;
    if (keys[event.key]() !== true) event.preventDefault();
  });

  // Back to the card of what was seen last.
  light.addEventListener("close", () => {
    const chunk = main.children[Math.floor(at[0] / CHUNK)];
    if (!chunk) return;
    fill(chunk);
    const tiles = chunk.querySelectorAll(`[data-position="${at[0]}"] .tile`);
    tiles[at[1]]?.focus({ preventScroll: true });
    tiles[at[1]]?.scrollIntoView({ block: "nearest" });
    light.replaceChildren();
  });

  // ---- begin ----

  const most = entries.reduce((found, entry) => Math.max(found, entry.pictures.length + (entry.missing > 0 ? 1 : 0)), 0);
  main.style.setProperty("--base", ["200px", "200px", "240px"][most] || "184px");
  main.classList.toggle("pairs", most <= 1);
  bar.hidden = false;
  choose();
})();
