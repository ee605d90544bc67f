// Gas of JobEscrow and DisputeEvaluator: whole-transaction receipts on an in-process chain. Every figure is deterministic, so
// bench/results/job-gas.json is compared for equality; `-- job-gas --update` rewrites it and the table in docs/JOBS.md.
//
// Steady state: provider and escrow held tokens before, the client keeps tokens and an unlimited allowance, the description is
// one word of storage. "Plain token" is OpenZeppelin's ERC-20; test USDC does what real USDC does at each transfer.
import { readFileSync, writeFileSync } from "node:fs";
import hre from "hardhat";
import type { Contract, ContractTransactionReceipt } from "ethers";
import { hashTypedData, hexToBytes, keccak256, numberToHex, zeroHash, type Hex } from "viem";
import { jobAuthorizationNonce, jobHireDigest, jobMandateOrder, jobSubmissionDigest, voteCommitment, type HireTerms, type Vote } from "../sdk/src/job-messages.ts";
import { erc3009Authorization, spendOrder } from "../sdk/src/mandate-messages.ts";
import { receiveWithAuthorizationTypes } from "../sdk/src/typed-data.ts";
import { AGENT, as, BUDGET_ATOMIC, CLIENT, createJobWorld, EVALUATOR, escrowAs, hireTerms, judgedTerms, PROVIDER, SEAT_BOND_ATOMIC, type JobWorld } from "../test/support/job-world.ts";
import { mandateOf, signMandate, subMandateOf } from "../test/support/mandate-world.ts";
import { actor, send, signDigest, VALID_BEFORE_S, type Actor } from "../test/support/session-world.ts";
import { columns, commit, machine, progress, type Report } from "./report.ts";

const SNAPSHOT = new URL("./results/job-gas.json", import.meta.url);
const PAGE = new URL("../docs/JOBS.md", import.meta.url);
const BLOCK = /<!-- bench:job-gas -->\n[\s\S]*?<!-- \/bench:job-gas -->/;

export type JobGas = Record<string, number>;

/** What was aimed at; the reference is the ERC's public implementation. */
const TARGETS: Record<string, { target: number; reference: string }> = Object.fromEntries(
  ["", ", plain token"].flatMap((token) => [
    [`createJob${token}`, { target: 130_000, reference: "253,000" }],
    [`hire${token}`, { target: 155_000, reference: "418,000 in three transactions" }],
    [`submit${token}`, { target: 38_000, reference: "63,000" }],
    [`complete${token}`, { target: 54_000, reference: "69,000" }],
  ]),
);

/** Measures everything; some seconds. */
export async function measureJobGas(): Promise<JobGas> {
  await hre.tasks.getTask("build").run({ quiet: true, noTests: true });
  progress("gas: jobs");
  const gas: JobGas = {};
  for (const [token, suffix] of [["TestUSDC", ""], ["PlainToken", ", plain token"]] as const) {
    const world = await createJobWorld(token);
    try {
      Object.assign(gas, await measureLife(world, suffix));
      if (suffix === "") Object.assign(gas, await measureWaysToHire(world), await measureDispute(world));
    } finally {
      await world.connection.close();
    }
  }
  return gas;
}

const gasOf = async (receipt: Promise<ContractTransactionReceipt>) => Number((await receipt).gasUsed);
const DELIVERABLE = keccak256("0x01");
const REASON = keccak256("0x02");
const lastJob = async (world: JobWorld) => (await world.escrow.getFunction("jobCount")()) as bigint;

