"use strict";
// The blind test: is X the recording A or B? Answers stay in the browser, and go into a CSV.

const TESTS = `dtln-blind-${DATA.id}`; // under which the browser keeps them
const SURE = 0.05; // error probability from which a result counts
let tests = kept.read(TESTS) ?? []; // {a, b, trials: [{row, x}], answers: ["a" or "b"], stopped}
let blindPlayers = {}; // a, b, x -> audio

// The probability of `correct` or more right answers out of `count` by guessing: exact, one-sided.
function byChance(correct, count) {
  let term = 0.5 ** count, sum = 0; // of `right` answers; falls out of floating point only beyond 1000 trials
  for (let right = 0; right <= count; right += 1) {
    if (right >= correct) sum += term;
    term *= (count - right) / (right + 1);
  }
  return Math.min(1, sum);
}

function correctAnswers(test) {
  return test.answers.filter((answer, trial) => answer === test.trials[trial].x).length;
}

function isOver(test) {
  return test.stopped || test.answers.length === test.trials.length;
}

function randomBelow(count) {
  const limit = Math.floor(2 ** 32 / count) * count;
  let value;
  do [value] = crypto.getRandomValues(new Uint32Array(1)); while (value >= limit);
  return value % count;
}

function shuffled(items) {
  const mixed = [...items];
  for (let last = mixed.length - 1; last > 0; last -= 1) {
    const other = randomBelow(last + 1);
    [mixed[last], mixed[other]] = [mixed[other], mixed[last]];
  }
  return mixed;
}

function soundingRows(a, b) {
  return chosenRows().filter((row) => canSound(a, row) && canSound(b, row));
}

// Files in a random order, all once before one comes again; X is A or B by the toss of a coin.
function newTest(a, b, count) {
  const rows = soundingRows(a, b), trials = [];
  while (rows.length && trials.length < count) trials.push(...shuffled(rows));
  return { a, b, answers: [], stopped: false,
    trials: trials.slice(0, count).map((row) => ({ row, x: randomBelow(2) ? "a" : "b" })) };
}

function drawSetup() {
  const signals = soundSignals();
  const [first, second] = DATA.systems.length > 1 ? DATA.systems : HAS_NOISY ? [DATA.systems[0], NOISY] : signals;
  const choice = (id, chosen) => element("select", { id, onchange: sayWhich }, ...signals.map((signal) =>
    element("option", { value: signal, selected: signal === chosen }, signal)));
  if (signals.length < 2) {
    byId("blind").hidden = true;
    document.querySelector('nav a[href="#blind"]').hidden = true;
    return;
  }
  byId("blind-setup").replaceChildren(
    element("p", { class: "note" }, "X is one of two recordings, A or B. Listen to the three as often as you like and say "
      + "which one X is. The files are those that the filters above leave, in a random order. How many answers were "
      + "right is told at the end. Answers stay in this browser; the CSV holds them."),
    element("div", { class: "buttons" },
      element("label", {}, "A ", choice("blind-a", first)), element("label", {}, "B ", choice("blind-b", second)),
      element("label", {}, "Trials ", element("input", { type: "number", id: "blind-count", min: "1", max: "200",
        value: "16" })),
      element("button", { type: "button", id: "blind-start", onclick: startTest }, "Start"),
      element("button", { type: "button", id: "blind-csv", onclick: saveCsv }, "Save answers as CSV"),
      element("button", { type: "button", id: "blind-forget", onclick: forgetTests }, "Delete answers")),
    element("p", { id: "blind-which", role: "status" }),
  );
  sayWhich();
}

function sayWhich() {
  if (!byId("blind-which")) return;
  const a = byId("blind-a").value, b = byId("blind-b").value, rows = soundingRows(a, b);
  const problem = a === b ? "Choose two recordings that differ." : rows.length ? "" : "The filters leave no file with both sounds.";
  byId("blind-which").textContent = problem || `${files(rows.length)} to listen to`;
  byId("blind-start").disabled = problem !== "";
  byId("blind-csv").disabled = byId("blind-forget").disabled = !tests.some((test) => test.answers.length);
}

function startTest() {
  const count = Math.min(200, Math.max(1, Math.round(number("blind-count") ?? 16)));
  const running = tests.find((test) => !isOver(test));
  if (running) running.stopped = true;
  tests.push(newTest(byId("blind-a").value, byId("blind-b").value, count));
  keepTests();
  drawTrial();
  byId("blind-trial").focus();
}

function keepTests() {
  tests = tests.filter((test) => test.answers.length || !test.stopped);
  kept.write(TESTS, tests);
  sayWhich();
}

function forgetTests() {
  stopBlind();
  tests = [];
  keepTests();
  drawTrial();
}

function stopBlind() {
  for (const audio of Object.values(blindPlayers)) {
    audio.pause();
    if (audio.src.startsWith("blob:")) URL.revokeObjectURL(audio.src);
  }
  blindPlayers = {};
}

