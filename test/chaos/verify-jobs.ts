// Jobs and listings after a round: the escrow holds the open budgets, every job was hired once and paid out once, whoever listed is listed once.
import { decodeEventLog, erc20Abi, type Address, type Hex } from "viem";
import { replayBazaar } from "../../indexer/reconcile/replay-bazaar.ts";
import { replayJobs } from "../../indexer/reconcile/replay-jobs.ts";
import type { RawLog } from "../../indexer/reconcile/replay.ts";
import { bazaarRegistryAbi } from "../../sdk/src/abi/bazaar-registry.ts";
import { jobEscrowAbi } from "../../sdk/src/abi/job-escrow.ts";
import { BASE_SEPOLIA, LOCAL_BAZAAR_REGISTRY, LOCAL_DISPUTE_EVALUATOR, LOCAL_JOB_ESCROW } from "../../sdk/src/constants.ts";
import { STATUS } from "../../relayer/src/capabilities/jobs/types.ts";
import type { Books } from "./books.ts";
import { jobRows } from "./ledger.ts";
import { rawLogs } from "./verify-chain.ts";
import type { World } from "./world.ts";

const HOLDING = ["funded", "submitted"];
const ENDS = ["JobCompleted", "JobRejected", "JobExpired"];

export type Held = Record<"escrow" | "evaluator", bigint>;
type Check = { world: World; books: Books; fromBlock: bigint; heldBefore: Held };
type Row = Record<string, string | null>;

const balanceOf = ({ client }: World, account: Address) => client.readContract({ address: BASE_SEPOLIA.usdc.address, abi: erc20Abi, functionName: "balanceOf", args: [account] });

export async function heldForJobs(world: World): Promise<Held> {
  return { escrow: await balanceOf(world, LOCAL_JOB_ESCROW), evaluator: await balanceOf(world, LOCAL_DISPUTE_EVALUATOR) };
}

/** And what an employer's money became: its provider's and its arbitrator's, for the sum of all money. */
export async function checkJobs({ world, books, fromBlock, heldBefore }: Check): Promise<void> {
  const [escrow, evaluator] = [await rawLogs(world, LOCAL_JOB_ESCROW, fromBlock), await rawLogs(world, LOCAL_DISPUTE_EVALUATOR, fromBlock)];
  const jobs = [...replayJobs(escrow, evaluator).jobs.values()] as Row[];
  const open = jobs.filter(({ status }) => HOLDING.includes(status!)).reduce((total, { budget }) => total + BigInt(budget!), 0n);
  const held = await heldForJobs(world);
  if (held.escrow - heldBefore.escrow !== open) books.violate("the escrow's money does not add up", `it holds ${held.escrow - heldBefore.escrow} more than before, open budgets come to ${open}`);
  if (held.evaluator !== heldBefore.evaluator) books.violate("bonds do not add up", `the evaluator holds ${held.evaluator - heldBefore.evaluator} more than before, and no dispute is open`);
  checkPaidOnce(books, escrow, jobs);
  for (const [client, { others, jobIds }] of books.employers) {
    await checkEmployer(world, books, client, jobs.filter((row) => row["client"]!.toLowerCase() === client.toLowerCase()), jobIds.flatMap(({ jobId }) => jobId ?? []));
    const paid = await Promise.all(others.map((account) => balanceOf(world, account)));
    books.spentElsewhere.set(client, paid.reduce((total, amount) => total + amount, open));
  }
}

/** Every job has one end, and its budget went out in whole. */
function checkPaidOnce(books: Books, logs: readonly RawLog[], jobs: readonly Row[]): void {
  const out = new Map<string, { ends: number; moved: bigint }>();
  for (const { topics, data } of logs) {
    const { eventName, args } = decodeEventLog({ abi: jobEscrowAbi, topics, data, strict: true });
    if (!("jobId" in args)) continue;
    const job = out.get(String(args.jobId)) ?? { ends: 0, moved: 0n };
    if (ENDS.includes(eventName)) job.ends += 1;
    if (eventName === "PaymentReleased" || eventName === "Refunded") job.moved += args.amount;
    out.set(String(args.jobId), job);
  }
  for (const { id, budget, status } of jobs) {
    const { ends, moved } = out.get(id!)!;
    if (ends > 1 || moved > BigInt(budget!)) books.violate("a job is paid twice", `job ${id} of ${budget}: ${ends} ends, ${moved} paid out`);
    else if (!HOLDING.includes(status!) && moved !== BigInt(budget!)) books.violate("a job is not paid out", `job ${id} is ${status}, ${moved} of ${budget} went out`);
  }
}

/** What was asked for is on the chain, once, and as the ledger says. */
async function checkEmployer({ db }: World, books: Books, client: Hex, onChain: readonly Row[], jobIds: readonly string[]): Promise<void> {
  const ledger = new Map((await jobRows(db, client)).map((row) => [row.jobId, row]));
  if (onChain.length > jobIds.length) books.violate("a job is hired twice", `${client} asked for ${jobIds.length} jobs, the chain has ${onChain.length}: ${onChain.map(({ id, status }) => `${id} ${status}`).join(", ")}`);
  const byNumber = new Map(onChain.map((row) => [row["id"], row]));
  for (const jobId of jobIds) {
    const known = ledger.get(jobId);
    const there = known?.chainJobId === undefined ? undefined : byNumber.get(String(known.chainJobId));
    if (there === undefined) books.violate("a job is lost", `${jobId} of ${client} is ${known === undefined ? "unknown" : `number ${known.chainJobId}`} in the ledger and not on the chain`);
    else if (STATUS[there["status"] as keyof typeof STATUS] !== known!.status) books.violate("the ledger's view of a job is not the chain's", `${jobId}: status ${known!.status}, the chain says ${there["status"]}`);
  }
}

/** Listed once, each price at most once, and at the price that was asked for last. */
export async function checkListings({ world, books, fromBlock }: Omit<Check, "heldBefore">): Promise<void> {
  const logs = await rawLogs(world, LOCAL_BAZAAR_REGISTRY, fromBlock);
  const { services } = replayBazaar(logs);
  const acts = logs.flatMap(({ topics, data }) => {
    const { eventName, args } = decodeEventLog({ abi: bazaarRegistryAbi, topics, data, strict: true });
    return eventName === "ServiceListed" || eventName === "ServiceUpdated" ? [{ eventName, serviceId: args.serviceId.toLowerCase(), owner: args.owner, price: args.terms.offer.price }] : [];
  });
  for (const [owner, { prices, serviceId }] of books.listings) {
    const own = acts.filter((act) => act.owner.toLowerCase() === owner.toLowerCase());
    const times = own.filter(({ eventName }) => eventName === "ServiceListed").length;
    if (times !== 1) books.violate("a listing is not on the chain once", `${owner} asked for one service, the chain has ${times}`);
    if (new Set(own.map(({ price }) => price)).size !== own.length) books.violate("a listing's change is on the chain twice", `${owner}: ${own.map(({ price }) => price).join(", ")}`);
    const row = services.get(serviceId?.toLowerCase() ?? "") as Row | undefined;
    const wanted = String(prices.at(-1)! * 10);
    if (serviceId !== undefined && (row?.["price"] !== wanted || row["status"] !== "listed")) books.violate("a listing is not as was asked", `${serviceId} is ${row?.["status"]} at ${row?.["price"]}, asked for was ${wanted}`);
  }
}