async function measureLife(world: JobWorld, suffix: string): Promise<JobGas> {
  const [asClient, asProvider, asEvaluator] = await Promise.all([CLIENT, PROVIDER, EVALUATOR].map((who) => escrowAs(world, who))) as [Contract, Contract, Contract];
  const terms = hireTerms();
  // One job stays, so that the escrow never comes from or goes to zero.
  await send(asClient, "hire", terms);
  const create = () => send(asClient, "createJob", terms.provider, terms.evaluator, terms.expiredAt, terms.description, terms.hook);
  const gas: JobGas = { [`createJob${suffix}`]: await gasOf(create()) };
  let jobId = await lastJob(world);
  gas[`setBudget${suffix}`] = await gasOf(send(asClient, "setBudget", jobId, BUDGET_ATOMIC, "0x"));
  gas[`fund${suffix}`] = await gasOf(send(asClient, "fund", jobId, BUDGET_ATOMIC, "0x"));
  gas[`hire${suffix}`] = await gasOf(send(asClient, "hire", terms));
  gas[`submit${suffix}`] = await gasOf(send(asProvider, "submit", jobId, DELIVERABLE, "0x"));
  gas[`complete${suffix}`] = await gasOf(send(asEvaluator, "complete", jobId, REASON, "0x"));
  jobId = await lastJob(world);
  const submission = { jobId, deliverable: DELIVERABLE, optParams: "0x", deadline: VALID_BEFORE_S } as const;
  const signature = await signDigest(PROVIDER.key, jobSubmissionDigest(world.escrowDomain, submission));
  gas[`submitBySig${suffix}`] = await gasOf(send(world.escrow, "submitBySig", jobId, DELIVERABLE, "0x", VALID_BEFORE_S, signature));
  gas[`completeSplit${suffix}`] = await gasOf(send(asEvaluator, "completeSplit", jobId, 2_500, REASON, "0x"));
  await send(asClient, "hire", terms);
  gas[`reject${suffix}`] = await gasOf(send(asEvaluator, "reject", await lastJob(world), REASON, "0x"));
  return gas;
}

async function measureWaysToHire(world: JobWorld): Promise<JobGas> {
  const terms = hireTerms();
  const nonce = jobAuthorizationNonce(jobHireDigest(world.escrowDomain, CLIENT.address, terms), zeroHash);
  const message = { from: CLIENT.address, to: world.escrowAddress, value: terms.budget, validAfter: 0n, validBefore: VALID_BEFORE_S, nonce };
  const digest = hashTypedData({ domain: world.usdcDomain, types: receiveWithAuthorizationTypes, primaryType: "ReceiveWithAuthorization", message });
  const authorization = erc3009Authorization({ validAfter: 0n, validBefore: VALID_BEFORE_S, salt: zeroHash, signature: await signDigest(CLIENT.key, digest) });
  const gas: JobGas = { hireWithAuthorization: await gasOf(send(world.escrow, "hireWithAuthorization", CLIENT.address, terms, authorization)) };

  const root = mandateOf(world, { principal: CLIENT.address, delegate: AGENT.address, limit: 50_000_000n, paymentLimit: 5_000_000n });
  await send(world.registry, "approveWithSignature", [root], await signMandate(world, CLIENT, root));
  gas["hireByMandate"] = await gasOf(send(world.escrow, "hireByMandate", terms, await orderFor(world, terms, root)));
  return gas;
}

async function orderFor(world: JobWorld, terms: HireTerms, root: ReturnType<typeof mandateOf>) {
  const named = { delegate: world.escrowAddress, limit: terms.budget, paymentLimit: terms.budget, terms: jobHireDigest(world.escrowDomain, CLIENT.address, terms) };
  const mandate = subMandateOf(world, root, named);
  const approvals = [await signMandate(world, AGENT, mandate)];
  return jobMandateOrder(spendOrder({ lineage: [mandate, root], approvals, payee: world.escrowAddress, amount: terms.budget }));
}

const VERIFIERS = Array.from({ length: 12 }, (_, n) => actor(`verifier ${n}`));

async function measureDispute(world: JobWorld): Promise<JobGas> {
  const [asClient, asProvider] = [await escrowAs(world, CLIENT), await escrowAs(world, PROVIDER)];
  const gas: JobGas = {};
  for (const who of VERIFIERS) {
    await send(world.token, "mint", who.address, SEAT_BOND_ATOMIC * 4n);
    await send(await as(world, world.token, who.address), "approve", world.judgeAddress, 2n ** 256n - 1n);
    gas["bond, one more verifier"] = await gasOf(send(await as(world, world.judge, who.address), "bond", SEAT_BOND_ATOMIC * 2n));
  }
  gas["hire, with disputes"] = await gasOf(send(asClient, "hire", judgedTerms(world)));
  const jobId = await lastJob(world);
  gas["submit, with disputes"] = await gasOf(send(asProvider, "submit", jobId, DELIVERABLE, "0x"));
  await send(asClient, "hire", judgedTerms(world));
  await send(asProvider, "submit", await lastJob(world), DELIVERABLE, "0x");
  gas["dispute"] = await gasOf(send(await as(world, world.judge, CLIENT.address), "dispute", jobId, REASON));
  for (let mined = 0; mined < 3; mined++) await world.connection.provider.request({ method: "evm_mine" });
  await send(world.judge, "draw");
  await measureVotes(world, jobId, gas);
  await world.connection.provider.request({ method: "evm_increaseTime", params: [2_000] });
  gas["resolve, by split"] = await gasOf(send(world.judge, "resolve", jobId));
  gas["finalize"] = await gasOf(send(world.judge, "finalize", await lastJob(world)));
  return gas;
}