// The trial that is to be answered, or the result of the last test.
function drawTrial() {
  stopBlind();
  const test = tests.at(-1), box = byId("blind-trial");
  box.hidden = !test || isOver(test);
  byId("blind-result").replaceChildren(test && isOver(test) ? element("p", {}, resultWords(test)) : "");
  if (box.hidden) {
    box.replaceChildren();
    return;
  }
  const trial = test.trials[test.answers.length];
  const names = { a: `A: ${test.a}`, b: `B: ${test.b}`, x: "X" };
  const answer = (letter) => () => {
    test.answers.push(letter);
    keepTests();
    drawTrial();
    (box.hidden ? byId("blind-start") : box).focus();
  };
  box.replaceChildren(
    element("h3", {}, `Trial ${test.answers.length + 1} of ${test.trials.length}: ${DATA.names[trial.row]}`),
    element("div", { class: "buttons" }, ...Object.keys(names).map((letter) => element("button", { type: "button",
      class: "large", "data-play": letter, "aria-pressed": "false", "aria-keyshortcuts": letter, disabled: true,
      onclick: () => playBlind(letter) }, `Play ${names[letter]}`)),
    element("button", { type: "button", "aria-keyshortcuts": "0", onclick: () => pauseBlind() }, "Pause")),
    element("div", { class: "buttons" },
      element("button", { type: "button", class: "large", "data-answer": "a", "aria-keyshortcuts": "1", onclick: answer("a") }, "X is A"),
      element("button", { type: "button", class: "large", "data-answer": "b", "aria-keyshortcuts": "2", onclick: answer("b") }, "X is B"),
      element("button", { type: "button", id: "blind-stop", onclick: () => {
        test.stopped = true;
        keepTests();
        drawTrial();
      } }, "End the test")),
    element("p", { class: "note" }, "Keys: ", ...["a", "b", "x", "0"].flatMap((key) => [element("kbd", {}, key), " "]),
      "play and pause, ", element("kbd", {}, "1"), " X is A, ", element("kbd", {}, "2"), " X is B. The place is kept."),
    element("p", { class: "worse", role: "status", id: "blind-problem" }),
  );
  loadTrial(test, trial);
}

function loadTrial(test, trial) {
  clipsOf(trial.row).catch(() => ({})).then((clips) => {
    if (tests.at(-1) !== test || test.trials[test.answers.length] !== trial) return;
    for (const letter of ["a", "b", "x"]) {
      const sound = soundOf(clips, test[letter === "x" ? trial.x : letter], trial.row);
      if (sound.problem) {
        byId("blind-problem").textContent = sound.problem;
        continue;
      }
      const audio = new Audio(sound.url ?? URL.createObjectURL(sound.blob));
      audio.addEventListener("ended", () => pauseBlind());
      audio.addEventListener("error", () => {
        byId("blind-problem").textContent = "A recording does not play: it is not where it was.";
      });
      blindPlayers[letter] = audio;
      byId("blind-trial").querySelector(`[data-play="${letter}"]`).disabled = false;
    }
  });
}

function playBlind(letter) {
  const next = blindPlayers[letter];
  if (!next) return;
  pausePlayers();
  const current = Object.values(blindPlayers).find((audio) => !audio.paused);
  const place = current && current !== next ? current.currentTime : null;
  pauseBlind();
  if (place !== null) next.currentTime = place;
  play(next);
  byId("blind-trial").querySelector(`[data-play="${letter}"]`).setAttribute("aria-pressed", "true");
}

function pausePlayers() {
  for (const { audio } of players) audio.pause();
}

function pauseBlind() {
  for (const [letter, audio] of Object.entries(blindPlayers)) {
    audio.pause();
    byId("blind-trial").querySelector(`[data-play="${letter}"]`)?.setAttribute("aria-pressed", "false");
  }
}

function blindKey(event) {
  if (byId("blind-trial").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches?.("input, select")) return;
  const key = event.key.toLowerCase();
  const trial = byId("blind-trial");
  if (key in { a: 1, b: 1, x: 1 }) playBlind(key);
  else if (key === "0") pauseBlind();
  else if (key === "1" || key === "2") trial.querySelector(`[data-answer="${key === "1" ? "a" : "b"}"]`).click();
  else return;
  event.preventDefault();
}

function resultWords(test) {
  const count = test.answers.length, correct = correctAnswers(test);
  if (!count) return "The test was ended before the first answer.";
  const p = byChance(correct, count);
  const share = p < 0.001 ? "less than 0.1 %" : `${(100 * p).toFixed(1)} %`;
  const verdict = p < SURE ? `${test.a} and ${test.b} can be told apart.` : "No difference was heard beyond chance.";
  const early = count < test.trials.length ? ` The test was ended early: ${count} of ${test.trials.length} trials.` : "";
  return `${correct} of ${count} answers were right. Guessing gives as many or more in ${share} of such tests (exact `
    + `binomial test). ${verdict}${early}`;
}

function csvCell(value) {
  const text = String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// A line for each answer; the last three columns are about its test. The test that runs now is left out: its CSV would
// tell what X is.
function answersCsv() {
  const lines = [["test", "trial", "file", "a", "b", "x", "answer", "correct", "test_trials", "test_correct", "p_value"]];
  tests.forEach((test, index) => {
    if (!isOver(test)) return;
    const count = test.answers.length, correct = correctAnswers(test);
    test.answers.forEach((answer, trial) => {
      const { row, x } = test.trials[trial];
      lines.push([index + 1, trial + 1, DATA.names[row], test.a, test.b, x, answer, Number(answer === x), count, correct,
        byChance(correct, count).toPrecision(6)]);
    });
  });
  return lines.map((cells) => cells.map(csvCell).join(",")).join("\n") + "\n";
}

function saveCsv() {
  const url = URL.createObjectURL(new Blob([answersCsv()], { type: "text/csv" }));
  const link = element("a", { href: url, download: "blind-test.csv" });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
