// Asks for the overview every few seconds while somebody can see it, and says so when it cannot.
"use strict";

const POLL_MS = 3000;
const PATIENCE_MS = 10000;
const STALE_S = 30;
const MOST_WORDS = 4;
const DATABASE_AWAY = "urn:florin:problem:unavailable";
const SPANS = {"15m": 900, "1h": 3600, "6h": 21600, "24h": 86400};
const KEY_FORM = /^florin_[A-Za-z0-9]{8,32}_[A-Za-z0-9_-]{43}$/;
const LEVELS = {ok: "All is well", warning: "Needs a look", stuck: "Act now", none: "Unknown"};

const by = (id) => document.getElementById(id);

let overview = null;
let receivedAt = 0;
let trouble = null;
let timer = 0;
let asking = null;

function start() {
  buildCharts();
  drawTiles(UNKNOWN);
  const span = sessionStorage.getItem(SPAN);
  if (span in SPANS) document.querySelector(`input[name=span][value="${span}"]`).checked = true;
  by("spans").addEventListener("change", () => {
    sessionStorage.setItem(SPAN, chosenSpan());
    poll();
  });
  by("theme").addEventListener("click", nextTheme);
  by("forget").addEventListener("click", () => {
    sessionStorage.removeItem(KEY);
    askForKey("");
  });
  by("ask-form").addEventListener("submit", takeTyped);
  by("ask").addEventListener("cancel", (event) => event.preventDefault());
  window.addEventListener("hashchange", () => takeKey() && poll());
  document.addEventListener("visibilitychange", poll);
  window.addEventListener("online", poll);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaintCharts);
  setInterval(tell, 1000);
  nameTheme();
  poll();
}

async function poll() {
  clearTimeout(timer);
  asking?.abort();
  asking = null;
  if (document.hidden) return;
  const key = sessionStorage.getItem(KEY);
  if (!key) return askForKey("");
  if (!KEY_FORM.test(key)) return askForKey("This is not a key: its form is florin_<prefix>_<secret>.");
  const mine = new AbortController();
  asking = mine;
  const patience = setTimeout(() => mine.abort(), PATIENCE_MS);
  try {
    const answer = await fetch(`/v1/ops/overview?span=${chosenSpan()}`, {
      headers: {Authorization: `Bearer ${key}`, Accept: "application/json"},
      cache: "no-store", credentials: "omit", redirect: "error", signal: mine.signal,
    });
    const document_ = await answer.json();
    if (asking !== mine) return;
    if (answer.status === 401) return askForKey("This key is not valid: it is mistyped, of another bank, or revoked.");
    if (answer.status === 403) return askForKey("This key is valid, but does not have the scope ops.");
    if (by("ask").open) by("ask").close();
    if (answer.ok) {
      trouble = null;
      take(document_);
    } else {
      trouble = {why: document_.detail || `The API answers with status ${answer.status}.`, isDatabase: document_.type === DATABASE_AWAY};
    }
  } catch (error) {
    if (asking !== mine) return;
    const isSilent = error instanceof TypeError || error.name === "AbortError";
    trouble = {why: isSilent ? "The API does not answer." : `The API answers with something else: ${error.message}`, isDatabase: false};
  } finally {
    clearTimeout(patience);
  }
  tell();
  timer = setTimeout(poll, POLL_MS);
}

// Prometheus comes back with what it had scraped before: that must not turn back the clock of what is shown.
function take(given) {
  if (overview && given.source !== overview.source && given.now < overview.now) return;
  [overview, receivedAt] = [given, performance.now()];
  draw();
}

function draw() {
  drawTiles(overview.current);
  drawLists(overview.current, overview.prometheus);
  drawCharts(overview, SPANS[chosenSpan()]);
  write(by("version"), overview.current.version ?? "");
  for (const input of document.querySelectorAll("input[name=span]")) {
    input.disabled = overview.source !== "prometheus" && SPANS[input.value] > 3600 && !input.checked;
    input.parentElement.title = input.disabled ? "Needs Prometheus" : "";
  }
}

// The verdict, and whether it still holds: old figures are neither good nor bad, and nor is a question without answer.
function tell() {
  if (by("ask").open) return;
  const age = overview ? overview.age_s + (performance.now() - receivedAt) / 1000 : null;
  const isStale = age === null || age > STALE_S || trouble !== null;
  if (overview) write(by("as-of"), `as of ${time(overview.now)} (${lasting(Math.floor(age))} ago, ${sourceName()})`);
  if (!overview && !trouble) return;
  document.body.classList.toggle("stale", isStale);
  if (trouble?.isDatabase) {
    const last = overview ? [`The figures below are of ${time(overview.now)}`] : [];
    say("stuck", ["Money is stuck: Postgres is away, so nothing is accepted or settled", trouble.why, ...last]);
  } else if (isStale) {
    const why = trouble?.why ?? "What is read is old: does the exporter work?";
    const words = overview ? [`No fresh figures: the last are of ${time(overview.now)}`, why] : [`No figures: ${why}`];
    const then = overview && overview.verdict.level !== "ok" ? [`It said then: ${overview.verdict.words[0]}`] : [];
    say("none", [...words, ...then, "Trying again every few seconds."]);
  } else {
    say(overview.verdict.level, overview.verdict.words);
  }
}

function say(level, [first, ...more]) {
  const cut = first.indexOf(": ");
  const [headline, detail] = cut < 0 ? [first, ""] : [first.slice(0, cut), first.slice(cut + 2)];
  document.body.dataset.level = level;
  write(by("level"), LEVELS[level] ?? level);
  write(by("headline"), headline);
  write(by("detail"), detail && detail[0].toUpperCase() + detail.slice(1));
  const shown = more.length > MOST_WORDS ? [...more.slice(0, MOST_WORDS - 1), `And ${more.length - MOST_WORDS + 1} more`] : more;
  const list = by("more");
  if ([...list.children].map((each) => each.textContent).join("\n") !== shown.join("\n")) {
    list.replaceChildren(...shown.map((words) => made("li", "", words)));
  }
  // Numbers change all the time: whoever listens is told of a new headline only, with its numbers of then.
  if (by("announced").dataset.headline !== level + headline) {
    by("announced").dataset.headline = level + headline;
    write(by("announced"), `${LEVELS[level] ?? level}. ${headline}. ${by("detail").textContent}`);
  }
  document.title = `${{ok: "●", warning: "▲", stuck: "■"}[level] ?? "?"} ${headline}`;
}

function sourceName() {
  return overview.source === "prometheus" ? "Prometheus" : "exporter";
}

function askForKey(why) {
  clearTimeout(timer);
  write(by("ask-why"), why);
  document.title = "Florin";
  if (!by("ask").open) by("ask").showModal();
  by("key").focus();
}

function takeTyped(event) {
  event.preventDefault();
  sessionStorage.setItem(KEY, by("key").value.trim());
  by("key").value = "";
  poll();
}

function chosenSpan() {
  return document.querySelector("input[name=span]:checked").value;
}

function nextTheme() {
  localStorage.setItem(THEME, THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]);
  applyTheme();
  nameTheme();
  repaintCharts();
}

function nameTheme() {
  write(by("theme"), {auto: "Light/dark", light: "Light", dark: "Dark"}[theme()]);
  by("theme").setAttribute("aria-label", `Colours: ${{auto: "as the device has them", light: "light", dark: "dark"}[theme()]}. Change`);
}

start();
