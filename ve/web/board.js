// The board: what the feed says, as it says it. Rules: everything from outside becomes a text node; a unit's
// elements are made once and patched by its id, so that what a person types outlives every update; the numbers
// of transitions have no gap, or the feed is asked again.
"use strict";

const STATUSES = ["NEEDS_ATTENTION", "RUNNING", "READY", "BLOCKED", "DONE", "CANCELLED"];
const PHASES = ["GOAL", "PLAN", "IMPLEMENT", "REBASE", "REVIEW", "COMPLETE", "LANDING"];
const LONGEST_WAIT_MS = 15000, EVENTS = 40, TAIL_CHARACTERS = 200000;
const rows = new Map();
const find = (id) => document.getElementById(id);
const make = (tag, kind, ...inside) => {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  if (tag === "button") element.type = "button";
  element.append(...inside); // strings become text nodes
  return element;
};
const say = (element, text) => { if (element.textContent !== text) element.textContent = text; };
const clock = (time) => new Date(time).toLocaleTimeString([], { hourCycle: "h23" });
const words = (text) => text.toLowerCase().replaceAll("_", " ");

// ── What a person types survives updates, and a reload ─────────────────────────────────────────────
function textField(key, label) {
  const field = make("textarea");
  field.rows = 1;
  field.placeholder = label;
  field.setAttribute("aria-label", label);
  field.value = sessionStorage.getItem(key) ?? "";
  field.addEventListener("input", () => sessionStorage.setItem(key, field.value));
  field.clear = () => { field.value = ""; sessionStorage.removeItem(key); };
  return field;
}

// ── Asking the daemon ──────────────────────────────────────────────────────────────────────────────
async function ask(path, body, trouble) {
  const key = [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
  say(trouble, "");
  try {
    const answer = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json", "idempotency-key": key },
      body: JSON.stringify(body),
    });
    const told = await answer.json();
    if (answer.ok) return told;
    const lines = [told.detail, ...(told.errors ?? []).map((e) => `${e.field}: ${e.message}`), told.hint];
    if (told.legal?.length) lines.push(`Possible now: ${told.legal.join(", ")}`);
    say(trouble, lines.filter(Boolean).join("\n"));
  } catch {
    say(trouble, "The daemon did not answer; nothing that you typed is lost.");
  }
  return false;
}

function button(label, work, { kind = "", sure = false } = {}) {
  const it = make("button", kind, label);
  let asked = 0;
  it.addEventListener("click", async () => {
    if (sure && Date.now() - asked > 4000) {
      asked = Date.now();
      say(it, `really ${label}?`);
      it.classList.add("sure");
      setTimeout(() => { say(it, label); it.classList.remove("sure"); }, 4000);
      return;
    }
    it.disabled = true;
    try { await work(); } finally { it.disabled = false; }
  });
  return it;
}

// ── One unit ───────────────────────────────────────────────────────────────────────────────────────
class Row {
  constructor(unit, number) {
    this.number = number;
    this.questions = new Map();
    this.status = make("span", "status");
    this.attempt = make("small");
    this.chunk = make("span", "chunk", unit.chunk, this.attempt);
    this.phaseName = make("b");
    this.pips = PHASES.map(() => make("i"));
    this.phase = make("span", "phase", ...this.pips, this.phaseName);
    this.age = make("span", "age");
    this.slot = make("span", "slot");
    this.note = make("span", "note");
    this.head = make("button", "head", this.status, this.chunk, this.phase, this.age, this.slot, this.note);
    this.reason = make("p", "reason");
    this.evidence = make("pre");
    this.asks = make("div");
    this.resolution = make("div");
    this.verbs = make("div", "row");
    this.facts = make("div", "facts");
    this.output = make("pre");
    this.trouble = make("p", "trouble");
    this.trouble.setAttribute("role", "alert");
    this.body = make("div", "body", this.reason, this.evidence, this.asks, this.resolution, this.verbs, this.trouble,
      this.facts, this.output);
    this.element = make("section", "unit", this.head, this.body);
    this.element.dataset.unit = unit.id;
    this.element.dataset.chunk = unit.chunk;
    this.output.hidden = true;
    this.opened = null; // null: open while something is asked
    this.head.addEventListener("click", () => { this.opened = this.body.hidden; this.open(); });
    this.update(unit);
  }

