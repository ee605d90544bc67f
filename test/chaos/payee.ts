// Who the services pay: wants its money when it asks for it, and asks again and again.
import { setTimeout as sleep } from "node:timers/promises";
import { keccak256, type PrivateKeyAccount } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import type { Actor, Probe } from "./actors.ts";
import type { Buyer } from "./buyer.ts";
import { ask, token } from "./mandated.ts";

const END_MOST_MS = 60_000;
const RETRY_MS = 200;

/** Whom a service's payments go to, in the round of that nonce. */
export const receiverOf = (nonce: string, service: string): PrivateKeyAccount => privateKeyToAccount(keccak256(Buffer.from(`receiver ${nonce} ${service}`)));

export const payee: Actor = async (buyer) => (await Promise.all([receive(buyer, "shop", async () => true), receive(buyer, "solo", isOwed)])).flat();

/** Asks for the payouts of a service whenever it wants them. What sells all the time is mostly paid with a claim, what seldom sells by a transaction of its own. */
async function receive(buyer: Buyer, service: string, wants: (buyer: Buyer, headers: Record<string, string>) => Promise<boolean>): Promise<Probe[]> {
  const bearer = await token(buyer, receiverOf(buyer.stage.nonce, service));
  if (bearer === undefined) return [];
  const headers = { authorization: `Bearer ${bearer}` };
  await ask(buyer, "/api/v1/payouts/schedule", { kind: "on_demand" }, headers, "PUT");
  for (; !buyer.over; await sleep(buyer.draw.int(0, buyer.plan.pauseMs))) {
    if (!(await wants(buyer, headers))) continue;
    const asked = await ask(buyer, "/api/v1/payouts", {}, headers);
    if (asked !== undefined && asked.status !== 202) buyer.stage.books.violate("a payout was refused", `${asked.status} ${JSON.stringify(asked.body).slice(0, 300)}`);
  }
  // From then on with every claim, so that all of it is paid in the end.
  return [() => paidAtOnce(buyer, headers)];
}

/** Claimed and not paid out: nothing that comes with the next claim. */
async function isOwed(buyer: Buyer, headers: Record<string, string>): Promise<boolean> {
  const state = await ask(buyer, "/api/v1/payouts", undefined, headers, "GET");
  return state?.status === 200 && state.body["owedAtomic"] !== "0";
}

async function paidAtOnce(buyer: Buyer, headers: Record<string, string>): Promise<void> {
  const deadline = performance.now() + END_MOST_MS;
  for (; performance.now() < deadline; await sleep(RETRY_MS)) {
    const response = await fetch(`${buyer.server()}/api/v1/payouts/schedule`, { method: "PUT", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify({ kind: "immediate" }) }).catch(() => undefined);
    if (response?.ok === true) return;
  }
  buyer.stage.books.violate("a schedule cannot be changed", `payouts were not set to immediate in ${END_MOST_MS / 1_000} s, with everything healthy`);
}
