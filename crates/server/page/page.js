// The page at `/`: asks this server alone, and shows what it says. Texts reach the document by textContent, never as markup.

const LABELS_SHOWN = 8; // of a model with many, before "all labels"
const LISTED = 30; // words by score, at most
const MARKED_FROM = 0.05; // of the largest score: what has less is not marked
const ROWS_SHOWN = 50; // of a file; all are in the download
const MOST_TEXTS = 1000; // of a request: of more, servers do not tell which were cut
const AT_ONCE = 4; // requests for a file that are under way
const LONGEST_BODY = 500_000; // characters of the texts of one request, far below what servers refuse

const by = id => document.getElementById(id);
const percent = score => `${(100 * score).toFixed(1)} %`;
const count = (n, one, more = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : more}`;

let models = []; // as /models tells them
let key = ""; // the API key, where the server asks for one
let table = null; // the file: {name, heading, rows}
let asking = new AbortController(); // for the one text
let running = null; // an AbortController while a file is predicted

/** An element with attributes, text and children. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element[name] = value;
  element.append(...children);
  return element;
}

function alertUser(problem) {
  by("alert").textContent = problem ?? "";
  by("alert").hidden = !problem;
}

/** Tells a screen reader what has come. */
function say(text) {
  by("said").textContent = text;
}

/** What the server answers, with its headers; its errors as they are. */
async function ask(path, body, signal) {
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  const request = body === undefined ? { headers } : { method: "POST", headers: { ...headers, "content-type": "application/json" }, body: JSON.stringify(body) };
  let response, text;
  try {
    response = await fetch(path, { ...request, signal });
    text = await response.text();
  } catch (error) {
    throw error.name === "AbortError" ? error : new Error(`The server does not answer (${error.message}).`);
  }
  let json = null;
  try { json = JSON.parse(text) } catch { /* said below, as text */ }
  if (response.ok && json !== null) return { json, headers: response.headers };
  if (response.status === 401) by("key-form").hidden = false;
  const error = new Error(`${response.status}: ${json?.error ?? (text || response.statusText)}`);
  throw Object.assign(error, { status: response.status, retryAfter: Number(response.headers.get("retry-after")) || 1 });
}

const route = (model, of) => `models/${encodeURIComponent(model.name)}/${of}`;
const chosen = () => models.find(model => model.name === by("model").value);
const compared = () => models.find(model => model.name === by("other").value && model !== chosen());
const several = model => model.problem_type === "multi_label_classification";

/** The labels that a model decides for: the most probable one, or any number of them. */
const decided = (model, predictions) => several(model) ? predictions.filter(p => p.score >= 0.5) : predictions.slice(0, 1);

async function start() {
  alertUser();
  try {
    models = (await ask("models")).json;
  } catch (error) {
    by("about").textContent = error.status === 401 ? "This server asks for a key." : "";
    // who has given no key yet has done nothing wrong
    if (error.status !== 401 || key) alertUser(error.message);
    if (error.status === 401) by("key").focus();
    return;
  }
  by("key-form").hidden = true;
  const option = model => make("option", { value: model.name, textContent: model.name });
  by("model").replaceChildren(...models.map(option));
  by("other").replaceChildren(make("option", { value: "", textContent: "no other" }), ...models.map(option));
  by("models").hidden = models.length < 2;
  by("work").hidden = false;
  modelChosen();
}

function modelChosen() {
  const model = chosen();
  for (const option of by("other").options) option.disabled = option.value === model.name;
  if (by("other").value === model.name) by("other").value = "";
  const calibrated = model.calibrated ? ", calibrated" : "";
  by("about").textContent = `${model.model_id}: ${count(model.labels.length, "label")}${several(model) ? ", any number of which a text may have" : ""}, texts up to ${count(model.max_input_length, "token")}${calibrated}`;
  for (const field of ["second-field", "second-column-field"]) by(field).hidden = model.texts === "single";
  by("second").required = model.texts === "pairs";
}

// one text

/** A text, or a pair of texts for a model that takes them. */
const inputs = (model, text, second) => model.texts !== "single" && second ? [text, second] : text;

async function predictText() {
  asking.abort();
  const { signal } = asking = new AbortController();
  alertUser();
  const [text, second] = [by("text").value, by("second").value];
  const cards = [chosen(), compared()].filter(Boolean).map(model => [model, make("article", { className: "card" }, make("h3", { textContent: model.name }))]);
  by("results").replaceChildren(...cards.map(([, card]) => card));
  by("predict").disabled = true;
  say("");
  await Promise.all(cards.map(([model, card]) => predictInto(card, model, inputs(model, text, second), signal)));
  if (asking.signal === signal) by("predict").disabled = false;
}

async function predictInto(card, model, inputs, signal) {
  const waiting = make("p", { className: "note", textContent: "…" });
  card.append(waiting);
  try {
    const { json: predictions, headers } = await ask(route(model, "predict"), { inputs, truncate: true }, signal);
    waiting.remove();
    const labels = decided(model, predictions).map(p => p.label).join(", ") || "none of its labels";
    card.append(make("p", { className: "answer", textContent: labels }), ...bars(predictions));
    say(`${by("said").textContent} ${model.name}: ${labels}, ${percent(predictions[0].score)}.`);
    const tokens = Number(headers.get("x-compute-tokens")), time = headers.get("x-compute-time");
    card.append(make("p", { className: "note", textContent: `${count(tokens, "token")}, ${time} ms` }));
    if (Number(headers.get("x-compute-truncated"))) {
      const most = count(model.max_input_length, "token");
      card.append(make("p", { className: "error", textContent: `The text is cut: this model reads ${most}, and what comes after them was left out.` }));
    }
    if (!by("explain").checked) return;
    const label = make("select", {}, ...predictions.map(p => make("option", { value: p.label, textContent: p.label })));
    const shown = make("div");
    const explain = () => explainInto(shown, model, inputs, label.value, signal);
    label.addEventListener("change", explain);
    card.append(make("div", { className: "explained" }, make("label", {}, "Words for and against", label), shown));
    await explain();
  } catch (error) {
    if (error.name === "AbortError") return;
    waiting.remove();
    card.append(make("p", { className: "error", textContent: error.message }));
  }
}

/** The head of a table, some of whose columns are numbers. */
const headings = (names, numbers) => make("thead", {}, make("tr", {}, ...names.map((textContent, at) =>
  make("th", { scope: "col", textContent, className: numbers.includes(at) ? "number" : "" }))));

/** Probabilities as a table with bars. */
function bars(predictions) {
  const row = ({ label, score }) => {
    const bar = make("div");
    bar.style.width = percent(score).replace(" ", "");
    return make("tr", {}, make("th", { scope: "row", textContent: label }), make("td", { className: "number", textContent: percent(score) }),
      make("td", { className: "bar", ariaHidden: "true" }, bar));
  };
  const rows = some => make("table", { ariaLabel: "Probabilities" }, make("tbody", {}, ...some.map(row)));
  const [first, rest] = [predictions.slice(0, LABELS_SHOWN), predictions.slice(LABELS_SHOWN)];
  return rest.length ? [rows(first), make("details", {}, make("summary", { textContent: `${rest.length} more` }), rows(rest))] : [rows(first)];
}

async function explainInto(shown, model, inputs, label, signal) {
  shown.replaceChildren(make("p", { className: "note", textContent: "Computing which words count …" }));
  try {
    const { json: found } = await ask(route(model, "explain"), { inputs, label, truncate: true }, signal);
    shown.replaceChildren(...explanation(found, [inputs].flat()));
  } catch (error) {
    if (error.name === "AbortError") return;
    shown.replaceChildren(make("p", { className: "error", textContent: error.message }));
  }
}

/** The text with its words marked, what the marks mean, and the words by score. */
function explanation(found, texts) {
  const most = Math.max(...found.words.map(word => Math.abs(word.score)), Number.MIN_VALUE);
  const side = score => score > 0 ? "for" : "against";
  const mark = (text, score) => {
    const strength = Math.abs(score) / most;
    if (strength < MARKED_FROM) return text;
    const span = make("span", { className: side(score), title: score.toFixed(3), textContent: text });
    span.style.setProperty("--strength", (0.6 * strength).toFixed(2));
    return span;
  };
  const marked = texts.map((text, at) => {
    const characters = Array.from(text); // the server counts characters, not UTF-16 units
    const pieces = [];
    let end = 0;
    for (const word of found.words.filter(word => word.text === at && word.end > word.start)) {
      pieces.push(characters.slice(end, word.start).join(""), mark(characters.slice(word.start, word.end).join(""), word.score));
      end = word.end;
    }
    return make("p", { className: "words", tabIndex: 0, role: "group", ariaLabel: "The text with its words marked" }, ...pieces, characters.slice(end).join(""));
  });
  const legend = make("p", { className: "note legend" }, make("span", { className: "for", textContent: "underlined" }), ` speaks for ${found.label}, `,
    make("span", { className: "against", textContent: "dashed" }), " against it; the stronger colour and line, the more.");
  const inexact = `Inexact: ${found.completeness_gap.toFixed(2)} of the logit is not accounted for.`;
  const words = [...found.words].sort((a, b) => Math.abs(b.score) - Math.abs(a.score)).slice(0, LISTED);
  const row = ({ word, score }) => make("tr", {}, make("th", { scope: "row", textContent: word }), make("td", { className: "number", textContent: (score > 0 ? "+" : "") + score.toFixed(3) }),
    make("td", { textContent: side(score) }));
  const list = make("table", {}, headings(["Word", "Score", `For or against ${found.label}`], [1]), make("tbody", {}, ...words.map(row)));
  return [...marked, legend, ...(found.complete ? [] : [make("p", { className: "note", textContent: inexact })]),
    make("details", {}, make("summary", { textContent: "Words by score" }), list)];
}

// a file

/** The rows of a file with a heading, or its lines. Throws what is wrong with it. */
function readTable(name, bytes) {
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Error(`${name}: is not UTF-8. Save it as UTF-8 and try again.`);
  }
  const lines = () => text.split(/\r\n|\n|\r/).filter(line => line !== "");
  let rows;
  if (/\.txt$/i.test(name)) rows = [["text"], ...lines().map(line => [line])];
  else if (/\.tsv$/i.test(name)) rows = lines().map(line => line.split("\t"));
  else rows = readCsv(name, text);
  const heading = rows.shift();
  if (!heading || !rows.length) throw new Error(`${name}: has no rows${heading ? " below its heading" : ""}.`);
  const odd = rows.findIndex(row => row.length !== heading.length);
  if (odd >= 0) throw new Error(`${name}, row ${odd + 1}: has ${count(rows[odd].length, "field")}, but the heading has ${heading.length}.`);
  return { name, heading, rows };
}

/** RFC 4180; the heading tells whether commas, semicolons or tabs separate. */
function readCsv(name, text) {
  const first = text.slice(0, text.search(/[\r\n]|$/));
  const separator = [",", ";", "\t"].reduce((best, other) => first.split(other).length > first.split(best).length ? other : best);
  const special = new RegExp(`["\\r\\n${separator}]`, "g");
  const rows = [];
  let row = [], field = "", at = 0;
  const endRow = () => {
    row.push(field);
    if (row.length > 1 || row[0] !== "") rows.push(row);
    [row, field] = [[], ""];
  };
  while (at < text.length) {
    special.lastIndex = at;
    const end = special.exec(text)?.index ?? text.length;
    field += text.slice(at, end);
    at = end + 1;
    const sign = text[end];
    if (sign === '"' && field === "") {
      // up to the quote that is not doubled
      let from = at;
      for (;;) {
        const quote = text.indexOf('"', from);
        if (quote < 0) throw new Error(`${name}, row ${rows.length}: a quote is not closed.`);
        field += text.slice(from, quote);
        from = quote + 2;
        if (text[quote + 1] !== '"') { at = quote + 1; break }
        field += '"';
      }
    } else if (sign === '"') field += sign;
    else if (sign === separator) { row.push(field); field = "" }
    else if (sign === "\n" || sign === "\r") {
      if (sign === "\r" && text[at] === "\n") at++;
      endRow();
    }
  }
  if (row.length || field !== "") endRow();
  return rows;
}

