// Payments under mandates, over HTTP, on a real chain: what a guard signs, by hand, so that every part of it can be wrong.
import { spawn, type ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import { zeroHash, numberToHex, type Address, type Hex, type LocalAccount } from "viem";
import { generatePrivateKey, privateKeyToAccount, type PrivateKeyAccount } from "viem/accounts";
import { childEnvironment, freePort, stopChild, until } from "../../scripts/local/process.ts";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import { signIn } from "../../sdk/src/access.ts";
import { SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { toWireMandate } from "../../sdk/src/lineage.ts";
import { mandateRegistryDomain, type Mandate } from "../../sdk/src/mandate.ts";
import type { ChannelConfig } from "../../sdk/src/typed-data.ts";
import { findLineage } from "../../relayer/src/capabilities/mandates/store.ts";
import { toBytes } from "../../relayer/src/db/codec.ts";
import { encodeHeader, requiredOf, type Required } from "./buyer.ts";
import { testEnvironment } from "./config.ts";
import type { TestWorld } from "./relayer.ts";
import { idOf, Sessions } from "./session.ts";
import { idOfMandate, mandateOf, MANDATE_DOMAIN, signBinding, signMandate } from "./signed-mandates.ts";

export const newKey = (): PrivateKeyAccount => privateKeyToAccount(generatePrivateKey());

export type Answered = { status: number; body: { [field: string]: unknown; code?: string; mandateId?: Hex; moved?: string; detail?: string } };
export type Ask = (method: string, path: string, body?: unknown, headers?: Record<string, string>) => Promise<Answered>;

/** Calls /api/v1/mandates as somebody who is signed in. */
export async function asking(relayerUrl: string, account: LocalAccount): Promise<Ask> {
  const { token } = await signIn({ relayerUrl, account });
  return async (method, path, body, headers = {}) => {
    const type: Record<string, string> = body === undefined ? {} : { "content-type": "application/json" };
    const response = await fetch(`${relayerUrl}/api/v1/mandates${path}`, { method, headers: { authorization: `Bearer ${token}`, ...type, ...headers }, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
    return { status: response.status, body: (await response.json()) as Answered["body"] };
  };
}

export async function wireGrant(grantor: LocalAccount, mandate: Mandate, domain: ReturnType<typeof mandateRegistryDomain> = MANDATE_DOMAIN) {
  return { mandate: toWireMandate(mandate), signature: await signMandate(grantor, mandate, domain) };
}

export type Granted = { principal: PrivateKeyAccount; agent: PrivateKeyAccount; guard: PrivateKeyAccount; mandate: Mandate; mandateId: Hex; ask: Ask };

/** A principal, a mandate of an agent, registered, and a guard's key bound to it. */
export async function granted({ url }: Pick<TestWorld, "url">, change: Partial<Mandate> = {}): Promise<Granted> {
  const [principal, agent, guard] = [newKey(), newKey(), newKey()];
  const mandate = mandateOf(principal.address, agent.address, change);
  const mandateId = idOfMandate(mandate);
  const ask = await asking(url, principal);
  const guards = [{ authorizer: guard.address, signature: await signBinding(guard, mandateId) }];
  const { status, body } = await ask("POST", "", { lineage: [await wireGrant(principal, mandate)], guards });
  if (status !== 201) throw new Error(`not registered: ${JSON.stringify(body)}`);
  return { principal, agent, guard, mandate, mandateId, ask };
}

export type Channel = { channelId: Hex; config: ChannelConfig; guard: LocalAccount; required: Required };

let salts = 0n;

/** Channels of the principal under the guard's key, funded on the chain. */
export async function openChannels({ chain, url }: Pick<TestWorld, "chain" | "url">, { principal, guard }: Pick<Granted, "principal" | "guard">, count: number, eachAtomic: bigint): Promise<Channel[]> {
  const required = requiredOf(await fetch(`${url}/s/echo/hello`));
  const [accepts] = required.accepts;
  await chain.mintUSDC(principal.address, eachAtomic * BigInt(count));
  const sessions = new Sessions(chain);
  const channels: Channel[] = [];
  for (let made = 0; made < count; made++) {
    const config: ChannelConfig = {
      payer: principal.address, payerAuthorizer: guard.address, receiver: accepts.payTo, receiverAuthorizer: accepts.extra["receiverAuthorizer"] as Address, token: accepts.asset,
      withdrawDelay: accepts.extra["withdrawDelay"] as number, salt: made === 0 && salts === 0n ? zeroHash : numberToHex(++salts, { size: 32 }),
    };
    await sessions.deposit(config, principal, eachAtomic, { sender: chain.account(7) });
    channels.push({ channelId: idOf(config), config, guard, required });
  }
  return channels;
}

/** One paid call, ready to be sent, to whichever process. */
export async function paidCall(chain: TestWorld["chain"], { config, guard, required }: Channel, ceiling: bigint, path = "/hello"): Promise<(url: string) => Promise<Answered>> {
  const signature = await new Sessions(chain).voucher(config, guard, ceiling);
  const voucher = { channelId: idOf(config), maxClaimableAmount: String(ceiling), signature };
  const header = encodeHeader({ x402Version: 2, accepted: required.accepts[0], payload: { type: "voucher", channelConfig: config, voucher }, resource: required.resource, extensions: {} });
  return async (url) => {
    const response = await fetch(`${url}/s/echo${path}`, { headers: { "payment-signature": header } });
    return { status: response.status, body: (await response.json()) as Answered["body"] };
  };
}

/** The same call until somebody decided it: 503 says that it is safe to send it again. */
export async function decided(call: () => Promise<Answered>): Promise<Answered> {
  return until("a decision", async () => {
    const answer = await call().catch(() => undefined);
    return answer === undefined || answer.status === 503 ? undefined : answer;
  }, 60_000, 100);
}

/** Atomic units over each mandate's limit: in the ledger, of what its channels were charged, and of what the chain paid out once all of it is claimed. */
export async function overspent({ relayer, chain }: Pick<TestWorld, "relayer" | "chain">, mandateId: Hex, channels: readonly Channel[]): Promise<{ ledger: bigint; charged: bigint; chain: bigint }> {
  const lineage = await findLineage(relayer.deps.db, mandateId);
  const limit = lineage.reduce((least, { mandate }) => (mandate.limit < least ? mandate.limit : least), lineage[0]!.mandate.limit);
  const over = (amount: bigint) => (amount > limit ? amount - limit : 0n);
  const { rows } = await relayer.deps.db.query<{ charged: bigint }>("SELECT coalesce(sum(charged + reserved), 0) AS charged FROM channel WHERE channel_id = ANY($1::bytea[])", [channels.map(({ channelId }) => toBytes(channelId))]);
  await relayer.settlement.flush(20_000);
  let claimed = 0n;
  for (const { channelId } of channels) claimed += (await chain.client.readContract({ address: SESSION_CHANNELS, abi: sessionChannelsAbi, functionName: "channels", args: [channelId] }))[1];
  return { ledger: lineage.reduce((most, { used, mandate }) => (used > mandate.limit ? used - mandate.limit : most), 0n), charged: over(rows[0]!.charged), chain: over(claimed) };
}

export type RelayerProcess = { url: string; child: ChildProcess; stop(): Promise<void> };

/** Another relayer on the same ledger, as a process of its own. `clockMs`: how wrong its clock is. */
export async function relayerProcess({ relayer, provider }: Pick<TestWorld, "relayer" | "provider">, { clockMs = 0, env = {} }: { clockMs?: number; env?: Record<string, string> } = {}): Promise<RelayerProcess> {
  const { databaseUrl, rpcUrls } = relayer.deps.config;
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const services = [{ name: "echo", origin: provider.origin, description: "echoes", upstreamTimeoutMs: 3_000 }];
  const skewed = fileURLToPath(new URL("./skewed-clock.ts", import.meta.url));
  const main = fileURLToPath(new URL("../../relayer/src/main.ts", import.meta.url));
  const child = spawn(process.execPath, [...(clockMs === 0 ? [] : ["--import", skewed]), main], {
    stdio: "ignore",
    env: childEnvironment({ CLOCK_MS: String(clockMs), ...testEnvironment(databaseUrl, rpcUrls.join(","), services, { RELAYER_PORT: String(port), ...env }) }),
  });
  await until("a relayer's start", async () => ((await fetch(`${url}/healthz`).catch(() => undefined))?.ok === true ? true : undefined), 60_000);
  return { url, child, stop: () => stopChild(child) };
}