async function measureVotes(world: JobWorld, jobId: bigint, gas: JobGas): Promise<void> {
  const panel = (await world.judge.getFunction("panelOf")(jobId, 1)) as { verifier: Actor["address"] }[];
  const votes = panel.map(({ verifier }, seat) => ({ jobId, round: 1n, verifier, providerBps: 3_000 + seat, reason: REASON, salt: zeroHash as Hex })).map(withoutZeros);
  for (const [seat, vote] of votes.entries()) {
    gas["commitVote"] = await gasOf(send(await as(world, world.judge, vote.verifier), "commitVote", jobId, seat, voteCommitment(vote)));
  }
  for (const [seat, vote] of votes.entries()) {
    const revealed = await gasOf(send(world.judge, "revealVote", jobId, seat, vote.providerBps, vote.reason, vote.salt));
    gas[seat === votes.length - 1 ? "revealVote, the last" : "revealVote"] = revealed;
  }
}

/** Who is drawn depends on a block's hash, so on the clock; what calldata costs must not: no byte of a vote is zero. */
function withoutZeros<V extends Vote>(vote: V): V {
  for (let attempt = 0; ; attempt++) {
    const tried = { ...vote, salt: keccak256(numberToHex(attempt, { size: 32 })) };
    if (![tried.salt, voteCommitment(tried)].some((word) => hexToBytes(word).includes(0))) return tried;
  }
}

// ------------------------------------------------------------------ snapshot and page

export function snapshotOf(gas: JobGas): string {
  const lines = Object.entries(gas).sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, figure]) => `  ${JSON.stringify(name)}: ${figure}`);
  return `{\n${lines.join(",\n")}\n}\n`;
}

export function readJobGas(): JobGas {
  return JSON.parse(readFileSync(SNAPSHOT, "utf8")) as JobGas;
}

/** docs/JOBS.md with its table as the snapshot says. */
export function withJobTable(page: string, gas: JobGas): string {
  const number = (value: number) => value.toLocaleString("en-US");
  const rows = Object.entries(gas).map(([name, value]) => {
    const { target, reference } = TARGETS[name] ?? {};
    return `| ${name} | ${number(value)} | ${target === undefined ? "" : `${number(target)}${value <= target ? "" : " (missed)"}`} | ${reference ?? ""} |`;
  });
  const table = ["| act | gas | target | public reference |", "|---|---:|---:|---:|", ...rows];
  return page.replace(BLOCK, `<!-- bench:job-gas -->\n${table.join("\n")}\n<!-- /bench:job-gas -->`);
}

export function readJobPage(): string {
  return readFileSync(PAGE, "utf8");
}

// ------------------------------------------------------------------ bench

export async function run(args: string[]): Promise<Report> {
  const gas = await measureJobGas();
  if (args.includes("--update")) {
    writeFileSync(SNAPSHOT, snapshotOf(gas));
    writeFileSync(PAGE, withJobTable(readJobPage(), readJobGas()));
  }
  return { bench: "job-gas", machine: machine(), commit: commit(), gas };
}

export function table(report: Report): string {
  const rows = Object.entries(report["gas"] as JobGas).map(([name, value]) => [name, value, TARGETS[name]?.target ?? "", TARGETS[name]?.reference ?? ""]);
  return [`JobEscrow and DisputeEvaluator, whole-transaction gas. ${commit()}; ${machine()}`, "", columns([["act", "gas", "target", "reference"], ...rows])].join("\n");
}
