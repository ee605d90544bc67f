// `npm test`: every check of the repository, two or three at a time; the last line is "N passed, N failed".
// `npm test -- relayer tidy` runs stages, `npm test -- test/sdk/packed-claim.test.ts` a file.
import { spawn, type ChildProcess } from "node:child_process";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { allStages, chosenStages, type Stage } from "./testing/stages.ts";
import type { Report } from "./testing/report.ts";

type Outcome = { stage: Stage; passed: number; failed: number; ms: number; output: string; fault: string | undefined };

const root = fileURLToPath(new URL("../", import.meta.url));
const LANES = availableParallelism() >= 4 ? 3 : 2;
const PROGRESS_EVERY_MS = 10_000;
const OUTPUT_KEPT = 400_000; // characters
const running = new Map<ChildProcess, Outcome>();

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;

function runStage(stage: Stage): Promise<Outcome> {
  const started = performance.now();
  const outcome: Outcome = { stage, passed: 0, failed: 0, ms: 0, output: "", fault: undefined };
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", ...stage.args], {
    cwd: root,
    env: { ...process.env, NO_COLOR: "1", FORCE_COLOR: undefined },
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  running.set(child, outcome);
  let finished = false;
  child.on("message", (report: Report) => {
    Object.assign(outcome, { passed: report.passed, failed: report.failed });
    finished = report.done;
  });
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.setEncoding("utf8").on("data", (text: string) => void (outcome.output = (outcome.output + text).slice(-OUTPUT_KEPT)));
  }
  return new Promise((done) => {
    child.on("error", (error) => void (outcome.fault = error.message));
    child.on("close", (code, signal) => {
      running.delete(child);
      outcome.ms = performance.now() - started;
      judge(outcome, code ?? signal ?? "unknown", finished);
      say(summaryOf(outcome));
      // At once, and again at the end: nobody waits twenty minutes to read why.
      if (outcome.failed > 0) say(failuresIn(outcome));
      done(outcome);
    });
  });
}

/** A stage that died, or found nothing to test, is a failure even when no test failed. */
function judge(outcome: Outcome, exit: number | string, finished: boolean): void {
  const { stage } = outcome;
  if (!stage.reports) Object.assign(outcome, exit === 0 ? { passed: 1 } : { failed: 1 });
  else if (!finished) outcome.fault ??= `ended with ${exit} before it was through`;
  else if (outcome.passed + outcome.failed === 0) outcome.fault = "ran no test";
  else if (outcome.failed === 0 && exit !== 0) outcome.fault = `ended with ${exit}`;
  if (outcome.fault !== undefined) outcome.failed++;
}

function summaryOf({ stage, passed, failed, ms, fault }: Outcome): string {
  const note = fault === undefined ? "" : `  ${fault}`;
  return `${failed === 0 ? "✓" : "✗"} ${stage.name.padEnd(12)} ${String(passed).padStart(5)} passed ${String(failed).padStart(4)} failed  ${seconds(ms)}${note}`;
}

/** The part of a stage's output that tells of failures: from "N failing" on, or all that was kept when it crashed. */
function failuresIn({ output, fault, stage }: Outcome): string {
  const failing = stage.reports && fault === undefined ? output.search(/^\s*\d+ failing$/m) : -1;
  return output.slice(Math.max(0, failing)).trimEnd();
}

async function runAll(stages: Stage[]): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const stage of stages.filter(({ first }) => first)) outcomes.push(await runStage(stage));
  const queue = stages.filter(({ first }) => !first);
  const lane = async () => {
    for (let stage = queue.shift(); stage !== undefined; stage = queue.shift()) outcomes.push(await runStage(stage));
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return outcomes;
}

function showProgress(): NodeJS.Timeout {
  return setInterval(() => {
    const now = [...running.values()].map(({ stage, passed, failed }) => `${stage.name} ${passed}${failed > 0 ? ` (${failed} failed)` : ""}`);
    if (now.length > 0) say(`  … ${now.join(", ")}`);
  }, PROGRESS_EVERY_MS).unref();
}

function endChildrenOnSignal(): void {
  const end = () => {
    for (const child of running.keys()) child.kill("SIGTERM");
    process.exit(130);
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, end);
  process.on("disconnect", end); // the launcher is gone
}

const stages = chosenStages(process.argv.slice(2));
if (stages === undefined) {
  say(`Stages: ${allStages().map(({ name }) => name).join(", ")}. Or give test files.`);
  process.exit(2);
}
endChildrenOnSignal();
const started = performance.now();
const progress = showProgress();
const outcomes = await runAll(stages);
clearInterval(progress);
for (const outcome of outcomes.filter(({ failed }) => failed > 0)) say(`\n──── ${outcome.stage.name} ${"─".repeat(60)}\n${failuresIn(outcome)}`);
const total = (pick: "passed" | "failed") => outcomes.reduce((sum, outcome) => sum + outcome[pick], 0);
say(`\n${outcomes.length} stages in ${seconds(performance.now() - started)}`);
process.stdout.write(`${total("passed")} passed, ${total("failed")} failed\n`, () => process.exit(total("failed") > 0 ? 1 : 0));
