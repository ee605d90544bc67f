// Policies for tests: written, signed and put in force as an owner does it; and payers on both rails that a firewall may stop.
import { erc20Abi, pad, toHex, type Address, type Hex, type LocalAccount } from "viem";
import { signIn } from "../../sdk/src/access.ts";
import { BASE_SEPOLIA, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { parsePolicy, policyTypedData, POLICY_FORMAT, type Policy, type Rules, type Subject } from "../../sdk/src/firewall/policy.ts";
import { readOne } from "../../relayer/src/capabilities/channels/service.ts";
import { manualBuyer, requiredOf, type Required } from "./buyer.ts";
import { authorize, exactTermsOf, newPayer, paymentOf, sendPayment } from "./exact-hand.ts";
import type { TestWorld } from "./relayer.ts";

export const ALLOW_ALL: Rules = { payees: { allow: "any" }, capabilities: { allow: "any" } };

/** A buyer's policy that allows everything but what `rules` say. */
export const policyOf = (owner: Address, rules: Rules = {}, { version = 1, name = "spending", subject = { kind: "payer" } }: { version?: number; name?: string; subject?: Subject } = {}): Policy =>
  parsePolicy({ format: POLICY_FORMAT, owner, name, version, subject, rules: { ...(subject.kind === "payer" ? ALLOW_ALL : {}), ...rules } });

export const signPolicy = (account: LocalAccount, policy: Policy, chainId: number = BASE_SEPOLIA.chainId): Promise<Hex> => account.signTypedData(policyTypedData(policy, chainId));

export const postTo = (url: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(url, { method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) });

export async function applyPolicy(url: string, account: LocalAccount, policy: Policy): Promise<Response> {
  return postTo(`${url}/api/v1/firewall/policies`, { policy, signature: await signPolicy(account, policy) });
}

/** @throws unless it is in force now. */
export async function inForce(url: string, account: LocalAccount, policy: Policy): Promise<void> {
  const applied = await applyPolicy(url, account, policy);
  if (applied.status !== 201) throw new Error(`${applied.status} ${await applied.text()}`);
}

export const asOwner = async (url: string, account: LocalAccount): Promise<Record<string, string>> => ({ authorization: `Bearer ${(await signIn({ relayerUrl: url, account })).token}` });

export type Refused = { code: string; decision: string; rule: string; reason: string; retry: string; paymentId: string; proof: { type: string; status?: string; txHash?: string; paymentId?: string }; approval?: { id: string; expiresAt: string }; policy: { name: string; version: number } };

/** What a payer holds itself, and what stands in all channels. */
export async function moneyOf(world: TestWorld, holder: Address): Promise<bigint> {
  return world.chain.client.readContract({ address: BASE_SEPOLIA.usdc.address, abi: erc20Abi, functionName: "balanceOf", args: [holder] });
}
export const inChannels = (world: TestWorld): Promise<bigint> => moneyOf(world, SESSION_CHANNELS);

let salts = 1_000n;

/** One payer who can pay a service by either rail; each call is a new payment. `PER_CALL` is what a call costs. */
export async function payerOf(world: TestWorld, path = "/s/echo/", url = world.url) {
  const account = await newPayer(world.chain);
  const resource = `${url}${path}`;
  const terms = async (): Promise<Required> => requiredOf(await fetch(resource));
  return {
    account,
    resource,
    terms,
    async exactPayment() {
      const accepted = exactTermsOf(await terms());
      return paymentOf(accepted, await authorize(account, accepted));
    },
    async exact(to = resource) {
      return sendPayment(to, await this.exactPayment());
    },
    /** A channel that is open and has paid for one call. */
    async channel(deposit = 100_000n) {
      const buyer = manualBuyer(account, resource, pad(toHex(++salts)));
      const required = await buyer.terms();
      const first = await buyer.send(await buyer.depositPayment(required, deposit, BigInt(required.accepts[0].amount)));
      return { buyer, required, first, channelId: buyer.channelId(required), pay: async (ceiling: bigint, to = resource, init: RequestInit = {}) => buyer.send(await buyer.voucherPayment(required, ceiling), init, to) };
    },
  };
}

/** What the ledger says was charged to a payer, and how much of it after a moment. */
export async function chargedTo(world: TestWorld, payer: Address, since = new Date(0)): Promise<{ count: number; amount: bigint }> {
  const { rows } = await world.relayer.deps.db.query<{ count: bigint; amount: bigint }>(
    "SELECT count(*) AS count, coalesce(sum(charged_atomic), 0) AS amount FROM payment WHERE payer = $1 AND state IN ('charged', 'settling') AND reserved_at >= $2",
    [Buffer.from(payer.slice(2), "hex"), since],
  );
  return { count: Number(rows[0]!.count), amount: BigInt(rows[0]!.amount) };
}

/** What the chain let a channel's receiver claim. */
export async function claimedOf(world: TestWorld, channelId: Hex): Promise<bigint> {
  return (await readOne(world.relayer.deps, channelId)).totalClaimed;
}

/** Ledger and chain agree that a payer paid this much and not a unit more: by channel at most, by transfer exactly. */
export async function assertSpent(world: TestWorld, payer: Address, expected: { charged: bigint; held: bigint; channelId?: Hex }): Promise<void> {
  const { amount } = await chargedTo(world, payer);
  const held = await moneyOf(world, payer);
  const claimed = expected.channelId === undefined ? 0n : await claimedOf(world, expected.channelId);
  if (amount === expected.charged && held === expected.held && claimed <= expected.charged) return;
  throw new Error(`overspent: charged ${amount} of ${expected.charged}, holds ${held} of ${expected.held}, claimed ${claimed}`);
}
