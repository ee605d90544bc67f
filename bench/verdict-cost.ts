// What it costs to buy a verdict of DisputeEvaluator, by simulation: an attacker that holds a share of all seats' stake, panels drawn by stake without
// anybody twice, the median of the votes. Seeded, so that the same numbers come out everywhere. `--update` rewrites the table in docs/JOBS.md.
//
// Bought means: the median is the attacker's, in the first panel when nobody escalates, or in the second: whoever loses the first may ask for it,
// the attacker too. Its verifiers reveal, so they lose nothing but their name: what it costs is the stake that has to be held, and what is at
// stake is at most ten times a panel's bonds.
import { readFileSync, writeFileSync } from "node:fs";
import { SEAT_BOND_ATOMIC } from "../ignition/modules/Tallystick.ts";
import { columns, commit, machine, type Report } from "./report.ts";

const PAGE = new URL("../docs/JOBS.md", import.meta.url);
const BLOCK = /<!-- bench:verdict-cost -->\n[\s\S]*?<!-- \/bench:verdict-cost -->/;

const PANELS = [1, 3, 5, 7, 9];
/** Percent of the lots in the draw that are the attacker's. */
const SHARES = [10, 20, 33, 50, 67];
const TRIALS = 20_000;
const VERIFIERS = 200;
/** IDisputeEvaluator.VALUE_MULTIPLE. */
const VALUE_MULTIPLE = 10n;

export type Row = { panelSize: number; sharePercent: number; stakeAtomic: string; mostValueAtomic: string; firstPanel: number; afterEscalation: number };

/** A small generator with a fixed seed (mulberry32): the simulation is to be repeatable, not secret. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let word = Math.imul(state ^ (state >>> 15), 1 | state);
    word = (word + Math.imul(word ^ (word >>> 7), 61 | word)) ^ word;
    return ((word ^ (word >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** How many of `seats` go to the attacker, who holds `theirs` of `left` verifiers, each of one lot, nobody twice. */
function drawn(random: () => number, seats: number, theirs: number, left: number): number {
  let bought = 0;
  for (let seat = 0; seat < seats; seat++) if (random() * (left - seat) < theirs - bought) bought++;
  return bought;
}

/** The median is the attacker's when it has more than half; of an even number of votes it would be the mean of two, and panels are odd. */
const decides = (bought: number, seats: number): boolean => bought * 2 > seats;

export function simulate(panelSize: number, sharePercent: number, trials = TRIALS): Row {
  const random = seeded(panelSize * 1_000 + sharePercent);
  const theirs = Math.round((VERIFIERS * sharePercent) / 100);
  const second = 2 * panelSize + 1;
  let [first, final] = [0, 0];
  for (let trial = 0; trial < trials; trial++) {
    const bought = drawn(random, panelSize, theirs, VERIFIERS);
    if (decides(bought, panelSize)) first++;
    // Those of the first panel do not sit on the second.
    if (decides(drawn(random, second, theirs - bought, VERIFIERS - panelSize), second)) final++;
  }
  return {
    panelSize, sharePercent, stakeAtomic: String(BigInt(theirs) * SEAT_BOND_ATOMIC), mostValueAtomic: String(VALUE_MULTIPLE * BigInt(panelSize) * SEAT_BOND_ATOMIC),
    firstPanel: first / trials, afterEscalation: final / trials,
  };
}

export const simulateAll = (): Row[] => PANELS.flatMap((panelSize) => SHARES.map((share) => simulate(panelSize, share)));

const dollars = (atomic: string): string => (BigInt(atomic) / 1_000_000n).toLocaleString("en");
const percent = (share: number): string => `${(share * 100).toFixed(2)}%`;

function rowsOf(rows: readonly Row[]): string[][] {
  return rows.map(({ panelSize, sharePercent, stakeAtomic, mostValueAtomic, firstPanel, afterEscalation }) => [String(panelSize), `${sharePercent}%`, dollars(stakeAtomic), dollars(mostValueAtomic), percent(firstPanel), percent(afterEscalation)]);
}
const HEADS = ["panel", "share bought", "stake, USDC", "largest job, USDC", "first panel", "after escalation"];

/** As a table of the page. */
export const markdown = (rows: readonly Row[]): string => [`| ${HEADS.join(" | ")} |`, `|${"---:|".repeat(HEADS.length)}`, ...rowsOf(rows).map((row) => `| ${row.join(" | ")} |`)].join("\n");

export async function run(args: string[]): Promise<Report> {
  const rows = simulateAll();
  if (args.includes("--update")) {
    const page = readFileSync(PAGE, "utf8");
    if (!BLOCK.test(page)) throw new Error("docs/JOBS.md has no block for verdict-cost");
    writeFileSync(PAGE, page.replace(BLOCK, `<!-- bench:verdict-cost -->\n${markdown(rows)}\n<!-- /bench:verdict-cost -->`));
  }
  return { bench: "verdict-cost", machine: machine(), commit: commit(), trials: TRIALS, verifiers: VERIFIERS, rows };
}

export function table(report: Report): string {
  return columns([HEADS, ...rowsOf(report["rows"] as Row[])]);
}
