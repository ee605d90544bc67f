// An agent under mandates: its vouchers come from the guard that the relayers host, its payments count against a sub-mandate and the root
// above it. It buys until the budget is used up, or its person revokes it, and then goes on under the next.
import { setTimeout as sleep } from "node:timers/promises";
import { keccak256, zeroHash, type Address, type Hex, type PrivateKeyAccount } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { signChallenge, type Challenge } from "../../sdk/src/access.ts";
import { BASE_SEPOLIA, LOCAL_MANDATE_REGISTRY } from "../../sdk/src/constants.ts";
import { guardDomain, guardRequestTypes, toWireOrder, type GuardRequest, type SignedBinding } from "../../sdk/src/guard/request.ts";
import { toWireLineage, type Grant, type Lineage } from "../../sdk/src/lineage.ts";
import { mandateIdOf, mandateRegistryDomain, mandateTypes, type Mandate } from "../../sdk/src/mandate.ts";
import { mandateRevocationTypes } from "../../sdk/src/mandate-messages.ts";
import type { Actor, Probe } from "./actors.ts";
import { isSale, type Attempt, type Purchase } from "./books.ts";
import type { Buyer, Session, VoucherWire } from "./buyer.ts";

const DOMAIN = mandateRegistryDomain(BASE_SEPOLIA.chainId, LOCAL_MANDATE_REGISTRY);
const GUARD = guardDomain(BASE_SEPOLIA.chainId, LOCAL_MANDATE_REGISTRY);
/** Calls that a root allows, and each sub-mandate of it: the last one comes to the root's limit before its own. */
const ROOT_CALLS = 14n;
const SUB_CALLS = 6n;
const RETRY_MS = 120;

type Reply = { status: number; body: Record<string, unknown> };

/** Sends it until somebody decides, or the round is over. */
export async function ask(buyer: Buyer, path: string, body: unknown, headers: Record<string, string> = {}, method = "POST"): Promise<Reply | undefined> {
  for (; !buyer.over; await sleep(RETRY_MS)) {
    const response = await fetch(`${buyer.server()}${path}`, { method, headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body), signal: AbortSignal.timeout(4_000) }).catch(() => undefined);
    const told = (await response?.json().catch(() => undefined)) as Record<string, unknown> | undefined;
    if (response !== undefined && told !== undefined && response.status < 500) return { status: response.status, body: told };
  }
  return undefined;
}

/** The relayers call themselves by another name than they have here, so the challenge is signed as it comes. */
export async function token(buyer: Buyer, account = buyer.account): Promise<string | undefined> {
  for (; !buyer.over; await sleep(RETRY_MS)) {
    const server = buyer.server();
    try {
      const challenge = (await (await fetch(`${server}/api/v1/access/challenge`)).json()) as Challenge;
      const answer = await fetch(`${server}/api/v1/access/tokens`, { method: "POST", headers: { "sign-in-with-x": await signChallenge(challenge, account) } });
      if (answer.ok) return ((await answer.json()) as { token: string }).token;
    } catch {
      // down, or on its way up
    }
  }
  return undefined;
}

async function grant(buyer: Buyer, grantor: PrivateKeyAccount, delegate: Address, limit: bigint, parent: Hex): Promise<Grant & { mandateId: Hex }> {
  const nowS = Math.floor(Date.now() / 1000);
  const mandate: Mandate = {
    principal: buyer.address, delegate, token: BASE_SEPOLIA.usdc.address, limit, periodLimit: 0n, paymentLimit: limit, period: 0, validAfter: parent === zeroHash ? nowS - 7_200 : nowS - 3_600, validUntil: nowS + (parent === zeroHash ? 86_400 : 3_600),
    epoch: 0, payeesRoot: zeroHash, capability: zeroHash, parent, terms: zeroHash, salt: keccak256(Buffer.from(buyer.tag())),
  };
  return { mandate, mandateId: mandateIdOf(DOMAIN, mandate), signature: await grantor.signTypedData({ domain: DOMAIN, types: mandateTypes, primaryType: "Mandate", message: mandate }) };
}

type Purse = { lineage: Lineage; mandateId: Hex; agent: PrivateKeyAccount; session: Session };

/** Registers the mandate, brings it to the guard, binds the guard's key, and has a channel in mind. Undefined when the round ended before. */
async function purseOf(buyer: Buyer, lineage: Lineage, agent: PrivateKeyAccount, bearer: string): Promise<Purse | undefined> {
  const wire = toWireLineage(lineage);
  const mandateId = mandateIdOf(DOMAIN, lineage[0].mandate);
  const registered = await ask(buyer, "/api/v1/mandates", { lineage: wire }, { authorization: `Bearer ${bearer}`, "idempotency-key": mandateId });
  const guarded = await ask(buyer, "/api/v1/guard/mandates", { lineage: wire });
  const binding = guarded?.body["binding"] as SignedBinding | undefined;
  if (registered === undefined || guarded === undefined) return undefined;
  if (registered.status >= 400 || binding === undefined) return fail(buyer, "a good mandate was refused", registered.status >= 400 ? registered : guarded);
  const bound = await ask(buyer, `/api/v1/mandates/${mandateId}/guards`, { authorizer: binding.authorizer, signature: binding.signature }, { authorization: `Bearer ${bearer}` });
  if (bound !== undefined && bound.status >= 400) return fail(buyer, "a good binding was refused", bound);
  const session = bound && (await buyer.session("shop", binding.authorizer));
  return session && { lineage, mandateId, agent, session };
}

