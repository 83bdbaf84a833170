// What needs a person, by cause: a header above the units of each group, with what may be done to all of them.
// Rules: those of board.js, whose helpers it uses; ranks and causes are the daemon's to say.
"use strict";

const groups = new Map();
let needs = { groups: [], lanes: [] }, asks = null, asksAgain = false;

class Group {
  constructor(fingerprint) {
    this.path = `/attention/${fingerprint}/`;
    this.title = make("b");
    this.age = make("span", "age");
    this.chunks = make("p", "chunks");
    this.reason = make("p", "reason");
    this.verbs = make("div", "row");
    this.trouble = make("p", "trouble");
    this.trouble.setAttribute("role", "alert");
    this.element = make("section", "group", this.title, this.age, this.chunks, this.reason, this.verbs, this.trouble);
    this.element.dataset.group = fingerprint;
    find("units").append(this.element);
  }

  update(group, place) {
    const verbsChanged = !this.group || String([group.verbs, group.options]) !== String([this.group.verbs, this.group.options]);
    this.group = group;
    this.element.style.order = String(place);
    const behind = group.waiting ? ` · ${group.waiting} waiting behind` : "";
    say(this.title, `${group.units.length} units, one cause: ${group.kind}${behind}`);
    say(this.chunks, group.units.map((unit) => unit.chunk).join(", "));
    say(this.reason, group.reason);
    if (verbsChanged) this.showVerbs(group);
    this.tick(Date.now());
    this.filter();
  }

  showVerbs(group) {
    const verb = (name, body = {}, label = name, how = { sure: true }) => button(`${label} all`, () => this.act(name, body), how);
    const found = [];
    for (const name of group.verbs) {
      if (name === "resolve") found.push(...group.options.filter((it) => it !== "feedback").map((choice) => verb(name, { choice }, choice)));
      else if (name === "retry") found.push(verb(name, {}, name, { kind: "main" }), verb(name, { fresh: true }, "retry fresh"));
      else if (name === "approve" || name === "cancel") found.push(verb(name));
    }
    this.verbs.replaceChildren(...found);
  }

  // Only those that are shown are meant: who joined since has not been seen.
  async act(name, body) {
    const done = await ask(this.path + name, { ...body, units: this.group.units.map((unit) => unit.id) }, this.trouble);
    if (done) say(this.trouble, done.results.filter((it) => it.refused).map((it) => `${it.chunk}: ${it.refused}`).join("\n"));
  }

  filter() {
    const text = find("search").value.toLowerCase();
    this.element.hidden = (chosen.size > 0 && !chosen.has(STATUSES[0]))
      || !this.group.units.some((unit) => unit.chunk.toLowerCase().includes(text));
  }

  tick(now) { say(this.age, span(now - Date.parse(this.group.since))); }
}

function drawNeeds() {
  let place = 0;
  const named = new Set();
  for (const group of needs.groups) {
    if (group.units.length > 1) {
      named.add(group.fingerprint);
      if (!groups.has(group.fingerprint)) groups.set(group.fingerprint, new Group(group.fingerprint));
      groups.get(group.fingerprint).update(group, place++);
    }
    for (const unit of group.units) rows.get(unit.id)?.ranked(place++, group.units.length > 1 ? 0 : group.waiting);
  }
  for (const [fingerprint, group] of groups) {
    if (named.has(fingerprint)) continue;
    group.element.remove();
    groups.delete(fingerprint);
  }
}

// The daemon is asked again after whatever may have changed something, one question at a time.
async function askNeeds() {
  asksAgain = asks !== null;
  if (asks) return;
  asks = fetch("/attention").then((answer) => answer.json());
  try {
    const told = await asks;
    if (told.groups) needs = told;
  } catch { /* it is not there at the moment; the socket tells */ }
  asks = null;
  drawNeeds();
  drawCounts();
  if (asksAgain) setTimeout(askNeeds, 200);
}
