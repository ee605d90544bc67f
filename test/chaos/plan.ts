// What happens in a round, decided before it begins. Pure: a seed gives the same plans. How the processes interleave is real
// concurrency and differs from run to run.
import { COMMIT_POINTS, type CommitPoint } from "../../relayer/src/commit-points.ts";
import { random, seedFor, type Random } from "./random.ts";

export const ACTORS = [
  "steady", "parallel", "twin", "replayer", "aborter", "withdrawer", "dust", "overdraft", "failing", "refunder", "exact", "exactTwin", "frontrunner", "runaway", "streamer", "meter", "meddler", "wallet", "opener", "mandated", "employer", "lister", "payee",
] as const;
export type ActorKind = (typeof ACTORS)[number];

/** `pauseMs`: about how long it rests between two purchases. */
export type ActorPlan = { id: string; kind: ActorKind; seed: number; pauseMs: number };

/** What is done to the world, one after the other; how fast that goes is the machine's business. */
export type Step = {
  id: string;
  /** Waits so long before it. */
  afterMs: number;
  /** Waits before it until all processes serve; else it comes while some are down. */
  whenHealthy: boolean;
} & (Kill | Fault);

/** A kill -9: the nth time that some process reaches a point, or of one process at once. */
export type Kill = { kind: "kill"; at: { point: CommitPoint; nth: number } | { slot: number } };

export type Fault =
  | { kind: "postgres"; how: "kill" | "immediate" }
  | { kind: "rpc"; method: string; how: "drop" | "lose" | "error" | "delay" | "stale"; times: number }
  /** Blocks of the last `depthMs` vanish; what was in them comes back, or the relayer's own part of it does not. */
  | { kind: "reorg"; depthMs: number; comesBack: "all" | "not ours" | "half of ours" }
  /** No block is made for a while. */
  | { kind: "stall"; forMs: number }
  /** A process stands still while its leases run out. */
  | { kind: "freeze"; slot: number; forMs: number };

export type Plan = {
  seed: number;
  round: number;
  mode: "tallystick" | "canonical";
  /** RPC endpoints of every process; the first is the faulty one. */
  endpoints: 1 | 3;
  servers: number;
  workers: number;
  actors: ActorPlan[];
  steps: Step[];
};

export const killsOf = ({ steps }: Plan): (Step & Kill)[] => steps.filter((step): step is Step & Kill => step.kind === "kill");

const RPC_METHODS = ["eth_sendRawTransaction", "eth_getTransactionReceipt", "eth_blockNumber", "eth_call", "eth_estimateGas", "eth_getLogs", "eth_getTransactionCount", "*"];
/** A stale node says that it has no receipt, or an older block. Not every method can be stale and still be a node. */
const STALE = ["eth_getTransactionReceipt", "eth_blockNumber"];

/** Plans without end. */
export function* plans(seed: number): Generator<Plan> {
  const points = cycle(seed);
  for (let round = 1; ; round++) yield planOf(seed, round, points);
}

export function firstPlans(seed: number, count: number): Plan[] {
  const first: Plan[] = [];
  for (const plan of plans(seed)) if (first.push(plan) === count) break;
  return first;
}

/** Reached once in a round, and in some not at all: of the traps that are set there most find nobody. */
export const SELDOM: readonly CommitPoint[] = ["tx.committed.settle", "tx.committed.settle"];

/** Every commit point once, those seldom reached more often, in an order of its own; then all of them again. */
function* cycle(seed: number): Generator<CommitPoint> {
  for (let turn = 0; ; turn++) yield* random(seedFor(seed, "points", turn)).shuffle([...COMMIT_POINTS, ...SELDOM]);
}

function planOf(seed: number, round: number, points: Generator<CommitPoint>): Plan {
  const draw = random(seedFor(seed, "round", round));
  const [servers, workers] = [2, draw.int(1, 2)];
  const steps = stepsOf(draw, servers + workers, points);
  const mild = !steps.some((step) => step.kind === "reorg" && step.comesBack !== "all");
  return { seed, round, mode: round % 2 === 1 ? "tallystick" : "canonical", endpoints: draw.oneIn(3) ? 3 : 1, servers, workers, actors: actorsOf(seed, round, draw, mild), steps };
}