  open() {
    const asks = this.unit.questions.some((q) => q.state === "open");
    this.body.hidden = !(this.opened ?? asks);
    this.head.setAttribute("aria-expanded", String(!this.body.hidden));
  }

  update(unit) {
    const verbsChanged = !this.unit || this.verbsOf(unit) !== this.verbsOf(this.unit);
    this.unit = unit;
    this.since = Date.parse(unit.changed_at);
    this.element.dataset.status = unit.status;
    this.order();
    say(this.status, words(unit.status) + (unit.paused ? " · paused" : ""));
    say(this.attempt, unit.attempt > 1 ? `#${unit.attempt}` : "");
    this.showPhase(unit);
    say(this.slot, unit.slot === null ? "" : String(unit.slot));
    const note = noteOf(unit);
    this.showNote(note);
    say(this.reason, unit.attention_reason ?? note);
    this.reason.hidden = unit.attention_kind === "question" || !note; // each question stands below, in full
    this.showEvidence(unit.evidence);
    for (const question of unit.questions) this.showQuestion(question);
    if (verbsChanged) this.showVerbs(unit);
    this.showFacts(unit);
    this.tick(Date.now());
    this.open();
    this.filter();
  }

  // Order is style, not place: a moved element would lose its focus.
  order() {
    const rank = STATUSES.indexOf(this.unit.status);
    const newestFirst = this.unit.status === "DONE" || this.unit.status === "CANCELLED";
    const place = rank === 0 ? this.place ?? 8e6 + this.number : newestFirst ? 5e6 - this.number : this.number;
    this.element.style.order = String(rank * 1e7 + place);
  }

  // Where it stands among those that need somebody, and how many wait behind it.
  ranked(place, waiting) {
    this.place = place;
    this.waiting = waiting;
    this.order();
    this.showNote(noteOf(this.unit));
  }

  showNote(note) {
    const behind = this.waiting && this.unit.status === STATUSES[0] ? `${this.waiting} waiting behind · ` : "";
    say(this.note, behind + note.split("\n", 1)[0]);
    this.note.title = note;
  }

  showPhase(unit) {
    const landing = unit.stage?.startsWith("landing:");
    const at = unit.status === "DONE" ? PHASES.length : PHASES.indexOf(landing ? "LANDING" : unit.phase);
    this.pips.forEach((pip, i) => { pip.className = i < at ? "past" : i === at ? "now" : ""; });
    const stage = landing ? unit.stage.replace(":", ": ").replaceAll("_", " ") : unit.phase.toLowerCase();
    say(this.phaseName, unit.status === "DONE" ? "merged" : unit.stopping ? `${stage}, stopping` : stage);
  }

  showEvidence(evidence) {
    const lines = evidence ? [evidence.lines, evidence.stderr_tail] : [];
    if (evidence && evidence.exit_code !== null) lines.unshift(`exit code ${evidence.exit_code}`);
    say(this.evidence, lines.filter(Boolean).join("\n"));
    this.evidence.hidden = !this.evidence.textContent;
  }

  showQuestion(question) {
    let known = this.questions.get(question.id);
    if (!known) {
      known = this.makeQuestion(question);
      this.questions.set(question.id, known);
      this.asks.append(known.element);
    }
    const open = question.state === "open";
    known.element.classList.toggle("closed", !open);
    known.form.hidden = !open && !known.field.value;
    for (const it of known.form.querySelectorAll("button")) it.hidden = !open;
    const by = (question.answered_by ?? "").replace("operator:", "");
    const unsent = known.field.value ? " What you typed below was not sent." : "";
    say(known.outcome, open ? "" : question.answer === null ? `withdrawn.${unsent}`
      : `${by || "operator"}: ${question.answer}${unsent}`);
    known.outcome.hidden = open;
  }