const quoted = field => /[",\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field;

/** The column that most probably has the texts: by its name, else the one with the longest fields. */
function guessed({ heading, rows }) {
  const names = ["text", "sentence", "review", "content", "body", "comment", "question", "sentence1"];
  const named = names.map(name => heading.findIndex(column => column.trim().toLowerCase() === name)).find(at => at >= 0);
  const length = at => rows.slice(0, 100).reduce((sum, row) => sum + row[at].length, 0);
  return named ?? heading.map((_, at) => at).reduce((best, at) => length(at) > length(best) ? at : best);
}

async function takeFile(file) {
  alertUser();
  running?.abort();
  by("summary").replaceChildren();
  by("columns").hidden = true;
  try {
    table = readTable(file.name, await file.arrayBuffer());
  } catch (error) {
    return alertUser(error.message);
  }
  const options = () => table.heading.map((name, at) => make("option", { value: at, textContent: name || `column ${at + 1}` }));
  by("column").replaceChildren(...options());
  by("column").value = guessed(table);
  by("second-column").replaceChildren(make("option", { value: "", textContent: "none" }), ...options());
  by("file-about").textContent = `${table.name}: ${count(table.rows.length, "row")}, ${count(table.heading.length, "column")}`;
  by("columns").hidden = false;
}

/** Rows in parts that one request may have; rows without a text, which servers refuse, are left out. */
function parts(texts, most) {
  const parts = [];
  let characters = Infinity;
  texts.forEach((pair, row) => {
    const size = pair.join("").length;
    if (!pair[0].trim()) return;
    if (characters + size > LONGEST_BODY || parts.at(-1).length === most) { parts.push([]); characters = 0 }
    parts.at(-1).push(row);
    characters += size;
  });
  return parts;
}

/** As `ask`, again and again while the server has too much to do. */
async function askPatiently(path, body, signal) {
  for (;;) {
    try {
      return await ask(path, body, signal);
    } catch (error) {
      if (error.status !== 429) throw error;
      await new Promise(resolve => setTimeout(resolve, 1000 * error.retryAfter));
      signal.throwIfAborted();
    }
  }
}

async function predictFile() {
  const model = chosen(), file = table, { name, rows } = file;
  const { signal } = running = new AbortController();
  const columns = [by("column").value, model.texts === "single" ? "" : by("second-column").value].filter(at => at !== "");
  const texts = rows.map(row => columns.map(at => row[at]));
  const all = rows.map(() => null);
  const cut = new Set(); // rows whose texts were truncated
  let done = 0;
  alertUser();
  by("summary").replaceChildren();
  showProgress(0, rows.length);
  try {
    const most = Math.min((await ask(route(model, "info"), undefined, signal)).json.max_client_batch_size, MOST_TEXTS);
    const waiting = parts(texts, most);
    done = rows.length - waiting.flat().length;
    const work = async () => {
      for (let part; (part = waiting.shift());) {
        const { json, headers } = await askPatiently(route(model, "predict"), { inputs: part.map(row => texts[row]), truncate: true }, signal).catch(error => {
          if (error.name !== "AbortError") error.message = `${name}, rows ${part[0] + 1} to ${part.at(-1) + 1}: ${error.message}`;
          throw error;
        });
        part.forEach((row, i) => { all[row] = json[i] });
        (headers.get("x-compute-truncated-texts")?.split(",") ?? []).forEach(i => cut.add(part[i]));
        showProgress(done += part.length, rows.length);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    summarize(model, file, texts, all, cut);
  } catch (error) {
    if (error.name !== "AbortError") alertUser(error.message);
    else by("summary").replaceChildren(make("p", { textContent: "Stopped." }));
  } finally {
    if (running.signal === signal) showProgress();
    running.abort(); // the other requests of a file that failed
  }
}

/** Without numbers, the work has ended. */
function showProgress(done, rows) {
  const busy = done !== undefined;
  by("progress").hidden = by("stop").hidden = !busy;
  by("predict-all").disabled = busy;
  if (!busy) return;
  by("done").max = rows;
  by("done").value = done;
  by("done-label").textContent = `${done.toLocaleString("en")} of ${count(rows, "row")}`;
}

/** How many rows have which label, the first rows, and the file to download. */
function summarize(model, file, texts, all, cut) {
  const labels = all.map(predictions => predictions && decided(model, predictions).map(p => p.label));
  const known = labels.filter(Boolean);
  const counted = new Map(model.labels.map(label => [label, 0]));
  known.flat().forEach(label => counted.set(label, counted.get(label) + 1));
  const row = ([label, n]) => make("tr", {}, make("th", { scope: "row", textContent: label }), make("td", { className: "number", textContent: n.toLocaleString("en") }),
    make("td", { className: "number", textContent: percent(n / (known.length || 1)) }));
  const counts = make("table", { ariaLabel: "Rows of each label" }, headings(["Label", "Rows", "Share"], [1, 2]), make("tbody", {}, ...Array.from(counted, row)));
  const notes = [];
  if (cut.size) notes.push(`${count(cut.size, "text")} cut at ${count(model.max_input_length, "token")}: true in the column truncated.`);
  if (known.length < labels.length) notes.push(`${count(labels.length - known.length, "row")} without a text left out.`);
  say(`${count(known.length, "row")} predicted.`);
  const download = `${file.name.replace(/\.[^.]*$/, "")}.predicted.csv`;
  const csv = predicted(model, file, labels, all, cut);
  const link = make("a", { className: "button", href: URL.createObjectURL(new Blob(csv, { type: "text/csv" })), download, textContent: `Download ${download}` });
  by("summary").replaceChildren(make("div", { className: "card" }, make("h3", { textContent: `${file.name}, by ${model.name}` }), counts,
    ...notes.map(textContent => make("p", { className: "note", textContent })), make("p", {}, link), ...firstRows(texts, labels, all, cut)));
}

/** The first rows, each with its label, its probability and whether its text was cut. */
function firstRows(texts, labels, all, cut) {
  const row = (pair, at) => make("tr", {}, make("th", { scope: "row", className: "number", textContent: at + 1 }), make("td", { className: "label", textContent: labels[at]?.join(", ") ?? "" }),
    make("td", { className: "number", textContent: all[at] ? percent(all[at][0].score) : "" }),
    make("td", { textContent: all[at] ? String(cut.has(at)) : "" }), make("td", { className: "text" }, make("div", { textContent: pair.join(" \u2016 ") })));
  const shown = texts.slice(0, ROWS_SHOWN);
  const list = make("table", { className: "rows" }, headings(["Row", "Predicted", "Highest", "Truncated", "Text"], [0, 2]), make("tbody", {}, ...shown.map(row)));
  const title = shown.length < texts.length ? `The first ${shown.length} of ${count(texts.length, "row")}` : "All rows";
  return [make("details", { open: true }, make("summary", { textContent: title }), make("div", { className: "wide", tabIndex: 0, role: "group", ariaLabel: title }, list))];
}

/** The lines of the file to download: columns as in the files of predictions that `distune eval` reads; old ones of these names make way. */
function predicted(model, { heading, rows }, labels, all, cut) {
  const added = ["predicted", ...model.labels.map(label => `probability_${label}`), "truncated"];
  const kept = heading.map((_, at) => at).filter(at => !added.includes(heading[at]));
  const line = (row, at) => {
    const scores = Object.fromEntries((all[at] ?? []).map(p => [p.label, p.score.toFixed(6)]));
    return [...kept.map(at => row[at]), (labels[at] ?? []).join("|"), ...model.labels.map(label => scores[label] ?? ""), labels[at] ? cut.has(at) : ""];
  };
  return [[...kept.map(at => heading[at]), ...added], ...rows.map(line)].map(fields => fields.map(field => quoted(String(field))).join(",") + "\n");
}

// what the user does

by("key-form").addEventListener("submit", event => { event.preventDefault(); key = by("key").value.trim(); start() });
by("model").addEventListener("change", modelChosen);
by("text-form").addEventListener("submit", event => { event.preventDefault(); predictText() });
by("text-form").addEventListener("keydown", event => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); by("text-form").requestSubmit() }
});
by("file").addEventListener("click", () => { by("file").value = "" }); // so that a file that was mended may be chosen again
by("file").addEventListener("change", () => { if (by("file").files.length) takeFile(by("file").files[0]) });
by("file-form").addEventListener("submit", event => { event.preventDefault(); if (table) predictFile() });
by("stop").addEventListener("click", () => running?.abort());
// a file that misses the frame does not replace the page
for (const kind of ["dragover", "drop"]) document.addEventListener(kind, event => event.preventDefault());
by("drop").addEventListener("dragover", () => by("drop").classList.add("over"));
by("drop").addEventListener("dragleave", () => by("drop").classList.remove("over"));
by("drop").addEventListener("drop", event => {
  by("drop").classList.remove("over");
  const { files } = event.dataTransfer;
  if (!files.length) return;
  by("file").files = files;
  takeFile(files[0]);
});

start();
