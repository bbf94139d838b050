// Tiles and lists. Every text goes in as text, whatever it says.
"use strict";

const UNPROVEN_S = 600;
const REPEATS = ["BooksBroken", "TicketAlertsOpen"];
const UNKNOWN = {
  oldest_pending_s: null, backlog: null, workers: null, leader: null, dead_letters: null, held_commands: null, quarantined_accounts: null, alerts: null,
};

function drawTiles(now) {
  const isKnown = now.alerts && (now.postgres_up !== false || now.alerts.length || now.firing?.length);
  const every = isKnown ? [...now.alerts, ...fromPrometheus(now)] : null;
  const total = (alerts) => alerts?.reduce((sum, each) => sum + (each.count ?? 1), 0) ?? null;
  const alerts = total(every);
  const pages = total(every?.filter((each) => each.severity === "page"));
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

// Those that fire, but for what only says that Florin's own are open.
function fromPrometheus(now) {
  return (now.firing ?? []).filter((each) => !REPEATS.includes(each.name));
}

// Where the way out is written. The names of accounts are not here: whoever may see them asks on the command line.
function runbook(each) {
  return each.runbook_url?.includes("#") ? each.runbook_url.split("#").at(-1) : each.proof ?? "";
}

function alertsHint(now, prometheus) {
  const hints = [];
  if (now.alerts.length) hints.push("Which accounts: ./florin alerts list");
  if (now.alerts.length || now.firing?.length) hints.push("What to do: docs/runbooks.md");
  if (!now.firing) {
    const why = {none: "No Prometheus", away: "Prometheus does not answer"}[prometheus] ?? "Prometheus does not say what fires";
    hints.push(`${why}: only Florin's own alerts are seen.`);
  }
  return hints;
}

function drawLists(now, prometheus) {
  const rank = (each) => (each.severity === "page" ? 0 : 1);
  const own = now.alerts.map((each) => ({...each, what: each.count === 1 ? each.proof : `${each.proof} (${count(each.count)})`, age_s: each.oldest_age_s}));
  const firing = fromPrometheus(now).map((each) => ({...each, what: each.summary ? `${each.name}: ${each.summary}` : each.name}));
  const alerts = [...own, ...firing].sort((a, b) => rank(a) - rank(b) || (b.age_s ?? 0) - (a.age_s ?? 0));
  // What Postgres would have to say is neither none nor something.
  const nothing = (words) => (now.postgres_up === false ? "Not known while Postgres is away." : words);
  list("alerts", ["severity", "what", "#for"], nothing("No alert is open."), alerts.map((each) => ({
    level: each.severity === "page" ? "stuck" : "warning",
    cells: [`${each.severity === "page" ? "■" : "▲"} ${each.severity}`, each.what, lasting(each.age_s)],
    small: `Runbook: ${runbook(each)}`,
  })), alertsHint(now, prometheus));
  list("money", ["", "#deposits", "#lent", "#in arrears"], nothing("No currency has an account yet."), now.money.map((each) => ({
    cells: [each.currency, amount(each.deposits), amount(each.advances_outstanding), amount(each.arrears)],
  })));
  list("collections", ["", "due on", "#instalments", "#amount"], nothing("No instalment is scheduled."), now.next_collections.map((each) => ({
    cells: [each.currency, each.on ?? NONE, count(each.instalments), amount(each.amount)],
  })));
  const late = now.jobs.filter((each) => each.is_late);
  const onTime = now.jobs.length ? `All ${plural(now.jobs.length, "job")} are on time.` : nothing("No job has run yet.");
  list("jobs", ["job", "#last success", "#period"], onTime, late.map((each) => ({
    level: "warning",
    cells: [`▲ ${each.job}`, `${lasting(each.age_s)} ago`, lasting(each.period_s)],
  })));
  const proofs = [...now.proofs].sort((a, b) => (b.breaks ?? 0) - (a.breaks ?? 0) || (b.proven_age_s ?? Infinity) - (a.proven_age_s ?? Infinity) || 0);
  list("proofs", ["proof", "#proven", "#breaks"], nothing("No proof has run yet."), proofs.map((each) => {
    const rank = each.breaks ? "stuck" : each.proven_age_s > UNPROVEN_S ? "warning" : undefined;
    const mark = {stuck: "■ ", warning: "▲ "}[rank] ?? "";
    return {level: rank, cells: [mark + each.proof, each.proven_age_s === null ? "never" : `${lasting(each.proven_age_s)} ago`, count(each.breaks)]};
  }));
}

// A heading with # stands over numbers. Drawn anew only if something else is to be seen.
function list(id, headings, nothing, rows, hints = []) {
  const place = document.getElementById(id);
  const seen = JSON.stringify([rows.length ? rows : nothing, hints]);
  if (place.dataset.seen === seen) return;
  place.dataset.seen = seen;
  place.querySelectorAll("table, .nothing, .hints").forEach((old) => old.remove());
  if (!rows.length) place.append(made("p", "nothing", nothing));
  else place.append(tableOf(headings, rows));
  if (hints.length) place.append(made("p", "hints", hints.join(" · ")));
}

function tableOf(headings, rows) {
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
      if (i === 1 && row.small) cell.replaceChildren(made("span", "main", text), made("span", "small", row.small));
      line.append(cell);
    });
  }
  return table;
}