  makeQuestion(question) {
    const path = `/work-units/${encodeURIComponent(this.unit.chunk)}/answer?unit=${encodeURIComponent(this.unit.id)}`;
    const field = textField(`answer:${this.unit.id}:${question.id}`, "your answer");
    const send = async (body) => {
      if (await ask(path, { question: question.id, ...body }, this.trouble)) field.clear();
    };
    const sendText = () => field.value.trim() ? send({ text: field.value }) : field.focus();
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) sendText();
    });
    const options = question.options.map((text, i) => button(text, () => send({ option: i + 1 }), { kind: "option" }));
    const form = make("div", "", make("div", "row", ...options),
      make("div", "row", field, button("answer", sendText, { kind: "main send" })));
    const context = make("p", "context", question.context);
    context.hidden = !question.context;
    const outcome = make("p", "outcome");
    const element = make("div", "ask", make("p", "question", question.text), context, outcome, form);
    element.dataset.question = question.id;
    return { element, form, field, outcome };
  }

  verbsOf(unit) {
    return JSON.stringify([unit.status, unit.attention_kind, unit.options, unit.approve_hash, unit.paused, unit.stopping,
      unit.priority, unit.run_id, unit.evidence?.run, unit.stage]);
  }

  showVerbs(unit) {
    const path = `/work-units/${encodeURIComponent(unit.chunk)}/`;
    const verb = (name, body = {}, label = name, how = {}) => button(
      label, () => ask(`${path}${name}?unit=${encodeURIComponent(unit.id)}`, body, this.trouble), how);
    const found = [];
    const attention = unit.status === "NEEDS_ATTENTION";
    const ended = unit.status === "DONE" || unit.status === "CANCELLED";
    if (attention && unit.approve_hash) {
      found.push(verb("approve", { hash: unit.approve_hash }, `approve ${unit.approve_hash.slice(0, 12)}`, { kind: "main" }));
    }
    this.showResolution(unit, attention && ["conflict", "review", "dependency"].includes(unit.attention_kind));
    if ((attention && unit.attention_kind !== "approval") || unit.retry_at) {
      // A retry withdraws what was asked.
      found.push(verb("retry", {}, "retry", { sure: unit.attention_kind === "question" }));
    }
    if (attention || unit.status === "READY") found.push(verb("retry", { fresh: true }, "retry fresh", { sure: true }));
    if (!ended && !unit.stopping) {
      found.push(verb(unit.paused ? "unpause" : "pause"));
      found.push(verb("prioritize", { priority: unit.priority + 1 }, `priority ${unit.priority} +`));
      found.push(verb("prioritize", { priority: unit.priority - 1 }, "−"));
      found.push(verb("cancel", {}, "cancel", { sure: true }));
    }
    const run = unit.run_id ?? unit.evidence?.run;
    if (run) found.push(button("output", () => this.follow(run)));
    this.verbs.replaceChildren(...found);
  }

  showResolution(unit, wanted) {
    if (wanted && !this.resolve) {
      this.resolve = { field: textField(`resolve:${unit.id}`, "what to change, for feedback"), row: make("div", "row") };
      this.resolution.append(make("div", "row", this.resolve.field), this.resolve.row);
    }
    this.resolution.hidden = !wanted;
    if (!wanted) return;
    const { field, row } = this.resolve;
    field.hidden = unit.attention_kind !== "review";
    const path = `/work-units/${encodeURIComponent(unit.chunk)}/resolve?unit=${encodeURIComponent(unit.id)}`;
    row.replaceChildren(...unit.options.map((choice) => button(choice, async () => {
      if (await ask(path, { choice, text: field.value }, this.trouble)) field.clear();
    }, { kind: "main" })));
  }

  showFacts(unit) {
    const pairs = [["branch", unit.branch], ["worktree", unit.worktree], ["base", shortRef(unit.base_ref)], ["run", unit.run_id],
      ["merged as", unit.merged_commit?.slice(0, 12)], ["unit", unit.id]];
    this.facts.replaceChildren(...pairs.filter(([, value]) => value).map(
      ([name, value]) => make("span", "", `${name} `, make("code", "", value))));
  }

  follow(run) {
    if (this.tail) {
      this.tail.close();
      this.tail = null;
      this.output.hidden = true;
      return;
    }
    this.output.hidden = false;
    say(this.output, "");
    const socket = this.tail = new WebSocket(address(`/runs/${encodeURIComponent(run)}/tail`));
    socket.addEventListener("message", (event) => {
      const atEnd = this.output.scrollTop + this.output.clientHeight >= this.output.scrollHeight - 8;
      say(this.output, (this.output.textContent + JSON.parse(event.data).text).slice(-TAIL_CHARACTERS));
      if (atEnd) this.output.scrollTop = this.output.scrollHeight;
    });
    socket.addEventListener("close", () => { if (this.tail === socket && !this.output.textContent) say(this.output, "(no output)"); });
  }

  filter() {
    const text = find("search").value.toLowerCase();
    this.element.hidden = (chosen.size > 0 && !chosen.has(this.unit.status))
      || !this.unit.chunk.toLowerCase().includes(text);
  }

  tick(now) { say(this.age, span(now - this.since)); }

  get typed() { return [...this.element.querySelectorAll("textarea")].some((field) => field.value); }
}

