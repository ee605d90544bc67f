// The main job's jobs, beside the paid calls: one is delivered and accepted by silence, one is disputed and split by a panel of three in which one
// lies, one is given up, and one stays open. Everybody signs; the relayer sends and pays the gas.
import { setTimeout as sleep } from "node:timers/promises";
import { createPublicClient, createWalletClient, http, maxUint256, numberToHex, type Address, type LocalAccount } from "viem";
import { baseSepolia } from "viem/chains";
import { disputeEvaluatorAbi } from "../../sdk/src/abi/dispute-evaluator.ts";
import { jobEscrowAbi } from "../../sdk/src/abi/job-escrow.ts";
import { testUSDCAbi } from "../../sdk/src/abi/test-usdc.ts";
import { BASE_SEPOLIA, LOCAL_DISPUTE_EVALUATOR, LOCAL_JOB_ESCROW } from "../../sdk/src/constants.ts";
import { jobsClient, type JobsClient, type JobView } from "../../sdk/src/jobs/client.ts";
import { EMPLOYER_INDEX, localAccount, VERIFIER_INDEXES, WORKER_INDEX } from "./accounts.ts";
import { rpc } from "./chain.ts";
import { LOCAL_SEAT_BOND_ATOMIC, mintUSDC } from "./contracts.ts";
import type { World } from "./world.ts";

export type JobsResult = {
  /** Jobs of this run by how they ended. */
  completed: number;
  split: number;
  refunded: number;
  /** What the escrow holds, by the token; and the budgets of all jobs that are funded and not over, by the escrow. */
  escrowAtomic: bigint;
  openBudgetsAtomic: bigint;
};

const BUDGET_ATOMIC = 500_000n;
const FUNDS_ATOMIC = 5_000_000n;
/** Half of the work was done, says who looks; one says that all of it was. */
const VOTES = [5_000, 5_000, 10_000];
/** Who bonds first makes the next one's bond cost more than it was estimated at. */
const BOND_GAS = 500_000n;
const TIMEOUT_MS = 90_000;
const POLL_MS = 200;
/** Short, since the local chain's time is real time; long enough for a busy machine. */
const RULES = { reviewWindow: 15, commitWindow: 30, revealWindow: 30, escalationWindow: 1, panelSize: 3, quorum: 2, defaultBps: 5_000 };
const SILENT = { ...RULES, reviewWindow: 1 };

type People = { client: JobsClient; provider: JobsClient; verifiers: JobsClient[] };

export async function runJobs(world: World, signal: AbortSignal): Promise<JobsResult> {
  const people = await gather(world);
  const all = await Promise.all([bySilence(people, signal), byPanel(people, signal), givenUp(people, signal), leftOpen(people)]);
  const ended = (state: string) => all.filter((view) => view.state === state).length;
  return { completed: ended("completed"), split: ended("split"), refunded: ended("refunded"), ...(await readEscrow(world.rpcUrl)) };
}

/** The client has tokens; the verifiers bond a seat each, which takes ether; nobody else needs any. */
async function gather({ rpcUrl, relayerUrl }: World): Promise<People> {
  const clientOf = (account: LocalAccount) => jobsClient({ relayerUrl, account });
  const verifiers = VERIFIER_INDEXES.map(localAccount);
  await mintUSDC(rpcUrl, localAccount(EMPLOYER_INDEX).address, FUNDS_ATOMIC);
  for (const { address } of verifiers) {
    await mintUSDC(rpcUrl, address, LOCAL_SEAT_BOND_ATOMIC);
    await rpc(rpcUrl, "hardhat_setBalance", [address, numberToHex(10n ** 18n)]);
  }
  await Promise.all(verifiers.map((account) => bond(rpcUrl, account)));
  return { client: clientOf(localAccount(EMPLOYER_INDEX)), provider: clientOf(localAccount(WORKER_INDEX)), verifiers: verifiers.map(clientOf) };
}