function fail(buyer: Buyer, what: string, { status, body }: Reply): undefined {
  buyer.stage.books.violate(what, `${status} ${JSON.stringify(body).slice(0, 300)}`);
  return undefined;
}

type Wish = { path: string; tag: string; clientId: string };

/** The guard's voucher for one call; undefined when it refuses, or the round is over. The same request is counted once, however often it is sent. */
async function voucherOf(buyer: Buyer, { agent, mandateId, session }: Purse, wish: Wish, ceiling: bigint): Promise<VoucherWire | undefined> {
  const { channelId, config, price, terms } = session;
  const request: GuardRequest = {
    mandateId, channelId, method: "GET", url: `http://chaos.test/s/${session.service}/${wish.path}/${wish.tag}`, bodyHash: keccak256("0x"), payTo: config.receiver, price, ceiling,
    nonce: keccak256(Buffer.from(`${wish.tag} guard`)), expiresAt: Math.floor(Date.now() / 1000) + 60,
  };
  const signature = await agent.signTypedData({ domain: GUARD, types: guardRequestTypes, primaryType: "GuardRequest", message: request });
  const reply = await ask(buyer, "/api/v1/guard/vouchers", toWireOrder({ config, request, accepts: terms, signature }));
  return reply?.status === 200 ? (reply.body["voucher"] as VoucherWire) : undefined;
}

const chargedBy = (attempt: Attempt): bigint => (isSale(attempt) ? BigInt(attempt.settle?.extra?.chargedAmount ?? 0) : 0n);
const isUnknown = (attempt: Attempt): boolean => attempt.kind === "lost" || attempt.status >= 499 || attempt.code === "channel_busy";

/** Buys under one mandate until it is used up. @returns what must be refused afterwards, when it was revoked. */
async function spend(buyer: Buyer, purse: Purse): Promise<Probe[]> {
  const { session } = purse;
  let charged = 0n;
  for (let call = 0; !buyer.over; call++) {
    const wish = { path: buyer.draw.pick(["ok/0", "slow/60", "charge/400"]), tag: buyer.tag(), clientId: buyer.clientId() };
    const voucher = await voucherOf(buyer, purse, wish, charged + session.price);
    if (voucher === undefined) return [];
    const purchase = await buyer.byVoucher(session, wish, charged + session.price, call === 0 ? (SUB_CALLS + 2n) * session.price : undefined, voucher);
    if (call > 0 && buyer.draw.oneIn(4)) return revoke(buyer, purse, purchase);
    const last = await buyer.pursue(purchase);
    if (isUnknown(last)) return [];
    if (!isSale(last)) return []; // the ledger counts for itself, and said that it is enough
    charged += chargedBy(last);
    await sleep(buyer.draw.int(0, buyer.plan.pauseMs));
  }
  return [];
}

/** The voucher is signed already; from the revocation on it buys nothing, whoever is asked. */
async function revoke(buyer: Buyer, { mandateId, lineage }: Purse, unused: Purchase): Promise<Probe[]> {
  const root = lineage.at(-1)!.mandate;
  const ended = buyer.draw.oneIn(2) ? mandateId : mandateIdOf(DOMAIN, root);
  const signature = await buyer.account.signTypedData({ domain: DOMAIN, types: mandateRevocationTypes, primaryType: "MandateRevocation", message: { mandateId: ended } });
  const reply = await ask(buyer, `/api/v1/mandates/${ended}/revoke`, { by: buyer.address, signature });
  if (reply === undefined) return [];
  if (reply.status >= 400) return fail(buyer, "a good revocation was refused", reply) ?? [];
  return [async () => {
    for (const server of buyer.stage.servers) {
      const answer = await buyer.attempt(unused, { server });
      if (answer.kind === "answer" && answer.status === 403) continue;
      buyer.stage.books.violate("paid under a revoked mandate", `${server} answered ${answer.kind === "answer" ? `${answer.status} ${answer.code ?? ""}` : answer.why}`, { tag: unused.tag });
    }
  }];
}

export const mandated: Actor = async (buyer) => {
  const bearer = await token(buyer);
  const agents = [1, 2].map((nth) => privateKeyToAccount(keccak256(Buffer.from(`${buyer.address} agent ${nth}`))));
  const probes: Probe[] = [];
  while (bearer !== undefined && !buyer.over) {
    const root = await grant(buyer, buyer.account, agents[0]!.address, ROOT_CALLS * PRICE_OF_A_CALL, zeroHash);
    // The third of them finds too little left above it.
    for (let sub = 0; sub < 3 && !buyer.over; sub++) {
      const own = await grant(buyer, agents[0]!, agents[1]!.address, SUB_CALLS * PRICE_OF_A_CALL, root.mandateId);
      const purse = await purseOf(buyer, [own, root], agents[1]!, bearer);
      if (purse === undefined) break;
      const found = await spend(buyer, purse);
      probes.push(...found);
      if (found.length > 0) break;
    }
  }
  return probes;
};

/** As the services of a round are sold. */
const PRICE_OF_A_CALL = 1_000n;
