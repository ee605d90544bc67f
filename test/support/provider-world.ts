// A relayer and a provider that sells from a server of its own: how its API is asked, signed in as whoever.
import { randomUUID } from "node:crypto";
import type { Hex } from "viem";
import { signIn } from "../../sdk/src/access.ts";
import { inputHash } from "../../sdk/src/receipt.ts";
import { encodeHeader, type Required } from "./buyer.ts";
import type { TestWorld } from "./relayer.ts";

export const SHOP_URL = "https://shop.example/api";

export type Answered = { status: number; body: Record<string, any> };
export type Caller = (method: string, path: string, body?: unknown, headers?: Record<string, string>) => Promise<Answered>;

/** The relayer's API as that account of the local mnemonic. */
export async function callerAs(world: TestWorld, index: number, url = world.url): Promise<Caller> {
  const { token } = await signIn({ relayerUrl: url, account: world.chain.account(index) });
  return async (method, path, body, headers = {}) => {
    const response = await fetch(`${url}/api/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, body: text === "" ? {} : JSON.parse(text) };
  };
}

export type Take = { service: string; path?: string; payment?: unknown; priceAtomic?: string; body?: string; change?: Record<string, unknown>; key?: string };

/** POST /api/v1/sales for GET `path`. */
export function takeAs(call: Caller, { service, path = "/quote", payment, priceAtomic, body = "", change = {}, key = randomUUID() }: Take): Promise<Answered> {
  const resource = SHOP_URL + path;
  const target = resource.slice(new URL(resource).origin.length);
  const hash: Hex = inputHash({ method: "GET", target, contentType: "", body: new TextEncoder().encode(body) });
  return call("POST", "/sales", { service, resource, inputHash: hash, ...(priceAtomic === undefined ? {} : { priceAtomic }), ...(payment === undefined ? {} : { payment: encodeHeader(payment) }), ...change }, { "idempotency-key": key });
}

/** The terms in an answer for the buyer. */
export const requiredIn = ({ body }: Answered): Required => JSON.parse(Buffer.from(body["answer"].headers["PAYMENT-REQUIRED"], "base64").toString()) as Required;

export const answer = (text: string, status = 200, headers: Record<string, string> = { "content-type": "text/plain" }) => ({ status, headers, bodyBase64: Buffer.from(text).toString("base64") });

export const chargeBody = (text: string, amountAtomic?: string) => ({ ...(amountAtomic === undefined ? {} : { amountAtomic }), answer: answer(text), startedAtMs: Date.now() - 5, endedAtMs: Date.now() });
