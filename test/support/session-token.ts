// Sessions that are called by their token: negotiated, opened by a first paid call, with a voucher left for the rest.
import { setTimeout as sleep } from "node:timers/promises";
import type { Hex, LocalAccount } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import type { Receipt } from "../../sdk/src/receipt.ts";
import { agreed } from "./negotiation.ts";
import type { TestWorld } from "./relayer.ts";

export const PRICE = 8_000n;

export type OpenSession = Awaited<ReturnType<typeof openSession>>;
type Named = { session: { sessionId: Hex; sessionToken: string } };
export type Called = { status: number; response: Response; body: any; receipt: (Record<keyof Receipt, string> & { session?: Hex }) | undefined };

/** A session of `calls` calls, the first paid with the deposit. */
export async function openSession(world: TestWorld, calls: bigint) {
  const agent: LocalAccount = privateKeyToAccount(generatePrivateKey());
  await world.chain.mintUSDC(agent.address, 1_000_000n);
  const { session, buyer } = await agreed(world.url, agent, calls * PRICE);
  const required = await buyer.terms();
  const deposit = await buyer.buyer.depositPayment(required, 1_000_000n, PRICE);
  const opened = await decided(() => buyer.paid(deposit, "/hello"));
  if (opened.status !== 200) throw new Error(`not opened: ${JSON.stringify(opened.body)}`);
  return { agent, session, buyer, required, channelId: buyer.buyer.channelId(required), config: buyer.buyer.configFor(required) };
}

/** Posts a voucher for the session's calls. */
export async function leave(world: TestWorld, { session }: Named, left: { channelConfig: unknown; voucher: unknown }, token: string = session.sessionToken): Promise<{ status: number; body: any }> {
  const response = await fetch(`${world.url}/api/v1/negotiated-sessions/${session.sessionId}/voucher`, {
    method: "POST", headers: { "content-type": "application/json", "x-402-session-token": token }, body: JSON.stringify(left),
  });
  return { status: response.status, body: await response.json() };
}

type Request = { path?: string; headers?: Record<string, string> };

/** As a client that holds no key: session, token and, when it may repeat itself, an identifier. */
export const callByToken = (named: Named, url: string, request: Request = {}): Promise<Called> => decided(() => once(named, url, request));

/** Until it is decided: on a busy machine a call is under way for long, or a process cannot confirm its policies for a moment. Both say so. */
async function decided<A extends { status: number; body: any }>(ask: () => Promise<A>): Promise<A> {
  for (;;) {
    const answer = await ask();
    if (answer.status !== 503 || answer.body.retry !== "safe") return answer;
    await sleep(200);
  }
}

async function once({ session }: Named, url: string, { path = "/hello", headers = {} }: Request): Promise<Called> {
  const response = await fetch(`${url}/s/echo${path}`, { headers: { "x-402-session-id": session.sessionId, "x-402-session-token": session.sessionToken, ...headers } });
  const receipt = response.headers.get("x-402-receipt");
  return { status: response.status, response, body: await response.json(), receipt: receipt === null ? undefined : JSON.parse(Buffer.from(receipt, "base64").toString()).payload };
}

export async function usedOf(world: TestWorld, { session }: Named): Promise<{ calls_taken: bigint; calls_charged: bigint; charged_atomic: bigint }> {
  const { rows } = await world.relayer.deps.db.query("SELECT calls_taken, calls_charged, charged_atomic FROM negotiated_session WHERE session_id = $1", [Buffer.from(session.sessionId.slice(2), "hex")]);
  return rows[0];
}
