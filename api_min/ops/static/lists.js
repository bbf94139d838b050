// Tiles and lists. Every text goes in as text, whatever it says.
"use strict";

const UNPROVEN_S = 600;
const UNKNOWN = {
  oldest_pending_s: null, backlog: null, workers: null, leader: null, dead_letters: null, held_commands: null, quarantined_accounts: null, alerts: null,
};

function drawTiles(now) {
  const total = (alerts) => alerts?.reduce((sum, each) => sum + each.count, 0) ?? null;
  const alerts = total(now.alerts);
  const pages = total(now.alerts?.filter((each) => each.severity === "page"));
  const waits = now.oldest_pending_s;
  const tiles = [
    ["Oldest pending", lasting(waits), waits === null ? "none" : waits >= 60 ? "stuck" : waits >= 10 ? "warning" : "ok", "without an outcome"],
    ["Backlog", count(now.backlog), level(now.backlog, () => "ok"), "commands"],
    ["Workers", count(now.workers), level(now.workers, (n) => (n ? "ok" : "stuck")), "running"],
    ["Leader", now.leader === null ? NONE : now.leader ? "Yes" : "None", level(now.leader, (is) => (is ? "ok" : "warning")), "scheduler"],
    ["Dead letters", count(now.dead_letters), level(now.dead_letters, (n) => (n ? "warning" : "ok")), "given up"],
    ["Held", count(now.held_commands), level(now.held_commands, (n) => (n ? "warning" : "ok")), now.quarantined_accounts === null ? "accounts" : plural(now.quarantined_accounts, "account")],
    ["Open alerts", count(alerts), level(alerts, (n) => (pages ? "stuck" : n ? "warning" : "ok")), `${count(pages)} page, ${count(alerts === null ? null : alerts - pages)} ticket`],
  ];
  const place = document.getElementById("tiles");
  if (!place.childElementCount) place.append(...tiles.map(emptyTile));
  tiles.forEach(([label, value, rank, note], i) => {
    const tile = place.children[i];
    tile.dataset.level = rank;
    write(tile.querySelector(".label"), label);
    write(tile.querySelector(".value"), value);
    write(tile.querySelector(".note"), note);
    write(tile.querySelector(".mark"), {warning: "▲", stuck: "■"}[rank] ?? "");
    write(tile.querySelector(".unseen"), {warning: "needs a look", stuck: "is wrong"}[rank] ?? "");
  });
}

function level(value, judged) {
  return value === null ? "none" : judged(value);
}

function emptyTile() {
  const tile = made("div", "tile");
  const label = made("p", "label-row");
  const mark = made("span", "mark");
  mark.setAttribute("aria-hidden", "true");
  label.append(made("span", "label"), mark);
  const value = made("p", "value-row");
  value.append(made("span", "value"), made("span", "unseen"));
  tile.append(label, value, made("p", "note"));
  return tile;
}

function drawLists(now) {
  const rank = (each) => (each.severity === "page" ? 0 : 1);
  const alerts = [...now.alerts].sort((a, b) => rank(a) - rank(b) || (b.oldest_age_s ?? 0) - (a.oldest_age_s ?? 0));
  list("alerts", ["severity", "proof", "#count", "#oldest"], "No alert is open.", alerts.map((each) => ({
    level: each.severity === "page" ? "stuck" : "warning",
    cells: [`${each.severity === "page" ? "■" : "▲"} ${each.severity}`, each.proof, count(each.count), lasting(each.oldest_age_s)],
  })));
  list("money", ["", "#deposits", "#lent", "#in arrears"], "No currency has an account yet.", now.money.map((each) => ({
    cells: [each.currency, amount(each.deposits), amount(each.advances_outstanding), amount(each.arrears)],
  })));
  list("collections", ["", "due on", "#instalments", "#amount"], "No instalment is scheduled.", now.next_collections.map((each) => ({
    cells: [each.currency, each.on ?? NONE, count(each.instalments), amount(each.amount)],
  })));
  const late = now.jobs.filter((each) => each.is_late);
  const onTime = now.jobs.length ? `All ${plural(now.jobs.length, "job")} are on time.` : "No job has run yet.";
  list("jobs", ["job", "#last success", "#period"], onTime, late.map((each) => ({
    level: "warning",
    cells: [`▲ ${each.job}`, `${lasting(each.age_s)} ago`, lasting(each.period_s)],
  })));
  const proofs = [...now.proofs].sort((a, b) => (b.breaks ?? 0) - (a.breaks ?? 0) || (b.proven_age_s ?? Infinity) - (a.proven_age_s ?? Infinity) || 0);
  list("proofs", ["proof", "#proven", "#breaks"], "No proof has run yet.", proofs.map((each) => {
    const rank = each.breaks ? "stuck" : each.proven_age_s > UNPROVEN_S ? "warning" : undefined;
    const mark = {stuck: "■ ", warning: "▲ "}[rank] ?? "";
    return {level: rank, cells: [mark + each.proof, each.proven_age_s === null ? "never" : `${lasting(each.proven_age_s)} ago`, count(each.breaks)]};
  }));
}

// A heading with # stands over numbers. Drawn anew only if something else is to be seen.
function list(id, headings, nothing, rows) {
  const place = document.getElementById(id);
  const seen = JSON.stringify([rows.length ? rows : nothing]);
  if (place.dataset.seen === seen) return;
  place.dataset.seen = seen;
  place.querySelectorAll("table, .nothing").forEach((old) => old.remove());
  if (!rows.length) {
    place.append(made("p", "nothing", nothing));
    return;
  }
  const table = made("table");
  const isNumber = headings.map((heading) => heading.startsWith("#"));
  const head = table.createTHead().insertRow();
  headings.forEach((heading, i) => {
    const cell = made("th", isNumber[i] ? "number" : "", heading.replace("#", ""));
    cell.scope = "col";
    if (!heading) cell.append(made("span", "unseen", "currency"));
    head.append(cell);
  });
  const body = table.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    if (row.level) line.dataset.level = row.level;
    row.cells.forEach((text, i) => {
      const cell = made(i ? "td" : "th", isNumber[i] ? "number" : "", text);
      if (!i) cell.scope = "row";
      line.append(cell);
    });
  }
  place.append(table);
}
