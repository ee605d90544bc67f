// May this voucher be signed, and what does it cost the mandates? Pure: the core of every guard, whatever keeps its accounts.
//
// Accounts: a voucher is cumulative, so what a channel can cost is the highest ceiling signed on it. A mandate is charged with what a
// voucher adds to that, and all its ancestors with it. A ceiling may only be as high as the calls that were approved on its channel come
// to: no seller can ever take more than the sum of what the firewall said yes to.
import { isAddressEqual, zeroHash, type Address, type Hex } from "viem";
import { evaluate, type CompiledPolicy, type Decision, type Facts } from "../firewall/evaluate.ts";
import { refusingLevel, type Lineage } from "../lineage.ts";
import type { Mandate } from "../mandate.ts";
import type { ChannelConfig } from "../typed-data.ts";
import { APART, MAX_REQUEST_AGE_S, type GuardRequest, type Order } from "./request.ts";

export type ChannelAccount = {
  /** Highest ceiling signed. */
  highest: bigint;
  /** Sum of the prices of the calls approved. */
  approved: bigint;
};

export type MandateAccount = {
  spent: bigint;
  /** The period that `periodSpent` is about; 0 where there are none. */
  period: number;
  periodSpent: bigint;
};

export const EMPTY_CHANNEL: ChannelAccount = { highest: 0n, approved: 0n };
export const EMPTY_MANDATE: MandateAccount = { spent: 0n, period: 0, periodSpent: 0n };

export type Accounts = {
  channel: ChannelAccount;
  /** In the order of the lineage. */
  mandates: readonly MandateAccount[];
};

/** Why nothing is signed. `rule` is stable. */
export type Refusal = { code: string; rule: string; reason: string; retry?: "safe"; field?: string; extra?: Record<string, unknown> };

/** What of the request needs no account: terms, payee, times. */
export type Situation = { lineage: Lineage; ids: readonly Hex[]; authorizer: Address; chainId: number; nowS: number; /** What the chain has against the mandate now: nothing is added to what was signed. */ blocked?: Refusal | undefined };

/** Is it a channel of this mandate: its payer, token, voucher key, and a payee that every level allows? */
export function refusalOfChannel({ lineage, ids, authorizer }: Pick<Situation, "lineage" | "ids" | "authorizer">, config: ChannelConfig): Refusal | undefined {
  const { mandate } = lineage[0];
  if (!isAddressEqual(config.payer, mandate.principal)) return mismatch("config.payer", `The channel is paid by ${config.payer}, the mandate is of ${mandate.principal}.`);
  if (!isAddressEqual(config.token, mandate.token)) return mismatch("config.token", `The channel's token is ${config.token}, the mandate's ${mandate.token}.`);
  if (!isAddressEqual(config.payerAuthorizer, authorizer)) return mismatch("config.payerAuthorizer", `The channel's vouchers are signed by ${config.payerAuthorizer}, those of this mandate by ${authorizer}.`);
  const level = refusingLevel(lineage, config.receiver);
  if (level === undefined) return undefined;
  return { code: "mandate_payee_not_allowed", rule: "mandate.payees", reason: `${config.receiver} is not among the payees of the mandate ${ids[level]}.`, field: "request.payTo" };
}

const mismatch = (field: string, reason: string): Refusal => ({ code: "guard_terms_mismatch", rule: "terms", reason, field });

export function refusalOfTerms(situation: Situation, { config, request, accepts }: Order): Refusal | undefined {
  const { chainId, nowS } = situation;
  if (request.expiresAt < nowS) return { code: "guard_request_expired", rule: "request", reason: `The request ended at ${request.expiresAt}; it is ${nowS}.`, retry: "safe", field: "request.expiresAt" };
  if (request.expiresAt > nowS + MAX_REQUEST_AGE_S) return { code: "guard_request_expired", rule: "request", reason: `The request stands longer than ${MAX_REQUEST_AGE_S} s.`, field: "request.expiresAt" };
  if (!isAddressEqual(config.receiver, request.payTo)) return mismatch("config.receiver", `The channel pays ${config.receiver}, the call is to pay ${request.payTo}.`);
  const channel = refusalOfChannel(situation, config);
  if (channel !== undefined || request.price === 0n) return channel;
  return differentTerms(config, request, accepts, chainId);
}

