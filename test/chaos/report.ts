// What people read: the table of what was reached, and the story of a failure.
import { COMMIT_POINTS } from "../../relayer/src/commit-points.ts";
import type { Campaign, Points } from "./campaign.ts";
import { described } from "./plan.ts";
import type { RoundResult } from "./round.ts";

export function coverage(points: Points): string[] {
  const widest = Math.max(...COMMIT_POINTS.map((point) => point.length));
  const rows = COMMIT_POINTS.map((point) => {
    const { hits, kills } = points.get(point) ?? { hits: 0, kills: 0 };
    return `  ${point.padEnd(widest)} ${String(hits).padStart(8)} ${String(kills).padStart(6)}`;
  });
  return [`  ${"commit point".padEnd(widest)} ${"reached".padStart(8)} ${"kills".padStart(6)}`, ...rows];
}

const SHOWN = 5;

export function story({ plan, violations }: RoundResult): string[] {
  return [
    ...described(plan),
    ...violations.slice(0, SHOWN).flatMap(({ rule, text, trail }) => [`  ✗ ${rule}: ${text}`, ...trail.map((line) => `      ${line}`)]),
    ...(violations.length > SHOWN ? [`  … ${violations.length - SHOWN} more`] : []),
  ];
}

/** The last line of `--json`. */
export function summary({ seed, kills, rounds, points }: Campaign, violations: number): string {
  const covered = Object.fromEntries(COMMIT_POINTS.map((point) => [point, points.get(point) ?? { hits: 0, kills: 0 }]));
  return JSON.stringify({ chaos: true, kills, violations, seed, rounds, points: covered });
}
