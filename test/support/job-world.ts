// A session world with MandateRegistry, JobEscrow and DisputeEvaluator, on test USDC or a plain ERC-20. Everything is deterministic.
import type { Contract } from "ethers";
import { zeroAddress, type Address, type Hex } from "viem";
import { disputeEvaluatorDomain, disputeTermsData, jobEscrowDomain, type DisputeTerms, type HireTerms } from "../../sdk/src/job-messages.ts";
import { deployRegistry } from "./mandate-world.ts";
import { actor, CHAIN_ID, createSessionWorld, send, signerFor, type Actor, type SessionWorld } from "./session-world.ts";

export const CLIENT = actor("client");
export const PROVIDER = actor("provider");
export const EVALUATOR = actor("evaluator");
export const AGENT = actor("agent");
export const BUDGET_ATOMIC = 1_000_000n;
export const SEAT_BOND_ATOMIC = 5_000_000n;
export const MIN_WINDOW_S = 60;
/** 2090-01-01. */
export const EXPIRED_AT_S = 3_786_912_000n;

export type JobWorld = Awaited<ReturnType<typeof createJobWorld>>;

/** Deploys everything; the client has tokens and lets the escrow, the evaluator and the registry take them. */
export async function createJobWorld(tokenName: "TestUSDC" | "PlainToken" = "TestUSDC") {
  const world = await createSessionWorld();
  const token = tokenName === "TestUSDC" ? world.usdc : await world.ethers.deployContract("PlainToken");
  const tokenAddress = (await token.getAddress()) as Address;
  const registry = await deployRegistry(world, world.channelsAddress);
  const escrow = await world.ethers.deployContract("JobEscrow", [tokenAddress, registry.registryAddress, 0, zeroAddress]);
  const escrowAddress = (await escrow.getAddress()) as Address;
  const judge = await world.ethers.deployContract("DisputeEvaluator", [escrowAddress, tokenAddress, SEAT_BOND_ATOMIC, MIN_WINDOW_S]);
  const judgeAddress = (await judge.getAddress()) as Address;
  for (const { address } of [CLIENT, PROVIDER]) {
    await send(token, "mint", address, 10n ** 12n);
    for (const spender of [escrowAddress, judgeAddress, registry.registryAddress]) await send(await as(world, token, address), "approve", spender, 2n ** 256n - 1n);
  }
  return {
    ...world, ...registry, token, tokenAddress, escrow, escrowAddress, judge, judgeAddress,
    escrowDomain: jobEscrowDomain(CHAIN_ID, escrowAddress), judgeDomain: disputeEvaluatorDomain(CHAIN_ID, judgeAddress),
  };
}

/** A contract as that sender sees it. */
export async function as(world: SessionWorld, contract: Contract, address: Address): Promise<Contract> {
  return contract.connect(await signerFor(world, address)) as Contract;
}

export const escrowAs = (world: JobWorld, who: Actor) => as(world, world.escrow, who.address);

export function hireTerms(terms: Partial<HireTerms> = {}): HireTerms {
  return {
    provider: PROVIDER.address, evaluator: EVALUATOR.address, hook: zeroAddress, expiredAt: EXPIRED_AT_S,
    budget: BUDGET_ATOMIC, description: "translate a page", optParams: "0x", ...terms,
  };
}

/** Terms of a job under the evaluator of disputes, with a panel of three. */
export function judgedTerms(world: JobWorld, terms: Partial<DisputeTerms> = {}): HireTerms {
  const optParams: Hex = disputeTermsData({
    reviewWindow: 1_000, commitWindow: 500, revealWindow: 400, escalationWindow: 300, panelSize: 3, quorum: 2,
    defaultBps: 5_000, disputeBond: 1_000_000n, arbitrator: zeroAddress, clientAgent: zeroAddress, ...terms,
  });
  return hireTerms({ evaluator: world.judgeAddress, hook: world.judgeAddress, optParams });
}