function noteOf(unit) {
  if (unit.attention_reason) return `${unit.attention_kind}: ${unit.attention_reason}`;
  if (unit.blocked_by.length) return `waits for ${unit.blocked_by.join(", ")}`;
  if (unit.stage === "rebasing") return "merging the base into its branch";
  if (unit.retry_at) return `tries again at ${clock(unit.retry_at)}${unit.cause ? `: ${unit.cause}` : ""}`;
  if (unit.merged_commit) return `merged into ${shortRef(unit.base_ref)} as ${unit.merged_commit.slice(0, 12)}`;
  return unit.cause;
}

const shortRef = (ref) => ref.replace("refs/heads/", "");

function span(milliseconds) {
  const s = Math.max(0, Math.round(milliseconds / 1000));
  return s < 60 ? `${s}s` : s < 3600 ? `${Math.floor(s / 60)}m` : s < 86400 ? `${Math.floor(s / 3600)}h` : `${Math.floor(s / 86400)}d`;
}

// ── The whole board ────────────────────────────────────────────────────────────────────────────────
const chosen = new Set(), changed = new Map(), happened = [];
let board = null, drawing = false, numbered = 0;

const filters = new Map(STATUSES.map((status) => {
  const count = make("b");
  const it = make("button", "", words(status), count);
  it.dataset.status = status;
  it.setAttribute("aria-pressed", "false");
  it.addEventListener("click", () => {
    if (!chosen.delete(status)) chosen.add(status);
    it.setAttribute("aria-pressed", String(chosen.has(status)));
    filterAll();
  });
  find("search").before(it);
  return [status, count];
}));
find("search").addEventListener("input", filterAll);
find("pause").addEventListener("click", () => ask(`/board/${board.paused ? "unpause" : "pause"}`, {}, find("notice")));

function filterAll() {
  for (const it of [...rows.values(), ...groups.values()]) it.filter();
}

function draw() {
  drawing = false;
  const fresh = [];
  for (const [id, unit] of changed) {
    const row = rows.get(id);
    if (row) { row.update(unit); continue; }
    const made = new Row(unit, numbered++);
    rows.set(id, made);
    fresh.push(made.element);
  }
  changed.clear();
  find("units").append(...fresh);
  if (happened.length) {
    find("events").prepend(...happened.splice(0).reverse().slice(0, EVENTS));
    while (find("events").children.length > EVENTS) find("events").lastChild.remove();
  }
  drawCounts();
  const needed = board?.lanes.length || [...rows.values()].some((row) => row.unit.status === STATUSES[0]);
  if (needed || needs.groups.length || needs.lanes.length) askNeeds();
}

