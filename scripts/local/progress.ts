// What the user sees while things happen, on stderr: a line a step, a bar for the main job (lines when it is no terminal).
import cliProgress from "cli-progress";
import { formatUnits } from "viem";
import type { Steps } from "./world.ts";

const LINE_EVERY_MS = 3_000;

export const say = (line: string): void => void process.stderr.write(`${line}\n`);

/** USDC with its six decimals: 1.022000. */
export const usdc = (atomic: bigint): string => Number(formatUnits(atomic, 6)).toFixed(6);

/** Prints each step when it is done, with the time it took. */
export const printedSteps: Steps = async (what, work) => {
  const started = performance.now();
  try {
    const result = await work();
    say(`  ✓ ${what.padEnd(26)} ${seconds(performance.now() - started)}`);
    return result;
  } catch (error) {
    say(`  ✗ ${what.padEnd(26)} ${seconds(performance.now() - started)}`);
    throw error;
  }
};

export const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;

export type Counts = { calls: number; paidAtomic: bigint; settledAtomic: bigint };
export type JobProgress = { show(counts: Counts): void; stop(): void };

/** A bar over `total` calls. */
export function startProgress(total: number): JobProgress {
  const started = performance.now();
  const rate = (calls: number) => (calls / ((performance.now() - started) / 1_000)).toFixed(0);
  if (!process.stderr.isTTY) return plainLines(total, rate);
  const format = "  calls {value}/{total} {bar} {percentage}%  paid {paid}  settled {settled} USDC  {rate}/s";
  const bar = new cliProgress.SingleBar({ format, stream: process.stderr, hideCursor: true });
  bar.start(total, 0, { paid: usdc(0n), settled: usdc(0n), rate: "0" });
  return {
    show: ({ calls, paidAtomic, settledAtomic }) => bar.update(calls, { paid: usdc(paidAtomic), settled: usdc(settledAtomic), rate: rate(calls) }),
    stop: () => bar.stop(),
  };
}

function plainLines(total: number, rate: (calls: number) => string): JobProgress {
  let shown = performance.now();
  let last: Counts = { calls: 0, paidAtomic: 0n, settledAtomic: 0n };
  const print = () => say(`  calls ${last.calls}/${total}  paid ${usdc(last.paidAtomic)}  settled ${usdc(last.settledAtomic)} USDC  ${rate(last.calls)}/s`);
  return {
    show(counts) {
      last = counts;
      if (performance.now() - shown < LINE_EVERY_MS) return;
      shown = performance.now();
      print();
    },
    stop: print,
  };
}
