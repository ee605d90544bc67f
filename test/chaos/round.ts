// One round: processes up, actors and faults at the same time, then quiet, then the books.
import { LOCAL_AUDIT_ANCHOR, LOCAL_DISPUTE_EVALUATOR, LOCAL_JOB_ESCROW } from "../../sdk/src/constants.ts";
import { readdirSync, readFileSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { numberToHex, type Address, type Hex } from "viem";
import { rpc } from "../../scripts/local/chain.ts";
import { freePort } from "../../scripts/local/process.ts";
import { addressOf, keyOf, ROLE, testEnvironment } from "../support/config.ts";
import { ACTOR, goesOn, PRICE, type Probe } from "./actors.ts";
import { Books, type Violation } from "./books.ts";
import { PUBLIC_URL } from "./api.ts";
import { Buyer, type Stage } from "./buyer.ts";
import { fetchAgain, UNIT } from "./delivery.ts";
import { carryOut, STREAM_LEASE_MS } from "./faults.ts";
import { channelRows, contradicted, mandateFaults, passTime, paymentRows, trailOf, unresolved, unresolvedPayments, type ChannelRow } from "./ledger.ts";
import { receiverOf } from "./payee.ts";
import { killsOf, type Plan } from "./plan.ts";
import { Processes, type SlotOptions } from "./processes.ts";
import { checkBooks, checkUnbilled, checkUnchanged } from "./verify.ts";
import { checkChain, checkTransactions, heldByContract } from "./verify-chain.ts";
import { checkJobs, checkListings, heldForJobs, type Held } from "./verify-jobs.ts";
import type { World } from "./world.ts";

/** Accounts that pay gas, each a nonce lane of its own. */
const LANES = [ROLE.submitter, 14];
const FUNDS = 1_000n * PRICE;
const UPSTREAM_TIMEOUT_MS = 1_000;
const UNBILLED_MOST = 25;
/** A limit that no round comes to. */
const MANY = "100000";
/** Before anything fails: channels are opened. */
const WARM_UP_MS = 700;
const NEWCOMER_MOST_MS = 90_000;
/** What has not ended by then never will: a slow machine needs ten seconds, one with ten other things to do a minute. */
const QUIET_MOST_MS = 180_000;

export type RoundResult = {
  plan: Plan;
  violations: (Violation & { trail: string[] })[];
  /** By point: how often it was reached, how often a process died there. */
  points: Map<string, { hits: number; kills: number }>;
  /** Kills at no point in particular. */
  randomKills: number;
  purchases: number;
  charged: number;
  seconds: Record<"start" | "activity" | "quiet" | "audit", number>;
};

/** @param nonce makes the accounts of this attempt its own. */
export async function runRound(world: World, plan: Plan, nonce: string, planted?: string): Promise<RoundResult> {
  const seconds = { start: 0, activity: 0, quiet: 0, audit: 0 };
  const timed = async <T>(what: keyof typeof seconds, work: Promise<T>): Promise<T> => {
    const began = performance.now();
    return work.finally(() => void (seconds[what] = (performance.now() - began) / 1_000));
  };
  const folder = join(world.folder, `round-${nonce}`);
  await mkdir(folder, { recursive: true });
  const receivers = [receiverOf(nonce, "shop").address, receiverOf(nonce, "solo").address] as const;
  for (const lane of LANES) await rpc(world.chainUrl, "hardhat_setBalance", [addressOf(lane), numberToHex(10n ** 21n)]);
  const processes = new Processes(folder, await slotsOf(world, plan, receivers), planted);
  const books = new Books();
  try {
    const fromBlock = await world.client.getBlockNumber();
    const heldBefore = { channels: await heldByContract(world), jobs: await heldForJobs(world) };
    const servers = processes.slots.filter(({ name }) => name.startsWith("server")).map(({ url }) => url);
    const stage: Stage = { world, books, servers, deadline: Infinity, nonce };
    const buyers = plan.actors.map((actor) => new Buyer(stage, actor));
    await timed("start", Promise.all([processes.start(), ...buyers.map((buyer) => buyer.fund(FUNDS))]));
    const probes = await timed("activity", act(plan, world, processes, stage, buyers));
    await timed("quiet", settleDown(world, processes, books, plan));
    if (books.violations.length === 0) await timed("audit", audit({ world, processes, books, plan, stage, probes, receivers, fromBlock, heldBefore }));
    for (const deadlock of await world.newDeadlocks()) books.violate("two transactions wait for each other", deadlock);
    for (const crash of processes.crashes) books.violate("a process died by itself", crash);
    const violations = await Promise.all(books.violations.map(async (violation) => ({ ...violation, trail: await trail(world, folder, violation) })));
    const { points, randomKills } = accountOf(plan, processes);
    const charged = books.purchases.filter(({ attempts }) => attempts.some((attempt) => attempt.kind === "answer" && attempt.paid)).length;
    return { plan, violations, points, randomKills, purchases: books.purchases.length, charged, seconds };
  } finally {
    await processes.stop();
    world.faulty.heal();
    if (books.violations.length === 0) await rm(folder, { recursive: true, force: true });
  }
}

async function slotsOf(world: World, plan: Plan, [shop, solo]: readonly [Address, Address]): Promise<SlotOptions[]> {
  const sold = { origin: world.provider.origin, priceAtomic: String(PRICE), upstreamTimeoutMs: UPSTREAM_TIMEOUT_MS, minDepositCalls: 1, withdrawDelayS: 900 };
  const services = [
    { ...sold, name: "shop", receiver: shop },
    { ...sold, name: "solo", receiver: solo },
    { ...sold, name: "words", receiver: shop, streamUnit: "event", streamPriceAtomic: String(UNIT) },
  ];
  const rpcUrl = plan.endpoints === 1 ? world.faulty.url : [world.faulty.url, world.clean.url, world.clean.url].join(",");
  const names = [...Array.from({ length: plan.servers }, (_, index) => `server-${index}`), ...Array.from({ length: plan.workers }, (_, index) => `worker-${index}`)];
  return Promise.all(
    names.map(async (name) => {
      const port = await freePort();
      const env = testEnvironment(world.databaseUrl, rpcUrl, services, {
        RELAYER_PORT: String(port), RELAYER_SUBMITTER_KEYS: LANES.map(keyOf).join(","), RELAYER_PUBLIC_URL: PUBLIC_URL, RELAYER_ROLE: name.split("-")[0]!, RELAYER_SETTLEMENT_MODE: plan.mode, RELAYER_LOG_LEVEL: "info",
        RELAYER_CHAIN_POLL_MS: "200", RELAYER_CHAIN_MAX_LAG_MS: "8000", RELAYER_SWEEP_MS: "150", RELAYER_BUMP_AFTER_MS: "400", RELAYER_SETTLE_MAX_AGE_S: "1", RELAYER_SETTLE_MIN_VALUE: "20000",
        RELAYER_SETTLE_MAX_ROWS: "3", RELAYER_MAX_UNBILLED_RUNS: String(UNBILLED_MOST), RELAYER_FEE_BPS: "100", RELAYER_INVOICE_THRESHOLD: "1",
        RELAYER_GUARD_KEY: keyOf(LANES.length + 1), RELAYER_AUDIT_ANCHOR: LOCAL_AUDIT_ANCHOR, RELAYER_AUDIT_ANCHOR_PERIOD_S: "2",
        RELAYER_JOB_ESCROW: LOCAL_JOB_ESCROW, RELAYER_DISPUTE_EVALUATOR: LOCAL_DISPUTE_EVALUATOR, RELAYER_JOB_MIN_BUDGET: "1000", RELAYER_JOBS_PER_CLIENT: MANY, RELAYER_JOB_TRANSACTIONS_PER_HOUR: MANY,
        RELAYER_LISTING_ACTS_PER_OWNER: MANY, RELAYER_LISTING_ACTS: MANY,
      });
      return { name, url: `http://127.0.0.1:${port}`, env };
    }),
  );
}

/** Actors go on until the last step is over. */
async function act(plan: Plan, world: World, processes: Processes, stage: Stage, buyers: readonly Buyer[]): Promise<Probe[]> {
  const acting = buyers.map((buyer) => ACTOR[buyer.plan.kind](buyer));
  await Promise.race([sleep(WARM_UP_MS), Promise.all(acting)]);
  try {
    await carryOut(plan, world, processes);
  } finally {
    stage.deadline = performance.now();
  }
  return (await Promise.all(acting)).flat();
}

/** Everybody healthy, nothing under way. What does not come to an end is a violation. */
async function settleDown(world: World, processes: Processes, books: Books, plan: Plan): Promise<void> {
  world.faulty.heal();
  for (const index of processes.slots.keys()) processes.signal(index, "SIGCONT");
  await processes.disarm();
  await processes.whenHealthy().catch(() => {
    for (const { name, ready } of processes.slots) if (!ready) books.violate("a process does not come back", `${name}: ${processes.lastWords(name)}`);
  });
  if (books.violations.length > 0) return;
  // Whoever took its money away leaves a payment that is waited for until it can never come.
  const runaways = plan.actors.filter(({ kind }) => kind === "runaway").map(({ id }) => id);
  const payers = [...new Set(books.purchases.filter(({ actor }) => !runaways.includes(actor)).map(({ payer }) => payer))];
  const deadline = performance.now() + QUIET_MOST_MS;
  await passTime(world.db, 0, 0, STREAM_LEASE_MS);
  for (let left = await unresolved(world.db, payers); Object.values(left).some((count) => count > 0); left = await unresolved(world.db, payers)) {
    if (performance.now() > deadline) {
      const [paymentId] = await unresolvedPayments(world.db, payers);
      return books.violate("something never ends", `still under way after ${QUIET_MOST_MS / 1000} s: ${JSON.stringify(left)}`, paymentId === undefined ? {} : { paymentId });
    }
    await passTime(world.db, 0, 0, STREAM_LEASE_MS);
    await sleep(100);
  }
}

async function flush(world: World, processes: Processes, books: Books, plan: Plan): Promise<void> {
  const deadline = performance.now() + QUIET_MOST_MS;
  while (!(await processes.flush())) {
    if (performance.now() > deadline) return books.violate("settlement never ends", `not everything was claimed in ${QUIET_MOST_MS / 1000} s`);
    await sleep(100);
  }
  await settleDown(world, processes, books, plan);
}

type Audit = { world: World; processes: Processes; books: Books; plan: Plan; stage: Stage; probes: Probe[]; receivers: readonly Address[]; fromBlock: bigint; heldBefore: { channels: bigint; jobs: Held } };

async function audit({ world, processes, books, plan, stage, probes, receivers, fromBlock, heldBefore }: Audit): Promise<void> {
  const payers = () => [...books.funded.keys()];
  const read = async () => {
    const channels = (await channelRows(world.db)).filter(({ channelId }) => books.channels.has(channelId));
    return { payments: await paymentRows(world.db, payers()), channels, byId: new Map<Hex, ChannelRow>(channels.map((row) => [row.channelId, row])) };
  };
  const before = await read();
  await fetchAgain(stage, before.payments, before.byId);
  checkUnchanged(books, before.payments, (await read()).payments);
  for (const probe of probes) await probe();
  const newcomer = new Buyer({ ...stage, deadline: performance.now() + NEWCOMER_MOST_MS }, { id: `${plan.round}-newcomer`, kind: "steady", seed: plan.seed, pauseMs: 0 });
  await newcomer.fund(FUNDS);
  if (!(await goesOn(newcomer))) books.violate("business does not go on", `a new buyer could not buy in ${NEWCOMER_MOST_MS / 1000} s, with everything healthy`);
  await flush(world, processes, books, plan);
  await caughtUp(world);
  const { payments, channels, byId } = await read();
  const runsOf = (tag: string) => world.provider.runs.get(tag) ?? [];
  for (const { mandateId, what } of await mandateFaults(world.db)) books.violate("a mandate's account is wrong", `${mandateId}: ${what}`);
  for (const paymentId of await contradicted(world.db, payments.map((row) => row.paymentId))) books.violate("given back and charged", `${paymentId} was both`, { paymentId });
  checkBooks(books, runsOf, payments, byId);
  // Under way at once, or begun by a process that died before it could write down how it ended.
  checkUnbilled(books, runsOf, UNBILLED_MOST + 8 + 4 * killsOf(plan).length);
  await checkTransactions(world, books, LANES.map(addressOf), fromBlock);
  await checkJobs({ world, books, fromBlock, heldBefore: heldBefore.jobs });
  await checkListings({ world, books, fromBlock });
  await checkChain({ world, books, channels, payments, receivers, fromBlock, heldBefore: heldBefore.channels });
}

/** The followers have read what the last transactions did. */
async function caughtUp(world: World): Promise<void> {
  await rpc(world.chainUrl, "evm_mine");
  await sleep(600);
}

function accountOf(plan: Plan, processes: Processes): Pick<RoundResult, "points" | "randomKills"> {
  const points = new Map<string, { hits: number; kills: number }>();
  const entry = (point: string) => points.get(point) ?? points.set(point, { hits: 0, kills: 0 }).get(point)!;
  for (const [point, hits] of processes.hits()) entry(point).hits += hits;
  for (const { id } of processes.trapsSprung()) {
    const kill = killsOf(plan).find((candidate) => candidate.id === id);
    if (kill !== undefined && "point" in kill.at) entry(kill.at.point).kills++;
  }
  return { points, randomKills: processes.randomKills };
}

const TRAIL_LINES = 30;

/** All that is known of the payment concerned: its row, and every process's log lines that name it. */
async function trail(world: World, folder: string, { paymentId }: Violation): Promise<string[]> {
  if (paymentId === undefined) return [];
  const rows = await trailOf(world.db, paymentId).catch((error: unknown) => [String(error)]);
  const lines = readdirSync(folder).filter((name) => name.endsWith(".log")).flatMap((name) => readFileSync(join(folder, name), "utf8").split("\n").filter((line) => line.includes(paymentId)).map((line) => `${name} ${shortened(line)}`));
  return [...rows, ...lines.slice(-TRAIL_LINES)];
}

/** A log line without what all lines have. */
function shortened(line: string): string {
  const { time, level, app: _app, err, ...rest } = JSON.parse(line) as Record<string, unknown>;
  return `${String(time).slice(11, 23)} ${level} ${JSON.stringify({ ...rest, ...(err === undefined ? {} : { err: (err as { message?: string }).message }) }).slice(0, 300)}`;
}
