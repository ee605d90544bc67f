// Many rounds over one world, until there were enough kills; the first round that fails is made as small as it still fails.
import { COMMIT_POINTS } from "../../relayer/src/commit-points.ts";
import { random, seedFor } from "./random.ts";
import { described, killsOf, plans, type Plan } from "./plan.ts";
import { runRound, type RoundResult } from "./round.ts";
import { story } from "./report.ts";
import type { World } from "./world.ts";

export type Points = Map<string, { hits: number; kills: number }>;

export type Campaign = { seed: number; kills: number; rounds: number; purchases: number; paid: number; points: Points; randomKills: number; failed: (RoundResult & { world: World }) | undefined };

export type Say = (line: string) => void;

/** Of a thousand kills, twenty at each point. */
const KILLS_A_POINT = 1 / 50;
/** How much longer a run may take to see to that. */
const LONGEST = 1.3;
/** All that reads a chain takes longer the longer it is: after so many rounds a world makes room for a new one. */
const ROUNDS_A_WORLD = 8;

function isEnough({ kills, points }: Campaign, wanted: number): boolean {
  if (kills < wanted) return false;
  return kills >= wanted * LONGEST || COMMIT_POINTS.every((point) => (points.get(point)?.kills ?? 0) >= Math.floor(wanted * KILLS_A_POINT));
}

/**
 * Runs the plans of a seed, in order, until `kills` processes were killed, enough of them at every point, or a round failed. In several
 * worlds, which know nothing of each other, each takes the next plan when it is done with one. `renewed` gives a new world for one that has
 * seen enough rounds.
 */
export async function runCampaign(worlds: readonly World[], seed: number, kills: number, say: Say, renewed = async (world: World) => world): Promise<Campaign> {
  const campaign: Campaign = { seed, kills: 0, rounds: 0, purchases: 0, paid: 0, points: new Map(), randomKills: 0, failed: undefined };
  const all = plans(seed);
  const isOver = () => campaign.failed !== undefined || isEnough(campaign, kills);
  const runIn = async (first: World): Promise<void> => {
    let world = first;
    for (let rounds = 0; !isOver(); rounds++) {
      if (rounds > 0 && rounds % ROUNDS_A_WORLD === 0) world = await renewed(world);
      const whole = all.next().value as Plan;
      const plan = campaign.kills < kills ? atMost(whole, kills - campaign.kills) : whole;
      const result = await runRound(world, plan, `${seed}.${plan.round}`);
      add(campaign, result);
      for (const line of [...described(plan), `  ${summaryOf(result)}; ${campaign.kills} of ${kills} kills`]) say(line);
      if (result.violations.length === 0) continue;
      for (const line of story(result)) say(line);
      campaign.failed ??= { ...result, world };
    }
  };
  await Promise.all(worlds.map(runIn));
  return campaign;
}

/** The last round is as long as is needed. */
function atMost(plan: Plan, most: number): Plan {
  let kills = 0;
  return { ...plan, steps: plan.steps.filter(({ kind }) => kind !== "kill" || ++kills <= most) };
}

export function summaryOf({ violations, purchases, charged, seconds, points, randomKills }: RoundResult): string {
  const killed = [...points.values()].reduce((sum, point) => sum + point.kills, randomKills);
  const took = Object.entries(seconds).map(([what, value]) => `${what} ${value.toFixed(1)} s`).join(", ");
  return `${violations.length === 0 ? "✓" : "✗"} ${purchases} purchases, ${charged} answered, ${killed} kills, ${violations.length} violations (${took})`;
}

function add(campaign: Campaign, { points, randomKills, purchases, charged }: RoundResult): void {
  campaign.rounds++;
  campaign.purchases += purchases;
  campaign.paid += charged;
  campaign.randomKills += randomKills;
  campaign.kills += randomKills;
  for (const [point, { hits, kills }] of points) {
    const known = campaign.points.get(point) ?? { hits: 0, kills: 0 };
    campaign.points.set(point, { hits: known.hits + hits, kills: known.kills + kills });
    campaign.kills += kills;
  }
}

const TRIES_EACH = 2;
/** Shrinking ends then, with the smallest that was found. */
const SHRINK_MOST_MS = 240_000;

/**
 * Leaves out steps and actors for as long as the round fails all the same. Concurrency is real, so one run that passes proves nothing:
 * each smaller plan has two chances to fail.
 */
export async function shrink(world: World, failed: RoundResult, mostRuns: number, say: Say, planted?: string): Promise<RoundResult> {
  let smallest = failed;
  let runs = 0;
  const deadline = performance.now() + SHRINK_MOST_MS;
  const draw = random(seedFor(failed.plan.seed, "shrink", failed.plan.round));
  const fails = async (plan: Plan): Promise<boolean> => {
    for (let tries = 0; tries < TRIES_EACH && runs < mostRuns && performance.now() < deadline; tries++) {
      const result = await runRound(world, plan, `${plan.seed}.${plan.round}.shrink${++runs}.${draw.int(0, 1_000_000)}`, planted);
      say(`  shrinking: ${plan.steps.length} steps, ${plan.actors.length} actors ${result.violations.length === 0 ? "passed" : "failed"}`);
      if (result.violations.length === 0) continue;
      smallest = result;
      return true;
    }
    return false;
  };
  const concerned = new Set(failed.violations.flatMap(({ tag }) => failed.plan.actors.filter(({ id }) => tag?.includes(`-${id}-`)).map(({ id }) => id)));
  if (concerned.size > 0) await fails({ ...smallest.plan, actors: smallest.plan.actors.filter(({ id }) => concerned.has(id)) });
  if (killsOf(smallest.plan).length > 0 || smallest.plan.steps.length > 0) await fails({ ...smallest.plan, steps: [] });
  await halve("steps", () => smallest.plan, fails);
  await halve("actors", () => smallest.plan, fails);
  return smallest;
}

/** Leaves out halves, then quarters, and so on. */
async function halve(part: "steps" | "actors", plan: () => Plan, fails: (plan: Plan) => Promise<boolean>): Promise<void> {
  for (let size = Math.ceil(plan()[part].length / 2); size >= 1 && plan()[part].length > 1; size = Math.floor(size / 2)) {
    for (let start = 0; start < plan()[part].length; ) {
      const list: readonly unknown[] = plan()[part];
      const fewer = { ...plan(), [part]: [...list.slice(0, start), ...list.slice(start + size)] } as Plan;
      if (!(await fails(fewer))) start += size;
    }
  }
}