/**
 * A payer that races its own transfer is only in rounds whose reorganisations keep all: with one confirmation configured, a block that
 * vanishes after it counted is a loss that no relayer can make good.
 */
function actorsOf(seed: number, round: number, draw: Random, mild: boolean): ActorPlan[] {
  const kinds = ACTORS.filter((kind) => mild || (kind !== "frontrunner" && kind !== "runaway"));
  return kinds.map((kind) => ({ id: `${round}-${kind}`, kind, seed: seedFor(seed, "actor", round, kind), pauseMs: draw.int(500, 1_500) }));
}

const KILLS_A_ROUND = [12, 18] as const;
/** Reached many times in any round, so a later time is as likely to come as the first. */
const FREQUENT = /^(payment|upstream|answer|views|cursor)\.|^tx\.(broadcast|resolved)$|^stream\.charged$/;

/** Reached once or twice in a round: a trap that is set late would find nobody. */
const RARE = /^mandate\.|^tx\.committed\.settle$|^refund\.closed$/;
const isRare = (step: Kill | Fault): boolean => step.kind === "kill" && "point" in step.at && RARE.test(step.at.point);

function stepsOf(draw: Random, slots: number, points: Generator<CommitPoint>): Step[] {
  const kills = Array.from({ length: draw.int(...KILLS_A_ROUND) }, (): Kill => {
    if (draw.oneIn(6)) return { kind: "kill", at: { slot: draw.int(0, slots - 1) } };
    const point = points.next().value as CommitPoint;
    return { kind: "kill", at: { point, nth: FREQUENT.test(point) ? draw.int(1, 3) : 1 } };
  });
  const order = draw.shuffle([...kills, ...faultsOf(draw, slots)]);
  return [...order.filter(isRare), ...order.filter((step) => !isRare(step))].flatMap(withItsCause).map((what, index) => ({ id: `${what.kind}${index + 1}`, afterMs: draw.int(0, 250), whenHealthy: draw.oneIn(2), ...what }));
}

/** Fees are raised only while no block comes. */
function withItsCause(step: Kill | Fault): (Kill | Fault)[] {
  const bumped = step.kind === "kill" && "point" in step.at && step.at.point === "tx.bumped";
  return bumped ? [{ kind: "stall", forMs: 2_000 }, step] : [step];
}

function faultsOf(draw: Random, slots: number): Fault[] {
  const faults: Fault[] = [{ kind: "stall", forMs: draw.int(900, 1_800) }];
  if (draw.oneIn(2)) faults.push({ kind: "postgres", how: draw.pick(["kill", "immediate"]) });
  if (draw.oneIn(2)) faults.push({ kind: "reorg", depthMs: draw.int(200, 1_200), comesBack: draw.pick(["all", "not ours", "half of ours"]) });
  if (draw.oneIn(3)) faults.push({ kind: "freeze", slot: draw.int(0, slots - 1), forMs: draw.int(300, 1_500) });
  for (let index = draw.int(2, 5); index > 0; index--) {
    const method = draw.pick(RPC_METHODS);
    const how = draw.pick(STALE.includes(method) ? (["drop", "lose", "error", "delay", "stale"] as const) : (["drop", "lose", "error", "delay"] as const));
    faults.push({ kind: "rpc", method, how, times: draw.int(1, 6) });
  }
  return faults;
}

/** A plan in a few lines, for people. */
export function described(plan: Plan): string[] {
  return [
    `round ${plan.round} of seed ${plan.seed}: ${plan.mode}, ${plan.servers} servers, ${plan.workers} workers, ${plan.endpoints} ${plan.endpoints === 1 ? "endpoint" : "endpoints"}`,
    `  actors: ${plan.actors.map(({ kind }) => kind).join(", ") || "none"}`,
    `  steps: ${plan.steps.map(describedStep).join(", ") || "none"}`,
  ];
}

function describedStep({ id: _id, afterMs, whenHealthy, ...what }: Step): string {
  const when = `${whenHealthy ? "" : "(while others are down) "}after ${afterMs} ms `;
  if (what.kind !== "kill") return `${when}${Object.values(what).join(" ")}`;
  return `${when}kill ${"point" in what.at ? `at ${what.at.point} #${what.at.nth}` : `process ${what.at.slot}`}`;
}