/** The seller's terms, as the agent shows them, must be those of the channel and the price. */
function differentTerms(config: ChannelConfig, { price }: GuardRequest, accepts: Record<string, unknown> | undefined, chainId: number): Refusal | undefined {
  const wrong = (field: string, told: unknown, ours: unknown): Refusal => ({ code: "guard_terms_mismatch", rule: "terms", reason: `The seller's terms say ${field} ${String(told)}, the request ${String(ours)}.`, field: `accepts.${field}` });
  const same = (one: unknown, other: Address) => typeof one === "string" && one.toLowerCase() === other.toLowerCase();
  if (accepts === undefined) return wrong("accepts", "nothing", "a price");
  const extra = (typeof accepts["extra"] === "object" && accepts["extra"] !== null ? accepts["extra"] : {}) as Record<string, unknown>;
  if (accepts["scheme"] !== "batch-settlement") return wrong("scheme", accepts["scheme"], "batch-settlement");
  if (accepts["network"] !== `eip155:${chainId}`) return wrong("network", accepts["network"], `eip155:${chainId}`);
  if (!same(accepts["payTo"], config.receiver)) return wrong("payTo", accepts["payTo"], config.receiver);
  if (!same(accepts["asset"], config.token)) return wrong("asset", accepts["asset"], config.token);
  if (!/^\d{1,39}$/.test(String(accepts["amount"])) || BigInt(String(accepts["amount"])) > price) return wrong("amount", accepts["amount"], price);
  if (Number(extra["withdrawDelay"]) !== config.withdrawDelay) return wrong("extra.withdrawDelay", extra["withdrawDelay"], config.withdrawDelay);
  return undefined;
}

/** Validity by the clock, level by level. A voucher that adds nothing (a refund) needs none. */
export function refusalOfTime({ lineage, ids, nowS }: Pick<Situation, "lineage" | "ids" | "nowS">): Refusal | undefined {
  for (const [level, { mandate }] of lineage.entries()) {
    if (nowS < mandate.validAfter) return { code: "mandate_not_yet_valid", rule: "mandate.validity", reason: `The mandate ${ids[level]} begins at ${mandate.validAfter}; it is ${nowS}.` };
    if (nowS > mandate.validUntil) return { code: "mandate_expired", rule: "mandate.validity", reason: `The mandate ${ids[level]} ended at ${mandate.validUntil}; it is ${nowS}.` };
  }
  return undefined;
}

export function refusalOfPrice({ lineage, ids }: Pick<Situation, "lineage" | "ids">, { price }: Pick<GuardRequest, "price">): Refusal | undefined {
  const level = lineage.findIndex(({ mandate }) => price > mandate.paymentLimit);
  if (level < 0) return undefined;
  const { paymentLimit } = lineage[level]!.mandate;
  return { code: "mandate_payment_limit", rule: "mandate.paymentLimit", reason: `The call may cost ${price}; one payment under the mandate ${ids[level]} at most ${paymentLimit}.`, field: "request.price", extra: { mostAtomic: String(paymentLimit) } };
}

/** What a guard knows of the service behind a URL, from somebody other than the agent. */
export type ServiceFacts = { service?: string; serviceOwner?: Address; registeredPayee?: Address; capability?: string; capabilityHash?: Hex; listedPrice?: bigint };

export function refusalOfCapability({ lineage, ids }: Pick<Situation, "lineage" | "ids">, known: ServiceFacts | undefined): Refusal | undefined {
  const level = lineage.findIndex(({ mandate }) => mandate.capability !== zeroHash && mandate.capability !== known?.capabilityHash);
  if (level < 0) return undefined;
  const told = known?.capability === undefined ? "nobody but the agent says what this service does" : `this service is ${known.capability}`;
  return { code: "mandate_capability", rule: "mandate.capability", reason: `The mandate ${ids[level]} is for one capability, and ${told}.` };
}

export function refusalOfPolicy(policies: readonly CompiledPolicy[], { lineage, ids, nowS }: Pick<Situation, "lineage" | "ids" | "nowS">, request: GuardRequest, known: ServiceFacts | undefined): Refusal | undefined {
  const facts: Facts = {
    scheme: "batch-settlement", payer: lineage[0].mandate.principal, payee: request.payTo, registeredPayee: known?.registeredPayee, service: known?.service, serviceOwner: known?.serviceOwner,
    capability: known?.capability, price: request.price, listedPrice: known?.listedPrice, negotiatedPrice: undefined,
    mandate: { mandateId: ids[0]!, principal: lineage[0].mandate.principal, chain: ids, valid: true }, approvals: [],
  };
  const decision: Decision = evaluate(policies, facts, nowS * 1_000);
  if (decision.decision === "APPROVED") return undefined;
  const policy = decision.policy === undefined ? {} : { policy: decision.policy };
  const pending = decision.decision === "PENDING";
  return { code: pending ? "approval_pending" : "firewall_rejected", rule: decision.rule, reason: decision.reason, ...(pending ? { retry: "safe" as const } : {}), extra: policy };
}