function drawCounts() {
  const counts = Object.fromEntries(STATUSES.map((status) => [status, 0]));
  for (const row of rows.values()) counts[row.unit.status] += 1;
  for (const [status, element] of filters) say(element, String(counts[status]));
  document.title = counts.NEEDS_ATTENTION ? `(${counts.NEEDS_ATTENTION}) ve` : "ve";
  find("empty").hidden = rows.size > 0;
  if (!board) return;
  const used = [...rows.values()].filter((row) => row.unit.slot !== null).length;
  const boxes = Array.from({ length: Math.min(board.slots, 32) }, (_, i) => make("i", i < used ? "used" : ""));
  find("slots").replaceChildren(...boxes, make("b", "", `${used}/${board.slots} slots`));
  say(find("pause"), board.paused ? "unpause board" : "pause board");
  find("pause").disabled = false;
  const lanes = board.lanes.map((lane) => {
    const waits = needs.lanes.find((it) => it.backend === lane.backend)?.chunks.length;
    const count = waits ? `; ${waits} ${waits === 1 ? "unit waits" : "units wait"} for it` : "";
    return `${lane.backend} takes nothing until ${clock(lane.until)}${lane.reason ? ` (${lane.reason})` : ""}${count}`;
  });
  const notes = [...(board.paused ? ["The board is paused: nothing is dispatched or landed."] : []), ...lanes];
  say(find("notice"), notes.join("\n"));
  find("notice").hidden = notes.length === 0;
}

function soon() {
  if (drawing) return;
  drawing = true;
  setTimeout(draw, 30);
}

function event(frame) {
  if (!frame.unit) return;
  const now = make("span", "now", frame.from === frame.unit.status ? "" : words(frame.unit.status));
  const item = make("li", "", make("span", "", clock(frame.at)),
    make("span", "who", frame.unit.chunk), make("span", "", frame.command.replace(/\B[A-Z]/g, (letter) => ` ${letter}`).toLowerCase()), now, make("span", "", frame.why));
  item.dataset.status = frame.unit.status;
  happened.push(item);
}

// ── The feed ───────────────────────────────────────────────────────────────────────────────────────
let cursor = null, wait = 250;

const number = (text) => Number(text.slice(text.lastIndexOf(".") + 1));
const address = (path) => {
  const url = new URL(path, location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  return url;
};

function take(frame) {
  if (frame.type === "snapshot") {
    const named = new Set(frame.units.map((unit) => unit.id));
    for (const [id, row] of rows) {
      if (named.has(id) || row.typed) continue;
      row.element.remove();
      rows.delete(id);
    }
    changed.clear();
    for (const unit of frame.units) changed.set(unit.id, unit);
    board = frame.board;
    cursor = frame.cursor;
  } else if (frame.type === "transition") {
    if (cursor && frame.seq !== number(cursor) + 1) {
      if (frame.seq <= number(cursor)) cursor = null;
      throw new Error(`a gap in the feed before ${frame.seq}`);
    }
    cursor = frame.cursor;
    if (frame.unit) changed.set(frame.unit.id, frame.unit);
    if (frame.board) board = frame.board;
    event(frame);
  } else if (frame.type === "resync") {
    cursor = null;
  }
}

function connection(state, text) {
  find("connection").dataset.state = state;
  say(find("connection"), text);
}

function connect() {
  const url = address("/feed");
  if (cursor) url.searchParams.set("since", cursor);
  const socket = new WebSocket(url);
  socket.addEventListener("open", () => { connection("live", "live"); about(); });
  socket.addEventListener("message", (message) => {
    wait = 250;
    try {
      for (const frame of JSON.parse(message.data)) take(frame);
      soon();
    } catch (error) {
      console.warn(error);
      socket.close(4000, "asks again");
    }
  });
  socket.addEventListener("close", () => {
    connection("lost", "reconnecting");
    about();
    setTimeout(connect, wait * (0.75 + Math.random() / 2));
    wait = Math.min(wait * 2, LONGEST_WAIT_MS); // for ever: the daemon comes back
  });
}

async function about() {
  try {
    const answer = await fetch("/status");
    const told = await answer.json();
    if (answer.ok) say(find("repository"), told.repository);
    else if (answer.status === 401) connection("lost", "not signed in: open the address that `ve orch url` prints");
  } catch { /* it is not there at the moment; the socket tells */ }
}

setInterval(() => { const now = Date.now(); for (const it of [...rows.values(), ...groups.values()]) it.tick(now); }, 1000);
connect();
