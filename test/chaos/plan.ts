// What happens in a round, decided before it begins. Pure: a seed gives the same plans. How the processes interleave is real
// concurrency and differs from run to run.
import { COMMIT_POINTS, type CommitPoint } from "../../relayer/src/commit-points.ts";
import { random, seedFor, type Random } from "./random.ts";

export const ACTORS = [
  "steady", "parallel", "twin", "replayer", "aborter", "withdrawer", "dust", "overdraft", "failing", "refunder", "exact", "exactTwin", "frontrunner", "runaway", "streamer", "meter", "meddler", "wallet",
] as const;
export type ActorKind = (typeof ACTORS)[number];

export type ActorPlan = { id: string; kind: ActorKind; seed: number; steps: number };

/** A kill -9: at the nth time that some process reaches a point, counted from `atMs`, or of one process at that time. */
export type Kill = { id: string; atMs: number; at: { point: CommitPoint; nth: number } | { slot: number } };

export type Fault = { id: string; atMs: number } & (
  | { kind: "postgres"; how: "kill" | "immediate" }
  | { kind: "rpc"; method: string; how: "drop" | "lose" | "error" | "delay" | "stale"; times: number }
  /** Blocks of the last `depthMs` vanish; what was in them comes back, or the relayer's own part of it does not. */
  | { kind: "reorg"; depthMs: number; comesBack: "all" | "not ours" | "half of ours" }
  /** No block is made for a while. */
  | { kind: "stall"; forMs: number }
  /** A process stands still while its leases run out. */
  | { kind: "freeze"; slot: number; forMs: number }
);

export type Plan = {
  seed: number;
  round: number;
  mode: "tallystick" | "canonical";
  /** RPC endpoints of every process; the first is the faulty one. */
  endpoints: 1 | 3;
  servers: number;
  workers: number;
  durationMs: number;
  actors: ActorPlan[];
  kills: Kill[];
  faults: Fault[];
};

const RPC_METHODS = ["eth_sendRawTransaction", "eth_getTransactionReceipt", "eth_blockNumber", "eth_call", "eth_estimateGas", "eth_getLogs", "eth_getTransactionCount", "*"];
/** A stale node says that it has no receipt, or an older block. Not every method can be stale and still be a node. */
const STALE = ["eth_getTransactionReceipt", "eth_blockNumber"];

/** Plans without end. */
export function* plans(seed: number): Generator<Plan> {
  const points = cycle(seed);
  for (let round = 1; ; round++) yield planOf(seed, round, points);
}

/** Every commit point once, in an order of its own, then all of them again. */
function* cycle(seed: number): Generator<CommitPoint> {
  for (let turn = 0; ; turn++) yield* random(seedFor(seed, "points", turn)).shuffle(COMMIT_POINTS);
}

function planOf(seed: number, round: number, points: Generator<CommitPoint>): Plan {
  const draw = random(seedFor(seed, "round", round));
  const [servers, workers, durationMs] = [2, draw.int(1, 2), draw.int(5_000, 7_000)];
  const faults = faultsOf(draw, durationMs, servers + workers);
  const mild = !faults.some((fault) => fault.kind === "reorg" && fault.comesBack !== "all");
  return {
    seed, round,
    mode: round % 2 === 1 ? "tallystick" : "canonical",
    endpoints: draw.oneIn(3) ? 3 : 1,
    servers, workers, durationMs,
    actors: actorsOf(seed, round, draw, mild),
    kills: killsOf(draw, durationMs, servers + workers, points),
    faults,
  };
}

/**
 * A payer that races its own transfer is only in rounds whose reorganisations keep all: with one confirmation configured, a block that
 * vanishes after it counted is a loss that no relayer can make good.
 */
function actorsOf(seed: number, round: number, draw: Random, mild: boolean): ActorPlan[] {
  const kinds = ACTORS.filter((kind) => mild || (kind !== "frontrunner" && kind !== "runaway"));
  return kinds.map((kind) => ({ id: `${round}-${kind}`, kind, seed: seedFor(seed, "actor", round, kind), steps: draw.int(8, 16) }));
}

function killsOf(draw: Random, durationMs: number, slots: number, points: Generator<CommitPoint>): Kill[] {
  const count = draw.int(7, 11);
  return Array.from({ length: count }, (_, index): Kill => {
    const atMs = Math.floor((durationMs * 0.8 * index) / count) + draw.int(0, 300);
    const id = `k${index + 1}`;
    if (draw.oneIn(6)) return { id, atMs, at: { slot: draw.int(0, slots - 1) } };
    return { id, atMs, at: { point: points.next().value as CommitPoint, nth: draw.int(1, 3) } };
  });
}

function faultsOf(draw: Random, durationMs: number, slots: number): Fault[] {
  const at = () => draw.int(200, Math.floor(durationMs * 0.75));
  const faults: Fault[] = [{ id: "f-stall", atMs: at(), kind: "stall", forMs: draw.int(900, 1_800) }];
  if (draw.oneIn(2)) faults.push({ id: "f-postgres", atMs: at(), kind: "postgres", how: draw.pick(["kill", "immediate"]) });
  if (draw.oneIn(2)) faults.push({ id: "f-reorg", atMs: at(), kind: "reorg", depthMs: draw.int(200, 1_200), comesBack: draw.pick(["all", "not ours", "half of ours"]) });
  if (draw.oneIn(3)) faults.push({ id: "f-freeze", atMs: at(), kind: "freeze", slot: draw.int(0, slots - 1), forMs: draw.int(300, 1_500) });
  for (let index = draw.int(2, 5); index > 0; index--) {
    const method = draw.pick(RPC_METHODS);
    const how = draw.pick(STALE.includes(method) ? (["drop", "lose", "error", "delay", "stale"] as const) : (["drop", "lose", "error", "delay"] as const));
    faults.push({ id: `f-rpc${index}`, atMs: at(), kind: "rpc", method, how, times: draw.int(1, 6) });
  }
  return faults.sort((a, b) => a.atMs - b.atMs);
}

/** A plan in a few lines, for people. */
export function described(plan: Plan): string[] {
  const kill = ({ id, atMs, at }: Kill) => `${id}@${atMs} ${"point" in at ? `${at.point}#${at.nth}` : `process ${at.slot}`}`;
  const fault = ({ id: _id, atMs, kind, ...rest }: Fault) => `${kind}@${atMs} ${Object.values(rest).join(" ")}`;
  return [
    `round ${plan.round} of seed ${plan.seed}: ${plan.mode}, ${plan.servers} servers, ${plan.workers} workers, ${plan.endpoints} endpoints, ${plan.durationMs} ms`,
    `  actors: ${plan.actors.map(({ kind, steps }) => `${kind}×${steps}`).join(", ") || "none"}`,
    `  kills: ${plan.kills.map(kill).join(", ") || "none"}`,
    `  faults: ${plan.faults.map(fault).join(", ") || "none"}`,
  ];
}
