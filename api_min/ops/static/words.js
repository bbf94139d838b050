// Numbers as people read them.
"use strict";

const NONE = "–";

function lasting(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds > 0 && seconds < 0.1) return "<0.1 s";
  if (seconds < 10) return `${Number(seconds.toFixed(1))} s`;
  if (seconds < 120) return `${seconds.toFixed(0)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  if (minutes < 48 * 60) return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes / 60} h`;
  return `${Math.floor(minutes / (24 * 60))} days`;
}

function latency(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds < 0.01) return `${Number((seconds * 1000).toFixed(1))} ms`;
  if (seconds < 1) return `${(seconds * 1000).toFixed(0)} ms`;
  return seconds < 10 ? `${Number(seconds.toFixed(1))} s` : `${seconds.toFixed(0)} s`;
}

function count(number) {
  if (number === null || number === undefined) return NONE;
  return number >= 1e7 ? `${grouped((number / 1e6).toFixed(0))} M` : grouped(number.toFixed(0));
}

function rate(number) {
  if (number === null || number === undefined) return NONE;
  if (number === 0) return "0";
  return number < 10 ? String(Number(number.toFixed(number < 0.1 ? 2 : 1))) : count(number);
}

// Amounts come as strings with the currency's own decimals, and are never numbers here.
function amount(text) {
  if (text === null || text === undefined) return NONE;
  const [whole, fraction] = text.split(".");
  return fraction === undefined ? grouped(whole) : `${grouped(whole)}.${fraction}`;
}

function grouped(digits) {
  return digits.replace(/\B(?=(\d{3})+$)/g, ",");
}

function time(at, withSeconds = true) {
  const two = (number) => String(number).padStart(2, "0");
  const date = new Date(at * 1000);
  const minutes = `${two(date.getHours())}:${two(date.getMinutes())}`;
  return withSeconds ? `${minutes}:${two(date.getSeconds())}` : minutes;
}

function plural(number, noun) {
  return number === 1 ? `1 ${noun}` : `${count(number)} ${noun}s`;
}

// Writes only what is new: a screen reader is not told the same again, and selected text stays selected.
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function made(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}
