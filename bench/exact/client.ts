// The load client of `bench -- exact`: a seller's server that verifies payments, or verifies and settles them. Everything is signed before
// the clock starts and every answer is checked. One connection a request in flight, kept alive.
import { createRequire } from "node:module";
import { randomBytes } from "node:crypto";
import { Client } from "undici";
import type { Address, Hex } from "viem";
import { hashTypedData } from "viem";
import { prepare } from "../../relayer/src/crypto/typed-hash.ts";
import { transferWithAuthorizationTypes } from "../../sdk/src/typed-data.ts";
import { answer } from "../load/part.ts";

export type What = "verify" | "settle";
export type Payer = { address: Address; key: Hex };
export type ExactJob = { origin: string; what: What; inFlight: number; requests: number; warmUp: number; terms: Record<string, unknown>; payers: Payer[]; atMostS: number };
export type ExactMeasured = { requests: number; seconds: number; rps: number; p50Ms: number; p99Ms: number; maxMs: number; /** Transfers that were told as done, the warm-up's too. */ settled: number; /** In which those were. */ transactions: number };

const { ecdsaSign } = createRequire(import.meta.url)("secp256k1/bindings") as { ecdsaSign(digest: Uint8Array, key: Uint8Array): { signature: Uint8Array; recid: number } };

let job: ExactJob | undefined;
let clients: Client[] = [];
let bodies: { body: string; payer: Address }[] = [];
let settled = 0;
let transactions = new Set<string>();

answer(undefined, {
  async prepare(asked: ExactJob): Promise<void> {
    job = asked;
    settled = 0;
    transactions = new Set();
    clients = Array.from({ length: job.inFlight }, () => new Client(job!.origin, { pipelining: 1, keepAliveTimeout: 60_000 }));
    bodies = sign(job);
    await run(bodies.splice(0, job.warmUp), []);
  },
  async run(): Promise<ExactMeasured> {
    const latencies: number[] = [];
    const started = performance.now();
    await run(bodies.splice(0), latencies, started + job!.atMostS * 1000);
    const seconds = (performance.now() - started) / 1000;
    await Promise.all(clients.splice(0).map((client) => client.close()));
    latencies.sort((a, b) => a - b);
    const at = (part: number) => rounded(latencies[Math.min(latencies.length - 1, Math.ceil(part * latencies.length) - 1)] ?? 0);
    return { requests: latencies.length, seconds: rounded(seconds), rps: rounded(latencies.length / seconds), p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1), settled, transactions: transactions.size };
  },
});

const rounded = (value: number): number => Math.round(value * 1000) / 1000;

function sign({ payers, requests, warmUp, terms }: ExactJob): typeof bodies {
  const { name, version } = terms["extra"] as { name: string; version: string };
  const domain = { name, version, chainId: Number(String(terms["network"]).split(":")[1]), verifyingContract: terms["asset"] as Address };
  const digest = prepare(domain, transferWithAuthorizationTypes, "TransferWithAuthorization");
  const validBefore = BigInt(Math.floor(Date.now() / 1000) + 3_600);
  return Array.from({ length: requests + warmUp }, (_, index) => {
    const { address, key } = payers[index % payers.length]!;
    const nonce: Hex = `0x${randomBytes(32).toString("hex")}`;
    const message = { from: address, to: terms["payTo"] as Address, value: BigInt(String(terms["amount"])), validAfter: 0n, validBefore, nonce };
    const hash = digest(message);
    if (index === 0 && `0x${Buffer.from(hash).toString("hex")}` !== hashTypedData({ domain, types: transferWithAuthorizationTypes, primaryType: "TransferWithAuthorization", message })) throw new Error("the digest is not viem's");
    const { signature, recid } = ecdsaSign(hash, Buffer.from(key.slice(2), "hex"));
    const authorization = { ...message, value: String(message.value), validAfter: "0", validBefore: String(validBefore) };
    const payload = { signature: `0x${Buffer.from(signature).toString("hex")}${(27 + recid).toString(16)}`, authorization };
    return { payer: address, body: JSON.stringify({ x402Version: 2, paymentPayload: { x402Version: 2, accepted: terms, payload }, paymentRequirements: terms }) };
  });
}

async function run(over: typeof bodies, latencies: number[], deadline = Infinity): Promise<void> {
  let next = 0;
  await Promise.all(
    clients.map(async (client) => {
      while (next < over.length && performance.now() < deadline) {
        const one = over[next++]!;
        const started = performance.now();
        await pay(client, one);
        latencies.push(performance.now() - started);
      }
    }),
  );
}

type Answer = { isValid?: boolean; payer?: string; success?: boolean; transaction?: string };

/** @throws when an answer is not that this payment is good, or that it was made. */
async function pay(client: Client, { body, payer }: { body: string; payer: Address }): Promise<void> {
  const verified = await post(client, "/verify", body);
  if (verified.isValid !== true || verified.payer?.toLowerCase() !== payer.toLowerCase()) throw new Error(`not verified: ${JSON.stringify(verified)}`);
  if (job!.what === "verify") return;
  const made = await post(client, "/settle", body);
  if (made.success !== true || !/^0x[0-9a-f]{64}$/.test(made.transaction ?? "")) throw new Error(`not settled: ${JSON.stringify(made)}`);
  settled += 1;
  transactions.add(made.transaction!);
}

async function post(client: Client, path: string, body: string): Promise<Answer> {
  const { statusCode, body: answered } = await client.request({ path, method: "POST", headers: { "content-type": "application/json" }, body });
  const text = await answered.text();
  if (statusCode !== 200) throw new Error(`${path} answered ${statusCode}: ${text.slice(0, 400)}`);
  return JSON.parse(text) as Answer;
}
