// Runs before anything is painted: the key leaves the address, and light or dark is as it was chosen.
"use strict";

const KEY = "florin.key";
const SPAN = "florin.span";
const THEME = "florin.theme";
const THEMES = ["auto", "light", "dark"];

function takeKey() {
  const given = new URLSearchParams(location.hash.slice(1)).get("key");
  if (given === null) return false;
  history.replaceState(null, "", location.pathname + location.search);
  sessionStorage.setItem(KEY, given.trim());
  return true;
}

function theme() {
  const chosen = localStorage.getItem(THEME);
  return THEMES.includes(chosen) ? chosen : "auto";
}

function applyTheme() {
  document.documentElement.dataset.theme = theme();
}

takeKey();
applyTheme();
