"use strict";

const LINES = 10; // kept in each list
const RETRY_MS = 2000; // between attempts to open the WebSocket again

const element = (id) => document.getElementById(id);

function show(box, up, text) {
  element(`${box}-dot`).className = `dot ${up ? "up" : "down"}`;
  element(`${box}-status`).textContent = text;
}

function note(box, text) {
  const line = document.createElement("li");
  const time = document.createElement("time");
  time.textContent = new Date().toLocaleTimeString();
  line.append(text, time);
  const list = element(`${box}-list`);
  list.prepend(line);
  while (list.childElementCount > LINES) list.lastElementChild.remove();
}

async function echo() {
  const started = performance.now();
  try {
    const answer = await fetch("/api/echo?from=demo", { method: "POST", body: "hello" });
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
    const seen = await answer.json();
    const head = `${seen.method} ${seen.path}?${seen.query}`;
    const fields = seen.headers.map(([name, value]) => `${name}: ${value}`);
    const body = `(${seen.body_length} bytes of body)`;
    element("echo-body").textContent = [head, ...fields, "", body].join("\n");
    show("echo", true, `${Math.round(performance.now() - started)} ms`);
  } catch (error) {
    element("echo-body").textContent = "";
    show("echo", false, error.message);
  }
}

function events() {
  const source = new EventSource("/api/events");
  source.onopen = () => show("events", true, "open");
  source.onmessage = (event) => note("events", event.data);
  source.onerror = () => show("events", false, "reconnecting");
}

let socket;

function openSocket() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}/ws`);
  socket.onopen = () => show("socket", true, "open");
  socket.onmessage = (event) => note("socket", `← ${event.data}`);
  socket.onclose = (event) => {
    show("socket", false, `closed ${event.code} ${event.reason}`);
    setTimeout(openSocket, RETRY_MS);
  };
}

element("echo-send").addEventListener("click", echo);
element("socket-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (socket.readyState !== WebSocket.OPEN) return;
  const text = element("socket-text").value;
  note("socket", `→ ${text}`);
  socket.send(text);
});

const [page] = performance.getEntriesByType("navigation");
if (page?.nextHopProtocol) element("protocol").textContent = `It came over ${page.nextHopProtocol}.`;

echo();
events();
openSocket();