/** Period n begins at validAfter + n * period, on chain and here. */
export function periodAt({ period, validAfter }: Pick<Mandate, "period" | "validAfter">, nowS: number): number {
  return period === 0 || nowS < validAfter ? 0 : Math.floor((nowS - validAfter) / period);
}

/** The account as it stands in the period of `nowS`; a clock that was put back does not bring back an older one. */
export function accountAt(mandate: Mandate, account: MandateAccount, nowS: number): MandateAccount {
  const period = periodAt(mandate, nowS);
  return period <= account.period ? account : { ...account, period, periodSpent: 0n };
}

/** What is left: of the limit, and of the period. */
export function roomOf(mandate: Mandate, account: MandateAccount, nowS: number): bigint {
  const { spent, periodSpent } = accountAt(mandate, account, nowS);
  const left = [mandate.limit - spent, ...(mandate.period === 0 ? [] : [mandate.periodLimit - periodSpent])];
  const least = left.reduce((a, b) => (a < b ? a : b));
  return least > 0n ? least : 0n;
}

export type Step = { channel: ChannelAccount; mandates: readonly MandateAccount[]; added: bigint };

/** Approves one call: from then on ceilings may go as high as it costs. */
export const approve = ({ highest, approved }: ChannelAccount, { price }: Pick<GuardRequest, "price">): ChannelAccount => ({ highest, approved: approved + price });

/** The accounts after a voucher of that ceiling, or why there is none. `channel.approved` has the call in it. */
export function charge({ lineage, ids, nowS, blocked }: Pick<Situation, "lineage" | "ids" | "nowS" | "blocked">, { channel, mandates }: Accounts, { ceiling }: Pick<GuardRequest, "ceiling">): Step | Refusal {
  if (ceiling > channel.approved + APART) {
    return { code: "guard_ceiling_too_high", rule: "ceiling", reason: `The ceiling wanted is ${ceiling}; the calls approved on this channel come to ${channel.approved}.`, field: "request.ceiling", extra: { approvedAtomic: String(channel.approved) } };
  }
  const added = ceiling > channel.highest ? ceiling - channel.highest : 0n;
  if (added === 0n) return { channel, mandates, added };
  const late = blocked ?? refusalOfTime({ lineage, ids, nowS });
  if (late !== undefined) return late;
  const next: MandateAccount[] = [];
  for (const [level, { mandate }] of lineage.entries()) {
    const account = accountAt(mandate, mandates[level]!, nowS);
    const room = roomOf(mandate, account, nowS);
    if (added > room) return exhausted(ids[level]!, mandate, account, added, room);
    next.push({ ...account, spent: account.spent + added, periodSpent: account.periodSpent + (mandate.period === 0 ? 0n : added) });
  }
  return { channel: { ...channel, highest: ceiling }, mandates: next, added };
}

function exhausted(mandateId: Hex, mandate: Mandate, { spent, periodSpent }: MandateAccount, added: bigint, room: bigint): Refusal {
  const total = added > mandate.limit - spent;
  const said = total ? `${spent} of ${mandate.limit} are spent` : `${periodSpent} of ${mandate.periodLimit} are spent in this period`;
  return { code: "mandate_exhausted", rule: total ? "mandate.limit" : "mandate.periodLimit", reason: `It adds ${added} to the mandate ${mandateId}, of which ${said}.`, field: "request.ceiling", extra: { mandateId, roomAtomic: String(room) } };
}


export type Verdict = { order: Order; digest: Hex; refusal: Refusal | undefined; added: bigint };
export type BatchResult = { verdicts: Verdict[]; channel: ChannelAccount; mandates: readonly MandateAccount[] };

/**
 * Requests of one channel that came together: all that may be approved are, then each gets its ceiling. One that was answered before is
 * answered again and counts nothing.
 */
export function chargeBatch(situation: Pick<Situation, "lineage" | "ids" | "nowS" | "blocked">, accounts: Accounts, asked: readonly { order: Order; digest: Hex }[], answered: ReadonlySet<Hex>): BatchResult {
  const fresh = asked.filter(({ digest }) => !answered.has(digest));
  let channel = fresh.reduce((account, { order }) => approve(account, order.request), accounts.channel);
  let { mandates } = accounts;
  const verdicts = asked.map(({ order, digest }): Verdict => {
    if (answered.has(digest)) return { order, digest, refusal: undefined, added: 0n };
    const step = charge(situation, { channel, mandates }, order.request);
    if ("code" in step) {
      channel = { ...channel, approved: channel.approved - order.request.price };
      return { order, digest, refusal: step, added: 0n };
    }
    ({ channel, mandates } = step);
    return { order, digest, refusal: undefined, added: step.added };
  });
  return { verdicts, channel, mandates };
}