async function bond(rpcUrl: string, account: LocalAccount): Promise<void> {
  const reader = createPublicClient({ chain: baseSepolia, transport: http(rpcUrl), pollingInterval: 100 });
  const wallet = createWalletClient({ account, chain: baseSepolia, transport: http(rpcUrl) });
  const approve = await wallet.writeContract({ address: BASE_SEPOLIA.usdc.address, abi: testUSDCAbi, functionName: "approve", args: [LOCAL_DISPUTE_EVALUATOR, maxUint256] });
  await reader.waitForTransactionReceipt({ hash: approve });
  const hash = await wallet.writeContract({ address: LOCAL_DISPUTE_EVALUATOR, abi: disputeEvaluatorAbi, functionName: "bond", args: [LOCAL_SEAT_BOND_ATOMIC], gas: BOND_GAS });
  const { status } = await reader.waitForTransactionReceipt({ hash });
  if (status !== "success") throw new Error(`verifier ${account.address} could not bond`);
}

async function hire({ client, provider }: People, title: string, rules: typeof RULES): Promise<string> {
  const { jobId } = await client.post({ provider: provider.address as Address, title, description: `${title}, for the local world.`, budget: BUDGET_ATOMIC, deliverWithinS: 600, rules });
  await client.hire(jobId, { most: BUDGET_ATOMIC });
  return jobId;
}

async function bySilence(people: People, signal: AbortSignal): Promise<JobView> {
  const jobId = await hire(people, "Translate a page", SILENT);
  await people.provider.submit(jobId, { mediaType: "text/plain", content: Buffer.from("Bonjour") });
  return reached(people.client, jobId, ({ state }) => state === "completed", signal);
}

async function byPanel(people: People, signal: AbortSignal): Promise<JobView> {
  const { client, provider } = people;
  const jobId = await hire(people, "Translate two pages", RULES);
  await provider.submit(jobId, { mediaType: "text/plain", content: Buffer.from("Bonjour, and nothing else") });
  await client.dispute(jobId, { description: "The second page is missing.", logs: [{ name: "pages.log", mediaType: "text/plain", content: Buffer.from("1 of 2") }] });
  const { dispute } = await reached(client, jobId, (view) => view["dispute"]?.rounds[0].drawn === true, signal);
  const seats = (dispute.rounds[0].panel as { verifier: string }[]).map(({ verifier }) => people.verifiers.find(({ address }) => address === verifier)!);
  const votes = await Promise.all(seats.map((verifier, seat) => verifier.commit(jobId, { providerBps: VOTES[seat]!, reason: VOTES[seat] === 10_000 ? "all is well" : "one page of two" })));
  await Promise.all(seats.map((verifier, seat) => verifier.reveal(jobId, votes[seat]!)));
  return reached(client, jobId, ({ state }) => state === "split", signal);
}

async function givenUp(people: People, signal: AbortSignal): Promise<JobView> {
  const jobId = await hire(people, "Translate a library", RULES);
  await people.provider.reject(jobId);
  return reached(people.client, jobId, ({ state }) => state === "refunded", signal);
}

async function leftOpen(people: People): Promise<JobView> {
  return people.client.show(await hire(people, "Translate a dictionary", RULES));
}

async function reached(client: JobsClient, jobId: string, done: (view: JobView) => boolean, signal: AbortSignal): Promise<JobView> {
  for (const deadline = performance.now() + TIMEOUT_MS; ; await sleep(POLL_MS, undefined, { signal })) {
    const view = await client.show(jobId);
    if (done(view)) return view;
    if (performance.now() > deadline) throw new Error(`job ${jobId} is still ${view.state} after ${TIMEOUT_MS / 1000} s`);
  }
}

/** IERC8183.JobStatus: Funded, Submitted. */
const HOLDING = [1, 2];

async function readEscrow(rpcUrl: string): Promise<Pick<JobsResult, "escrowAtomic" | "openBudgetsAtomic">> {
  const chain = createPublicClient({ chain: baseSepolia, transport: http(rpcUrl) });
  const escrow = { address: LOCAL_JOB_ESCROW, abi: jobEscrowAbi } as const;
  const [escrowAtomic, count] = await Promise.all([
    chain.readContract({ address: BASE_SEPOLIA.usdc.address, abi: testUSDCAbi, functionName: "balanceOf", args: [LOCAL_JOB_ESCROW] }),
    chain.readContract({ ...escrow, functionName: "jobCount" }),
  ]);
  const states = await Promise.all(Array.from({ length: Number(count) }, (_, index) => chain.readContract({ ...escrow, functionName: "stateOf", args: [BigInt(index + 1)] })));
  return { escrowAtomic, openBudgetsAtomic: states.filter(({ status }) => HOLDING.includes(status)).reduce((sum, { budget }) => sum + budget, 0n) };
}
