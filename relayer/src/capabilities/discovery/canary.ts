// A paid call to a service, as any buyer would make it: one `exact` payment at the registry's price, from a key and a daily budget of its own.
// The budget is reserved before anything is signed, so that it holds whatever happens after.
import { erc20Abi, type Address } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { newIdentifier, paymentHeader, signExact } from "../../../../sdk/src/agent/payments.ts";
import { chooseTerms } from "../../../../sdk/src/agent/terms.ts";
import { readSettlement, type PaymentRequired } from "../../../../sdk/src/agent/wire.ts";
import type { Deps } from "../../deps.ts";
import { judgeTerms } from "./probe-logic.ts";
import * as store from "./probe-store.ts";

/** A provider's own time, and the settlement in it. */
export const CANARY_TIMEOUT_MS = 45_000;

export type Ask = (headers: Record<string, string>, timeoutMs: number) => Promise<{ status: number; headers: Headers; latencyMs: number }>;
type CanaryDeps = Pick<Deps, "config" | "db" | "chain">;

/** @returns what was seen; undefined where nothing was paid: too dear, sold by the month, no `exact`, or the day's budget is used up. */
export async function payCanary({ config, db, chain }: CanaryDeps, target: store.Target, required: PaymentRequired, ask: Ask): Promise<store.Look | undefined> {
  const { canaryKey, canaryBudgetAtomic, canaryMostAtomic } = config.discovery;
  if (canaryKey === undefined || target.price > canaryMostAtomic || target.facts.pricing?.unit === "month") return undefined;
  if (!required.accepts.some(({ scheme, network }) => scheme === "exact" && network === config.network) || !judgeTerms(required, config.network, target).honest) return undefined;
  const terms = await chooseTerms(required, new URL(target.url), { schemes: ["exact"], chainId: config.chainId, sessionChannels: config.sessionChannels });
  const account = privateKeyToAccount(canaryKey);
  // An empty purse is not the seller's fault.
  if (!(await canPay(chain, config.token.address, account.address, target.price))) return undefined;
  if (!(await store.reserveCanary(db, target.price, canaryBudgetAtomic))) return undefined;
  const { payload } = await signExact(account, terms);
  const answer = await ask({ "payment-signature": paymentHeader(terms, payload, terms.resource?.url ?? target.url, newIdentifier()) }, CANARY_TIMEOUT_MS);
  const settled = readSettlement(answer.headers)?.success === true;
  const ok = answer.status >= 200 && answer.status < 300 && settled;
  const fault = ok ? undefined : settled ? "paid_not_delivered" : "payment_refused";
  return { kind: "canary", ok, honest: undefined, status: answer.status, latencyMs: answer.latencyMs, fault, detail: ok ? undefined : `a paid call was answered ${answer.status}`, paid: settled ? target.price : 0n };
}

async function canPay(chain: Deps["chain"], token: Address, account: Address, price: bigint): Promise<boolean> {
  const balance = await chain.client.readContract({ address: token, abi: erc20Abi, functionName: "balanceOf", args: [account] }).catch(() => 0n);
  return balance >= price;
}
